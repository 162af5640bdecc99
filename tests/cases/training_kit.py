"""Tiny students of many architectures, and traces of very different lengths, for training."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from airlens.traces.step import Step
from airlens.traces.trace import Trace
from airlens.training.step_weights import StepWeights

VOCAB = 260


def two_step_traces(n: int = 7) -> list[Trace]:
    """Responses of very different lengths, two steps each."""
    made = []
    for i in range(n):
        first, second = "ab " * (1 + 2 * i), f"so {i}."
        ends = len(first), len(first) + len(second)
        steps = (Step(first, 0, ends[0]), Step(second, *ends))
        made.append(Trace(f"t{i}", f"what is {i}?", first + second, steps=steps))
    return made


def weights_of(traces: list[Trace], first: float, second: float) -> StepWeights:
    """The same two weights for the two steps of every trace."""
    rows = [(t.id, k, w) for t in traces for k, w in ((0, first), (1, second))]
    return StepWeights(pd.DataFrame(rows, columns=["id", "step", "weight"]), "file")


def student(name: str, seed: int = 0) -> Any:
    """A random model of two layers; weights larger than usual, so that positions matter."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = configuration("llama" if name == "refuses loss kwargs" else name)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.config.use_cache = False  # as the Trainer sets it
    if name == "refuses loss kwargs":
        model.accepts_loss_kwargs = False
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(3)
    return model


def configuration(name: str) -> Any:
    """The configuration of a tiny model."""
    import transformers as tf

    shape: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    quiet = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    ends = {"bos_token_id": 1, "eos_token_id": 2}
    small = {k: shape[k] for k in ("vocab_size", "hidden_size", "num_hidden_layers")}
    small["num_attention_heads"] = 4
    makers: dict[str, Any] = {
        "llama": lambda: tf.LlamaConfig(**shape),
        "gemma4 multimodal": lambda: tf.Gemma4Config(
            text_config=tf.Gemma4TextConfig(
                **shape,
                head_dim=8,
                global_head_dim=8,
                vocab_size_per_layer_input=VOCAB,
                hidden_size_per_layer_input=8,
                sliding_window=8,
                layer_types=["sliding_attention", "full_attention"],
                num_kv_shared_layers=0,
            ),
            vision_config=None,
            audio_config=None,
            image_token_id=250,
            video_token_id=251,
            audio_token_id=252,
        ),
        "gpt2": lambda: tf.GPT2Config(
            vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=128, **ends, **quiet
        ),
        "gpt_neo": lambda: tf.GPTNeoConfig(
            vocab_size=VOCAB,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            attention_types=[[["global", "local"], 1]],
            window_size=8,
            max_position_embeddings=128,
            **ends,
        ),
        "opt": lambda: tf.OPTConfig(
            vocab_size=VOCAB,
            hidden_size=32,
            word_embed_proj_dim=32,
            ffn_dim=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=128,
            dropout=0.0,
        ),
        "bloom": lambda: tf.BloomConfig(
            vocab_size=VOCAB, hidden_size=32, n_layer=2, n_head=4, hidden_dropout=0.0
        ),
        "mpt": lambda: tf.MptConfig(
            vocab_size=VOCAB, d_model=32, n_layers=2, n_heads=4, max_seq_len=256
        ),
        "falcon": lambda: tf.FalconConfig(**small, alibi=False),
        "falcon_alibi": lambda: tf.FalconConfig(**small, alibi=True, multi_query=False),
        "mamba": lambda: tf.MambaConfig(
            vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, state_size=4
        ),
        "rwkv": lambda: tf.RwkvConfig(
            vocab_size=VOCAB, hidden_size=32, attention_hidden_size=32, num_hidden_layers=2
        ),
        "lfm2": lambda: tf.Lfm2Config(**shape, layer_types=["conv", "full_attention"]),
        "jamba": lambda: tf.JambaConfig(
            **shape,
            attn_layer_period=2,
            attn_layer_offset=1,
            expert_layer_period=2,
            expert_layer_offset=1,
            num_experts=2,
            mamba_d_state=4,
        ),
        "gemma3": lambda: tf.Gemma3TextConfig(
            **shape,
            head_dim=8,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention"],
        ),
        "longrope": lambda: tf.Phi3Config(
            **shape,
            original_max_position_embeddings=32,
            rope_parameters={
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "short_factor": [1.0] * 4,
                "long_factor": [8.0] * 4,
            },
        ),
        "mixtral": lambda: tf.MixtralConfig(**shape, num_local_experts=4),
        "xglm": lambda: tf.XGLMConfig(
            vocab_size=VOCAB, d_model=32, num_layers=2, attention_heads=4, ffn_dim=48
        ),
    }
    return makers[name]()
