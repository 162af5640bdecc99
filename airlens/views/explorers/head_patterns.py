"""A small picture of the attention of every head over one text, to be looked at all at once."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import numpy as np
import pandas as pd
from markupsafe import Markup

from airlens.detectors.attention_patterns import SmallPatterns, small_patterns
from airlens.heads import Head
from airlens.model.heads import heads_of
from airlens.views.figures.cell_picture import pattern_picture
from airlens.views.figures.labels import percent, shorten

from .jobs import Worker, guarded
from .js import GridMap
from .layout import row
from .static_parts import png_picture, said
from .step_heads import keep_newest

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MOST_TOKENS = 1024  # of a text that are read: a layer's pattern grows with their square
KEPT = 4
ASIDE = "Darker: more of the attention of the tokens in a row goes to those in a column."
Text = tuple[str, Sequence[int]]
"""The name of a text, and its tokens."""


class HeadPatterns:
    """The pattern of every head, heads downward, layers across; read when it is asked for.

    Args:
        model: the bridge.
        name: of the first text that can be chosen.
        read: gives that text as it is now.
        picked: called with a head that is picked, and whether it is to be added to the chosen ones.
    """

    def __init__(
        self,
        model: TransformerBridge,
        name: str,
        read: Callable[[], Text],
        picked: Callable[[Head, bool], None],
    ) -> None:
        self.model, self.picked = model, picked
        self._texts: dict[str, Callable[[], Text]] = {name: read}
        self._found: dict[tuple[Any, ...], SmallPatterns] = {}
        self._shown: tuple[Any, ...] = ()
        self._scores: Mapping[Head, str] = {}
        self._marked: Sequence[Head] = ()
        self._current: Head | None = None
        self.worker = Worker(model)
        count = len(heads_of(model))
        self.button = w.ToggleButton(
            value=False, description=f"all {count} patterns", layout={"width": "180px"}
        )
        self.button.tooltip = "where every head looks, small, all at once; one pass of the model"
        self.of = w.Dropdown(options=[name], description="over", layout={"display": "none"})
        self.map = GridMap(upward=False, row_title="head", col_title="layer")
        self.place = w.VBox()  # of the patterns; empty until they are asked for
        self.button.observe(self.follow, "value")
        self.of.observe(self.follow, "value")
        self.map.on_pick(self._on_pick)

    def layout(self) -> list[Any]:
        """The button, and the patterns under it."""
        return [row(self.button, self.of, self.worker), self.place]

    def offer(self, name: str, read: Callable[[], Text]) -> None:
        """Let another text be chosen, too."""
        self._texts[name] = read
        self.of.options = list(self._texts)
        self.of.layout.display = ""

    # What is asked for ---------------------------------------------------------------------------

    @guarded("worker")
    def follow(self, _: Any = None) -> None:
        """Show the patterns of the chosen text as it is now, where they are asked for."""
        self.place.children = [self.map] if self.button.value else []
        if not self.button.value:
            self.worker.drop()
            return
        name, tokens = self._texts[self.of.value]()
        read = tuple(tokens[:MOST_TOKENS])
        key = (name, len(tokens), read)
        if key in self._found:
            self.worker.drop()
            self._show(key)
            return
        what = f"the attention of every head over {shorten(name, 40)}"
        self._clear(f"Reading {what} …")

        def done(found: SmallPatterns) -> None:
            keep_newest(self._found, key, found, KEPT)
            self._show(key)

        def dropped() -> None:
            self._clear("Nothing was read.")

        self.worker.start(
            lambda: small_patterns(self.model, read), done, what=what, size=len(read) // 64,
            dropped=dropped,
        )  # fmt: skip

    def _clear(self, words: str) -> None:
        self._shown = ()
        self.map.draw({"rows": [], "cols": [], "picture": "", "title": "", "hint": words})

    def _show(self, key: tuple[Any, ...]) -> None:
        self._shown = key
        found = self._found[key]
        layers, heads = found.first.shape
        png, _, _ = pattern_picture(found.shares.transpose(1, 0, 2, 3))
        traits = {
            "rows": [str(i) for i in range(heads)],
            "cols": [str(i) for i in range(layers)],
            "picture": base64.b64encode(png).decode(),
            "title": self._title(),
            "hint": "Point at a head to see its pattern larger; click it to look at it.",
            "values": [],
            "notes": self._notes(),
        }
        self.map.draw(traits)
        self.mark(self._marked, self._current)

    def _title(self) -> str:
        name, count, read = self._shown
        cut = f", the first {len(read):,} of {count:,}" if len(read) < count else ""
        return (
            f"Attention of every head over {shorten(name, 60)}, {len(read):,} tokens{cut}. {ASIDE}"
        )

    def _notes(self) -> list[str]:
        """What is said of each head, heads in rows."""
        found = self._found[self._shown]
        layers, heads = found.first.shape
        return [
            self._note(found, Head(layer, head)) for head in range(heads) for layer in range(layers)
        ]

    def _note(self, found: SmallPatterns, head: Head) -> str:
        if np.isnan(found.first[head]):
            return f"layer {head.layer} has no head {head.head}"
        goes = (
            f"of its attention {percent(float(found.first[head]))} goes to the first token, "
            f"{percent(float(found.before[head]))} to the one before, "
            f"{percent(float(found.itself[head]))} to the token itself"
        )
        return "   ".join(text for text in (str(head), self._scores.get(head, ""), goes) if text)

    def describe(self, scores: Mapping[Head, str]) -> None:
        """Say of each head its score, too."""
        self._scores = scores
        if self._shown:
            self.map.notes = self._notes()

    def mark(self, chosen: Sequence[Head], current: Head | None) -> None:
        """Outline the chosen heads, and the one that is looked at."""
        self._marked, self._current = list(chosen), current
        layers = heads_of(self.model).n_layers
        self.map.marked = [h.head * layers + h.layer for h in self._marked]
        self.map.current = -1 if current is None else current.head * layers + current.layer

    def _on_pick(self, index: int, toggle: int) -> None:
        head, layer = divmod(index, heads_of(self.model).n_layers)
        self.picked(Head(layer, head), bool(toggle))

    # The data and the static form ----------------------------------------------------------------

    def frame(self) -> pd.DataFrame:
        """One row per head: name, layer, head, and the mean shares of its attention that go to the
        first token, to the one before and to the token itself (columns first, before, itself).

        Of the text that is shown; empty where none is.
        """
        names = ["name", "layer", "head", "first", "before", "itself"]
        if not self._shown:
            return pd.DataFrame(columns=names)
        found = self._found[self._shown]
        heads = heads_of(self.model).heads()
        parts = (found.first, found.before, found.itself)
        rows = [(str(h), *h, *(float(part[h]) for part in parts)) for h in heads]
        return pd.DataFrame(rows, columns=names)

    def static_body(self) -> Markup:
        """The patterns as a picture, where they are shown."""
        if not self._shown or not self.button.value:
            return Markup("")
        shares = self._found[self._shown].shares
        png, width, height = pattern_picture(shares.transpose(1, 0, 2, 3))
        words = f"{self._title()} Layers across, heads downward."
        return said("Patterns of all heads") + png_picture(png, words, width, height)
