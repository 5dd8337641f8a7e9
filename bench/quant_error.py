"""What a quantized base misses with each start: plain NF4, QPiSSA, LoftQ and soka, at equal adapter parameters.

    python bench/quant_error.py [--only base stories260K wide]

Writes nbs/records/quant-error.json; nbs/adapter/13_dequantize.ipynb shows it. Seeded, one CPU thread. `soka data get stories260k` gets
the public 260K model. PEFT's own code runs for LoftQ and PiSSA on
the two models; on the wide layers the same steps run with a randomized SVD in place of a full one.
"""
import argparse
import copy
import inspect
import json
import logging
import time
import warnings
from functools import partial

import peft.tuners.lora.layer as lora_layer
import torch
from common import RECORDS, trainable, write
from peft import LoftQConfig, LoraConfig, get_peft_model
from peft.utils import loftq_utils
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from soka.method.kpsvd import kpsvd, reconstruct
from soka.method.shape import KronShape, balanced_shape, candidate_shapes, kron_sum
from soka.method.plan import LayerPlan, write_plan
from soka.peft import SoKAConfig
from soka.data.bases import base_path
from soka.data.problems import word_problems
from soka.weights.quant import dense_weight, quantize_linear
from soka.data.registry import data_path
from soka.adapter.fit import fit_shape, fit_start
from soka.adapter.residual import quantize_residual
from soka.weights.clip import store

ROUNDS = 5

def nf4(layer):
    "The layer in NF4 with float scales: PEFT's LoftQ has no others."
    return quantize_linear(layer, double_quant=False)

def low_rank(M, N): return KronShape(M, 1, 1, N)

# ---- models

def linears(model): return {n: m for n,m in model.named_modules() if isinstance(m, nn.Linear) and n != "lm_head"}

def loftq_on_cpu():
    "PEFT's own LoftQ, whose source names cuda, with cpu in that place."
    code = inspect.getsource(loftq_utils.loftq_init).replace('else "cuda"', 'else "cpu"')
    exec(compile(code, "loftq_init", "exec"), loftq_utils.__dict__)
    lora_layer.loftq_init = loftq_utils.loftq_init

def quantize(model, cut=False):
    "Every linear layer of the blocks in NF4."
    for name, m in list(model.named_modules()):
        if type(m) is not nn.Linear or "lm_head" in name or "lora_" in name: continue
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, new := nf4(m))
        if cut: store(new, dense_weight(m))
    return model

def lora(model, r, **kw): return get_peft_model(model, LoraConfig(r=r, lora_alpha=r, target_modules="all-linear", **kw))
def qpissa(model, r): return quantize(lora(model, r, init_lora_weights="pissa"))
def loftq(model, r, n): return lora(model, r, init_lora_weights="loftq", loftq_config=LoftQConfig(loftq_bits=4, loftq_iter=n))

def by_error(layer, params):
    "The shape that soka chooses for a layer, with the terms that the parameters pay for."
    return fit_shape(dense_weight(layer), candidate_shapes(*layer.weight.shape), params, partial(store, nf4(layer)))

def paid(pick):
    "From a shape to the terms that the parameters pay for."
    def plan(layer, params):
        s = pick(*layer.weight.shape)
        return LayerPlan(s, min(params//s.params, s.max_rank))
    return plan

def soka(model, r, pick=None, n=ROUNDS, **kw):
    "A residual base; every layer has at most the parameters of LoRA of rank r, or all have them together."
    layers = linears(model)
    if pick is None: more = dict(budget=r*sum(sum(l.weight.shape) for l in layers.values()), energy=1.)
    else: more = dict(plan=write_plan({k: pick(l, r*sum(l.weight.shape)) for k,l in layers.items()}))
    config = SoKAConfig(mode="residual", target_modules=sorted({k.rsplit(".", 1)[-1] for k in layers}), **more)
    return quantize_residual(model, config, iterations=n, double_quant=False, **kw)

PLAIN = dict(step=1., clip=False)
ARMS = {
    "plain NF4": lambda m, r: quantize(m), "plain NF4, blocks cut": lambda m, r: quantize(m, cut=True),
    "LoftQ, 1 round": partial(loftq, n=1), "LoftQ, 5 rounds": partial(loftq, n=5),
    "QPiSSA": qpissa, "QPiSSA, alternated 5 rounds": partial(soka, pick=paid(low_rank), **PLAIN),
    "soka low-rank, 1 round": partial(soka, pick=paid(low_rank), n=1), "soka low-rank, 5 rounds": partial(soka, pick=paid(low_rank)),
    "soka balanced, 1 round": partial(soka, pick=paid(balanced_shape), n=1), "soka balanced, 5 rounds": partial(soka, pick=paid(balanced_shape)),
    "soka auto, 1 round": partial(soka, pick=by_error, n=1), "soka auto, 5 rounds": partial(soka, pick=by_error),
    "soka budget, 5 rounds": soka,
}

def effective(m):
    "Dense weight that a layer computes with, adapter included."
    if hasattr(m, "lora_A"): return dense_weight(m.get_base_layer()) + m.get_delta_weight("default").float()
    if hasattr(m, "soka_terms"): return dense_weight(m.get_base_layer()) + m.start_weight("default")
    return dense_weight(m)

def errors(reference, model, ids):
    "Relative error of all weights together and of the logits, and the mean KL divergence in nats a token."
    inner = model.base_model.model if hasattr(model, "peft_config") else model
    lost = total = 0.
    for n, l in linears(reference).items():
        W = dense_weight(l)
        lost, total = lost + float((W - effective(inner.get_submodule(n))).square().sum()), total + float(W.square().sum())
    with torch.no_grad(): want, got = (m.eval()(input_ids=ids).logits for m in (reference, model))
    kl = nn.functional.kl_div(got.log_softmax(-1), want.log_softmax(-1), log_target=True, reduction="none").sum(-1).mean()
    return dict(weight=(lost/total)**.5, logits=float((got - want).norm()/want.norm()), kl=float(kl))

def on_model(folder, ids, r):
    "Every arm on one model."
    reference, rows = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), {}
    for name, make in ARMS.items():
        torch.manual_seed(0)
        t = time.perf_counter()
        model = make(copy.deepcopy(reference), r)
        rows[name] = dict(errors(reference, model, ids), seconds=time.perf_counter() - t, parameters=trainable(model) if hasattr(model, "peft_config") else 0)
        print(f"{name:30}", {k: round(v, 4) for k,v in rows[name].items()}, flush=True)
    return dict(r=r, tokens=ids.numel(), rows=rows)

def problem_ids(n=16, length=96):
    "Rows of held-out word problems with their answers, one after the other."
    tokenizer = AutoTokenizer.from_pretrained(base_path())
    text = "\n".join(f"{p['question']}\n{p['answer']}" for p in word_problems(200, split="test"))
    return torch.tensor(tokenizer(text).input_ids[:n*length]).reshape(n, length)

def story_ids(n=16, length=96):
    "Rows that the float model itself writes."
    folder = data_path("stories260k")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    start = tokenizer("Once upon a time", return_tensors="pt").input_ids.repeat(n, 1)
    torch.manual_seed(0)
    return model.generate(start, attention_mask=torch.ones_like(start), do_sample=True, top_k=0, min_new_tokens=length, max_new_tokens=length, pad_token_id=0)

# ---- wide layers

def planted(shape, terms=64, share=.5, seed=0):
    "Terms of one shape whose sizes decay as k**-0.75, and noise: `share` of the energy is the terms'."
    g = torch.Generator().manual_seed(seed)
    U, V = (torch.randn(terms, *s, generator=g) for s in (shape[:2], shape[2:]))
    W = kron_sum(U, torch.arange(1, terms + 1)**-.75, V)
    noise = torch.randn(W.shape, generator=g)
    return W*(share**.5/W.norm()) + noise*((1 - share)**.5/noise.norm())

WIDE = {"4096x4096, planted s=1": KronShape(4096, 1, 1, 4096), "4096x11008, planted s=8": KronShape(512, 8, 8, 1376)}

def loftq_layer(W, terms, layer, n):
    "LoftQ's steps; errors after each."
    L, out = torch.zeros_like(W), []
    for _ in range(n):
        Q = store(layer, W - L, clip=False)
        L = reconstruct(terms(W - Q))
        out.append(float((W - Q - L).norm()/W.norm()))
    return out

def on_layer(W, r):
    "Relative weight error of every arm."
    M, N = W.shape
    linear = nn.Linear(N, M, bias=False)
    linear.weight.data = W
    layer, params, rows = nf4(linear), r*(M + N), {}
    def add(name, error, s, k):
        rows[name] = dict(weight=error, parameters=k*s.params if s else 0, shape=s and list(s))
        print(f"{name:30} {error:.5f} {rows[name]['parameters']:,}", flush=True)
    for name, clip in (("plain NF4", False), ("plain NF4, blocks cut", True)): add(name, float((W - store(layer, W, clip=clip)).norm()/W.norm()), None, 0)
    lr = partial(kpsvd, shape=low_rank(M, N), rank=r)
    found = loftq_layer(W, lr, layer, ROUNDS)
    for name, e in (("LoftQ, 1 round", found[0]), ("LoftQ, 5 rounds", found[-1])): add(name, e, low_rank(M, N), r)
    found = fit_start(W, lr, partial(store, layer, clip=False), ROUNDS, 1.).errors
    for name, e in (("QPiSSA", found[0]), ("QPiSSA, alternated 5 rounds", min(found))): add(name, e, low_rank(M, N), r)
    shapes = {"low-rank": low_rank(M, N), "balanced": balanced_shape(M, N), "auto": by_error(linear, params).shape}
    done = {}
    for name, s in shapes.items():
        k = params//s.params
        if s not in done: done[s] = fit_start(W, partial(kpsvd, shape=s, rank=k), partial(store, layer), ROUNDS).errors
        add(f"soka {name}, 1 round", done[s][0], s, k)
        add(f"soka {name}, 5 rounds", min(done[s]), s, k)
    return dict(r=r, rows=rows)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", nargs="+", choices=("base", "stories260K", "wide"), default=("base", "stories260K", "wide"))
    args = p.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for name in ("bitsandbytes", "transformers"): logging.getLogger(name).setLevel(logging.ERROR)
    loftq_on_cpu()
    f = RECORDS/"quant-error.json"
    record = {k: v for k,v in json.loads(f.read_text()).items() if k != "machine"} if f.exists() else {}
    if "base" in args.only: record["embedded base"] = on_model(base_path(), problem_ids(), 4)
    if "stories260K" in args.only: record["stories260K"] = on_model(data_path("stories260k"), story_ids(), 4)
    if "wide" in args.only:
        for name, s in WIDE.items():
            print(name, flush=True)
            record[name] = on_layer(planted(s), 8)
    write("quant-error", record)

if __name__ == "__main__": main()
