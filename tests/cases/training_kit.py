"""Tiny students of many architectures, and traces of very different lengths, for training."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from airlens.trace import Step, Trace
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
    }
    return makers[name]()
