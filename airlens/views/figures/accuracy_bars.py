"""Figure of accuracy with heads off: how the solutions of each condition ended."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from airlens.arguments import checked

from .labels import number, percent, plotly_text
from .style import COLOURS, error_bars, figure, floats, need, no_data

ENDINGS = {
    "accuracy": ("correct", COLOURS["base"]),
    "wrong": ("wrong answer", COLOURS["unselected"]),
    "no answer": ("no answer", COLOURS["floor"]),
    "repeats": ("runs in a circle", COLOURS["ablated"]),
}


@checked
def accuracy_bars(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Share of problems that each condition solves, and how the other solutions ended.

    Conditions that answered other numbers of problems say so: their bars are not of the same ones.

    Args:
        table: :func:`~airlens.accuracy_table`: one row per condition.
        title: instead of the headline.
    """
    if len(table):
        need(table, ("condition", *ENDINGS, "lo", "hi"), "accuracy_bars")
    rows = table[np.isfinite(floats(table, "accuracy"))] if len(table) else table
    if rows.empty:
        return no_data(title or "Accuracy with heads off", "no answers yet")
    names = [plotly_text(str(name)) for name in rows["condition"]]
    share, low, high = (floats(rows, name) for name in ("accuracy", "lo", "hi"))
    n = floats(rows, "n") if "n" in rows else np.zeros(len(rows))
    worst = int(np.argmin(np.where(n == n[0], share, np.inf)))
    first, last = (str(rows["condition"].iloc[i]) for i in (0, worst))
    head = f"{first}: {percent(share[0])} of the problems solved"
    if len(rows) > 1:
        head += f"; fewest with {last} off, {percent(share[worst])}"
    aid = "Share of problems. Bars on the correct ones: 95 % over problems and draws, each alone."
    if (n != n[0]).any():
        names = [f"{name}, n = {number(k)}" for name, k in zip(names, n, strict=True)]
        aid += " Not all answered the same problems: compare by the table of differences."
    fig: Any = figure(title or head, aid, height=150 + 34 * len(rows), legend=True)
    hover = [_hover(row) for row in rows.to_dict("records")]
    for column, (name, colour) in ENDINGS.items():
        fig.add_bar(
            x=floats(rows, column),
            y=names,
            orientation="h",
            name=name,
            marker={"color": colour},
            hovertext=hover,
            hoverinfo="text",
        )
    # Above all bars: what is stacked upon the first would hide half of its interval.
    fig.add_scatter(
        x=share,
        y=names,
        mode="markers",
        marker={"size": 1, "color": "#222"},
        error_x=error_bars(share, low, high, thickness=1.5, width=4, color="#222"),
        showlegend=False,
        hoverinfo="skip",
    )
    fig.update_layout(barmode="stack", bargap=0.35, legend_traceorder="normal")
    fig.update_xaxes(title_text="share of problems", range=[0, 1.001])
    fig.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=names)
    return fig


def _hover(row: dict[Any, Any]) -> str:
    text = f"<b>{plotly_text(str(row['condition']))}</b>"
    text += f"<br>correct {number(row['accuracy'])} [{number(row['lo'])}, {number(row['hi'])}]"
    for column, (name, _) in list(ENDINGS.items())[1:]:
        text += f"<br>{name} {number(row[column])}"
    for column, name in (("n", "problems"), ("draws", "draws"), ("n_new", "mean tokens")):
        if np.isfinite(row.get(column, np.nan)):
            text += f"<br>{name}: {number(row[column])}"
    return text
