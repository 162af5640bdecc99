"""Every data set of the page "Data sets" is read as that page says, from any kind of file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from airlens import load_traces
from airlens.traces.load import content_hash
from airlens.traces.trace import Trace

SETS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "data" / "data_sets.json").read_text(encoding="utf-8")
)
NAMES = [each["name"] for each in SETS]


def as_expected(trace: Trace, reads: dict[str, Any]) -> None:
    """The trace is what was written down by hand for its record."""
    assert trace.prompt == reads["prompt"]
    assert trace.response == reads["response"]
    assert trace.turns == tuple(reads.get("turns", ()))
    assert trace.tools == tuple(reads.get("tools", ()))
    assert trace.thinking == reads.get("thinking", 0)
    assert trace.answer == reads.get("answer", "")
    assert trace.domain == reads.get("domain", "")
    assert trace.id == reads.get("id", content_hash(trace.prompt, trace.response))
    assert "".join(step.text for step in trace.steps) == trace.response
    if "steps" in reads:
        assert [step.text for step in trace.steps] == reads["steps"]
    labels = reads.get("labels", [None] * len(trace.steps))
    assert [step.label for step in trace.steps] == labels


def test_b_the_sweep_is_wide() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 30


@pytest.mark.parametrize("known", SETS, ids=NAMES)
def test_b_published_columns_are_recognised(known: dict[str, Any], tmp_path: Path) -> None:
    record, reads = known["record"], known["reads"]
    (trace,) = load_traces([record])
    as_expected(trace, reads)
    # What is not read stays as it was, and nothing else is there.
    for name, value in trace.meta.items():
        assert value == record[name]
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    as_expected(load_traces(path)[0], reads)
    # As a Parquet file of two rows, one of which has null wherever it may.
    table = pa.Table.from_pylist([record, {**dict.fromkeys(record), **record}])
    parquet.write_table(table, tmp_path / "x.parquet")
    as_expected(load_traces(tmp_path / "x.parquet", on_error="skip")[0], reads)


@pytest.mark.parametrize("known", SETS, ids=NAMES)
def test_b_the_answer_is_never_in_the_context(known: dict[str, Any]) -> None:
    record = known["record"]
    marked = json.loads(json.dumps(record).replace("3 * 4 = 12", "MARK"))
    (again,) = load_traces([marked])
    before = json.dumps([again.prompt, list(again.turns)])
    assert "MARK" not in before
    if "3 * 4 = 12" in known["reads"]["response"] and known["name"] != "GSM8K":
        assert "MARK" in again.response


@pytest.mark.parametrize("known", SETS, ids=NAMES)
def test_b3_columns_in_another_case_and_with_blanks(known: dict[str, Any]) -> None:
    record = {f" {name.upper()} ": value for name, value in known["record"].items()}
    as_expected(load_traces([record])[0], known["reads"])


def test_b1_the_choice_is_said_in_these_words() -> None:
    record = {"problem": "P", "solution": "S", "messages": [{"role": "user", "content": "P"}]}
    traces = load_traces([record, record])
    said = "prompt from `problem`, response from `solution`; ignored: `messages`"
    assert traces.reading == {said: 2}
    assert traces[0].reading["columns"] == {"prompt": ["problem"], "response": ["solution"]}
