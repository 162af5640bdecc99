"""A long text in slices of its rows: what a whole pass gives, on every architecture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_early_answers import early
from test_engine import FAST, SETS, texts, worst
from test_retrieval_fast import probes
from tiny_zoo import hf_model, tiny

from airlens.detectors import fast_probes
from airlens.detectors.probes import ProbeSet
from airlens.detectors.retrieval import retrieval_scores
from airlens.heads import Head
from airlens.losses.fast import fast_losses, packed_attention
from airlens.losses.fast.fast_losses import score_fast
from airlens.losses.fast.fast_model import FastModel, fast_model, order, plan_of
from airlens.losses.fast.packed_attention import Call, Plan, attend_one
from airlens.losses.fast.packing import Pack, pack
from airlens.losses.fast.single_head_passes import exact_row
from airlens.losses.fast.slices import cut
from airlens.losses.hooks import score_windows

__all__ = ["probes"]


def one_row(**options: Any) -> Pack:
    """All texts in one row, which no slice of it ends with."""
    return pack([w.tokens for w in texts()], 10_000, **options)[0]


@pytest.mark.parametrize("kind", FAST)
def test_losses_equal_those_of_the_hooks(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(kind)
    monkeypatch.setattr(packed_attention, "MASK", 64)  # a few rows of attention at a time
    means = torch.randn(2, 4, model.cfg.d_head)
    for mode in ("uniform", "mean"):
        slow = score_windows(model, texts(), SETS, mode, means=means)
        fast = score_fast(model, texts(), SETS, mode, means=means, max_tokens_per_batch=5 * 4)
        assert worst(slow, fast) < 1e-4
        assert all(np.abs(slow[0].ablated[i] - slow[0].base).max() > 1e-3 for i in (0, 1, 3))
    assert fast_model(model).sliceable


def test_progress_is_told_as_slices_end_and_no_token_twice() -> None:
    done: list[int] = []
    items = texts()
    options: dict[str, Any] = {"max_tokens_per_batch": 5 * 4, "on_progress": done.append}
    score_fast(tiny("qwen3"), items, SETS, "uniform", **options)
    assert sum(done) == sum(len(w.tokens) for w in items)
    assert len(done) > 2 * len(items)
    assert min(done) > 0


@pytest.mark.parametrize("rows", [1, 7, 30])
def test_shared_beginnings_in_slices(rows: int) -> None:
    fast = fast_model(tiny("qwen3"))
    row = one_row()
    assert any(s.shared for s in row.segments)
    indices, forks = order(SETS)
    with torch.inference_mode():
        whole, parts = (
            fast.hidden(row, plan_of(row, SETS, indices, "uniform", None), forks, rows=n)
            for n in (None, rows)
        )
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_a_reader_sees_the_whole_layer(kind: str) -> None:
    fast = fast_model(tiny(kind))
    row = one_row()

    def read(rows: int | None) -> list[Call]:
        kept: list[Call] = []
        with torch.inference_mode():
            fast.hidden(row, Plan(row.segments, on_layer=kept.append), rows=rows)
        return kept

    whole, parts = read(None), read(7)
    assert [call.layer for call in parts] == list(range(fast.n_layers))
    for a, b in zip(whole, parts, strict=True):
        assert a.window == b.window
        for name in ("query", "key", "value"):
            torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-4, atol=1e-5)


def test_passes_of_single_heads_continue_in_slices() -> None:
    fast = fast_model(tiny("llama"))
    items = texts()
    row = pack([w.tokens for w in items], 10_000)[0]
    chosen = [items[i] for i in row.items]
    heads = [Head(0, 1), Head(1, 2), Head(1, 3)]
    whole, parts = (exact_row(fast, row, chosen, heads, "uniform", None, n) for n in (10_000, 8))
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_scores_of_heads_in_slices(probes: ProbeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("gemma3")
    slow = retrieval_scores(model, probes, engine="hooks", progress=False)
    monkeypatch.setattr(fast_probes, "TOKENS", 9)  # the answers lie across slices
    fast = retrieval_scores(model, probes, engine="fast", progress=False)
    assert slow.samples.any()
    assert np.array_equal(slow.samples, fast.samples)


def test_a_model_that_slices_would_change_runs_whole(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every other row of a pass is moved: a row depends on where its slice begins."""
    model = tiny("llama")
    fast = FastModel(model.original_model)
    row = one_row()
    with torch.inference_mode():
        whole = fast.hidden(row, Plan(row.segments))
    inner = fast.layers[0].forward

    def odd(hidden: torch.Tensor, *args: Any, **options: Any) -> Any:
        moved = hidden.clone()
        moved[:, ::2] += 1
        return inner(moved, *args, **options)

    fast.layers[0].forward = odd
    with torch.inference_mode():
        whole = fast.hidden(row, Plan(row.segments))
        again = fast.hidden(row, Plan(row.segments), rows=7)
    assert fast.sliceable is False
    assert torch.equal(again, whole)
    assert "run whole" in caplog.text


@settings(max_examples=30)
@given(
    st.integers(1, 12), st.integers(0, 9), st.one_of(st.none(), st.integers(1, 9)),
    st.sampled_from(["plain", "softcap", "sinks"]), st.integers(1, 400),
)  # fmt: skip
def test_attention_in_turn_is_attention_at_once(
    n: int, past: int, window: int | None, kind: str, size: int
) -> None:
    torch.manual_seed(n)
    q, k, v = (
        torch.randn(2, 4, n, 8),
        torch.randn(2, 2, n + past, 8),
        torch.randn(2, 2, n + past, 8),
    )
    options: Any = {"window": window}
    options |= {"softcap": 3.0} if kind == "softcap" else {}
    options |= {"sinks": torch.randn(4)} if kind == "sinks" else {}
    whole = attend_one(q, k, v, 0.3, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_attention, "MASK", size)
        parts = attend_one(q, k, v, 0.3, **options)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


def test_what_belongs_to_rows_is_cut() -> None:
    n, rows = 9, slice(2, 5)
    made = {
        "position_ids": torch.arange(n)[None],
        "position_embeddings": (torch.randn(1, n, 4), torch.randn(1, n, 4)),
        "cache_position": torch.arange(n),
        "attention_mask": None,
        "scale": torch.randn(3),
    }
    found = cut(made, rows, n)
    assert found["position_ids"].tolist() == [[2, 3, 4]]
    assert found["cache_position"].tolist() == [2, 3, 4]
    assert all(x.shape == (1, 3, 4) for x in found["position_embeddings"])
    assert found["attention_mask"] is None
    assert torch.equal(found["scale"], made["scale"])
    square = torch.randn(n, n)  # the second axis is the one of rows
    assert torch.equal(cut(square, rows, n), square[:, rows])


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_early_answers_in_slices(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(kind)
    whole = early(model, depends=("direct", "total"))
    monkeypatch.setattr(fast_losses, "CPU_TOKENS", 40)  # a slice ends within tails
    parts = early(model, depends=("direct", "total"))
    assert whole.steps["logp_ref"].ne(whole.steps["logp_base"]).all()
    for name in ("steps", "depends", "controls"):
        pd.testing.assert_frame_equal(getattr(parts, name), getattr(whole, name), atol=1e-4)


def test_slices_are_tried_out_before_states_are_kept() -> None:
    """The trial runs passes of its own, whose states are no part of what was asked for."""
    fast = FastModel(hf_model("llama"))
    tokens = np.arange(3, 40)
    row = pack([tokens.tolist()], 0)[0]
    whole, last = fast.residuals(row, Plan(row.segments))
    fast.sliceable = None
    parts, again = fast.residuals(row, Plan(row.segments), rows=8)
    assert fast.sliceable
    assert len(parts) == len(whole)
    for part, full in zip([*parts, again], [*whole, last], strict=True):
        torch.testing.assert_close(part, full)
