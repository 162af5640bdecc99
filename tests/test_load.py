"""Loading: each format, each known layout, and what is wrong named by file, line and field."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import re
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlens import hub
from airlens.errors import AirlensError, ConfigError, DataError
from airlens.traces.columns import Columns
from airlens.traces.items import Record, Rejected
from airlens.traces.load import Traces, content_hash, iter_traces, load_traces
from airlens.traces.records import iter_records
from airlens.traces.trace import Trace

RECORDS: list[dict[str, Any]] = [
    {"prompt": "Wie heißt du? 👋", "response": "Ich heiße é.\n\nUnd du?", "domain": "chat"},
    {"prompt": '終わり, "quoted"', "response": "One. Two.", "domain": "math"},
]


def texts(trace: Trace) -> list[str]:
    return [step.text for step in trace.steps]


def lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in records).encode()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# --- formats


def as_jsonl(folder: Path) -> Path:
    return write(folder / "x.jsonl", b"\xef\xbb\xbf" + lines(RECORDS) + b"\n  \n")


def as_gzip(folder: Path) -> Path:
    return write(folder / "x.jsonl.gz", gzip.compress(lines(RECORDS)))


def as_zstd(folder: Path) -> Path:
    import zstandard

    frames = [zstandard.compress(lines([record])) for record in RECORDS]
    return write(folder / "x.jsonl.zst", b"".join(frames))


def as_json(folder: Path) -> Path:
    return write(folder / "x.json", json.dumps(RECORDS).encode())


def as_json_with_data(folder: Path) -> Path:
    return write(folder / "x.JSON", json.dumps({"version": 1, "data": RECORDS}).encode())


def as_lines_named_json(folder: Path) -> Path:
    return write(folder / "x.json", lines(RECORDS))


def as_csv(folder: Path, delimiter: str = ",") -> Path:
    path = folder / ("x.csv" if delimiter == "," else "x.tsv")
    with path.open("w", newline="", encoding="utf-8") as out:
        rows = csv.DictWriter(out, list(RECORDS[0]), delimiter=delimiter)
        rows.writeheader()
        rows.writerows(RECORDS)
    return path


def as_tsv(folder: Path) -> Path:
    return as_csv(folder, "\t")


def as_parquet(folder: Path) -> Path:
    path = folder / "x.parquet"
    pd.DataFrame(RECORDS).to_parquet(path)
    return path


def as_arrow_file(folder: Path) -> Path:
    table = pa.Table.from_pylist(RECORDS)
    with pa.ipc.new_file(folder / "traces.arrow", table.schema) as out:
        out.write_table(table)
    return folder / "traces.arrow"


def as_arrow_streams(folder: Path) -> Path:
    """Shards as ``datasets`` leaves them in its cache."""
    (folder / "shards").mkdir()
    table = pa.Table.from_pylist(RECORDS)
    for name, rows in (("a", table.slice(0, 1)), ("b", table.slice(1))):
        with pa.ipc.new_stream(folder / "shards" / f"{name}.arrow", table.schema) as out:
            out.write_table(rows)
    return folder / "shards"


def as_folder(folder: Path) -> Path:
    inner = folder / "traces"
    (inner / "b").mkdir(parents=True)
    write(inner / "a.jsonl", lines(RECORDS[:1]))
    write(inner / "b" / "c.jsonl", lines(RECORDS[1:]))
    write(inner / "README.md", b"# not data")
    write(inner / ".hidden.jsonl", b"not data")
    return inner


def as_glob(folder: Path) -> str:
    as_folder(folder)
    return str(folder / "traces" / "**" / "*.jsonl")


def as_saved_data_set(folder: Path) -> Path:
    import datasets

    datasets.Dataset.from_list(RECORDS).save_to_disk(folder / "saved")
    return folder / "saved"


def as_data_set(folder: Path) -> Any:
    import datasets

    return datasets.Dataset.from_list(RECORDS)


def as_splits(folder: Path) -> Any:
    import datasets

    return datasets.DatasetDict(train=datasets.Dataset.from_list(RECORDS))


def as_frame(folder: Path) -> pd.DataFrame:
    return pd.DataFrame(RECORDS)


def as_list(folder: Path) -> list[dict[str, Any]]:
    return RECORDS


def as_iterator(folder: Path) -> Iterator[dict[str, Any]]:
    return iter(RECORDS)


FORMATS: list[Callable[[Path], Any]] = [
    as_jsonl,
    as_gzip,
    as_zstd,
    as_json,
    as_json_with_data,
    as_lines_named_json,
    as_csv,
    as_tsv,
    as_parquet,
    as_arrow_file,
    as_arrow_streams,
    as_folder,
    as_glob,
    as_saved_data_set,
    as_data_set,
    as_splits,
    as_frame,
    as_list,
    as_iterator,
]


@pytest.mark.parametrize("make", FORMATS)
def test_every_format_gives_the_same_traces(make: Callable[[Path], Any], tmp_path: Path) -> None:
    source = make(tmp_path)
    traces = load_traces(source)
    assert isinstance(traces, Traces)
    assert [trace.prompt for trace in traces] == [record["prompt"] for record in RECORDS]
    assert [trace.domain for trace in traces] == ["chat", "math"]
    assert texts(traces[0]) == ["Ich heiße é.\n\n", "Und du?"]
    assert texts(traces[1]) == ["One. ", "Two."]
    assert [trace.id for trace in traces] == [
        content_hash(record["prompt"], record["response"]) for record in RECORDS
    ]
    assert [trace.meta for trace in traces] == [{}, {}]
    assert traces.skipped == []
    if isinstance(source, str | Path):
        assert traces.source == str(source)
        assert load_traces(str(source), limit=1) == traces[:1]


def test_the_id_is_a_stable_hash() -> None:
    assert content_hash("p", "r") == "376793968323a196"
    assert content_hash("pr", "") != content_hash("p", "r")


# --- layouts

S1K = {"question": "Q?", "solution": "S", "cot_type": "math", "metadata": "{}"}
OPENR1 = {
    "problem": "Q?",
    "solution": "S",
    "problem_type": "Algebra",
    "generations": ["wrong", "right", "late"],
    "correctness_math_verify": [False, True, True],
    "messages": [{"role": "user", "content": "Q?"}],
}
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Q?"},
    {"role": "assistant", "content": "A."},
]


@pytest.mark.parametrize(
    ("record", "prompt", "response", "domain", "meta"),
    [
        ({"prompt": "Q?", "response": "A.", "answer": "7"}, "Q?", "A.", "", {"answer": "7"}),
        (
            {"question": "Q?", "answer": "It is 48/2=<<48/2=24>>24.\n#### 24"},
            "Q?",
            "It is 48/2=24.\n#### 24",
            "",
            {},
        ),
        ({"question": "Q?", "answer": "cout << a=b >>"}, "Q?", "cout << a=b >>", "", {}),
        (
            {"problem": "Q?", "solution": "S", "type": "Algebra", "level": "Level 5"},
            "Q?",
            "S",
            "Algebra",
            {"level": "Level 5"},
        ),
        ({"problem": "Q?", "solution": "S", "subject": "Geometry"}, "Q?", "S", "Geometry", {}),
        (
            {**S1K, "thinking_trajectories": ["T1", "T2"], "attempt": "A."},
            "Q?",
            "T1\nT2\n\nA.",
            "math",
            {"solution": "S", "metadata": "{}"},
        ),
        (
            {**S1K, "deepseek_thinking_trajectory": "T", "deepseek_attempt": "A."},
            "Q?",
            "T\n\nA.",
            "math",
            {"solution": "S", "metadata": "{}"},
        ),
        ({**S1K, "deepseek_thinking_trajectory": "T", "attempt": "A"}, "Q?", "T", "math", None),
        ({"question": "Q?", "solution": "S", "answer": "7"}, "Q?", "S", "", {"answer": "7"}),
        (OPENR1, "Q?", "right", "Algebra", None),
        ({"problem": "Q?", "generations": ["first", "b"]}, "Q?", "first", "", {}),
        (
            {"messages": CHAT},
            "system: Be brief.\n\nuser: Hi\n\nassistant: Hello\n\nuser: Q?",
            "A.",
            "",
            {},
        ),
        ({"messages": CHAT[:3]}, "Be brief.\n\nHi", "Hello", "", {}),
        (
            {"messages": CHAT[1:4]},
            "Hi",
            "Hello",
            "",
            {},
        ),
        ({"messages": json.dumps(CHAT[1:3])}, "Hi", "Hello", "", {}),
        ({"text": "A document.", "source": "web"}, "", "A document.", "web", {}),
    ],
)
def test_known_layouts(
    record: dict[str, Any], prompt: str, response: str, domain: str, meta: dict[str, Any] | None
) -> None:
    (trace,) = load_traces([record])
    assert (trace.prompt, trace.response, trace.domain) == (prompt, response, domain)
    assert "".join(texts(trace)) == response
    if meta is not None:
        assert trace.meta == meta


def test_what_the_reader_makes_of_a_record_is_no_column() -> None:
    (trace,) = load_traces([{"messages": CHAT[1:4]}])
    assert trace.turns == (CHAT[1],)
    assert trace.reading["later_turns"] == CHAT[3:4]
    (trace,) = load_traces([{**S1K, "thinking_trajectories": ["T1", "T2"], "attempt": "A."}])
    assert trace.response[: trace.thinking] == "T1\nT2"
    (trace,) = load_traces([OPENR1])
    assert trace.reading["generation"] == 1


def test_gsm8k_steps_are_lines_and_the_answer_the_last() -> None:
    answer = "One <<1+1=2>>2.\n\nTwo. Three.\n#### 2"
    (trace,) = load_traces([{"question": "Q?", "answer": answer}])
    assert texts(trace) == ["One 2.\n\n", "Two. Three.\n", "#### 2"]


def test_sharegpt_chats() -> None:
    turns = [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A."}]
    (trace,) = load_traces([{"conversations": turns}], messages="conversations")
    assert (trace.prompt, trace.response) == ("Q?", "A.")


LABELLED = {
    "id": "m/problem_1",
    "problem": "Q?",
    "prompt": "Solve: Q?\n<think>\n",
    "response": "So, k = 0.\n\nHmm.  Wait,\nno. Done",
    "subject": "Algebra",
    "steps": [
        {"text": "So, k = 0.", "tags": ["fact_retrieval", "x"], "depends_on": [], "accuracy": 0.5},
        {"text": "k > 0", "tags": ["self_checking"], "depends_on": ["0"], "accuracy": 0.25},
        {"text": "Wait, no.", "tags": [], "depends_on": ["0"], "accuracy": 0.75},
    ],
}


def test_labelled_steps_keep_their_numbers() -> None:
    (trace,) = load_traces([LABELLED])
    assert (trace.id, trace.domain) == ("m/problem_1", "Algebra")
    assert texts(trace) == ["So, k = 0.\n\nHmm.  ", "Wait,\nno. Done"]
    assert [step.label for step in trace.steps] == ["fact_retrieval", None]
    assert trace.reading["unaligned"] == [1]
    assert [step["accuracy"] for step in trace.step_meta] == [0.5, 0.75]
    assert [step["index"] for step in trace.step_meta] == [0, 2]
    assert trace.meta["problem"] == "Q?"


def test_a_splitter_replaces_given_steps() -> None:
    for splitter in (
        "line",
        re.compile(r"\n"),
        lambda text: load_traces([{"text": text}])[0].steps,
    ):
        (trace,) = load_traces([LABELLED], splitter=splitter)
        assert len(trace.steps) == 2 + (not callable(splitter))
        assert trace.step_meta == ()
        assert not {"unaligned"} & set(trace.reading)
        (again,) = load_traces([load_traces([LABELLED])[0].to_json()], splitter=splitter)
        assert (again.steps, again.meta) == (trace.steps, trace.meta)


def test_steps_may_be_plain_texts() -> None:
    record = {"prompt": "p", "response": "a b c", "parts": ["a", "b"], "steps": 3}
    (trace,) = load_traces([record], steps="parts")
    assert texts(trace) == ["a ", "b c"]
    assert trace.meta == {"steps": 3}
    (trace,) = load_traces([{"prompt": "p", "response": "Ah. Bo.", "steps": []}])
    assert texts(trace) == ["Ah. ", "Bo."]


def test_columns_may_be_named() -> None:
    record = {"q": "Q?", "a": "A.", "topic": "bio", "key": 7, "solution": "S", "text": "T"}
    (trace,) = load_traces([record], prompt="q", response="a", domain="topic", id="key")
    assert (trace.id, trace.prompt, trace.response, trace.domain) == ("7", "Q?", "A.", "bio")
    assert trace.meta == {"solution": "S", "text": "T"}
    (trace,) = load_traces([{"question": "Q?", "trace": "T", "answer": "7"}], response="trace")
    assert (trace.prompt, trace.response) == ("Q?", "T")
    (trace,) = load_traces([{"body": "T"}], response="body")
    assert (trace.prompt, trace.response) == ("", "T")
    (trace,) = load_traces([{"q": "Q?", "solution": "S"}], prompt="q")
    assert trace.response == "S"


def test_a_frames_nulls_and_numbers_become_plain() -> None:
    frame = pd.DataFrame(
        {
            "prompt": ["p", "q"],
            "response": ["a", "b"],
            "score": [1.5, None],
            "n": pd.array([1, None], dtype="Int64"),
            "when": [pd.Timestamp("2025-01-02"), pd.NaT],
            "tags": [["x"], None],
        }
    )
    traces = load_traces(frame)
    when = "2025-01-02 00:00:00"
    assert traces[0].meta == {"score": 1.5, "n": 1, "when": when, "tags": ["x"]}
    assert traces[1].meta == {"score": None, "n": None, "when": None, "tags": None}
    json.dumps([trace.to_json() for trace in traces])


def test_long_csv_cells_and_parquet_lists(tmp_path: Path) -> None:
    long = "word. " * 50_000
    write(tmp_path / "x.csv", f'prompt,response\np,"{long}"\n'.encode())
    assert load_traces(tmp_path / "x.csv")[0].response == long
    pd.DataFrame([OPENR1]).to_parquet(tmp_path / "x.parquet")
    assert load_traces(tmp_path / "x.parquet")[0].response == "right"


# --- what is wrong

GOOD = b'{"prompt": "p", "response": "r"}\n'


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        (b"{'prompt': 1}", None, "not JSON"),
        (b'{"prompt": "p", "resp', None, "not JSON"),
        (b"[1, 2]", None, "found a list of 2"),
        (b"null", None, "found null"),
        (b"\xff\xfe{}", None, "not UTF-8"),
        (b"[" * 100_000, None, "deep"),
        (b'{"prompt": "p", "response": "r", "n": %s}' % (b"1" * 5000), None, "not JSON"),
        (
            b'{"prompt": "p", "response": "r", "n": %s0%s}' % (b"[" * 3000, b"]" * 3000),
            None,
            "deep",
        ),
        (b"{}", None, "columns are: none"),
        (b'{"a": 1, "b": 2}', None, "columns are: a, b"),
        (b'{"prompt": "p"}', "response", "missing"),
        (b'{"response": "p"}', "prompt", "missing"),
        (b'{"prompt": "p", "response": null}', "response", "found null"),
        (b'{"prompt": null, "response": "r"}', "prompt", "found null"),
        (b'{"prompt": "p", "response": 7}', "response", "found a number (7)"),
        (b'{"prompt": ["p"], "response": "r"}', "prompt", "found a list of 1"),
        (b'{"prompt": "", "response": ""}', "response", "both empty"),
        (b'{"prompt": "p", "response": "\\ud83d"}', "response", "surrogate"),
        (b'{"instruction": "p", "input": "\\ud83d", "output": "r"}', "prompt", "surrogate"),
        (b'{"messages": "hello"}', "messages", "expected a list"),
        (b'{"messages": "[1"}', "messages", "not a JSON list"),
        (b'{"messages": []}', "messages", "assistant"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "messages", "found: user"),
        (b'{"messages": [{"role": "assistant", "content": null}]}', "messages", "message 0"),
        (b'{"messages": ["x"]}', "messages", "message 0"),
        (b'{"problem": "p", "generations": []}', "generations", "empty list"),
        (b'{"problem": "p", "generations": [null]}', "generations", "found null"),
        (
            b'{"question": "p", "thinking_trajectories": null}',
            "thinking_trajectories",
            "found null",
        ),
        (b'{"question": "p", "text": "t"}', None, "name them"),
    ],
)
def test_a_bad_line_is_named_or_skipped(
    line: bytes, field: str | None, reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "x.jsonl", b"\n" + line + b"\n" + GOOD)
    with pytest.raises(DataError, match=re.escape(reason)) as caught:
        load_traces(path)
    error = caught.value
    assert (error.file, error.line, error.field) == (str(path), 2, field)
    assert str(path) in str(error)
    assert "line 2" in str(error)
    traces = load_traces(path, on_error="skip")
    assert [trace.response for trace in traces] == ["r"]
    (rejected,) = traces.skipped
    assert (rejected.file, rejected.line, rejected.field) == (str(path), 2, field)
    assert reason in rejected.reason


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("id", "", "empty"),
        ("id", [1], "found a list"),
        ("domain", {}, "found an object"),
        ("steps", "r", "expected a list"),
        ("steps", [3], "step 0"),
        ("steps", [{"tags": []}], "step 0"),
        ("steps", [{"text": "r", "label": {}}], "as label"),
    ],
)
def test_a_column_of_another_type_is_an_error_where_it_is_named(
    name: str, value: object, reason: str
) -> None:
    records = [{"prompt": "p", "response": "r", name: value}]
    with pytest.raises(DataError, match=reason) as caught:
        load_traces(records, **{name: name})  # type: ignore[arg-type]
    assert (caught.value.line, caught.value.field) == (1, name)
    (trace,) = load_traces(records)
    assert trace.response == "r"


def test_a_line_that_lacks_a_column_is_told_by_the_lines_before() -> None:
    records = [{"question": "Q?", "answer": "A."}, {"question": "Q?"}]
    with pytest.raises(DataError, match="missing") as caught:
        load_traces(records)
    assert (caught.value.line, caught.value.field) == (2, "answer")


@pytest.mark.parametrize(
    ("named", "field"),
    [
        ({"prompt": "x"}, "x"),
        ({"response": "x"}, "x"),
        ({"steps": "x"}, "x"),
        ({"domain": "x"}, "x"),
        ({"id": "x"}, "x"),
        ({"messages": "x"}, "x"),
    ],
)
def test_a_named_column_that_is_absent(named: dict[str, str], field: str) -> None:
    with pytest.raises(DataError) as caught:
        load_traces([{"prompt": "p", "response": "r"}], **named)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_domain_may_be_absent_from_some_records() -> None:
    records = [{"text": "a"}, {"text": "b", "topic": "x"}, {"text": "c", "topic": None}]
    assert [trace.domain for trace in load_traces(records, domain="topic")] == ["", "x", ""]


def test_ids_are_unique() -> None:
    records = [{"id": 1, "text": "a"}, {"id": 2, "text": "b"}, {"id": 1, "text": "c"}]
    with pytest.raises(DataError, match="given before") as caught:
        load_traces(records)
    assert (caught.value.line, caught.value.field) == (3, "id")
    traces = load_traces(records, on_error="skip")
    assert [trace.id for trace in traces] == ["1", "2"]
    assert [rejected.line for rejected in traces.skipped] == [3]
    again = load_traces([{"text": "a"}, {"text": "a"}, {"text": "a"}])
    name = content_hash("", "a")
    assert [trace.id for trace in again] == [name, f"{name}-2", f"{name}-3"]


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("x.jsonl.gz", gzip.compress(GOOD * 9, mtime=0)[:-12], None),
        ("x.jsonl.gz", b"not gzip", None),
        ("x.jsonl.zst", b"not zstd", None),
        ("x.parquet", b"not parquet", None),
        ("x.parquet", b"", None),
        ("x.json", b'[\n{"prompt"}', 2),
        ("x.json", b"\xff", None),
        ("x.csv", b"prompt,response\np,\xff\n", None),
        ("x.csv", b"prompt,response\np,r\np\n", 3),
        ("x.csv", b"prompt,response\np,r,s\n", 2),
        ("x.csv", b'prompt,response\np,"r\n', 2),
        ("x.csv", b'"prompt', None),
    ],
)
def test_a_broken_file_is_an_error(
    name: str, data: bytes, line: int | None, tmp_path: Path
) -> None:
    path = write(tmp_path / name, data)
    with pytest.raises(DataError) as caught:
        load_traces(path)
    assert (caught.value.file, caught.value.line) == (str(path), line)
    assert load_traces(path, on_error="skip").skipped[-1].file == str(path)


def test_a_csv_row_is_named_by_its_first_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b'prompt,response\n"a\nb",r\n\n,\n')
    with pytest.raises(DataError, match="both empty") as caught:
        load_traces(path)
    assert caught.value.line == 5


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "folder", "*.jsonl"])
def test_a_source_without_records_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    if name.startswith("x"):
        write(tmp_path / name, b"[]" if name == "x.json" else b"")
    with pytest.raises(DataError, match=r"no (records|files)"):
        load_traces(str(tmp_path / name), on_error="skip")
    assert load_traces([]) == []


@pytest.mark.parametrize("source", ["x.jsonl", "./x", "~/nowhere/x", "a/b/c", Path("x")])
def test_a_missing_file_is_an_error(
    source: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        load_traces(source)


def test_a_file_of_unknown_format_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown format"):
        load_traces(write(tmp_path / "x.docx", b"x"))


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (3, {}),
        (b"x.jsonl", {}),
        ([], {"on_error": "ignore"}),
        ([], {"splitter": "word"}),
        ([], {"splitter": "regex"}),
        ([], {"limit": -1}),
        ([], {"messages": "m", "response": "r"}),
    ],
)
def test_arguments_without_sense_are_refused(source: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        load_traces(source, **options)


def test_a_mapping_needs_the_split() -> None:
    with pytest.raises(DataError, match="no split 'train' in a mapping with test"):
        load_traces({"test": RECORDS})
    assert len(load_traces({"test": RECORDS}, split="test")) == 2


# --- one by one


def test_reading_stops_at_the_limit() -> None:
    def endless() -> Iterator[dict[str, str]]:
        while True:
            yield {"text": "a"}

    assert len(load_traces(endless(), limit=3)) == 3
    assert load_traces(endless(), limit=0) == []


def test_rejected_records_come_in_their_place() -> None:
    items = list(iter_traces([{"text": "a"}, 3, {"text": "b"}], Columns()))
    assert [type(item) for item in items] == [Trace, Rejected, Trace]
    assert [type(item) for item in iter_records([{"text": "a"}, 3])] == [Record, Rejected]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    record = json.dumps({"prompt": "p" * 1000, "response": "Word. " * 500}) + "\n"
    path.write_text(record * 5_000, encoding="utf-8")
    list(iter_traces(path, limit=10))  # what is imported or cached once
    tracemalloc.start()
    count = sum(1 for _ in iter_records(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 5_000
    assert path.stat().st_size > 2e7
    assert peak < 1e6


@given(st.binary(max_size=300) | st.lists(st.binary(max_size=40)).map(b"\n".join))
def test_no_bytes_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "fuzz.jsonl", data)
    for name in ("fuzz.jsonl", "fuzz.json", "fuzz.csv", "fuzz.parquet"):
        path = path.replace(path.with_name(name))
        with contextlib.suppress(AirlensError):
            load_traces(path, on_error="skip")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["prompt", "response", "steps", "id", "domain", "meta", "messages", "question", "answer"]
NAMES += ["problem", "generations", "thinking_trajectories", "text", "solution"]


@given(st.dictionaries(st.sampled_from(NAMES), JSON | st.text(), max_size=6))
def test_no_record_raises_anything_else(record: dict[str, Any]) -> None:
    traces = load_traces([record], on_error="skip")
    assert len(traces) + len(traces.skipped) == 1
    for trace in traces:
        assert "".join(texts(trace)) == trace.response


# --- the hub


def test_an_unreachable_hub_is_told_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", refuse)
    start = time.perf_counter()
    with pytest.raises(DataError, match="cannot be reached") as caught:
        load_traces("nobody/nothing")
    assert caught.value.file == "nobody/nothing"
    assert time.perf_counter() - start < 20


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def stall(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.5)
        raise OSError("too late")

    monkeypatch.setattr(socket, "create_connection", stall)
    monkeypatch.setattr(hub, "TIMEOUT", 0.05)
    assert "no answer within 0.05 s" in (hub.unreachable() or "")


def test_a_reachable_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[tuple[Any, ...]] = []

    def load_dataset(name: str, config: str | None, *, split: str, streaming: bool) -> Any:
        asked.append((name, config, split, streaming))
        if name == "nobody/nothing":
            raise FileNotFoundError("Dataset 'nobody/nothing' doesn't exist on the Hub")
        return datasets.Dataset.from_list(RECORDS)

    monkeypatch.setattr(hub, "unreachable", lambda: None)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(load_traces("openai/gsm8k", split="test")) == 2
    assert load_traces("owner/name", config="c", limit=1).source == "owner/name"
    assert len(load_traces("owner/name", split="train[:9]", limit=2)) == 2
    assert asked == [
        ("openai/gsm8k", "main", "test", False),
        ("owner/name", "c", "train", True),
        ("owner/name", None, "train[:9]", False),
    ]
    with pytest.raises(DataError, match="doesn't exist"):
        load_traces("nobody/nothing")


def test_the_address_of_the_hub_or_of_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "getproxies", dict)
    assert hub._address("https://huggingface.co") == ("huggingface.co", 443)
    assert hub._address("http://mirror:8080/x") == ("mirror", 8080)
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "proxy:3128"})
    assert hub._address("https://huggingface.co") == ("proxy", 3128)


# --- real files


def real(name: str) -> Path:
    """A file of the folder that AIRLENS_DATA names; the test is skipped where it is not there."""
    folder = os.environ.get("AIRLENS_DATA")
    if not folder:
        pytest.skip("AIRLENS_DATA is not set")
    path = Path(folder) / name
    if not path.exists():
        pytest.skip(f"{name} is not in AIRLENS_DATA")
    return path


def test_the_real_gsm8k() -> None:
    traces = load_traces(real("gsm8k/test.jsonl"))
    assert len(traces) == 1_319
    assert not any("<<" in trace.response for trace in traces)
    assert all(trace.steps[-1].text.startswith("#### ") for trace in traces)
    assert texts(traces[0])[0] == "Janet sells 16 - 3 - 4 = 9 duck eggs a day.\n"


def test_the_real_labelled_traces(tmp_path: Path) -> None:
    traces = load_traces(real("thought_anchors/deepseek-r1-distill-llama-8b.jsonl"))
    assert len(traces) == 20
    # 46 of these differ from the response in their whitespace; all are found in order.
    assert sum(len(trace.steps) for trace in traces) == 2_929
    assert not any("unaligned" in trace.reading for trace in traces)
    for trace in traces:
        assert len(trace.step_meta) == len(trace.steps)
        assert all(step.label for step in trace.steps)
        assert all("counterfactual_importance_kl" in step for step in trace.step_meta)
    assert {trace.domain for trace in traces} >= {"Algebra"}
