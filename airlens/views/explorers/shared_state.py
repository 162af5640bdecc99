"""What all views of a workspace share: kept, told as a line of text, and taken up again."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import traitlets as t

from airlens.errors import AirlensError, ConfigError
from airlens.heads import HeadSet
from airlens.model.heads import heads_in
from airlens.traces.trace import Trace

from .address import Address, pack, read_address, unpack, write_address
from .jobs import settled
from .model_heads import name_of
from .source_views import LEAST
from .trace_explorer import TraceExplorer

if TYPE_CHECKING:
    from .workspace import Workspace

LONGEST = 500_000  # characters of the state that the browser is asked to keep
STOPS = 50  # places of the threshold in an address, as in that of a shared page


class SharedState:
    """The one state of a workspace, and the buttons that copy it.

    An address says heads, mode, trace (its id; a trace that was written, pasted or loaded here is
    in the address itself, where it is short enough), step, source, colour, measure, threshold, the
    pinned heads and the tab. What needs a measurement is taken up when that is there.

    Args:
        space: the workspace.
    """

    def __init__(self, space: Workspace) -> None:
        self.space = space
        self.pending: dict[str, Any] = {}
        self._early: list[Mapping[str, Any] | str] = []  # asked for before the model is loaded
        self.first: dict[str, Any] = {
            "split": "as given",
            "step": -1,
            "mode": space.mode,
            "colour": "delta",
            "measure": "copies",
            "show": "both" if space.controls else "critical",
            "least": round(STOPS * LEAST),
            "pinned": "",
            "beside": "",
            "tab": 0,
        }
        self._due = self._applying = False
        self._packed: tuple[Trace | None, str] = (None, "")
        about = [space.called, [x.id for x in space.traces], str(space.given)]
        name = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
        self.kept = Address(name=name, layout={"margin": "0 0 0 auto"})
        self.kept.observe(self._on_restored, "restored")
        self.kept.observe(self._on_wanted, "wanted")

    def watch(self, view: TraceExplorer) -> None:
        """Keep what is chosen in the view of traces."""
        for control in (view.set_text, view.mode, view.colour, view.trace_picker, view.splitter):
            control.observe(self.keep, "value")
        for control in (view.sources.threshold, view.sources.measure, view.sources.show):
            control.observe(self.keep, "value")
        view.text.observe(self.keep, ["current", "focus"])
        for worker in (view.worker, view.sources.worker, view.answers.worker):
            worker.ended.append(self._after)

    def now(self) -> dict[str, Any]:
        """The state as plain values for JSON, with the traces that were added here."""
        space, view = self.space, self.space.trace_view
        if view is None:
            return {}
        sources, focus, pinned = view.sources, view.text.focus, space.pinned
        return {
            "model": name_of(space.model),
            "heads": str(view.heads),
            "mode": view.mode.value,
            "trace": view.trace.id,
            "split": view.splitter.value,
            "step": view.text.current,
            "source": focus[1] if focus else None,
            "colour": view.colour.value,
            "measure": sources.measure.value,
            "show": sources.show.value,
            "least": round(STOPS * sources.least),
            "pinned": "" if pinned is None else pinned.set_text.value,
            "beside": name_of(pinned.model) if pinned and pinned.of_other else "",
            "tab": space.tabs.selected_index,
            "asked": space.question.asked,
            "added": [trace.to_json() for trace in space.added],
        }

    def address(self) -> str:
        """The state as one line of text; empty before a trace is shown."""
        view = self.space.trace_view
        if view is None:
            return ""
        chosen = view.traces[view.trace_picker.value]
        text = self._text(chosen) if chosen in self.space.added else ""
        return write_address({**self.now(), "text": text or None}, self.first)

    def _text(self, trace: Trace) -> str:
        if self._packed[0] is not trace:
            self._packed = (trace, pack(trace))
        return self._packed[1]

    # Taken up again ------------------------------------------------------------------------------

    def restore(self, state: Mapping[str, Any] | str) -> None:
        """Take up what :meth:`now` or :meth:`address` gave, in this or another workspace.

        Raises:
            AirlensError: heads that the model has not, or a text that is no state.
        """
        if not self.space.loaded:
            self._early.append(state)
            return
        wanted: dict[str, Any] = {"address": state} if isinstance(state, str) else dict(state)
        new = [Trace.from_json(each) for each in wanted.pop("added", [])]
        self.space.question.asked = int(wanted.pop("asked", self.space.question.asked))
        if "address" in wanted:  # the later word
            wanted = read_address(wanted["address"])
        self.space.take(new)
        if text := wanted.pop("text", ""):
            wanted["trace"] = self.space.take([unpack(text)])[0].id
        view = self.space.trace_view
        heads = HeadSet.parse(wanted["heads"], "chosen") if wanted.get("heads") else None
        if heads is not None:
            heads_in(self.space.model, heads)
        # What is not said is as at first; without a trace the view is where it opens by itself.
        rest = self.first if "trace" in wanted else {}
        self.pending = {**rest, **wanted}
        if view is None and heads is not None:
            self.space.finder.drop()
            self.space.show_traces(heads)
        else:
            self.apply()

    def restore_early(self) -> None:
        """Take up what was asked for before the model was loaded."""
        early, self._early = self._early, []
        for state in early:
            self._guarded(partial(self.restore, state))

    def apply(self) -> None:
        """Set of the pending state what can be set now; what cannot be measured is given up."""
        view = self.space.trace_view
        if view is None or not self.pending or self._applying:
            return
        self._applying = True  # what is chosen here may be measured at once, which calls this again
        try:
            self._apply(view, self.pending)
        finally:
            self._applying = False
        self.keep()

    def _apply(self, view: TraceExplorer, wanted: dict[str, Any]) -> None:
        self._choose(view, wanted)
        if view.result is None:
            if settled(view.worker):
                self.pending = {}
            return
        known = [value for _, value in view.colour.options]
        if (colour := wanted.pop("colour", None)) in known:
            view.colour.value = colour
        step = wanted.pop("step", None)
        if step is not None:
            view.go_to(step)
            wanted["at"] = step
        if view.sources.result is None:
            if settled(view.sources.worker):
                self.pending = {}
            return
        sources = view.sources
        for control, key in ((sources.measure, "measure"), (sources.show, "show")):
            _set(control, wanted.pop(key, None))
        if (least := wanted.pop("least", None)) is not None:
            sources.threshold.value = min(STOPS, max(0, least)) / STOPS * sources.threshold.max
        source, step = wanted.pop("source", None), wanted.pop("at", None)
        if source is not None and step == view.text.current:  # nobody has clicked meanwhile
            view.go_to(step, source)
        self.pending = {}

    def _choose(self, view: TraceExplorer, wanted: dict[str, Any]) -> None:
        """Trace, heads and tab, which need no measurement."""
        told, own = [], name_of(self.space.model)
        if (model := wanted.pop("model", own)) != own:
            told.append(f"it was made with the model {model}, and this is {own}")
        ids = [trace.id for trace in view.traces]
        if (name := wanted.pop("trace", None)) in ids:
            view.trace_picker.value = ids.index(name)
        elif name is not None:
            told.append(f"its trace “{name}” is not among those here: load its file")
            wanted.pop("step", None)
        _set(view.splitter, wanted.pop("split", None))
        if text := wanted.pop("heads", None):
            view.set_text.value = str(HeadSet.parse(text, "chosen"))
        _set(view.mode, wanted.pop("mode", None))
        beside, pinned = wanted.pop("beside", ""), wanted.pop("pinned", None)
        if beside and (self.space.beside is None or beside != name_of(self.space.beside)):
            told.append(f"it compares with the model {beside}: give that as beside=")
        elif pinned or beside or (pinned is not None and self.space.pinned is not None):
            heads = str(HeadSet.parse(pinned, "pinned")) if pinned else ""
            self.space.pin(heads, bool(beside))
        if (tab := wanted.pop("tab", None)) is not None:
            self.space.tabs.selected_index = min(max(tab, 0), len(self.space.tabs.children) - 1)
        if told:
            self.space.scorer.fail(ConfigError("Of this link: " + "; ".join(told)))

    # Kept ----------------------------------------------------------------------------------------

    def _after(self) -> None:
        self.apply()
        self.keep()
        self.space.leave()

    def keep(self, _: Any = None) -> None:
        """Give the browser the state, once for all that one message of its own has changed."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._tell()
            return
        if not self._due:
            self._due = True
            loop.call_soon(self._tell)

    def _tell(self) -> None:
        self._due = False
        view = self.space.trace_view
        if self.pending or view is None:
            return
        text = json.dumps(self.now())
        if len(text) <= LONGEST:
            self.kept.state = text
        if view.result is not None:  # of a trace that is not yet shown nothing can be said
            with self.kept.hold_sync():
                self.kept.address = self.address()
                self.kept.answered = self.kept.wanted[1] if self.kept.wanted else 0.0

    def _on_restored(self, change: Any) -> None:
        self._guarded(lambda: self.restore(json.loads(change["new"])))

    def _on_wanted(self, change: Any) -> None:
        if change["new"]:
            self._guarded(lambda: self.restore(str(change["new"][0])))

    def _guarded(self, call: Any) -> None:
        try:
            call()
        except (AirlensError, ValueError, KeyError, TypeError, t.TraitError) as error:
            self.pending = {}
            self.space.scorer.fail(error)
            self.keep()


def _set(control: Any, value: Any) -> None:
    """Choose a value where the control has it."""
    options = [each[1] if isinstance(each, tuple) else each for each in control.options]
    if value in options:
        control.value = value
