"""A Hugging Face cache of tiny random models under the names that PEFT's tests ask for; nothing is downloaded.

The sizes are those of transformers' own tiny test models (odd ones such as 37 included), so shapes are as awkward as upstream.
"""

import sys
from pathlib import Path
import torch
import transformers as T

HASH, VOCAB = "0" * 40, 1024
P, H, R = "peft-internal-testing/", "hf-internal-testing/", "trl-internal-testing/"


def opt(**kw):
    return T.OPTConfig(
        **(
            dict(
                vocab_size=50272,
                hidden_size=16,
                ffn_dim=4,
                num_hidden_layers=5,
                num_attention_heads=4,
                word_embed_proj_dim=16,
                max_position_embeddings=128,
            )
            | kw
        )
    )


def llama(**kw):
    return T.LlamaConfig(
        **(
            dict(
                vocab_size=32000,
                hidden_size=16,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=4,
                max_position_embeddings=512,
            )
            | kw
        )
    )


def gpt2(**kw):
    return T.GPT2Config(
        **(dict(vocab_size=VOCAB, n_embd=32, n_layer=5, n_head=4, n_inner=37, n_positions=512, bos_token_id=98, eos_token_id=98) | kw)
    )


def bert(cls=T.BertConfig, **kw):
    return cls(
        **(
            dict(
                vocab_size=1124,
                hidden_size=32,
                num_hidden_layers=5,
                num_attention_heads=4,
                intermediate_size=37,
                max_position_embeddings=512,
            )
            | kw
        )
    )


def t5(**kw):
    return T.T5Config(
        **(
            dict(
                vocab_size=1103,
                d_model=32,
                d_ff=37,
                d_kv=8,
                num_layers=5,
                num_decoder_layers=5,
                num_heads=4,
                decoder_start_token_id=0,
                pad_token_id=0,
                eos_token_id=1,
            )
            | kw
        )
    )


def bart():
    return T.BartConfig(
        vocab_size=VOCAB,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=4,
        decoder_ffn_dim=4,
        max_position_embeddings=100,
        eos_token_id=2,
        bos_token_id=0,
        pad_token_id=1,
        decoder_start_token_id=2,
    )


MODELS = {  # id -> (class, config)
    P + "tiny-random-OPTForCausalLM": lambda: (T.OPTForCausalLM, opt()),
    P + "opt-125m": lambda: (T.OPTForCausalLM, opt(hidden_size=32, ffn_dim=64, num_hidden_layers=12, word_embed_proj_dim=32)),
    P + "tiny-random-GPT2LMHeadModel": lambda: (T.GPT2LMHeadModel, gpt2()),
    H + "tiny-random-gpt2": lambda: (T.GPT2LMHeadModel, gpt2()),
    P + "tiny-random-gpt2": lambda: (T.GPT2LMHeadModel, gpt2()),
    "gpt2": lambda: (T.GPT2LMHeadModel, gpt2(n_layer=2)),
    P + "tiny-random-GPTJForCausalLM": lambda: (
        T.GPTJForCausalLM,
        T.GPTJConfig(
            vocab_size=VOCAB, n_embd=32, n_layer=5, n_head=4, n_inner=37, rotary_dim=4, n_positions=512, bos_token_id=98, eos_token_id=98
        ),
    ),
    R + "tiny-random-LlamaForCausalLM": lambda: (T.LlamaForCausalLM, llama()),
    P + "tiny-random-LlamaForCausalLM": lambda: (T.LlamaForCausalLM, llama()),
    H + "tiny-random-LlamaForCausalLM": lambda: (T.LlamaForCausalLM, llama()),
    P + "tiny-dummy-qwen2": lambda: (
        T.Qwen2ForCausalLM,
        T.Qwen2Config(
            vocab_size=2048,
            hidden_size=8,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
        ),
    ),
    H + "tiny-random-Gemma3ForCausalLM": lambda: (
        T.Gemma3ForCausalLM,
        T.Gemma3TextConfig(
            vocab_size=2048,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            sliding_window=16,
            max_position_embeddings=512,
        ),
    ),
    H + "tiny-random-MistralForCausalLM": lambda: (
        T.MistralForCausalLM,
        T.MistralConfig(
            vocab_size=2048, hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
        ),
    ),
    P + "tiny-random-BloomForCausalLM": lambda: (T.BloomForCausalLM, T.BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=5, n_head=4)),
    P + "tiny-random-GPTNeoXForCausalLM": lambda: (
        T.GPTNeoXForCausalLM,
        T.GPTNeoXConfig(vocab_size=VOCAB, hidden_size=32, intermediate_size=37, num_hidden_layers=5, num_attention_heads=4),
    ),
    P + "tiny-random-T5ForConditionalGeneration-calibrated": lambda: (T.T5ForConditionalGeneration, t5()),
    P + "tiny-random-T5ForConditionalGeneration": lambda: (T.T5ForConditionalGeneration, t5()),
    P + "tiny-random-t5": lambda: (T.T5ForConditionalGeneration, t5()),
    "google/flan-t5-small": lambda: (T.T5ForConditionalGeneration, t5()),
    P + "tiny-random-BartForConditionalGeneration": lambda: (T.BartForConditionalGeneration, bart()),
    P + "tiny-random-BertModel": lambda: (T.BertModel, bert()),
    P + "tiny-random-RobertaModel": lambda: (T.RobertaModel, bert(T.RobertaConfig)),
    P + "tiny-random-DebertaModel": lambda: (T.DebertaModel, bert(T.DebertaConfig)),
    P + "tiny-random-DebertaV2Model": lambda: (T.DebertaV2Model, bert(T.DebertaV2Config)),
    P + "tiny-random-BertForSequenceClassification": lambda: (T.BertForSequenceClassification, bert()),
    P + "tiny-random-RobertaForSequenceClassification": lambda: (T.RobertaForSequenceClassification, bert(T.RobertaConfig)),
    "bert-base-uncased": lambda: (T.BertForSequenceClassification, bert()),
    R + "tiny-LlamaForSequenceClassification-3.2": lambda: (T.LlamaForSequenceClassification, llama(num_labels=1)),
    P + "tiny-clip-text-2": lambda: (
        T.CLIPTextModelWithProjection,
        T.CLIPTextConfig(
            vocab_size=VOCAB, hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4, projection_dim=16
        ),
    ),
}
CHAT = {
    P + "tiny-random-OPTForCausalLM",
    P + "opt-125m",
    R + "tiny-random-LlamaForCausalLM",
    H + "tiny-random-MistralForCausalLM",
    P + "tiny-dummy-qwen2",
    H + "tiny-random-gpt2",
}  # with a tokenizer


def folder(hub, name, revision="main"):
    repo = hub / ("models--" + name.replace("/", "--"))
    (repo / "refs").mkdir(parents=True, exist_ok=True)
    (repo / "refs" / revision).write_text(HASH)
    snap = repo / "snapshots" / HASH
    snap.mkdir(parents=True, exist_ok=True)
    return snap


def tokenizer(to, vocab):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = {w: i for i, w in enumerate(["<s>", "<pad>", "</s>", "<unk>", *pre_tokenizers.ByteLevel.alphabet()])}
    tok = Tokenizer(models.BPE(words, [], unk_token="<unk>"))
    tok.pre_tokenizer, tok.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    T.PreTrainedTokenizerFast(
        tokenizer_object=tok, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(to)


def build(hub):
    for name, make in MODELS.items():
        to = folder(hub, name)
        if (to / "done").exists():
            continue
        torch.manual_seed(0)
        cls, config = make()
        cls(config).save_pretrained(to)
        if name in CHAT:
            tokenizer(to, config.vocab_size)
        (to / "done").touch()
    to = folder(hub, P + "tiny-opt-lora-revision", "test")
    from peft import LoraConfig

    LoraConfig(
        task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"], base_model_name_or_path=P + "tiny-random-OPTForCausalLM"
    ).save_pretrained(to)
    from datasets import Dataset, DatasetDict

    if not (hub.parent / "quotes").exists():
        DatasetDict(
            train=Dataset.from_dict(
                dict(
                    author=["nobody"] * 50,
                    tags=[["x"]] * 50,
                    quote=[
                        f"“quote number {i} is about {w}”"
                        for i, w in enumerate("life love time work rain bread light water stone salt".split() * 5)
                    ],
                )
            )
        ).save_to_disk(str(hub.parent / "quotes"))


if __name__ == "__main__":
    root = Path(sys.argv[1])
    (root / "hub").mkdir(parents=True, exist_ok=True)
    build(root / "hub")
    print("cache:", len(list((root / "hub").iterdir())), "models in", root)
