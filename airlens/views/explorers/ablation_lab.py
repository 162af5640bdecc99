"""Continue a prompt with and without some heads, and see where the two texts differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import ipywidgets as w
import pandas as pd
from markupsafe import Markup

from airlens.ablation import DEFAULT_MODE, MODES, Mode, as_head_set
from airlens.arguments import checked
from airlens.errors import ConfigError
from airlens.heads import Heads, HeadSet, control_sets
from airlens.model.heads import heads_in, heads_of
from airlens.traces.chat_template import Template
from airlens.views.figures.next_tokens import next_token_bars

from .continuation import Continuations, compare, encode_prompt, next_tokens
from .head_html import texts_html
from .jobs import Worker, guarded
from .js import TokenLine
from .layout import columns, figure_output, put_figure, row, title
from .live_view import LiveView
from .static_parts import said

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Written: TypeAlias = "tuple[Continuations, pd.DataFrame, Continuations | None]"
PROMPT = "The code of the blue box is 7301, that of the red box is 4628. Repeat both codes."


class AblationLab(LiveView):
    """Greedy answers to a prompt, with all heads and with some ablated; differences are marked.

    Args:
        model: the bridge.
        heads: initially ablated.
        prompt: initial text of the box.
        mode: initial ablation mode.
        new_tokens: initial length of the answers.
        template: whether the prompt gets the chat template.

    ``frame(what)`` and ``figure()`` return the data and a static figure.
    """

    @checked
    def __init__(
        self,
        model: TransformerBridge,
        heads: Heads = (),
        prompt: str = PROMPT,
        *,
        mode: Mode = DEFAULT_MODE,
        new_tokens: int = 32,
        template: Template = "auto",
    ) -> None:
        self.model, self._template = model, template
        heads = as_head_set(heads)
        heads_in(model, heads)
        self.result: Continuations | None = None
        self.beside: Continuations | None = None
        self._next = pd.DataFrame()
        self.worker = Worker(model)
        wide = {"width": "min(97%, 900px)"}
        self.prompt = w.Textarea(value=prompt, description="prompt", rows=3, layout=wide)
        self.set_text = w.Text(
            description="heads", value=str(heads), continuous_update=False, layout=wide
        )
        self.mode = w.Dropdown(options=list(MODES), value=mode, description="ablation")
        self.length = w.BoundedIntText(
            value=new_tokens, min=1, max=512, description="tokens", layout={"width": "170px"}
        )
        self.run = w.Button(description="write on", button_style="primary")
        self.base, self.other, self.random = TokenLine(pickable=True), TokenLine(), TokenLine()
        self.likely = figure_output("next-tokens")
        self.run.on_click(self._on_run)
        self.base.on_pick(self._on_token)
        aid = (
            "Greedy. Marked: the first token that differs, and paler what the other text has not. "
            "Click a token of the first text to see what else was likely there, with and without "
            "the heads."
        )
        super().__init__(
            [
                title("With and without", aid, self.worker),
                self.prompt,
                self.set_text,
                row(self.mode, self.length, self.run),
                columns(self.base, self.other),
                self.random,
                self.likely,
            ],
            self.worker,
        )
        self.base.layout.flex = self.other.layout.flex = "1 1 320px"
        self._on_run(None)

    @guarded("worker")
    def _on_run(self, _: Any) -> None:
        heads = HeadSet.parse(self.set_text.value, "chosen") if self.set_text.value.strip() else ()
        chosen = as_head_set(heads)
        heads_in(self.model, chosen)
        tokens = encode_prompt(self.model, self.prompt.value, self._template)
        mode, length = self.mode.value, self.length.value

        def work() -> Written:
            found = compare(self.model, tokens, chosen, mode, max_new_tokens=length)
            likely = next_tokens(self.model, tokens, found.base, chosen, mode)
            grid = heads_of(self.model)
            if not len(chosen) or 2 * len(chosen) > len(grid):
                return found, likely, None
            random = control_sets(grid, chosen, "random", draws=1, seed=0)[0]
            beside = compare(
                self.model, tokens, random, mode, max_new_tokens=length, base=found.base
            )
            return found, likely, beside

        self.worker.start(work, self._show, what="writing", size=3 * length + 2)

    def refresh(self) -> None:
        """Write again where heads or ablation are others than those of the texts shown."""
        shown = self.result
        if shown is None or (str(shown.heads), shown.mode) != (
            self.set_text.value,
            self.mode.value,
        ):
            self._on_run(None)

    def _show(self, found: Written) -> None:
        self.result, self._next, random = found
        self.beside = random
        split = self.result.divergence
        base, other = self.result.differing
        self.base.fill("all heads", self.result.base_texts, split, base)
        count = len(self.result.heads)
        names = f"without {count} head{'s' * (count != 1)}, {self.result.mode}"
        self.other.fill(names, self.result.ablated_texts, split, other)
        self.random.layout.display = "" if random else "none"
        if random:
            names = f"without {count} random ones, {random.mode}"
            self.random.fill(names, random.ablated_texts, random.divergence, random.differing[1])
        if split is None:
            self.worker.show("both texts are the same")
        self._on_token(min(split or 0, max(0, len(self.result.base) - 1)))

    @guarded("worker")
    def _on_token(self, index: int) -> None:
        self.base.current = index
        put_figure(self.likely, self.figure())

    def static_body(self) -> Markup:
        """What the view shows now, as HTML without scripts."""
        if self.result is None:
            return said("Nothing is written yet", self.worker.what)
        split = self.result.divergence
        texts = [
            (self.base.name, self.result.base_texts, split),
            (self.other.name, self.result.ablated_texts, split),
        ]
        if self.beside is not None:
            texts.append((self.random.name, self.beside.ablated_texts, self.beside.divergence))
        prompt = said(self.prompt.value, f"heads: {self.result.heads}")
        return prompt + Markup(texts_html(texts))

    def frame(self, what: str = "next") -> pd.DataFrame:
        """The data: "next" (likely tokens at each position) or "texts" (both, token by token).

        Raises:
            ConfigError: another name.
        """
        if what == "next":
            return self._next
        if what == "texts":
            return self.result.frame() if self.result else pd.DataFrame()
        raise ConfigError(f"frame({what!r}): use next, texts")

    def figure(self) -> Any:
        """The static form: the likeliest next tokens at the position chosen."""
        return next_token_bars(self._next, max(0, self.base.current))
