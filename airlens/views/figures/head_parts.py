"""Figure of heads in the plane of lookup and continuation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from airlens.arguments import checked

from .labels import label, number, plotly_text
from .style import COLOURS, figure, floats, need, no_data

QUIET = 0.05  # ours: a head that copies less than this share of both parts has no name


@checked
def head_parts(frame: pd.DataFrame, *, names: int = 12, title: str | None = None) -> go.Figure:
    """Return every head by how much it copies of the first token of an answer, and of the rest.

    Args:
        frame: One row per head: name, lookup, continuation (shares of probes and of tokens);
            top where known. `HeadScores.to_frame` of retrieval scores.
        names: How many heads are labelled: the best by either part.
        title: Replaces the headline.
    """
    if len(frame):
        need(frame, ("name", "lookup", "continuation"), "head_parts")
    lookup, later = floats(frame, "lookup"), floats(frame, "continuation")
    known = np.isfinite(lookup) & np.isfinite(later)
    if not known.any():
        return no_data(title or "Lookup and continuation", "no head has a score of both parts")
    frame, lookup, later = frame[known], lookup[known], later[known]
    names_of = [plotly_text(name) for name in frame["name"]]
    top = np.asarray(frame["top"], bool) if "top" in frame.columns else np.zeros(len(frame), bool)
    above, below = (int((a > b + QUIET).sum()) for a, b in ((lookup, later), (later, lookup)))
    head = f"{number(below)} heads continue more than they look up, {number(above)} the reverse"
    aid = "A point a head; above the line: copies the first token of an answer more than the rest"
    fig = figure(title or head, aid, height=480)
    line = {"color": COLOURS["control"], "width": 1, "dash": "dot"}
    fig.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line=line)
    for marked, name in ((False, "other heads"), (True, "top heads by the whole answer")):
        here = np.flatnonzero(top == marked)
        if not len(here):
            continue
        fig.add_scatter(
            x=later[here].tolist(),
            y=lookup[here].tolist(),
            mode="markers",
            name=name,
            marker={"color": COLOURS["ablated" if marked else "base"], "size": 7, "opacity": 0.8},
            hovertext=[
                f"<b>{names_of[i]}</b><br>lookup {number(lookup[i])}"
                f"<br>continuation {number(later[i])}"
                for i in here
            ],
            hoverinfo="text",
            cliponaxis=False,
        )
    strongest = np.maximum(lookup, later)
    for i in np.argsort(-strongest, kind="stable")[:names]:
        if strongest[i] >= QUIET:
            fig.add_annotation(
                x=float(later[i]), y=float(lookup[i]), text=names_of[i], showarrow=False,
                xanchor="left", yanchor="bottom", xshift=3, font={"size": 11},
            )  # fmt: skip
    fig.update_xaxes(title_text=label("continuation"), range=[-0.03, 1.03])
    fig.update_yaxes(title_text=label("lookup"), range=[-0.03, 1.03])
    return fig
