"""Each sequence of a packed row by itself: what transformers computes under its mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_config
from test_train import traces, weights_of
from tiny_lm import tiny_model

from airlens.training import packed_rows
from airlens.training.examples import join, training_examples
from airlens.training.packed_rows import each_sequence_alone
from airlens.training.train import TrainSettings, fine_tune


def model_of(name: str, **changes: Any) -> Any:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(tiny_config(name, **changes)).eval()


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_logits_and_gradients_are_transformers_own(name: str, tokenizer: Any) -> None:
    model = model_of(name)
    row = join(training_examples(tokenizer, traces(4)))
    inputs = {k: torch.tensor([row[k]]) for k in ("input_ids", "position_ids")}  # type: ignore[literal-required]

    def results() -> tuple[torch.Tensor, list[torch.Tensor]]:
        logits = model(**inputs, use_cache=False).logits
        gradients = torch.autograd.grad(logits.square().mean(), list(model.parameters()))
        return logits.detach(), list(gradients)

    expected, slopes = results()
    with each_sequence_alone(model) as alone:
        assert alone
        assert model.config._attn_implementation == packed_rows.NAME
        found, ours = results()
    assert model.config._attn_implementation == "sdpa"
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for one, other in zip(ours, slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("reason", ["window", "eager", "unknown argument", "other logits"])
def test_what_would_differ_stays(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    window = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}
    model = model_of("qwen3", **window) if reason == "window" else model_of("llama")
    if reason == "eager":
        model.set_attn_implementation("eager")
    if reason == "unknown argument":
        monkeypatch.setattr(packed_rows, "attend", lambda *_: None)
    if reason == "other logits":
        monkeypatch.setattr(packed_rows, "attend", _unmasked)
    before = model.config._attn_implementation
    with each_sequence_alone(model) as alone:
        assert not alone
        assert model.config._attn_implementation == before


def _unmasked(module: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
    return torch.zeros_like(query).transpose(1, 2), None


def test_training_is_the_same(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = traces()
    settings = TrainSettings(lr=1e-2, epochs=2, n_batches=3, cpu=True, save_steps=2)
    options: dict[str, Any] = {"weights": weights_of(items, 0.5, 2.0), "settings": settings}
    options |= {"tokenizer": tokenizer, "progress": False}
    calls = []
    inner = packed_rows.attend
    monkeypatch.setattr(packed_rows, "attend", lambda *a, **k: (calls.append(1), inner(*a, **k))[1])
    ours = fine_tune(tiny_model(), items, tmp_path / "ours", **options)
    assert len(calls) > 6  # more than the trial
    # A checkpoint can be loaded by anybody.
    for config in (tmp_path / "ours").rglob("config.json"):
        assert packed_rows.NAME not in config.read_text()
    monkeypatch.setattr(packed_rows, "attend", _unmasked)  # refused by the trial
    theirs = fine_tune(tiny_model(), items, tmp_path / "theirs", **options)
    assert list(ours.losses["loss"]) == pytest.approx(list(theirs.losses["loss"]), rel=1e-4)
    for one, other in zip(
        ours.model.parameters(),  # type: ignore[union-attr]
        theirs.model.parameters(),  # type: ignore[union-attr]
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
