"""Tiny random models of every architecture that airlens is tested on."""

from __future__ import annotations

from typing import Any

LAYERS, HEADS, VOCAB = 3, 4, 260
WINDOW = 8  # of the sliding-window kinds: shorter than the texts of the tests

# Kinds whose modules go through transformers' attention interface, and the others.
FAST = [
    *("gpt2", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3"),
    *("gemma2", "gemma3", "phi3", "olmo2", "gpt_oss"),
]
SLOW = ["falcon", "bloom"]


def config(kind: str) -> Any:
    """A configuration of 3 layers, 4 heads, 32 dimensions."""
    import transformers as tf

    grouped: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    plain = {k: v for k, v in grouped.items() if k != "num_key_value_heads"}
    old = {k: plain[k] for k in ("vocab_size", "hidden_size")}
    gpt = {"n_embd": 32, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 128}
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": WINDOW}
    made = {
        "gpt2": lambda: tf.GPT2Config(vocab_size=VOCAB, **gpt),
        "gpt_neox": lambda: tf.GPTNeoXConfig(**plain),
        "opt": lambda: tf.OPTConfig(**plain, ffn_dim=48, word_embed_proj_dim=32),
        "llama": lambda: tf.LlamaConfig(**grouped),
        "mistral": lambda: tf.MistralConfig(**grouped, sliding_window=WINDOW),
        "qwen2": lambda: tf.Qwen2Config(**grouped),
        "qwen3": lambda: tf.Qwen3Config(**grouped, head_dim=8),
        "gemma2": lambda: tf.Gemma2Config(**grouped, head_dim=8, sliding_window=WINDOW),
        "gemma3": lambda: tf.Gemma3TextConfig(**grouped, head_dim=8, sliding_window=WINDOW),
        "phi3": lambda: tf.Phi3Config(**grouped),
        "olmo2": lambda: tf.Olmo2Config(**grouped),
        "gpt_oss": lambda: tf.GptOssConfig(**grouped, head_dim=8, **experts),
        "falcon": lambda: tf.FalconConfig(
            **old, num_hidden_layers=LAYERS, num_attention_heads=HEADS, alibi=False
        ),
        "bloom": lambda: tf.BloomConfig(**old, n_layer=LAYERS, n_head=HEADS),
    }
    return made[kind]()


def bridge(kind: str, tokenizer: Any, seed: int = 0) -> Any:
    """A bridge on random weights, noisy enough that every head matters."""
    import torch
    from transformers import AutoModelForCausalLM

    import airlens as al

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config(kind))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return al.load_model(model, tokenizer=tokenizer, device="cpu")
