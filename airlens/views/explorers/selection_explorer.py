"""Explore a selection: the samples that a threshold keeps, and their traces."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets as w
import pandas as pd
from markupsafe import Markup

from airlens.arguments import checked
from airlens.corpus.export import export, manifest_path, with_texts, write_chosen
from airlens.errors import ConfigError, need_columns
from airlens.selection.contrast import column_of
from airlens.selection.overlap import overlap
from airlens.selection.select import SELECTORS, Selection, select, selector_values
from airlens.step_influence.influence import Influence
from airlens.traces.trace import Trace, as_traces
from airlens.views.figures.labels import label, percent, shorten
from airlens.views.figures.selected_samples import (
    domain_counts,
    selection_scatter,
    selector_overlap,
)
from airlens.views.figures.strongest_step import said_of, strongest_step
from airlens.views.figures.style import floats

from .jobs import Worker, guarded
from .js import DataTable, Picks, Scatter, TraceText
from .layout import columns, figure_output, headline_html, put_figure, row, title
from .live_view import LiveView
from .static_parts import said, table

AXES = ["n_tokens", "loss_base", "entropy", "ais", "delta", "ais_control", "n_steps"]
SHOWN = ["id", "domain", "selected", "ais", "ais_control", "delta", "loss_base", "n_tokens"]
BARS = ("ais", "ais_control", "delta", "loss_base", "n_tokens")
MOST_POINTS = 20_000
ROWS = 25  # of the table in the static form


class SelectionExplorer(LiveView):
    """Samples as points and as a table, a threshold that chooses, a trace behind each.

    Args:
        samples: ``Influence.samples``, or the whole
            :class:`~airlens.step_influence.influence.Influence`, whose tokens then colour the
            traces.
        traces: the texts, by id; without them only numbers are shown.
        by: initial selector.
        top: initial share kept.

    ``selection`` is what is kept; ``frame(what)`` and ``figure(what)`` return the data of each view
    and a static figure.
    """

    @checked
    def __init__(
        self,
        samples: pd.DataFrame | Influence,
        traces: Iterable[Trace] = (),
        *,
        by: str = "ais",
        top: float = 0.2,
    ) -> None:
        self.influence = samples if isinstance(samples, Influence) else None
        frame = samples.samples if isinstance(samples, Influence) else samples
        need_columns(frame, ["id"], "SelectionExplorer")
        if frame.empty:
            raise ConfigError("SelectionExplorer needs at least one sample")
        if not 0 < top <= 1:
            raise ConfigError("give a share in (0, 1]", argument="top", value=top)
        selector_values(frame, by)
        self.samples = frame.reset_index(drop=True)
        self.traces = {t.id: t for t in as_traces(traces)}
        self.worker = Worker()
        self._controls(by, top)
        self.selection = self._select()
        super().__init__(self._layout(), self.worker)
        self._draw()
        self._open()

    def _open(self) -> None:
        """Show the strongest step above its control, where steps were scored."""
        best = strongest_step(self.influence.steps) if self.influence else None
        ids = self.samples["id"].astype(str).tolist()
        if best is not None and best.id in ids:
            self._on_pick(ids.index(best.id))

    def _controls(self, by: str, top: float) -> None:
        axes = [(label(c), c) for c in AXES if c in self.samples]
        within = [("each domain", "domain")] if "domain" in self.samples else []
        self.x = w.Dropdown(options=axes, description="across")
        self.y = w.Dropdown(options=axes, description="up", value=by if by in AXES else axes[0][1])
        self.by = w.Dropdown(options=usable_with(self.samples), value=by, description="rank by")
        self.within = w.Dropdown(options=[*within, ("all", None)], description="within")
        self.top = w.FloatSlider(
            description="keep", value=top, min=0.01, max=1, step=0.01, readout_format=".0%",
            continuous_update=False, layout={"width": "min(97%, 420px)"},
        )  # fmt: skip
        self.out = w.Text(
            value="runs/selected.jsonl", description="write to",
            tooltip="a .jsonl, .csv or .parquet file; a folder, for datasets, has no ending",
        )  # fmt: skip
        self.chat = w.Checkbox(value=False, description="as chat messages", indent=False)
        self.save = w.Button(description="export", tooltip="write the samples that are kept")
        self.points, self.table, self.text = Scatter(), DataTable(), TraceText()
        self.text.empty = "Click a point or a row to read its trace."
        self.counts, self.shared = figure_output("counts"), figure_output("overlap")
        self.said = w.HTML()
        for control in (self.x, self.y):
            control.observe(self._on_axes, "value")
        for control in (self.by, self.within, self.top):
            control.observe(self._on_rule, "value")
        self.points.observe(self._on_lasso, "lasso")
        picks = Picks()
        self.points.on_pick(self._on_pick, picks)
        self.table.on_pick(self._on_pick, picks)
        self.save.on_click(self._on_export)

    def _layout(self) -> list[Any]:
        aid = "Filled: kept. Click a point, or draw a loop round some to see only them below."
        return [
            title("A selection", aid),
            row(self.by, self.within, self.top),
            row(self.x, self.y),
            self.points,
            columns(self.counts, self.shared),
            self.table,
            self.said,
            self.text,
            row(self.out, self.chat, self.save, self.worker),
        ]

    # Callbacks of controls -------------------------------------------------------------------

    @guarded("worker")
    def _on_axes(self, _: Any) -> None:
        self._draw_points()

    @guarded("worker")
    def _on_rule(self, _: Any) -> None:
        self.selection = self._select()
        self._draw()

    @guarded("worker")
    def _on_lasso(self, _: Any) -> None:
        self.table.only = list(self.points.lasso)

    @guarded("worker")
    def _on_pick(self, index: int) -> None:
        sample = self.samples.iloc[index]
        self.points.current = self.table.current = index
        self._show_trace(str(sample["id"]))

    @guarded("worker")
    def _on_export(self, _: Any) -> None:
        if not self.out.value.strip():
            raise ConfigError("name a file to write to")
        out, chat, chosen = Path(self.out.value).expanduser(), self.chat.value, self.selection
        source = self.influence.provenance if self.influence else {}
        self.worker.start(
            lambda: export_selection(chosen, self.traces, out, messages=chat, source=source),
            lambda files: self.worker.show(f"written: {', '.join(map(str, files))}"),
            what="writing",
        )

    def _select(self) -> Selection:
        top = float(self.top.value)
        return select(self.samples, self.by.value, top, within=self.within.value)

    # Showing -----------------------------------------------------------------------------------

    def _draw(self) -> None:
        kept = self.selection.samples
        self._draw_points()
        self.table.fill(kept[[c for c in SHOWN if c in kept]], BARS)
        by_domain = kept if "domain" in kept else kept.assign(domain="all")
        put_figure(self.counts, domain_counts(by_domain))
        put_figure(self.shared, self.figure("overlap"))
        self.leave()

    def _draw_points(self) -> None:
        kept, points = self.selection.samples, self.points
        shown = kept.head(MOST_POINTS)
        x, y = self.x.value, self.y.value
        count = int(kept["selected"].sum())
        legend = f"kept: {count} of {len(kept)} ({percent(count / len(kept))})"
        if len(shown) < len(kept):
            legend += f"; drawn: the first {len(shown)}"
        points.fill(
            (floats(shown, x), label(x)),
            (floats(shown, y), label(y)),
            ids=shown["id"].tolist(),
            groups=shown["domain"].tolist() if "domain" in shown else [],
            chosen=shown["selected"].tolist(),
            legend=legend,
        )

    def _show_trace(self, id: str) -> None:
        trace = self.traces.get(id)
        self.said.value = ""
        found = self.influence
        tokens = found.tokens[found.tokens["id"] == id] if found else pd.DataFrame()
        if found is not None and not tokens.empty:
            steps = found.steps[found.steps["id"] == id]
            self.text.legend = f"{shorten(id, 40)}; margin: AIS of the step, random heads in grey"
            self.text.fill(tokens, steps, trace.response if trace else "")
            self.text.colour(tokens, "delta")
            best = strongest_step(steps)
            self.text.current = best.step if best else -1
            n_heads = len(found.provenance.get("heads", []))
            self.said.value = headline_html(said_of(best, n_heads, "this trace") + ".")
            return
        if trace is None:
            self.worker.show(f"no text is known of {id}: give SelectionExplorer its traces")
            return
        steps_of = trace.steps or trace.with_steps("auto").steps
        parts = [(id, i, i, s.text, 0.0) for i, s in enumerate(steps_of)]
        frame = pd.DataFrame(parts, columns=["id", "step", "pos", "token", "delta"])
        sides = pd.DataFrame({"step": frame["step"], "label": [s.label for s in steps_of]})
        self.text.legend = f"{shorten(id, 40)}; not scored"
        self.text.fill(frame, sides, "")

    def static_body(self) -> Markup:
        """What the view shows now, as HTML without scripts."""
        kept = self.selection.chosen
        rule = f"the best {percent(float(self.top.value))} by {label(self.by.value)}"
        within = " of each domain" if self.within.value else ""
        shown = kept[[name for name in SHOWN if name in kept and name != "selected"]].head(ROWS)
        more = f"; the first {ROWS}" if len(kept) > ROWS else ""
        head = f"{len(kept)} of {len(self.samples)} samples are kept: {rule}{within}"
        return said(head, f"by rank{more}" if more else "") + table(shown)

    # The data and the static form --------------------------------------------------------------

    def frame(self, what: str = "samples") -> pd.DataFrame:
        """The data: "samples" (with selected and rank_in_group), "chosen", "lasso" or "overlap".

        Raises:
            ConfigError: another name.
        """
        if what == "samples":
            return self.selection.samples
        if what == "chosen":
            return self.selection.chosen
        if what == "lasso":
            return self.selection.samples.iloc[list(self.points.lasso)]
        if what == "overlap":
            names = ("ais", "random", "length", "loss", "entropy", "ais_control")
            usable = [n for n in names if n in usable_with(self.samples)]
            return overlap(self.samples, usable, (float(self.top.value),), within=self.within.value)
        raise ConfigError(f"frame({what!r}): use samples, chosen, lasso, overlap")

    def figure(self, what: str = "scatter") -> Any:
        """A static figure: "scatter", "counts" or "overlap", as a Plotly figure."""
        if what == "overlap":
            return selector_overlap(self.frame("overlap"))
        if what == "counts":
            return domain_counts(self.selection.samples)
        if what == "scatter":
            return selection_scatter(self.selection.samples, self.x.value, self.y.value)
        raise ConfigError(f"figure({what!r}): use scatter, counts, overlap")


def export_selection(
    selection: Selection,
    traces: Mapping[str, Trace],
    out: str | Path,
    *,
    messages: bool = False,
    source: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write the chosen samples as ``airlens select`` and ``airlens export`` do, with a manifest.

    Args:
        selection: the selection.
        traces: the texts, by id.
        out: a file (.jsonl, .json, .csv, .parquet, …); without an ending a folder for `datasets`.
        messages: prompt and response as a chat.
        source: provenance of the scores, for the manifest.

    Raises:
        ConfigError: a chosen sample has no text.
    """
    bare = [i for i in selection.ids if i not in traces]
    if bare:
        raise ConfigError(
            f"no text is known of {len(bare)} of the {len(selection.ids)} chosen samples, the "
            f"first is {bare[0]!r}: give SelectionExplorer their traces"
        )
    texts = {name: traces[name].to_json() for name in selection.ids}
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "selected.jsonl"
        write_chosen(with_texts(selection, texts), selection, chosen, {"run": dict(source or {})})
        export(chosen, out, messages=messages)
    return [Path(out), manifest_path(out)]


def usable_with(samples: pd.DataFrame) -> list[str]:
    """The selectors that can rank these samples: their column is there, or they need none."""
    own = [name for name in SELECTORS.own if column_of(name) in samples]
    return ["random", *own, *(name for name in SELECTORS if name not in SELECTORS.own)]
