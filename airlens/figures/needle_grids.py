"""Figures of needle probes and of the answers of an ablated model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from plotly.subplots import make_subplots

from .labels import number, plotly_text, visible
from .style import COLOURS, DARK_INK, TEXT_SEQUENTIAL, error_bars, figure, floats, need, no_data

CONDITIONS = {
    "base": COLOURS["base"],
    "top": COLOURS["ablated"],
    "random": COLOURS["control"],
    "layer-matched": "#5d646c",
}
"""Conditions in the order of their panels, and their colours."""


def needle_grid_figure(
    frame: pd.DataFrame, summary: pd.DataFrame | None = None, *, title: str | None = None
) -> Any:
    """Return recall by depth and length, one panel a condition, and a line over all depths.

    Args:
        frame: From `airlens.analysis.needles.needle_grid`: condition, length, depth, recall.
        summary: From `airlens.analysis.needles.needle_summary`: condition, length, depth, found,
            lo, hi, n; its rows over all depths are the line under the panels. None: no line.
        title: Replaces the headline.
    """
    need(frame, ("condition", "length", "depth", "recall"), "needle_grid_figure")
    if frame.empty:
        return no_data(title or "Needle in a haystack", "no probe was asked")
    names = [name for name in CONDITIONS if name in set(frame["condition"])]
    means = frame.assign(recall=floats(frame, "recall")).groupby("condition")["recall"].mean()
    head = "Needle recall: " + ", ".join(f"{name} {number(means[name])}" for name in names)
    aid = "ROUGE-1 recall of greedy answers, mean over needles and draws of a cell"
    if summary is not None:
        need(summary, ("condition", "length", "depth", "found", "lo", "hi", "n"), "summary")
        aid += "; below: share found (recall over 0.5) over all depths, 95 % Wilson interval"
    grid = _panels(title or head, aid, names, summary is not None)
    for i, name in enumerate(names, start=1):
        _add_cells(grid, frame[frame["condition"] == name], i, last=i == len(names))
    grid.update_xaxes(showgrid=False)
    grid.update_annotations(font_size=12.5)
    grid.update_yaxes(type="category", autorange="reversed", showgrid=False, row=1)
    grid.update_yaxes(title_text="depth of the needle (share)", row=1, col=1)
    if summary is not None:
        lengths = [str(length) for length in sorted(frame["length"].unique())]
        _add_line(grid, summary[floats(summary, "depth") != floats(summary, "depth")], names)
        grid.update_xaxes(title_text="length (tokens)", type="category", row=2, col=1)
        grid.update_xaxes(categoryorder="array", categoryarray=lengths, row=2, col=1)
        grid.update_yaxes(title_text="share found", range=[-0.03, 1.05], row=2, col=1)
    return grid


def _panels(title: str, aid: str, names: list[str], with_line: bool) -> Any:
    """Empty panels side by side under one headline, and a wide one under them for the line."""
    layout = figure(title, aid, height=640 if with_line else 400, legend=False).layout
    specs: list[list[Any]] = [[{} for _ in names]]
    if with_line:
        specs.append([{"colspan": len(names)}, *[None] * (len(names) - 1)])
    grid = make_subplots(
        cols=len(names),
        rows=len(specs),
        specs=specs,
        row_heights=[0.58, 0.42] if with_line else None,
        shared_yaxes=True,
        subplot_titles=[_panel(name) for name in names],
        horizontal_spacing=0.03,
        vertical_spacing=0.17 if with_line else None,
    )
    margin = layout.margin.to_plotly_json()
    grid.update_layout(layout.to_plotly_json() | {"height": layout.height + 24})
    grid.update_layout(margin=margin | {"t": margin["t"] + 24})
    return grid


def _add_cells(grid: Any, part: pd.DataFrame, col: int, *, last: bool) -> None:
    cells = part.pivot_table(index="depth", columns="length", values="recall")
    grid.add_heatmap(
        z=cells.to_numpy().tolist(),
        x=[str(x) for x in cells.columns],
        y=[f"{y:g}" for y in cells.index],
        text=[[number(v) if np.isfinite(v) else "" for v in row] for row in cells.to_numpy()],
        texttemplate="%{text}",
        textfont={"color": DARK_INK},
        colorscale=TEXT_SEQUENTIAL,
        zmin=0,
        zmax=1,
        showscale=last,
        hovertemplate="%{x} tokens, depth %{y}: %{z:.2f}<extra></extra>",
        xgap=2,
        ygap=2,
        row=1,
        col=col,
    )
    grid.update_xaxes(title_text="length (tokens)", type="category", row=1, col=col)


def _add_line(grid: Any, rows: pd.DataFrame, names: list[str]) -> None:
    """The share found over all depths by length, a line a condition, named at its end."""
    for name in names:
        part = rows[rows["condition"] == name].sort_values("length")
        found, lo, hi = (floats(part, column) for column in ("found", "lo", "hi"))
        colour = CONDITIONS[name]
        shown = zip(part["length"], found, lo, hi, part["n"], strict=True)
        grid.add_scatter(
            x=[str(length) for length in part["length"]],
            y=found.tolist(),
            error_y=error_bars(found, lo, hi, color=colour, thickness=1.2, width=4),
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"color": colour, "size": 7},
            hovertext=[
                f"<b>{_panel(name)}</b><br>{length} tokens: {number(share)} "
                f"[{number(a)}, {number(b)}], {n} answers"
                for length, share, a, b, n in shown
            ],
            hoverinfo="text",
            name=_panel(name),
            showlegend=True,
            row=2,
            col=1,
        )
    legend = {"orientation": "h", "x": 0, "y": 0.38, "yanchor": "bottom", "font": {"size": 12}}
    grid.update_layout(showlegend=True, legend=legend)


def _panel(condition: str) -> str:
    names = {"top": "top heads ablated", "random": "random heads ablated"}
    return {**names, "layer-matched": "layer-matched ablated"}.get(condition, condition)


def generations_figure(frame: pd.DataFrame, *, width: int = 16, title: str | None = None) -> Any:
    """Return generations side by side, a cell a token; filled where a token differs from base's.

    Args:
        frame: From `airlens.analysis.mirror.say`: condition, pos, token.
        width: Tokens of a line.
        title: Replaces the headline.
    """
    need(frame, ("condition", "pos", "token"), "generations_figure")
    if frame.empty:
        return no_data(title or "Generations", "nothing was generated")
    said = {str(n): list(part["token"]) for n, part in frame.groupby("condition", sort=False)}
    base = said.get("base", [])
    shared = {n: _shared(base, tokens) for n, tokens in said.items() if n != "base"}
    head = "; ".join(f"{_panel(n)}: first {k} tokens as before" for n, k in shared.items())
    rows: list[tuple[str, list[str], list[float]]] = []
    for name, tokens in said.items():
        for start in range(0, max(len(tokens), 1), width):
            part = tokens[start : start + width]
            differs = [float(start + i >= shared.get(name, 10**9)) for i in range(len(part))]
            rows.append((_panel(name) if start == 0 else "", part, differs))
    height = 110 + 27 * len(rows)
    fig = figure(
        title or head or "Generations", "Greedy; shaded: after the first difference", height=height
    )
    empty = [np.nan] * width
    fig.add_heatmap(
        z=[(d + empty)[:width] for _, _, d in rows],
        text=[
            [plotly_text(visible(t)) for t in ts] + [""] * (width - len(ts)) for _, ts, _ in rows
        ],
        texttemplate="%{text}",
        textfont={"size": 10},
        colorscale=[[0, "rgba(128,134,142,0.06)"], [1, "rgba(213,94,0,0.28)"]],
        zmin=0,
        zmax=1,
        showscale=False,
        hovertemplate="%{text}<extra></extra>",
        xgap=2,
        ygap=4,
    )
    names = [plotly_text(name) for name, _, _ in rows]
    fig.update_yaxes(tickvals=list(range(len(rows))), ticktext=names, autorange="reversed")
    fig.update_yaxes(showgrid=False, zeroline=False)
    fig.update_xaxes(visible=False)
    return fig


def _shared(a: list[str], b: list[str]) -> int:
    """How many tokens two generations have in common before they part."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
