"""The true pairs of a step and its source, and controls that need no critical heads.

The truth is in ``Trace.step_meta``: what each step ``depends_on``, by the numbers that the
steps had when they were labelled (``index``, where it differs from the position in the trace).

Controls, of a step and a unit before it:

- proximity: 1 / (steps from the unit to the step); the prompt's units precede the first step
- word_overlap, bigram_overlap, number_overlap: share of the step's distinct words, pairs of words
  and signs, and numbers that stand in the unit
- source_length: tokens of the unit
- attention_received: mean attention per token that all other later steps pay to the unit, from
  random heads anywhere in the model; where there are none, the mean over the trace
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from airlens.errors import DataError
from airlens.experiments.validity.heuristics import ngrams, words
from airlens.traces.steps import split_steps
from airlens.traces.trace import UNALIGNED, Trace

from .measured_pairs import column

TEXT = ("proximity", "word_overlap", "bigram_overlap", "number_overlap", "source_length")
FREE = (*TEXT, "attention_received")


def dependencies(trace: Trace) -> set[tuple[int, int]]:
    """(step, unit) of all true pairs of a trace; pairs whose source was not found are left out.

    Raises:
        DataError: a dependency that is not a number.
    """
    return {(step, source) for step, source in _given(trace) if source is not None}


def _given(trace: Trace) -> list[tuple[int, int | None]]:
    """(step, unit) as given; None for a unit that was not found or does not precede the step."""
    known = trace.step_meta
    place = {_number(trace, step.get("index", number)): number for number, step in enumerate(known)}
    found: list[tuple[int, int | None]] = []
    for number, step in enumerate(known):
        for given in step.get("depends_on") or ():
            source = _number(trace, given)
            at = source if source < 0 else place.get(source)
            found.append((number, at if at is not None and at < number else None))
    return found


def _number(trace: Trace, given: Any) -> int:
    """The number of a step: a whole number, or a text or float that says one."""
    try:
        number = int(given)
        whole = isinstance(given, str) or number == given
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or isinstance(given, bool):
        raise DataError(f"trace {trace.id!r}: {given!r} is no step", field="step_meta")
    return number


def alignment_table(traces: Iterable[Trace]) -> pd.DataFrame:
    """One row per trace: id, steps, unaligned (steps not found), pairs, lost (pairs not found)."""
    rows = []
    for trace in traces:
        given = _given(trace)
        lost = sum(source is None for _, source in given)
        unaligned = len(trace.reading.get(UNALIGNED) or ())
        rows.append((trace.id, len(trace.steps), unaligned, len(given), lost))
    return pd.DataFrame(rows, columns=["id", "steps", "unaligned", "pairs", "lost"])


def add_truth(pairs: pd.DataFrame, traces: Iterable[Trace]) -> pd.DataFrame:
    """``pairs`` (id, step, source) with the column true.

    Raises:
        DataError: no pair is true.
    """
    true = {(trace.id, *pair) for trace in traces for pair in dependencies(trace)}
    rows = zip(pairs["id"], pairs["step"], pairs["source"], strict=True)
    marked = pairs.assign(true=[row in true for row in rows])
    if not marked["true"].any():
        raise DataError('no step is said to depend on another: step_meta, "depends_on"')
    return marked


def add_controls(pairs: pd.DataFrame, traces: Iterable[Trace]) -> pd.DataFrame:
    """The table of :func:`.measured_pairs.measured_pairs` with a column for each control."""
    by_id = {trace.id: trace for trace in traces}
    parts = []
    for name, part in pairs.groupby("id", sort=False):
        step, source = part["step"].to_numpy(), part["source"].to_numpy()
        found = {
            "proximity": 1 / (step - source),
            **_overlaps(by_id[str(name)], step, source),
            "source_length": part["n_source_tokens"],
        }
        received = _received(part)
        if received is not None:
            found["attention_received"] = received
        parts.append(part.assign(**{column(key, "", 0): value for key, value in found.items()}))
    return pd.concat(parts, ignore_index=True)


def _overlaps(trace: Trace, step: np.ndarray, source: np.ndarray) -> dict[str, np.ndarray]:
    prompt = [
        sentence.text
        for line in split_steps(trace.prompt.strip(), "line")
        for sentence in split_steps(line.text, "sentence")
    ]
    if len(source) and source.min() < -len(prompt):
        raise DataError(f"trace {trace.id!r}: its prompt has other units here", field="prompt")
    texts = [*prompt, *(part.text for part in trace.steps)]
    found = {}
    for name, parts in (
        ("word_overlap", [{w for w in words(text) if w.isalpha()} for text in texts]),
        ("bigram_overlap", [ngrams(text) for text in texts]),
        ("number_overlap", [{w for w in words(text) if w.isdigit()} for text in texts]),
    ):
        share = _shares(parts)
        found[name] = share[step + len(prompt), source + len(prompt)]
    return found


def _shares(sets: Sequence[Iterable[object]]) -> np.ndarray:
    """[U, U]: share of the elements of set i that set j has; 0 for an empty set."""
    place: dict[object, int] = {}
    rows = [[place.setdefault(item, len(place)) for item in items] for items in sets]
    has = np.zeros((len(sets), max(len(place), 1)), np.float32)
    for i, row in enumerate(rows):
        has[i, row] = 1
    size = has.sum(axis=1, keepdims=True)
    share: np.ndarray = has @ has.T / np.maximum(size, 1)
    return share


def _received(part: pd.DataFrame) -> np.ndarray | None:
    """Mean over the other later steps; where there are none, the mean over the trace."""
    prefix = column("attention_per_token", "random", 0)[:-1]
    own = [name for name in map(str, part) if name.startswith(prefix)]
    if not own:
        return None
    paid = part[own].mean(axis=1)
    by_source = paid.groupby(part["source"])
    others = by_source.transform("size") - 1
    rest = by_source.transform("sum") - paid
    found = rest / others.where(others > 0)
    return np.asarray(found.fillna(found.mean()).to_numpy(np.float64))
