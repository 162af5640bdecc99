"""The sources of the steps of a trace, as arcs along the trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from airlens.arguments import checked

from .labels import MEASURES, plotly_text, shorten
from .single_trace import one_trace
from .source_matrix import (
    one_trace_pairs,
    pair_hover,
    pairs_headline,
    places,
    unit_names,
    unit_order,
    unit_words,
)
from .style import COLOURS, GRID, figure, floats, no_data

CURVE = np.sin(np.linspace(0, np.pi, 25)) ** 0.7


@checked
def source_arcs(
    pairs: pd.DataFrame,
    units: pd.DataFrame | None = None,
    value: str = "copies",
    id: str | None = None,
    *,
    top: int = 60,
    step: int | None = None,
    title: str | None = None,
) -> go.Figure:
    """Return the trace as a line of units, with an arc from each step to each of its sources.

    Arcs above the line are those of the critical heads, arcs below those of random heads; a thicker
    arc is a stronger source.

    Args:
        pairs: One row per step and source: id, step, source and `value`; `<value>_control` where
            known.
        units: One row per unit: id, unit; text where known, for the hover.
        value: `copies`, `attention`, `attention_per_token`, `knockout` or `knockout_kl`.
        id: The trace; the first one by default.
        top: Number of arcs of the critical heads, and of the random heads; the strongest are drawn.
        step: Only the sources of this step.
        title: Replaces the headline.
    """
    heading = title or "Where each step fetches from"
    if one_trace(pairs, id).empty:
        return no_data(heading, "no sources to show" if id is None else f"no trace with id {id}")
    rows, units = one_trace_pairs(pairs, units, value, id, "source_arcs")
    order = unit_order(rows, units)
    rows = rows if step is None else rows[rows["step"] == step]
    values, control = floats(rows, value), floats(rows, f"{value}_control")
    if not (values > 0).any():
        return no_data(heading, "no source with a value above zero")
    long, words = unit_names(order, long=True), unit_words(units)
    hover = pair_hover(rows, value, long, words, True)
    bound = float(np.nanmax(np.concatenate([values, control])))
    least = np.sort(values[values > 0])[::-1][:top][-1]
    above, below = ((np.nan_to_num(found) >= least) & (found > 0) for found in (values, control))
    aid = f"Trace {shorten(rows['id'].iloc[0], 40)}"
    aid += f"; above: the {min(top, above.sum())} strongest arcs"
    if np.isfinite(control).any():
        aid += f"; below: the {below.sum()} of random heads that are no weaker"
        aid += f" ({top} drawn)" if below.sum() > top else ""
    aid += f"; width: {MEASURES.get(value, value)}"
    fig = figure(title or pairs_headline(rows, value, long), aid, height=470, legend=True)
    ends = np.array([rows["source"].map(order.index), rows["step"].map(order.index)], dtype=float)
    for name, found, sign in (
        ("critical heads", values, 1),
        ("random heads (control)", control, -1),
    ):
        colour = COLOURS["ablated" if sign > 0 else "control"]
        drawn = np.where(above if sign > 0 else below, found, np.nan)
        _add_arcs(fig, (ends, drawn, hover), (name, colour, sign), (bound, top))
    _add_line(fig, order, words, long)
    return fig


def _add_arcs(
    fig: Any,
    arcs: tuple[NDArray[np.float64], NDArray[np.float64], list[str]],
    look: tuple[str, str, int],
    size: tuple[float, int],
) -> None:
    """Draw the strongest arcs, weak ones first; `size`: value of the thickest arc, and number."""
    (ends, values, hover), (name, colour, sign), (bound, top) = arcs, look, size
    best = np.argsort(-np.nan_to_num(values), kind="stable")[:top]
    best = best[np.nan_to_num(values[best]) > 0][::-1]
    for i in best:
        left, right = ends[:, i]
        strength = float(values[i] / bound)
        fig.add_scatter(
            x=np.linspace(left, right, CURVE.size).tolist(),
            y=(sign * CURVE * np.sqrt(right - left)).tolist(),
            mode="lines",
            line={"color": colour, "width": 0.7 + 4 * strength, "shape": "spline"},
            opacity=0.25 + 0.65 * strength,
            hovertext=hover[i],
            hoverinfo="text",
            name=name,
            legendgroup=name,
            showlegend=bool(i == best[-1]),
        )


def _add_line(fig: Any, order: list[int], words: dict[int, str], names: dict[int, str]) -> None:
    """Draw the units, on the line from which the arcs rise."""
    prompt = sum(unit < 0 for unit in order)
    fig.add_scatter(
        x=list(range(len(order))),
        y=[0.0] * len(order),
        mode="markers",
        marker={
            "size": 6 if len(order) <= 80 else 4,
            "color": [COLOURS["control" if unit < 0 else "base"] for unit in order],
        },
        hovertext=[f"<b>{names[u]}</b><br>{plotly_text(words.get(u, ''))}" for u in order],
        hoverinfo="text",
        showlegend=False,
    )
    if prompt:
        fig.add_vrect(x0=-0.5, x1=prompt - 0.5, fillcolor=GRID, line_width=0, layer="below")
    short, where = unit_names(order), places(len(order), 24, prompt)
    fig.update_xaxes(
        title_text="step (p: sentences of the prompt)" if prompt else "step",
        tickvals=where, ticktext=[short[order[i]] for i in where], tickangle=0,
        range=[-0.7, len(order) - 0.3], showgrid=False, zeroline=False,
    )  # fmt: skip
    fig.update_yaxes(visible=False)
