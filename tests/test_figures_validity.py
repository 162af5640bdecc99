"""Figures of the validity tables: what they show, and that text is escaped."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from airlens.errors import DataError
from airlens.figures import (
    auroc_forest,
    correlation_strip,
    influence_by_function,
    matched_pairs,
    source_truth,
)
from airlens.views.figures.style import COLOURS


def aurocs() -> pd.DataFrame:
    rows = [
        ("other", "ais", "uniform", "top", 0.9, 0.8, 0.95, 40),
        ("other", "ais", "uniform", "same_layers", 0.6, 0.5, 0.7, 40),
        ("other", "loss", "", "", 0.1, 0.0, 0.2, 40),
        ("<b>restated</b>", "ais", "uniform", "top", 0.2, 0.1, 0.3, 40),
        ("<b>restated</b>", "loss", "", "", np.nan, np.nan, np.nan, 0),
    ]
    columns = ["kind", "score", "mode", "heads", "auroc", "lo", "hi", "n"]
    return pd.DataFrame(rows, columns=columns)


def test_forest_has_a_panel_a_kind_and_a_row_a_score() -> None:
    fig = auroc_forest(aurocs())
    assert len(fig.data) == 2
    first = fig.data[0]
    assert list(first.x) == [0.9, 0.6, 0.1]
    assert list(first.error_x.array) == pytest.approx([0.05, 0.1, 0.1])
    assert "AIS uniform, random heads of the same layers" in str(fig.layout.yaxis.ticktext)
    assert "other" in fig.layout.title.text
    assert "<b>restated" not in str(fig.to_json()).replace("&lt;b&gt;", "")
    assert len(auroc_forest(aurocs(), "other").data) == 1


def test_pairs_are_joined() -> None:
    rows = [
        (source, kind, "mean", heads, draw, loss, ais)
        for source in ("a", "b")
        for kind, loss, ais in (("real", 1.0, 0.3), ("other", 2.0, 0.1))
        for heads, draw in (("top", 0), ("random", 0), ("random", 1))
    ]
    columns = ["source", "kind", "mode", "heads", "draw", "loss", "ais"]
    frame = pd.DataFrame(rows, columns=columns)
    fig = matched_pairs(frame, "other", mode="mean")
    assert "100%" in fig.layout.title.text
    assert list(fig.data[0].x) == [1.0, 2.0, None] * 2
    assert len(matched_pairs(frame, "other", mode="mean", heads="random").data) == 3
    assert "no other steps" in str(matched_pairs(frame, "other", mode="zero").layout)


def test_functions_and_their_control() -> None:
    rows = [("a", "ais", 0.2, 0.1, 0.3, 9), ("b", "ais", 0.4, 0.3, 0.5, 5)]
    rows += [("a", "ais_control", 0.0, -0.1, 0.1, 9)]
    table = pd.DataFrame(rows, columns=["label", "value", "mean", "lo", "hi", "n_steps"])
    fig = influence_by_function(table)
    assert [trace.name for trace in fig.data] == ["random heads (control)", "critical heads"]
    assert list(fig.layout.yaxis.ticktext) == ["a", "b"]
    assert "in b steps" in fig.layout.title.text


def test_strip_is_ordered_by_the_mean() -> None:
    rows = [("t0", "ais", "kl", 0.5), ("t1", "ais", "kl", 0.3), ("t0", "length", "kl", -0.2)]
    table = pd.DataFrame(rows, columns=["id", "score", "importance", "rho"])
    fig = correlation_strip(table, "kl")
    assert list(fig.layout.yaxis.ticktext) == ["length", "AIS"]
    assert "AIS goes most with kl: mean ρ = 0.4" in fig.layout.title.text


def test_strip_names_the_strongest_whatever_its_sign_and_greys_the_controls() -> None:
    rows = [("t0", "ais", 0.5), ("t0", "ais_control", 0.1), ("t0", "position", -0.6)]
    table = pd.DataFrame(rows, columns=["id", "score", "rho"]).assign(importance="kl")
    fig = correlation_strip(table, "kl")
    assert "position goes most with kl" in fig.layout.title.text
    names = list(fig.layout.yaxis.ticktext)
    dots = [trace.marker.color for trace in fig.data if trace.mode == "markers"]
    assert dots[names.index("AIS, random heads")] == COLOURS["control"]
    assert dots[names.index("AIS")] == COLOURS["ablated"]


@pytest.mark.parametrize("make", [auroc_forest, influence_by_function, source_truth])
def test_nothing_to_show_is_said(make: object) -> None:
    assert make(pd.DataFrame()).layout.annotations  # type: ignore[operator]
    with pytest.raises(DataError, match="needs the column"):
        make(pd.DataFrame({"kind": ["a"], "label": ["b"]}))  # type: ignore[operator]


def planted_sources() -> pd.DataFrame:
    rows = [
        (wording, distance, score, heads, auroc + 0.1 * (wording == "own"))
        for wording in ("all", "own")
        for distance, far in (("all", 0.1), ("1", 0.0), ("7–12", 0.2), ("prompt", 0.0))
        for score, heads, auroc in (
            ("copies", "top", 0.8 - far),
            ("copies", "random", 0.55),
            ("<b>proximity</b>", np.nan, 0.9 - 3 * far),
        )
    ]
    table = pd.DataFrame(rows, columns=["wording", "distance", "score", "heads", "auroc"])
    table = table.assign(lo=table["auroc"] - 0.05, hi=table["auroc"] + 0.05, chance=0.1)
    return table.assign(p1=0.4, p1_lo=0.3, p1_hi=0.5)


def test_sources_by_distance_have_a_panel_a_measure_and_one_of_controls() -> None:
    fig = source_truth(planted_sources())
    lines = {(line.name, tuple(line.y)) for line in fig.data}
    assert ("critical heads", (0.8, 0.6)) in lines
    assert ("random heads anywhere", (0.55, 0.55)) in lines
    assert len(fig.data) == 3
    assert list(fig.data[0].error_y.array) == pytest.approx([0.05, 0.05])
    panels = [note.text for note in fig.layout.annotations]
    assert panels == ["share of tokens copied", "free controls"]
    headline = fig.layout.title.text.replace("<br>", " ")
    assert "7–12 steps before: share of tokens copied 0.60" in headline
    assert "random heads 0.55" in headline
    assert "best free control" in headline
    assert "<b>proximity" not in str(fig.to_json())
    first = source_truth(planted_sources(), "p1")
    assert [line.y[0] for line in first.data if line.name] == [0.4] * 3
    assert sum(list(line.y) == pytest.approx([0.1, 0.1]) for line in first.data) == 2


def test_labelled_sources_by_how_far_apart() -> None:
    rows = [
        (traces, beyond, compared, "copies", "top", 0.9 - beyond / 100)
        for traces in ("all", "knocked out")
        for beyond in (0, 3, 8)
        for compared in ("all pairs", "same step")
    ]
    names = ["traces", "beyond", "compared", "score", "heads", "auroc"]
    table = pd.DataFrame(rows, columns=names)
    fig = source_truth(table.assign(lo=0.5, hi=1.0))
    (line,) = fig.data
    assert list(line.y) == pytest.approx([0.9, 0.87, 0.82])
    assert list(fig.layout.xaxis.ticktext) == ["all", "&gt; 3", "&gt; 8"]
