"""Contents of the small widgets as plain values: from tables to the traits of ``static/*.js``.

The same values fill the widgets in a notebook (:mod:`airlens.views.explorers.js`) and the shared
page (:mod:`airlens.views.page`). No widget is used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from airlens.json_lines import jsonable
from airlens.views.figures.coloured_text import (
    PER_STEP,
    Piece,
    colouring,
    hover_text,
    longest_bar,
    margin_number,
)
from airlens.views.figures.labels import clean, known, label, number, shorten, visible
from airlens.views.figures.step_maps import row_dicts
from airlens.views.figures.style import COLOURS, limit

if TYPE_CHECKING:
    from airlens.heads import HeadScores

Traits = dict[str, Any]
PALETTE = [COLOURS["base"], COLOURS["ablated"], COLOURS["control"]]
TABLE_TEXT = 200  # characters of a cell
COLOURS_BY = [
    ("Δ NLL", "delta"),
    ("AIS of the step", "ais"),
    ("base NLL", "nll_base"),
    ("entropy", "entropy"),
    ("Δ NLL, random heads", "delta_control"),
]
"""What a text can be coloured by: name and column."""


def plain(values: Any) -> list[float | None]:
    """Floats for JSON, which has no NaN: None instead."""
    found: list[float | None] = jsonable(np.asarray(values, dtype=np.float64).ravel().tolist())
    return found


def grid_traits(
    values: Any, rows: Sequence[str], cols: Sequence[str], notes: Sequence[str]
) -> Traits:
    """Cells ``values`` [rows, cols]; the note of a cell is the text shown under the map."""
    grid = np.asarray(values, dtype=np.float64)
    return {
        "bound": limit(grid.ravel(), 0.995),
        "values": plain(grid),
        "notes": list(notes),
        "rows": list(rows),
        "cols": list(cols),
    }


def head_traits(scores: HeadScores) -> Traits:
    """The map of a score of all heads, layers upward."""
    frame = scores.to_frame()
    said = {
        (r.layer, r.head): f"{r.name}   {scores.detector} score {number(r.score)}   95 % interval "
        f"{number(r.lo)} to {number(r.hi)}   rank {r.rank} of {len(frame)}"
        for r in frame.set_index("name", drop=False).itertuples(index=False)
    }
    cells = np.ndindex(scores.scores.shape)
    notes = [said.get(cell, f"layer {cell[0]} has no head {cell[1]}") for cell in cells]
    rows, cols = ([str(i) for i in range(n)] for n in scores.scores.shape)
    look = {
        "title": f"{scores.detector} score",
        "signed": bool((scores.scores < 0).any()),
        "row_title": "layer",
        "col_title": "head",
    }
    return {**grid_traits(scores.scores, rows, cols, notes), **look}


def step_head_traits(rows: pd.DataFrame, step: int | None = None) -> Traits:
    """The map of heads and steps: the effect of ablating each head alone.

    Args:
        rows: one row per head and step: name, step, delta (nats per token).
        step: heads that change this step most come first, and it always has a column; None keeps
            the order of the rows.
    """
    grid = rows.pivot(index="name", columns="step", values="delta")
    grid = grid.reindex(index=rows["name"].drop_duplicates())
    grid = grid.reindex(columns=range(max(int(rows["step"].max()), step or 0) + 1))
    title = "Δ loss of each step, each head ablated alone"
    if step is not None:
        grid = grid.loc[grid[step].abs().sort_values(ascending=False, kind="stable").index]
        title += f"; most moved at step {step} first"
    notes = [
        f"{name}, step {i}: Δ NLL {number(value)} nats a token"
        for name, line in zip(grid.index, grid.to_numpy(), strict=True)
        for i, value in enumerate(line)
    ]
    names, steps = [str(name) for name in grid.index], [str(c) for c in grid.columns]
    look = {"title": title, "col_title": "step", "signed": True, "upward": False, "current": -1}
    return {**grid_traits(grid.to_numpy(), names, steps, notes), **look}


def text_traits(pieces: Sequence[Piece], steps: pd.DataFrame) -> Traits:
    """A trace in pieces (`coloured_text.pieces`), its steps in the margin."""
    return {
        "texts": [piece.text for piece in pieces],
        "steps": [piece.step for piece in pieces],
        "notes": [hover_text(piece.tokens).replace("\n", "   ") for piece in pieces],
        "sides": step_sides(steps),
        "values": [None] * len(pieces),
        "current": -1,
    }


def with_step_values(tokens: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """The tokens of a trace with what its steps have of `PER_STEP`, to colour them by."""
    names = [name for name in PER_STEP if name in steps]
    return tokens.merge(steps[["step", *names]], on="step", how="left")


def colour_traits(
    pieces: Sequence[Piece], tokens: pd.DataFrame, value: str, text: str = "", shown: str = ""
) -> Traits:
    """Colour a text by a column of its tokens, or of their step (`with_step_values`).

    Args:
        pieces: the text, as given to :func:`text_traits`.
        tokens: the tokens of the pieces, with the column ``value``.
        value: the column.
        text: label of the colour scale; by default the column's own label.
        shown: name of the value in the line under the text; empty for a column of the tokens.
    """
    rows = {int(r["pos"]): r for r in row_dicts(tokens[["pos", value]])}
    paint = colouring(pieces, value, rows)
    return {
        "signed": paint.signed,
        "bound": paint.bound,
        "ends": list(paint.ends),
        "label": text or label(value, token=True),
        "shown": shown,
        "values": plain(paint.values),
    }


def token_traits(name: str, texts: Sequence[str], split: int | None) -> Traits:
    """Tokens under a heading; ``split``: the first that differs, None: none."""
    differs = split is not None and split < len(texts)
    return {
        "name": name,
        "texts": [clean(text) for text in texts],
        "split": -1 if split is None else split,
        "marked": visible(texts[split]) if split is not None and differs else "",
    }


def step_sides(steps: pd.DataFrame) -> list[dict[str, Any]]:
    """The margin of each step: its number, label, value and control as bars."""
    rows = row_dicts(steps)
    longest = longest_bar(rows)
    return [_side(row, longest) for row in rows]


def _side(row: dict[str, Any], longest: float) -> dict[str, Any]:
    name = row.get("label") if known(row.get("label")) else ""
    values = [float(row[n]) if known(row.get(n)) else None for n in ("ais", "ais_control")]
    value, control = values
    exact = ["" if v is None else number(v) for v in values]
    said = f"step {int(row['step'])} {name}, AIS {exact[0] or 'unknown'}"
    return {
        "step": int(row["step"]),
        "name": name,
        "value": "" if value is None else margin_number(value),
        "control": "" if control is None else margin_number(control),
        "share": min(abs(value or 0.0) / longest, 1.0),
        "control_share": min(abs(control or 0.0) / longest, 1.0),
        "over": abs(value or 0.0) > longest,
        "control_over": abs(control or 0.0) > longest,
        "lower": (value or 0.0) < 0,
        "note": "base loss under the floor" if row.get("below_floor") is True else "",
        "aria": said + (f", random heads {exact[1]}" if exact[1] else ""),
    }


def scatter_traits(
    x: tuple[Any, str],
    y: tuple[Any, str],
    *,
    ids: Sequence[Any],
    groups: Sequence[Any] = (),
    chosen: Sequence[bool] = (),
    legend: str = "",
) -> Traits:
    """Points; ``x`` and ``y`` are values (NaN: not drawn) and the name of the axis."""
    names = sorted({str(group) for group in groups})
    place = {name: i for i, name in enumerate(names)}
    of = [str(group) for group in groups] or [""] * len(ids)
    xs, ys = plain(x[0]), plain(y[0])
    return {
        "x": xs,
        "y": ys,
        "x_title": x[1],
        "y_title": y[1],
        "groups": names,
        "group": [place.get(name, 0) for name in of],
        "chosen": [i for i, kept in enumerate(chosen) if kept],
        "notes": [
            f"{shorten(i, 40)}   {d}   {y[1]} {number(b)}   {x[1]} {number(a)}"
            for i, d, a, b in zip(ids, of, xs, ys, strict=True)
        ],
        "title": f"{y[1]} against {x[1]}, one point a sample",
        "legend": legend,
    }


def table_traits(frame: pd.DataFrame, bars: Sequence[str] = ()) -> Traits:
    """A frame as a table; columns in ``bars`` get a bar as long as their value.

    A score and its control (``ais`` and ``ais_control``) have one scale.
    """
    most = {name: _longest(frame, name) for name in bars if name in frame}
    names = [str(name) for name in frame.columns]
    return {
        "columns": names,
        "hints": [label(name) for name in names],
        "rows": [[_cell(cell) for cell in r.values()] for r in row_dicts(frame)],
        "bars": [float(most[n]) if known(most.get(n)) else 0.0 for n in names],
    }


def _longest(frame: pd.DataFrame, name: str) -> float:
    """The value of the longest bar of a column, over it and its control, or the score it is of."""
    score = name.removesuffix("_control")
    both = [column for column in (score, f"{score}_control") if column in frame]
    return float(frame[both].abs().max().max())


def _cell(value: Any) -> Any:
    if isinstance(value, (bool, int, float, np.generic)):
        return jsonable(value)
    return shorten(value, TABLE_TEXT) if known(value) else None
