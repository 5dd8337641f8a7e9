"""How large are the features that SoKA's right factors begin with, beside LoRA's?

    python bench/feature_size.py

One batch of GSM8K text through each base. Writes nbs/records/feature-size.json: by base and rule of bench/ideas.py, over the rows of all
layers, the root mean square of the feature divided by that of a row as LoRA draws it, at the quantiles 0, 1/4, 1/2, 3/4 and 1.
"""
import copy

import torch
from peft import get_peft_model

import common
from ideas import feature_sizes, RULES
from soka.compare.cell import Cell
from soka.compare.methods import ALL
from soka.compare.settings import _make_comparison
from soka.method.start import write
from soka.peft import SoKAConfig, soka_layers

BASES = {"stories260k": ("stories260k", "float32"), "embedded": ("base", "float32"), "smollm2": ("smollm2-135m", "bfloat16")}
QUANTILES = torch.tensor([0., .25, .5, .75, 1.], dtype=torch.float64)

def cell_of(path, dtype):
    "GSM8K text for one base."
    task = {"data": "gsm8k", "longest": 256, "batch": 8}
    asked = {"records": ".", "bases": {"b": path}, "dtype": dtype, "tasks": {"t": task}, "arms": {"x": {"method": "lora"}}}
    return Cell(_make_comparison(asked), "b", "t")

def sizes_of(path, dtype):
    "The figures of one base."
    cell = cell_of(path, dtype)
    model, batch = get_peft_model(copy.deepcopy(cell.model()), SoKAConfig(r=4, shape="low-rank", seed=0, **ALL)).train(), cell.batches(0, 1)[0]
    model(**batch).loss.backward()
    layers = soka_layers(model.get_base_model())
    sketches = {n: l.soka_terms["default"].V.grad for n, l in layers.items()}
    found = {"width": model.config.hidden_size}
    for name, rule in RULES.items():
        if name == "measured": continue      # all 1, by its making
        for n, l in layers.items(): write(l.soka_terms["default"].V, rule(sketches[n]))
        ratios = torch.cat([own/lora for own, lora in feature_sizes(model, batch, layers).values()])
        found[name] = [round(v, 3) for v in ratios.quantile(QUANTILES).tolist()]
    return found

if __name__ == "__main__":
    torch.set_num_threads(1)
    common.write("feature-size", {"bases": {b: sizes_of(*where) for b, where in BASES.items()}})
