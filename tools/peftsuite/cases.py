"""The SoKA cases, one for each LoKr or MiSS case of PEFT's lists, and SoKA's own settings where LoKr's have no counterpart."""

import dataclasses, os
import pytest
from soka.peft import SoKAConfig

# --- tests/test_custom_models.py: TEST_CASES -------------------------------------------------------------------------------------------
CUSTOM = [
    (f"SoKA {name}", model, SoKAConfig, kw)
    for name, model, kw in [
        ("MLP 1", "MLP", dict(target_modules="lin0")),
        ("MLP 2", "MLP", dict(target_modules=["lin0"])),
        ("MLP 3", "MLP", dict(target_modules=["lin1"])),
        ("MLP 4", "MLP", dict(target_modules=["lin0", "lin1"])),
        ("MLP 5 modules_to_save", "MLP", dict(target_modules=["lin0"], modules_to_save=["lin1"])),
        ("MLP 6 dropout", "MLP", dict(target_modules=["lin0"], r=2, soka_dropout=0.1)),
        ("MLP 7 zero, low-rank", "MLP", dict(target_modules="lin0", r=2, source="zero", shape="low-rank")),
        ("MLP 8 weight, balanced", "MLP", dict(target_modules="lin0", r=1, source="weight", shape="balanced")),
        ("MLP 9 weight, low-rank, two layers", "MLP", dict(target_modules=["lin0", "lin1"], r=2, source="weight", shape="low-rank")),
        ("MLP 10 residual", "MLP", dict(target_modules=["lin0", "lin1"], r=1, mode="residual")),
        ("MLP 11 residual modules_to_save", "MLP", dict(target_modules=["lin0"], r=1, mode="residual", modules_to_save=["lin1"])),
        ("MLP 12 budget", "MLP", dict(target_modules=["lin0", "lin1"], budget=60)),
        (
            "MLP 13 given shape, rank_pattern",
            "MLP",
            dict(target_modules=["lin0", "lin1"], r=1, rank_pattern={"lin0": 2}, shape_pattern={"lin0": (5, 2, 4, 5)}),
        ),
        ("MLP 14 energy", "MLP", dict(target_modules=["lin0", "lin1"], energy=0.5, source="weight")),
        ("MLP2 1", "MLP2", dict(target_modules=["lin0", "lin1"], r=1)),
        ("transformers Conv1D 1", "EmbConv1D", dict(target_modules=["conv1d"], r=1)),
        ("transformers Conv1D 2 weight", "EmbConv1D", dict(target_modules=["conv1d", "lin0"], r=1, source="weight")),
        ("transformers Conv1D 3 residual", "EmbConv1D", dict(target_modules=["conv1d"], r=1, mode="residual", modules_to_save=["lin0"])),
    ]
]
if os.environ.get("PEFTSUITE_FAST"):
    CUSTOM = [c for c in CUSTOM if c[0].split()[1:] in (["MLP", "1"], ["MLP", "10", "residual"], ["transformers", "Conv1D", "2", "weight"])]
LOKR_NOT_CLAIMED = (
    "Conv1d",
    "Conv1dBigger",
    "Conv1dGroups",
    "Conv2d",
    "Conv2d1x1",
    "Conv2dGroups",
    "Conv2dGroups2",
)  # models of LoKr cases with convolutions

# --- ALL_CONFIGS of the transformers test files -----------------------------------------------------------------------------------------
TRANSFORMERS = [
    dict(target_modules=None),  # the defaults: start from the first gradient
    dict(target_modules=None, r=2, source="weight", shape="low-rank"),
    dict(target_modules=None, r=1, source="zero", shape="balanced", soka_dropout=0.05),
    dict(target_modules=None, r=1, mode="residual", shape="balanced"),
]
LOKR = [dict(target_modules=None)]
QUANTIZED = [
    dict(),
    dict(r=2, source="weight", shape="low-rank"),
    dict(r=1, source="zero", shape="balanced"),
    dict(r=1, mode="residual"),
]  # test_quantization.py
LORA = [dict(target_modules=None, r=8, lora_alpha=32, lora_dropout=0.05, bias="none")]

# --- everything else: a row of LoKr, MiSS or LoRA, said for SoKA -----------------------------------------------------------------------
DROPPED = {
    "lora_alpha",
    "alpha",
    "use_rslora",
    "rank_dropout",
    "module_dropout",
    "dropout",
    "alpha_pattern",
}  # SoKA has no such knob, the test does not turn on it
RENAMED = {"init_lora_weights": "init_weights", "lora_dropout": "soka_dropout"}


def said_for_soka(kw, cap=2):  # a rank of 8 is more than a 10x20 layer has in a balanced shape
    "LoRA's or LoKr's settings as SoKA's, and what has no counterpart."
    out, missing = {}, []
    fields = {f.name for f in dataclasses.fields(SoKAConfig)}
    for k, v in kw.items():
        if k in DROPPED:
            continue
        k = RENAMED.get(k, k)
        if k == "init_weights" and not isinstance(v, bool):
            missing.append(f"{k}={v!r}")
        elif k == "bias" and v.endswith("_only"):
            out[k] = "soka_only"
        elif k == "r":
            out[k] = min(v, cap)
        elif k == "rank_pattern":
            out[k] = {n: min(r, cap) for n, r in v.items()}
        elif k in fields:
            out[k] = v
        elif v:
            missing.append(k)
    return out, missing


class AsSoKA(SoKAConfig):
    "Takes the place of LoraConfig or LoKrConfig in a derived test file."

    CAP = R = 1  # every layer has one term; a derived file may set others

    def __init__(self, *args, **kw):
        kw, missing = said_for_soka(kw, self.CAP)
        if missing:
            pytest.skip(f"SoKA has no {', '.join(missing)}", allow_module_level=True)
        super().__init__(*args, **(dict(r=self.R, shape="low-rank") | kw))  # as LoRA: the same settings give the same shapes


def settings_of(c):
    "Settings of a config instance that are not the default."
    given = {
        f.name: getattr(c, f.name)
        for f in dataclasses.fields(c)
        if f.init and f.name not in ("peft_type", "auto_mapping", "peft_version", "runtime_config")
    }
    default = {
        f.name: f.default
        if f.default is not dataclasses.MISSING
        else (f.default_factory() if f.default_factory is not dataclasses.MISSING else None)
        for f in dataclasses.fields(c)
    }
    return {k: v for k, v in given.items() if v != default.get(k)}


def convert(x, old, new):
    "A value of a row with method `old` replaced by `new`; None where it has no counterpart."
    if x is old:
        return new
    if type(x) is old:
        if new is not SoKAConfig:
            return x
        kw, missing = said_for_soka(settings_of(x))
        names = kw.get("target_modules")
        if isinstance(names, (list, set)) and "conv1d" in names:
            kw.update(target_modules=sorted(set(names) - {"emb"}), r=1)  # Conv1D is claimed, Embedding is not; this one has one output
        return None if missing else new(**kw)
    if isinstance(x, dict):
        return {k: convert(v, old, new) for k, v in x.items()} if new is not SoKAConfig else said_for_soka(x)[0]
    if isinstance(x, tuple):
        return tuple(convert(v, old, new) for v in x)
    if isinstance(x, str):
        return "soka" if new is SoKAConfig and x in ("lora", "lokr", "miss") else x
    return x


def mentions(x, cls):
    return x is cls or type(x) is cls or (isinstance(x, tuple) and any(mentions(v, cls) for v in x))


# tests whose only subject is a layer that soka does not claim: counted as "not supported"
NOT_CLAIMED = {
    "test_mixed_adapter_batches_mha_raises": "MultiheadAttention",
}
