"""Early answers of the shown trace: the track above its text, asked for with a button."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import pandas as pd

from airlens.heads import HeadSet
from airlens.step_influence.early_answers import EarlyAnswers, early_answers
from airlens.traces.trace import Trace
from airlens.views.figures.early_answer_figures import early_answer_curve, step_gain_bars
from airlens.views.figures.labels import shorten

from .early_traits import EMPTY_TRACK, number_traits, track_traits
from .jobs import Worker, guarded
from .js import AnswerTrack
from .step_heads import Key, keep_newest

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MeasureEarly = Callable[..., EarlyAnswers]


class TraceAnswers:
    """What the model would answer after each step of a trace: track, numbers, and their tables.

    Args:
        model: the bridge.
        controls: draws of random heads to compare with.
        wanted: whether they are asked for before the button is pressed.
        changed: called when the early answers of the shown trace are known, or no longer.
        measure: measures them, see :func:`airlens.early_answers`.
        kept: how many measurements stay in memory.
    """

    def __init__(
        self,
        model: TransformerBridge,
        controls: int,
        wanted: bool,
        changed: Callable[[], None],
        measure: MeasureEarly = early_answers,
        kept: int = 8,
    ) -> None:
        self.model, self.controls, self.kept = model, controls, kept
        self.measure, self.changed = measure, changed
        self._found: dict[Key, EarlyAnswers] = {}
        self._asked: tuple[Any, ...] = ()
        self.worker = Worker(model)
        self.track = AnswerTrack()
        self.button = w.ToggleButton(value=wanted, description="early answers")
        self.button.tooltip = "Cut the trace after each step and ask for its answer."
        self.button.observe(self._on_button, "value")

    @property
    def result(self) -> EarlyAnswers | None:
        """The early answers of the shown trace, where they are known and wanted."""
        return self._found.get(self._asked[0]) if self._asked and self.button.value else None

    def ask(
        self, trace: Trace, heads: HeadSet, mode: str, written: Mapping[str, Any], key: Key
    ) -> None:
        """Show the early answers of a trace if they are wanted, measured first where necessary."""
        self._asked = (key, trace, heads, mode, written)
        self._show()
        if self.button.value and self.result is None:
            self._start()

    def clear(self) -> None:
        """Show no early answers, and ask for none: another trace is to be shown."""
        self.worker.drop()
        self._asked = ()
        self._show()

    def _start(self) -> None:
        key, trace, heads, mode, written = self._asked
        options = {"mode": mode, "controls": self.controls, **written}

        def work() -> EarlyAnswers:
            return self.measure(self.model, trace, heads, progress=False, **options)

        def done(found: EarlyAnswers) -> None:
            keep_newest(self._found, key, found, self.kept)
            if self._asked and key == self._asked[0]:
                self._show()
                self.changed()

        what = f"early answers of {shorten(trace.id, 30)}"
        self.worker.start(work, done, what=what, size=2 + self.controls)

    def _show(self) -> None:
        found = self.result
        traits = EMPTY_TRACK if found is None else track_traits(found.steps, found.samples)
        current = self.track.current if traits["cuts"] else -1
        self.track.draw({**traits, "current": current}, new=True)

    @guarded("worker")
    def _on_button(self, _: Any) -> None:
        if not self.button.value:
            self.worker.stop()
        if self._asked:
            key, trace, heads, mode, written = self._asked
            self.ask(trace, heads, mode, written, key)
        self.changed()

    def on_steps(self, steps: pd.DataFrame) -> pd.DataFrame:
        """The steps of the shown trace with what early answers say of them, where that is known."""
        return steps if self.result is None else self.result.on_steps(steps)

    def numbers(self, steps: pd.DataFrame) -> list[dict[str, Any]]:
        """What stands side by side of each step; nothing where early answers are not known."""
        known = self.result is not None and len(self.result.steps) > 0
        return number_traits(self.on_steps(steps)) if known else []

    def frame(self) -> pd.DataFrame:
        """`EarlyAnswers.steps`; empty before they are known."""
        return pd.DataFrame() if self.result is None else self.result.steps

    def figure(self, what: str) -> Any:
        """The curve along the trace ("early"), or what each step adds ("gains"), for Plotly."""
        if what == "gains":
            return step_gain_bars(self.frame())
        controls = None if self.result is None else self.result.controls
        return early_answer_curve(self.frame(), controls=controls)
