"""Look into heads: the map of their scores, what each attends to, what switching some off does."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import pandas as pd

from .ablation import DEFAULT_MODE, MODES, ablated, as_head_set
from .attention import AnswerAttention, answer_attention
from .continuation import Comparison, compare
from .errors import ConfigError
from .figtext import number, visible
from .figures_ablation import ablation_curve
from .figures_attention import answer_attention_map
from .figures_heads import head_map
from .figures_steps import row_dicts
from .heads import Head, HeadScores, HeadSet, parse_head, random_heads
from .probes import ProbeSet
from .retrieval import copy_accuracy
from .types import Mode
from .widgets_base import Worker, columns, figure_output, guarded, put_figure, row, title
from .widgets_js import GridMap

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MOST = 0.30  # the slider's end: at this share of heads little is left of any model
KEPT = 4  # probes whose attention is kept in memory
FRAMES = ("heads", "attention", "probes", "ablation")


class HeadExplorer(w.VBox):  # type: ignore[misc]
    """Click a head to see what it attends to and copies; choose a set to see what is lost without.

    Args:
        model: the bridge.
        scores: of one detector, or of several by name.
        probes: what the heads are looked at on, and copy accuracy measured on.
        heads: the chosen set at first; default: the top 5 %.
        mode: ablation mode at first.
        measured: how many probes copy accuracy is measured on; more are slower and less noisy.
        new_tokens: length of the continuation.

    ``heads`` is the chosen set; ``frame(what)`` and ``figure(what)`` give the data and the static
    form of each view.
    """

    def __init__(
        self,
        model: TransformerBridge,
        scores: HeadScores | Mapping[str, HeadScores],
        probes: ProbeSet,
        heads: HeadSet | Iterable[Any] | str | None = None,
        *,
        mode: Mode = DEFAULT_MODE,
        measured: int = 2,
        new_tokens: int = 24,
    ) -> None:
        many = {scores.detector: scores} if isinstance(scores, HeadScores) else dict(scores)
        if not many or not len(probes):
            raise ConfigError("HeadExplorer needs scores and at least one probe")
        self.model, self.probes, self._scores = model, probes, many
        self._measured = probes.subset(range(min(measured, len(probes))))
        self._new_tokens = new_tokens
        self._attention: dict[int, AnswerAttention] = {}
        self._rows: list[dict[str, Any]] = []
        self._comparison: Comparison | None = None
        self._following = False
        first = self.scores_now(next(iter(many)))
        self.heads = first.top() if heads is None else as_head_set(heads)
        if not len(self.heads):
            raise ConfigError("HeadExplorer needs at least one head to begin with")
        self.heads.check(first.n_layers, first.n_heads)
        self.head = self.heads.heads[0]
        self.worker, self.looker = Worker(model), Worker(model)
        self._controls(mode)
        super().__init__(self._layout(), layout={"width": "100%"})
        self._draw_map()
        self._look()
        self._measure()

    def scores_now(self, name: str | None = None) -> HeadScores:
        """The scores of the detector chosen (or named)."""
        return self._scores[name if name is not None else self.detector.value]

    def _controls(self, mode: Mode) -> None:
        self.detector = w.Dropdown(options=list(self._scores), description="detector")
        self.probe = w.Dropdown(
            options=[(p.id, i) for i, p in enumerate(self.probes)], description="probe"
        )
        self.mode = w.Dropdown(options=list(MODES), value=mode, description="ablation")
        self.click = w.ToggleButtons(
            options=[("looks at a head", "look"), ("adds or removes it", "toggle")],
            tooltips=["a click shows the head", "a click adds the head to the set"],
            style={"button_width": "140px"},
        )
        self.typed = w.Text(description="head", value=str(self.head), continuous_update=False)
        self.set_text = w.Text(
            description="heads",
            value=str(self.heads),
            continuous_update=False,
            layout={"width": "min(97%, 640px)"},
        )
        total = self.scores_now(next(iter(self._scores))).scores.size
        self.slider = w.IntSlider(
            description="top k",
            value=len(self.heads),
            min=0,
            max=max(1, round(MOST * total)),
            continuous_update=False,
            layout={"width": "min(97%, 420px)"},
        )
        self.map = GridMap(row_title="layer", col_title="head")
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
        left = w.VBox([row(w.Label("a click"), self.click), self.map])
        right = w.VBox([row(self.typed, self.probe), self.looker, self.pattern, self.copied])
        aid = "Outlined: the chosen set. Click a head to see what it attends to; Shift+click adds."
        below = "Copy accuracy with the chosen heads ablated, as many random heads beside."
        return [
            title("Heads", aid),
            row(self.detector),
            columns(left, right),
            title("Without these heads", below),
            row(self.slider, self.mode),
            self.set_text,
            self.worker,
            columns(self.written, self.curve),
        ]

    # What was asked for ------------------------------------------------------------------------

    @guarded
    def _on_detector(self, _: Any) -> None:
        self._draw_map()
        self._choose(self.scores_now().top(max(1, self.slider.value)))
        self._look()

    @guarded
    def _on_pick(self, index: int, toggle: int) -> None:
        head = Head(*divmod(index, self.scores_now().n_heads))
        if toggle or self.click.value == "toggle":
            left = [h for h in self.heads if h != head]
            grown = left if head in self.heads else [*self.heads, head]
            self._choose(HeadSet(tuple(grown), "chosen"))
        if not toggle:
            self.typed.value = str(head)

    @guarded
    def _on_typed(self, _: Any) -> None:
        head = parse_head(self.typed.value)
        HeadSet((head,)).check(self.scores_now().n_layers, self.scores_now().n_heads)
        self.head = head
        self._look()

    @guarded
    def _on_probe(self, _: Any) -> None:
        self._look()

    @guarded
    def _on_set(self, _: Any) -> None:
        text = self.set_text.value
        if self._following:
            return
        self._choose(HeadSet.parse(text, "chosen") if text.strip() else HeadSet((), "none"))

    @guarded
    def _on_slider(self, _: Any) -> None:
        k = self.slider.value
        if self._following:
            return
        self._choose(self.scores_now().top(k) if k else HeadSet((), "none"))

    @guarded
    def _on_mode(self, _: Any) -> None:
        self._measure()

    def _choose(self, heads: HeadSet) -> None:
        heads.check(self.scores_now().n_layers, self.scores_now().n_heads)
        if heads.heads == self.heads.heads:
            return
        self.heads = heads
        # Both say the same; what they report of it is not a choice of somebody's.
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
        frame = scores.to_frame().sort_values(["layer", "head"])
        notes = [
            f"{r.name}   {scores.detector} score {number(r.score)}   95 % interval "
            f"{number(r.lo)} to {number(r.hi)}   rank {r.rank} of {len(frame)}"
            for r in frame.set_index("name", drop=False).itertuples(index=False)
        ]
        self.map.title = f"{scores.detector} score, layers upward"
        self.map.fill(
            scores.scores,
            [str(i) for i in range(scores.n_layers)],
            [str(i) for i in range(scores.n_heads)],
            notes,
        )
        self._mark()

    def _mark(self) -> None:
        width = self.scores_now().n_heads
        self.map.marked = [h.layer * width + h.head for h in self.heads]
        self.map.current = self.head.layer * width + self.head.head

    def _look(self) -> None:
        self._mark()
        index = self.probe.value
        if index in self._attention:
            self._show_attention(index)
            return
        probe = self.probes[index]

        def found(attention: AnswerAttention) -> None:
            while len(self._attention) >= KEPT:
                self._attention.pop(next(iter(self._attention)))
            self._attention[index] = attention
            self._show_attention(index)

        self.looker.start(
            lambda: answer_attention(self.model, probe), found, what=f"attention on {probe.id}"
        )

    def _show_attention(self, index: int) -> None:
        if index != self.probe.value:
            return
        put_figure(self.pattern, self.figure("attention"))
        found = self._attention[index]
        words = zip(found.probe.answer_tokens, found.copied(self.head), strict=True)
        begin = found.probe.answer[0]
        parts = [_word(found.texts[begin + i], hit) for i, (_, hit) in enumerate(words)]
        bars = "".join(_bar(str(r["probe"]), r["score"]) for r in row_dicts(self.frame("probes")))
        self.copied.value = (
            f'<div style="line-height:1.7">Copied by {self.head} on this probe: {"".join(parts)}'
            f'</div><div style="line-height:1.4;margin-top:6px">Score per probe{bars}</div>'
        )

    # What switching off does -------------------------------------------------------------------

    def _measure(self) -> None:
        heads, mode, scores = self.heads, self.mode.value, self.scores_now()
        sets = {"top" if heads.heads == scores.top(max(1, len(heads))).heads else "chosen": heads}
        if len(heads) and 2 * len(heads) <= scores.scores.size:
            shape = (scores.n_layers, scores.n_heads)
            sets["random"] = random_heads(shape, heads, draws=1, same_layers=False)[0]
        base = self._comparison.base if self._comparison else None
        known = [(r["heads"], r["mode"], r["set"]) for r in self._rows]
        todo = {k: s for k, s in sets.items() if len(s) and (k, mode, str(s)) not in known}
        steps = (len(todo) + (0 if known else 2)) * len(self._measured)

        def work() -> tuple[list[dict[str, Any]], Comparison]:
            rows = [] if known else self._levels()
            for name, chosen in todo.items():
                with ablated(self.model, chosen, mode):
                    rows.append(_row(name, mode, chosen, copy_accuracy(self.model, self._measured)))
            probe = self.probes[0]
            prompt = probe.tokens[: probe.answer[0]]
            args = {"max_new_tokens": self._new_tokens, "base": base}
            return rows, compare(self.model, prompt, heads, mode, **args)  # type: ignore[arg-type]

        def done(result: tuple[list[dict[str, Any]], Comparison]) -> None:
            size = scores.scores.size
            self._rows += [r | {"share": r["k"] / size} for r in result[0]]
            self._comparison = result[1]
            put_figure(self.curve, self.figure("ablation"))
            self.written.value = self._written_html()

        what = f"copying without {len(heads)} head{'s' * (len(heads) != 1)}"
        self.worker.start(work, done, what=what, size=steps)

    def _levels(self) -> list[dict[str, Any]]:
        """The model as it is, and the floor: the answer is not in the context."""
        base = copy_accuracy(self.model, self._measured)
        floor = copy_accuracy(self.model, self._measured, needle_removed=True)
        none = HeadSet(())
        rows = [_row(n, m, none, base) for m in MODES for n in ("top", "random", "chosen")]
        return [*rows, *(_row("needle removed", m, none, floor) for m in MODES)]

    def _written_html(self) -> str:
        found, rows = self._comparison, self.frame("ablation")
        if found is None:
            return ""
        mine = rows[(rows["set"] == str(self.heads)) & (rows["mode"] == self.mode.value)]
        said = [
            f"{r['heads']}, {r['k']} head{'s' * (r['k'] != 1)}: copy accuracy "
            f"{number(r['copy_accuracy'])}, answer NLL {number(r['nll'])} nats"
            for r in row_dicts(mine.drop_duplicates("heads"))
            if r["heads"] == "top" or (r["heads"] == "chosen" and r["k"])
        ]
        wanted = self.model.tokenizer.decode(list(self.probes[0].answer_tokens))
        texts = [("to copy", wanted), ("all heads", "".join(found.base_texts))]
        texts.append(("without", "".join(found.ablated_texts)))
        lines = "".join(
            f'<div><span style="opacity:.7;display:inline-block;width:5.5em">{name}</span>'
            f"<span style='white-space:pre-wrap'>{html.escape(text)}</span></div>"
            for name, text in texts
        )
        numbers = "".join(f"<div>{html.escape(text)}</div>" for text in said)
        return f'<div style="line-height:1.5">{numbers}<div style="height:8px"></div>{lines}</div>'

    # The data and the static form --------------------------------------------------------------

    def frame(self, what: str = "heads") -> pd.DataFrame:
        """The data behind a view: "heads", "attention", "probes" (the head's score on each) or
        "ablation" (what was measured so far).

        Raises:
            ConfigError: another name.
        """
        if what == "heads":
            return self.scores_now().to_frame()
        if what == "attention":
            found = self._attention.get(self.probe.value)
            return found.frame(self.head) if found else pd.DataFrame()
        if what == "probes":
            values = self.scores_now().samples[:, self.head.layer, self.head.head]
            ids = [p.id for p in self.probes] + [f"probe {i}" for i in range(len(values))]
            frame = pd.DataFrame({"probe": ids[: len(values)], "score": values})
            return frame.assign(name=str(self.head))
        if what == "ablation":
            names = ["heads", "mode", "k", "share", "copy_accuracy", "nll", "set"]
            return pd.DataFrame(self._rows, columns=names)
        raise ConfigError(f"frame({what!r}): use {', '.join(FRAMES)}")

    def figure(self, what: str = "heads") -> Any:
        """The static form of a view: "heads", "attention" or "ablation", as a Plotly figure."""
        if what == "attention":
            return answer_attention_map(self.frame(what), str(self.head))
        if what == "ablation":
            rows = self.frame(what)
            rows = rows[rows["mode"] == self.mode.value]
            seen = set(rows.loc[rows["k"] > 0, "heads"]) | {"top", "random", "needle removed"}
            return ablation_curve(rows[rows["heads"].isin(seen)])
        if what != "heads":
            raise ConfigError(f"figure({what!r}): use heads, attention, ablation")
        return head_map(self.frame().assign(top=lambda f: f["name"].isin(self.heads.names())))


def _row(name: str, mode: str, heads: HeadSet, result: Any) -> dict[str, Any]:
    row = {"heads": name, "mode": mode, "k": len(heads), "set": str(heads)}
    return row | {"copy_accuracy": result.accuracy, "nll": result.nll}


def _word(text: str, hit: bool) -> str:
    style = "background:rgba(213,94,0,.35);border-radius:2px" if hit else "opacity:.6"
    return f'<span style="{style}">{html.escape(visible(text))}</span>\u200b'


def _bar(name: str, score: float) -> str:
    width = max(1, round(120 * float(score)))
    bar = f'<i style="display:inline-block;height:6px;width:{width}px;background:#0072B2"></i>'
    cell = '<span style="display:inline-block;width:{}em">{}</span>'
    return f"<div>{cell.format(6, html.escape(name))}{cell.format(4, number(score))}{bar}</div>"
