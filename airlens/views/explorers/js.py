"""Eight small widgets: maps, coloured text, arcs, track of answers, tokens, scatter, table.

Their scripts are in ``static/``: self-contained, they insert text only as text and load nothing
from a server. Each widget has a ``picked`` trait that changes with every click.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import anywidget
import pandas as pd
import traitlets as t

from airlens.views.figures.coloured_text import Piece, pieces
from airlens.views.figures.step_maps import row_dicts
from airlens.views.figures.style import DOMAIN_CYCLE

from .source_traits import event_traits, prompt_pieces, with_prompt
from .traits import (
    PALETTE,
    colour_traits,
    grid_traits,
    scatter_traits,
    table_traits,
    text_traits,
    token_traits,
)
from .view_scripts import script, stylesheet


def _synced(trait: Any) -> Any:
    """The trait, synchronised between Python and the page."""
    return trait.tag(sync=True)


class Picks:
    """What is picked in several widgets, in the order in which a person picked it.

    Each widget's messages wait for the answer to its own last one: while the kernel is busy, a
    click in one widget may arrive before an earlier click in another. The later click counts.
    """

    def __init__(self) -> None:
        self._newest: tuple[float, Callable[[], None]] = (0.0, lambda: None)

    def take(self, moment: float, call: Callable[[], None]) -> None:
        """Call ``call``, and where it came late the newest one again, which it undid."""
        call()
        if moment < self._newest[0]:
            self._newest[1]()
        else:
            self._newest = (moment, call)


class _Own(anywidget.AnyWidget):  # type: ignore[misc]
    """A widget that reports clicks: lists that end in the moment of the click, ms."""

    _css = stylesheet()
    picked = _synced(t.List([]))
    version = _synced(t.Int(0))
    colours = _synced(t.List(PALETTE))

    def on_pick(self, call: Callable[..., None], picks: Picks | None = None) -> None:
        """Call ``call(index, …)`` for every click; ``picks`` keeps clicks in order over widgets."""
        picks = picks or Picks()

        def report(change: Any) -> None:
            if change["new"]:
                *picked, moment = change["new"]
                picks.take(moment, partial(call, *picked))

        self.observe(report, "picked")

    def draw(self, traits: Mapping[str, Any], *, new: bool = False) -> None:
        """Set traits, from functions of `traits` or `source_traits`; ``new``: redraw everything."""
        with self.hold_sync():
            for name, value in traits.items():
                setattr(self, name, value)
            if new:
                self.version += 1


class GridMap(_Own):
    """Cells in rows and columns, coloured by a value; a click picks, Shift+click toggles.

    With ``picture``, a PNG in base64 that has a tile for each cell, the cells show their tiles, and
    the one that is pointed at stands beside them, larger. ``picked`` is ``[index, toggle, n]`` with
    index = row * number of columns + column.
    """

    _esm = script("grid")
    rows = _synced(t.List([]))
    cols = _synced(t.List([]))
    values = _synced(t.List([]))
    notes = _synced(t.List([]))
    marked = _synced(t.List([]))
    current = _synced(t.Int(-1))
    column = _synced(t.Int(-1))
    picture = _synced(t.Unicode(""))
    bound = _synced(t.Float(1.0))
    signed = _synced(t.Bool(False))
    upward = _synced(t.Bool(True))
    title = _synced(t.Unicode(""))
    hint = _synced(t.Unicode(""))
    row_title = _synced(t.Unicode(""))
    col_title = _synced(t.Unicode(""))
    told = _synced(t.Unicode(""))

    def fill(
        self, values: Any, rows: Sequence[str], cols: Sequence[str], notes: Sequence[str]
    ) -> None:
        """Show ``values`` [rows, cols]; the note of a cell is the text shown under the map."""
        self.draw(grid_traits(values, rows, cols, notes))


class SourceMatrix(_Own):
    """Steps x sources as a map to zoom and to pan; a click picks a cell.

    ``values`` and ``controls`` belong to the cells ``at`` = row * number of columns + column; the
    rest is empty. ``picked`` is ``[cell, 0, n]``.
    """

    _esm = script("matrix")
    rows = _synced(t.List([]))
    cols = _synced(t.List([]))
    at = _synced(t.List([]))
    values = _synced(t.List([]))
    controls = _synced(t.List([]))
    show = _synced(t.Unicode("critical"))
    said = _synced(t.Unicode(""))
    words = _synced(t.List([]))
    told = _synced(t.Unicode(""))
    current = _synced(t.Int(-1))
    row = _synced(t.Int(-1))
    column = _synced(t.Int(-1))
    sides = _synced(t.List([]))
    bound = _synced(t.Float(1.0))
    signed = _synced(t.Bool(False))
    title = _synced(t.Unicode(""))
    hint = _synced(t.Unicode(""))
    row_title = _synced(t.Unicode(""))
    col_title = _synced(t.Unicode(""))
    finding = _synced(t.Unicode(""))
    name = _synced(t.Unicode(""))
    link = _synced(t.Unicode(""))
    roomy = _synced(t.Bool(False))
    large = _synced(t.Bool(False))
    window = _synced(t.List([]))
    hovered = _synced(t.List([]))


class TraceText(_Own):
    """A trace as coloured text with its steps in the margin; a click picks a step.

    The prompt may stand above it. After :meth:`add_events` a token under the pointer shows where it
    is copied from; with ``pairs``, the ``current`` step shows its sources.
    """

    _esm = script("text")
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
    heads = _synced(t.List([]))
    events = _synced(t.List([]))
    focus = _synced(t.List([]))
    preview = _synced(t.List([]))
    told = _synced(t.Unicode(""))
    pairs = _synced(t.List([]))
    measure = _synced(t.Unicode(""))
    threshold = _synced(t.Float(0.0))
    strongest = _synced(t.Int(5))
    show = _synced(t.Unicode("critical"))
    numbers = _synced(t.List([]))

    def fill(
        self,
        tokens: pd.DataFrame,
        sides: pd.DataFrame,
        response: str,
        units: pd.DataFrame | None = None,
        all_tokens: pd.DataFrame | None = None,
    ) -> None:
        """Show the tokens of one trace and its steps; :meth:`colour` then colours them.

        Args:
            tokens: of :func:`airlens.influence`, the rows of this trace.
            sides: its steps.
            response: its text.
            units: of :func:`airlens.sources`; with ``all_tokens``, the prompt is shown above.
            all_tokens: ``tokens`` of :func:`airlens.sources`.
        """
        self._pieces = pieces(row_dicts(tokens), response)
        self._prompt: list[Piece] = []
        text = text_traits(self._pieces, sides)
        if units is not None and all_tokens is not None:
            self._prompt = prompt_pieces(units, all_tokens)
            text = with_prompt(text, self._prompt, units)
        empty: dict[str, Any] = {"events": [], "pairs": [], "focus": [], "numbers": []}
        self.draw({**text, **empty}, new=True)

    def clear(self, words: str) -> None:
        """Show no trace, and these words instead."""
        self._pieces, self._prompt = [], []
        none = text_traits([], pd.DataFrame())
        more = {"events": [], "pairs": [], "focus": [], "empty": words, "legend": "", "label": ""}
        self.draw({**none, **more}, new=True)

    def colour(
        self,
        tokens: pd.DataFrame,
        value: str,
        text: str = "",
        shown: str = "",
        like: TraceText | None = None,
    ) -> None:
        """Colour the text by a column of the tokens given to :meth:`fill`, see `colour_traits`.

        ``like``: another text, whose scale is taken.
        """
        traits = colour_traits(self._pieces, tokens, value, text, shown)
        if like is not None:
            traits |= {"bound": like.bound, "ends": like.ends}
        # Together, or values would briefly be shown on another scale.
        traits["values"] = [None] * len(self._prompt) + traits["values"]
        # A scale may change without the values.
        self.draw(traits, new=like is not None)

    def add_events(self, tokens: pd.DataFrame, events: pd.DataFrame) -> None:
        """Let each token show where it is copied from; tables of :func:`airlens.sources`."""
        self.draw(event_traits(self._prompt, self._pieces, tokens, events))


class SourceArcs(_Own):
    """A trace as a line of units, with arcs from steps to their sources; a click picks a step."""

    _esm = script("arcs")
    units = _synced(t.List([]))
    pairs = _synced(t.List([]))
    measure = _synced(t.Unicode(""))
    threshold = _synced(t.Float(0.0))
    strongest = _synced(t.Int(5))
    show = _synced(t.Unicode("both"))
    current = _synced(t.Int(-1))
    hint = _synced(t.Unicode("Point at a step for its sources."))
    empty = _synced(t.Unicode(""))


class AnswerTrack(_Own):
    """What the model would answer after each step, and how sure it is; a click picks a step."""

    _esm = script("track")
    cuts = _synced(t.List([]))
    answers = _synced(t.List([]))
    said = _synced(t.List([]))
    p_now = _synced(t.List([]))
    right = _synced(t.List([]))
    right_ref = _synced(t.List([]))
    writes = _synced(t.List([]))
    curves = _synced(t.List([[], [], []]))
    answer = _synced(t.Unicode(""))
    decided = _synced(t.Int(None, allow_none=True))
    beyond = _synced(t.Unicode(""))
    current = _synced(t.Int(-1))
    empty = _synced(t.Unicode(""))


class TokenLine(_Own):
    """A short text token by token; the token ``split`` and those of ``differs`` are marked.

    Where ``pickable``, a click or the arrow keys pick a token: ``picked`` is ``[index, n]``.
    """

    _esm = script("tokens")
    name = _synced(t.Unicode(""))
    texts = _synced(t.List([]))
    split = _synced(t.Int(-1))
    differs = _synced(t.List([]))
    marked = _synced(t.Unicode(""))
    current = _synced(t.Int(-1))
    pickable = _synced(t.Bool(False))
    empty = _synced(t.Unicode("nothing was written"))

    def fill(
        self, name: str, texts: Sequence[str], split: int | None, differs: Sequence[int] = ()
    ) -> None:
        """Show these tokens under a heading.

        Args:
            name: the heading.
            texts: the tokens.
            split: the first that differs from the other text; None: none does.
            differs: all that differ, the two texts aligned.
        """
        self.draw({**token_traits(name, texts, split), "differs": list(differs)}, new=True)


class Scatter(_Own):
    """Points in colours of their group; a click picks one, a drawn loop (``lasso``) many."""

    _esm = script("scatter")
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
        more: dict[str, Any] = {"groups": groups, "chosen": chosen, "legend": legend}
        self.draw(scatter_traits(x, y, ids=ids, **more), new=True)


class DataTable(_Own):
    """A table that is sorted and filtered where it is shown; a click picks a row."""

    _esm = script("table")
    columns = _synced(t.List([]))
    hints = _synced(t.List([]))
    rows = _synced(t.List([]))
    bars = _synced(t.List([]))
    only = _synced(t.List([]))
    current = _synced(t.Int(-1))

    def fill(self, frame: pd.DataFrame, bars: Sequence[str] = ()) -> None:
        """Show a frame; columns in ``bars`` get a bar as long as their value."""
        self.draw(table_traits(frame, bars), new=True)
