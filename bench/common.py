"What every benchmark shares: the model, the methods at matched sizes, timing in alternation, the record."
from __future__ import annotations

import json
import platform
import statistics
import time
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from peft import LoKrConfig, LoraConfig, MissConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from soka import __version__
from soka.peft import SoKAConfig
from soka.train.record import commit
from soka.weights.quant import quantize_layers

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT/"nbs"/"records"

def llama(hidden=512, layers=8, mlp=1408, vocab=2048, heads=8, seed=0, dtype=torch.float32):
    "A Llama with random weights."
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(hidden_size=hidden, num_hidden_layers=layers, intermediate_size=mlp, vocab_size=vocab,
                                         num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=4096)).to(dtype)
    model.config.use_cache = False
    return model

def quantize(model):
    "The same model with every linear layer of its blocks in NF4."
    quantize_layers(model)
    return model

def trainable(model): return sum(p.numel() for p in model.parameters() if p.requires_grad)

def lora(r, **kw): return lambda: LoraConfig(r=r, lora_alpha=r, target_modules="all-linear", **kw)
def soka(**kw): return lambda: SoKAConfig(target_modules="all-linear", **kw)
def lokr(**kw): return lambda: LoKrConfig(target_modules="all-linear", **kw)
def miss(r): return lambda: MissConfig(r=r, target_modules="all-linear")

def adapt(model, config):
    "The adapted model and the seconds its start took."
    t = time.perf_counter()
    model = get_peft_model(model, config())
    return model.train(), time.perf_counter() - t

class Step:
    "One optimizer step on fixed token ids: forward, backward, AdamW."
    def __init__(self, model, ids):
        self.model, self.ids = model, ids
        self.optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)
    def __call__(self):
        self.optimizer.zero_grad()
        loss = self.model(input_ids=self.ids, labels=self.ids).loss
        loss.backward()
        self.optimizer.step()
        return loss

def alternate(steps:dict, repeats:int):
    "Seconds of each step, `repeats` times, the methods taking turns so that a busy machine slows all alike."
    for s in steps.values(): s()
    times = {n: [] for n in steps}
    for i in range(repeats):
        order = list(steps)[i % len(steps):] + list(steps)[:i % len(steps)]
        for n in order:
            t = time.perf_counter()
            steps[n]()
            times[n].append(time.perf_counter() - t)
    return times

def ratio(times, a, b):
    "Median over the rounds of a's time over b's in the same round, with the quartiles."
    q = sorted(x/y for x,y in zip(times[a], times[b]))
    return dict(median=statistics.median(q), q1=q[len(q)//4], q3=q[-1 - len(q)//4])

def peak_bytes(f):
    "Most bytes that torch's allocator held at once while `f` ran, beyond what it held before."
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as p: f()
    now = most = 0
    for e in sorted((e for e in p.profiler.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        now += e.nbytes()
        most = max(most, now)
    return most

def saved_bytes(f, known):
    "Bytes kept for backward by `f` in storages that are not in `known`."
    seen = {}
    def pack(t):
        if t.untyped_storage().data_ptr() not in known: seen[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t): f()
    return sum(seen.values())

def installed(name):
    try: return version(name)
    except PackageNotFoundError: return None

def machine():
    "What the figures depend on; no host name, no path."
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor()) if Path("/proc/cpuinfo").exists() else platform.processor()
    return dict(commit=commit(), date=str(date.today()), python=platform.python_version(), cpu=cpu, gpu=gpu, threads=torch.get_num_threads(),
                versions={"soka": __version__} | {n: installed(n) for n in ("torch", "transformers", "peft", "bitsandbytes", "triton")})

def write(name, record):
    RECORDS.mkdir(parents=True, exist_ok=True)
    f = RECORDS/f"{name}.json"
    f.write_text(json.dumps(dict(machine=machine(), **record), indent=1) + "\n")
    print(f"wrote {f.relative_to(ROOT)}")
