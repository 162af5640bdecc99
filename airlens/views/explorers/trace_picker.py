"""Controls that choose a trace and its splitting, and a box to paste another trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as w

from airlens.errors import ConfigError
from airlens.traces.trace import Trace
from airlens.views.figures.labels import shorten

from .layout import row

SPLITTERS = ["as given", "auto", "paragraph", "line", "sentence"]


class TracePicker:
    """Choose one of some traces, or paste one.

    Args:
        traces: to choose from; a pasted trace is added to the list.
        changed: called when another trace or another splitting is chosen.
    """

    def __init__(self, traces: list[Trace], changed: Callable[[Any], None]) -> None:
        self.traces = traces
        wide = {"width": "min(97%, 900px)"}
        self.picker = w.Dropdown(
            options=self._names(), description="trace", layout={"width": "min(97%, 600px)"}
        )
        self.splitter = w.Dropdown(options=SPLITTERS, description="steps")
        self.prompt = w.Textarea(description="prompt", rows=2, layout=wide)
        self.response = w.Textarea(description="response", rows=6, layout=wide)
        self.add = w.Button(description="score this trace")
        self.picker.observe(changed, "value")
        self.splitter.observe(changed, "value")

    def layout(self) -> list[Any]:
        """The choices, and the box to paste into."""
        paste = w.Accordion([w.VBox([self.prompt, self.response, self.add])], titles=["paste one"])
        paste.selected_index = None
        return [row(self.picker, self.splitter), paste]

    @property
    def trace(self) -> Trace:
        """The chosen trace, split as chosen."""
        trace: Trace = self.traces[self.picker.value]
        how = self.splitter.value
        return trace if how == "as given" else trace.with_steps(how)

    @property
    def key(self) -> tuple[Any, ...]:
        """Identifies the trace and its splitting."""
        return (self.picker.value, self.splitter.value)

    def add_pasted(self) -> None:
        """Add the pasted trace, and choose it.

        Raises:
            ConfigError: nothing was pasted.
        """
        if not self.response.value.strip():
            raise ConfigError("paste a response to score")
        ids = {t.id for t in self.traces}
        name = next(f"pasted {i}" for i in range(1, len(ids) + 2) if f"pasted {i}" not in ids)
        self.offer([Trace(name, self.prompt.value, self.response.value).with_steps("auto")])

    def offer(self, traces: Sequence[Trace], *, choose: bool = True) -> None:
        """Add traces to the list, and choose the first of them."""
        if not traces:
            return
        chosen, now = len(self.traces), self.picker.value
        self.traces += traces
        # New options choose the first of all for a moment, which is no choice of a person.
        with self.picker.hold_trait_notifications():
            self.picker.options = self._names()
            self.picker.value = now
        if choose:
            self.picker.value = chosen

    def _names(self) -> list[tuple[str, int]]:
        return [
            (f"{shorten(t.id, 30)}: {shorten(t.prompt or t.response, 60)}", i)
            for i, t in enumerate(self.traces)
        ]
