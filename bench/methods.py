"""Time and memory of one training step of every method of a comparison, on one CPU thread.

    python bench/methods.py [RECIPE] [--base NAME] [--task NAME] [--repeats 9]

Writes nbs/records/bench-methods.json; nbs/experiments/claims.ipynb shows it.
"""
import argparse
import warnings

import torch
from common import alternate, peak_bytes, ratio, trainable, write
from datasets import disable_progress_bars

from soka.compare.cell import Cell, adapt
from soka.compare.run import cell_arms
from soka.compare.settings import read_comparison

class RowsStep:
    "One optimizer step on a batch of rows: forward, backward, AdamW."
    def __init__(self, model, batch):
        self.model, self.batch = model, batch
        self.optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)
    def __call__(self):
        self.optimizer.zero_grad()
        self.model(**self.batch).loss.backward()
        self.optimizer.step()

def arms_that_differ(c, base, task):
    "The arms of a cell on a float base, without those that train the same parameters in another way."
    found = {}
    for n in cell_arms(c, base, task):
        a = c.arms[n]
        if not a.quantize: found.setdefault((a.method, a.share, str(a.settings)), n)
    return list(found.values())

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("recipe", nargs="?", default="recipes/compare.yaml")
    p.add_argument("--base", default="stories260k")
    p.add_argument("--task", default="gsm8k")
    p.add_argument("--repeats", type=int, default=9)
    args = p.parse_args()
    warnings.filterwarnings("ignore")
    disable_progress_bars()
    torch.set_num_threads(1)
    c = read_comparison(args.recipe)
    cell, steps, peak = Cell(c, args.base, args.task), {}, {}
    first, second = cell.batches(0, 2)
    for arm in arms_that_differ(c, args.base, args.task):
        step = RowsStep(adapt(cell, arm, 0), first)
        step()                                       # fills a start that waits for a gradient, and AdamW's state
        step.batch = second
        peak[arm] = peak_bytes(step)
        steps[arm] = step
        print(f"{arm}: {trainable(step.model)} parameters, {peak[arm]/2**20:.1f} MiB", flush=True)
    times = alternate(steps, args.repeats)
    write("bench-methods", dict(base=args.base, task=args.task, tokens=second["input_ids"].numel(), trainable={n: trainable(s.model) for n, s in steps.items()},
                                peak_bytes=peak, seconds=times, to_lora={n: ratio(times, n, "lora") for n in times}))

if __name__ == "__main__": main()
