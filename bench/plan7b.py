"""Plan four layers of LLaMA2-7B's width from shards with planted spectra, and record time and memory.

    python bench/plan7b.py [--layers 4] [--out nbs/records/plan-7b.json] [--dir FOLDER]

Writes about 0.4 GB a layer in bfloat16 to a temporary folder, one layer a shard, and removes it. Every weight is a sum of Kronecker
products of one shape plus noise: a plan by energy must find each shape and number of terms, or more terms of a neighbouring shape that is
cheaper to apply and can hold the same sum. A second plan spends 990,000 parameters' share.
"""
from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

from common import RECORDS
from soka.kron import KronShape, kron_sum
from soka.peft import SoKAConfig
from soka.plan import open_checkpoint, plan_checkpoint

SIZES = {"self_attn.q_proj": (4096, 4096), "self_attn.k_proj": (4096, 4096), "self_attn.v_proj": (4096, 4096), "self_attn.o_proj": (4096, 4096),
         "mlp.gate_proj": (11008, 4096), "mlp.up_proj": (11008, 4096), "mlp.down_proj": (4096, 11008)}
VOCAB, NOISE, R_MAX = 32, 0.05, 4   # noise: its share of a weight's energy

def planted(i, M, N):
    "Shape and terms of weight number `i`."
    s = (1, 4, 16, 64)[i % 4]
    return KronShape(M//s, s, s, N//s), 2 + i % 3

def weight(i, M, N):
    "A sum of Kronecker products with singular values near each other, plus noise, in bfloat16."
    gen, (shape, r) = torch.Generator().manual_seed(i), planted(i, M, N)
    U, V = (torch.randn(r, *s, generator=gen) for s in (shape[:2], shape[2:]))
    W = kron_sum(U, torch.linspace(1.1, 0.9, r), V)
    noise = torch.randn(M, N, generator=gen)
    return W.mul_(((1 - NOISE)**0.5*0.02*(M*N)**0.5)/W.norm()).add_(noise, alpha=0.02*NOISE**0.5).bfloat16()

def write(folder, layers):
    "A sharded checkpoint; what was planted, by layer name."
    LlamaConfig(vocab_size=VOCAB, num_hidden_layers=layers, architectures=["LlamaForCausalLM"], dtype="bfloat16").save_pretrained(folder)
    files, want = {}, {}
    for l in range(layers):
        shard = {f"model.layers.{l}.{n}.weight": torch.ones(4096, dtype=torch.bfloat16) for n in ("input_layernorm", "post_attention_layernorm")}
        for j, (n, (M, N)) in enumerate(SIZES.items()):
            want[f"model.layers.{l}.{n}"] = planted(7*l + j, M, N)
            shard[f"model.layers.{l}.{n}.weight"] = weight(7*l + j, M, N)
        if l == 0: shard |= {n: torch.ones(s, dtype=torch.bfloat16) for n, s in (("model.embed_tokens.weight", (VOCAB, 4096)), ("lm_head.weight", (VOCAB, 4096)), ("model.norm.weight", (4096,)))}
        name = f"model-{l + 1:05d}-of-{layers:05d}.safetensors"
        save_file(shard, folder/name, metadata={"format": "pt"})
        files |= dict.fromkeys(shard, name)
    (folder/"model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return want

def peak():
    "Most bytes this process has held (Linux). Not ru_maxrss: that starts with the parent's."
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])*1024

def same_sum(plant, r, found, q):
    "Can `q` terms of one shape be any sum of `r` terms of the other? Halving a side of one factor doubles the terms."
    split = max(plant[0]/found[0], found[0]/plant[0])*max(plant[1]/found[1], found[1]/plant[1])
    return q == split*r

def plan(folder):
    "Both plans with their seconds, and the peak memory of this process before and after."
    torch.set_num_threads(1)
    checkpoint, before = open_checkpoint(str(folder)), peak()
    layers = len(checkpoint.model.model.layers)
    found = {}
    for name, kw in (("by energy", dict(criterion="energy", r_max=R_MAX)), ("by budget", dict(budget=990_000*layers//32))):
        t = time.perf_counter()
        rows = plan_checkpoint(checkpoint, SoKAConfig(source="weight", target_modules="all-linear", **kw))
        found[name] = {"seconds": time.perf_counter() - t, "parameters": sum(r.params for r in rows), "terms": sum(r.r for r in rows),
                       "rows": {r.name: [*r.shape, r.r] for r in rows}}
    return {"plans": found, "peak_bytes_before": before, "peak_bytes": peak()}

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--layers", type=int, default=4)
    p.add_argument("--out", type=Path, default=RECORDS/"plan-7b.json")
    p.add_argument("--dir", type=Path, help="where the temporary folder goes")
    p.add_argument("--plan", type=Path, help=argparse.SUPPRESS)   # this process plans
    a = p.parse_args()
    if a.plan: return print(json.dumps(plan(a.plan)))
    with tempfile.TemporaryDirectory(dir=a.dir) as d:
        want = write(Path(d), a.layers)
        size = sum(f.stat().st_size for f in Path(d).iterdir())
        run = subprocess.run([sys.executable, __file__, "--plan", d], capture_output=True, text=True)
    if run.returncode: sys.exit(f"{run.stderr}\nexit status {run.returncode}")
    got = json.loads(run.stdout.splitlines()[-1])
    rows = got["plans"]["by energy"]["rows"]
    right = sum(rows[n] == [*shape, r] for n, (shape, r) in want.items())
    equal = sum(same_sum(shape, r, rows[n][:4], rows[n][4]) for n, (shape, r) in want.items()) - right
    record = {"machine": {"cpu": platform.processor() or platform.machine(), "threads": 1, "torch": torch.__version__}, "layers": a.layers,
              "weights": len(want), "checkpoint_bytes": size, "largest_weight_bytes_float32": 4*4096*11008, "planted": len(want), "found": right, "found_as_equal_sum": equal,
              "seconds_per_layer": {n: round(v["seconds"]/a.layers, 2) for n, v in got["plans"].items()},
              "parameters": {n: v["parameters"] for n, v in got["plans"].items()}, "budget": 990_000*a.layers//32,
              "peak_bytes_of_imports": got["peak_bytes_before"], "peak_bytes": got["peak_bytes"]}
    a.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
    if right + equal < len(want): sys.exit(f"every planted sum must be found, got {right + equal} of {len(want)}")

if __name__ == "__main__": main()
