"""Figures of needle probes and of the answers of an ablated model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from plotly.subplots import make_subplots

from .style import DARK_INK, TEXT_SEQUENTIAL, figure, floats, need, no_data
from .text import number, plotly_text, visible

CONDITIONS = ("base", "top", "random")


def needle_grid_figure(frame: pd.DataFrame, *, title: str | None = None) -> Any:
    """Return recall by depth and length, one panel a condition.

    Args:
        frame: From `airlens.analysis.mirror.needle_grid`: condition, length, depth, recall.
        title: Replaces the headline.
    """
    need(frame, ("condition", "length", "depth", "recall"), "needle_grid_figure")
    if frame.empty:
        return no_data(title or "Needle in a haystack", "no probe was asked")
    names = [name for name in CONDITIONS if name in set(frame["condition"])]
    means = frame.assign(recall=floats(frame, "recall")).groupby("condition")["recall"].mean()
    head = "Needle recall: " + ", ".join(f"{name} {number(means[name])}" for name in names)
    aid = "ROUGE-1 recall of greedy answers, mean over probes and draws of a cell"
    layout = figure(title or head, aid, height=400).layout
    grid = make_subplots(
        cols=len(names),
        rows=1,
        shared_yaxes=True,
        subplot_titles=[_panel(name) for name in names],
        horizontal_spacing=0.03,
    )
    margin = layout.margin.to_plotly_json()
    grid.update_layout(layout.to_plotly_json() | {"height": layout.height + 24})
    grid.update_layout(margin=margin | {"t": margin["t"] + 24})
    for i, name in enumerate(names, start=1):
        part = frame[frame["condition"] == name]
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
            showscale=i == len(names),
            hovertemplate="%{x} tokens, depth %{y}: %{z:.2f}<extra></extra>",
            xgap=2,
            ygap=2,
            row=1,
            col=i,
        )
        grid.update_xaxes(title_text="length (tokens)", type="category", row=1, col=i)
    grid.update_xaxes(showgrid=False)
    grid.update_annotations(font_size=12.5)
    grid.update_yaxes(type="category", autorange="reversed", showgrid=False)
    grid.update_yaxes(title_text="depth of the needle (share)", row=1, col=1)
    return grid


def _panel(condition: str) -> str:
    return {"top": "top heads ablated", "random": "random heads ablated"}.get(condition, condition)


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
