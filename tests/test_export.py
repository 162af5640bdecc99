"""From a scored folder to what trainers read: select, leave out near-copies, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from typer.testing import CliRunner

import airlens as al
from airlens.cli import app
from airlens.corpus.export import export
from airlens.corpus.near_duplicates import near_duplicates
from airlens.corpus.run import score_corpus
from airlens.errors import ConfigError, DataError

ROWS = [
    {"id": f"r{i}", "prompt": f"{i} + 1?", "response": f"{w} is {i}.\nSo {i + 1}.", "answer": i}
    for i, w in enumerate(["It", "That", "This", "One", "Which", "Here", "There", "What"])
]


@pytest.fixture(scope="module")
def folder(llama: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    data = path / "data.jsonl"
    rows = [{**row, "domain": "even" if row["answer"] % 2 == 0 else "odd"} for row in ROWS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    score_corpus(llama, str(data), "L0H1, L2H3", path / "out", part_rows=3, progress=False)
    return path / "out"


def run(*args: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, args), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


@pytest.fixture
def selected(folder: Path, tmp_path: Path) -> Path:
    out = tmp_path / "selected.jsonl"
    summary = run("select", folder, "--top", 0.5, "--out", out)
    assert summary["domains"] == {"even": 2, "odd": 2}
    return out


def test_a_selection_can_be_loaded_as_traces(selected: Path) -> None:
    traces = al.load_traces(selected)
    given = {row["id"]: row for row in ROWS}
    assert len(traces) == 4
    for trace in traces:
        assert trace.prompt == given[trace.id]["prompt"]
        assert trace.response == given[trace.id]["response"]
        assert len(trace.steps) == 2
    values = [json.loads(line)["selector"] for line in selected.read_text().splitlines()]
    assert values == sorted(values, reverse=True)


def test_the_manifest_is_enough_to_repeat_it(selected: Path, folder: Path, tmp_path: Path) -> None:
    manifest = json.loads(Path(f"{selected}.manifest.json").read_text())
    assert manifest["selection"]["by"] == "ais"
    assert manifest["run"]["identity"]["heads"] == ["L0H1", "L2H3"]
    samples = pd.read_parquet(folder / "parts")
    settings = {k: manifest["selection"][k] for k in ("by", "top", "within", "seed")}
    assert al.select(samples, **settings).ids == manifest["ids"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "datasets"])
def test_every_format_reads_back(selected: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / {"jsonl": "a.jsonl", "parquet": "a.parquet", "datasets": "a"}[kind]
    run("export", selected, "--out", out, "--messages")
    if kind == "datasets":
        rows = datasets.load_from_disk(str(out)).to_list()
    elif kind == "parquet":
        rows = pd.read_parquet(out).to_dict("records")
    else:
        rows = [json.loads(line) for line in out.read_text().splitlines()]
    given = {row["id"]: row for row in ROWS}
    for row in rows:
        source = given[row["id"]]
        turns = [dict(turn) for turn in row["messages"]]
        assert turns == [
            {"role": "user", "content": source["prompt"]},
            {"role": "assistant", "content": source["response"]},
        ]
        assert row["answer"] == source["answer"]
        assert row["ais"] == row["selector"]
    assert Path(f"{out}.manifest.json").exists()


def test_columns_can_be_chosen(selected: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.jsonl"
    assert export(selected, out, columns=["id", "answer"]) == 4
    assert set(json.loads(out.read_text().splitlines()[0])) == {"id", "answer"}
    with pytest.raises(ConfigError, match="no column 'nothing'"):
        export(selected, out, columns=["nothing"])
    with pytest.raises(DataError, match="no such file; `airlens select` writes one"):
        export(tmp_path / "absent.jsonl", out)


def test_step_weights_go_along(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.jsonl"
    run("select", folder, "--top", 0.5, "--weights", "linear", "--out", out)
    run("export", out, "--out", tmp_path / "w.jsonl")
    for line in (tmp_path / "w.jsonl").read_text().splitlines():
        assert len(json.loads(line)["step_weights"]) == 2


TEXT = "the quick brown fox jumps over the lazy dog and runs away from the very old grey wolf " * 3


def test_near_copies_are_taken_once() -> None:
    texts = [
        ("a", TEXT),
        ("b", TEXT.replace("wolf ", "wolf. ", 1).upper()),
        ("c", "an entirely different text about sums and their terms, of the same length or so"),
        ("d", TEXT[:60]),
    ]
    found = near_duplicates(texts)
    assert found[["id", "of"]].to_numpy().tolist() == [["b", "a"]]
    assert found["jaccard"].iloc[0] == 1
    with pytest.raises(ConfigError):
        near_duplicates(texts, 0)


def test_the_best_of_near_copies_is_kept(llama: Any, tmp_path: Path) -> None:
    rows = [{"id": f"n{i}", "prompt": "p" * i, "response": TEXT} for i in range(1, 5)]
    data = tmp_path / "d.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    score_corpus(llama, str(data), "L0H1", tmp_path / "out", progress=False)
    summary = run(
        "select", tmp_path / "out", "-k", 3, "--dedup", 0.8, "--out", tmp_path / "s.jsonl"
    )
    assert (summary["chosen"], summary["near_duplicates"]) == (1, 3)
    best = pd.read_parquet(tmp_path / "out" / "parts").sort_values("ais")["id"].iloc[-1]
    assert [json.loads(x)["id"] for x in (tmp_path / "s.jsonl").read_text().splitlines()] == [best]
