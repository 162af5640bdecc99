"""What the fast engine may assume is checked on the model at hand: each mode, length and type."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from tiny_zoo import ARCHITECTURES, WINDOW, hf_model, tokenizer

import airlens as al
from airlens.errors import EngineError, ModelError
from airlens.losses.choice import choose_engine
from airlens.losses.fast import fast_model, packed_attention, self_check
from airlens.traces.encoding import encode_trace

SLOW = ("falcon", "falcon_alibi", "bloom", "mpt")
SHORT, LONG = al.Trace("s", "a", "bc d"), al.Trace("l", "a", "bc defgh ijkl mnop")


def load(kind: str = "llama", dtype: str = "float32") -> Any:
    return al.load_model(hf_model(kind), tokenizer=tokenizer(), device="cpu", dtype=dtype)


def engine_of(model: Any, trace: al.Trace, mode: str = "uniform") -> str:
    found = al.influence(model, trace, "L0H1", mode=mode, progress=False)
    return str(found.provenance["engine"])


def patch_attention(monkeypatch: Any, change: Callable[[dict[str, Any]], None]) -> None:
    kept = packed_attention.attend_one

    def other(query: Any, key: Any, value: Any, scaling: float, **options: Any) -> Any:
        options["scaling"] = scaling
        change(options)
        return kept(query, key, value, **options)

    monkeypatch.setattr(packed_attention, "attend_one", other)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", [kind for kind in ARCHITECTURES if kind not in SLOW])
def test_c_both_engines_agree_in_every_type(kind: str, dtype: str) -> None:
    assert choose_engine(load(kind, dtype), "auto", mode=["uniform", "zero"], longest=30) == "fast"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_c_a_small_error_is_told_from_rounding(dtype: str, monkeypatch: Any) -> None:
    """It moves losses by less than the old bound for narrow types, 0.2 nats."""

    def sharper(options: dict[str, Any]) -> None:
        options["scaling"] *= 1.5

    patch_attention(monkeypatch, sharper)
    assert choose_engine(load(dtype=dtype), "auto") == "hooks"


def test_c_texts_beyond_a_window_are_checked_when_there_are_any(monkeypatch: Any) -> None:
    def off_by_one(options: dict[str, Any]) -> None:
        if options.get("window") is not None:
            options["window"] += 1

    patch_attention(monkeypatch, off_by_one)
    model = load("mistral")
    assert len(encode_trace(tokenizer(), SHORT).tokens) <= WINDOW
    assert engine_of(model, SHORT) == "fast"
    assert engine_of(model, LONG) == "hooks"
    assert choose_engine(model, "auto") == "hooks"  # any length, up to the context
    with pytest.raises(EngineError, match=f"on {WINDOW + self_check.SCORED} tokens"):
        al.influence(model, LONG, "L0H1", engine="fast", progress=False)


def test_c_a_window_too_long_to_check_means_hooks() -> None:
    model = load("mistral")
    fast = fast_model.fast_model(model)
    fast.switches = [WINDOW, 100_000]
    assert choose_engine(model, "auto", longest=WINDOW + 1) == "fast"
    assert choose_engine(model, "auto", longest=100_001) == "hooks"


@pytest.mark.parametrize("wrong", ["uniform", "zero", "mean"])
def test_c_each_mode_that_is_used_is_checked(wrong: str, monkeypatch: Any) -> None:
    kept = packed_attention.Plan.mode
    other = "zero" if wrong == "uniform" else "uniform"
    confuse = {wrong: other}
    monkeypatch.setattr(
        packed_attention.Plan,
        "mode",
        lambda plan, row: confuse.get(kept(plan, row), kept(plan, row)),
    )
    model = load()
    assert engine_of(model, SHORT, other) == "fast"
    assert engine_of(model, SHORT, wrong) == "hooks"
    assert choose_engine(model, "auto", mode=[other, wrong]) == "hooks"


@pytest.mark.parametrize("error", [KeyError("x"), ZeroDivisionError("y"), AssertionError("z")])
def test_c_whatever_goes_wrong_while_it_is_made_means_hooks(
    error: Exception, monkeypatch: Any, caplog: Any
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise error

    expected = al.influence(load(), LONG, "L0H1", engine="hooks", progress=False).tokens
    for place, name in ((fast_model, "share"), (self_check, "score_fast")):
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr(place, name, broken)
            model = load()
            caplog.clear()
            for _ in range(2):
                found = al.influence(model, LONG, "L0H1", progress=False)
                assert found.provenance["engine"] == "hooks"
                assert found.tokens["nll_ref"].equals(expected["nll_ref"])
            said = [record.message for record in caplog.records]
            assert len(said) == 1 and type(error).__name__ in said[0]
            with pytest.raises(ModelError, match=type(error).__name__):
                al.influence(model, LONG, "L0H1", engine="fast", progress=False)
