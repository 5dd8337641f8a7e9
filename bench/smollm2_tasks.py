"""SmolLM2-135M-Instruct on GSM8K, MATH-500 and MBPP, before and after a short fine-tune on GSM8K, by `soka eval`.

    soka data get smollm2-135m gsm8k math500 mbpp
    python bench/smollm2_tasks.py [--limit 16] [--steps 24]

Writes nbs/records/smollm2-tasks.json, which nbs/tutorials/smollm2.ipynb shows. NF4, bfloat16, the chat template, greedy answers, one CPU thread.
GSM8K's problems are the last rows of the registered file, which the fine-tune holds out; the others are the first of their files.
"""
import argparse
import json
import tempfile
import time
from pathlib import Path

from common import write
from soka.cli import main
from soka.data.registry import data_path
from soka.train.config import TrainConfig
from soka.train.run import train

def sources(folder, limit):
    "Where each task's problems come from, as `soka eval` takes it."
    held_out = [s for s in data_path("gsm8k").read_text(encoding="utf-8").split("\n") if s.strip()][-limit:]
    (folder/"gsm8k.jsonl").write_text("\n".join(held_out), encoding="utf-8")
    return [f"gsm8k={folder/'gsm8k.jsonl'}", "math=math500", "mbpp=mbpp"]

def scores(name, data, limit, out):
    "The record of `soka eval`, and its minutes."
    began = time.perf_counter()
    code = main(["eval", name, "--data", *data, "--template", "chat", "--limit", str(limit), "--max-new-tokens", "192", "--batch-size", str(limit),
                 "--dtype", "bfloat16", "--threads", "1", "--out", str(out)])
    if code: raise SystemExit(code)
    made = json.loads(out.read_text())
    return {"tasks": made["tasks"], "settings": made["settings"], "minutes": round((time.perf_counter() - began)/60, 1)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--steps", type=int, default=24)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    data = sources(folder, args.limit)
    before = scores("smollm2-135m", data, args.limit, folder/"before.json")
    config = TrainConfig(model="smollm2-135m", data="gsm8k", data_rows=None, eval_rows=args.limit, template="chat", max_length=320, dtype="bfloat16",
                         budget=300_000, gradient_batches=0, batch_size=8, max_steps=args.steps, eval_steps=1000, save_steps=1000,
                         learning_rate=0.006, threads=1, output_dir=str(folder/"run"))
    record = train(config).record
    after = scores(str(folder/"run"), data, args.limit, folder/"after.json")
    write("smollm2-tasks", {"limit": args.limit, "before": before, "after": after, "trained_parameters": record["adapter"]["trained_parameters"], "steps": record["steps"],
           "train_minutes": round(record["speed"]["wall_seconds"]/60, 1), "nll": [e["eval_nll"] for e in record["eval"]]})
