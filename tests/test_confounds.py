"""Rank statistics, residual scores and labelled traces, against other implementations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from airlens.errors import ConfigError, DataError
from airlens.experiments.validity.heuristics import add_heuristics
from airlens.experiments.validity.labelled import (
    IMPORTANCES,
    add_importance,
    by_function,
    correlation_summary,
    importance_correlations,
)
from airlens.experiments.validity.selection_changes import what_changes
from airlens.selection.confounds import confound_table
from airlens.selection.residuals import residualise
from airlens.selection.select import select
from airlens.statistics.correlations import correlation_of, partial_spearman, spearman
from airlens.traces.steps import split_steps
from airlens.traces.trace import Trace


def samples(n: int = 120, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    loss = rng.gamma(4, 0.3, n)
    return pd.DataFrame(
        {
            "id": [f"s{i:03d}" for i in range(n)],
            "domain": np.where(np.arange(n) % 2, "a", "b"),
            "loss_base": loss,
            "n_tokens": rng.integers(20, 400, n),
            "entropy": loss + rng.normal(0, 0.1, n),
            "ais": 1 / loss + rng.normal(0, 0.05, n),
            "delta": rng.normal(0, 1, n),
        }
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=3, max_size=30))
def test_spearman_is_scipys(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, dtype=float).T
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)
    else:
        assert np.isnan(spearman(x, y))


def test_an_interval_holds_its_value() -> None:
    frame = samples()
    found = correlation_of(frame["ais"].to_numpy(), frame["loss_base"].to_numpy())
    lo, hi = found.interval()
    assert lo < found.value < hi < -0.8


def test_partial_correlation_takes_the_common_cause_out() -> None:
    rng = np.random.default_rng(0)
    cause = rng.normal(size=400)
    x, y = cause + rng.normal(0, 0.3, 400), cause + rng.normal(0, 0.3, 400)
    assert spearman(x, y) > 0.8
    assert abs(partial_spearman(x, y, [cause])) < 0.15
    assert partial_spearman(x, y, []) == pytest.approx(spearman(x, y))
    assert np.isnan(partial_spearman(x, y, [x]))


def test_a_residual_has_no_rank_correlation_left() -> None:
    frame = residualise(samples())
    assert spearman(*frame[["ais", "loss_base"]].to_numpy().T) < -0.9
    assert abs(spearman(*frame[["ais_residual", "loss_base"]].to_numpy().T)) < 0.2
    within = residualise(samples(), ("loss_base", "n_tokens"), within="domain")
    assert within.groupby("domain")["ais_residual"].mean().abs().max() < 1e-9
    with pytest.raises(DataError, match="there are"):
        residualise(samples(), ("unknown",))
    with pytest.raises(ConfigError):
        residualise(samples(), ())


def test_select_by_what_the_loss_leaves() -> None:
    frame = residualise(samples())
    by_column = select(frame, "ais_residual", within=None).ids
    by_option = select(samples(), "ais", within=None, residual_on=("loss_base",))
    assert by_option.ids == by_column
    assert by_option.provenance["residual_on"] == ["loss_base"]


def test_what_changes_in_the_selection() -> None:
    frame = samples()
    table = what_changes(frame).set_index("variant")
    assert list(table.index) == [
        "as it is",
        "residual on loss_base",
        "length-matched",
        "all samples",
    ]
    assert table.loc["as it is", "kept"] == 1
    assert table.loc["as it is", "loss"] < frame["loss_base"].quantile(0.2)
    assert table.loc["residual on loss_base", "loss"] > table.loc["as it is", "loss"]
    assert table.loc["all samples", "tokens"] == frame["n_tokens"].median()


def test_confounds_over_all_and_within_domains() -> None:
    frame = samples()
    # Across domains the score follows length; inside each it does not.
    rng = np.random.default_rng(1)
    frame["ais"] = (frame["domain"] == "a") * 10 + rng.normal(size=len(frame))
    frame["n_tokens"] = (frame["domain"] == "a") * 1000 + rng.integers(1, 50, len(frame))
    table = confound_table(frame).set_index(["score", "against", "group"])
    assert table.loc[("ais", "n_tokens", "all"), "lo"] > 0.6
    inside = table.loc[("ais", "n_tokens", "within domain")]
    assert inside["lo"] < 0 < inside["hi"]
    assert table.loc[("ais", "n_tokens", "a"), "n"] == 60
    with pytest.raises(DataError, match="none of"):
        confound_table(frame, against=("nothing",))


def labelled() -> tuple[pd.DataFrame, list[Trace]]:
    """Steps whose "ais" is their importance, whose "delta" is its opposite."""
    rng = np.random.default_rng(0)
    traces, rows = [], []
    for i in range(4):
        texts = [f"step {k} of trace {i}.\n" for k in range(30)]
        response = "".join(texts)
        known = [{"index": k, **{name: rng.random() for name in IMPORTANCES}} for k in range(30)]
        known[3][IMPORTANCES[0]] = None
        steps = split_steps(response, "line")
        traces.append(Trace(f"t{i}", "Why?", response, "", steps, step_meta=tuple(known)))
        for k in range(30):
            value = known[k][IMPORTANCES[0]] or 0.0
            row = {"id": f"t{i}", "step": k, "label": "ab"[k % 2], "text": texts[k]}
            losses = {"loss_base": rng.random(), "entropy": rng.random(), "n_tokens": 5 + k % 3}
            scores = {"ais": value, "delta": -value, "ais_control": rng.random()}
            rows.append({**row, **losses, **scores, "delta_control": np.nan})
    return pd.DataFrame(rows), traces


def test_importance_is_found_by_the_score_that_is_it() -> None:
    steps, traces = labelled()
    frame = add_heuristics(add_importance(steps, traces), traces)
    found = importance_correlations(frame)
    own = found[found["importance"] == IMPORTANCES[0]].groupby("score")[["rho", "partial"]].mean()
    assert own.loc["ais", "rho"] == pytest.approx(1)
    assert own.loc["ais", "partial"] == pytest.approx(1)
    assert own.loc["delta", "rho"] == pytest.approx(-1)
    assert abs(own.loc["ais_control", "rho"]) < 0.4
    assert set(found.loc[found["importance"] == IMPORTANCES[0], "n"]) == {29, 0} - {0}
    summary = correlation_summary(found).set_index(["score", "importance"])
    assert summary.loc[("ais", IMPORTANCES[0]), "n_traces"] == 4


def test_means_by_function() -> None:
    steps, _ = labelled()
    table = by_function(steps).set_index(["label", "value"])
    expected = steps[steps["label"] == "a"]["ais"].mean()
    row = table.loc[("a", "ais")]
    assert row["mean"] == pytest.approx(expected)
    assert row["lo"] <= row["mean"] <= row["hi"]
    assert (row["n_steps"], row["n_traces"]) == (60, 4)
    with pytest.raises(DataError, match="label"):
        by_function(steps.assign(label=None))


def test_traces_without_importance_are_refused() -> None:
    steps, traces = labelled()
    bare = [Trace(t.id, t.prompt, t.response, "", t.steps) for t in traces]
    with pytest.raises(DataError, match="importances"):
        add_importance(steps, bare)
