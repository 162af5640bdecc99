"""Copy accuracy as more heads are ablated: critical heads against as many random ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from airlens.arguments import checked

from .labels import label, number, percent, plotly_text
from .style import COLOURS, DOMAIN_CYCLE, figure, floats, legend_room, need, no_data

NEEDLE_REMOVED = "needle removed"
"""The group that gives the floor: the answer is not in the context."""
LEVELS = {NEEDLE_REMOVED: COLOURS["floor"], "base": COLOURS["base"], "none": COLOURS["base"]}
"""Groups drawn as one level line rather than a curve."""
CURVES = {"top": COLOURS["ablated"], "random": COLOURS["control"]}
DASHES = ("solid", "dash", "dot", "dashdot")


class _Point(NamedTuple):
    """One number of ablated heads: mean, lowest and highest value over draws."""

    k: int
    mean: float
    low: float
    high: float
    draws: int


def _points(rows: pd.DataFrame, y: str) -> list[_Point]:
    clean = rows.assign(value=floats(rows, y), k=floats(rows, "k")).dropna(subset=["value", "k"])
    by_k = [(group["k"].iloc[0], group["value"].to_numpy()) for _, group in clean.groupby("k")]
    return [
        _Point(int(k), float(v.mean()), float(v.min()), float(v.max()), len(v)) for k, v in by_k
    ]


def faded(colour: str) -> str:
    """The colour as that of a band."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.20)"


def _add_band(fig: Any, points: list[_Point], name: str, colour: str) -> None:
    edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    edge |= {
        "x": [point.k for point in points],
        "showlegend": False,
        "legendgroup": plotly_text(name),
    }
    fig.add_scatter(y=[point.low for point in points], **edge)
    high = [point.high for point in points]
    fig.add_scatter(y=high, fill="tonexty", fillcolor=faded(colour), **edge)


def _hover(point: _Point, name: str, y: str) -> str:
    text = f"<b>{plotly_text(name)}</b>, {point.k} heads<br>{label(y)}: {number(point.mean)}"
    if point.draws < 2:
        return text
    return f"{text}<br>{point.draws} draws: {number(point.low)} to {number(point.high)}"


def _add_curve(fig: Any, points: list[_Point], name: str, look: tuple[str, str], y: str) -> None:
    if any(point.draws > 1 for point in points):
        _add_band(fig, points, name, look[0])
    fig.add_scatter(
        x=[point.k for point in points],
        y=[point.mean for point in points],
        mode="lines+markers",
        name=plotly_text(name),
        legendgroup=plotly_text(name),
        line={"color": look[0], "dash": look[1], "width": 2},
        marker={"color": look[0], "size": 6},
        hovertext=[_hover(point, name, y) for point in points],
        hoverinfo="text",
    )


def _add_level(fig: Any, rows: pd.DataFrame, group: str, y: str, end: float) -> None:
    values = floats(rows, y)
    if not np.isfinite(values).any():
        return
    level = float(np.nanmean(values))
    fig.add_scatter(
        x=[0, end / 2, end],
        y=[level] * 3,
        mode="lines",
        name=f"{plotly_text(group)} ({number(level)})",
        line={"color": LEVELS[group], "dash": "dot", "width": 2},
        hovertext=f"<b>{plotly_text(group)}</b><br>{label(y)}: {number(level)}",
        hoverinfo="text",
    )


def _title(frame: pd.DataFrame, y: str, mode: str) -> str:
    """A headline: the value with top and with random heads ablated, at the k nearest to 5 %."""
    rows = frame[frame["mode"].astype(str) == mode] if "mode" in frame else frame
    groups = {group: _points(rows[rows["heads"] == group], y) for group in CURVES}
    means = {group: {p.k: p.mean for p in points} for group, points in groups.items()}
    shared = sorted((set(means["top"]) & set(means["random"])) - {0})
    what = "copy accuracy" if y == "copy_accuracy" else "answer loss" if y == "nll" else y
    if not shared:
        return f"{what.capitalize()} as heads are ablated"
    share = rows.assign(share=floats(rows, "share")).groupby("k")["share"].mean()
    k = min(shared, key=lambda k: abs(float(share.get(k, np.nan)) - 0.05))
    part = float(share.get(k, np.nan))
    size = f"{k} heads" + (f" ({percent(part)})" if np.isfinite(part) else "")
    top, random = number(means["top"][k]), number(means["random"][k])
    return f"{what.capitalize()} is {top} without the top {size}, {random} without {k} random ones"


@checked
def ablation_curve(
    frame: pd.DataFrame, y: str = "copy_accuracy", *, title: str | None = None
) -> go.Figure:
    """Return `y` against the number of ablated heads, one line per group of heads and mode.

    Args:
        frame: One row per measurement: heads (`top`, `random`, `needle removed`, `base`, …), k and
            `y`; mode, share (k over all heads) and draw where known. Draws of one group and k
            become a mean and a band from the lowest to the highest.
        y: `copy_accuracy` or `nll` (nats per token).
        title: Replaces the headline.
    """
    if frame.empty:
        return no_data(title or "Ablation curve", "no measurement to show")
    need(frame, ("heads", "k", y), "ablation_curve")
    if not np.isfinite(floats(frame, y)).any():
        return no_data(title or "Ablation curve", f"no measurement has a value in {y}")
    modes = [str(mode) for mode in frame["mode"].dropna().unique()] if "mode" in frame else []
    aid = f"Mode: {', '.join(modes) or 'not given'}. Line: mean, band: lowest to highest draw"
    fig = figure(title or _title(frame, y, (modes or [""])[0]), aid, height=400, legend=True)
    _add_all(fig, frame, y, modes)
    legend_room(fig)
    fig.update_xaxes(title_text="ablated heads (count)", rangemode="tozero")
    fig.update_yaxes(title_text=label(y), rangemode="tozero" if y == "copy_accuracy" else "normal")
    return fig


def _add_all(fig: Any, frame: pd.DataFrame, y: str, modes: list[str]) -> None:
    groups = [str(group) for group in frame["heads"].dropna().unique()]
    end = float(np.nan_to_num(np.nanmax(floats(frame, "k")), nan=1.0)) or 1.0
    others = [group for group in groups if group not in CURVES and group not in LEVELS]
    for group in groups:
        rows = frame[frame["heads"].astype(str) == group]
        if group in LEVELS:
            _add_level(fig, rows, group, y, end)
            continue
        colour = CURVES.get(group) or DOMAIN_CYCLE[others.index(group) % len(DOMAIN_CYCLE)]
        for mode in modes or [""]:
            part = rows[rows["mode"].astype(str) == mode] if mode else rows
            points = _points(part, y)
            if points:
                dash = DASHES[modes.index(mode) % len(DASHES)] if mode else "solid"
                name = f"{group}, {mode}" if len(modes) > 1 else group
                _add_curve(fig, points, name, (colour, dash), y)
