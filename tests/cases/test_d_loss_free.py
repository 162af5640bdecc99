"""D5, D1: any value comes back from its text, and a key changes with whatever a trace says."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlens import Step, Trace
from airlens.loss_free import TAG, Unkept, dumps, loads
from airlens.traces.identity import trace_key, traces_key

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**53, 2**80)
    | st.floats()
    | st.text(st.characters() | st.sampled_from("\ud800\u2028\x00"))
    | st.binary(max_size=9)
    | st.decimals(allow_nan=False)
    | st.datetimes(timezones=st.none() | st.sampled_from([dt.timezone.utc]))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
)
KEYS = st.text(max_size=3) | st.sampled_from([TAG, "v", "zone"]) | st.integers(0, 3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)


def alike(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (
            a == b and math.copysign(1, a) == math.copysign(1, b)
        )
    return bool(a == b)


@given(VALUES)
def test_d5_any_value_comes_back(value: Any) -> None:
    text = dumps(value)
    text.encode()
    assert alike(loads(text), value)


RARE: list[Any] = [
    pd.Timestamp("2024-01-01T00:00:00.123456789"),
    pd.Timestamp("2024-07-01", tz="Europe/Berlin"),
    pd.Timedelta(-5),
    dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    Decimal("1.10"),
    Decimal("-0E+3"),
]


@pytest.mark.parametrize("value", RARE, ids=repr)
def test_d5_values_of_tables_come_back(value: Any) -> None:
    found = loads(dumps({"x": [value]}))["x"][0]
    assert type(found) is type(value) and str(found) == str(value)


def test_d5_values_of_frames_come_back() -> None:
    assert loads(dumps(pd.NaT)) is pd.NaT and loads(dumps(pd.NA)) is pd.NA
    assert loads(dumps(np.int8(3))) == 3 and loads(dumps(np.float32(0.5))) == 0.5
    array = np.array([1, 2], dtype=np.int8)
    found = loads(dumps(array))
    assert found.dtype == array.dtype and found.tolist() == [1, 2]
    assert loads(dumps({"x": object()})) == {"x": Unkept("object")}


def test_d5_a_text_that_stands_elsewhere_is_written_once() -> None:
    long = "a long text " * 9
    text = dumps({"a": long, "b": [long, "short"]}, {long: "response", "short": "prompt"})
    assert long not in text and len(text) < 100
    assert loads(text, {"response": long}) == {"a": long, "b": [long, "short"]}


FULL = Trace(
    "a",
    "p",
    "One.Two.",
    "d",
    (Step("One.", 0, 4, "x"), Step("Two.", 4, 8)),
    {"level": 3},
    turns=({"role": "user", "content": "p"},),
    tools=({"name": "add"},),
    thinking=4,
    answer="2",
    step_meta=({"a": 1}, {}),
    reading={"layout": "chat"},
)
CHANGES: dict[str, Any] = {
    "prompt": "q",
    "domain": "e",
    "steps": (Step("One.", 0, 4, "y"), Step("Two.", 4, 8)),
    "meta": {"level": 3.0},
    "turns": ({"role": "user", "content": "p", "name": "x"},),
    "tools": (),
    "thinking": 0,
    "answer": "3",
    "step_meta": ({"a": True}, {}),
}


@pytest.mark.parametrize("field", CHANGES)
def test_d1_a_key_changes_with_every_field(field: str) -> None:
    changed = replace(FULL, **{field: CHANGES[field]})
    assert trace_key(changed) != trace_key(FULL)
    assert traces_key([changed]) != traces_key([FULL])


def test_d1_a_key_is_of_what_is_said() -> None:
    assert trace_key(replace(FULL, reading={}, id="b")) == trace_key(FULL)
    assert traces_key([replace(FULL, id="b")]) != traces_key([FULL])
    other = replace(FULL, response="One.Too.", steps=(), step_meta=())
    assert trace_key(other) != trace_key(replace(FULL, steps=(), step_meta=()))
    assert trace_key(FULL, {"a": 1}) != trace_key(FULL, {"a": 2})
    # Steps cut elsewhere, the same texts: measured again.
    cut = replace(FULL, steps=(Step("One.Two.", 0, 8),), step_meta=())
    assert traces_key([cut]) != traces_key([replace(FULL, step_meta=())])
