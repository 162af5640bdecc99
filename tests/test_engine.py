"""The fast engine gives what the hooks give, on every architecture where it is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_zoo import ARCHITECTURES, hf_model, tiny
from tiny_zoo import tokenizer as tokenizer_of

import airlens as al
from airlens.ablation import ablated
from airlens.errors import ConfigError
from airlens.heads import HeadSet
from airlens.losses.choice import choose_engine
from airlens.losses.fast import fast_losses
from airlens.losses.fast.fast_losses import score_fast
from airlens.losses.fast.fast_model import fast_model
from airlens.losses.fast.packing import common_prefix, pack
from airlens.losses.hooks import score_windows
from airlens.losses.windows import Window, WindowLoss
from airlens.step_influence.influence import influence
from airlens.traces.trace import Trace

# These kinds' modules do not go through transformers' attention interface.
SLOW = ("falcon", "falcon_alibi", "bloom", "mpt")
FAST = [kind for kind in ARCHITECTURES if kind not in SLOW]
# Forks at the first and the last layer; an empty set is the base model.
SETS = [HeadSet.parse(x) for x in ("L1H1", "L0H1, L1H3", "", "L1H0, L1H3")]


def texts() -> list[Window]:
    """Windows of several lengths, three with the same beginning, one of them twice."""
    rng = np.random.default_rng(1)
    start = rng.integers(3, 200, 7).tolist()
    made = [
        Window([*start, *rng.integers(3, 200, n).tolist()], first, 0)
        for n, first in ((20, 9), (6, 3), (25, 12))
    ]
    return [*made, made[0], Window(rng.integers(3, 200, 30).tolist(), 1, 0)]


def worst(a: list[WindowLoss], b: list[WindowLoss]) -> float:
    found = 0.0
    for x, y in zip(a, b, strict=True):
        for name in ("base", "entropy", "ablated"):
            left, right = getattr(x, name), getattr(y, name)
            assert left.shape == right.shape
            assert left.dtype == right.dtype == np.float32
            found = max(found, float(np.abs(left - right).max(initial=0)))
    return found


@pytest.mark.parametrize("kind", FAST)
def test_equals_the_hooks(kind: str) -> None:
    model = tiny(kind)
    assert choose_engine(model, "auto") == "fast"
    means = torch.randn(2, 4, model.cfg.d_head)
    for mode in ("uniform", "zero", "mean"):
        options: Any = {"mode": mode, "means": means, "max_tokens_per_batch": 400}
        slow = score_windows(model, texts(), SETS, **options)
        fast = score_fast(model, texts(), SETS, **options)
        assert worst(slow, fast) < 1e-4
        # The ablations do something, so that the test could fail.
        assert all(np.abs(slow[0].ablated[i] - slow[0].base).max() > 1e-3 for i in (0, 1, 3))


@pytest.mark.parametrize("kind", SLOW)
def test_other_architectures_keep_the_hooks(kind: str) -> None:
    model = tiny(kind)
    assert choose_engine(model, "auto") == "hooks"
    with pytest.raises(ConfigError, match="attention interface"):
        choose_engine(model, "fast")


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny("llama")


@pytest.mark.parametrize("budget", [1, 60, 300])
def test_any_budget_gives_the_same(model: Any, budget: int) -> None:
    whole = score_fast(model, texts(), SETS, "uniform")
    assert worst(
        whole, score_fast(model, texts(), SETS, "uniform", max_tokens_per_batch=budget)
    ) < (1e-4)


def test_weights_are_shared_and_followed() -> None:
    model = al.load_model(hf_model("llama"), tokenizer=tokenizer_of(), device="cpu")
    fast = fast_model(model)
    source = {p.data_ptr() for p in model.original_model.parameters()}
    assert {p.data_ptr() for p in fast.model.parameters()} <= source
    before = score_fast(model, texts(), SETS[:1], "uniform")
    with torch.no_grad():
        for parameter in model.original_model.parameters():
            parameter.mul_(1.1)
    after = score_fast(model, texts(), SETS[:1], "uniform")
    assert worst(before, after) > 1e-3
    assert worst(score_windows(model, texts(), SETS[:1], "uniform"), after) < 1e-4
    assert fast_model(model) is not fast


def test_attached_hooks_are_not_passed_over(model: Any) -> None:
    with ablated(model, "L1H1"):
        assert choose_engine(model, "auto") == "hooks"
        with pytest.raises(ConfigError, match="hooks are attached"):
            choose_engine(model, "fast")
    assert choose_engine(model, "auto") == "fast"


def test_unknown_engine(model: Any) -> None:
    with pytest.raises(ConfigError, match="turbo"):
        choose_engine(model, "turbo")  # type: ignore[arg-type]


def test_influence_is_the_same_with_either_engine(model: Any) -> None:
    traces = [Trace(str(i), f"Question {i}?", f"Well, {i} and {i} make {2 * i}.") for i in range(3)]
    slow, fast = (
        influence(model, traces, "L0H1, L1H2", engine=engine, progress=False)  # type: ignore[arg-type]
        for engine in ("hooks", "fast")
    )
    assert slow.provenance["engine"] == "hooks"
    assert fast.provenance["engine"] == "fast"
    for name in ("nll_base", "nll_ref", "nll_control", "entropy"):
        assert np.allclose(slow.tokens[name], fast.tokens[name], atol=1e-4)


def test_running_out_of_memory_halves_the_row(model: Any, monkeypatch: Any, caplog: Any) -> None:
    fast = fast_model(model)
    kept, lengths = fast.hidden, []

    def small(row: Any, *args: Any, **options: Any) -> torch.Tensor:
        lengths.append(len(row.tokens))
        if len(row.tokens) > 45:
            raise torch.OutOfMemoryError("allocate memory")
        return kept(row, *args, **options)

    expected = score_fast(model, texts(), SETS, "uniform")
    monkeypatch.setattr(fast, "hidden", small)
    found = score_fast(model, texts(), SETS, "uniform", max_tokens_per_batch=400)
    assert worst(expected, found) < 1e-4
    assert max(lengths) > 45 >= lengths[-1]
    assert "max_tokens_per_batch=200" in caplog.text


def test_logits_are_made_in_chunks_that_suit_the_device() -> None:
    assert fast_losses.logit_rows(152_000, "cpu") == 41
    assert fast_losses.logit_rows(152_000, "cuda") == 1766
    assert fast_losses.logit_rows(10**9, "cpu") == 16


def test_running_out_of_memory_cuts_a_long_text(model: Any, monkeypatch: Any, caplog: Any) -> None:
    fast = fast_model(model)
    kept, sizes = fast.hidden, []

    def small(row: Any, *args: Any, rows: int) -> torch.Tensor:
        sizes.append(rows)
        if rows > 8:
            raise torch.OutOfMemoryError("allocate memory")
        return kept(row, *args, rows=rows)

    expected = score_fast(model, texts(), SETS, "uniform")
    monkeypatch.setattr(fast, "hidden", small)
    monkeypatch.setattr(fast_losses, "LEAST_ROWS", 4)
    found = score_fast(model, texts(), SETS, "uniform", max_tokens_per_batch=100)
    assert worst(expected, found) < 1e-4
    assert sizes[0] == 25 and sizes[-1] == 6
    monkeypatch.setattr(fast_losses, "LEAST_ROWS", 18)
    with pytest.raises(torch.OutOfMemoryError):
        score_fast(model, texts(), SETS, "uniform", max_tokens_per_batch=70)


sequences = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=8)


@given(sequences, st.integers(0, 20), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_pack_holds_every_sequence_once(rows: list[list[int]], budget: int, share: bool) -> None:
    packs = pack(rows, budget, share=share)
    assert sorted(i for p in packs for i in p.items) == list(range(len(rows)))
    for p in packs:
        assert len(p.tokens) <= budget or len(p.items) == 1
        used: set[int] = set()
        for i, segment in zip(p.items, p.segments, strict=True):
            assert p.tokens[segment.path].tolist() == rows[i]
            assert p.positions[segment.path].tolist() == list(range(len(rows[i])))
            own = set(range(segment.start, segment.stop))
            assert own.isdisjoint(used)
            assert segment.path[segment.shared :].tolist() == sorted(own)
            used |= own
        assert used == set(range(len(p.tokens)))


def test_common_prefix() -> None:
    assert common_prefix([1, 2, 3], [1, 2, 4, 5]) == 2
    assert common_prefix([], [1]) == 0
    assert common_prefix([1, 2], [1, 2, 3]) == 2
