"""Tiny random models of every architecture that the tests go through, and a byte tokenizer."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    MptConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

import airlens as al

VOCAB = 260
WINDOW = 8
MIXED = ["sliding_attention", "full_attention"]


@lru_cache(maxsize=1)
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, <pad>=0, <s>=1, </s>=2."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<pad>": 0, "<s>": 1, "</s>": 2} | {c: i + 3 for i, c in enumerate(alphabet)}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def config(name: str) -> Any:
    """A two-layer config with 4 query heads (2 key-value heads where the kind has groups)."""
    shape = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 1024,
    }
    grouped = shape | {"num_key_value_heads": 2}
    wide = grouped | {"head_dim": 8}
    narrow = {k: v for k, v in shape.items() if k != "intermediate_size"}
    makers: dict[str, Any] = {
        "gpt2": lambda: GPT2Config(
            vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=1024
        ),
        "gpt_neox": lambda: GPTNeoXConfig(**shape),
        "opt": lambda: OPTConfig(**narrow, ffn_dim=64, word_embed_proj_dim=32),
        "llama": lambda: LlamaConfig(**wide),
        "qwen2": lambda: Qwen2Config(**grouped),
        "qwen3": lambda: Qwen3Config(**wide),
        "gemma2": lambda: Gemma2Config(**wide, sliding_window=WINDOW, layer_types=MIXED),
        "gemma3": lambda: Gemma3TextConfig(**wide, sliding_window=WINDOW, layer_types=MIXED),
        "mistral": lambda: MistralConfig(**wide, sliding_window=WINDOW),
        "phi3": lambda: Phi3Config(**grouped, pad_token_id=0),
        "olmo2": lambda: Olmo2Config(**grouped),
        "falcon": lambda: FalconConfig(**narrow, alibi=False),
        "falcon_alibi": lambda: FalconConfig(**narrow, alibi=True, multi_query=False),
        "bloom": lambda: BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=2, n_head=4),
        "mpt": lambda: MptConfig(
            vocab_size=VOCAB, d_model=32, n_layers=2, n_heads=4, max_seq_len=1024
        ),
        "gpt_oss": lambda: GptOssConfig(
            **wide,
            num_local_experts=2,
            num_experts_per_tok=1,
            sliding_window=WINDOW,
            layer_types=MIXED,
        ),
    }
    return makers[name]()


ARCHITECTURES = (
    "gpt2",
    "gpt_neox",
    "opt",
    "llama",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "mistral",
    "phi3",
    "olmo2",
    "falcon",
    "falcon_alibi",
    "bloom",
    "mpt",
    "gpt_oss",
)


def hf_model(name: str, seed: int = 0) -> Any:
    """The Hugging Face model, random weights, larger than the default spread so heads differ."""
    torch.manual_seed(seed)
    kind = config(name)
    kind._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(kind).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.ndim >= 2:
                weight.mul_(4)
            if "sinks" in key:
                weight.normal_()
    return model


@cache
def tiny(name: str, seed: int = 0) -> Any:
    """The same model through the bridge."""
    with torch.inference_mode(False):  # or its weights could take no part in a gradient
        return al.load_model(hf_model(name, seed), tokenizer=tokenizer(), device="cpu")
