"""Whatever a record or a file holds: a trace, or an error of ours that names the place."""

from __future__ import annotations

import bz2
import contextlib
import copy
import gzip
import io
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from airlens import load_traces
from airlens.errors import AirlensError
from airlens.traces.columns import ANSWERS, DOMAINS, Columns
from airlens.traces.drafts import CHATS, COMPANIONS, PROMPTS, RESPONSES, SYSTEMS, TEXTS, THOUGHTS
from airlens.traces.load import Traces
from airlens.traces.trace import OWN_FIELDS
from airlens.traces.write_traces import save_traces

FAST, MANY = 150, 2_000
NAMES = sorted(
    {*PROMPTS, *RESPONSES, *THOUGHTS, *CHATS, *SYSTEMS, *TEXTS, *COMPANIONS, *ANSWERS, *DOMAINS}
    | {*OWN_FIELDS, "options", "choices", "answerkey", "correct", "label", "labels", "answers"}
    | {"thinking_trajectories", "deepseek_thinking_trajectory", "deepseek_attempt", "attempt"}
    | {"r1_solution_1", "r1_solution_2", "reward_model", "history", "tools", "hint", "user"}
    | {"correctness_math_verify", "is_correct", "assistant", "test_list", "rejected"}
)
ODD_TEXT = st.sampled_from(
    [
        *("\ud83d", "\x00", "ки", "Step 1: x ки", "[", "[{", "\u2028", "#### 7"),
        *('[{"role": "user"}]', "\n\nHuman: a\n\nAssistant: b", "<think>", "nan", "[1, 2"),
        *("['a', 'b']", "1" * 5000),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | ODD_TEXT
    | st.binary(max_size=6)
    | st.dates()
    | st.decimals()
    | st.sampled_from([object(), {1}, 1j, pd.NaT, pd.NA, float("inf")])
    | st.builds(lambda: 10**5000)
)
ROLES = st.sampled_from(["user", "assistant", "system", "gpt", "tool", "function_call", "x"])
PARTS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "thinking", "image_url"]) | SCALARS},
        optional={"text": SCALARS, "thinking": SCALARS},
    ),
    max_size=3,
)
CALLS = st.lists(
    st.fixed_dictionaries(
        {}, optional={"function": st.dictionaries(st.text(max_size=3), SCALARS), "name": SCALARS}
    ),
    max_size=2,
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": ROLES | SCALARS,
            "from": ROLES,
            "content": st.text(max_size=9) | PARTS | SCALARS,
            "value": SCALARS,
            "thinking": SCALARS,
            "reasoning_content": st.text(max_size=5),
            "tool_calls": CALLS | SCALARS,
            "info": SCALARS,
        },
    )
    | SCALARS
    | st.lists(st.text(max_size=3), max_size=3),
    max_size=4,
)
STEPS = st.lists(
    st.text(max_size=5)
    | st.fixed_dictionaries(
        {}, optional={"text": SCALARS, "label": SCALARS, "tags": SCALARS, "start": SCALARS}
    ),
    max_size=4,
)
VALUES = st.recursive(
    SCALARS | TURNS | STEPS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
KNOWN: list[dict[str, Any]] = [
    each["record"]
    for each in json.loads(
        (Path(__file__).parents[2] / "data" / "data_sets.json").read_text("utf-8")
    )
]


@st.composite
def records(draw: st.DrawFn) -> dict[Any, Any]:
    """A record of a known data set with some values changed; or columns of known names."""
    if draw(st.integers(0, 3)) == 0:
        return draw(
            st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), VALUES, max_size=7)
        )
    record = copy.deepcopy(draw(st.sampled_from(KNOWN)))
    for name in draw(st.lists(st.sampled_from(sorted(record)), max_size=2)):
        _change(draw, record, name)
    if draw(st.booleans()):
        record[draw(st.sampled_from(NAMES))] = draw(VALUES)
    return record


def _change(draw: st.DrawFn, record: Any, key: Any) -> None:
    """Change a value, or somewhere within it."""
    inside = record[key]
    if isinstance(inside, dict | list) and inside and draw(st.booleans()):
        keys = sorted(inside) if isinstance(inside, dict) else range(len(inside))
        _change(draw, inside, draw(st.sampled_from(list(keys))))
        return
    record[key] = draw(VALUES)


@st.composite
def options(draw: st.DrawFn, record: dict[Any, Any]) -> dict[str, Any]:
    """Mostly none; else one or two columns named, of the record or not."""
    names = [*(name for name in record if isinstance(name, str)), "none", "", "absent"]
    roles = [name for name in vars(Columns()) if name != "generations"]
    made: dict[str, Any] = {}
    for role in draw(st.lists(st.sampled_from(roles), max_size=draw(st.integers(0, 2)))):
        made[role] = draw(st.sampled_from(names))
    if draw(st.booleans()):
        made["generations"] = "all"
    return made


@st.composite
def asked(draw: st.DrawFn) -> tuple[dict[Any, Any], dict[str, Any]]:
    """A record, and what is asked of it."""
    record = draw(records())
    return record, draw(options(record))


def check(traces: Traces, n: int | None = None) -> None:
    """What every loading promises."""
    for trace in traces:
        assert "".join(step.text for step in trace.steps) == trace.response
        assert trace.id
        assert trace.reading
    if n is not None:
        assert len(traces) + len(traces.skipped) >= n
    for bad in traces.skipped:
        assert bad.reason
        assert bad.line is not None
        assert "Traceback" not in bad.reason


def a_record(record: dict[Any, Any], options: dict[str, Any], folder: Path) -> None:
    with contextlib.suppress(AirlensError):
        traces = load_traces([record], on_error="skip", **options)
        check(traces, 1)
        # What was made can be written and comes back as it was.
        with contextlib.suppress(AirlensError):
            assert load_traces(save_traces(traces, folder / "t.jsonl")) == traces


def a_file(name: str, data: bytes, folder: Path) -> None:
    path = folder / name
    path.write_bytes(data)
    with contextlib.suppress(AirlensError):
        for trace in load_traces(path, on_error="skip"):
            assert "".join(step.text for step in trace.steps) == trace.response
    path.unlink()


def jsonl(records: list[Any]) -> bytes:
    return "".join(json.dumps(record, default=str) + "\n" for record in records).encode()


def arrow_table(records: list[Any]) -> bytes:
    sink = io.BytesIO()
    try:
        plain = json.loads(json.dumps(records, default=str))
        parquet.write_table(pa.Table.from_pylist(plain), sink)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return b"PAR1"
    return sink.getvalue()


WRITERS: dict[str, Callable[[list[Any]], bytes]] = {
    "x.jsonl": jsonl,
    "x.json": lambda records: json.dumps(records, default=str).encode(),
    "x.jsonl.gz": lambda records: gzip.compress(jsonl(records)),
    "x.jsonl.bz2": lambda records: bz2.compress(jsonl(records)),
    "x.jsonl.xz": lambda records: lzma.compress(jsonl(records)),
    "x.csv": lambda records: pd.DataFrame(records).to_csv(index=False).encode("utf-8", "replace"),
    "x.parquet": arrow_table,
}
RAW = ["x.jsonl", "x.json", "x.csv", "x.tsv", "x.parquet", "x.arrow", "x.feather", "x.jsonl.gz"]
RAW += ["x.csv.bz2", "x.json.xz", "x.jsonl.zst", "x.zip", "x.jsonl.lzma"]
PLAIN = st.dictionaries(
    st.sampled_from(NAMES), st.text(max_size=9) | st.integers() | st.none(), max_size=4
)
FILE = st.tuples(
    st.sampled_from(sorted(WRITERS)),
    st.lists(PLAIN, max_size=4),
    st.floats(0, 1),
    st.integers(0, 255),
)


def a_damaged_file(drawn: tuple[str, list[Any], float, int], folder: Path) -> None:
    """A good file; the same cut somewhere; the same with one byte changed."""
    name, records, where, byte = drawn
    data = WRITERS[name](records)
    at = int(where * len(data))
    a_file(name, data, folder)
    a_file(name, data[:at], folder)
    a_file(name, data[:at] + bytes([byte]) + data[at + 1 :], folder)


def test_b_a_footer_that_counts_rows_below_zero_is_refused(tmp_path: Path) -> None:
    """Arrow ends the whole process on such a file, so it must not be asked."""
    data = arrow_table([{}])
    path = tmp_path / "x.parquet"
    path.write_bytes(data[:30] + b"\xff" + data[31:])
    with pytest.raises(AirlensError, match="damaged"):
        load_traces(path)


MAGIC = [b"", b"PAR1", b"ARROW1", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\x00", b"PK\x03\x04"]
MAGIC += [b"\xff\xfe", b"\xef\xbb\xbf"]
BYTES = st.tuples(st.sampled_from(RAW), st.sampled_from(MAGIC), st.binary(max_size=200))
HEALTH = {"suppress_health_check": list(HealthCheck)}


def folder_of(factory: pytest.TempPathFactory) -> Path:
    folder = factory.getbasetemp() / f"fuzz-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    return folder


@settings(max_examples=FAST, **HEALTH)
@given(asked())
def test_b_no_record_raises_a_foreign_exception(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[dict[Any, Any], dict[str, Any]]
) -> None:
    a_record(*drawn, folder_of(tmp_path_factory))


@settings(max_examples=FAST // 2, **HEALTH)
@given(FILE)
def test_b_no_damaged_file_raises_a_foreign_exception(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[str, list[Any], float, int]
) -> None:
    a_damaged_file(drawn, folder_of(tmp_path_factory))


@settings(max_examples=FAST, **HEALTH)
@given(BYTES)
def test_b_no_bytes_raise_a_foreign_exception(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[str, bytes, bytes]
) -> None:
    name, magic, data = drawn
    a_file(name, magic + data, folder_of(tmp_path_factory))


@pytest.mark.slow
@settings(max_examples=MANY, **HEALTH)
@given(asked())
def test_b_2000_records(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[dict[Any, Any], dict[str, Any]]
) -> None:
    a_record(*drawn, folder_of(tmp_path_factory))


@pytest.mark.slow
@settings(max_examples=MANY, **HEALTH)
@given(FILE)
def test_b_2000_damaged_files(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[str, list[Any], float, int]
) -> None:
    a_damaged_file(drawn, folder_of(tmp_path_factory))


@pytest.mark.slow
@settings(max_examples=MANY, **HEALTH)
@given(BYTES)
def test_b_2000_bytes(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[str, bytes, bytes]
) -> None:
    name, magic, data = drawn
    a_file(name, magic + data, folder_of(tmp_path_factory))


@pytest.mark.parametrize("field", [name for name in vars(Columns()) if name != "generations"])
def test_b_every_column_can_be_asked_for(field: str) -> None:
    """Naming any column of any record is a trace or one of our errors."""
    for value in (None, 3, "x", ["x"], {"a": 1}, [{"role": "user", "content": "x"}]):
        with contextlib.suppress(AirlensError):
            load_traces([{"prompt": "p", "response": "r", "odd": value}], **{field: "odd"})  # type: ignore[arg-type]
