"""One place to work in: ask, read, look at heads, compare; all views share one state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets as w
import traitlets as t
from markupsafe import Markup

from airlens.ablation import DEFAULT_MODE, Mode, as_head_set
from airlens.arguments import checked
from airlens.detectors.key_value_probes import key_value_probes
from airlens.detectors.probes import ProbeSet
from airlens.detectors.retrieval import retrieval_scores
from airlens.errors import AirlensError
from airlens.files import data_path
from airlens.heads import Heads, HeadScores, HeadSet
from airlens.model.heads import heads_in
from airlens.step_influence.influence import Influence, influence
from airlens.traces.chat_template import Template, Think
from airlens.traces.load import first_of_each_domain, load_traces
from airlens.traces.trace import Trace, as_traces

from .ablation_lab import PROMPT, AblationLab
from .head_explorer import HeadExplorer
from .jobs import Worker
from .layout import title
from .live_view import LiveView
from .pinned import Pinned
from .question import Question
from .selection_explorer import SelectionExplorer
from .static_parts import said
from .trace_explorer import TraceExplorer
from .view_scripts import script

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TABS = ("Trace", "A and B", "Heads", "Without", "Select")  # as short as a telephone needs them
TRACE, PINNED, HEADS, LAB, SELECTION = range(len(TABS))
PROBES, PROBE_TOKENS = 2, 512  # longer probes find the same leading heads, and take longer
MOST_SELECTED = 12  # traces that the selection scores
LONGEST = 500_000  # characters of the state that the browser is asked to keep


class Kept(anywidget.AnyWidget):  # type: ignore[misc]
    """Keeps ``state`` in the browser over a reload of the page, which sets ``restored``."""

    _esm = script("kept")
    name = t.Unicode("").tag(sync=True)
    state = t.Unicode("").tag(sync=True)
    restored = t.Unicode("").tag(sync=True)


class Workspace(LiveView):
    """Ask a question or take a trace, and see it in all views, which share one state.

    The head set, the ablation, the trace, the step, the colour and the threshold of sources are
    the same in all of them. A view is made when its tab is opened first. The page is there at once:
    the retrieval heads are looked for while it is read.

    Args:
        model: the bridge.
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
    """

    @checked
    def __init__(
        self,
        model: TransformerBridge,
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
    ) -> None:
        self.model, self.controls, self.top, self.mode = model, controls, top, mode
        self.traces = as_traces(traces) or bundled()
        self.scores, self.probes = scores, probes
        self.written: dict[str, Any] = {"template": template, "think": think}
        self.added: list[Trace] = []  # asked, pasted or loaded here
        self.given = None if heads is None else as_head_set(heads)
        if self.given is not None:
            heads_in(model, self.given)
        self.finder, self.scorer = Worker(model), Worker(model)
        self.question = Question(model, new_tokens, template, self._add)
        self.kept = Kept(name=self._name())
        self.trace_view: TraceExplorer | None = None
        self.pinned: Pinned | None = None
        self.head_view: HeadExplorer | None = None
        self.lab: AblationLab | None = None
        self.selection_view: SelectionExplorer | None = None
        self._pending: dict[str, Any] = {}
        self.tabs = w.Tab([w.VBox() for _ in TABS], titles=TABS)
        aid = "Ask, or choose a trace; the heads that are chosen count in every tab."
        children = [
            title("Workspace", aid, self.finder, self.scorer),
            *self.question.layout(),
            self.tabs,
            self.kept,
        ]
        super().__init__(children, self.finder, self.scorer, self.question.worker)
        self.tabs.observe(self._on_tab, "selected_index")
        self.kept.observe(self._on_restored, "restored")
        self._begin()

    def _name(self) -> str:
        """Names this workspace among others on the page: by its model and what it was given."""
        about = [self.model.cfg.model_name, [x.id for x in self.traces], str(self.given)]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]

    # The views, made when they are first needed -------------------------------------------------

    def _begin(self) -> None:
        """Show the first trace through the given heads, or through the best, found first."""
        if self.given is not None:
            self._show_traces(self.given)
        elif self.scores is not None:
            self._show_traces(self.scores.top(self.top))
        else:
            words = "The trace is coloured when the retrieval heads are found. You may ask already."
            self._fill(TRACE, said("", words))
            self._find(lambda scores: self._show_traces(scores.top(self.top)))

    def _find(self, then: Callable[[HeadScores], None]) -> None:
        """Score the heads, and go on."""
        probes = self.probes or key_value_probes(
            self.model.tokenizer, n=PROBES, max_tokens=self._room()
        )

        def work() -> HeadScores:
            return self.scores or retrieval_scores(self.model, probes, progress=False)

        def done(found: HeadScores) -> None:
            self.scores, self.probes = found, probes
            then(found)

        self.finder.start(work, done, what="looking for the heads that copy", size=len(probes))

    def _room(self) -> int:
        return min(PROBE_TOKENS, int(self.model.cfg.n_ctx))

    def _show_traces(self, heads: HeadSet) -> None:
        if self.trace_view is not None:
            return
        how: dict[str, Any] = {"mode": self.mode, "controls": self.controls, **self.written}
        view = self.trace_view = TraceExplorer(
            self.model, [*self.traces, *self.added], heads, **how
        )
        view.children = view.children[1:]  # the workspace has a heading of its own
        for worker in (view.worker, view.sources.worker, view.answers.worker):
            worker.ended.append(self._after)
        for control in (view.set_text, view.mode, view.colour, view.trace_picker):
            control.observe(self._keep, "value")
        view.sources.threshold.observe(self._keep, "value")
        view.text.observe(self._keep, "current")
        view.add.on_click(self._on_pasted)
        self._fill(TRACE, view.worker, view)
        if self.added:
            view.trace_picker.value = len(self.traces) + len(self.added) - 1
        self._apply()
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
        self._keep()

    def _make_pinned(self, view: TraceExplorer) -> None:
        if self.pinned is None:
            self.pinned = Pinned(self.model, view, self.controls, self.written)
            self.pinned.set_text.observe(self._keep, "value")
            self._fill(PINNED, *self.pinned.layout())

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
        self._fill(HEADS, heads)

    def _make_lab(self, view: TraceExplorer) -> None:
        if self.lab is not None:
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
        if self.selection_view is not None:
            return
        chosen, heads = view.traces[:MOST_SELECTED], view.heads
        how: dict[str, Any] = {"controls": self.controls, "mode": view.mode.value, **self.written}

        def work() -> Influence:
            return influence(self.model, chosen, heads, progress=False, **how)

        def done(found: Influence) -> None:
            made = self.selection_view = SelectionExplorer(found, chosen)
            made.points.observe(self._on_point, "current")
            self._fill(SELECTION, made)

        words = f"The first {len(chosen)} traces are scored first …"
        self._fill(SELECTION, said("", words))
        self.scorer.start(work, done, what=f"scoring {len(chosen)} traces", size=len(chosen))

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

    # Traces, and the state that is kept ----------------------------------------------------------

    def _add(self, traces: list[Trace]) -> None:
        """Take traces that were written or loaded, and show the first of them."""
        if self.trace_view is not None:
            known = {trace.id for trace in self.trace_view.traces}
            traces = [x for x in traces if x.id not in known]
            self.added += traces
            self.tabs.selected_index = TRACE
            self.trace_view.choice.offer(traces)
        else:
            self.added += traces
        self._keep()

    def _on_pasted(self, _: Any) -> None:
        view = self.trace_view
        if view is not None:
            self.added = list(view.traces[len(self.traces) :])
            self._keep()

    def state(self) -> dict[str, Any]:
        """What all views share, and what was added here: plain values for JSON.

        That is heads, mode, trace (its id), step, colour, threshold, the pinned heads, the tab and
        the traces that were written, pasted or loaded here.
        """
        view = self.trace_view
        if view is None:
            return {}
        return {
            "heads": view.set_text.value,
            "mode": view.mode.value,
            "trace": view.trace.id,
            "step": view.text.current,
            "colour": view.colour.value,
            "threshold": view.sources.threshold.value,
            "pinned": "" if self.pinned is None else self.pinned.set_text.value,
            "tab": self.tabs.selected_index,
            "asked": self.question.asked,
            "added": [trace.to_json() for trace in self.added],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state that :meth:`state` gave, in this or an earlier workspace of the model.

        What needs a measurement comes when it is there: the step, and the threshold of sources.
        """
        self._pending = dict(state)
        known = {trace.id for trace in [*self.traces, *self.added]}
        new = [Trace.from_json(each) for each in self._pending.pop("added", [])]
        new = [trace for trace in new if trace.id not in known]
        self.added += new
        self.question.asked = int(self._pending.pop("asked", 0))
        if self.trace_view is not None:
            self.trace_view.choice.offer(new)
            self._apply()
        elif text := self._pending.get("heads"):
            self.finder.drop()
            self._show_traces(HeadSet.parse(text, "chosen"))

    def _apply(self) -> None:
        """Set of the pending state what can be set now."""
        view, wanted = self.trace_view, self._pending
        if view is None or not wanted:
            return
        ids = [trace.id for trace in view.traces]
        if (name := wanted.pop("trace", None)) in ids:
            view.trace_picker.value = ids.index(name)
        for control, key in ((view.set_text, "heads"), (view.mode, "mode")):
            if key in wanted:
                control.value = wanted.pop(key)
        if "pinned" in wanted and (text := wanted.pop("pinned")):
            self._make_pinned(view)
            if self.pinned is not None:
                self.pinned.set_text.value = text
        if "tab" in wanted:
            self.tabs.selected_index = wanted.pop("tab")
        if view.result is None:
            return
        colours = [value for _, value in view.colour.options]
        if (colour := wanted.pop("colour", None)) in colours:
            view.colour.value = colour
        if "step" in wanted:
            view.sources.choose(wanted.pop("step"))
        if view.sources.result is not None and "threshold" in wanted:
            view.sources.threshold.value = wanted.pop("threshold")

    def _after(self) -> None:
        self._apply()
        self._keep()
        self.leave()

    def _keep(self, _: Any = None) -> None:
        """Give the browser the state to keep."""
        if self._pending:
            return
        text = json.dumps(self.state())
        if len(text) <= LONGEST:
            self.kept.state = text

    def _on_restored(self, change: Any) -> None:
        try:
            self.restore(json.loads(change["new"]))
        except (AirlensError, ValueError, KeyError, TypeError, t.TraitError) as error:
            self._pending = {}
            self.scorer.fail(error)

    def static_body(self) -> Markup:
        """What the workspace shows now, as HTML without scripts: its trace."""
        if self.trace_view is None:
            return said("No trace is read yet", self.finder.what)
        return self.trace_view.static_body()


def bundled() -> list[Trace]:
    """The first bundled trace of every domain."""
    return first_of_each_domain(load_traces(data_path("traces.jsonl")), 1)
