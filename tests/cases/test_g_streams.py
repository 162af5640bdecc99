"""G8, G9: what is read in pieces is what was read at once."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from airlens.corpus import typed_files
from airlens.corpus.export import write_selection
from airlens.corpus.table_files import write_rows
from airlens.errors import DataError
from airlens.selection.overlap import overlap
from airlens.selection.select import columns_to_rank, select
from airlens.training.step_weights import StepWeights, joined_weights, step_weights
from tests.cases.corpus_kit import ROWS, lines, run, score, write


@pytest.fixture(scope="module")
def out(make_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    score(make_model("llama"), write(folder / "d.jsonl", ROWS), folder / "out", part_rows=5)
    return folder / "out"


def test_a_selection_of_few_columns_has_all_of_them(out: Path, tmp_path: Path) -> None:
    from airlens.corpus.run_folder import RunFolder

    folder = RunFolder(out)
    samples = folder.read()
    few = folder.read(columns=columns_to_rank("ais", "domain"))
    assert set(few) == {"id", "domain", "n_tokens", "loss_base", "ais"}
    for name, frame in (("all", samples), ("few", few)):
        write_selection(folder, select(frame, "ais", 3), tmp_path / f"{name}.jsonl")
    assert (tmp_path / "all.jsonl").read_bytes() == (tmp_path / "few.jsonl").read_bytes()
    # Against a plain join.
    best = samples.sort_values("ais", ascending=False).groupby("domain").head(3)
    found = lines(tmp_path / "few.jsonl")
    assert [line["id"] for line in found] == best["id"].tolist()
    texts = {row["id"]: row for row in ROWS}
    for line, (_, row) in zip(found, best.iterrows(), strict=True):
        assert line["response"] == texts[line["id"]]["response"]
        assert line["ais"] == line["selector"] == row["ais"]
        assert line["entropy"] == row["entropy"] and line["rank_in_group"] in (1, 2, 3)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(("all", "few"))]


def test_a_selection_never_holds_all_texts(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airlens.corpus.run_folder import RunFolder

    held: list[int] = []
    original = RunFolder.iter_table

    def watched(self: Any, table: str, columns: Any = None) -> Any:
        for frame in original(self, table, columns):
            held.append(len(frame))
            yield frame

    def refused(self: Any, table: str = "parts", columns: Any = None) -> Any:
        assert table == "parts" and columns is not None
        return read(self, table, columns)

    read = RunFolder.read
    monkeypatch.setattr(RunFolder, "iter_table", watched)
    monkeypatch.setattr(RunFolder, "read", refused)
    run("select", out, "--dedup", "0.9", "--weights", "linear", "--out", tmp_path / "s.jsonl")
    assert held and max(held) == 5


def test_weights_of_parts_are_those_of_the_whole(out: Path, tmp_path: Path) -> None:
    steps = pd.read_parquet(out / "steps")
    whole = step_weights(steps, "softmax")
    parts = [rows for _, rows in steps.groupby("id", sort=False)]
    joined = joined_weights([step_weights(rows, "softmax") for rows in parts])
    pd.testing.assert_frame_equal(joined.table, whole.table)
    assert joined.text_hash == whole.text_hash and joined.scheme == "softmax"
    joined.save(tmp_path / "w.parquet")
    pd.testing.assert_frame_equal(StepWeights.load(tmp_path / "w.parquet").table, whole.table)
    with pytest.raises(DataError, match="no steps to weigh"):
        joined_weights([])


VALUES: dict[str, list[Any]] = {
    "whole, then not": [1, 2, 3, 4.5, None],
    "missing at first": [None, None, None, "a", "b"],
    "keys that come": [{"a": 1}, {"a": 2.5}, {"b": "x"}, {}, None],
    "lists": [[], [], [1], None, [2, 3]],
    "large": [2**60, 1, 2, 3, 4],
    "text": list("abcde"),
}


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("kind", ["parquet", "arrow", "datasets"])
def test_types_found_in_pieces_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, kind: str
) -> None:
    monkeypatch.setattr(typed_files, "ROWS_AT_ONCE", size)
    rows = [{name: column[i] for name, column in VALUES.items()} for i in range(5)]
    path = tmp_path / ("x" if kind == "datasets" else f"x.{kind}")
    write_rows(lambda: rows, path, kind)
    wanted = pa.table({name: pa.array(column) for name, column in VALUES.items()})
    if kind == "parquet":
        found = pq.read_table(path)
    elif kind == "arrow":
        found = pa.ipc.open_file(path.read_bytes()).read_all()
    else:
        import datasets

        found = datasets.load_from_disk(str(path)).data.table.combine_chunks()
    assert found.schema.remove_metadata().names == wanted.schema.names
    assert found.to_pylist() == wanted.to_pylist()
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


def test_known_types_hold_where_they_hold_all_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(typed_files, "ROWS_AT_ONCE", 2)
    rows = [{"a": i, "b": i} for i in (1, 2, 3, 4, 300)]
    types = {"a": pa.int16(), "b": pa.int8()}
    write_rows(lambda: rows, tmp_path / "x.parquet", "parquet", types)
    assert pq.read_schema(tmp_path / "x.parquet").types == [pa.int16(), pa.int64()]


def test_the_rows_that_do_not_fit_are_named_wherever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(typed_files, "ROWS_AT_ONCE", 2)
    rows = [{"id": f"r{i}", "x": i if i < 4 else "four"} for i in range(6)]
    told = r"field 'x': several types, int \(row 'r0'\), str \(row 'r4'\)"
    with pytest.raises(DataError, match=told):
        write_rows(lambda: rows, tmp_path / "x.parquet", "parquet")
    assert not list(tmp_path.iterdir())


def test_overlap_is_that_of_sets() -> None:
    rng = np.random.default_rng(0)
    columns = {name: rng.random(60) for name in ("ais", "loss_base", "entropy")}
    frame = pd.DataFrame({"id": [f"r{i}" for i in range(60)], "n_tokens": 5, **columns})
    names = ["ais", "loss", "entropy"]
    table = overlap(frame, names, (0.2, 0.5), within=None).set_index(["a", "b", "top"])["jaccard"]
    for top in (0.2, 0.5):
        ids = {name: set(select(frame, name, top, within=None).ids) for name in names}
        for a, b in combinations(names, 2):
            wanted = len(ids[a] & ids[b]) / len(ids[a] | ids[b])
            assert table[a, b, top] == table[b, a, top] == wanted


def test_the_report_reads_what_it_shows(out: Path) -> None:
    """The page is that of all columns."""
    found = run("report", out, "--no-map", "--out", out / "report.html")
    assert Path(found["report"]).stat().st_size > 10_000
    assert json.loads((out / "run.json").read_text())["done"] == 12
