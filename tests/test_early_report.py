"""Early answers against known truths: tables by hand, resuming, the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny_zoo import tiny

import airlens as al
from airlens.experiments.validity import early_steps
from airlens.experiments.validity.early_report import early_report, needed_table
from airlens.experiments.validity.early_steps import EARLY, SCORES, needed_and_not
from airlens.experiments.validity.planting import planted_info
from airlens.heads import HeadSet

HEADS = HeadSet.parse("L0H1, L1H3")
KINDS = ("filler", "repeated")


@pytest.fixture(scope="module")
def bundled() -> list[al.Trace]:
    return list(al.load_traces(al.data_path("traces.jsonl"), limit=4))


def report(traces: Any, folder: Any = None, **options: Any) -> Any:
    small = {"n": 2, "kinds": KINDS, "forcings": ("sentence", "boxed"), "controls": 1}
    return early_report(
        tiny("llama"), traces, HEADS, folder=folder, progress=False, **{**small, **options}
    )


def test_a_needed_step_stands_before_the_one_that_adds_nothing(bundled: Any) -> None:
    traces, pairs = needed_and_not(bundled, tiny("llama"), n=3, kinds=KINDS)
    by_id = {trace.id: trace for trace in traces}
    sources = [name.split("/")[0] for name in by_id]
    assert sources == sorted(sources, key=sources.index)  # those of one source stand together
    for name, part in pairs.groupby("id"):
        labels = [by_id[name].steps[i].label for i in part["step"]]
        if part["kind"].iloc[0] == "filler":
            assert set(zip(labels, part["needed"], strict=True)) == {
                ("compute", True),
                ("filler", False),
            }
            continue
        at = planted_info(by_id[name])["step"]
        assert part["step"].tolist() == [at - 1, at]
        assert labels[1] == "planted"
        assert part["needed"].tolist() == [True, False]


def test_the_table_counts_wins_by_hand() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for source in range(12):
        for needed in (True, False):
            values = dict.fromkeys(SCORES, np.nan) | {"gain": rng.normal() + needed}
            free = dict.fromkeys(("loss", "entropy", "length", "position", "overlap"), 0.0)
            of = {"source": source, "kind": "k", "needed": needed, "forcing": "f"}
            rows.append({**of, "states_answer": False, **values, **free})
    steps = pd.DataFrame(rows)
    table = needed_table(steps).set_index("score")
    real, other = (steps.loc[steps["needed"] == side, "gain"].to_numpy() for side in (True, False))
    wins = np.mean([[(a > b) + 0.5 * (a == b) for b in other] for a in real])
    assert table.loc["gain", "auroc"] == pytest.approx(wins)
    assert table.loc["gain", "lo"] < wins < table.loc["gain", "hi"]
    assert table.loc["gain", "n"] == 12
    assert table.loc["loss", "auroc"] == 0.5
    assert "direct" not in table.index


def test_a_step_that_writes_the_answer_is_no_evidence() -> None:
    of = {"source": 0, "kind": "k", "forcing": "f", "gain": 1.0, "loss": 1.0}
    row = {**dict.fromkeys((*SCORES, "entropy", "length", "position", "overlap"), 0.0), **of}
    rows = [{**row, "needed": True, "states_answer": True}]
    rows.append({**row, "needed": False, "states_answer": False})
    assert needed_table(pd.DataFrame(rows)).empty


@pytest.mark.slow
def test_report_and_resuming(bundled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = ("forced_importance_kl", "resampling_importance_kl")
    importances = [dict.fromkeys(known, 0.1 * i) for i in range(8)]
    text = "".join(f"line {i} has {i}.\n" for i in range(7)) + "#### 7"
    labelled = al.Trace("x", "count", text).with_steps("line")
    labelled = al.Trace(**{**vars(labelled), "step_meta": tuple(importances)})
    options: dict[str, Any] = {"labelled": [labelled], "total": 1, "controls": 0}
    first = report(bundled, tmp_path, **options)
    needed = first.tables["needed"]
    assert set(needed["kind"]) == set(KINDS)
    assert set(needed.loc[needed["score"].isin(EARLY), "forcing"]) == {"sentence", "boxed"}
    assert {"total", "direct", "gain", "ais", "overlap"} <= set(needed["score"])
    assert set(needed.loc[needed["score"] == "total", "forcing"]) == {"sentence"}
    assert first.measured["needed"].dropna(subset="total")["id"].nunique() == 1
    assert set(first.tables["importance"]["importance"]) >= {"forced_importance_kl"}
    assert (first.claims["verdict"] == "no verdict").all()  # two traces decide nothing

    def no_more(*args: Any, **more: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(early_steps, "early_answers", no_more)
    again = report(bundled, tmp_path, **options)
    for name, table in first.tables.items():
        pd.testing.assert_frame_equal(again.tables[name], table, check_dtype=False)
    assert json.loads((tmp_path / "provenance.json").read_text())["n"] == 2
    assert (tmp_path / "measured_needed.parquet").is_file()


def test_the_command_prints_and_keeps_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from airlens.cli import app

    monkeypatch.setattr("airlens.model.load.load_model", lambda *a, **k: tiny("llama"))
    options = ["--heads", "L0H1, L1H3", "--n", "1", "--quiet", "--draws", "1", "--modes", "zero"]
    call = ["validate", "--what", "answers", *options, "--forcings", "sentence"]
    found = CliRunner().invoke(app, [*call, "--out", str(tmp_path / "out")])
    assert found.exit_code == 0, found.output
    for words in ("AUROC of needed steps", "gain sentence", "filler", "What may not be"):
        assert words in found.output
    assert (tmp_path / "out" / "needed.csv").is_file()
