"""Look into a trace: coloured text, steps in the margin, and which heads carry a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import pandas as pd

from airlens.ablation import DEFAULT_MODE, MODES, Mode, as_head_set
from airlens.encode import Template
from airlens.errors import ConfigError
from airlens.figures.html import trace_html
from airlens.figures.steps import head_step_heatmap
from airlens.figures.text import shorten
from airlens.figures.trace import step_bars, token_strip
from airlens.heads import HeadSet
from airlens.step_influence import Influence, influence
from airlens.trace import Trace

from .base import row, title
from .jobs import Worker, guarded
from .js import TraceText
from .single_heads import single_heads
from .step_heads import Key, SingleHeads, StepHeads, keep

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

COLOURS_BY = [
    ("Δ NLL", "delta"),
    ("AIS of the step", "ais"),
    ("base NLL", "nll_base"),
    ("entropy", "entropy"),
    ("Δ NLL, random heads", "delta_control"),
]
SPLITTERS = ["as given", "auto", "paragraph", "line", "sentence"]
KEPT = 8  # scored traces kept in memory


class TraceExplorer(w.VBox):  # type: ignore[misc]
    """Read a trace coloured by what the heads carry; click a step, then a head.

    Args:
        model: the bridge.
        traces: what can be chosen; more can be pasted.
        heads: the critical heads, ablated together; each is ablated alone for the heads' map.
        mode: ablation mode at first.
        controls: draws of random heads beside.
        most: how many heads are measured for a step where all heads are asked for.
        template: how a prompt is put before its response.
        measure_heads: what measures each head alone, called as
            ``measure_heads(model, trace, heads, mode=…, template=…)``; it returns the columns of
            :func:`airlens.explorers.single_heads.single_heads`, which is the default.

    ``frame(what)`` and ``figure(what)`` give the data and the static form of each view.
    """

    def __init__(
        self,
        model: TransformerBridge,
        traces: Trace | Iterable[Trace],
        heads: HeadSet | Iterable[Any] | str,
        *,
        mode: Mode = DEFAULT_MODE,
        controls: int = 1,
        most: int = 12,
        template: Template = "auto",
        measure_heads: SingleHeads = single_heads,
    ) -> None:
        self.traces: list[Trace] = [traces] if isinstance(traces, Trace) else list(traces)
        if not self.traces:
            raise ConfigError("TraceExplorer needs at least one trace")
        self.model, self.heads, self._controls = model, as_head_set(heads), controls
        self.heads.check(int(model.cfg.n_layers), int(model.cfg.n_heads))
        self._template = template
        self._found: dict[Key, Influence] = {}
        self.head: str | None = None
        self.worker = Worker(model)
        self.alone = StepHeads(model, self.worker, measure_heads, most, KEPT)
        self.map = self.alone.map
        self._make_controls(mode)
        super().__init__(self._layout(), layout={"width": "100%"})
        self._score()

    def _make_controls(self, mode: Mode) -> None:
        wide = {"width": "min(97%, 900px)"}
        self.trace_picker = w.Dropdown(options=self._names(), description="trace", layout=wide)
        self.splitter = w.Dropdown(options=SPLITTERS, description="steps")
        self.mode = w.Dropdown(options=list(MODES), value=mode, description="ablation")
        self.colour = w.Dropdown(options=COLOURS_BY, description="colour")
        self.set_text = w.Text(
            description="heads", value=str(self.heads), continuous_update=False, layout=wide
        )
        self.prompt = w.Textarea(description="prompt", rows=2, layout=wide)
        self.response = w.Textarea(description="response", rows=6, layout=wide)
        self.add = w.Button(description="score this trace")
        self.all_heads = w.Button(description="colour by all heads again")
        self.all_heads.layout = {"width": "200px", "display": "none"}
        self.text = TraceText(
            hint="Point at a token for its numbers; click a step to see which heads carry it."
        )
        self.trace_picker.observe(self._on_trace, "value")
        self.splitter.observe(self._on_trace, "value")
        self.mode.observe(self._on_trace, "value")
        self.set_text.observe(self._on_heads, "value")
        self.alone.of.observe(self._on_which, "value")
        self.colour.observe(self._on_colour, "value")
        self.add.on_click(self._on_add)
        self.all_heads.on_click(self._on_all)
        self.text.on_pick(self._on_step)
        self.map.on_pick(self._on_cell)

    def _layout(self) -> list[Any]:
        paste = w.Accordion([w.VBox([self.prompt, self.response, self.add])], titles=["paste one"])
        paste.selected_index = None
        aid = "Orange: harder to predict without the heads; blue: easier."
        return [
            title("A trace", aid, self.worker),
            row(self.trace_picker, self.splitter),
            paste,
            row(self.set_text),
            row(self.colour, self.mode, self.alone.of, self.all_heads),
            self.text,
            self.map,
        ]

    def _names(self) -> list[tuple[str, int]]:
        return [
            (f"{shorten(t.id, 30)}: {shorten(t.prompt or t.response, 60)}", i)
            for i, t in enumerate(self.traces)
        ]

    # What was asked for ------------------------------------------------------------------------

    @guarded("worker")
    def _on_trace(self, _: Any) -> None:
        self._score()

    @guarded("worker")
    def _on_heads(self, _: Any) -> None:
        heads = HeadSet.parse(self.set_text.value, "chosen")
        heads.check(int(self.model.cfg.n_layers), int(self.model.cfg.n_heads))
        self.heads = heads
        self._score()

    @guarded("worker")
    def _on_colour(self, _: Any) -> None:
        self.head = None
        self._recolour()

    @guarded("worker")
    def _on_all(self, _: Any) -> None:
        self.head = None
        self._recolour()

    @guarded("worker")
    def _on_add(self, _: Any) -> None:
        if not self.response.value.strip():
            raise ConfigError("paste a response to score")
        ids = {t.id for t in self.traces}
        name = next(f"pasted {i}" for i in range(1, len(ids) + 2) if f"pasted {i}" not in ids)
        trace = Trace(name, self.prompt.value, self.response.value).with_steps("auto")
        self.traces.append(trace)
        chosen = len(self.traces) - 1
        self.trace_picker.options = self._names()
        self.trace_picker.value = chosen

    @guarded("worker")
    def _on_step(self, step: int) -> None:
        self.text.current = self.map.column = step
        self._ask()

    @guarded("worker")
    def _on_which(self, _: Any) -> None:
        self.head = None
        self._recolour()
        if self.map.column >= 0:
            self._ask()

    @guarded("worker")
    def _on_cell(self, index: int, _: int) -> None:
        name, step = self.map.rows[index // len(self.map.cols)], index % len(self.map.cols)
        self.map.current, self.head = index, str(name)
        self.text.current = self.map.column = step
        self._recolour()

    # Measuring ---------------------------------------------------------------------------------

    @property
    def trace(self) -> Trace:
        """The trace chosen, split as chosen."""
        trace: Trace = self.traces[self.trace_picker.value]
        how = self.splitter.value
        return trace if how == "as given" else trace.with_steps(how)

    def _key(self, *more: Any) -> Key:
        return (self.trace_picker.value, self.splitter.value, self.mode.value, *more)

    @property
    def result(self) -> Influence | None:
        """The influence of the chosen heads on the chosen trace, where it was measured."""
        return self._found.get(self._key(str(self.heads)))

    def _score(self) -> None:
        self.head = None
        if self.result is not None:
            self._show()
            return
        trace, heads, mode = self.trace, self.heads, self.mode.value
        key = self._key(str(heads))

        def work() -> Influence:
            options: dict[str, Any] = {"controls": self._controls, "template": self._template}
            return influence(self.model, trace, heads, mode=mode, progress=False, **options)

        def done(found: Influence) -> None:
            keep(self._found, key, found, KEPT)
            self._show()

        what = f"scoring {shorten(trace.id, 30)}"
        self.worker.start(work, done, what=what, size=2 + self._controls)

    def _ask(self) -> None:
        self.alone.ask(self.trace, self.heads, self.mode.value, self._template, self._key())

    # Showing -----------------------------------------------------------------------------------

    def _show(self) -> None:
        found = self.result
        if found is None:
            return
        random = ", random heads in grey" if self._controls else ""
        self.text.legend = f"margin: AIS of the step{random}; ablation: {self.mode.value}"
        self.text.fill(found.tokens, found.steps, self.trace.response)
        self.alone.clear()
        self._recolour()

    def _recolour(self) -> None:
        found = self.result
        if found is None:
            return
        self.all_heads.layout.display = "none" if self.head is None else ""
        if self.head is None:
            value = self.colour.value
            tokens = found.tokens
            if value == "ais":
                tokens = tokens.merge(found.steps[["step", "ais"]], on="step", how="left")
            self.text.colour(tokens, value)
            return
        alone = self.alone.tokens()
        text = f"Δ NLL, {self.head} alone (nats)"
        self.text.colour(alone[alone["name"] == self.head], "delta", text, f"{self.head} alone:")

    # The data and the static form --------------------------------------------------------------

    def frame(self, what: str = "tokens") -> pd.DataFrame:
        """The data behind a view: "tokens", "steps", "samples", "controls", "heads" (each head
        alone, by step) or "head_tokens"; empty where it was not measured yet.

        Raises:
            ConfigError: another name.
        """
        if what in ("heads", "head_tokens"):
            return self.alone.steps() if what == "heads" else self.alone.tokens()
        if what not in ("tokens", "steps", "samples", "controls"):
            raise ConfigError(f"frame({what!r}): use tokens, steps, samples, controls, heads")
        table: pd.DataFrame = getattr(self.result, what) if self.result else pd.DataFrame()
        return table

    def figure(self, what: str = "steps") -> Any:
        """The static form of a view: "steps", "tokens" or "heads", as a Plotly figure."""
        views: dict[str, Callable[[pd.DataFrame], Any]] = {
            "steps": step_bars, "tokens": token_strip, "heads": head_step_heatmap,
        }  # fmt: skip
        if what not in views:
            raise ConfigError(f"figure({what!r}): use {', '.join(views)}")
        return views[what](self.frame(what))

    def html(self) -> str:
        """The static form of the text, as an HTML fragment."""
        return trace_html(self.frame("tokens"), self.frame("steps"), response=self.trace.response)
