"""Step weights against weights worked out by hand, and what must hold for any scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlens.errors import ConfigError, DataError
from airlens.traces.encoding import EncodedTrace
from airlens.traces.trace import Trace
from airlens.training.scored_tokens import hash_tokens
from airlens.training.step_weights import SCHEMES, StepWeights, step_weights


def frame(scores: list[float], counts: list[int], name: str = "a") -> pd.DataFrame:
    n = len(scores)
    return pd.DataFrame({"id": [name] * n, "step": range(n), "n_tokens": counts, "ais": scores})


def encoded(step: list[int], name: str = "a", prompt: int = 3) -> EncodedTrace:
    n = len(step)
    trace = Trace(name, "q", "x" * n)
    return EncodedTrace(trace, list(range(prompt + n)), prompt, np.zeros((n, 2)), np.asarray(step))


def test_threshold_by_hand() -> None:
    found = step_weights(frame([0.1, 0.9, 0.5], [2, 1, 1]), "threshold", top=1 / 3, factor=3.0)
    # raw 1, 3, 1 over 2, 1, 1 tokens: mean (2 + 3 + 1) / 4 = 1.5
    assert found.table["weight"].tolist() == pytest.approx([2 / 3, 2.0, 2 / 3])


def test_linear_by_hand() -> None:
    found = step_weights(frame([1.0, 3.0, 2.0], [1, 1, 2]), "linear", lo=0.0, hi=2.0)
    assert found.table["weight"].tolist() == pytest.approx([0.0, 2.0, 1.0])


def test_softmax_orders_and_flattens_with_temperature() -> None:
    steps = frame([0.0, 1.0, 2.0], [1, 1, 1])
    sharp = step_weights(steps, "softmax", temperature=0.5).table["weight"].to_numpy()
    flat = step_weights(steps, "softmax", temperature=1e6).table["weight"].to_numpy()
    z = (np.arange(3) - 1) / np.std([0, 1, 2])
    expected = np.exp(z / 0.5)
    assert sharp == pytest.approx(expected / expected.mean())
    assert flat == pytest.approx([1, 1, 1], abs=1e-4)


def test_prefix_counts_tokens_not_steps() -> None:
    found = step_weights(frame([0.0, 0.0], [3, 3]), "prefix", prefix=4)
    assert found.of(encoded([0, 0, 0, 1, 1, 1])).tolist() == [1.5, 1.5, 1.5, 1.5, 0, 0]


def test_uniform_needs_no_score() -> None:
    steps = frame([np.nan, np.nan], [3, 5]).drop(columns="ais")
    assert step_weights(steps, "uniform").of(encoded([0] * 3 + [1] * 5)).tolist() == [1.0] * 8


def test_below_floor_counts_as_the_mean_and_is_never_on_top() -> None:
    steps = frame([0.0, np.nan, 1.0], [1, 1, 1]).assign(below_floor=[False, True, False])
    linear = step_weights(steps, "linear", lo=0.0, hi=2.0)
    assert linear.table["weight"].tolist() == pytest.approx([0, 1, 2])
    top = step_weights(steps, "threshold", top=0.34, factor=4.0).table["weight"]
    assert top.idxmax() == 2


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-5, 5, allow_subnormal=False), st.integers(1, 9)),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(SCHEMES),
    st.one_of(st.none(), st.integers(0, 5)),
)
def test_mean_over_tokens_is_one(
    rows: list[tuple[float, int]], scheme: str, shuffle: int | None
) -> None:
    scores, counts = [r[0] for r in rows], [r[1] for r in rows]
    found = step_weights(frame(scores, counts), scheme, shuffle=shuffle, prefix=3)
    per_token = found.of(encoded(np.repeat(np.arange(len(rows)), counts).tolist()))
    assert per_token.mean() == pytest.approx(1)
    assert (per_token >= 0).all()
    table = found.table
    assert np.average(table["weight"], weights=table["n_tokens"]) == pytest.approx(1)


def test_shuffle_keeps_the_weights_of_a_trace() -> None:
    steps = pd.concat([frame([0.1 * i for i in range(9)], [2] * 9, name) for name in "ab"])
    plain, control = step_weights(steps, "linear"), step_weights(steps, "linear", shuffle=1)
    again = step_weights(steps, "linear", shuffle=1)
    assert control.table["weight"].tolist() == again.table["weight"].tolist()
    assert control.table["weight"].tolist() != plain.table["weight"].tolist()
    for name in "ab":
        ours = [set(w.table[w.table["id"] == name]["weight"].round(12)) for w in (plain, control)]
        assert ours[0] == ours[1]


@pytest.mark.parametrize(
    "change",
    [
        {"top": 0.0},
        {"top": 1.5},
        {"factor": -1.0},
        {"lo": 2.0, "hi": 1.0},
        {"hi": float("inf")},
        {"temperature": 0.0},
        {"prefix": 0},
    ],
)
def test_a_setting_out_of_range(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        step_weights(frame([1.0], [1]), "threshold", **change)  # type: ignore[arg-type]


def test_unknown_scheme_names_the_known() -> None:
    with pytest.raises(ConfigError, match="threshold"):
        step_weights(frame([1.0], [1]), "best")


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_a_missing_score_names_the_step(score: float) -> None:
    with pytest.raises(DataError, match="'a', step 1"):
        step_weights(frame([1.0, score], [1, 1]))


@pytest.mark.parametrize("weight", [np.nan, np.inf, -0.1])
def test_a_bad_weight_names_the_step(weight: float) -> None:
    table = pd.DataFrame({"id": ["a", "a"], "step": [0, 1], "weight": [1.0, weight]})
    with pytest.raises(DataError, match="'a', step 1"):
        StepWeights(table, "file")


def test_a_bad_weight_in_a_file_names_the_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "w.csv").write_text("id,step,weight\na,0,1.0\na,1,\n")
    with pytest.raises(DataError, match=r"w.csv, field 'weight': trace 'a', step 1: .* nan"):
        StepWeights.load(tmp_path / "w.csv")


def test_all_weights_zero_is_an_error() -> None:
    weights = StepWeights(pd.DataFrame({"id": ["a"], "step": [0], "weight": [0.0]}), "file")
    with pytest.raises(DataError, match="above 0"):
        weights.of(encoded([0, 0]))


def test_a_trace_or_a_step_without_weight() -> None:
    weights = step_weights(frame([1.0], [2]), "uniform")
    with pytest.raises(DataError, match="'b' has no step weights"):
        weights.of(encoded([0], "b"))
    with pytest.raises(DataError, match="step 1 has no weight"):
        weights.of(encoded([0, 1]))


def test_another_tokenizer_is_refused() -> None:
    tokens = pd.DataFrame({"id": ["a"] * 2, "token_id": [3, 4]})
    weights = step_weights(frame([1.0], [2]), "uniform", tokens=tokens)
    assert weights.of(encoded([0, 0])).tolist() == [1, 1]  # its response tokens are 3 and 4
    with pytest.raises(DataError, match="same tokenizer"):
        weights.of(encoded([0, 0], prompt=2))


@pytest.mark.parametrize(
    ("scored", "fine"),
    [
        ([2, 3, 1], True),
        ([2, 2, 0], True),  # cut in the second step
        ([2, 0, 0], True),
        ([1, 3, 1], False),  # fewer, and what follows was scored: not a cut
        ([2, 4, 0], False),  # more than there are
        ([4, 6, 2], False),
    ],
)
def test_without_the_scorers_tokens_their_number_tells(scored: list[int], fine: bool) -> None:
    weights = step_weights(frame([1.0, 2.0, 3.0], scored), "uniform")
    here = encoded([0, 0, 1, 1, 1, 2])
    if fine:
        assert weights.of(here).tolist() == [1.0] * 6
        return
    with pytest.raises(DataError, match="same tokenizer"):
        weights.of(here)


def test_the_first_token_of_a_text_was_not_scored() -> None:
    weights = step_weights(frame([1.0], [2]), "uniform")
    assert weights.of(encoded([0, 0, 0], prompt=0)).tolist() == [1.0] * 3


def test_saved_weights_come_back(tmp_path) -> None:  # type: ignore[no-untyped-def]
    tokens = pd.DataFrame({"id": ["a"] * 2, "token_id": [3, 4]})
    weights = step_weights(frame([1.0, 2.0], [1, 1]), "prefix", tokens=tokens, prefix=1)
    back = StepWeights.load(weights.save(tmp_path / "w.parquet"))
    pd.testing.assert_frame_equal(back.table, weights.table)
    assert (back.scheme, back.prefix) == ("prefix", 1)
    assert back.token_hash == {"a": hash_tokens([3, 4])}
    assert back.provenance["scheme"] == "prefix"
    with pytest.raises(DataError, match="no table"):
        StepWeights.load(tmp_path / "absent.parquet")
