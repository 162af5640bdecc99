"""State A beside state B: the shown trace read through other heads, or by another model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import pandas as pd
import traitlets as t

from airlens.detectors.retrieval import retrieval_scores
from airlens.heads import HeadSet, control_sets
from airlens.model.heads import heads_in, heads_of
from airlens.step_influence.influence import Influence, influence
from airlens.views.figures.labels import escape_html, shorten
from airlens.views.figures.strongest_step import said_of, strongest_step

from .jobs import Worker, guarded, settled
from .js import DataTable, TraceText
from .layout import columns, headline_html, row
from .model_heads import name_of, short_probes
from .step_heads import Key, keep_newest
from .trace_explorer import TraceExplorer

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

KEPT = 8
NAMES = {"ais_a": "AIS of A", "ais_b": "AIS of B", "ais_b_minus_a": "B \N{MINUS SIGN} A"}
UNPINNED = "Pin some heads, then change those of B: the pinned ones stay here."
THIS, OTHER = 0, 1


class Pinned:
    """Heads A, pinned, beside the heads of a trace explorer, which are B; the rest is shared.

    A has the trace, step, colour and scale of B. Its heads are of the same model, or of another one
    (its best, or those given); the tokens of two models may differ, so they are compared by step.

    Args:
        model: the bridge.
        view: the explorer that is B.
        controls: draws of random heads that A is compared with, too.
        written: how traces are written, as in the explorer: ``template`` and ``think``.
        beside: another model; None: A is always of the same one.
        heads: of the other model; None: found when they are first needed, the best share ``top``.
        top: share of all heads, or their count.
    """

    def __init__(
        self,
        model: TransformerBridge,
        view: TraceExplorer,
        controls: int,
        written: Mapping[str, Any],
        beside: TransformerBridge | None = None,
        heads: HeadSet | None = None,
        top: float = 0.05,
    ) -> None:
        self.view, self.controls, self.written, self.top = view, controls, written, top
        self.models = [model] if beside is None else [model, beside]
        self.best = heads  # of the other model
        self.known = ["", "" if heads is None else str(heads)]  # of each model, chosen last
        self.heads: HeadSet | None = None
        self._found: dict[Key, Influence] = {}
        self.worker = Worker(model)
        self.text, self.table = TraceText(), DataTable()
        self.text.empty = UNPINNED
        self.said, self.names, self.about = w.HTML(), w.HTML(), w.HTML()
        wide = {"width": "min(97%, 600px)"}
        self.set_text = w.Text(description="heads A", continuous_update=False, layout=wide)
        self.pin = w.Button(description="pin the heads of B")
        self.random = w.Button(description="random heads as A")
        names = [(f"{name_of(each)}{' (B)' * (i == 0)}", i) for i, each in enumerate(self.models)]
        self.whose = w.Dropdown(options=names, description="model A")
        self.whose.layout.display = "" if beside is not None else "none"
        self.whose.observe(self._on_whose, "value")
        self.pin.on_click(self._on_pin)
        self.random.on_click(self._on_random)
        self.set_text.observe(self._on_set, "value")
        view.text.observe(lambda _: self._ask(), "version")
        view.text.observe(lambda _: self._colour(), ["values", "bound"])
        t.dlink((view.text, "current"), (self.text, "current"))  # a click in A comes by `picked`
        t.dlink((self.text, "picked"), (view.text, "picked"))
        t.dlink((view.set_text, "value"), (self.names, "value"), _named)

    def layout(self) -> list[Any]:
        """The choice of A, both texts, and a table of their steps."""
        self.text.layout = self.view.text.layout
        # In a row of its own: in a column a text would be given no height.
        left = w.VBox([w.HTML("<b>A, pinned</b>"), self.said, self.about, w.HBox([self.text])])
        # The same text as in the explorer, shown a second time.
        right = w.VBox([self.names, self.view.said, w.HBox([self.view.text])])
        both = columns(left, right)
        left.layout.flex = right.layout.flex = "1 1 360px"
        first = row(self.whose, self.pin, self.random, self.worker)
        return [first, self.set_text, both, self.table]

    @property
    def model(self) -> TransformerBridge:
        """The model of A."""
        return self.models[self.whose.value]

    @property
    def of_other(self) -> bool:
        """Whether A is of the other model."""
        return bool(self.whose.value == OTHER)

    def put(self, heads: str, other: bool) -> None:
        """Pin these heads, of the same or of the other model; empty: the other model's best."""
        self.known[OTHER if other else THIS] = heads
        if self.of_other == other:
            self._on_whose(None)
        else:
            self.whose.value = OTHER if other else THIS

    # Callbacks of controls -------------------------------------------------------------------

    @guarded("worker")
    def _on_whose(self, _: Any) -> None:
        known = self.known[self.whose.value]
        if self.of_other and not known:
            self._find()
        elif self.set_text.value == known:
            self._on_set(None)
        else:
            self.set_text.value = known

    @guarded("worker")
    def _on_pin(self, _: Any) -> None:
        self.put(str(self.view.heads), other=False)

    @guarded("worker")
    def _on_random(self, _: Any) -> None:
        critical = self.best if self.of_other else self.view.heads
        if critical is not None:
            grid = heads_of(self.model)
            self.set_text.value = str(control_sets(grid, critical, "random", draws=1, seed=1)[0])

    @guarded("worker")
    def _on_set(self, _: Any) -> None:
        text = self.set_text.value
        heads = HeadSet.parse(text, "pinned") if text.strip() else None
        if heads is not None:
            heads_in(self.model, heads)
        self.heads, self.known[self.whose.value] = heads, text
        self._ask()

    def _find(self) -> None:
        """Score the heads of the other model, and pin the best."""
        model, top = self.model, self.top

        def work() -> HeadSet:
            return retrieval_scores(model, short_probes(model), progress=False).top(top)

        def done(found: HeadSet) -> None:
            self.best = found
            self.put(str(found), other=True)

        self.set_text.value = ""
        self.worker.model = model
        what = f"looking for the heads of {name_of(model)} that copy"
        self._clear(f"{what} …")
        self.worker.start(work, done, what=what, dropped=lambda: self._clear(UNPINNED))

    # Measuring and showing ---------------------------------------------------------------------

    @property
    def _key(self) -> Key:
        view = self.view
        return (*view.choice.key, view.mode.value, self.whose.value, str(self.heads))

    @property
    def result(self) -> Influence | None:
        """The influence of A on the shown trace, where it was measured."""
        return self._found.get(self._key)

    def _ask(self) -> None:
        """Show A on the trace of B, measured first where necessary."""
        if self.heads is None and self.of_other and not settled(self.worker):
            return  # they are looked for
        if self.heads is None or self.view.result is None:
            self.worker.drop()
            self._clear(UNPINNED if self.heads is None else "waiting for B …")
            return
        if self.result is not None:
            self._show()
            return
        key, trace, heads, model = self._key, self.view.trace, self.heads, self.model
        how: dict[str, Any] = {"mode": self.view.mode.value, "controls": self.controls}

        def work() -> Influence:
            return influence(model, trace, heads, progress=False, **how, **self.written)

        def done(found: Influence) -> None:
            keep_newest(self._found, key, found, KEPT)
            self._show()

        def dropped() -> None:
            self._clear(f"{shorten(trace.id, 30)} is not scored.")

        what = f"{shorten(trace.id, 30)} through the pinned heads"
        self._clear(f"scoring {what} …")
        self.worker.model = model
        self.worker.start(work, done, what=what, size=2 + self.controls, dropped=dropped)

    def _clear(self, words: str) -> None:
        self.text.clear(words)
        self.said.value = self.about.value = ""
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
        self.about.value = f'<div class="airlens-about">{escape_html(self._about())}</div>'
        self._colour()
        self.table.fill(
            self.frame().round(3).rename(columns=NAMES), (NAMES["ais_a"], NAMES["ais_b"])
        )

    def _about(self) -> str:
        """Which model reads A, and whether its tokens are those of B; nothing where it is one."""
        found, beside = self.result, self.view.result
        if not self.of_other or found is None or beside is None:
            return ""
        mine, theirs = (list(each.tokens["token"]) for each in (found, beside))
        if mine == theirs:
            return f"Read by {name_of(self.model)}, in the same tokens as B."
        return (
            f"Read by {name_of(self.model)} in {len(mine):,} tokens of its own, B in "
            f"{len(theirs):,}: compare steps, not tokens. A step's AIS is a mean over "
            "the tokens of its own model."
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
        rows = beside.steps[["step", "label", "ais"]].rename(columns={"ais": "ais_b"})
        mine = found.steps[["step", "ais"]].rename(columns={"ais": "ais_a"})
        rows = rows.merge(mine, on="step", how="left")[["step", "label", "ais_a", "ais_b"]]
        return rows.assign(ais_b_minus_a=rows["ais_b"] - rows["ais_a"])


def _named(names: str) -> str:
    return f"<b>B</b>, {escape_html(names)}"
