"""A random Llama of two layers and a tokenizer of bytes, for the explorers' tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import airlens as al

LAYERS, HEADS = 3, 4
HOSTILE = (
    '<img src=x onerror="window.pwned=1"></script><script>window.pwned=1</script>`${1}` مرحبا 🙂'
)


def tiny_tokenizer() -> Any:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {name: i for i, name in enumerate(["<pad>", "<s>", "</s>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def tiny_parts(n_ctx: int = 4096) -> tuple[Any, Any]:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        max_position_embeddings=n_ctx,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config), tokenizer


def tiny_model(n_ctx: int = 4096) -> Any:
    model, tokenizer = tiny_parts(n_ctx)
    return al.load_model(model, tokenizer=tokenizer, device="cpu")


def save_tiny(folder: Path) -> Path:
    model, tokenizer = tiny_parts()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_probes(tokenizer: Any, n: int = 3) -> al.ProbeSet:
    words = [f"word{i}." for i in range(12)]
    return al.key_value_probes(tokenizer, n=n, max_tokens=600, shots=1, values=words)


def tiny_traces() -> list[al.Trace]:
    texts = {"a": "First 2 + 2 = 4.\nThen 4 + 3 = 7.\nThe answer is 7.", "hostile": HOSTILE}
    return [al.Trace(i, "Add them.", t, i).with_steps("line") for i, t in texts.items()]
