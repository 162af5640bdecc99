"""What airlens makes of a record stands in fields of its own; files of airlens 0.1 still load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airlens import DataError, Step, Trace, load_traces
from airlens.experiments.validity.planting import put, real_of
from airlens.traces.write_traces import save_traces

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q?"}]
LATER = [{"role": "user", "content": "Thanks."}]
TEXT = "A thought.\n\nAn answer."
STEPS = (Step("A thought.\n\n", 0, 12, "x"), Step("An answer.", 12, 22))
FULL = Trace(
    "a",
    "Be brief.\n\nQ?",
    TEXT,
    "math",
    STEPS,
    {"steps": 3, "messages": "kept", "answer": 2.0},
    turns=tuple(TURNS),
    tools=({"type": "function", "function": {"name": "add"}},),
    thinking=10,
    answer="2",
    step_meta=({"accuracy": 0.5}, {"accuracy": 0.75}),
    reading={"layout": "chat", "later_turns": LATER},
)
# What airlens 0.1 wrote of the same record.
OLD: dict[str, Any] = {
    "id": "a",
    "prompt": FULL.prompt,
    "response": TEXT,
    "domain": "math",
    "steps": [dict(vars(step)) for step in STEPS],
    "meta": {
        "level": 5,
        "answer": "2",
        "messages": TURNS,
        "messages_after": LATER,
        "steps": [{"index": 0, "accuracy": 0.5}, {"index": 2, "accuracy": 0.75}],
        "unaligned": [1],
        "attempt_start": 12,
    },
}


def test_b1_nothing_of_ours_is_in_meta(tmp_path: Path) -> None:
    (again,) = load_traces(save_traces([FULL], tmp_path / "t.jsonl"))
    assert again == FULL
    assert again.meta == {"steps": 3, "messages": "kept", "answer": 2.0}


@pytest.mark.parametrize("read", [lambda old: load_traces([old])[0], Trace.from_json])
def test_b1_files_of_0_1_load(read: Any) -> None:
    trace = read(OLD)
    assert trace.turns == tuple(TURNS)
    assert trace.thinking == len("A thought.")
    assert [step["accuracy"] for step in trace.step_meta] == [0.5, 0.75]
    assert trace.reading == {"unaligned": [1], "later_turns": LATER}
    assert trace.meta == {"level": 5, "answer": "2"}
    assert trace.steps == STEPS


def test_b1_what_may_be_the_users_own_stays_in_meta() -> None:
    meta = {"messages": [{"role": "user", "content": "elsewhere"}], "steps": [{}], "generation": 3}
    (trace,) = load_traces([{**OLD, "meta": meta}])
    assert trace.meta == meta
    assert (trace.turns, trace.step_meta) == ((), ())


def test_b1_selections_of_0_1_keep_their_scores() -> None:
    (trace,) = load_traces([{**OLD, "delta": 0.25}])
    assert trace.meta == {"level": 5, "answer": "2", "delta": 0.25}
    assert trace.answer == "2"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"turns": [{"content": "x"}]}, "turns"),
        ({"turns": ["x"]}, "turns"),
        ({"tools": "x"}, "tools"),
        ({"thinking": 23}, "thinking"),
        ({"thinking": True}, "thinking"),
        ({"answer": 3}, "answer"),
        ({"step_meta": [{}]}, "step_meta"),
        ({"reading": []}, "reading"),
    ],
)
def test_b1_a_wrong_field_is_named(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(DataError) as caught:
        replace(FULL, **changed)
    assert caught.value.field == field


def test_b1_a_document_has_no_turns_and_keeps_its_steps_notes() -> None:
    document = FULL.as_document()
    assert (document.turns, document.tools, document.thinking) == ((), (), 0)
    assert document.step_meta == ({}, *FULL.step_meta)
    assert document.response == FULL.prompt + "\n" + TEXT


def test_b1_a_planted_trace_keeps_its_chat_and_the_end_of_its_thought() -> None:
    planted = put(FULL, 0, "A much longer thought.", "irrelevant")
    assert planted.turns == FULL.turns
    assert planted.response[: planted.thinking] == "A much longer thought."
    real = real_of(planted)
    assert (real.response, real.thinking, real.turns) == (TEXT, FULL.thinking, FULL.turns)
