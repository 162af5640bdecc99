"""The measures of sources for several sets of heads, trace by trace, stored on disk.

One pass reads all sets. A knockout costs a partial pass per source and set, so it is stored set by
set.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from airlens.experiments.validity.benchmark import Group
from airlens.experiments.validity.trace_store import TraceStore
from airlens.folders import kept_table
from airlens.losses.choice import choose_engine
from airlens.step_sources.source_measures import SourceQuery, read_traces
from airlens.step_sources.source_tables import Read
from airlens.step_sources.source_units import TEMPLATE, units_of
from airlens.traces.chat_template import Template
from airlens.traces.model_encoding import encode_for
from airlens.traces.trace import Trace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

PAIR = ["id", "step", "source"]
READ = ("copies", "attention", "attention_per_token")
NUMBER = "copies_number"
KEY = ["score", "heads"]


def column(score: str, heads: str, draw: int) -> str:
    """The name of a score of a set of heads as a column: "copies/top/0"."""
    return f"{score}/{heads}/{draw}"


class Column(NamedTuple):
    """A score of a set of heads ("" where it needs none), and the column that holds it."""

    score: str
    heads: str
    draw: int
    name: str


def score_columns(pairs: pd.DataFrame) -> list[Column]:
    """The scores in a table of pairs."""
    parts = [(name, name.split("/")) for name in map(str, pairs) if name.count("/") == 2]
    return [Column(score, heads, int(draw), name) for name, (score, heads, draw) in parts]


def keys_of(columns: Sequence[Column]) -> dict[str, list[Any]]:
    """Score, heads and draw of each column, as columns of a table."""
    return {field: [getattr(c, field) for c in columns] for field in ("score", "heads", "draw")}


def measured_pairs(
    model: TransformerBridge,
    traces: Sequence[Trace],
    groups: Sequence[Group],
    *,
    knocked_out: int = 0,
    knockout_draws: int = 1,
    template: Template = "auto",
    folder: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Every pair of a step and a unit before it, with all scores of all sets of heads.

    Args:
        model: the bridge.
        traces: with steps.
        groups: sets of heads, see :func:`airlens.experiments.validity.benchmark.head_groups`.
        knocked_out: in this many traces, from the first on, every unit is also knocked out.
        knockout_draws: for this many draws of each kind of heads, of those that there are.
        template: how the prompt is put before the response.
        folder: stores finished measurements; those of the same model and heads are not repeated.
        progress: show progress bars over traces.

    Returns:
        id, step, source, distance (in steps; NaN for units of the prompt), n_source_tokens, and a
        :func:`column` for each score and set of heads: copies, attention, attention_per_token, as
        in ``Sources.pairs``; copies_number where ``step_meta`` says which number a step uses:
        the share of the number's tokens that the heads copy from the source; and knockout, nats a
        token, NaN where it was not measured.
    """
    store = TraceStore(model, folder, template)
    template = store.template
    parts = [
        kept_table(
            _path(store, trace, groups, "read"), partial(_read, model, trace, groups, template)
        )
        for trace in tqdm(traces, desc="attention", unit="trace", disable=not progress)
    ]
    work = [(i, group) for i in range(min(knocked_out, len(traces))) for group in groups]
    work = [(i, group) for i, group in work if group[2] < knockout_draws]
    for i, group in tqdm(work, desc="knockout", unit="set", disable=not progress):
        path = _path(store, traces[i], [group], f"knockout-{group[0]}-{group[2]}")
        found = kept_table(path, partial(_knock_out, model, traces[i], group, template))
        parts[i] = parts[i].merge(found, on=PAIR, how="left", validate="one_to_one")
    return pd.concat(parts, ignore_index=True)


def _path(store: TraceStore, trace: Trace, groups: Sequence[Group], kind: str) -> Path | None:
    """Where a measurement of a trace with these sets of heads is stored."""
    read = {"prompt": trace.prompt, "known": trace.step_meta}
    sets = [(name, heads.names(), draw) for name, heads, draw in groups]
    return store.path(kind, trace, read, suffix=".parquet", sets=sets)


def _one(model: TransformerBridge, trace: Trace, query: SourceQuery, template: Template) -> Read:
    units = [units_of(e) for e in encode_for(model, [trace], template)]
    engine = choose_engine(model, "auto")
    return next(iter(read_traces(model, units, query, engine, "stride", False)))


def _pairs(read: Read) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Every step paired with the units before it, and the step and group of each row."""
    units, own = read.units, 2 + len(read.units.prompt)
    earlier = np.arange(units.n_groups)[None] < own + np.arange(units.n_steps)[:, None]
    earlier[:, : TEMPLATE + 1] = False
    earlier[read.n_scored == 0] = False
    step, group = np.nonzero(earlier)
    source = group - own
    frame = pd.DataFrame({"id": units.encoded.trace.id, "step": step, "source": source})
    frame["distance"] = np.where(source < 0, np.nan, step - source)
    frame["n_source_tokens"] = read.size[group]
    return frame, step, group


def _read(
    model: TransformerBridge, trace: Trace, groups: Sequence[Group], template: Template
) -> pd.DataFrame:
    read = _one(
        model, trace, SourceQuery([heads for _, heads, _ in groups], [], None, None), template
    )
    frame, step, group = _pairs(read)
    values = dict(zip(READ, (read.copies, read.attention, read.attention), strict=True))
    values["attention_per_token"] = values["attention"] / np.maximum(read.size, 1)
    if any("number" in known for known in trace.step_meta):
        values[NUMBER] = _number_copies(read)
    columns = {
        column(score, name, draw): value[i, step, group].astype(np.float32)
        for score, value in values.items()
        for i, (name, _, draw) in enumerate(groups)
    }
    return pd.concat([frame, pd.DataFrame(columns)], axis=1)


def _number_copies(read: Read) -> np.ndarray:
    """Share of the tokens of a step's number that a set copies from a group, [sets, S, G]."""
    units = read.units
    trace, spans = units.encoded.trace, units.encoded.spans
    found = np.full((len(read.sets), units.n_steps, units.n_groups), np.nan)
    offset = len(units.encoded.prefix)
    for number, known in enumerate(trace.step_meta):
        at = trace.steps[number].text.find(known.get("number") or "\0")
        if at < 0:
            continue
        start = offset + trace.steps[number].start + at
        inside = (spans[:, 0] < start + len(known["number"])) & (spans[:, 1] > start)
        hits, total = np.zeros(found[:, number].shape), 0
        for stretch, groups in zip(read.stretches, read.copied_groups, strict=True):
            first = stretch.offset + stretch.window.first
            chosen = inside[first : first + stretch.window.n_scored]
            copied = groups[:, chosen]
            total += int(chosen.sum())
            for i, heads in enumerate(read.sets):
                rows = copied[read.rows(heads)]
                for group in np.unique(rows[rows > TEMPLATE]):
                    hits[i, group] += (rows == group).any(axis=0).sum()
        found[:, number] = hits / max(total, 1)
    return found


def _knock_out(
    model: TransformerBridge, trace: Trace, group: Group, template: Template
) -> pd.DataFrame:
    name, heads, draw = group
    read = _one(model, trace, SourceQuery([heads], [heads], None, None), template)
    frame, step, source = _pairs(read)
    rise = read.rise[0, step, source].astype(np.float32)
    return frame[PAIR].assign(**{column("knockout", name, draw): rise})
