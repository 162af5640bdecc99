"""State A beside state B: the shown trace read through other heads, or through random ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import pandas as pd
import traitlets as t

from airlens.heads import HeadSet, control_sets
from airlens.model.heads import heads_in, heads_of
from airlens.step_influence.influence import Influence, influence
from airlens.views.figures.labels import escape_html, shorten
from airlens.views.figures.strongest_step import said_of, strongest_step

from .jobs import Worker, guarded
from .js import DataTable, TraceText
from .layout import columns, headline_html, row
from .step_heads import Key, keep_newest
from .trace_explorer import TraceExplorer

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

KEPT = 8
NAMES = {"ais_a": "AIS of A", "ais_b": "AIS of B", "ais_b_minus_a": "B \N{MINUS SIGN} A"}
UNPINNED = "Pin some heads, then change those of B: the pinned ones stay here."


class Pinned:
    """Heads A, pinned, beside the heads of a trace explorer, which are B; the rest is shared.

    A has the trace, step, colour and scale of B, so that only the heads differ.

    Args:
        model: the bridge.
        view: the explorer that is B.
        controls: draws of random heads that A is compared with, too.
        written: how traces are written, as in the explorer: ``template`` and ``think``.
    """

    def __init__(
        self,
        model: TransformerBridge,
        view: TraceExplorer,
        controls: int,
        written: Mapping[str, Any],
    ) -> None:
        self.model, self.view, self.controls, self.written = model, view, controls, written
        self.heads: HeadSet | None = None
        self._found: dict[Key, Influence] = {}
        self.worker = Worker(model)
        self.text, self.table = TraceText(), DataTable()
        self.text.empty = UNPINNED
        self.said, self.names = w.HTML(), w.HTML()
        wide = {"width": "min(97%, 600px)"}
        self.set_text = w.Text(description="heads A", continuous_update=False, layout=wide)
        self.pin = w.Button(description="pin the heads of B")
        self.random = w.Button(description="random heads as A")
        self.pin.on_click(self._on_pin)
        self.random.on_click(self._on_random)
        self.set_text.observe(self._on_set, "value")
        view.text.observe(lambda _: self._ask(), "version")
        view.text.observe(lambda _: self._colour(), ["values", "bound"])
        t.link((view.text, "current"), (self.text, "current"))
        t.dlink((self.text, "picked"), (view.text, "picked"))
        t.dlink((view.set_text, "value"), (self.names, "value"), _named)

    def layout(self) -> list[Any]:
        """The choice of A, both texts, and a table of their steps."""
        self.text.layout = self.view.text.layout
        # In a row of its own: in a column a text would be given no height.
        left = w.VBox([w.HTML("<b>A, pinned</b>"), self.said, w.HBox([self.text])])
        # The same text as in the explorer, shown a second time.
        right = w.VBox([self.names, self.view.said, w.HBox([self.view.text])])
        both = columns(left, right)
        left.layout.flex = right.layout.flex = "1 1 360px"
        return [row(self.pin, self.random, self.worker), self.set_text, both, self.table]

    # Callbacks of controls -------------------------------------------------------------------

    @guarded("worker")
    def _on_pin(self, _: Any) -> None:
        self.set_text.value = str(self.view.heads)

    @guarded("worker")
    def _on_random(self, _: Any) -> None:
        grid = heads_of(self.model)
        self.set_text.value = str(control_sets(grid, self.view.heads, "random", draws=1, seed=1)[0])

    @guarded("worker")
    def _on_set(self, _: Any) -> None:
        text = self.set_text.value
        heads = HeadSet.parse(text, "pinned") if text.strip() else None
        if heads is not None:
            heads_in(self.model, heads)
        self.heads = heads
        self._ask()

    # Measuring and showing ---------------------------------------------------------------------

    @property
    def _key(self) -> Key:
        view = self.view
        return (*view.choice.key, view.mode.value, str(self.heads))

    @property
    def result(self) -> Influence | None:
        """The influence of A on the shown trace, where it was measured."""
        return self._found.get(self._key)

    def _ask(self) -> None:
        """Show A on the trace of B, measured first where necessary."""
        if self.heads is None or self.view.result is None:
            self.worker.drop()
            self._clear(UNPINNED if self.heads is None else "waiting for B …")
            return
        if self.result is not None:
            self._show()
            return
        key, trace, heads = self._key, self.view.trace, self.heads
        how: dict[str, Any] = {"mode": self.view.mode.value, "controls": self.controls}

        def work() -> Influence:
            return influence(self.model, trace, heads, progress=False, **how, **self.written)

        def done(found: Influence) -> None:
            keep_newest(self._found, key, found, KEPT)
            self._show()

        what = f"{shorten(trace.id, 30)} through the pinned heads"
        self._clear(f"scoring {what} …")
        self.worker.start(work, done, what=what, size=2 + self.controls)

    def _clear(self, words: str) -> None:
        self.text.clear(words)
        self.said.value = ""
        self.table.fill(pd.DataFrame())

    def _show(self) -> None:
        found, beside = self.result, self.view.result
        if found is None or beside is None or self.heads is None:
            return
        self.text.fill(found.tokens, found.steps, self.view.trace.response)
        self.text.legend = f"margin: AIS of the step without {len(self.heads)} pinned heads"
        self.text.current = self.view.text.current
        best = strongest_step(found.steps)
        self.said.value = headline_html(said_of(best, len(self.heads), "this trace") + ".")
        self._colour()
        self.table.fill(
            self.frame().round(3).rename(columns=NAMES), (NAMES["ais_a"], NAMES["ais_b"])
        )

    def _colour(self) -> None:
        """Colour A by what colours B, on the same scale."""
        found = self.result
        if found is None or not self.text.texts:
            return
        view, tokens = self.view, found.tokens
        value = view.colour.value if view.head is None else "delta"
        if value == "ais":
            tokens = tokens.merge(found.steps[["step", "ais"]], on="step", how="left")
        elif value not in tokens:
            value = "delta"  # what early answers say has nothing to do with heads
        same = value == view.colour.value and view.head is None
        self.text.colour(tokens, value, like=view.text if same else None)

    def frame(self) -> pd.DataFrame:
        """One row per step: AIS through A (``ais_a``) and B (``ais_b``), and what differs."""
        found, beside = self.result, self.view.result
        if found is None or beside is None:
            return pd.DataFrame()
        rows = pd.DataFrame({"step": beside.steps["step"], "label": beside.steps["label"]})
        rows["ais_a"] = found.steps["ais"].to_numpy()
        rows["ais_b"] = beside.steps["ais"].to_numpy()
        rows["ais_b_minus_a"] = rows["ais_b"] - rows["ais_a"]
        return rows


def _named(names: str) -> str:
    return f"<b>B</b>, {escape_html(names)}"
