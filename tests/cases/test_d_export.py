"""D4 to D8: what is exported is what was scored, as it was."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import ipc
from pyarrow import parquet as pq

import airlens as al
from airlens.corpus.export import export
from airlens.corpus.table_files import format_of, write_rows
from airlens.errors import ConfigError, DataError
from tests.cases.corpus_kit import ROWS, lines, refused, run, said, score, write


@pytest.fixture(scope="module")
def model(make_model: Any) -> Any:
    return make_model("llama")


def selected(model: Any, tmp_path: Path, source: Any, *words: object) -> Path:
    """All of a source, scored and selected."""
    score(model, source, tmp_path / "out")
    out = tmp_path / "s.jsonl"
    run("select", tmp_path / "out", "--top", "1.0", "--within", "none", "--out", out, *words)
    return out


def exported(chosen: Path, name: str, **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
    notes: list[str] = []
    out = chosen.with_name(name)
    export(chosen, out, say=notes.append, **options)
    if name.endswith(".parquet"):
        return pq.read_table(out).to_pylist(), notes
    return lines(out), notes


# --- D5: columns of the source

CLASHES = {
    "entropy": "high",
    "n_tokens": -1,
    "delta": [1, 2],
    "selector": None,
    "ais": {"a": 1},
    "meta": "x",
    "steps": 3,
    "fingerprint": "mine",
    "selected": False,
    "record": "r",
    "domain": 7,
    "airlens_delta": "taken",
    "turns": 5,
    "answer": 2.5,
    "reading": "slow",
    "step_weights": "w",
    "messages": 9,
    "tools": "hammer",
}


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_d5_columns_with_the_names_of_ours(model: Any, tmp_path: Path, name: str) -> None:
    rows = [{**{k: row[k] for k in ("id", "prompt", "response")}, **CLASHES} for row in ROWS[:4]]
    chosen = selected(model, tmp_path, write(tmp_path / "d.jsonl", rows))
    found, notes = exported(chosen, name)
    assert {row["id"] for row in found} == {row["id"] for row in rows}
    samples = al.influence(
        model, al.load_traces(rows), "L0H1, L2H3", controls=1, progress=False
    ).samples.set_index("id")
    for row in found:
        (source,) = [given for given in rows if given["id"] == row["id"]]
        assert list(row)[: len(source)] == list(source)
        assert {key: row[key] for key in source} == source
        assert row["airlens_n_tokens"] == samples["n_tokens"][row["id"]]
        assert row["airlens_airlens_delta"] == pytest.approx(samples["delta"][row["id"]], abs=2e-6)
        assert row["loss_base"] == pytest.approx(samples["loss_base"][row["id"]], abs=2e-6)
        assert "airlens_prompt" not in row
    (note,) = [note for note in notes if "the source has columns named" in note]
    assert "entropy" in note and "airlens_entropy" in note
    manifest = json.loads(Path(f"{chosen.with_name(name)}.manifest.json").read_text())
    assert manifest["renamed"]["delta"] == "airlens_airlens_delta"


TYPED = pa.table(
    {
        "id": pa.array([5, 6, 7], pa.int16()),
        "problem": ["1 + 1?", "2 + 2?", "3 + 3?"],
        "when": pa.array([dt.datetime(2024, 1, 2, 3, 4, 5, 6)] * 3, pa.timestamp("us", "UTC")),
        "nano": pa.array([1, 2, None], pa.timestamp("ns")),
        "day": pa.array([dt.date(2024, 1, 2), None, dt.date(1, 1, 1)], pa.date32()),
        "took": pa.array([dt.timedelta(seconds=1.5)] * 3, pa.duration("us")),
        "price": pa.array([Decimal("1.10"), Decimal("2.00"), None], pa.decimal128(7, 2)),
        "blob": pa.array([b"\xff\x00", b"", None], pa.binary()),
        "half": pa.array([0.1, None, 2.0], pa.float32()),
        "small": pa.array([1, None, 3], pa.int8()),
        "big": pa.array([2**63 + 1, 2**60 + 1, 0], pa.uint64()),
        "nested": pa.array([{"b": [1, None], "a": None}, {"b": [], "a": "x"}, None]),
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        "solution": ["It is 2.\nYes.", "It is 4.\nYes.", "It is 6.\nYes."],
        "flag": [True, None, False],
        "pairs": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int32())),
    }
)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "datasets"])
def test_d5_types_of_a_parquet_file_come_back(model: Any, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "d.parquet"
    table = TYPED if kind != "datasets" else TYPED.drop(["pairs"])
    pq.write_table(table, source)
    chosen = selected(model, tmp_path, source)
    out = tmp_path / {"parquet": "x.parquet", "arrow": "x.arrow", "datasets": "x"}[kind]
    export(chosen, out)
    if kind == "parquet":
        found = pq.read_table(out)
    elif kind == "arrow":
        found = ipc.open_file(str(out)).read_all()
    else:
        found = datasets.load_from_disk(str(out)).data.table
    assert found.column_names[: table.num_columns] == table.column_names
    found = found.sort_by("id").select(table.column_names)
    for name in table.column_names:
        if kind == "datasets" and name in ("kind",):
            continue  # datasets has no dictionaries
        assert found.schema.field(name).type == table.schema.field(name).type, name
        assert found.column(name).to_pylist() == table.column(name).to_pylist(), name


def test_d5_json_says_which_types_it_has_not(model: Any, tmp_path: Path) -> None:
    source = tmp_path / "d.parquet"
    pq.write_table(TYPED, source)
    found, notes = exported(selected(model, tmp_path, source), "x.jsonl")
    row = min(found, key=lambda row: row["id"])
    assert row["when"] == "2024-01-02T03:04:05.000006+00:00"
    assert (row["price"], row["blob"], row["big"]) == ("1.10", "/wA=", 2**63 + 1)
    assert row["nested"] == {"b": [1, None], "a": None}
    assert any("when (time as text)" in note and "blob (bytes as base64)" in note for note in notes)


def test_d5_a_data_frame_comes_back(model: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "question": ["a?", "b?", "c?"],
            "answer": ["It is 1.", "It is 2.", "It is 3."],
            "when": pd.to_datetime(
                ["2024-01-01", None, "2024-01-03 04:05:06.000000007"], format="ISO8601"
            ),
            "some": pd.array([1, None, 3], dtype="Int64"),
            "score": [1.5, float("nan"), float("inf")],
            "tag": pd.Categorical(["x", "y", "x"]),
            "items": [[1], [], [2, 3]],
        }
    )
    score(model, frame, tmp_path / "out")
    out = tmp_path / "s.jsonl"
    run("select", tmp_path / "out", "--top", "1.0", "--out", out)
    export(out, tmp_path / "x.parquet")
    found = pd.read_parquet(tmp_path / "x.parquet").sort_values("question").reset_index(drop=True)
    for name in ("question", "answer", "when", "score"):
        pd.testing.assert_series_equal(found[name], frame[name], check_dtype=name != "question")
    assert found["some"].fillna(-1).tolist() == [1, -1, 3]
    assert [list(v) for v in found["items"]] == [[1], [], [2, 3]]
    with pytest.raises(DataError, match=r"field 'score': row .*: inf has no form in JSON"):
        export(out, tmp_path / "x.jsonl")
    export(out, tmp_path / "x.jsonl", columns=["question", "when"])


def test_d5_null_and_missing_are_two_things(model: Any, tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "response": "It is."},
        {"prompt": "b", "response": "It was.", "note": None},
        {"note": {"deep": [{"x": None}, {}]}, "response": "It will be.", "prompt": "c"},
    ]
    chosen = selected(model, tmp_path, write(tmp_path / "d.jsonl", rows))
    found, _ = exported(chosen, "x.jsonl")
    for source in rows:
        (row,) = [row for row in found if row["prompt"] == source["prompt"]]
        assert {key: row[key] for key in row if key in source} == source
        assert ("note" in row) == ("note" in source)


# --- D4: a true chat

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "1 + 1?", "name": "ann"},
    {"role": "assistant", "content": "2."},
    {"role": "user", "content": "And 2 + 2?"},
    {"role": "assistant", "content": "It is 4.\nYes."},
]
LATER = [{"role": "user", "content": "Thanks."}]
THOUGHT = {"role": "assistant", "reasoning_content": "Two and two.", "content": "It is 4."}
CALLS = [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet"])
def test_d4_the_turns_as_they_were(model: Any, tmp_path: Path, name: str) -> None:
    rows = [{"id": "a", "messages": CHAT, "level": 1}, {"id": "b", "messages": CHAT[:3]}]
    chosen = selected(model, tmp_path, write(tmp_path / "d.jsonl", rows))
    found, notes = exported(chosen, name, messages=True)
    for source in rows:
        (row,) = [row for row in found if row["id"] == source["id"]]
        turns = [{k: v for k, v in turn.items() if v is not None} for turn in row["messages"]]
        assert turns == source["messages"]
        assert not {"prompt", "response", "steps", "airlens_messages"} & set(row)
    assert notes == []


def test_d4_later_turns_are_left_out_and_said(model: Any, tmp_path: Path) -> None:
    rows = [{"id": "a", "messages": [*CHAT, *LATER]}, {"id": "b", "messages": CHAT}]
    chosen = selected(model, tmp_path, write(tmp_path / "d.jsonl", rows))
    found, notes = exported(chosen, "x.jsonl", messages=True)
    assert [row["messages"] for row in found] == [CHAT, CHAT]
    assert notes == ["turns after the scored one are left out: 1 row"]
    plain, _ = exported(chosen, "y.jsonl")  # without --messages the column is the source's
    assert {row["id"]: row["messages"] for row in plain} == {r["id"]: r["messages"] for r in rows}


def test_d4_a_thought_stays_in_its_field(model: Any, tmp_path: Path) -> None:
    rows = [{"id": "a", "messages": [*CHAT[:4], THOUGHT]}]
    chosen = selected(model, tmp_path, write(tmp_path / "d.jsonl", rows))
    found, notes = exported(chosen, "x.jsonl", messages=True)
    assert found[0]["messages"] == rows[0]["messages"]
    assert notes == ["thoughts in the field that they came in: 1 row"]
    apart = [{"id": "a", "problem": "2 + 2?", "thinking": "Two and two.", "response": "It is 4."}]
    (tmp_path / "two").mkdir()
    chosen = selected(model, tmp_path / "two", write(tmp_path / "e.jsonl", apart))
    found, notes = exported(chosen, "x.jsonl", messages=True)
    assert found[0]["messages"] == [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "Two and two.\n\nIt is 4."},
    ]
    assert "thoughts in the text, before the answer: 1 row" in notes
    assert found[0]["thinking"] == "Two and two."


def test_d4_roles_of_sharegpt_and_a_system_column(model: Any, tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "It is 4."}]
    rows = [{"id": "a", "system": "Be brief.", "conversations": turns}]
    chosen = selected(model, tmp_path, write(tmp_path / "d.jsonl", rows))
    found, _ = exported(chosen, "x.jsonl", messages=True)
    assert found[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "It is 4."},
    ]
    assert found[0]["conversations"] == turns


def test_d4_tools_and_tool_calls(model: Any, tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    turns = [
        CHAT[1],
        {"role": "assistant", "content": None, "tool_calls": CALLS},
        {"role": "tool", "content": "2", "tool_call_id": "x"},
        {"role": "assistant", "content": "It is 2."},
    ]
    rows = [{"id": "a", "messages": turns, "tools": tools}]
    chosen = selected(model, tmp_path, write(tmp_path / "d.jsonl", rows))
    found, _ = exported(chosen, "x.jsonl", messages=True)
    assert found[0]["messages"] == turns
    assert found[0]["tools"] == tools


def test_d4_a_column_messages_that_is_no_chat(model: Any, tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "2 + 2?", "response": "It is 4.", "messages": 3}]
    chosen = selected(model, tmp_path, write(tmp_path / "d.jsonl", rows))
    found, notes = exported(chosen, "x.jsonl", messages=True)
    assert found[0]["messages"] == 3
    assert found[0]["airlens_messages"][-1] == {"role": "assistant", "content": "It is 4."}
    assert "the source has columns named messages" in notes[0]
    # TRL takes a column `prompt` for the text, whatever stands beside it.
    assert "prompt" not in found[0]


# --- D6: files of one call


def test_d6_the_weights_of_another_call_are_gone(model: Any, tmp_path: Path) -> None:
    score(model, write(tmp_path / "d.jsonl", ROWS), tmp_path / "out")
    out = tmp_path / "s.jsonl"
    run("select", tmp_path / "out", "--weights", "linear", "--out", out)
    manifest = json.loads(Path(f"{out}.manifest.json").read_text())
    assert set(manifest["files"]) == {"s.jsonl", "s.weights.parquet"}
    assert "step_weights" in exported(out, "x.jsonl")[0][0]
    table = pd.read_parquet(tmp_path / "s.weights.parquet")
    table["weight"] += 1
    table.to_parquet(tmp_path / "s.weights.parquet", index=False)
    with pytest.raises(DataError, match="changed since `airlens select --weights` wrote it"):
        export(out, tmp_path / "y.jsonl")
    run("select", tmp_path / "out", "--out", out)
    assert not (tmp_path / "s.weights.parquet").exists()
    assert "step_weights" not in exported(out, "x.jsonl")[0][0]


def test_d6_a_selection_that_was_edited_is_said(model: Any, tmp_path: Path) -> None:
    out = selected(model, tmp_path, write(tmp_path / "d.jsonl", ROWS))
    out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:3]))
    found, notes = exported(out, "x.jsonl")
    assert len(found) == 3
    assert notes[0] == "s.jsonl was changed since `airlens select` wrote it"
    manifest = json.loads((tmp_path / "x.jsonl.manifest.json").read_text())
    assert set(manifest["files"]) == {"x.jsonl"}


def test_d6_no_manifest_of_another_export_stays(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl.manifest.json").write_text('{"selection": "of another file"}')
    row = {"id": "a", "prompt": "p", "response": "r", "steps": []}
    export(write(tmp_path / "own.jsonl", [row]), tmp_path / "x.jsonl")
    manifest = json.loads((tmp_path / "x.jsonl.manifest.json").read_text())
    assert manifest.get("selection") is None and manifest["from"] == "own.jsonl"


# --- D7: the format that the name says

NAMES = {
    "a.jsonl": "jsonl",
    "a.JSONL": "jsonl",
    "a.ndjson": "jsonl",
    "a.jsonl.gz": "jsonl",
    "a.jsonl.zst": "jsonl",
    "a.json": "json",
    "a.json.gz": "json",
    "a.csv": "csv",
    "a.csv.gz": "csv",
    "a.tsv": "tsv",
    "a.parquet": "parquet",
    "a.pq": "parquet",
    "a.arrow": "arrow",
    "a.feather": "arrow",
    "a": "datasets",
    "a.b/c": "datasets",
}


@pytest.mark.parametrize("name", NAMES)
def test_d7_a_name_says_its_format(name: str) -> None:
    assert format_of(name) == NAMES[name]


@pytest.mark.parametrize(
    "name", ["train.xyz", "a.txt", "a.jsonl.bz2", "a.parquet.gz", "a.gz", "a.v2", "a.xlsx"]
)
def test_d7_f11_any_other_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.|train\.xyz"):
        format_of(name)
    row = {"id": "a", "prompt": "p", "response": "r", "steps": []}
    chosen = write(tmp_path / "s.jsonl", [row])
    assert name in refused("export", chosen, "--out", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["s.jsonl"]


def test_d7_a_format_that_the_name_does_not_fit() -> None:
    assert format_of("x.v2", "datasets") == "datasets"
    assert format_of("x.txt", "jsonl") == "jsonl"
    with pytest.raises(ConfigError, match="the name of a csv file, not of jsonl"):
        format_of("x.csv", "jsonl")
    with pytest.raises(ConfigError, match="kind='xml': use jsonl"):
        format_of("x", "xml")


EVEN = ["a.jsonl", "a.ndjson", "a.jsonl.gz", "a.jsonl.zst", "a.json", "a.json.gz", "a.csv"]
EVEN += ["a.csv.gz", "a.csv.zst", "a.tsv", "a.parquet", "a.arrow", "a.feather"]


@pytest.mark.parametrize("name", EVEN)
def test_d7_every_format_is_read_back(tmp_path: Path, name: str) -> None:
    texts = ["It is 1.\nSo \u2028it is.", 'Say "x", or\tnot.\n\nEnd.']
    rows = [{"id": f"r{i}", "prompt": "p?", "response": text} for i, text in enumerate(texts)]
    write_rows(lambda: rows, tmp_path / name, format_of(name))
    traces = al.load_traces(tmp_path / name)
    assert [(t.id, t.prompt, t.response) for t in traces] == [
        (row["id"], row["prompt"], row["response"]) for row in rows
    ]
    first = (tmp_path / name).read_bytes()
    write_rows(lambda: rows, tmp_path / name, format_of(name))
    assert (tmp_path / name).read_bytes() == first
    if name.endswith(".gz"):
        gzip.decompress(first)


def test_d7_select_writes_json_lines_only(model: Any, tmp_path: Path) -> None:
    score(model, write(tmp_path / "d.jsonl", ROWS), tmp_path / "out")
    for name in ("s.csv", "s.parquet", "s", "s.json"):
        told = refused("select", tmp_path / "out", "--out", tmp_path / name)
        assert "a selection is JSON lines" in told and name in told
    run("select", tmp_path / "out", "--weights", "linear", "--out", tmp_path / "s.jsonl.gz")
    assert (tmp_path / "s.weights.parquet").exists()
    assert "step_weights" in exported(tmp_path / "s.jsonl.gz", "x.jsonl")[0][0]
    assert len(al.load_traces(tmp_path / "s.jsonl.gz")) == 2


# --- D8: columns that tables cannot hold


def table_of(rows: list[dict[str, Any]], tmp_path: Path) -> list[dict[str, Any]]:
    write_rows(lambda: rows, tmp_path / "x.parquet", "parquet")
    return list(pq.read_table(tmp_path / "x.parquet").to_pylist())


def test_d8_keys_missing_in_the_first_row(tmp_path: Path) -> None:
    rows = [{"id": "a"}, {"id": "b", "x": 1, "deep": [{"p": 1}]}, {"id": "c", "deep": [{"q": "z"}]}]
    assert table_of(rows, tmp_path) == [
        {"id": "a", "x": None, "deep": None},
        {"id": "b", "x": 1, "deep": [{"p": 1, "q": None}]},
        {"id": "c", "x": None, "deep": [{"p": None, "q": "z"}]},
    ]


MIXED: list[list[Any]] = [
    [1, "a"],
    [True, 2],
    [[1], 1],
    [{"a": 1}, [1]],
    ["a", b"a"],
    [{"a": 1}, {"a": "x"}],
    [2**70],
    [0.5, 2**60 + 1],
    ["\ud800"],
    [dt.date(2024, 1, 1), "2024"],
    [1 + 2j],
    [{1: 2}],
]


@pytest.mark.parametrize("values", MIXED, ids=str)
def test_d8_several_types_in_one_column_name_it(values: list[Any], tmp_path: Path) -> None:
    rows = [{"id": f"r{i}", "odd": value} for i, value in enumerate(values)]
    with pytest.raises(DataError, match=r"field 'odd': .*cannot hold; write JSON lines"):
        table_of(rows, tmp_path)
    assert not list(tmp_path.iterdir())


def test_d8_what_a_column_can_hold(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    rows = [{"x": 1, "y": inf, "z": None}, {"x": 2.5, "y": -inf, "z": None}, {"y": nan}]
    found = table_of(rows, tmp_path)
    assert [row["x"] for row in found] == [1.0, 2.5, None]
    assert [row["y"] for row in found[:2]] == [inf, -inf] and found[2]["y"] != found[2]["y"]
    assert {row["z"] for row in found} == {None}


def test_d8_json_is_strict(tmp_path: Path) -> None:
    for name in ("x.jsonl", "x.json", "x.csv"):
        told = write_rows(lambda: [{"id": "a", "v": [float("nan")]}], tmp_path / name, name[2:])
        assert any("v (NaN as null)" in note for note in told)
    assert lines(tmp_path / "x.jsonl") == [{"id": "a", "v": [None]}]
    with pytest.raises(DataError, match="field 'v': row 'a': inf has no form in JSON"):
        write_rows(lambda: [{"id": "a", "v": {"w": float("inf")}}], tmp_path / "y.jsonl", "jsonl")
    assert not (tmp_path / "y.jsonl").exists()


def test_d8_an_empty_selection(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match="no samples in it"):
        export(tmp_path / "s.jsonl", tmp_path / "x.parquet")


def test_d3_a_selection_with_odd_line_ends(model: Any, tmp_path: Path) -> None:
    text = "One.\u2028Two.\x85Three.\x0b\x1c\r\nFour."
    rows = [{"id": "a", "prompt": f"p{text}", "response": text, "note": text}]
    source = tmp_path / "d.jsonl"
    source.write_bytes(json.dumps(rows[0], ensure_ascii=False).encode() + b"\n")
    found, _ = exported(selected(model, tmp_path, source), "x.jsonl")
    assert (found[0]["response"], found[0]["note"]) == (text, text)


def test_a_selection_loads_as_the_traces_that_were_scored(model: Any, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "messages": [*CHAT[:4], THOUGHT], "level": 3, "domain": "x"},
        {"id": "b", "problem": "p", "solution": "One.\n\nTwo.", "answer": 4},
    ]
    chosen = selected(model, tmp_path, write(tmp_path / "d.jsonl", rows))
    wanted = {trace.id: trace for trace in al.load_traces(rows)}
    for trace in al.load_traces(chosen):
        same = ("prompt", "response", "domain", "steps", "turns", "tools", "thinking", "answer")
        for name in same:
            assert getattr(trace, name) == getattr(wanted[trace.id], name), name
        assert {k: trace.meta[k] for k in wanted[trace.id].meta} == wanted[trace.id].meta
        assert "record" not in trace.meta
    assert "written to" in said("select", tmp_path / "out", "--out", chosen)
