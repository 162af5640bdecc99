"""Ask a question: the model writes its answer, shown token by token, which becomes a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from airlens.detectors.greedy_decoding import greedy_tokens
from airlens.errors import ConfigError
from airlens.traces.chat_template import Template, resolve_template
from airlens.traces.load import load_traces
from airlens.traces.trace import Trace
from airlens.views.figures.labels import escape_html

from .continuation import encode_prompt
from .jobs import Worker, guarded
from .layout import row

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MOST_LOADED = 200
"""Traces of a file that are offered to choose from."""


class Question:
    """A box to ask in, what the model writes, and a file to take traces from.

    The box is there before its model is (:meth:`begin`).

    Args:
        new_tokens: how long the answer may get at first.
        template: how the question is put to the model.
        add: called with each trace that is written, and with those of a file; gives them back as
            they are called there.
    """

    def __init__(
        self,
        new_tokens: int,
        template: Template,
        add: Callable[[list[Trace]], list[Trace]],
    ) -> None:
        self.model: TransformerBridge | None = None
        self.template, self.add = template, add
        self.asked = 0
        self.due = False  # whether it was asked before there is a model
        self.written: list[int] = []  # tokens, while they come
        self.worker, self.loader = Worker(), Worker()
        wide = {"width": "min(97%, 900px)"}
        self.text = w.Textarea(
            description="question", rows=3, layout=wide, placeholder="Type a question."
        )
        self.length = w.BoundedIntText(
            value=new_tokens, min=1, max=4096, description="tokens", layout={"width": "170px"}
        )
        self.length.tooltip = "at most so many tokens are written"
        self.write = w.Button(description="let it write", button_style="primary")
        self.keep = w.Button(description="take what is written", layout={"display": "none"})
        self.shown = w.HTML()
        self.path = w.Text(
            description="a file", layout=wide, placeholder="traces.jsonl, .csv, .parquet, a folder"
        )
        self.load = w.Button(description="load")
        self.write.on_click(self._on_write)
        self.keep.on_click(self._on_keep)
        self.load.on_click(self._on_load)

    def layout(self) -> list[Any]:
        """The question and what is written; the file in a part to open."""
        file = w.Accordion([w.VBox([self.path, row(self.load, self.loader)])])
        file.titles, file.selected_index = ("load traces of a file",), None
        buttons = row(self.length, self.write, self.keep, self.worker)
        return [self.text, buttons, self.shown, file]

    def begin(self, model: TransformerBridge) -> None:
        """Write with this model; at once, where that was asked before."""
        self.model = self.worker.model = model
        if self.due:
            self.worker.show("")
            self._on_write(None)

    @guarded("worker")
    def _on_write(self, _: Any) -> None:
        model, question = self.model, self.text.value
        self.due = model is None
        if model is None:
            self.worker.show("it writes as soon as the model is loaded")
            return
        chat = resolve_template(model.tokenizer, self.template) == "chat"
        # Without a template a newline follows the question, as where its trace is scored.
        asked = question if chat or not question.strip() else question + "\n"
        tokens = encode_prompt(model, asked, self.template)
        room = min(self.length.value, int(model.cfg.n_ctx) - len(tokens))
        self.written = written = list[int]()
        self.keep.layout.display = "none"
        self._show()

        def work() -> list[int]:
            return greedy_tokens(model, tokens, room, told=written.append)

        def done(found: list[int]) -> None:
            self.written = found
            self._take(question)

        def dropped() -> None:
            self._show()
            self.keep.layout.display = "" if written else "none"

        what = f"writing at most {room} tokens"
        self.worker.start(work, done, what=what, size=room, dropped=dropped, meanwhile=self._show)

    def _show(self) -> None:
        """Show what is written so far."""
        text = escape_html(self.answer)
        look = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.6"
        self.shown.value = (
            f'<div class="airlens-written" style="{look}" aria-live="off">{text}</div>'
            if text
            else ""
        )

    @property
    def answer(self) -> str:
        """What is written so far, without the tokens that end it."""
        if self.model is None:
            return ""
        return str(self.model.tokenizer.decode(list(self.written), skip_special_tokens=True))

    @guarded("worker")
    def _on_keep(self, _: Any) -> None:
        self._take(self.text.value)

    def _take(self, question: str) -> None:
        """Make a trace of what is written; it is shown in colours, so no longer here."""
        answer = self.answer
        self.keep.layout.display = self.worker.again.layout.display = "none"
        if not answer.strip():
            self.worker.show("the model wrote nothing")
            return
        self.asked += 1
        made = Trace(f"question {self.asked}", question, answer, "asked").with_steps("auto")
        name = self.add([made])[0].id
        self.shown.value = ""
        self.worker.show(f"{len(self.written)} tokens were written; they are the trace “{name}”")

    @guarded("loader")
    def _on_load(self, _: Any) -> None:
        path = self.path.value.strip()
        if not path:
            raise ConfigError("name a file, a folder or a data set of the hub")

        def work() -> list[Trace]:
            return list(load_traces(path))

        def done(found: list[Trace]) -> None:
            self.add(found[:MOST_LOADED])
            more = f"; the first {MOST_LOADED} are offered" if len(found) > MOST_LOADED else ""
            self.loader.show(f"{len(found)} traces{more}")

        self.loader.start(work, done, what=f"reading {path}")
