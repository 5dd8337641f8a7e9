"""Step time, memory, start and load of SoKA beside PEFT's methods on a small Llama, one CPU thread.

    python bench/cpu.py [--repeats 7] [--only step nf4 memory start load token layer growth profile]

Writes nbs/records/bench-cpu.json; nbs/experiments/speed.ipynb shows it.
"""
import argparse
import copy
import json
import logging
import tempfile
import time
import warnings

import torch
from common import (RECORDS, Step, adapt, alternate, commit, llama, lokr, lora, miss, peak_bytes, quantize, ratio, saved_bytes, soka,
                    trainable, write)
from peft import PeftModel

from soka.core import SoKALinear
from soka.method.kpsvd import kpsvd
from soka.method.shape import KronShape, rearrange
from soka.peft import SoKALayer

BATCH, SEQ = 4, 256

def counts(base):
    "Parameters of LoRA r=8 and of LoKr, the counts to match."
    return tuple(trainable(adapt(copy.deepcopy(base), c)[0]) for c in (lora(8), lokr(r=10_000)))

def methods(base):
    "Every arm: name -> config maker."
    n8, nk = counts(base)
    return {
        "LoRA r=8": lora(8), "PiSSA r=8": lora(8, init_lora_weights="pissa_niter_16"), "DoRA r=8": lora(8, use_dora=True),
        "MiSS r=16": miss(16), "LoKr": lokr(r=10_000), "LoRA r=1": lora(1),
        "SoKA at LoRA r=8's count": soka(budget=n8), "SoKA r=8, zero start": soka(r=8, shape="low-rank", source="zero"),
        "SoKA one balanced term": soka(r=1, shape="balanced"), "SoKA at LoKr's count": soka(budget=nk),
    }

GOALS = [("SoKA at LoRA r=8's count", "LoRA r=8", 1.05), ("SoKA one balanced term", "LoRA r=1", 1.20),
         ("SoKA at LoKr's count", "LoKr", 0.70)]

def arms_that_run(base, ids):
    "The methods ready to step, and what stops the others: PEFT has no PiSSA start for a 4-bit base, and its LoKr cannot multiply with one."
    steps, errors = {}, {}
    for n, c in methods(base).items():
        try:
            step = Step(adapt(copy.deepcopy(base), c)[0], ids)
            step()
            steps[n] = step
        except (TypeError, RuntimeError) as e: errors[n] = str(e).splitlines()[0]
    return steps, errors

def step_times(base, repeats):
    "Seconds per optimizer step of every method, methods in alternation."
    steps, errors = arms_that_run(base, torch.randint(0, base.config.vocab_size, (BATCH, SEQ)))
    times = alternate(steps, repeats)
    return dict(trainable={n: trainable(s.model) for n,s in steps.items()}, seconds=times, errors=errors,
                to_lora={n: ratio(times, n, "LoRA r=8") for n in times},
                goals=[dict(method=a, against=b, goal=g, **ratio(times, a, b)) for a,b,g in GOALS if a in times and b in times],
                terms=[[l.soka_terms["default"].r, *l.soka_terms["default"].shape]
                       for l in steps["SoKA at LoRA r=8's count"].model.modules() if isinstance(l, SoKALayer)])

def memory(base):
    "Most bytes held during one step beyond the model, for SoKA and LoRA at equal parameters; bytes the adapter saves."
    ids = torch.randint(0, base.config.vocab_size, (BATCH, SEQ))
    arms = {n: c for n,c in methods(base).items() if "LoRA r=8" in n or n == "LoKr"}
    peak = {}
    for n, c in arms.items():
        step = Step(adapt(copy.deepcopy(base), c)[0], ids)
        step()
        peak[n] = peak_bytes(step)
    layer, x = SoKALinear.from_linear(torch.nn.Linear(512, 1408), r=4), torch.randn(64, 512)
    known = {t.untyped_storage().data_ptr() for t in (x, *layer.parameters(), *layer.buffers())}
    return dict(peak_bytes=peak, ratio=peak["SoKA at LoRA r=8's count"]/peak["LoRA r=8"],
                saved_beyond_input_and_factors=saved_bytes(lambda: layer(x), known))

def starts(base, repeats):
    "Seconds to add an adapter to the model, methods in alternation."
    arms = {n: methods(base)[n] for n in ("LoRA r=8", "PiSSA r=8", "SoKA at LoRA r=8's count", "SoKA one balanced term")}
    arms["SoKA r=8, low-rank shape"] = soka(r=8, shape="low-rank")
    times = {n: [] for n in arms}
    for _ in range(repeats):
        for n, c in arms.items(): times[n].append(adapt(copy.deepcopy(base), c)[1])
    return dict(seconds=times, to_pissa={n: ratio(times, n, "PiSSA r=8") for n in times})

def one_layer(repeats):
    "KPSVD of 16 terms of a 4096 x 11008 layer against the full SVD of the same rearranged matrix."
    torch.manual_seed(0)
    M, N = 4096, 11008
    out = {}
    W = torch.randn(M, N)                                     # a flat spectrum: the hardest to find
    for shape in (KronShape(M, 1, 1, N), KronShape(64, 64, 64, 172)):
        fast = []
        for _ in range(repeats):
            t = time.perf_counter()
            k = kpsvd(W, shape, 16)
            fast.append(time.perf_counter() - t)
        t = time.perf_counter()
        S = torch.linalg.svd(rearrange(W, shape), full_matrices=False).S
        full = time.perf_counter() - t
        out[str(tuple(shape))] = dict(seconds=fast, svd_seconds=full, ratio=sorted(fast)[len(fast)//2]/full,
                                      energy_captured=float((k.S**2).sum()/(S[:16]**2).sum()))
    return out

def loads(base, repeats):
    "Seconds to load a saved adapter, methods in alternation."
    times = {}
    with tempfile.TemporaryDirectory() as d:
        arms = {n: methods(base)[n] for n in ("LoRA r=8", "SoKA at LoRA r=8's count")}
        for i, c in enumerate(arms.values()): adapt(copy.deepcopy(base), c)[0].save_pretrained(f"{d}/{i}")
        times = {n: [] for n in arms}
        for _ in range(repeats + 1):
            for i, n in enumerate(arms):
                model, t = copy.deepcopy(base), time.perf_counter()
                PeftModel.from_pretrained(model, f"{d}/{i}")
                times[n].append(time.perf_counter() - t)
    times = {n: t[1:] for n,t in times.items()}
    return dict(seconds=times, **ratio(times, "SoKA at LoRA r=8's count", "LoRA r=8"))

def tokens(repeats):
    "Seconds of one token through 224 adapted layers, and of greedy generation of 16, where the calls cost more than the products."
    base = llama(hidden=64, layers=32, mlp=176, vocab=256, heads=4)
    arms = {"base": base, **{n: adapt(copy.deepcopy(base), c)[0] for n, c in (("LoRA r=8", lora(8)), ("SoKA r=8", soka(r=8)), ("SoKA one balanced term", soka(r=1, shape="balanced")))}}
    one, out = torch.tensor([[1]]), {}
    for m in arms.values(): m.eval()
    def forward(m): return lambda: m(input_ids=one)
    def generate(m): return lambda: m.generate(input_ids=one, max_new_tokens=16, min_new_tokens=16, do_sample=False, use_cache=True, pad_token_id=0)
    with torch.inference_mode():
        for name, f in (("forward", forward), ("generate", generate)):
            times = alternate({n: f(m) for n, m in arms.items()}, 5*repeats)
            out[name] = dict(seconds=times, to_lora={n: ratio(times, n, "LoRA r=8") for n in times})
    return dict(layers=224, **out)

def growth(base, repeats):
    "Step time from 1 to 16 terms at the low-rank, a middle and the balanced shape, with the counted multiply-adds."
    ids = torch.randint(0, base.config.vocab_size, (BATCH, SEQ))
    out = {}
    for shape in ("low-rank", "s=8", "balanced"):
        models = {str(r): adapt(copy.deepcopy(base), soka(r=r, shape=shape))[0] for r in (1, 2, 4, 8, 16)}
        times = alternate({n: Step(m, ids) for n,m in models.items()}, repeats)
        madds = {n: sum(int(n)*l.soka_terms["default"].shape.madds()
                        for l in m.modules() if isinstance(l, SoKALayer)) for n,m in models.items()}
        out[str(shape)] = dict(seconds=times, to_one_term={n: ratio(times, n, "1")["median"] for n in times}, madds_per_token=madds)
    frozen = sum(m.in_features*m.out_features for m in base.model.layers.modules() if isinstance(m, torch.nn.Linear))
    return dict(shapes=out, frozen_madds_per_token=frozen)

def where_time_goes(base):
    "Milliseconds by operator in one step, of a balanced term and of LoRA r=1: what the difference is made of."
    ids, out = torch.randint(0, base.config.vocab_size, (BATCH, SEQ)), {}
    for n in ("SoKA one balanced term", "LoRA r=1"):
        step = Step(adapt(copy.deepcopy(base), methods(base)[n])[0], ids)
        step()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as p: step()
        out[n] = {e.key: round(e.self_cpu_time_total/1e3, 2) for e in sorted(p.key_averages(), key=lambda e: -e.self_cpu_time_total)[:40]}
    return out

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--repeats", type=int, default=7)
    p.add_argument("--only", nargs="*", default=["step", "nf4", "memory", "start", "load", "token", "layer", "growth", "profile"])
    args = p.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    base = llama()
    parts = dict(step=lambda: step_times(base, args.repeats), nf4=lambda: step_times(quantize(copy.deepcopy(base)), args.repeats),
                 memory=lambda: memory(base), start=lambda: starts(base, args.repeats), load=lambda: loads(base, args.repeats),
                 token=lambda: tokens(args.repeats),
                 layer=lambda: one_layer(3), profile=lambda: where_time_goes(quantize(copy.deepcopy(base))), growth=lambda: growth(base, args.repeats))
    f = RECORDS/"bench-cpu.json"
    record = json.loads(f.read_text()) if f.exists() else {}
    record.pop("machine", None)
    record |= dict(settings=dict(hidden=512, layers=8, mlp=1408, batch=BATCH, seq=SEQ, repeats=args.repeats, dtype="float32"))
    for name in args.only:
        t = time.perf_counter()
        record[name] = parts[name]()
        record.setdefault("commits", {})[name] = commit()     # parts may be measured at different times
        print(f"{name}: {time.perf_counter() - t:.0f} s")
        write("bench-cpu", record)
