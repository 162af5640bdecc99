"""Five small widgets of our own: map of cells, coloured text, tokens, scatter, table.

Their scripts are in ``static/``: self-contained, set every text as text, and ask no server for
anything. Each has a ``picked`` trait that changes when somebody picks something.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import traitlets as t

from airlens.figures.html import hover_text, margin_number, piece_value, pieces
from airlens.figures.steps import row_dicts
from airlens.figures.style import COLOURS, DOMAIN_CYCLE, limit
from airlens.figures.text import clean, is_signed, known, label, number, shorten, visible

STATIC = Path(__file__).parent / "static"
PALETTE = [COLOURS["base"], COLOURS["ablated"], COLOURS["control"]]
TABLE_TEXT = 200  # characters of a cell


def plain(values: Any) -> list[float | None]:
    """Floats for JSON, which has no NaN: None instead."""
    array = np.asarray(values, dtype=np.float64).ravel()
    return [float(v) if np.isfinite(v) else None for v in array]


def _synced(trait: Any) -> Any:
    """The trait, kept the same in Python and in the page."""
    return trait.tag(sync=True)


class _Own(anywidget.AnyWidget):  # type: ignore[misc]
    """A widget whose script reports what was picked, as a list that ends in a running number."""

    _css = STATIC / "airlens.css"
    picked = _synced(t.List([]))
    version = _synced(t.Int(0))
    colours = _synced(t.List(PALETTE))

    def on_pick(self, call: Callable[..., None]) -> None:
        """Call ``call(index, …)`` for everything that is picked."""

        def report(change: Any) -> None:
            if change["new"]:
                call(*change["new"][:-1])

        self.observe(report, "picked")


class GridMap(_Own):
    """Cells in rows and columns, coloured by a value; a click picks, Shift+click toggles.

    ``picked`` is ``[index, toggle, n]`` with index = row * number of columns + column.
    """

    _esm = STATIC / "grid.js"
    rows = _synced(t.List([]))
    cols = _synced(t.List([]))
    values = _synced(t.List([]))
    notes = _synced(t.List([]))
    marked = _synced(t.List([]))
    current = _synced(t.Int(-1))
    column = _synced(t.Int(-1))
    bound = _synced(t.Float(1.0))
    signed = _synced(t.Bool(False))
    upward = _synced(t.Bool(True))
    title = _synced(t.Unicode(""))
    hint = _synced(t.Unicode(""))
    row_title = _synced(t.Unicode(""))
    col_title = _synced(t.Unicode(""))

    def fill(
        self, values: Any, rows: Sequence[str], cols: Sequence[str], notes: Sequence[str]
    ) -> None:
        """Show ``values`` [rows, cols]; a note is what is said of a cell under the map."""
        grid = np.asarray(values, dtype=np.float64)
        with self.hold_sync():
            self.bound = limit(grid.ravel(), 0.995)
            self.values, self.notes = plain(grid), list(notes)
            self.rows, self.cols = list(rows), list(cols)


class TraceText(_Own):
    """A trace as coloured text with its steps in the margin; a click picks a step."""

    _esm = STATIC / "text.js"
    texts = _synced(t.List([]))
    steps = _synced(t.List([]))
    values = _synced(t.List([]))
    notes = _synced(t.List([]))
    sides = _synced(t.List([]))
    bound = _synced(t.Float(1.0))
    signed = _synced(t.Bool(True))
    ends = _synced(t.List(["", ""]))
    label = _synced(t.Unicode(""))
    shown = _synced(t.Unicode(""))
    legend = _synced(t.Unicode(""))
    empty = _synced(t.Unicode("no trace to show"))
    hint = _synced(t.Unicode("Point at a token for its numbers."))
    current = _synced(t.Int(-1))

    def fill(self, tokens: pd.DataFrame, sides: pd.DataFrame, response: str) -> None:
        """Show the tokens of one trace and its steps; :meth:`colour` then colours them."""
        self._pieces = pieces(row_dicts(tokens), response)
        with self.hold_sync():
            self.texts = [piece.text for piece in self._pieces]
            self.steps = [piece.step for piece in self._pieces]
            self.notes = [hover_text(piece.tokens).replace("\n", "   ") for piece in self._pieces]
            self.sides = step_sides(sides)
            self.values = [None] * len(self._pieces)
            self.current = -1
            self.version += 1

    def colour(self, tokens: pd.DataFrame, value: str, text: str = "", shown: str = "") -> None:
        """Colour the text by a column of the same tokens, or by the AIS of their step.

        Args:
            tokens: the tokens given to :meth:`fill`, with the column ``value``.
            value: the column.
            text: says what the colour means; by default the column's own label.
            shown: name of the value in the line under the text; none for a column of the tokens.
        """
        rows = {int(r["pos"]): r for r in row_dicts(tokens[["pos", value]])}
        found = [
            piece_value([rows.get(int(token["pos"]), {}) for token in piece.tokens], value)
            for piece in self._pieces
        ]
        bound = limit(np.asarray(found, dtype=np.float64))
        # Together, or values would be seen on the scale of other values.
        with self.hold_sync():
            self.signed, self.bound = is_signed(value), bound
            self.ends = [number(-bound) if self.signed else "0", number(bound)]
            self.label, self.shown = text or label(value, token=True), shown
            self.values = plain(found)


class TokenLine(_Own):
    """A short text token by token, what differs from token ``split`` on marked.

    Where ``pickable``, a click or the arrow keys pick a token: ``picked`` is ``[index, n]``.
    """

    _esm = STATIC / "tokens.js"
    name = _synced(t.Unicode(""))
    texts = _synced(t.List([]))
    split = _synced(t.Int(-1))
    marked = _synced(t.Unicode(""))
    current = _synced(t.Int(-1))
    pickable = _synced(t.Bool(False))
    empty = _synced(t.Unicode("nothing was written"))

    def fill(self, name: str, texts: Sequence[str], split: int | None) -> None:
        """Show these tokens under a heading; ``split``: the first that differs, None: none."""
        differs = split is not None and split < len(texts)
        with self.hold_sync():
            self.name, self.texts = name, [clean(text) for text in texts]
            self.split = -1 if split is None else split
            self.marked = visible(texts[split]) if split is not None and differs else ""
            self.version += 1


def step_sides(steps: pd.DataFrame, value: str = "ais") -> list[dict[str, Any]]:
    """What stands in the margin of each step: its number, label, value and control as bars."""
    rows = row_dicts(steps)
    names = (value, f"{value}_control")
    sizes = [abs(float(r[n])) for r in rows for n in names if known(r.get(n))]
    longest = max(sizes, default=0.0) or 1.0
    return [_side(r, names, longest) for r in rows]


def _side(row: dict[str, Any], names: tuple[str, str], longest: float) -> dict[str, Any]:
    name = row.get("label") if known(row.get("label")) else ""
    values = [float(row[n]) if known(row.get(n)) else None for n in names]
    value, control = values
    exact = ["" if v is None else number(v) for v in values]
    said = f"step {int(row['step'])} {name}, AIS {exact[0] or 'unknown'}"
    return {
        "step": int(row["step"]),
        "name": name,
        "value": "" if value is None else margin_number(value),
        "control": "" if control is None else margin_number(control),
        "share": abs(value or 0.0) / longest,
        "control_share": abs(control or 0.0) / longest,
        "lower": (value or 0.0) < 0,
        "note": "base loss under the floor" if row.get("below_floor") is True else "",
        "aria": said + (f", random heads {exact[1]}" if exact[1] else ""),
    }


class Scatter(_Own):
    """Points in colours of their group; a click picks one, a drawn loop (``lasso``) many."""

    _esm = STATIC / "scatter.js"
    x = _synced(t.List([]))
    y = _synced(t.List([]))
    group = _synced(t.List([]))
    groups = _synced(t.List([]))
    notes = _synced(t.List([]))
    chosen = _synced(t.List([]))
    lasso = _synced(t.List([]))
    current = _synced(t.Int(-1))
    palette = _synced(t.List(list(DOMAIN_CYCLE)))
    x_title = _synced(t.Unicode(""))
    y_title = _synced(t.Unicode(""))
    title = _synced(t.Unicode(""))
    legend = _synced(t.Unicode(""))

    def fill(
        self,
        x: tuple[Any, str],
        y: tuple[Any, str],
        *,
        ids: Sequence[Any],
        groups: Sequence[Any] = (),
        chosen: Sequence[bool] = (),
        legend: str = "",
    ) -> None:
        """Show points; ``x`` and ``y`` are values (NaN: not drawn) and the name of the axis."""
        names = sorted({str(group) for group in groups})
        place = {name: i for i, name in enumerate(names)}
        of = [str(group) for group in groups] or [""] * len(ids)
        xs, ys = plain(x[0]), plain(y[0])
        with self.hold_sync():
            self.x, self.y, self.x_title, self.y_title = xs, ys, x[1], y[1]
            self.groups, self.group = names, [place.get(name, 0) for name in of]
            self.chosen = [i for i, kept in enumerate(chosen) if kept]
            self.notes = [
                f"{shorten(i, 40)}   {d}   {y[1]} {number(b)}   {x[1]} {number(a)}"
                for i, d, a, b in zip(ids, of, xs, ys, strict=True)
            ]
            self.title = f"{y[1]} against {x[1]}, one point a sample"
            self.legend = legend
            self.version += 1


class DataTable(_Own):
    """A table that is sorted and filtered where it is shown; a click picks a row."""

    _esm = STATIC / "table.js"
    columns = _synced(t.List([]))
    hints = _synced(t.List([]))
    rows = _synced(t.List([]))
    bars = _synced(t.List([]))
    only = _synced(t.List([]))
    current = _synced(t.Int(-1))

    def fill(self, frame: pd.DataFrame, bars: Sequence[str] = ()) -> None:
        """Show a frame; columns in ``bars`` get a bar as long as their value."""
        most = {name: frame[name].abs().max() for name in bars if name in frame}
        with self.hold_sync():
            self.columns = [str(name) for name in frame.columns]
            self.hints = [label(name) for name in self.columns]
            self.rows = [[_cell(cell) for cell in r.values()] for r in row_dicts(frame)]
            self.bars = [float(most[n]) if known(most.get(n)) else 0.0 for n in self.columns]
            self.version += 1


def _cell(value: Any) -> Any:
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return shorten(value, TABLE_TEXT) if known(value) else None
