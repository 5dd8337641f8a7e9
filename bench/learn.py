"""Which shape, rank, start and budget learn best: a real small Llama on real text, each arm at its own best learning rate.

    python bench/learn.py [--base ../shared/models/stories260K] [--data ../shared/data/gsm8k_train.jsonl] [--arms ...]

Sweeps learning rates on validation rows with one seed, then runs the best rate with five seeds and reads the test rows
once for each. Finished runs are kept in nbs/records/learn-stories260k.json and not repeated.
"""
import argparse
import json
import logging
import statistics
import time
import warnings
from pathlib import Path

import datasets
import torch
from common import RECORDS, machine, trainable
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, get_cosine_schedule_with_warmup

from soka.data import Collator, encode_rows, load_rows
from soka.evaluate import answer_nll
from soka.dynamic import recompress_model
from soka.peft import SoKAConfig, with_gradients
from soka.similar import RIVALS, cdka_config, matched, scale_adapter

RATES = [5e-3, 1e-2, 2e-2, 4e-2, 8e-2]
SEEDS = [0, 1, 2, 3, 4]
STEPS, BATCH, LONGEST, WARMUP, GRADIENT_BATCHES = 100, 8, 256, 5, 8
FULL = "lora r=4"                           # its parameters are 100%; arms that do not say otherwise get 75%

ARMS = {
    "lora r=4": dict(method="lora", r=4), "pissa r=4": dict(method="lora", r=4, init_lora_weights="pissa"),
    "lora r=3": dict(method="lora", r=3),
    "zero, s=1": dict(shape="s=1", r=3, source="zero"), "zero, balanced": dict(shape="balanced", r=3, source="zero"),
    "weight, s=1": dict(shape="s=1", r=3, source="weight"), "weight, s=2": dict(shape="s=2", r=3, source="weight"),
    "weight, s=4": dict(shape="s=4", r=3, source="weight"), "weight, s=8": dict(shape="s=8", r=3, source="weight"),
    "weight, balanced": dict(shape="balanced", r=3, source="weight"), "weight, auto": dict(shape="auto", r=3, source="weight"),
    "weight, auto, budget": dict(shape="auto", budget=0.75, source="weight"),
    "weight shapes, first gradient": dict(shape="auto", r=3), "first gradient, s=1": dict(shape="s=1", r=3), "first gradient, s=1, r=2": dict(shape="s=1", r=2),
    "first gradient, s=1, r=4": dict(shape="s=1", r=4), "first gradient, s=1, dynamic": dict(shape="s=1", r=3, dynamic=25),
    "gradient, s=1": dict(shape="s=1", r=3, source="gradient"), "gradient, s=2": dict(shape="s=2", r=3, source="gradient"),
    "gradient, s=4": dict(shape="s=4", r=3, source="gradient"), "gradient, s=8": dict(shape="s=8", r=3, source="gradient"),
    "gradient, balanced": dict(shape="balanced", r=3, source="gradient"), "gradient, auto": dict(shape="auto", r=3, source="gradient"),
    "gradient, s=1, budget": dict(shape="s=1", budget=0.75, source="gradient"),
    "gradient, auto, budget": dict(shape="auto", budget=0.75, source="gradient"),
    "gradient, auto, budget, 90% energy": dict(shape="auto", budget=0.75, source="gradient", energy=0.9),
    "osora": dict(method="osora", budget=0.75),          # all it can take, which is less
    "ssvd": dict(method="ssvd", budget=0.75), "ssvd, 100%": dict(method="ssvd", budget=1.),
    "salt": dict(method="salt", k=8, budget=0.75), "salt, 100%": dict(method="salt", k=8, budget=1.),
    "cdka, r1=r2=4": dict(method="cdka", r1=4, r2=4, r=3, alpha=4.), "cdka, r1=r2=4, 100%": dict(method="cdka", r1=4, r2=4, r=4, alpha=4.),
}

class Task:
    "The base, the rows and their order."
    def __init__(self, base, data):
        self.base, self.tokenizer = base, AutoTokenizer.from_pretrained(base)
        rows = load_rows(data)
        keep = encode_rows(rows, self.tokenizer, "plain", 512, verbose=False).dataset.filter(lambda r: len(r["input_ids"]) <= LONGEST)
        n = len(keep)
        self.train, self.validation, self.test = keep.select(range(n - 256)), keep.select(range(n - 256, n - 128)), keep.select(range(n - 128, n))
        self.collate = Collator(self.tokenizer)

    def model(self):
        m = AutoModelForCausalLM.from_pretrained(self.base)
        m.config.use_cache = False
        return m

    def batches(self, seed, n):
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed)).tolist()
        return [self.collate([self.train[j] for j in order[i*BATCH:(i + 1)*BATCH]]) for i in range(n)]

    def nll(self, model, part): return answer_nll(model, part, self.tokenizer, 16)

def build(task, arm, seed):
    "The adapted model of one arm."
    torch.manual_seed(seed)
    kw, model = dict(ARMS[arm]), task.model()
    kw.pop("dynamic", None)
    method = kw.pop("method", "soka")
    if method == "lora": return get_peft_model(model, LoraConfig(lora_alpha=kw["r"], target_modules="all-linear", **kw))
    if "budget" in kw:
        full = trainable(get_peft_model(task.model(), LoraConfig(r=ARMS[FULL]["r"], target_modules="all-linear")))
        kw["budget"] = int(kw["budget"]*full)
    if method in RIVALS:
        budget = kw.pop("budget")
        return get_peft_model(model, matched(RIVALS[method].config(target_modules="all-linear", seed=seed, **kw), model, budget))
    if method == "cdka":
        config, scale = cdka_config(model, target_modules="all-linear", seed=seed, **kw)
        model = get_peft_model(model, config)
        scale_adapter(model, scale)
        return model
    config = SoKAConfig(target_modules="all-linear", seed=seed, **kw)
    if "source" in kw and config.source == "gradient": config = with_gradients(config, model, task.batches(seed, GRADIENT_BATCHES))
    return get_peft_model(model, config)

def run(task, arm, rate, seed, part):
    "Train one arm once; held-out NLL per answer token, losses and gradient norms."
    t = time.perf_counter()
    model = build(task, arm, seed).train()
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, rate, weight_decay=0.)
    schedule = get_cosine_schedule_with_warmup(optimizer, WARMUP, STEPS)
    losses, norms = [], []
    every = ARMS[arm].get("dynamic")
    for step, b in enumerate(task.batches(seed, STEPS)):
        loss = model(**b).loss
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(params, 1.)))
        optimizer.step()
        schedule.step()
        if every and (step + 1) % every == 0 and step + 1 < STEPS: recompress_model(model, trainable(model), optimizer=optimizer, seed=step)
        losses.append(loss.item())
    return dict(arm=arm, rate=rate, seed=seed, part=part, nll=task.nll(model, getattr(task, part)), trainable=trainable(model),
                losses=[round(v, 4) for v in losses], norms=[round(v, 4) for v in norms], seconds=round(time.perf_counter() - t, 1))

class Store:
    "Finished runs in a JSON file, by what decides them."
    def __init__(self, path):
        self.path = Path(path)
        self.runs = json.loads(self.path.read_text())["runs"] if self.path.exists() else []
    def get(self, *key): return next((r for r in self.runs if (r["arm"], r["rate"], r["seed"], r["part"]) == key), None)
    def add(self, r):
        self.runs.append(r)
        head = dict(machine=machine(), settings=dict(rates=RATES, seeds=SEEDS, steps=STEPS, batch=BATCH, longest=LONGEST, warmup=WARMUP,
                    gradient_batches=GRADIENT_BATCHES, dtype="float32", arms=ARMS))
        body = ",\n  ".join(json.dumps(r) for r in self.runs)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(head, indent=1)[:-2] + f',\n "runs": [\n  {body}\n ]\n}}\n')

def once(task, store, *key):
    r = store.get(*key)
    if r is None:
        r = run(task, *key)
        store.add(r)
        print(f"{key[0]:24s} rate {key[1]:g} seed {key[2]} {key[3]:10s} NLL {r['nll']:.4f}  {r['trainable']} parameters  {r['seconds']:.0f} s", flush=True)
    return r

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--base", default="../shared/models/stories260K")
    p.add_argument("--data", default="../shared/data/gsm8k_train.jsonl")
    p.add_argument("--arms", nargs="*", default=list(ARMS))
    p.add_argument("--out", default=RECORDS/"learn-stories260k.json")
    args = p.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    datasets.disable_progress_bars()
    task, store = Task(args.base, args.data), Store(args.out)
    for arm in args.arms:
        rate = min(RATES, key=lambda r: once(task, store, arm, r, 0, "validation")["nll"])
        nlls = [once(task, store, arm, rate, s, "test")["nll"] for s in SEEDS]
        print(f"{arm:24s} best rate {rate:g}: test NLL {statistics.mean(nlls):.4f} +- {statistics.stdev(nlls):.4f}", flush=True)
