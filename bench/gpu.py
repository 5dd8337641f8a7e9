"""A training step of LLaMA2-7B's shape on one GPU: SoKA beside PEFT's methods, fused kernels beside plain PyTorch.

    python bench/gpu.py [--only ceilings layer nf4 bf16] [--steps 10] [--out FILE] [--tiny]

The weights are random: time and memory do not depend on them. The base is made layer by layer, in NF4 or in bfloat16, so that
it fits. Writes nbs/records/bench-gpu.json, each method as it is done. `--tiny` runs the same program on a CPU in seconds.
"""
import argparse
import gc
import json
import logging
import statistics
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
from common import RECORDS, Step, machine, peak_bytes, trainable
from peft import LoKrConfig, LoraConfig, MissConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from soka.method import kernels
from soka.method import apply as kron
from soka.method.shape import balanced_shape
from soka.method.apply import kron_linear
from soka.peft import SoKAConfig, SoKALayer
from soka.weights.quant import keep_cpu_weights, quantize_linear

FULL = SimpleNamespace(hidden=4096, layers=32, mlp=11008, heads=32, vocab=32_000, batch=8, seq=512, budget=990_000, big=(8, 16),
                       copy=2**30, matmul=8192, device="cuda")
TINY = SimpleNamespace(hidden=64, layers=1, mlp=96, heads=4, vocab=128, batch=2, seq=16, budget=1_500, big=(2, 4),
                       copy=2**20, matmul=128, device="cpu")
PARTS = ("ceilings", "layer", "nf4", "bf16")
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]

def sync(s):
    if s.device == "cuda": torch.cuda.synchronize()

def seconds(f, s, repeats=7, inner=10):
    "Seconds of one call of `f`, measured `repeats` times over `inner` calls in a row."
    times = []
    for _ in range(repeats + 1):
        sync(s)
        t = time.perf_counter()
        for _ in range(inner): f()
        sync(s)
        times.append((time.perf_counter() - t)/inner)
    return times[1:]

def ceilings(s):
    "What the machine reaches: bytes/s of a big copy, multiply-adds/s of a big bfloat16 product."
    a = torch.empty(s.copy, dtype=torch.bfloat16, device=s.device)
    b, M = torch.zeros_like(a), torch.randn(s.matmul, s.matmul, device=s.device).bfloat16()
    return dict(bytes_per_second=2*a.nbytes/statistics.median(seconds(lambda: b.copy_(a), s)),
                madds_per_second=s.matmul**3/statistics.median(seconds(lambda: M @ M, s)))

def base_model(s, quantized):
    "LLaMA2-7B's architecture with random weights in bfloat16, the blocks' linear layers in NF4 if `quantized`."
    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=s.hidden, num_hidden_layers=0, intermediate_size=s.mlp, vocab_size=s.vocab,
                         num_attention_heads=s.heads, num_key_value_heads=s.heads, use_cache=False)
    with torch.device(s.device): model = LlamaForCausalLM(config).bfloat16()
    config.num_hidden_layers = s.layers
    for i in range(s.layers):
        with torch.device(s.device): block = LlamaDecoderLayer(config, i).bfloat16()
        for parent in (block.self_attn, block.mlp) if quantized else ():
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear): setattr(parent, name, quantize_linear(child, compute_dtype=torch.bfloat16))
        model.model.layers.append(block)
    if quantized: keep_cpu_weights(model)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=dict(use_reentrant=False))
    return model.requires_grad_(False)

def arms(s):
    "Size -> method -> config, at about 1M and 10M trained parameters (at full size)."
    def att(c, **kw): return lambda: c(target_modules=ATTENTION, **kw)
    def every(c, **kw): return lambda: c(target_modules="all-linear", **kw)
    pissa, dora = dict(init_lora_weights="pissa_niter_16"), dict(use_dora=True)
    r, factor = s.big
    return {
        "1M": {"LoRA": att(LoraConfig, r=1), "SoKA": att(SoKAConfig, r=1, shape="balanced"), "SoKA budget": every(SoKAConfig, budget=s.budget),
               "PiSSA": att(LoraConfig, r=1, **pissa), "DoRA": att(LoraConfig, r=1, **dora), "LoKr": att(LoKrConfig, r=10_000),
               "MiSS": att(MissConfig, r=2), "LoRA again": att(LoraConfig, r=1)},
        "10M": {"LoRA": every(LoraConfig, r=4), "SoKA": every(SoKAConfig, r=4, shape="balanced"), "SoKA low-rank": every(SoKAConfig, r=4, shape="low-rank"),
                "PiSSA": every(LoraConfig, r=4, **pissa), "DoRA": every(LoraConfig, r=4, **dora),
                "LoKr": att(LoKrConfig, r=10_000, decompose_factor=factor), "MiSS": every(MissConfig, r=r), "LoRA again": every(LoraConfig, r=4)}}

class HalfStep(Step):
    "A step whose forward pass runs under bfloat16 autocast, as `Trainer(bf16=True)` does it."
    def __call__(self):
        self.optimizer.zero_grad()
        with torch.autocast(self.ids.device.type, dtype=torch.bfloat16): loss = self.model(input_ids=self.ids, labels=self.ids).loss
        loss.backward()
        self.optimizer.step()
        return loss

def peak(step, s):
    "Most bytes during a step: all on the GPU; beyond the model on a CPU."
    if s.device != "cuda": return peak_bytes(step)
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated()

def frozen_madds(model):
    "Multiply-adds per token of the blocks' linear layers and the head."
    sides = [(m.in_features, m.out_features) for m in model.modules() if hasattr(m, "in_features") and not hasattr(m, "base_layer")]
    return sum(a*b for a,b in sides)

def step_of(model, s, steps, limits, madds):
    "Time, memory and rates of a training step."
    ids = torch.randint(0, s.vocab, (s.batch, s.seq), generator=torch.Generator().manual_seed(0)).to(s.device)
    step = HalfStep(model, ids)
    for _ in range(2): step()
    times, most = seconds(step, s, steps, 1), peak(step, s)
    t = statistics.median(times)
    out = dict(seconds=times, tokens_per_second=s.batch*s.seq/t, peak_bytes=most)
    if limits: out["of_matrix_rate"] = 3*madds*s.batch*s.seq/t/limits["madds_per_second"]  # forward, again, input gradients
    return out

def uses_kernels(l):
    "Does the layer's shape fit the kernels? They run in the dtype of autocast."
    terms = l.soka_terms["default"]
    return kernels.fits(terms.shape, torch.bfloat16, terms.U.device)

def arm(base, config, s, steps, limits, madds):
    "One method on the base: start, step, and for SoKA the step without the fused kernels. The base comes back bare."
    sync(s)
    t = time.perf_counter()
    model = get_peft_model(base, config()).train()
    sync(s)
    out = dict(start_seconds=time.perf_counter() - t, trainable=trainable(model), step=step_of(model, s, steps, limits, madds))
    if isinstance(config(), SoKAConfig):
        out["layers"], out["layers_with_kernels"] = (sum(f(l) for l in model.modules() if isinstance(l, SoKALayer)) for f in (lambda l: 1, uses_kernels))
        with patch.object(kron, "_kernels", lambda *a: None): out["step_without_kernels"] = step_of(model, s, steps, limits, madds)
    model.unload()
    return out

def steps_on(quantized):
    def run(s, steps, record, keep):
        base, out = base_model(s, quantized), {}
        madds, limits = frozen_madds(base.model.layers) + s.hidden*s.vocab, record.get("ceilings")
        for size, methods in arms(s).items():
            for name, config in methods.items():
                try: result = arm(base, config, s, steps, limits, madds)
                except (TypeError, ValueError, NotImplementedError, RuntimeError) as e:  # PiSSA and LoKr do not work on NF4 layers
                    result = dict(error=f"{type(e).__name__}: {e}")
                if "error" in result: base = None  # in an unknown state
                gc.collect()
                if s.device == "cuda": torch.cuda.empty_cache()
                if base is None: base = base_model(s, quantized)
                out[f"{name}, {size}"] = result
                keep(out)
                print(f"  {name}, {size}: {summary(result)}", flush=True)
        return out
    return run

def summary(a):
    if "error" in a: return a["error"][:80]
    parts = [f"{k.replace('_', ' ')} {statistics.median(a[k]['seconds']):.3f} s, {a[k]['peak_bytes']/2**30:.2f} GiB" for k in ("step", "step_without_kernels") if k in a]
    return f"start {a['start_seconds']:.1f} s, {a['trainable']:,} trained; " + "; ".join(parts)

def layer(s, steps, record):
    "One layer's adapter at each balanced shape, forward with the addition and backward, fused and plain; shares of the ceilings."
    T, limits, out = s.batch*s.seq, record.get("ceilings"), {}
    for sides in ((s.hidden, s.hidden), (s.mlp, s.hidden), (s.hidden, s.mlp)):
        shape = balanced_shape(*sides)
        for r in (1, 2, 8):
            x, U, V, y = (torch.randn(d, device=s.device).bfloat16() for d in ((T, sides[1]), (r, *shape[:2]), (r, *shape[2:]), (T, sides[0])))
            ways = {"plain": (lambda: y + kron_linear(x, U, V, shape.order), lambda: plain_grads(y, x, U, V, shape, r))}
            if kernels.fits(shape, x.dtype, x.device):
                ways["fused"] = (lambda: kernels.fused_forward(x, U, V, y), lambda: (kernels.fused_input_grad(y, U, V), kernels.fused_factor_grads(y, x, U, V)))
            out[f"{tuple(shape)}, r={r}"] = {k: {n: rates(f, s, b, c*r*shape.madds()*T, limits) for n, f, b, c in
                                                 (("forward", fs[0], x.nbytes + 2*y.nbytes, 1), ("backward", fs[1], 2*(x.nbytes + y.nbytes), 3))}
                                             for k, fs in ways.items()}
    return out

def plain_grads(g, x, U, V, shape, r):
    return kron._grads(g, x, U, V, r, shape.order, (True, True, True), (torch.float32, torch.float32))

def rates(f, s, least, madds, limits):
    "Seconds of `f`; the share of the bandwidth if it moved the `least` bytes, and of the matrix rate."
    with torch.no_grad(): times = seconds(f, s)
    t = statistics.median(times)
    shares = dict(of_bandwidth=least/t/limits["bytes_per_second"], of_matrix_rate=madds/t/limits["madds_per_second"]) if limits else {}
    return dict(seconds=times, least_bytes=least, madds=madds, **shares)

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--out", type=Path, default=RECORDS/"bench-gpu.json")
    p.add_argument("--tiny", action="store_true", help="a tiny model on a CPU, to try the program")
    a = p.parse_args(argv)
    s = TINY if a.tiny else FULL
    if s.device == "cuda" and not torch.cuda.is_available(): sys.exit("bench/gpu.py needs a CUDA device; --tiny tries it on a CPU")
    if a.tiny and a.out.resolve() == RECORDS/"bench-gpu.json": sys.exit("--tiny measures nothing: give it an --out of its own")
    record = json.loads(a.out.read_text()) if a.out.exists() else {}
    gc.freeze()             # what is imported stays: `gc.collect` need not look at it
    record |= dict(machine=machine(), settings=vars(s) | dict(steps=a.steps, dtype="bfloat16", checkpointing=True))
    def keep(name, found):
        record[name] = found
        a.out.parent.mkdir(parents=True, exist_ok=True)
        a.out.write_text(json.dumps(record, indent=1) + "\n")
    parts = dict(ceilings=lambda: ceilings(s), layer=lambda: layer(s, a.steps, record),
                 nf4=lambda: steps_on(True)(s, a.steps, record, lambda out: keep("nf4", out)),
                 bf16=lambda: steps_on(False)(s, a.steps, record, lambda out: keep("bf16", out)))
    for name in a.only:
        t = time.perf_counter()
        keep(name, parts[name]())
        print(f"{name}: {time.perf_counter() - t:.0f} s", flush=True)

if __name__ == "__main__":
    kron._KERNELS = True    # they are asked for
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    if "--tiny" in sys.argv: torch.set_num_threads(1)
    main()
