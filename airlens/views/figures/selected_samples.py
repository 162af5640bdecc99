"""Figures of a selection: chosen samples, scores by domain, and overlap of selectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from airlens.arguments import checked

from .labels import SHORT, known, label, number, percent, plotly_text, shorten
from .step_maps import by_group, row_dicts
from .style import (
    COLOURS,
    DARK_INK,
    INK,
    TEXT_SEQUENTIAL,
    domain_colours,
    figure,
    floats,
    legend_room,
    need,
    no_data,
)


def _selected(frame: pd.DataFrame) -> NDArray[np.bool_]:
    if "selected" not in frame:
        return np.ones(len(frame), dtype=bool)
    return frame["selected"].fillna(False).to_numpy(dtype=bool)


def _sample_hover(row: dict[str, Any], x: str, y: str) -> str:
    text = f"<b>{plotly_text(shorten(row.get('id', ''), 50))}</b>"
    text += f" · {plotly_text(row['domain'])}" if row.get("domain") else ""
    for column in dict.fromkeys((y, x, "ais_control", "loss_base", "n_tokens")):
        if column in row:
            text += f"<br>{label(column)}: {number(row[column])}"
    if "selected" in row:
        text += "<br>selected" if row["selected"] is True else "<br>not selected"
    if known(row.get("rank_in_group")):
        text += f", rank {number(row['rank_in_group'])} in its group"
    return text


@checked
def selection_scatter(
    frame: pd.DataFrame, x: str = "n_tokens", y: str = "ais", *, title: str | None = None
) -> go.Figure:
    """Return samples as points, the chosen ones filled, coloured and shaped by domain.

    Args:
        frame: One row per sample: `x`, `y`; domain, id, selected, rank_in_group where known.
        x: `n_tokens` (tokens), `loss_base` or `entropy` (nats per token), or another column.
        y: `ais`, `delta`, …
        title: Replaces the headline, which gives Spearman's ρ.
    """
    if frame.empty:
        return no_data(title or "Selection", "no samples to show")
    need(frame, (x, y), "selection_scatter")
    xs, ys = floats(frame, x), floats(frame, y)
    both = np.isfinite(xs) & np.isfinite(ys)
    if not both.any():
        return no_data(title or "Selection", f"no sample has a value in both {x} and {y}")
    chosen = _selected(frame)
    both_ways = pd.DataFrame({"x": xs, "y": ys}).corr("spearman", min_periods=3)
    rho = float(both_ways.to_numpy()[0, 1])
    head = f"{SHORT.get(y, y)} against {SHORT.get(x, x)}: Spearman ρ = {number(rho, 2)}"
    aid = f"{int(both.sum())} samples"
    aid += "" if both.all() else f", {int((~both).sum())} without a value"
    aid += f"; filled: the {int((chosen & both).sum())} chosen" if "selected" in frame else ""
    fig = figure(title or head, aid, height=440, legend=True)
    domains = [str(name) for name in frame["domain"]] if "domain" in frame else [""] * len(frame)
    hover = [_sample_hover(row, x, y) for row in row_dicts(frame)]
    for domain, look in domain_colours(domains).items():
        here = both & (np.array(domains) == domain)
        for part, filled in ((here & ~chosen, False), (here & chosen, True)):
            _add_points(fig, (xs, ys), np.flatnonzero(part), hover, (domain, look, filled))
    _one_legend_entry(fig)
    legend_room(fig)
    fig.update_xaxes(title_text=label(x))
    fig.update_yaxes(title_text=label(y))
    return fig


def _add_points(
    fig: Any,
    data: tuple[NDArray[np.float64], NDArray[np.float64]],
    rows: NDArray[np.int64],
    hover: list[str],
    look: tuple[str, tuple[str, str], bool],
) -> None:
    domain, (colour, symbol), filled = look
    if not rows.size:
        return
    fig.add_scatter(
        x=data[0][rows].tolist(),
        y=data[1][rows].tolist(),
        mode="markers",
        name=plotly_text(domain) or "samples",
        legendgroup=plotly_text(domain),
        meta="selected" if filled else "unselected",
        marker={
            "symbol": symbol if filled else f"{symbol}-open",
            "color": colour,
            "size": 9 if filled else 7,
            "opacity": 1 if filled else 0.6,
            "line": {"width": 1, "color": "rgba(20,24,28,0.75)" if filled else colour},
        },
        hovertext=[hover[row] for row in rows],
        hoverinfo="text",
    )


def _one_legend_entry(fig: Any) -> None:
    """Keep one legend entry per domain, of its chosen samples where there are any."""
    best = {trace.legendgroup: place for place, trace in enumerate(fig.data)}
    for place, trace in enumerate(fig.data):
        trace.showlegend = best[trace.legendgroup] == place


@checked
def selector_overlap(
    frame: pd.DataFrame, top: float | None = None, *, title: str | None = None
) -> go.Figure:
    """Return the Jaccard overlap of what each pair of selectors keeps.

    Args:
        frame: One row per pair: a, b, jaccard (0 to 1); top (kept share) where there are several.
        top: Show only this kept share; by default each has its own panel.
        title: Replaces the headline.
    """
    heading = title or "Overlap of selectors"
    if len(frame):
        need(frame, ("a", "b", "jaccard"), "selector_overlap")
    rows = frame.dropna(subset=["jaccard"]) if len(frame) else frame
    if top is not None and "top" in rows:
        rows = rows[np.isclose(floats(rows, "top"), top)]
    if rows.empty:
        return no_data(heading, "no pair of selectors to show")
    names = list(dict.fromkeys([*map(str, rows["a"]), *map(str, rows["b"])]))
    # A single share is named by the headline.
    tops = sorted(rows["top"].dropna().unique()) if "top" in rows and top is None else []
    base = figure(title or _overlap_title(rows), "Jaccard: shared over all that either keeps")
    fig = make_subplots(
        rows=1,
        cols=max(1, len(tops)),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[f"top {percent(float(share))}" for share in tops] or None,
    )
    fig.update_layout(base.layout, height=190 + 34 * len(names) + 40)
    fig.update_layout(margin_t=base.layout.margin.t + 26)
    for place, share in enumerate(tops or [None]):
        part = rows if share is None else rows[rows["top"] == share]
        fig.add_trace(_overlap_cells(part, names), row=1, col=place + 1)
    ticks = {"tickvals": list(range(len(names))), "ticktext": [plotly_text(n) for n in names]}
    fig.update_xaxes(**ticks, showgrid=False, zeroline=False, ticks="", tickangle=-40)
    fig.update_yaxes(**ticks, showgrid=False, zeroline=False, ticks="", autorange="reversed")
    fig.update_annotations(font_size=12.5)
    return fig


def _overlap_title(rows: pd.DataFrame) -> str:
    pairs = rows[rows["a"].astype(str) != rows["b"].astype(str)]
    if pairs.empty:
        return "Overlap of selectors"
    low, high = (pairs.iloc[int(pick)] for pick in _extremes(floats(pairs, "jaccard")))
    several = "top" in rows and rows["top"].nunique() > 1
    return (
        f"{high['a']} and {high['b']} overlap most ({_overlap(high, several)}), "
        f"{low['a']} and {low['b']} least ({_overlap(low, several)})"
    )


def _overlap(pair: Any, several: bool) -> str:
    share = f", top {percent(float(pair['top']))}" if several else ""
    return f"{number(pair['jaccard'], 2)}{share}"


def _extremes(values: NDArray[np.float64]) -> tuple[int, int]:
    return int(np.nanargmin(values)), int(np.nanargmax(values))


def _overlap_cells(rows: pd.DataFrame, names: list[str]) -> dict[str, Any]:
    grid = np.full((len(names), len(names)), np.nan)
    a, b = ([names.index(str(name)) for name in rows[side]] for side in ("a", "b"))
    grid[a, b] = grid[b, a] = floats(rows, "jaccard")
    trivial = np.diag(grid) == 1  # any other value: one draw of random against another
    grid[np.flatnonzero(trivial), np.flatnonzero(trivial)] = np.nan
    hover = [[f"{plotly_text(p)} and {plotly_text(q)}" for q in names] for p in names]
    if "lo" in rows:
        ranges = zip(a, b, floats(rows, "lo"), floats(rows, "hi"), strict=True)
        for i, j, lo, hi in ranges:
            if np.isfinite(lo):
                hover[i][j] += f" (mean of draws, {lo:.2f} to {hi:.2f})"
    return {
        "type": "heatmap",
        "z": grid.tolist(),
        "text": [["" if np.isnan(cell) else _share(cell) for cell in row] for row in grid],
        "texttemplate": "%{text}",
        "textfont": {"size": 11.5, "color": DARK_INK},
        "customdata": hover,
        "hovertemplate": "%{customdata}<br>Jaccard %{z:.3f}<extra></extra>",
        "colorscale": TEXT_SEQUENTIAL,
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }


def _share(value: float) -> str:
    """Two digits without the leading zero: ``.33``."""
    return f"{value:.2f}".removeprefix("0")


@checked
def ais_by_domain(
    frame: pd.DataFrame, value: str = "ais", *, title: str | None = None
) -> go.Figure:
    """Return the distribution of a sample value by domain, beside the random-heads control.

    Args:
        frame: One row per sample: domain and `value`; `<value>_control` where known.
        value: `ais` or `delta` (nats per token).
        title: Replaces the headline.
    """
    return by_group(frame, "domain", value, title=title, what="samples")


@checked
def domain_counts(frame: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Return how many samples of each domain are kept.

    Args:
        frame: One row per sample: domain; selected where a selection was made.
        title: Replaces the headline.
    """
    heading = title or "Samples by domain"
    if frame.empty:
        return no_data(heading, "no samples to show")
    need(frame, ("domain",), "domain_counts")
    rows = pd.DataFrame({"domain": frame["domain"].astype(str), "kept": _selected(frame)})
    counts = rows.groupby("domain")["kept"].agg(["sum", "size"]).sort_values("size")
    kept, every = counts["sum"].astype(int).tolist(), counts["size"].astype(int).tolist()
    chosen, many = "selected" in frame, f"{len(counts)} domain" + "s" * (len(counts) > 1)
    head = f"{sum(every)} samples in {many}"
    head = f"{sum(kept)} of {sum(every)} samples from {many} are kept" if chosen else head
    fig = figure(title or head, height=150 + 40 * len(counts), legend=chosen)
    pairs = zip(kept, every, strict=True)
    notes = [f"{k} of {n} ({percent(k / n)})" if chosen else str(n) for k, n in pairs]
    _add_counts(fig, every, "unselected", 0.62, notes)
    fig.data[0].update(text=notes, textposition="outside", cliponaxis=False, name="all")
    fig.data[0].update(textfont={"size": 12, "color": INK})
    if chosen:
        _add_counts(fig, kept, "selected", 0.34, notes)
    ticks = [plotly_text(shorten(name, 30)) for name in counts.index]
    fig.update_yaxes(tickvals=list(range(len(ticks))), ticktext=ticks, showgrid=False)
    fig.update_xaxes(title_text="samples (count)", range=[0, max(every)])
    room = 30 + 7 * max(map(len, notes))  # for what stands beside the longest bar, at any width
    fig.update_layout(barmode="overlay", legend_traceorder="normal", margin_r=room)
    return fig


def _add_counts(fig: Any, counts: list[int], kind: str, width: float, notes: list[str]) -> None:
    look: dict[str, Any] = {
        "orientation": "h",
        "width": width,
        "marker": {"color": COLOURS[kind], "opacity": 1 if kind == "selected" else 0.5},
        "name": kind,
    }
    look |= {"hovertext": notes, "hoverinfo": "text"}
    fig.add_bar(x=counts, y=list(range(len(counts))), **look)
