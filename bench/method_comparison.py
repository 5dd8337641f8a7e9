"""SoKA in PEFT's own benchmark, `method_comparison/MetaMathQA`: Llama-3.2-3B, 5,000 steps on MetaMathQA, scored on GSM8K.

    git clone https://github.com/huggingface/peft && pip install -e peft
    python bench/method_comparison.py peft/method_comparison/MetaMathQA            # the experiments beside this file, by PEFT's run.py, on a GPU
    python bench/method_comparison.py peft/method_comparison/MetaMathQA --smoke    # the same loop on a CPU: SmolLM2-135M, 12 steps, no network
    python bench/method_comparison.py peft/method_comparison/MetaMathQA --public   # the results that PEFT has published

PEFT's runner knows the methods that PEFT knows; this one imports soka before it. The last two write nbs/records/method-comparison.json,
which nbs/experiments/method_comparison.ipynb shows.
"""
from __future__ import annotations

import argparse
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from common import RECORDS, write
from datasets import Dataset, DatasetDict
from transformers import AutoModelForCausalLM, AutoTokenizer

import soka.peft  # noqa: F401
from soka.data.registry import data_path
from soka.data.bases import model_path

EXPERIMENTS = Path(__file__).parent/"method_comparison"
RUNNER = ("run.py", "utils.py", "data.py", "default_training_params.json")
SMOKE = {"max_steps": 12, "eval_steps": 6, "batch_size_eval": 8, "dtype": "float32", "max_seq_length": 256,
         "generation_kwargs": {"max_length": 320, "max_new_tokens": 64}, "optimizer_kwargs": {"lr": 4e-3, "weight_decay": 0.}}
LORA = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}

def benchmark(folder:str)->Path:
    "The benchmark's folder; an error that names what it lacks."
    found = Path(folder).resolve()
    missing = [n for n in RUNNER if not (found/n).is_file()]
    if missing: raise SystemExit(f"FOLDER must be method_comparison/MetaMathQA of a checkout of PEFT, got {folder} without {missing[0]}")
    return found

def run(folder:Path, experiment:str)->None:
    "PEFT's runner on one of its experiments, in this process."
    here, argv = os.getcwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["run.py", "-v", "--clean", f"experiments/{experiment}"]
    try: runpy.run_path("run.py", run_name="__main__")
    finally:
        os.chdir(here)
        sys.argv = argv

def full(folder:Path, only:list[str])->None:
    "The experiments at their real size."
    sys.path.insert(0, str(folder))
    for config in sorted(EXPERIMENTS.glob("*/adapter_config.json")):
        name = config.parent.name
        if only and name not in only: continue
        shutil.copytree(config.parent, folder/"experiments"/"soka"/name, dirs_exist_ok=True)
        run(folder, f"soka/{name}")

def rows(name:str)->list[dict]:
    return [json.loads(line) for line in data_path(name).read_text(encoding="utf-8").splitlines()]

def offline(name:str, *args:str, **kw:object)->Dataset|DatasetDict:
    "What the benchmark loads from the hub, of GSM8K's training rows alone: its own columns, another text to be forgotten."
    few = rows("gsm8k")[:400]
    if name == "meta-math/MetaMathQA":
        train = [dict(type="GSM", query=r["question"], original_question=r["question"], response=r["answer"]) for r in few[:300]]
        return DatasetDict(train=Dataset.from_list(train))
    if name == "openai/gsm8k": return DatasetDict(train=Dataset.from_list(few[300:360]), test=Dataset.from_list(few[360:376]))
    return Dataset.from_list([dict(text=r["question"] + "\n" + r["answer"]) for r in few[376:392]])

def on_a_cpu()->None:
    "PEFT's runner takes GPUs only: it is told that this is one while it is imported, and that a CPU has no memory of its own."
    import peft.utils
    infer = peft.utils.infer_device
    peft.utils.infer_device = lambda: "cuda"
    import data
    import utils
    peft.utils.infer_device = utils.infer_device = infer
    utils.device, data.VALID_SIZE, data.load_dataset = "cpu", 16, offline
    utils.get_peft_branch, utils.get_peft_worktree_is_dirty = lambda: "smoke", lambda: False
    for name in ("memory_allocated", "memory_reserved", "max_memory_reserved"): setattr(torch.cpu, name, lambda *args: 0)
    for name in ("reset_peak_memory_stats", "manual_seed_all", "empty_cache"): setattr(torch.cpu, name, lambda *args: None)
    torch.cpu.get_device_name = lambda *args: "CPU"

def one_smoke(folder:Path, experiment:str)->None:
    sys.path.insert(0, str(folder))
    on_a_cpu()
    run(folder, experiment)

def smoke(folder:Path)->list[dict]:
    "SoKA and LoRA through the benchmark's loop at a small size, each in a process of its own; what its result files say."
    made = tempfile.TemporaryDirectory()
    work = Path(made.name)
    for n in RUNNER: shutil.copy(folder/n, work/n)
    for n in ("temporary_results", "cancelled_results"): (work/n).mkdir()
    base = model_path("smollm2-135m")
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).save_pretrained(work/"base")     # the runner takes a folder's own dtype for it
    AutoTokenizer.from_pretrained(base).save_pretrained(work/"base")
    params = SMOKE | {"model_id": str(work/"base")}
    soka = json.loads((EXPERIMENTS/"llama-3.2-3B-1M"/"adapter_config.json").read_text()) | {"budget": 305_280}
    for name, config in (("lora/smoke", LORA), ("soka/smoke", soka)):
        (work/"experiments"/name).mkdir(parents=True)
        (work/"experiments"/name/"adapter_config.json").write_text(json.dumps(config))
        (work/"experiments"/name/"training_params.json").write_text(json.dumps(params))
        subprocess.run([sys.executable, __file__, str(work), "--one_smoke", name], check=True)
    failed = list((work/"cancelled_results").iterdir())
    if failed: raise SystemExit(f"the loop must reach its end, got {json.loads(failed[0].read_text())['run_info']['error_msg']}")
    found = [json.loads(p.read_text()) for p in sorted((work/"temporary_results").iterdir())]
    return [short(d) | {"losses": [m["train loss"] for m in d["train_info"]["metrics"][:-1]]} for d in found]

def short(d:dict)->dict:
    "The figures of one of the benchmark's result files."
    info, last = d["train_info"], d["train_info"]["metrics"][-1]
    size = None if info["file_size"] == 99999999 else info["file_size"]      # the runner's word for unknown, as under Python 3.11
    return {"experiment": d["run_info"]["experiment_name"], "status": info["status"], "trained": info["num_trainable_params"],
            "accuracy": last.get("test accuracy"), "forgetting": last.get("forgetting"), "file": size, "train_loss": last["train loss"]}

def public(folder:Path)->dict:
    "The results that came with the checkout."
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    found = [short(json.loads(p.read_text())) for p in sorted((folder/"results").glob("*.json"))]
    return {"commit": commit, "rows": sorted(found, key=lambda r: r["trained"])}

def main()->None:
    p = argparse.ArgumentParser(description="SoKA in PEFT's method_comparison.")
    p.add_argument("folder", help="method_comparison/MetaMathQA of a checkout of PEFT")
    p.add_argument("only", nargs="*", help="only these experiments")
    p.add_argument("--smoke", action="store_true", help="the loop at a small size, on a CPU and without a network")
    p.add_argument("--public", action="store_true", help="read the results that PEFT has published")
    p.add_argument("--one_smoke", help=argparse.SUPPRESS)
    args = p.parse_args()
    folder = benchmark(args.folder)
    if args.one_smoke: return one_smoke(folder, args.one_smoke)
    if not (args.smoke or args.public): return full(folder, args.only)
    record = RECORDS/"method-comparison.json"
    old = json.loads(record.read_text()) if record.exists() else {}
    new = {"smoke": {"settings": SMOKE, "rows": smoke(folder)}} if args.smoke else {"public": public(folder)}
    write("method-comparison", {k: v for k, v in old.items() if k in ("smoke", "public")} | new)

if __name__ == "__main__": main()
