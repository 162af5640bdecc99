"""The data of a page: tables of influence and sources as the traits of the views.

The same functions fill the widgets of a notebook (:mod:`airlens.views.explorers.traits`,
:mod:`airlens.views.explorers.source_traits`). Here the values are rounded, and values shared by all
colourings or measures of a trace are stored once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from airlens.views.explorers.early_traits import COLOURS_EARLY, number_traits, track_traits
from airlens.views.explorers.source_traits import (
    arc_units,
    event_traits,
    matrix_traits,
    prompt_pieces,
    rounded,
    with_prompt,
)
from airlens.views.explorers.traits import (
    COLOURS_BY,
    Traits,
    colour_traits,
    head_traits,
    step_head_traits,
    table_traits,
    text_traits,
    with_step_values,
)
from airlens.views.figures.coloured_text import Piece, longest_bar, pieces
from airlens.views.figures.labels import MEASURES, label
from airlens.views.figures.step_maps import row_dicts
from airlens.views.figures.strongest_step import said_of, strongest_step
from airlens.views.figures.style import floats

if TYPE_CHECKING:
    from airlens.heads import HeadScores
    from airlens.step_influence.early_answers import EarlyAnswers
    from airlens.step_influence.head_subsets import HeadSubsets
    from airlens.step_influence.influence import Influence
    from airlens.step_sources import Sources
    from airlens.traces.trace import Trace

DIGITS = 3  # significant ones of a number on the page
FAINT = 0.005  # nats: under this a token's value with fewer heads ablated is written as 0
SAMPLES = {
    "id": "trace",
    "domain": "domain",
    "ais": "AIS",
    "ais_control": "AIS (random)",
    "copied": "copied",
    "copied_control": "copied (random)",
    "loss_base": "base loss",
    "n_tokens": "tokens",
}
"""The columns of the table of samples, and their headings."""
BARS = ("ais", "ais_control", "copied", "copied_control")
HINTS = {
    "id": "what the trace is called",
    "domain": "group within which samples are compared",
    "copied": "share of the response's tokens that at least one of the heads copies",
    "copied_control": "the same for as many random heads",
}
BETWEEN = "   "  # stands between the parts of a note
PER_TOKEN = "attention_per_token"  # the page divides attention by the size of the source itself
PER_MEASURE = ("at", "values", "controls", "bound", "signed", "title", "said")
"""The traits of the matrix that differ between measures."""


def index_data(
    result: Influence,
    sources: Sources | None,
    scores: HeadScores | None,
    heads: Sequence[str],
    early: EarlyAnswers | None = None,
    subsets: HeadSubsets | None = None,
) -> Traits:
    """The data that the page needs before a trace is chosen.

    Of each trace ``strongest`` is the strongest step above its control (-1: there is none) and what
    is said of it; ``opens`` is [trace, step] of the strongest of all.
    """
    frame = samples_frame(result, sources)
    table = table_traits(frame, BARS)
    table["columns"] = [SAMPLES[name] for name in frame.columns]
    table["hints"] = [HINTS.get(name) or label(name) for name in frame.columns]
    controls = bool(result.provenance.get("controls"))
    return {
        "traces": len(frame),
        "opens": list(opening(result)),
        "strongest": [_strongest(result, str(id), len(heads)) for id in frame["id"]],
        "colours": colours_of(result.tokens, early),
        "early": early is not None,
        "subsets": _subsets(subsets),
        "measures": measures_of(sources),
        "text": {"legend": _legend(controls), "hint": _hint(sources)},
        "map": None if scores is None else _head_map(scores, heads),
        "heads": list(heads),
        "controls": controls,
        "table": table,
    }


def opening(result: Influence) -> tuple[int, int]:
    """The trace and step at which a page opens: the strongest above its control; step -1: none."""
    best = strongest_step(_shown_steps(result))
    ids = [str(id) for id in result.samples["id"]]
    return (ids.index(best.id), best.step) if best else (0, -1)


def finding(result: Influence, heads: Sequence[str]) -> str:
    """What the page found, in a sentence: of the strongest step of its traces."""
    n = len(result.samples)
    where = f"these {n} traces" if n > 1 else "this trace"
    return said_of(strongest_step(_shown_steps(result)), len(heads), where)


def _shown_steps(result: Influence) -> pd.DataFrame:
    shown = result.samples["id"].astype(str)
    return result.steps[result.steps["id"].astype(str).isin(shown)]


def _strongest(result: Influence, id: str, n_heads: int) -> Traits:
    best = strongest_step(_of(result.steps, id))
    return {"step": best.step if best else -1, "said": said_of(best, n_heads, "this trace") + "."}


def trace_data(
    result: Influence,
    sources: Sources | None,
    trace: Trace,
    step_heads: pd.DataFrame | None = None,
    early: EarlyAnswers | None = None,
    most_sources: int | None = None,
    subsets: HeadSubsets | None = None,
) -> Traits:
    """The traits of the views of one trace.

    Args:
        result: with this trace in it.
        sources: the sources of its steps; None leaves the prompt, arcs and matrix out.
        trace: the trace.
        step_heads: its rows of each head alone: name, step, delta.
        early: with its early answers; None leaves the track of answers out.
        most_sources: how many sources of a step are kept; None: all.
        subsets: what fewer heads do.
    """
    tokens, steps = (_of(table, trace.id) for table in (result.tokens, result.steps))
    numbers: list[Traits] = []
    track: Traits | None = None
    if early is not None:
        steps = early.on_steps(steps)
        track = track_traits(_of(early.steps, trace.id), _of(early.samples, trace.id))
        numbers = number_traits(steps) if track["cuts"] else []
    answer = pieces(row_dicts(tokens), trace.response)
    text = text_traits(answer, steps)
    prompt: list[Piece] = []
    found: Traits = {"alone": None, "measures": {}, "units": [], "track": track}
    if sources is not None and (sources.units["id"] == trace.id).any():
        tables = (sources.units, sources.tokens, sources.pairs, sources.events)
        units, whole, pairs, events = (_of(table, trace.id) for table in tables)
        prompt = prompt_pieces(units, whole)
        text = with_prompt(text, prompt, units) | event_traits(prompt, answer, whole, events)
        names = [measure["name"] for measure in measures_of(sources)]
        found |= _source_data(units, pairs, names, most_sources)
    if step_heads is not None and len(step_heads):
        found["alone"] = step_head_traits(step_heads)
    valued = with_step_values(tokens, steps)
    found["colours"] = {
        colour["name"]: _padded(colour_traits(answer, valued, colour["name"]), len(prompt))
        for colour in colours_of(result.tokens, early)
    }
    found["subsets"] = subsets and _subset_data(subsets, trace.id, answer, len(prompt), steps)
    text = {name: value for name, value in text.items() if name not in ("values", "current")}
    return {"text": text | {"notes": in_columns(text["notes"]), "numbers": numbers}, **found}


def _subsets(subsets: HeadSubsets | None) -> list[Traits]:
    """The subsets of heads that can be chosen."""
    sets = {} if subsets is None else subsets.sets
    first = next(iter(sets), "")
    return [
        {
            "name": name,
            "size": len(heads),
            "heads": heads,
            "alone": len(heads) == 1,
            "first": name == first,
        }
        for name, heads in sets.items()
    ]


def _subset_data(
    subsets: HeadSubsets, id: str, answer: Sequence[Piece], n_prompt: int, steps: pd.DataFrame
) -> Traits:
    """Values of pieces and steps for each subset, and for as many random heads, by their number."""
    tokens = dict(tuple(_of(subsets.tokens, id).groupby("set")))
    scores = dict(tuple(_of(subsets.steps, id).groupby("set")))
    sets, controls = dict[str, Traits](), dict[str, Traits]()
    for name, heads in subsets.sets.items():
        sets[name] = _values(answer, n_prompt, tokens[name], scores[name], "")
        if str(len(heads)) not in controls and _any(tokens[name], "delta_control"):
            size = str(len(heads))
            controls[size] = _values(answer, n_prompt, tokens[name], scores[name], "_control")
    ordered = steps.sort_values("step")
    whole = {
        name: rounded(floats(ordered, of))
        for name, of in (("ais", "ais"), ("control", "ais_control"))
    }
    longest = longest_bar(row_dicts(steps))
    return {"sets": sets, "controls": controls, "whole": whole, "longest": longest}


def _values(
    answer: Sequence[Piece], n_prompt: int, tokens: pd.DataFrame, steps: pd.DataFrame, of: str
) -> Traits:
    values = colour_traits(answer, tokens, f"delta{of}")["values"]
    ais = steps.sort_values("step")[f"ais{of}"]
    return {"values": [None] * n_prompt + [_coarse(v) for v in values], "ais": rounded(ais)}


def _coarse(value: float | None) -> float | None:
    """A value of a token to two digits; one that would hardly be coloured is 0."""
    if value is None:
        return None
    return float(f"{value:.2g}") if abs(value) >= FAINT else 0.0


def _source_data(
    units: pd.DataFrame, pairs: pd.DataFrame, measures: Sequence[str], most_sources: int | None
) -> Traits:
    kept: dict[str, Any] = {"every": False, "most_sources": most_sources}
    maps = {name: matrix_traits(pairs, units, name, **kept) for name in measures}
    if not maps:
        return {}
    first = next(iter(maps.values()))
    found = {name: {trait: of[trait] for trait in PER_MEASURE} for name, of in maps.items()}
    if PER_TOKEN in found and "attention" in found and _same_cells(found):
        for trait in ("at", "values", "controls"):
            del found[PER_TOKEN][trait]
    return {
        "units": arc_units(units),
        "sizes": [int(n) for n in units.sort_values("unit")["n_tokens"]],
        "matrix": {n: value for n, value in first.items() if n not in (*PER_MEASURE, "words")},
        "measures": found,
    }


def _same_cells(found: Traits) -> bool:
    same: bool = found[PER_TOKEN]["at"] == found["attention"]["at"]
    return same


def in_columns(notes: Sequence[str]) -> list[list[Any]]:
    """Notes as columns of their parts, ``[common beginning, the rest of each]``.

    Most notes have the same parts, "name: number", in the same order; the page joins them again.
    """
    rows = [note.split(BETWEEN) for note in notes]
    width = max(map(len, rows), default=0)
    columns = [[row[i] if i < len(row) else None for row in rows] for i in range(width)]
    found: list[list[Any]] = []
    for column in columns:
        known = [part for part in column if part is not None]
        name, mark, _ = known[0].partition(": ")
        begin = name + mark if all(part.startswith(name + mark) for part in known) else ""
        found.append([begin, [part and part[len(begin) :] for part in column]])
    return found


def _padded(traits: Traits, prompt: int) -> Traits:
    """The colours of a response, after as many uncoloured pieces of the prompt."""
    return traits | {"values": [None] * prompt + traits["values"]}


def _of(table: pd.DataFrame, id: str) -> pd.DataFrame:
    return table[table["id"].astype(str) == id].reset_index(drop=True)


def colours_of(tokens: pd.DataFrame, early: EarlyAnswers | None = None) -> list[dict[str, str]]:
    """The known columns that the text can be coloured by."""
    known = [(text, name) for text, name in COLOURS_BY if name == "ais" or _any(tokens, name)]
    if early is not None:
        columns = {"gain": (early.steps, "gain"), "depends": (early.depends, "direct")}
        known += [(text, name) for text, name in COLOURS_EARLY if _any(*columns[name])]
    return [{"name": name, "text": text} for text, name in known]


def measures_of(sources: Sources | None) -> list[dict[str, str]]:
    """The measures of sources that have values, the simplest first."""
    names = [] if sources is None else [n for n in MEASURES if _any(sources.pairs, n)]
    return [{"name": name, "text": label(name), "said": MEASURES[name]} for name in names]


def samples_frame(result: Influence, sources: Sources | None) -> pd.DataFrame:
    """One row per trace: the columns of `SAMPLES` that are known."""
    frame = result.samples.copy()
    if sources is not None and len(sources.steps):
        frame = frame.merge(copied_shares(sources.steps), on="id", how="left")
    return frame[[name for name in SAMPLES if name in frame and frame[name].notna().any()]]


def copied_shares(steps: pd.DataFrame) -> pd.DataFrame:
    """Share of each response's tokens that are copied, from the shares of its steps."""
    names = ("copied", "copied_control")
    weighted = steps[["id", "n_tokens"]].copy()
    for name in names:
        weighted[name] = floats(steps, name) * steps["n_tokens"]
    sums = weighted.groupby("id", sort=False).sum()
    shares = {name: sums[name] / sums["n_tokens"] for name in names}
    return pd.DataFrame(shares).reset_index()


def _any(frame: pd.DataFrame, column: str) -> bool:
    return column in frame and bool(frame[column].notna().any())


def _legend(controls: bool) -> str:
    return "margin: AIS, random heads in grey" if controls else "margin: AIS"


def _hint(sources: Sources | None) -> str:
    if sources is None:
        return "Point at a token for its numbers."
    return "Point at a token for its numbers and its source; click a step for the step's sources."


def _head_map(scores: HeadScores, heads: Sequence[str]) -> Traits:
    traits = head_traits(scores)
    width = len(traits["cols"])
    names = [f"L{i // width}H{i % width}" for i in range(len(traits["values"]))]
    marked = [i for i, name in enumerate(names) if name in set(heads)]
    hint = "Outlined: the heads that are ablated. Click one to see only what it copies."
    return {**traits, "names": names, "marked": marked, "hint": hint}


def compact(value: Any) -> Any:
    """The value with floats of few digits, whole ones as integers; NaN becomes None."""
    if isinstance(value, dict):
        return {key: compact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [compact(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        short = float(f"{value:.{DIGITS}g}")
        return int(short) if short == int(short) else short
    return value
