"""Sources of steps as plain values: from the tables of `Sources` to the traits of the views.

For ``text.js`` (prompt, events, pairs), ``arcs.js`` and ``matrix.js``. All functions
take the rows of one trace. No widget is used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from airlens.json_lines import jsonable
from airlens.views.figures.coloured_text import Piece, hover_text, pieces
from airlens.views.figures.labels import MEASURES, is_signed, label
from airlens.views.figures.source_matrix import unit_names, unit_words
from airlens.views.figures.step_maps import row_dicts
from airlens.views.figures.style import floats, limit

from .traits import Traits, step_sides

DIGITS = 3  # significant ones, of a value that is shown
MOST_SOURCES = 64
"""Sources of a step that are kept for a view: it grows with the steps, not with their square."""


def prompt_pieces(units: pd.DataFrame, tokens: pd.DataFrame) -> list[Piece]:
    """The prompt cut into pieces of one token each; ``step`` is the unit, which is negative.

    Args:
        units: `Sources.units` of one trace.
        tokens: `Sources.tokens` of that trace.
    """
    prompt = tokens[(tokens["part"] == "prompt") & tokens["unit"].notna()]
    found: list[Piece] = []
    for unit in row_dicts(units[units["kind"] == "prompt"].sort_values("unit")):
        mine = prompt[prompt["unit"] == unit["unit"]].sort_values("index")
        start = int(unit["start"])
        rows = [
            row | {"step": row["unit"], "start": row["start"] - start, "end": row["end"] - start}
            for row in row_dicts(mine)
        ]
        found += pieces(rows, str(unit["text"]))
    return found


def with_prompt(traits: Traits, prompt: Sequence[Piece], units: pd.DataFrame) -> Traits:
    """The traits of a response (`text_traits`) with its prompt's units as rows before them."""
    names = unit_names(units, long=True)
    of_prompt = units.loc[units["kind"] == "prompt", "unit"]
    sides = step_sides(pd.DataFrame({"step": sorted(of_prompt)}))
    for side in sides:
        side["name"] = side["aria"] = names[side["step"]]
    notes = [hover_text(piece.tokens).replace("\n", "   ") for piece in prompt]
    return traits | {
        "texts": [piece.text for piece in prompt] + traits["texts"],
        "steps": [piece.step for piece in prompt] + traits["steps"],
        "notes": notes + traits["notes"],
        "values": [None] * len(prompt) + traits["values"],
        "sides": sides + traits["sides"],
    }


def event_traits(
    prompt: Sequence[Piece], response: Sequence[Piece], tokens: pd.DataFrame, events: pd.DataFrame
) -> Traits:
    """The copies of single tokens: events [[piece], [source piece], [head], [weight]], heads.

    Tokens copied from the chat template have no piece and are left out.

    Args:
        prompt: its pieces, which stand first in the text; none where it is not shown.
        response: the pieces of the response.
        tokens: `Sources.tokens` of the trace.
        events: `Sources.events` of the trace.
    """
    home: dict[int, int] = {}
    for i, piece in enumerate(prompt):
        home |= {int(token["index"]): i for token in piece.tokens}
    places = tokens.dropna(subset=["pos"])
    index = {int(p): int(i) for p, i in zip(places["pos"], places["index"], strict=True)}
    at: dict[int, int] = {}
    for i, piece in enumerate(response, start=len(prompt)):
        for token in piece.tokens:
            at[int(token["pos"])] = i
            home[index[int(token["pos"])]] = i
    heads = sorted(events["head"].unique(), key=_head_order)
    number = {name: i for i, name in enumerate(heads)}
    rows = [
        (at[int(e["pos"])], home[int(e["source_index"])], number[e["head"]], _short(e["weight"], 2))
        for e in row_dicts(events.sort_values(["pos", "weight"], ascending=[True, False]))
        if int(e["pos"]) in at and int(e["source_index"]) in home
    ]
    return {"heads": heads, "events": [list(column) for column in zip(*rows, strict=True)]}


def _head_order(name: str) -> tuple[int, int]:
    layer, _, head = name.removeprefix("L").partition("H")
    return int(layer), int(head)


def pair_traits(
    pairs: pd.DataFrame, measure: str = "copies", most_sources: int | None = None
) -> Traits:
    """Steps and their sources: pairs [[step], [source], [value], [value of random heads]].

    Pairs of which neither value is above zero are left out: no arc or outline is drawn for them.
    With ``most_sources`` so many of each step are kept, as in `matrix_traits`.
    """
    values, controls = floats(pairs, measure), floats(pairs, f"{measure}_control")
    kept = np.maximum(np.nan_to_num(values), np.nan_to_num(controls)) > 0
    if most_sources is not None:
        kept &= _strongest_of(pairs["step"].to_numpy(), values, controls, most_sources)
    columns = [
        [int(v) for v in pairs.loc[kept, "step"]],
        [int(v) for v in pairs.loc[kept, "source"]],
        rounded(values[kept]),
        rounded(controls[kept]),
    ]
    return {"pairs": columns, "measure": MEASURES[measure]}


def most(pairs: pd.DataFrame, measure: str = "copies") -> float:
    """The highest value of a measure, where the slider of its threshold ends; 0 if unknown.

    Over the critical heads and the control, so that all of either can be hidden.
    """
    both = [floats(pairs, name) for name in (measure, f"{measure}_control")]
    return float(np.nanmax(np.nan_to_num(np.concatenate(both)), initial=0.0))


def matrix_traits(
    pairs: pd.DataFrame,
    units: pd.DataFrame,
    measure: str = "copies",
    *,
    every: bool = True,
    most_sources: int | None = None,
) -> Traits:
    """The map of steps (rows) and sources (columns, the prompt's units first) for ``matrix.js``.

    Args:
        pairs: `Sources.pairs` of one trace.
        units: its `Sources.units`.
        measure: a key of `MEASURES`.
        every: False leaves out the cells that are zero, which saves room in a page.
        most_sources: how many sources of a step are kept, the strongest by value or control; None:
            all.
    """
    order = sorted(int(unit) for unit in units["unit"])
    steps = [unit for unit in order if unit >= 0]
    column, row = ({unit: i for i, unit in enumerate(which)} for which in (order, steps))
    values, controls = floats(pairs, measure), floats(pairs, f"{measure}_control")
    cells = pairs["step"].map(row) * len(order) + pairs["source"].map(column)
    kept = np.isfinite(values) & (
        every | (np.nan_to_num(values) != 0) | (np.nan_to_num(controls) != 0)
    )
    hint = "Point at a cell for its numbers; click it for the tokens that are copied."
    if most_sources is not None:
        strong = _strongest_of(pairs["step"].to_numpy(), values, controls, most_sources)
        if (kept & ~strong).any():
            hint += f" Of each step the {most_sources} strongest sources are kept."
        kept &= strong
    names, words = unit_names(units), unit_words(units)
    return {
        "rows": [names[unit] for unit in steps],
        "cols": [names[unit] for unit in order],
        "at": [int(cell) for cell in cells[kept]],
        "values": rounded(values[kept]),
        "controls": rounded(controls[kept]),
        "words": [words.get(unit, "") for unit in order],
        "said": f"step {{row}} from {{col}}: {MEASURES[measure]} {{value}}, "
        "random heads {control}",
        "bound": limit(values if is_signed(measure) else values[values > 0]),
        "signed": is_signed(measure),
        "title": label(measure),
        "row_title": "step",
        "col_title": "source (p: sentences of the prompt)" if order[:1] < [0] else "source",
        "hint": hint,
        "current": -1,
        "row": -1,
        "column": -1,
    }


def _strongest_of(
    steps: NDArray[np.int64],
    values: NDArray[np.float64],
    controls: NDArray[np.float64],
    most: int,
) -> NDArray[np.bool_]:
    """Whether a pair is among the `most` of its step whose value or control is largest in size."""
    sizes = np.maximum(np.abs(np.nan_to_num(values)), np.abs(np.nan_to_num(controls)))
    ranks = pd.Series(-sizes).groupby(steps).rank(method="first")
    found: NDArray[np.bool_] = (ranks <= most).to_numpy()
    return found


def arc_units(units: pd.DataFrame) -> list[int]:
    """The units of a trace in the order of the text, for ``arcs.js``."""
    return sorted(int(unit) for unit in units["unit"])


def rounded(values: Any) -> list[float | None]:
    """Floats of few digits for JSON; None for NaN."""
    short = [_short(value, DIGITS) for value in np.ravel(values)]
    found: list[float | None] = jsonable(short)
    return found


def _short(value: float, digits: int) -> float:
    return float(f"{float(value):.{digits}g}")
