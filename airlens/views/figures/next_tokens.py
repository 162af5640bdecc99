"""Probabilities of the most likely next tokens, with and without some heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from airlens.arguments import checked

from .labels import number, plotly_text, shorten, visible
from .style import COLOURS, figure, floats, need, no_data


@checked
def next_token_bars(
    frame: pd.DataFrame, position: int = 0, *, k: int = 10, title: str | None = None
) -> Any:
    """Return the most likely next tokens at one position, base and ablated side by side.

    Args:
        frame: One row per position and candidate: position, token, p_base, p_ablated; written where
            known.
        position: Which position.
        k: How many candidates.
        title: Replaces the headline.
    """
    heading = title or f"Next token at position {position}"
    if frame.empty:
        return no_data(heading, "nothing was generated yet")
    need(frame, ("position", "token", "p_base", "p_ablated"), "next_token_bars")
    rows = frame[frame["position"] == position].head(k).reset_index(drop=True)
    if rows.empty:
        return no_data(heading, f"no position {position}")
    first = rows.iloc[int(floats(rows, "p_base").argmax())]
    token = shorten(visible(first["token"]), 20)
    head = (
        f"“{token}”: {number(first['p_base'])} with all heads, {number(first['p_ablated'])} without"
    )
    aid = f"Likeliest tokens at position {position} after the same text; ◂ stands in the text"
    fig = figure(title or head, aid, height=140 + 26 * len(rows), legend=True)
    names = list(range(len(rows)))
    for column, name, colour in (
        ("p_base", "all heads", COLOURS["base"]),
        ("p_ablated", "heads ablated", COLOURS["ablated"]),
    ):
        values = floats(rows, column)
        hover = [
            f"“{plotly_text(visible(text))}”<br>{name}: {number(value)}"
            for text, value in zip(rows["token"], values, strict=True)
        ]
        style: dict[str, Any] = {"orientation": "h", "hoverinfo": "text", "hovertext": hover}
        fig.add_bar(x=values.tolist(), y=names, name=name, marker_color=colour, **style)
    here = rows["written"].tolist() if "written" in rows else [False] * len(rows)
    ticks = [
        plotly_text(shorten(visible(text), 18)) + (" ◂" if mark else "")
        for text, mark in zip(rows["token"], here, strict=True)
    ]
    fig.update_yaxes(tickvals=names, ticktext=ticks, range=[len(rows) - 0.4, -0.6], showgrid=False)
    most = float(np.nanmax([floats(rows, "p_base"), floats(rows, "p_ablated")]))
    fig.update_xaxes(title_text="probability", range=[0, min(1.0, 1.1 * most)])
    fig.update_layout(barmode="group", bargap=0.3)
    return fig
