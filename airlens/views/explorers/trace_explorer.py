"""Explore a trace: coloured text, the heads that affect a step, and the sources of a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import pandas as pd
from markupsafe import Markup

from airlens.ablation import DEFAULT_MODE, MODES, Mode, as_head_set
from airlens.arguments import checked
from airlens.errors import ConfigError
from airlens.heads import Heads, HeadSet
from airlens.model.heads import heads_in
from airlens.step_influence.early_answers import early_answers
from airlens.step_influence.influence import Influence, influence
from airlens.step_influence.single_heads import single_heads
from airlens.step_sources import sources
from airlens.traces.chat_template import Template, Think, check_think
from airlens.traces.trace import Trace, as_traces
from airlens.views.figures.coloured_text import PER_STEP, trace_html
from airlens.views.figures.labels import shorten
from airlens.views.figures.single_trace import step_bars, token_strip
from airlens.views.figures.source_matrix import unit_names
from airlens.views.figures.step_maps import head_step_heatmap
from airlens.views.figures.strongest_step import said_of, strongest_step

from .early_traits import COLOURS_EARLY
from .early_views import MeasureEarly, TraceAnswers
from .jobs import Worker, guarded
from .js import Picks, TraceText
from .layout import headline_html, row, title
from .live_view import LiveView
from .source_views import MeasureSources, StepSources
from .static_parts import said, steps_shown, table
from .step_heads import Key, SingleHeads, StepHeads, keep_newest
from .trace_picker import TracePicker
from .traits import COLOURS_BY, with_step_values

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

KEPT = 8  # scored traces kept in memory
SHOWN = 5  # sources of a step, and steps that use it, in the static form


class TraceExplorer(LiveView):
    """A trace coloured by the influence of the heads; click a step for its heads and its sources.

    It opens at the strongest step above its control, and says so. The button "early answers" asks
    the trace for its answer after every step: a track above the text, and more colours.

    Args:
        model: the bridge.
        traces: to choose from; more can be pasted.
        heads: the critical heads, ablated together; each is ablated alone for the heads' map.
        mode: initial ablation mode.
        controls: draws of random heads to compare with.
        most: how many heads are measured for a step when all heads are chosen.
        template: how a prompt is put before its response.
        think: how a thought in a response is written, see :func:`airlens.influence`.
        measure_heads: what measures each head alone, called as
            ``measure_heads(model, trace, heads, mode=…, template=…)``; it returns the columns of
            :func:`airlens.step_influence.single_heads.single_heads`, which is the default.
        early: whether early answers are asked for from the start; the button asks for them later.
        measure_sources: what measures where steps fetch from, called like
            :func:`airlens.step_sources.sources`, which is the default.
        measure_early: what asks for early answers, called like :func:`airlens.early_answers`, which
            is the default.

    ``frame(what)`` and ``figure(what)`` return the data of each view and a static figure.
    """

    @checked
    def __init__(
        self,
        model: TransformerBridge,
        traces: Trace | Iterable[Trace],
        heads: Heads,
        *,
        mode: Mode = DEFAULT_MODE,
        controls: int = 1,
        most: int = 12,
        template: Template = "auto",
        think: Think = "auto",
        early: bool = False,
        measure_heads: SingleHeads = single_heads,
        measure_sources: MeasureSources = sources,
        measure_early: MeasureEarly = early_answers,
    ) -> None:
        self.traces = as_traces(traces)
        if not self.traces:
            raise ConfigError("TraceExplorer needs at least one trace")
        self.model, self.heads, self._controls = model, as_head_set(heads), controls
        heads_in(model, self.heads)
        check_think(think)
        # A function of a user's own needs to know only what was asked for.
        other = {} if think == "auto" else {"think": think}
        self._written: dict[str, Any] = {"template": template, **other}
        self._found: dict[Key, Influence] = {}
        self.head: str | None = None
        self.worker = Worker(model)
        self.text = TraceText(
            hint="Point at a token for its numbers and where it is copied from; click a step."
        )
        self.alone = StepHeads(model, self.worker, measure_heads, most, KEPT)
        self.map = self.alone.map
        self.sources = StepSources(model, self.text, controls, measure_sources, KEPT)
        self.answers = TraceAnswers(model, controls, early, self._on_answers, measure_early, KEPT)
        self.choice = TracePicker(self.traces, self._on_trace)
        self.trace_picker, self.splitter = self.choice.picker, self.choice.splitter
        self.prompt, self.response = self.choice.prompt, self.choice.response
        self.add = self.choice.add
        self.said = w.HTML()
        self._make_controls(mode)
        super().__init__(self._layout(), self.worker, self.sources.worker)
        self._score()

    def _make_controls(self, mode: Mode) -> None:
        wide = {"width": "min(97%, 900px)"}
        self.mode = w.Dropdown(options=list(MODES), value=mode, description="ablation")
        self.colour = w.Dropdown(options=COLOURS_BY, description="colour")
        self.set_text = w.Text(
            description="heads", value=str(self.heads), continuous_update=False, layout=wide
        )
        self.all_heads = w.Button(description="colour by all heads again")
        self.all_heads.layout = {"width": "200px", "display": "none"}
        self.mode.observe(self._on_trace, "value")
        self.set_text.observe(self._on_heads, "value")
        self.alone.of.observe(self._on_which, "value")
        self.colour.observe(self._on_colour, "value")
        self.add.on_click(self._on_add)
        self.all_heads.on_click(self._on_all)
        picks = Picks()
        self.text.on_pick(self._on_step, picks)
        self.map.on_pick(self._on_cell, picks)
        self.sources.arcs.on_pick(self._on_step, picks)
        self.sources.map.on_pick(self._on_pair, picks)
        self.answers.track.on_pick(self._on_cut, picks)
        self.text.observe(self._on_current, "current")
        self.text.observe(self._on_pair_of_text, "focus")

    def _layout(self) -> list[Any]:
        aid = "Orange: harder to predict without the heads; blue: easier."
        return [
            title("A trace", aid, self.worker),
            self.said,
            *self.choice.layout(),
            row(self.set_text),
            row(self.colour, self.mode, self.alone.of, self.answers.button, self.all_heads),
            row(self.answers.worker),
            self.answers.track,
            *self.sources.layout(),
            self.sources.map,
            self.map,
        ]

    def go_to(self, step: int, source: int | None = None) -> None:
        """Show a step of the trace that is shown, and what it copies from a source; -1: none.

        With the step -1, what is copied from the source. What the trace has not is left out.
        """
        units = set(self.text.steps)
        step = step if step in units else -1
        if source is not None and (source not in units or 0 <= step <= source):
            source = None
        self.map.column = step
        self.sources.choose(step, source)

    # Callbacks of controls -------------------------------------------------------------------

    @guarded("worker")
    def _on_trace(self, _: Any) -> None:
        self._score()

    @guarded("worker")
    def _on_heads(self, _: Any) -> None:
        heads = HeadSet.parse(self.set_text.value, "chosen")
        heads_in(self.model, heads)
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
        self.choice.add_pasted()

    @guarded("worker")
    def _on_step(self, step: int) -> None:
        if step < 0:  # a unit of the prompt
            self.sources.choose(-1, step)
            return
        self.map.column = step
        self.sources.choose(step)
        self.sources.ask_again()
        self._ask()

    @guarded("worker")
    def _on_cut(self, step: int) -> None:
        if step < 0:  # before the first step
            self.sources.choose(-1)
        else:
            self._on_step(step)

    def _on_current(self, change: Any) -> None:
        self.answers.track.current = change["new"]

    def _on_pair_of_text(self, change: Any) -> None:
        """A step that uses the one before was chosen above the text."""
        if change["new"] and change["new"][0] >= 0:
            self.map.column = change["new"][0]

    def _on_answers(self) -> None:
        if self.result is not None:
            self._add_answers()
            self._recolour()

    @guarded("worker")
    def _on_pair(self, index: int, _: int) -> None:
        if pair := self.sources.cell(index):
            self.map.column = pair[0]
            self.sources.choose(*pair)

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
        self.map.column = step
        self.sources.choose(step)
        self._recolour()

    # Measuring ---------------------------------------------------------------------------------

    @property
    def trace(self) -> Trace:
        """The chosen trace, split as chosen."""
        return self.choice.trace

    def _key(self, *more: Any) -> Key:
        return (*self.choice.key, self.mode.value, *more)

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
            options: dict[str, Any] = {"controls": self._controls, **self._written}
            return influence(self.model, trace, heads, mode=mode, progress=False, **options)

        def done(found: Influence) -> None:
            keep_newest(self._found, key, found, KEPT)
            self._show()

        def dropped() -> None:
            self.text.clear(f"{shorten(trace.id, 30)} is not scored.")

        what = f"scoring {shorten(trace.id, 30)}"
        self._clear(f"{what} …")
        self.worker.start(work, done, what=what, size=2 + self._controls, dropped=dropped)

    def _clear(self, words: str) -> None:
        """Take what is shown away: nothing of one trace may stand under the name of another."""
        self.text.clear(words)
        self.said.value = ""
        self.alone.clear()
        self.sources.clear()
        self.answers.clear()

    def _ask(self) -> None:
        self.alone.ask(self.trace, self.heads, self.mode.value, self._written, self._key())

    # Showing -----------------------------------------------------------------------------------

    def _show(self) -> None:
        found = self.result
        if found is None:
            return
        random = ", random heads in grey" if self._controls else ""
        self.text.legend = f"margin: AIS of the step{random}; ablation: {self.mode.value}"
        trace = self.trace
        prompt = self.sources.prompt_of(trace, self._written)
        self.text.fill(found.tokens, found.steps, trace.response, *prompt)
        self.alone.clear()
        key = (*self.choice.key, self.mode.value, str(self.heads))
        self.answers.ask(trace, self.heads, self.mode.value, self._written, key)
        self._add_answers()
        self._recolour()
        best = strongest_step(found.steps)
        finding = said_of(best, len(self.heads), "this trace") + "."
        self.said.value = headline_html(finding)
        self.sources.map.finding, self.sources.map.name = finding, trace.id
        self.sources.choose(best.step if best else -1)
        self.sources.ask(trace, self.heads, self._written, (*self.choice.key, str(self.heads)))

    def _add_answers(self) -> None:
        """The colours that there are, and the numbers of a step, with or without early answers."""
        if self.result is None:
            return
        self.text.numbers = self.answers.numbers(self.result.steps)
        options = COLOURS_BY + (COLOURS_EARLY if self.text.numbers else [])
        if list(self.colour.options) != options:
            value = self.colour.value
            with self.colour.hold_trait_notifications():
                self.colour.options = options
                self.colour.value = value if value in [v for _, v in options] else "delta"

    def _recolour(self) -> None:
        found = self.result
        if found is None:
            return
        self.all_heads.layout.display = "none" if self.head is None else ""
        if self.head is None:
            value = self.colour.value
            tokens = found.tokens
            if value in PER_STEP:
                tokens = with_step_values(tokens, self.answers.on_steps(found.steps))
            self.text.colour(tokens, value)
            return
        alone = self.alone.tokens()
        text = f"Δ NLL, {self.head} alone (nats)"
        self.text.colour(alone[alone["name"] == self.head], "delta", text, f"{self.head} alone:")

    # The data and the static form --------------------------------------------------------------

    def frame(self, what: str = "tokens") -> pd.DataFrame:
        """The data behind a view; empty where it was not measured yet.

        Args:
            what: "tokens", "steps", "samples", "controls"; "heads" (each head alone, by step),
                "head_tokens"; "sources" (pairs of a step and a source), "events" (copied tokens),
                "units" (of prompt and response); "early" (cuts with their early answers).

        Raises:
            ConfigError: another name.
        """
        if what in ("sources", "events", "units"):
            return self.sources.frame("pairs" if what == "sources" else what)
        if what == "early":
            return self.answers.frame()
        if what in ("heads", "head_tokens"):
            return self.alone.steps() if what == "heads" else self.alone.tokens()
        if what not in ("tokens", "steps", "samples", "controls"):
            names = "tokens, steps, samples, controls, heads, head_tokens, sources, events, units"
            raise ConfigError(f"frame({what!r}): use one of {names}, early")
        table: pd.DataFrame = getattr(self.result, what) if self.result else pd.DataFrame()
        return table

    def figure(self, what: str = "steps") -> Any:
        """A static figure of a view.

        Args:
            what: "steps", "tokens", "heads", "sources" (map of steps and sources), "arcs", "early"
                (early answers along the trace) or "gains" (what each step adds to the answer).

        Raises:
            ConfigError: another name.
        """
        views: dict[str, Callable[[], Any]] = {
            "steps": lambda: step_bars(self.frame("steps")),
            "tokens": lambda: token_strip(self.frame("tokens")),
            "heads": lambda: head_step_heatmap(self.frame("heads")),
            "sources": self.sources.figure,
            "arcs": self.sources.arcs_figure,
            "early": lambda: self.answers.figure("early"),
            "gains": lambda: self.answers.figure("gains"),
        }
        if what not in views:
            raise ConfigError(f"figure({what!r}): use {', '.join(views)}")
        return views[what]()

    def static_body(self) -> Markup:
        """What the view shows now, as HTML without scripts."""
        found = self.result
        if found is None:
            return said("No trace is scored yet", self.worker.what)
        step = self.text.current
        tokens, left_out = steps_shown(found.tokens, step)
        aside = f"trace {self.trace.id}; ablated, {self.mode.value}: {self.heads}. {left_out}"
        whole = None if left_out else self.trace.response
        text = trace_html(tokens, found.steps, response=whole, notes=False)
        shown = Markup(self.said.value) + said("", aside) + Markup(text)
        return shown + self._pairs_of("step", step) + self._pairs_of("source", step)

    def _pairs_of(self, end: str, step: int) -> Markup:
        """The strongest sources of a step, or the later steps that use it, as a table.

        ``end``: which end of the pairs the step is, "step" or "source". Empty where none is known.
        """
        pairs = self.sources.frame("pairs")
        other = "source" if end == "step" else "step"
        measure = self.sources.measure.value
        rows = pairs[pairs[end] == step] if len(pairs) else pairs
        if end == "source" and len(rows):
            rows = rows[rows[measure] > 0]
        if rows.empty:
            return Markup("")
        names = unit_names(self.sources.frame("units"), long=True)
        rows = rows.sort_values(measure, ascending=False).head(SHOWN)
        rows = rows.assign(**{other: rows[other].map(names)})
        columns = [n for n in (other, measure, f"{measure}_control") if n in rows]
        words = {"source": "The strongest sources of", "step": "The later steps that most use"}
        return said(f"{words[other]} step {step}") + table(rows[columns])

    def html(self) -> str:
        """The text as a static HTML fragment."""
        return trace_html(self.frame("tokens"), self.frame("steps"), response=self.trace.response)
