"""Packed rows: where a model lets a sequence see those before it, examples are padded instead."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airlens.training.examples import training_examples
from airlens.training.packing_check import packing_trouble
from airlens.training.train import TrainResult, TrainSettings, fine_tune
from tests.cases.training_kit import student, two_step_traces, weights_of

APART = ("llama", "gpt2", "gpt_neo", "gemma3", "gemma4 multimodal", "mixtral")
TOGETHER = (
    "opt",
    "bloom",
    "mpt",
    "falcon",
    "falcon_alibi",
    "mamba",
    "rwkv",
    "lfm2",
    "jamba",
    "xglm",
)


def trained(name: str, tokenizer: Any, **settings: Any) -> TrainResult:
    items = two_step_traces(5)
    options = {"tokenizer": tokenizer, "weights": weights_of(items, 0.3, 2.0), "progress": False}
    made = TrainSettings(lr=1e-3, cpu=True, **settings)
    return fine_tune(student(name), items, settings=made, **options)


@pytest.mark.parametrize("name", ["llama", "opt", "falcon_alibi", "lfm2"])
def test_d12_packing_never_changes_what_is_learnt(
    tokenizer: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    padded = trained(name, tokenizer, batch_size=3)
    with caplog.at_level(logging.WARNING, logger="airlens"):
        packed = trained(name, tokenizer, batch_size=3, packing=True)
    assert list(packed.losses["loss"]) == pytest.approx(list(padded.losses["loss"]), rel=1e-4)
    kept = packed.provenance["packing"]
    assert kept.startswith("packed" if name in APART else "padded, although")
    assert ("are padded, not packed" in caplog.text) is (name not in APART)


def test_d12_batches_of_equal_tokens_are_padded_too(tokenizer: Any) -> None:
    """``n_batches`` packs by itself: with OPT its steps have the same traces, one a row."""
    steps = {name: trained(name, tokenizer, n_batches=2) for name in ("llama", "opt")}
    assert [len(r.losses) for r in steps.values()] == [2, 2]
    assert steps["llama"].provenance["packing"] == "packed"
    whole = trained("opt", tokenizer, batch_size=5)
    one = trained("opt", tokenizer, n_batches=1)
    assert list(one.losses["loss"]) == pytest.approx(list(whole.losses["loss"]), rel=1e-4)


@pytest.mark.parametrize("name", [*APART, *TOGETHER])
def test_d12_the_model_at_hand_decides(tokenizer: Any, name: str) -> None:
    examples = training_examples(tokenizer, two_step_traces(5))
    trouble = packing_trouble(student(name), examples, 100)
    assert (trouble is None) is (name in APART), trouble


def test_d12_an_attention_that_builds_no_mask_is_found(tokenizer: Any) -> None:
    """The same architecture under another implementation of its attention."""
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    def unmasked(module: Any, query: Any, key: Any, value: Any, mask: Any, **more: Any) -> Any:
        return sdpa_attention_forward(module, query, key, value, None, **more)

    AttentionInterface.register("no_borders", unmasked)
    examples = training_examples(tokenizer, two_step_traces(3))
    model = student("llama")
    assert packing_trouble(model, examples, 200) is None
    model.set_attn_implementation("no_borders")
    assert "sees those before it" in str(packing_trouble(model, examples, 200))


def test_d12_a_row_longer_than_the_positions(tokenizer: Any) -> None:
    """GPT-2 learnt 128 positions; a row of 300 tokens restarts them. GPT-Neo's mask has 128."""
    examples = training_examples(tokenizer, two_step_traces(5))
    assert packing_trouble(student("gpt2"), examples, 300) is None
    assert "cannot be computed" in str(packing_trouble(student("gpt_neo"), examples, 300))
    assert trained("gpt_neo", tokenizer, n_batches=1).provenance["packing"].startswith("padded")


def test_d12_a_window_of_a_part_of_the_model_counts(tokenizer: Any) -> None:
    """The text part of a multimodal model has the sliding window, not the whole."""
    from airlens.training.packed_rows import each_sequence_alone

    with each_sequence_alone(student("gemma4 multimodal")) as alone:
        assert not alone
