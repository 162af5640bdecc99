"""D3: JSON lines end at a line feed only, whatever else Python takes for the end of a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import airlens as al
from airlens.errors import DataError
from airlens.experiments.validity import benchmark
from airlens.json_lines import json_line, read_json_lines, split_lines
from airlens.traces.write_traces import save_traces

# All that str.splitlines cuts at, but for \n.
ENDS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters() | st.sampled_from(ENDS + "\n\ud800")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=50)
@given(values=st.lists(JSON, max_size=5))
def test_d3_values_come_back_one_a_line(
    values: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_bytes(b"".join(map(json_line, values)))
    assert list(read_json_lines(path)) == values
    assert len(split_lines(path.read_bytes())) == len(values)


def test_d3_bad_lines_are_named_and_a_cut_last_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(json_line({"a": ENDS}) + b'{"b": 1')
    assert list(read_json_lines(path, cut=True)) == [{"a": ENDS}]
    with pytest.raises(DataError, match="line 2: not JSON"):
        list(read_json_lines(path))
    path.write_bytes(b'{"b": 1\n' + json_line({"a": ENDS}))
    with pytest.raises(DataError, match="line 1: not JSON"):
        list(read_json_lines(path, cut=True))
    path.write_bytes(b"\xff\n")
    with pytest.raises(DataError, match="line 1: not JSON"):
        list(read_json_lines(path))


def test_d3_a_resumed_measurement_keeps_its_records(tmp_path: Path) -> None:
    path = tmp_path / "measured.jsonl"
    records = [{"texts": str(i), "items": [{"text": f"a{ENDS}b"}], "losses": [i]} for i in range(4)]
    assert benchmark._open(path, "run") == {}
    for record in records:
        benchmark._append(path, record)
    # Killed in the middle of the last one.
    path.write_bytes(path.read_bytes()[:-9])
    found = benchmark._open(path, "run")
    assert list(found.values()) == records[:3]
    benchmark._append(path, records[3])
    assert list(benchmark._open(path, "run").values()) == records


def test_d3_saved_traces_come_back(tmp_path: Path) -> None:
    traces = [al.Trace(str(i), f"p{end}p", f"r{end}r") for i, end in enumerate(ENDS)]
    path = save_traces(traces, tmp_path / "a.jsonl")
    assert [(t.prompt, t.response) for t in al.load_traces(path)] == [
        (t.prompt, t.response) for t in traces
    ]
    assert len([json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]) == len(ENDS)
