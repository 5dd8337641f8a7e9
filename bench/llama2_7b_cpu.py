"""LLaMA2-7B's exact architecture on a CPU: the recipe itself, from a sharded checkpoint to a merged one, with the memory of every phase.

    python bench/llama2_7b_cpu.py FOLDER [--tokens 64] [--steps 2] [--dtype float32] [--skip lora] [--merge_only] [--tiny]

Writes a checkpoint of random weights into FOLDER/base (13.5 GB), unless it is there, and runs `soka train` with the recipe, only
steps, rows and tokens cut: load in NF4, plan, start and steps, a kill after the first checkpoint, resume, adapter, merge, `generate`;
then LoRA's recipe beside it. Each phase is recorded as it ends, in nbs/records/llama2-7b-cpu.json. Weights are random, so losses mean
nothing; time and memory do not depend on them. A phase's peak is of anonymous memory, which is the process's own; pages of mapped files,
which the system may drop at any time, are counted apart. `--merge_only` merges an adapter of the recipe's size with random factors, and adds that to the
record that is there. `--dtype float32` is for a CPU without bfloat16 units, where bfloat16 is far slower. `--tiny` runs the same program
on a small model in a minute or two.
"""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import torch
from common import RECORDS, ROOT, machine, write
from safetensors.torch import save_file
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from soka.data.bases import base_path

LLAMA2_7B = dict(vocab_size=32_000, hidden_size=4096, intermediate_size=11_008, num_hidden_layers=32, num_attention_heads=32,
                 num_key_value_heads=32, max_position_embeddings=4096, rms_norm_eps=1e-5)
TINY = dict(vocab_size=1024, hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4)
SHARD = 2**30   # bytes
GENERATE = """
import sys, torch
from soka.train import load_run
run = load_run(sys.argv[1])
ids = run.tokenizer("Question: What is 2 + 3?\\nAnswer:", return_tensors="pt").input_ids
out = run.model.generate(input_ids=ids, max_new_tokens=int(sys.argv[2]), do_sample=False, use_cache=True, eos_token_id=None, pad_token_id=0)
print("generated", out.shape[1] - ids.shape[1], "tokens")
"""

ADAPTER = """
import sys
from peft import get_peft_model
from soka.adapter.targets import base_parameters
from soka.train.build import soka_config
from soka.train.config import read_recipe
from soka.weights.loading import load_whole
base = load_whole(sys.argv[1], dtype="auto")
model = get_peft_model(base, soka_config(read_recipe(sys.argv[2]), base_parameters(base)))
for p in model.parameters():
    if p.requires_grad: p.data.normal_(std=0.01)
model.save_pretrained(sys.argv[3])
"""

def check_room(folder, need_disk, need_memory):
    "Refuse a machine on which the run would not end."
    free = shutil.disk_usage(folder).free
    if free < need_disk: sys.exit(f"FOLDER must have {need_disk/1e9:.0f} GB free, got {free/1e9:.0f} GB")
    found = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text()) if Path("/proc/meminfo").exists() else None
    if found and int(found[1])*1024 < need_memory: sys.exit(f"memory of {need_memory/1e9:.0f} GB must be free, got {int(found[1])*1024/1e9:.1f} GB")

def write_base(folder, sizes):
    "A checkpoint of random float16 weights in shards, one shard in memory at a time, with the embedded base's tokenizer."
    config = LlamaConfig(**sizes, dtype="float16")
    with torch.device("meta"): shapes = {n: t.shape for n,t in LlamaForCausalLM(config).state_dict().items()}
    folder.mkdir(parents=True)
    gen, shards, size = torch.Generator().manual_seed(0), [[]], 0
    for n, s in shapes.items():
        if size and size + 2*s.numel() > SHARD: shards, size = [*shards, []], 0
        shards[-1].append(n)
        size += 2*s.numel()
    where = {}
    for i, names in enumerate(shards, 1):
        file = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        drawn = {n: torch.ones(shapes[n]) if len(shapes[n]) == 1 else 0.02*torch.randn(shapes[n], generator=gen) for n in names}
        save_file({n: t.half() for n,t in drawn.items()}, folder/file, metadata={"format": "pt"})
        where |= dict.fromkeys(names, file)
        print(f"{file} of {len(shards)}", flush=True)
    (folder/"model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": sum(2*s.numel() for s in shapes.values())}, "weight_map": where}))
    for f in base_path().glob("*token*"): shutil.copy(f, folder)
    GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0).save_pretrained(folder)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)          # last: a folder without it is not done

class Watched:
    "A command whose lines begin phases, with seconds and peak memory of each."
    def __init__(self, command, marks, stop=None):
        self.phases, self.name, self.began, self.peak, self.done = {}, "begin", time.perf_counter(), (0, 0), False
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env)
        watcher = Thread(target=self.watch, daemon=True)
        watcher.start()
        for line in self.process.stdout:
            print("  " + line.rstrip(), flush=True)
            for pattern, phase in marks.items():
                if re.search(pattern, line): self.next(phase)
            if stop and stop(line): self.process.send_signal(signal.SIGKILL)
        self.code = self.process.wait()
        self.done = True
        self.next(None)
    def watch(self):
        while not self.done:
            try: status = Path(f"/proc/{self.process.pid}/status").read_text()
            except OSError: return
            found = [re.search(rf"{part}:\s+(\d+)", status) for part in ("RssAnon", "VmRSS")]
            if all(found): self.peak = tuple(max(p, 1024*int(f[1])) for p, f in zip(self.peak, found))
            time.sleep(0.2)
    def next(self, phase):
        now = time.perf_counter()
        self.phases[self.name] = {"seconds": round(now - self.began, 1), "peak_bytes": self.peak[0], "peak_with_mapped_files_bytes": self.peak[1]}
        self.name, self.began, self.peak = phase, now, (0, 0)

def train(folder, base, a, recipes, out, stop=None):
    cut = ["--max_steps", a.steps, "--batch_size", 1, "--gradient_accumulation", 1, "--max_length", a.tokens, "--data", "problems",
           "--data_name", "null", "--template", "plain", "--data_rows", 16, "--eval_rows", 0, "--save_steps", 1, "--epochs", 1, "--dtype", a.dtype]
    small = ["--budget", 20_000] if a.tiny and len(recipes) == 1 else []
    command = [sys.executable, "-m", "soka.cli", "train", *recipes, "--model", base, "--output_dir", folder/out, *cut, *small]
    marks = {r"trained parameters": "start and steps", rf"step {a.steps}/{a.steps}": "save"}
    return Watched(command, marks, stop)

def merge(folder, adapter, record):
    "The merge, and what it wrote."
    watched = Watched([sys.executable, "-m", "soka.cli", "merge", adapter, "--out", folder/"merged", "--max-shard-size", "1GB"], {})
    shards = [p.stat().st_size for p in (folder/"merged").glob("*.safetensors")]
    record["merged"] = {"machine": machine(), "shards": len(shards), "bytes": sum(shards), "largest_shard_bytes": max(shards, default=0)}
    return watched

def merge_only(folder, base, recipe, path):
    "The merge of a random adapter, added to a record."
    for out in ("random", "merged"): shutil.rmtree(folder/out, ignore_errors=True)
    Watched([sys.executable, "-c", ADAPTER, base, recipe, folder/"random"], {})
    record = json.loads(path.read_text()) if path.exists() else {"phases": {}}
    record["phases"]["merge"] = (watched := merge(folder, folder/"random", record)).phases
    if watched.code: sys.exit(f"merge must end with 0, got {watched.code}")
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({k: record[k] for k in ("merged",)} | {"merge": record["phases"]["merge"]}, indent=1))

def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("folder", type=Path)
    p.add_argument("--tokens", type=int, default=64)
    p.add_argument("--steps", type=int, default=2)
    p.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    p.add_argument("--skip", nargs="*", default=[], choices=["lora", "merge", "generate"])
    p.add_argument("--merge_only", action="store_true")
    p.add_argument("--tiny", action="store_true")
    a = p.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    base, name = a.folder/"base", "llama2-7b-cpu" + "-tiny"*a.tiny
    if not (base/"config.json").is_file():
        shutil.rmtree(base, ignore_errors=True)
        check_room(a.folder, *((1e8, 1e9) if a.tiny else (32e9, 10e9)))
        write_base(base, TINY if a.tiny else LLAMA2_7B)
    recipe = ROOT/"recipes"/"llama2-7b-gsm8k.yaml"
    if a.merge_only: return merge_only(a.folder, base, recipe, a.folder/f"{name}.json" if a.tiny else RECORDS/f"{name}.json")
    record = {"settings": {"tokens": a.tokens, "steps": a.steps, "dtype": a.dtype, "model": TINY if a.tiny else LLAMA2_7B}, "phases": {}}
    def keep(what, w, code=0):
        if w.code != code: sys.exit(f"{what} must end with {code}, got {w.code}")
        record["phases"][what] = w.phases
        write(name, record) if not a.tiny else (a.folder/f"{name}.json").write_text(json.dumps(record, indent=1))
    for out in ("soka", "lora", "merged"): shutil.rmtree(a.folder/out, ignore_errors=True)
    def saved(line): return bool(re.search(rf"step 1/{a.steps}", line)) and wait_for(a.folder/"soka"/"checkpoint-1")
    keep("soka, killed", train(a.folder, base, a, [recipe], "soka", saved), -signal.SIGKILL)
    keep("soka, resumed", train(a.folder, base, a, [recipe], "soka"))
    record["trained_parameters"] = json.loads((a.folder/"soka"/"run.json").read_text())["adapter"]["trained_parameters"]
    if "merge" not in a.skip: keep("merge", merge(a.folder, a.folder/"soka"/"adapter", record))
    if "generate" not in a.skip: keep("generate", Watched([sys.executable, "-c", GENERATE, a.folder/"soka", 4], {}))
    if "lora" not in a.skip: keep("lora", train(a.folder, base, a, [recipe, ROOT/"recipes"/"lora-1.05m.yaml"], "lora"))
    print(json.dumps(record["phases"], indent=1))

def wait_for(folder, seconds=600):
    "Is a checkpoint there in time?"
    for _ in range(seconds*5):
        if folder.is_dir(): return True
        time.sleep(0.2)
    return False

if __name__ == "__main__": main()
