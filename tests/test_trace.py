"""Traces: what they accept, and that they survive a file."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlens.errors import ConfigError, DataError
from airlens.traces.load import load_traces
from airlens.traces.step import Step
from airlens.traces.steps import split_steps
from airlens.traces.trace import Trace
from airlens.traces.write_traces import save_traces

TEXT = st.text(max_size=60)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    prompt, response = draw(TEXT), draw(TEXT)
    how = draw(st.sampled_from(["paragraph", "line", "sentence"]))
    meta = draw(st.dictionaries(TEXT, st.none() | st.integers() | TEXT, max_size=3))
    identity = draw(st.text(min_size=1, max_size=5))
    return Trace(identity, prompt, response, draw(TEXT), split_steps(response, how), meta)


def test_a_trace_may_be_unsplit_and_its_response_empty() -> None:
    assert Trace("a", "Why?", "So.").steps == ()
    assert Trace("a", "Why?", "").steps == ()


@pytest.mark.parametrize(
    ("changed", "field", "message"),
    [
        ({"id": ""}, "id", "empty"),
        ({"id": 3}, "id", "found a number"),
        ({"prompt": None}, "prompt", "found null"),
        ({"response": ["x"]}, "response", "found a list of 1"),
        ({"response": "\ud83d"}, "response", "surrogate"),
        ({"domain": None}, "domain", "found null"),
        ({"meta": []}, "meta", "found a list"),
        ({"steps": (Step("ab", 0, 2),)}, "steps", "end at 2"),
        ({"steps": (Step("b", 1, 2), Step("c", 2, 3))}, "steps", "must start at 0"),
        ({"steps": (Step("ab", 0, 2), Step("bc", 1, 3))}, "steps", "must start at 2"),
        ({"steps": (Step("", 0, 0), Step("abc", 0, 3))}, "steps", "not be empty"),
        ({"steps": (Step("abx", 0, 3),)}, "steps", "not that of the response"),
        ({"steps": (Step("abcd", 0, 4),)}, "steps", "not that of the response"),
        ({"steps": (Step("abc", 0, 3, "\ud83d"),)}, "steps", "surrogate"),
        ({"steps": ("abc",)}, "steps", "expected a Step"),
    ],
)
def test_what_is_no_trace_is_refused(changed: dict[str, object], field: str, message: str) -> None:
    good: dict[str, object] = {"id": "a", "prompt": "p", "response": "abc"}
    with pytest.raises(DataError, match=message) as caught:
        Trace(**{**good, **changed})  # type: ignore[arg-type]
    assert caught.value.field == field


def test_steps_of_an_empty_response_are_refused() -> None:
    with pytest.raises(DataError):
        Trace("a", "p", "", steps=(Step("", 0, 0),))


def test_meta_is_the_traces_own() -> None:
    meta = {"answer": 2}
    trace = Trace("a", "p", "r", meta=meta)
    meta["answer"] = 3
    assert trace.meta == {"answer": 2}


def test_with_steps_replaces_steps_and_what_belonged_to_them() -> None:
    known = {"step_meta": ({"accuracy": 1},), "reading": {"unaligned": [3], "layout": "x"}}
    steps = (Step("One. Two.", 0, 9),)
    trace = Trace("a", "p", "One. Two.", steps=steps, meta={"steps": 2}, **known)  # type: ignore[arg-type]
    again = trace.with_steps("sentence")
    assert [step.text for step in again.steps] == ["One. ", "Two."]
    assert (again.meta, again.step_meta, again.reading) == ({"steps": 2}, (), {"layout": "x"})
    assert trace.reading["unaligned"] == [3]
    halves = trace.with_steps(lambda text: (Step(text[:4], 0, 4), Step(text[4:], 4, 9)))
    assert [step.end for step in halves.steps] == [4, 9]


@given(traces())
def test_json_keeps_a_trace(trace: Trace) -> None:
    assert Trace.from_json(json.loads(json.dumps(trace.to_json()))) == trace
    assert pickle.loads(pickle.dumps(trace)) == trace


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"id": "a", "prompt": "p"}, "response"),
        ({"id": "a", "prompt": "p", "response": None}, "response"),
        ({"id": "a", "prompt": "p", "response": "r", "steps": 3}, "steps"),
        ({"id": "a", "prompt": "p", "response": "r", "steps": ["r"]}, "steps"),
        ({"id": "a", "prompt": "p", "response": "r", "steps": [{"text": "r"}]}, "steps"),
        ([], None),
    ],
)
def test_malformed_json_names_the_field(data: object, field: str | None) -> None:
    with pytest.raises(DataError) as caught:
        Trace.from_json(data)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_saved_traces_are_loaded_as_they_were(tmp_path: Path) -> None:
    steps = (Step("Grüße 👋\n\n", 0, 9, "greeting"), Step("終わり。", 9, 13))
    kept = [
        Trace("a", "p", "Grüße 👋\n\n終わり。", "math", steps, step_meta=({"n": 1}, {"n": 2})),
        Trace("b", "", "One. Two.", steps=(Step("One. Two.", 0, 9),), meta={"bad": "\ud83d"}),
        Trace("c", "p", "  \n x", steps=(Step("  \n", 0, 3), Step(" x", 3, 5))),
        Trace("d", "only a prompt", ""),
    ]
    path = save_traces(iter(kept), tmp_path / "new" / "traces.jsonl")
    assert load_traces(path) == kept
    assert path.read_bytes().count(b"\n") == 4
    assert "👋" in path.read_text(encoding="utf-8")


def test_a_failed_save_leaves_the_former_file(tmp_path: Path) -> None:
    path = save_traces([Trace("a", "p", "r")], tmp_path / "traces.jsonl")
    before = path.read_bytes()
    with pytest.raises(DataError, match="JSON") as caught:
        save_traces([Trace("b", "p", "r"), Trace("c", "p", "r", meta={"x": {1}})], path)
    assert (caught.value.line, caught.value.field) == (2, "meta")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_only_json_lines_are_saved(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="jsonl"):
        save_traces([], tmp_path / "traces.csv")


def test_the_import_is_light() -> None:
    heavy = "{'torch', 'datasets', 'pandas', 'pyarrow', 'transformers', 'zstandard'}"
    code = "import sys, airlens.traces.encoding, airlens.traces.load; "
    code += f"assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
