"""Choosing samples by hand: what is kept, what is shown of it, what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from explore_tiny import HOSTILE, tiny_model, tiny_traces
from typer.testing import CliRunner

import airlens as al
from airlens.cli import app
from airlens.corpus.run import score_corpus
from airlens.corpus.run_folder import RunFolder
from airlens.errors import ConfigError


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


@pytest.fixture(scope="module")
def chooser(model: Any) -> al.SelectionExplorer:
    traces = [al.Trace(f"t{i}", "", f"{'a b c ' * (i + 1)}.", "xy"[i % 2]) for i in range(6)]
    traces.append(tiny_traces()[1])
    result = al.influence(model, traces, "L0H1", controls=1, progress=False)
    return al.SelectionExplorer(result, traces, top=0.4)


def test_what_is_kept_is_what_select_keeps(chooser: al.SelectionExplorer) -> None:
    for by, top in (("length", 0.5), ("ais", 0.3)):
        chooser.by.value, chooser.top.value = by, top
        wanted = al.select(chooser.samples, by, top).ids
        assert chooser.frame("chosen")["id"].tolist() == wanted
        drawn = [chooser.samples["id"].iloc[i] for i in chooser.points.chosen]
        assert sorted(drawn) == sorted(wanted)
    for what in ("scatter", "counts", "overlap"):
        assert chooser.figure(what).data


def test_a_lasso_narrows_the_table_and_a_row_shows_its_trace(chooser: al.SelectionExplorer) -> None:
    chooser.points.lasso = [1, 6]
    assert chooser.table.only == [1, 6]
    assert chooser.frame("lasso")["id"].tolist() == ["t1", "hostile"]
    chooser.table.picked = [6, 1]
    assert "".join(chooser.text.texts) == HOSTILE
    assert chooser.points.current == 6


def test_export_writes_what_the_commands_write(model: Any, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"r{i}",
            "domain": "xy"[i % 2],
            "prompt": "Add.",
            "response": f"{'a ' * i}b.\nSo {i}.",
        }
        for i in range(1, 7)
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    score_corpus(model, str(data), "L0H1", tmp_path / "run", progress=False)
    for words in (
        ["select", tmp_path / "run", "--top", 0.5, "--out", tmp_path / "selected.jsonl"],
        ["export", tmp_path / "selected.jsonl", "--out", tmp_path / "theirs.jsonl"],
        ["export", tmp_path / "selected.jsonl", "--out", tmp_path / "theirs.parquet", "--messages"],
    ):
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    samples = RunFolder(tmp_path / "run").read()
    view = al.SelectionExplorer(samples, al.load_traces(data), top=0.5)
    for name, chat in (("mine.jsonl", False), ("mine.parquet", True)):
        view.out.value, view.chat.value = str(tmp_path / name), chat
        view.save.click()
        assert "written" in view.worker.note.value
    lines = [(tmp_path / f"{who}.jsonl").read_text().splitlines() for who in ("mine", "theirs")]
    assert [json.loads(line) for line in lines[0]] == [json.loads(line) for line in lines[1]]
    tables = [pd.read_parquet(tmp_path / f"{who}.parquet") for who in ("mine", "theirs")]
    pd.testing.assert_frame_equal(*tables)
    notes = [
        json.loads((tmp_path / f"{who}.jsonl.manifest.json").read_text())
        for who in ("mine", "theirs")
    ]
    for key in ("ids", "chosen", "of", "sha256", "near_duplicates"):
        assert notes[0][key] == notes[1][key]


def test_what_cannot_be_written_is_told(chooser: al.SelectionExplorer, tmp_path: Path) -> None:
    chooser.out.value = " "
    chooser.save.click()
    assert "name a file" in chooser.worker.note.value
    bare = al.SelectionExplorer(chooser.samples)
    bare.out.value = str(tmp_path / "a.jsonl")
    bare.save.click()
    assert "no text is known of" in bare.worker.note.value
    assert not list(tmp_path.iterdir())


def test_numbers_alone_are_enough(chooser: al.SelectionExplorer) -> None:
    view = al.SelectionExplorer(chooser.samples)
    view.table.picked = [0, 1]
    assert "no text is known" in view.worker.note.value
    with pytest.raises(ConfigError):
        al.SelectionExplorer(chooser.samples.head(0))
