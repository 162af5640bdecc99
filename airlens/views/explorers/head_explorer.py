"""Explore heads: a map of scores, the attention of each, the effect of ablating some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import pandas as pd
from markupsafe import Markup

from airlens.ablation import DEFAULT_MODE, MODES, Mode, as_head_set
from airlens.arguments import checked
from airlens.detectors.answer_attention import AnswerAttention, answer_attention
from airlens.detectors.detect import DETECTORS, detect
from airlens.detectors.probes import ProbeSet
from airlens.errors import ConfigError
from airlens.heads import Head, Heads, HeadScores, HeadSet, parse_head
from airlens.views.figures.copying_curve import ablation_curve
from airlens.views.figures.head_attention import answer_attention_map
from airlens.views.figures.head_maps import head_map
from airlens.views.figures.labels import number

from .head_effects import HeadEffects, Measured
from .head_html import copied_html, effect_html, probe_scores_html, texts_html
from .head_patterns import HeadPatterns
from .jobs import Worker, guarded
from .js import GridMap
from .layout import columns, figure_output, put_figure, row, title
from .live_view import LiveView
from .static_parts import picture, said, table
from .traits import head_traits

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MOST = 0.30  # end of the slider: with this share of heads ablated little is left of any model
KEPT = 4  # probes whose attention is kept in memory
SHOWN = 10  # of the best heads, in the static form
FRAMES = ("heads", "attention", "probes", "ablation", "patterns")
# Offered beside the given scores: detectors that take seconds; "causal" takes a pass per head.
OFFERED = ("retrieval", "induction", "retrieval_reasoning", "locos", "qrhead", "attribution")
WIDE = {"width": "min(97%, 900px)"}


class HeadExplorer(LiveView):
    """Click a head to see what it attends to and copies; choose a set to see it ablated.

    A button shows the attention of every head over the probe, small, all at once.

    Args:
        model: the bridge.
        scores: of one detector, or of several, by name.
        probes: shown with each head's attention; copy accuracy is measured on the first ones.
        heads: the initial set; default: the top 5 %.
        mode: initial ablation mode.
        measured: how many probes copy accuracy is measured on; more are slower and less noisy.
        new_tokens: length of the continuation.
        detectors: further detectors on offer; each runs on ``probes`` when it is chosen.

    ``heads`` is the chosen set; ``frame(what)`` and ``figure(what)`` return the data of each view
    and a static figure.
    """

    @checked
    def __init__(
        self,
        model: TransformerBridge,
        scores: HeadScores | Mapping[str, HeadScores],
        probes: ProbeSet,
        heads: Heads | None = None,
        *,
        mode: Mode = DEFAULT_MODE,
        measured: int = 2,
        new_tokens: int = 24,
        detectors: Iterable[str] = OFFERED,
    ) -> None:
        many = {scores.detector: scores} if isinstance(scores, HeadScores) else dict(scores)
        if not many or not len(probes):
            raise ConfigError("HeadExplorer needs scores and at least one probe")
        self.model, self.probes, self._scores = model, probes, many
        self._offered = [*many, *(name for name in detectors if name not in many)]
        for name in self._offered:
            if name not in many:
                DETECTORS.find(name)
        self._name = next(iter(many))
        measured_on = probes.subset(range(min(measured, len(probes))))
        self._effects = HeadEffects(model, measured_on, new_tokens)
        self._attention: dict[int, AnswerAttention] = {}
        self._following = False
        first = self.scores_now()
        self.heads = first.top() if heads is None else as_head_set(heads)
        if not len(self.heads):
            raise ConfigError("HeadExplorer needs at least one head to begin with")
        first.grid.check(self.heads)
        self.head = self.heads.heads[0]
        self.worker, self.looker, self.detecting = (Worker(model) for _ in range(3))
        self.patterns = HeadPatterns(model, "the probe", self._text_of_probe, self._take)
        self._make_controls(mode)
        workers = (self.worker, self.looker, self.detecting, self.patterns.worker)
        super().__init__(self._layout(), *workers)
        self._draw_map()
        self._look()
        self._measure()

    def scores_now(self) -> HeadScores:
        """The scores that the map shows."""
        return self._scores[self._name]

    def _make_controls(self, mode: Mode) -> None:
        self.detector = w.Dropdown(
            options=self._offered, value=self._name, description="detector",
            tooltip="what scores the heads; another one is run when it is chosen",
        )  # fmt: skip
        names = [(p.id, i) for i, p in enumerate(self.probes)]
        self.probe = w.Dropdown(options=names, description="probe")
        self.mode = w.Dropdown(options=list(MODES), value=mode, description="ablation")
        self.click = w.ToggleButtons(
            options=[("looks at the head", "look"), ("adds or removes it", "toggle")],
            style={"button_width": "150px"},
        )  # fmt: skip
        self.typed = w.Text(description="head", value=str(self.head), continuous_update=False)
        self.set_text = w.Text(
            description="heads", value=str(self.heads), continuous_update=False, layout=WIDE
        )
        self.slider = w.IntSlider(
            description="top k", value=len(self.heads), min=0, continuous_update=False,
            max=max(1, round(MOST * len(self.scores_now().grid))),
            layout={"width": "min(97%, 560px)"},
        )  # fmt: skip
        self.map = GridMap()
        self.pattern, self.curve = figure_output("pattern"), figure_output("curve")
        self.copied, self.written = w.HTML(), w.HTML()
        self.detector.observe(self._on_detector, "value")
        self.probe.observe(self._on_probe, "value")
        self.mode.observe(self._on_mode, "value")
        self.typed.observe(self._on_typed, "value")
        self.set_text.observe(self._on_set, "value")
        self.slider.observe(self._on_slider, "value")
        self.map.on_pick(self._on_pick)

    def _layout(self) -> list[Any]:
        left = w.VBox([self.detector, self.map, row(w.Label("a click"), self.click)])
        right = w.VBox([row(self.typed, self.probe), self.pattern, self.copied])
        aid = "Click a head to see what it attends to; Shift+click adds it to the outlined set."
        below = "Copying with the chosen heads ablated, and with as many random ones."
        return [
            title("Heads", aid, self.detecting, self.looker),
            columns(left, right),
            *self.patterns.layout(),
            title("Without these heads", below, self.worker),
            row(self.slider, self.mode),
            self.set_text,
            columns(self.written, self.curve),
        ]

    # Callbacks of controls -------------------------------------------------------------------

    @guarded("detecting")
    def _on_detector(self, _: Any) -> None:
        name = self.detector.value
        self.detecting.stop()
        if name in self._scores:
            self._show_detector(name)
            return

        def done(scores: HeadScores) -> None:
            self._scores[name] = scores
            self._show_detector(name)

        def work() -> HeadScores:
            return detect(self.model, self.probes, name, progress=False)

        def back() -> None:
            self.detector.value = self._name

        self.detecting.start(work, done, what=f"{name} on every head", dropped=back)

    def _show_detector(self, name: str) -> None:
        if name == self._name:
            return
        self._name = name
        self._draw_map()
        self._choose(self.scores_now().top(max(1, self.slider.value)))
        self._look()

    @guarded("worker")
    def _on_pick(self, index: int, toggle: int) -> None:
        self._take(Head(*divmod(index, self.scores_now().n_heads)), bool(toggle))

    @guarded("worker")
    def _take(self, head: Head, toggle: bool) -> None:
        """Look at a head that is picked, or add it to the chosen ones, or take it away."""
        if toggle or self.click.value == "toggle":
            left = [h for h in self.heads if h != head]
            grown = left if head in self.heads else [*self.heads, head]
            self._choose(HeadSet(tuple(grown), "chosen"))
        if not toggle:
            self.typed.value = str(head)

    @guarded("looker")
    def _on_typed(self, _: Any) -> None:
        head = parse_head(self.typed.value)
        self.scores_now().grid.check([head])
        self.head = head
        self._look()

    @guarded("looker")
    def _on_probe(self, _: Any) -> None:
        self._look()
        self.patterns.follow()

    def _text_of_probe(self) -> tuple[str, tuple[int, ...]]:
        probe = self.probes[self.probe.value]
        return probe.id, tuple(probe.tokens)

    @guarded("worker")
    def _on_set(self, _: Any) -> None:
        text = self.set_text.value
        if not self._following:
            self._choose(HeadSet.parse(text, "chosen") if text.strip() else HeadSet((), "none"))

    @guarded("worker")
    def _on_slider(self, _: Any) -> None:
        k = self.slider.value
        if not self._following:
            self._choose(self.scores_now().top(k) if k else HeadSet((), "none"))

    @guarded("worker")
    def _on_mode(self, _: Any) -> None:
        self._measure()

    def _choose(self, heads: HeadSet) -> None:
        self.scores_now().grid.check(heads)
        if heads.heads == self.heads.heads:
            self.worker.nothing_to_do()
            return
        self.heads = heads
        # Both controls follow the set: their change events here are not a user's choice.
        self._following = True
        try:
            self.set_text.value = str(heads)
            self.slider.value = min(len(heads), self.slider.max)
        finally:
            self._following = False
        self._mark()
        self._measure()

    # What is shown -----------------------------------------------------------------------------

    def _draw_map(self) -> None:
        scores = self.scores_now()
        self.map.draw(head_traits(scores))
        named = f"{scores.detector} score"
        self.patterns.describe(
            {head: f"{named} {number(scores.scores[head])}" for head in scores.grid.heads()}
        )
        self._mark()

    def _mark(self) -> None:
        width = self.scores_now().n_heads
        self.map.marked = [h.layer * width + h.head for h in self.heads]
        self.map.current = self.head.layer * width + self.head.head
        self.patterns.mark(self.heads.heads, self.head)

    def _look(self) -> None:
        self._mark()
        index = self.probe.value
        if index in self._attention:
            self.looker.show("")
            self._show_attention(index)
            return
        probe = self.probes[index]

        def keep_and_show(attention: AnswerAttention) -> None:
            while len(self._attention) >= KEPT:
                self._attention.pop(next(iter(self._attention)))
            self._attention[index] = attention
            self._show_attention(index)

        self.looker.start(
            lambda: answer_attention(self.model, probe),
            keep_and_show,
            what=f"attention on {probe.id}",
        )

    def _show_attention(self, index: int) -> None:
        if index != self.probe.value:
            return
        put_figure(self.pattern, self.figure("attention"))
        found = self._attention[index]
        begin = found.probe.answer[0]
        words = [(found.texts[begin + i], hit) for i, hit in enumerate(found.copied(self.head))]
        scores = probe_scores_html(self.frame("probes"), found.probe.id)
        self.copied.value = copied_html(str(self.head), words) + scores

    def _measure(self) -> None:
        heads = self.heads
        work, size = self._effects.plan(heads, self.mode.value, self.scores_now())

        def done(measured: Measured) -> None:
            self._effects.keep(measured)
            put_figure(self.curve, self.figure("ablation"))
            self.written.value = self._written_html()

        what = f"copying without {len(heads)} head{'s' * (len(heads) != 1)}"
        self.worker.start(work, done, what=what, size=size)

    def _written_html(self) -> str:
        found = self._effects.comparison
        if found is None:
            return ""
        tokenizer = self.model.tokenizer
        wanted = tokenizer.decode(list(self._effects.probes[0].answer_tokens))
        table = effect_html(self._effects.table(self.heads, self.mode.value))
        split = found.divergence
        texts = texts_html(
            [
                ("to copy", [wanted], None),
                ("all heads", found.base_texts, None),
                ("without", found.ablated_texts, split),
            ]
        )
        return f'{table}<div style="height:10px"></div>{texts}'

    def static_body(self) -> Markup:
        """What the view shows now, as HTML without scripts."""
        scores, chosen = self.scores_now(), self.map.marked
        found = self._effects.headline(self.heads, self.mode.value)
        best = self.frame().sort_values("rank").head(SHOWN)
        return Markup("").join(
            [
                said(found or f"Scores of {scores.detector}", f"chosen: {self.heads}"),
                Markup(self._written_html()),
                picture(
                    scores.scores,
                    f"{scores.detector} score of {scores.n_heads} heads (across) in "
                    f"{scores.n_layers} layers (upward), outlined: the chosen ones",
                    marked=chosen,
                ),
                table(best[["name", "score", "lo", "hi"]]),
                Markup(self.copied.value),
                self.patterns.static_body(),
            ]
        )

    # The data and the static form --------------------------------------------------------------

    def frame(self, what: str = "heads") -> pd.DataFrame:
        """The data behind a view: "heads", "attention", "probes" (the head's score on each),
        "ablation" (what was measured so far) or "patterns" (where the attention of each head goes,
        see :meth:`.HeadPatterns.frame`; empty until the patterns are shown).

        Raises:
            ConfigError: another name.
        """
        if what == "heads":
            return self.scores_now().to_frame()
        if what == "attention":
            found = self._attention.get(self.probe.value)
            return found.frame(self.head) if found else pd.DataFrame()
        if what == "probes":
            return self._probe_scores()
        if what == "ablation":
            return self._effects.frame()
        if what == "patterns":
            return self.patterns.frame()
        raise ConfigError(f"frame({what!r}): use {', '.join(FRAMES)}")

    def _probe_scores(self) -> pd.DataFrame:
        scores = self.scores_now()
        values = scores.samples[:, self.head.layer, self.head.head]
        # A detector may use probes of its own kind rather than those shown.
        same = scores.provenance.get("probes") == self.probes.info()
        ids = [p.id for p in self.probes] if same else [f"probe {i}" for i in range(len(values))]
        return pd.DataFrame({"probe": ids, "score": values, "name": str(self.head)})

    def figure(self, what: str = "heads") -> Any:
        """A static figure of a view: "heads", "attention" or "ablation", as a Plotly figure."""
        if what == "attention":
            return answer_attention_map(self.frame(what), str(self.head))
        if what == "ablation":
            mode = self.mode.value
            said = self._effects.headline(self.heads, mode)
            return ablation_curve(self._effects.shown(mode), title=said)
        if what != "heads":
            raise ConfigError(f"figure({what!r}): use heads, attention, ablation")
        return head_map(self.frame().assign(top=lambda f: f["name"].isin(self.heads.names())))
