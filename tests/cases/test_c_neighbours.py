"""C2: a trace's numbers do not depend on what is scored beside it, or was run before it."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from tiny_zoo import VOCAB, tokenizer
from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config, Qwen3Config

import airlens as al
from airlens.errors import ModelError
from airlens.heads import HeadSet
from airlens.losses.choice import choose_engine
from airlens.losses.hooks import score_windows
from airlens.losses.token_losses import token_losses
from airlens.losses.windows import Window

SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
SMALL = {**SHAPE, "max_position_embeddings": 32}
FACTORS = {"short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 8.0, 20.0]}
LONG = {"rope_type": "longrope", "rope_theta": 10_000.0, **FACTORS}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 8.0}
CONFIGS = {
    "longrope": lambda: Phi3Config(
        **SHAPE, original_max_position_embeddings=32, rope_parameters=LONG
    ),
    "longrope_llama": lambda: LlamaConfig(
        **SHAPE, rope_parameters={**LONG, "original_max_position_embeddings": 32}
    ),
    "dynamic": lambda: LlamaConfig(
        **{**SHAPE, "max_position_embeddings": 32}, rope_parameters=DYNAMIC
    ),
    "dynamic_qwen3": lambda: Qwen3Config(
        **{**SHAPE, "max_position_embeddings": 32}, head_dim=8, rope_parameters=DYNAMIC
    ),
}
LENGTHS = (10, 31, 32, 33, 60)


@cache
def hf(kind: str) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[kind]()).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(6)
    return model


def load(kind: str) -> Any:
    model = al.load_model(copy.deepcopy(hf(kind)), tokenizer=tokenizer(), device="cpu")
    model.cfg.n_ctx = 128
    return model


def texts() -> list[Window]:
    """Texts on both sides of the switch, two of which begin alike."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(3, 250, n).tolist() for n in LENGTHS]
    rows[0] = rows[4][:10]
    return [Window(row, 1, 0) for row in rows]


@cache
def expected(kind: str) -> list[np.ndarray]:
    """NLL of each text by a model that has run nothing else."""
    return [by_hugging_face(kind, window.tokens) for window in texts()]


def by_hugging_face(kind: str, tokens: list[int]) -> np.ndarray:
    ids = torch.tensor([tokens])
    with torch.no_grad():
        logp = copy.deepcopy(hf(kind))(ids).logits[0].float().log_softmax(-1)
    return -logp[:-1].gather(-1, ids[0, 1:, None])[:, 0].numpy()


@pytest.mark.parametrize("kind", CONFIGS)
def test_c2_a_loss_is_that_of_the_text_alone(kind: str) -> None:
    model = load(kind)
    for run, budget in ((token_losses, None), (token_losses, 4096), (score_windows, 4096)):
        # The second and third run find what the ones before left behind.
        found = run(model, texts(), [], "uniform", max_tokens_per_batch=budget)
        for loss, alone in zip(found, expected(kind), strict=True):
            np.testing.assert_allclose(loss.base, alone, atol=2e-5)
    assert choose_engine(model, "auto", mode="uniform") == "hooks"
    assert al.mean_z(model, max_tokens=40) is al.mean_z(model, max_tokens=40)
    with pytest.raises(ModelError, match="rotary table"):
        choose_engine(model, "fast", mode="uniform")


def test_c2_the_table_matters() -> None:
    """Without this the tests above could not fail."""
    long = texts()[4]
    model = copy.deepcopy(hf("longrope"))
    ids = torch.tensor([long.tokens])
    with torch.no_grad():
        whole, cut = model(ids).logits[0, :20], model(ids[:, :20]).logits[0]
    assert (whole - cut).abs().max() > 0.05


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_c2_ablated_losses_and_attention_alone(kind: str) -> None:
    heads = [HeadSet.parse("L0H1, L1H2")]
    options: dict[str, Any] = {"mode": "uniform", "max_tokens_per_batch": 4096}
    model = load(kind)
    for window, loss in zip(texts(), token_losses(model, texts(), heads, **options), strict=True):
        alone = token_losses(load(kind), [window], heads, **options)[0]
        np.testing.assert_allclose(loss.ablated, alone.ablated, atol=2e-5)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_c2_a_table_grown_by_the_user_is_put_back(kind: str) -> None:
    model = load(kind)
    with torch.no_grad():
        model(torch.tensor([texts()[4].tokens]))
    found = score_windows(model, texts()[:1], [], "zero")[0]
    np.testing.assert_allclose(found.base, expected(kind)[0], atol=2e-5)
