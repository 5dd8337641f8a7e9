"""LoRA and SoKA on the experts of a small mixture: bench/experts.yaml.

    python bench/experts.py [--dry_run]

Writes nbs/records/experts, which nbs/adapter/16_experts.ipynb shows. The base is a Mixtral of eight experts, two for each token, made from
the embedded base as upcycling does (Komatsuzaki et al. 2023): its experts are copies of the MLP, of which a random half of the hidden
units is drawn anew (Nakamura et al. 2025), and it is then trained on answers of GSM8K for 200 steps, so that the experts differ. The task
is word problems, which neither has seen.
"""
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import MixtralConfig, MixtralForCausalLM, get_cosine_schedule_with_warmup

from soka.cli import main
from soka.compare.methods import METHODS, Method, _count
from soka.data.encode import Collator, encode_rows
from soka.data.rows import load_rows
from soka.peft import SoKAConfig
from soka.weights.loading import load_base

BASE = Path("runs/experts/base")
EXPERTS = dict(target_modules=[], target_parameters=["experts.gate_up_proj", "experts.down_proj"])

def upcycled(experts=8, seed=0):
    "The embedded base with eight experts in place of each MLP, and its tokenizer."
    base, tokenizer = load_base(None)
    c, gen = base.config, torch.Generator().manual_seed(seed)
    same = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
            "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "eos_token_id", "pad_token_id", "bos_token_id")
    torch.manual_seed(seed)
    model = MixtralForCausalLM(MixtralConfig(**{k: getattr(c, k) for k in same}, num_local_experts=experts, num_experts_per_tok=2,
                                             rope_parameters=c.rope_parameters))
    model.load_state_dict({k: t for k, t in base.state_dict().items() if ".mlp." not in k}, strict=False)
    with torch.no_grad():
        for old, new in ((b.mlp, m.mlp.experts) for b, m in zip(base.model.layers, model.model.layers)):
            parts = old.gate_proj.weight, old.up_proj.weight, old.down_proj.weight.T
            for e in range(experts):
                anew = torch.randperm(c.intermediate_size, generator=gen)[:c.intermediate_size//2]
                made = [w.clone() for w in parts]
                for w in made: w[anew] = torch.randn(len(anew), w.shape[1], generator=gen)*w.std()
                new.gate_up_proj[e] = torch.cat(made[:2])
                new.down_proj[e] = made[2].T
    return model, tokenizer

def make_base(steps=200, batch=8, rate=1e-3, seed=0):
    "Train the mixture on GSM8K's text, with its loss for even use of the experts, and save it."
    model, tokenizer = upcycled(seed=seed)
    model.config.output_router_logits, model.config.use_cache = True, False
    rows = load_rows("gsm8k", limit=2*steps*batch).to_list()
    data, collate = encode_rows(rows, tokenizer, "plain", 192, verbose=False).dataset, Collator(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps//10, steps)
    for i in range(steps):
        loss = model(**collate([data[j] for j in range(i*batch, (i + 1)*batch)])).loss
        optimizer.zero_grad(); loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
        optimizer.step(); schedule.step()
        if i % 50 == 49: print(f"base: step {i + 1}, loss {float(loss.detach()):.3f}")
    model.config.output_router_logits = False
    model.save_pretrained(BASE); tokenizer.save_pretrained(BASE)

def lora_config(r): return LoraConfig(r=r, lora_alpha=r, **EXPERTS)

def lora_experts(b):
    "PEFT's LoRA on parameters: both factors are each expert's own."
    return get_peft_model(b.model, lora_config(b.settings["r"]))

def soka_experts(b):
    "SoKA within a share of LoRA's parameters: right factors are shared by a layer's experts."
    budget = int(b.settings.get("part", 1)*_count(b.model, lora_config(b.settings["r"])))
    return get_peft_model(b.model, SoKAConfig(budget=budget, source=b.settings.get("source"), seed=b.seed, **EXPERTS))

METHODS.update({
    "lora experts": Method(lora_experts, ("r",), any_size=True),
    "soka experts": Method(soka_experts, ("r", "part", "source"), any_size=True),
})

if __name__ == "__main__":
    if not BASE.exists(): make_base()
    sys.exit(main(["compare", "bench/experts.yaml", *sys.argv[1:]]))
