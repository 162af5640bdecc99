"""The sources of each step of the shown trace: in the text, as arcs, and as a map of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import numpy as np
import pandas as pd

from airlens.heads import HeadSet
from airlens.step_sources import Sources, sources
from airlens.step_sources.source_units import token_table, unit_table, units_of
from airlens.traces.encoding import encode_trace
from airlens.traces.trace import Trace
from airlens.views.figures.arcs import source_arcs
from airlens.views.figures.labels import shorten
from airlens.views.figures.source_matrix import step_sources

from .jobs import Worker, guarded
from .js import SourceArcs, SourceMatrix, TraceText
from .layout import row
from .source_traits import MOST_SOURCES, arc_units, matrix_traits, most, pair_traits
from .step_heads import Key, keep_newest

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MEASURED_BY = [
    ("copies", "copies"),
    ("attention a source token", "attention_per_token"),
    ("attention", "attention"),
    ("knockout", "knockout"),
    ("knockout, KL", "knockout_kl"),
]
SHOWN = [
    ("critical heads", "critical"),
    ("beside random heads", "both"),
    ("random heads", "control"),
]
AT_ONCE = ("copies", "attention")
KNOCKED = ("knockout", "knockout_kl")  # measured when asked for
LEAST = 0.2  # of the largest value of a trace: what a source needs to be shown, at first
MeasureSources = Callable[..., Sources]


class StepSources:
    """The sources of each step of a trace, in the text, as arcs and as a map.

    Args:
        model: the bridge.
        text: where the prompt, copied tokens and the sources of a step are shown.
        controls: draws of random heads to compare with.
        measure: measures the sources, see :func:`airlens.step_sources.sources`.
        kept: how many measurements stay in memory.
    """

    def __init__(
        self,
        model: TransformerBridge,
        text: TraceText,
        controls: int,
        measure: MeasureSources = sources,
        kept: int = 8,
    ) -> None:
        self.model, self.text, self.controls = model, text, controls
        self.measure_sources, self.kept = measure, kept
        self._found: dict[Key, Sources] = {}
        self._asked: tuple[Any, ...] = ()
        self.least = LEAST  # the threshold, as a share of the largest value of the trace
        self.worker = Worker(model)
        self.arcs = SourceArcs(show="both" if controls else "critical")
        self.map = SourceMatrix(row_title="step")
        w.dlink((self.text, "sides"), (self.map, "sides"))
        w.dlink((self.map, "hovered"), (self.text, "preview"))
        self._make_controls()

    def _make_controls(self) -> None:
        self.measure = w.Dropdown(options=MEASURED_BY, description="sources by")
        self.threshold = w.FloatSlider(
            description="at least", min=0, max=1, step=0.01, readout_format=".2g"
        )
        self.strongest = w.IntSlider(description="at most", value=5, min=1, max=12)
        self.strongest.tooltip = "at most so many sources of each step are shown, the strongest"
        self.show = w.Dropdown(options=SHOWN, value=self.arcs.show, description="show")
        self.show.layout.display = "" if self.controls else "none"
        self.knock = w.Button(description="measure knockout", layout={"display": "none"})
        self.knock.tooltip = "A part of a pass for each source: the heads may not see it."
        self.measure.observe(self._on_measure, "value")
        for trait in ("threshold", "strongest", "show"):
            getattr(self, trait).observe(self._on_filter, "value")
        self.text.observe(self._on_told, "told")
        self.text.observe(self._on_focus, "focus")
        self.knock.on_click(self._on_knock)
        for part in (self.measure, self.show):
            part.layout.width = "280px"

    def layout(self) -> list[Any]:
        """The row of controls, and the text with its arcs; the explorer places the map."""
        self.arcs.layout = {"width": "clamp(100px, 15%, 180px)", "flex": "0 0 auto"}
        self.text.layout = {"flex": "1 1 0", "min_width": "0"}
        beside = {"display": "flex", "align_items": "flex-start"}
        choices = (self.measure, self.threshold, self.strongest, self.show, self.knock)
        together = w.Box([self.arcs, self.text], layout=beside)
        together.add_class("airlens-beside")
        return [row(*choices, self.worker), together]

    # What is shown -------------------------------------------------------------------------------

    @property
    def result(self) -> Sources | None:
        """The sources measured for the shown trace and heads."""
        return self._found.get(self._asked[0]) if self._asked else None

    def prompt_of(
        self, trace: Trace, written: Mapping[str, Any]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The units of a trace, and its tokens, prompt first, without running the model."""
        units = units_of(encode_trace(self.model.tokenizer, trace, **written))
        return unit_table(units), token_table(units)

    def ask(self, trace: Trace, heads: HeadSet, written: Mapping[str, Any], key: Key) -> None:
        """Show the sources of a trace, measured first where necessary."""
        self._asked = (key, trace, heads, written)
        if self.result is not None:
            self._show()
        else:
            self._clear()
            self._start(AT_ONCE)

    def ask_again(self) -> None:
        """Restart a measurement that was cancelled."""
        job = self.worker.job
        if self.result is None and self._asked and (job is None or job.settled):
            self._start(AT_ONCE)

    def _start(self, measures: tuple[str, ...], *, kl: bool = False) -> None:
        key, trace, heads, written = self._asked
        options = {"measures": measures, "kl": kl, "controls": self.controls, **written}

        def work() -> Sources:
            return self.measure_sources(self.model, trace, heads, progress=False, **options)

        def done(found: Sources) -> None:
            keep_newest(self._found, key, found, self.kept)
            if self._asked and key == self._asked[0]:
                self._show()

        what = f"sources in {shorten(trace.id, 30)}, {measures[-1]}"
        self.worker.start(work, done, what=what, size=len(measures) + self.controls)

    def clear(self) -> None:
        """Show no sources, and measure none: another trace is to be shown."""
        self.worker.drop()
        self._asked = ()
        self._clear()

    def _clear(self) -> None:
        """Clear the sources before another trace is shown."""
        self.text.events = self.text.pairs = self.text.focus = []
        self.arcs.units = self.arcs.pairs = []
        self.map.rows, self.map.title, self.map.hint, self.map.window = [], "", "", []

    def _show(self) -> None:
        found = self.result
        if found is None:
            return
        self.text.add_events(found.tokens, found.events)
        top, least = most(found.pairs, self.measure.value) or 1.0, self.least
        self.threshold.value = 0
        self.threshold.max, self.threshold.step = top, top / 50
        self.threshold.value = least * top
        self.least = least  # not what it was in between
        traits = pair_traits(found.pairs, self.measure.value, MOST_SOURCES)
        self.text.draw(traits)
        self.arcs.draw({**traits, "units": arc_units(found.units), "current": -1}, new=True)
        matrix = matrix_traits(
            found.pairs, found.units, self.measure.value, most_sources=MOST_SOURCES
        )
        self.map.draw(matrix)
        self.choose(self.text.current)
        known = found.pairs.get(self.measure.value)
        unknown = self.measure.value in KNOCKED and (known is None or known.isna().all())
        self.knock.layout.display = "" if unknown else "none"
        if unknown:
            self.map.hint = "Not measured yet: press “measure knockout”."

    def choose(self, step: int, source: int | None = None) -> None:
        """Show the sources of a step; with a source, the tokens that are copied from there.

        With a source and the step -1: all that is copied from there.
        """
        units = self.arcs.units
        self.text.focus = [] if source is None else [step, source]
        self.text.current = self.arcs.current = self.map.row = step
        column = -1 if source is None or source not in units else units.index(source)
        self.map.column = column
        self.map.current = -1 if min(step, column) < 0 else step * len(units) + column

    def cell(self, index: int) -> tuple[int, int] | None:
        """Step and source of a cell of the map; None where the source does not precede the step."""
        step, column = divmod(index, len(self.arcs.units))
        source = int(self.arcs.units[column])
        return (step, source) if source < step else None

    # Callbacks of controls ---------------------------------------------------------------------

    @guarded("worker")
    def _on_knock(self, _: Any) -> None:
        self._start((*AT_ONCE, "knockout"), kl=True)

    @guarded("worker")
    def _on_measure(self, _: Any) -> None:
        self._show()

    def _on_filter(self, _: Any) -> None:
        self.least = self.threshold.value / self.threshold.max
        for view in (self.text, self.arcs):
            view.threshold, view.strongest = self.threshold.value, self.strongest.value
        self.arcs.show = self.text.show = self.map.show = self.show.value

    def _on_focus(self, change: Any) -> None:
        if change["new"]:
            self.choose(*change["new"])

    def _on_told(self, change: Any) -> None:
        self.map.told = change["new"]

    def frame(self, what: str) -> pd.DataFrame:
        """A table behind the views: "pairs", "events" or "units"; empty before it is measured."""
        table: pd.DataFrame = getattr(self.result, what) if self.result else pd.DataFrame()
        return table

    def figure(self) -> Any:
        """The map of steps and sources, as a Plotly figure."""
        return step_sources(self._pairs(), self.measure.value, self.frame("units"))

    def arcs_figure(self) -> Any:
        """The arcs along the trace, as a Plotly figure."""
        return source_arcs(self._pairs(), self.frame("units"), self.measure.value)

    def _pairs(self) -> pd.DataFrame:
        """The pairs, with the measure that is shown: without values until it is measured."""
        pairs, name = self.frame("pairs"), self.measure.value
        return pairs if name in pairs else pairs.assign(**{name: np.nan})
