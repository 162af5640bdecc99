"""One place to work in: ask, read, look at heads, compare; all views share one state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import traitlets as t
from markupsafe import Markup

from airlens.ablation import DEFAULT_MODE, Mode, as_head_set
from airlens.arguments import checked
from airlens.detectors.probes import ProbeSet
from airlens.detectors.retrieval import retrieval_scores
from airlens.errors import AirlensError, ConfigError
from airlens.files import data_path
from airlens.heads import Heads, HeadScores, HeadSet
from airlens.model.heads import heads_in
from airlens.model.load import load_model
from airlens.step_influence.influence import Influence, influence
from airlens.traces.chat_template import Template, Think
from airlens.traces.encoding import encode_trace
from airlens.traces.load import first_of_each_domain, load_traces
from airlens.traces.trace import Trace, as_traces

from .ablation_lab import PROMPT, AblationLab
from .head_explorer import HeadExplorer
from .jobs import Worker
from .layout import title
from .live_view import LiveView
from .model_heads import kept_scores, name_of, short_probes
from .pinned import Pinned
from .question import Question
from .selection_explorer import SelectionExplorer
from .shared_state import SharedState
from .static_parts import said, unread
from .trace_explorer import TraceExplorer
from .trace_page import trace_page

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TABS = ("Trace", "A and B", "Heads", "Without", "Select")  # as short as a telephone needs them
TRACE, PINNED, HEADS, LAB, SELECTION = range(len(TABS))
MOST_SELECTED = 12  # traces that the selection scores


class Workspace(LiveView):
    """Ask a question or take a trace, and see it in all views, which share one state.

    The head set, the ablation, the trace, the step, the colour and the threshold of sources are
    the same in all of them. A view is made when its tab is opened first. The page is there at once:
    a model that is given by name is loaded, and the retrieval heads are looked for, while it is
    read.

    Args:
        model: the bridge, or what :func:`airlens.load_model` takes as a name: then ``model`` is the
            bridge as soon as it is loaded, for which the next cell of a notebook waits.
        traces: to choose from; default: one of each domain of the bundled ones.
        heads: the critical heads; default: the best by ``scores``.
        scores: of all heads; default: retrieval scores, measured on short probes.
        probes: shown with each head's attention; default: short key-value probes.
        top: share of all heads (or their count) that is taken where ``heads`` is not given.
        mode: initial ablation mode.
        controls: draws of random heads to compare with.
        new_tokens: length of an answer, at first.
        template: how a prompt is put before its response.
        think: how a thought in a response is written, see :func:`airlens.influence`.
        beside: another model, which can be A beside this one, B; a bridge or a name.
        beside_heads: of the other model; default: its best by retrieval scores, found when needed.
        state: what to open at: a link to a workspace, or what :meth:`address` or :meth:`state` gave
            in one of the same data.
    """

    @checked
    def __init__(
        self,
        model: TransformerBridge | str | Path,
        traces: Trace | Iterable[Trace] = (),
        heads: Heads | None = None,
        *,
        scores: HeadScores | None = None,
        probes: ProbeSet | None = None,
        top: float = 0.05,
        mode: Mode = DEFAULT_MODE,
        controls: int = 1,
        new_tokens: int = 128,
        template: Template = "auto",
        think: Think = "auto",
        beside: TransformerBridge | str | Path | None = None,
        beside_heads: Heads | None = None,
        state: Mapping[str, Any] | str | None = None,
    ) -> None:
        self.controls, self.top, self.mode = controls, top, mode
        self._model: TransformerBridge | None = None
        self.own = isinstance(model, str | Path)  # nobody else has done anything to it
        self.called = str(model) if isinstance(model, str | Path) else name_of(model)
        self.traces = as_traces(traces) or bundled()
        self.scores, self.probes = scores, probes
        self.written: dict[str, Any] = {"template": template, "think": think}
        self.added: list[Trace] = []  # asked, pasted or loaded here
        self.given = None if heads is None else as_head_set(heads)
        if beside_heads is not None and beside is None:
            raise ConfigError("heads of another model need that model: beside=")
        self.beside: TransformerBridge | None = None
        self.beside_heads = None if beside_heads is None else as_head_set(beside_heads)
        self.finder, self.scorer = Worker(), Worker()
        self.question = Question(new_tokens, template, self._add)
        self.shared = SharedState(self)
        self.kept = self.shared.kept
        self.trace_view: TraceExplorer | None = None
        self.pinned: Pinned | None = None
        self.head_view: HeadExplorer | None = None
        self.lab: AblationLab | None = None
        self.selection_view: SelectionExplorer | None = None
        self._scored: tuple[str, str, int] | None = None  # what the selection is of
        self.tabs = w.Tab([w.VBox() for _ in TABS], titles=TABS)
        aid = "Ask, or choose a trace; the heads that are chosen count in every tab."
        children = [
            title("Workspace", aid, self.finder, self.scorer, self.kept),
            *self.question.layout(),
            self.tabs,
        ]
        super().__init__(children, self.finder, self.scorer, self.question.worker)
        self.tabs.observe(self._on_tab, "selected_index")
        self.kept.observe(self._on_page, "asked")
        late = isinstance(model, str | Path) or isinstance(beside, str | Path)
        if not late:
            self._take_models(model, beside)
        if state is not None:
            self.shared.restore(state)
        if late:
            self._load(model, beside)
        else:
            self._begin()

    # The model ----------------------------------------------------------------------------------

    @property
    def model(self) -> TransformerBridge:
        """The bridge.

        Raises:
            ConfigError: it is not loaded.
        """
        if self._model is None:
            raise ConfigError(f"the model {self.called} is not loaded")
        return self._model

    @property
    def loaded(self) -> bool:
        """Whether the model is there."""
        return self._model is not None

    def _load(self, *given: TransformerBridge | str | Path | None) -> None:
        """Load what is given by name, and begin."""

        def work() -> list[Any]:
            return [load_model(x) if isinstance(x, str | Path) else x for x in given]

        def done(found: list[Any]) -> None:
            self._take_models(*found)
            self.shared.restore_early()
            self._begin()

        def dropped() -> None:
            self._wait(f"The model {self.called} is not loaded.")

        self._wait(f"The model {self.called} is being loaded. You may type a question already.")
        self.finder.start(work, done, what=f"loading {self.called}", dropped=dropped)

    def _take_models(self, model: Any, beside: Any) -> None:
        """Two bridges; ``beside`` may be None."""
        if self.given is not None:
            heads_in(model, self.given)
        if beside is not None:
            self.beside_heads = heads_in(beside, self.beside_heads or ())
        self._model, self.beside = model, beside
        self.called = name_of(model)
        self.finder.model = self.scorer.model = model
        self.question.begin(model)

    # The views, made when they are first needed -------------------------------------------------

    def _wait(self, words: str) -> None:
        """What is shown in place of the views that are not there yet."""
        self._fill(TRACE, unread(words, self.traces[0]))

    def _begin(self) -> None:
        """Show the first trace through the given heads, or through the best, found first."""
        if self.trace_view is not None:
            return
        if self.given is not None:
            self.show_traces(self.given)
        elif self.scores is not None:
            self.show_traces(self.scores.top(self.top))
        else:
            words = "The trace is coloured when the retrieval heads are found. You may ask already."
            self._wait(words)
            self._find(lambda scores: self.show_traces(scores.top(self.top)))

    def _find(self, then: Callable[[HeadScores], None]) -> None:
        """Score the heads, and go on."""
        model, probes = self.model, self.probes or short_probes(self.model)

        def work() -> tuple[HeadScores, str]:
            if self.scores is not None:
                return self.scores, ""
            if self.own:
                return kept_scores(model, probes)
            return retrieval_scores(model, probes, progress=False), ""

        def done(found: tuple[HeadScores, str]) -> None:
            self.probes = probes
            self.scores, before = found
            if before:
                self.finder.show(f"The heads are those found on these weights on {before[:10]}.")
            then(self.scores)

        self.finder.start(work, done, what="looking for the heads that copy", size=len(probes))

    def show_traces(self, heads: HeadSet) -> None:
        """Make the view of the traces, through these heads, where there is none."""
        if self.trace_view is not None:
            return
        how: dict[str, Any] = {"mode": self.mode, "controls": self.controls, **self.written}
        view = self.trace_view = TraceExplorer(
            self.model, [*self.traces, *self.added], heads, **how
        )
        view.children = view.children[1:]  # the workspace has a heading of its own
        self.shared.watch(view)
        view.add.on_click(self._on_pasted)
        self._fill(TRACE, view.worker, view)
        if self.added:
            view.trace_picker.value = len(self.traces) + len(self.added) - 1
        self.shared.apply()
        self._on_tab(None)

    def _fill(self, tab: int, *parts: Any) -> None:
        shown = [w.HTML(part) if isinstance(part, Markup) else part for part in parts]
        self.tabs.children[tab].children = shown

    def _on_tab(self, _: Any) -> None:
        """Make the view of the tab that is open, the first time; keep which one it is."""
        make = {
            PINNED: self._make_pinned,
            HEADS: self._make_heads,
            LAB: self._make_lab,
            SELECTION: self._make_selection,
        }.get(self.tabs.selected_index)
        if self.trace_view is None:
            return
        try:
            if make is not None:
                make(self.trace_view)
        except AirlensError as error:
            self.scorer.fail(error)
        self.shared.keep()

    def _make_pinned(self, view: TraceExplorer) -> Pinned:
        if self.pinned is None:
            heads = self.beside_heads if self.beside_heads else None
            other = (self.beside, heads, self.top)
            self.pinned = Pinned(self.model, view, self.controls, self.written, *other)
            for control in (self.pinned.set_text, self.pinned.whose):
                control.observe(self.shared.keep, "value")
            self._fill(PINNED, *self.pinned.layout())
        return self.pinned

    def pin(self, heads: str, other: bool) -> None:
        """Pin heads, of this or of the other model; empty: the best of the other."""
        if self.trace_view is not None:
            self._make_pinned(self.trace_view).put(heads, other)

    def _make_heads(self, view: TraceExplorer) -> None:
        if self.head_view is not None:
            return
        if self.scores is None or self.probes is None:
            self._fill(HEADS, said("", "The heads are scored first …"))
            self._find(lambda _: self._make_heads(view))
            return
        mode = view.mode.value
        heads = self.head_view = HeadExplorer(
            self.model, self.scores, self.probes, view.heads, mode=mode
        )
        self._share(heads.set_text, heads.mode)

        def text() -> tuple[str, list[int]]:
            encoded = encode_trace(self.model.tokenizer, view.trace, **self.written)
            return view.trace.id, encoded.tokens

        heads.patterns.offer("the trace", text)
        view.trace_picker.observe(heads.patterns.follow, "value")
        self._fill(HEADS, heads)

    def _make_lab(self, view: TraceExplorer) -> None:
        if self.lab is not None:
            self.lab.refresh()
            return
        lab = self.lab = AblationLab(
            self.model,
            view.heads,
            view.trace.prompt or PROMPT,
            mode=view.mode.value,
            template=self.written["template"],
        )
        self._share(lab.set_text, lab.mode)
        self._fill(LAB, lab)

    def _make_selection(self, view: TraceExplorer) -> None:
        chosen, heads = view.traces[:MOST_SELECTED], view.heads
        scored = (str(heads), view.mode.value, len(chosen))
        if scored == self._scored:
            return
        self._scored = scored
        how: dict[str, Any] = {"controls": self.controls, "mode": view.mode.value, **self.written}

        def work() -> Influence:
            return influence(self.model, chosen, heads, progress=False, **how)

        def done(found: Influence) -> None:
            made = self.selection_view = SelectionExplorer(found, chosen)
            made.points.observe(self._on_point, "current")
            self._fill(SELECTION, made)

        def dropped() -> None:
            self._scored = None

        words = f"The first {len(chosen)} traces are scored without the chosen heads …"
        self._fill(SELECTION, said("", words))
        what = f"scoring {len(chosen)} traces"
        self.scorer.start(work, done, what=what, size=len(chosen), dropped=dropped)

    def _share(self, names: Any, mode: Any) -> None:
        """Let a view have the heads and the ablation that the others have."""
        view = self.trace_view
        if view is not None:
            t.link((view.set_text, "value"), (names, "value"))
            t.link((view.mode, "value"), (mode, "value"))

    def _on_point(self, change: Any) -> None:
        """A trace that is picked in the selection is the trace of all views."""
        view, made = self.trace_view, self.selection_view
        if view is None or made is None or change["new"] < 0:
            return
        picked = str(made.samples["id"].iloc[change["new"]])
        ids = [trace.id for trace in view.traces]
        if picked in ids:
            view.trace_picker.value = ids.index(picked)

    # Traces, the state, a page -------------------------------------------------------------------

    def _add(self, traces: list[Trace]) -> list[Trace]:
        """Take traces that were written or loaded, and show the first of them."""
        taken = self.take(traces)
        view = self.trace_view
        if view is not None:
            self.tabs.selected_index = TRACE
            if taken:
                view.trace_picker.value = [x.id for x in view.traces].index(taken[0].id)
        self.shared.keep()
        return taken

    def take(self, traces: list[Trace]) -> list[Trace]:
        """Offer traces beside those that are there; return them as they are called here.

        Another text under a name that is taken gets a name of its own.
        """
        known = {trace.id: trace for trace in [*self.traces, *self.added]}
        taken, new = list[Trace](), list[Trace]()
        for trace in traces:
            here = _named(trace, known)
            if here.id not in known:
                new.append(here)
            known[here.id] = here
            taken.append(here)
        self.added += new
        if self.trace_view is not None:
            self.trace_view.choice.offer(new, choose=False)
        return taken

    def _on_pasted(self, _: Any) -> None:
        view = self.trace_view
        if view is not None:
            self.added = list(view.traces[len(self.traces) :])
            self.shared.keep()

    def _on_page(self, _: Any) -> None:
        """Write the trace that is shown as a page of its own, which the browser saves."""
        view, said_there = self.trace_view, self.kept
        said_there.told = ""
        if view is None or view.result is None:
            said_there.told = "wait until a trace is shown"
            return
        try:
            said_there.save(*trace_page(view, self.scores))
        except AirlensError as error:
            said_there.told = str(error)

    def state(self) -> dict[str, Any]:
        """What all views share, and what was added here: plain values for JSON.

        That is heads, mode, trace (its id), step, source, colour, measure, threshold, the pinned
        heads, the tab and the traces that were written, pasted or loaded here.
        """
        return self.shared.now()

    def address(self) -> str:
        """The same as one line of text, as in the app's address; empty before a trace is shown.

        Of the traces that were added here it has only the one that is shown, if that is short.
        """
        return self.shared.address()

    def restore(self, state: Mapping[str, Any] | str) -> None:
        """Take up what :meth:`state` or :meth:`address` gave, in this or an earlier workspace.

        What needs a measurement comes when it is there: the step, and the threshold of sources.

        Raises:
            AirlensError: heads that the model has not, or what is no state.
        """
        self.shared.restore(state)

    def static_body(self) -> Markup:
        """What the workspace shows now, as HTML without scripts: its trace."""
        if self.trace_view is None:
            return said("No trace is read yet", self.finder.what)
        return self.trace_view.static_body()


def _named(trace: Trace, known: Mapping[str, Trace]) -> Trace:
    """The trace, under a name under which no other text is known."""
    for name in chain([trace.id], (f"{trace.id} ({n})" for n in count(2))):
        other = known.get(name)
        if other is None:
            return replace(trace, id=name)
        if (other.prompt, other.response) == (trace.prompt, trace.response):
            return other
    raise AssertionError  # there is always another name


def bundled() -> list[Trace]:
    """The first bundled trace of every domain."""
    return first_of_each_domain(load_traces(data_path("traces.jsonl")), 1)
