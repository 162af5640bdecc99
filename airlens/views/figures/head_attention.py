"""The attention of one head while it copies an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from airlens.arguments import checked

from .labels import number, percent, plotly_text, shorten, visible
from .style import COLOURS, SEQUENTIAL, figure, floats, need, no_data

NEEDED = ("answer", "predicts", "position", "token", "attention")


@checked
def answer_attention_map(
    frame: pd.DataFrame, name: str = "", *, rows: int = 32, title: str | None = None
) -> Any:
    """Return one head's attention from the answer's tokens to the tokens around the needle.

    Args:
        frame: One row per pair, from ``AnswerAttention.frame``: answer, predicts, position, token,
            attention; in_needle, most, copied and outside where known.
        name: The head, for the headline.
        rows: Most answer tokens drawn; where there are more, the figure says so.
        title: Replaces the headline.
    """
    heading = title or f"Attention of {name}"
    if frame.empty:
        return no_data(heading, "no attention to show")
    need(frame, NEEDED, "answer_attention_map")
    everything = int(frame["answer"].nunique())
    head, aid = _words(frame, name)
    frame = frame[frame["answer"] < rows]
    places = sorted(frame["position"].unique())
    column = {place: i for i, place in enumerate(places)}
    grid = np.full((int(frame["answer"].max()) + 1, len(places)), np.nan)
    at = (frame["answer"].to_numpy(dtype=int), frame["position"].map(column).to_numpy(dtype=int))
    grid[at] = floats(frame, "attention")
    hover = np.full(grid.shape, "", dtype=object)
    hover[at] = [_hover(*values) for values in frame[list(NEEDED[1:])].itertuples(index=False)]
    aid += f"; the first {rows} of {everything} answer tokens" if everything > rows else ""
    fig = figure(title or head, aid, height=150 + 15 * len(grid), bottom=96)
    fig.add_heatmap(
        z=grid.tolist(),
        hovertext=hover.tolist(),
        hoverinfo="text",
        colorscale=SEQUENTIAL,
        zmin=0,
        zmax=max(0.05, float(np.nanmax(grid))),
        colorbar={"title": {"text": "attention"}},
        xgap=1,
        ygap=1,
    )
    _mark_needle(fig, frame, column)
    _mark_copied(fig, frame, column)
    _ticks(fig, frame, places)
    return fig


def _hover(predicts: str, position: int, token: str, attention: float) -> str:
    text = f"predicting “{plotly_text(visible(predicts))}”<br>attends to "
    return f"{text}“{plotly_text(visible(token))}” (position {position})<br>{number(attention)}"


def _words(frame: pd.DataFrame, name: str) -> tuple[str, str]:
    aid = "One row an answer token, one column a context token"
    per_row = frame.drop_duplicates("answer")
    if "outside" in frame:
        aid += f", {percent(float(per_row['outside'].mean()))} of the attention outside this window"
    if "copied" not in frame:
        return f"Attention of {name}", aid
    aid += "; boxed: the needle; dot: copied"
    share = int(per_row["copied"].sum())
    return f"{name} copies {share} of {len(per_row)} answer tokens of this probe", aid


def _mark_needle(fig: Any, frame: pd.DataFrame, column: dict[int, int]) -> None:
    if "in_needle" not in frame or not frame["in_needle"].any():
        return
    inside = [column[place] for place in frame.loc[frame["in_needle"], "position"].unique()]
    box = {"x0": min(inside) - 0.5, "x1": max(inside) + 0.5, "y0": -0.5}
    line = {"color": COLOURS["floor"], "width": 1.5}
    fig.add_shape(type="rect", **box, y1=int(frame["answer"].max()) + 0.5, line=line)


def _mark_copied(fig: Any, frame: pd.DataFrame, column: dict[int, int]) -> None:
    if "copied" not in frame or "most" not in frame:
        return
    hits = frame[frame["copied"] & frame["most"]]
    marker = {"color": COLOURS["ablated"], "size": 5}
    xs = [column[place] for place in hits["position"]]
    ys = hits["answer"].tolist()
    fig.add_trace(go.Scatter(x=xs, y=ys, mode="markers", marker=marker, hoverinfo="skip"))


def _ticks(fig: Any, frame: pd.DataFrame, places: list[int]) -> None:
    answers = frame.drop_duplicates("answer").sort_values("answer")
    texts = [plotly_text(shorten(visible(text), 14)) for text in answers["predicts"]]
    fig.update_yaxes(
        tickvals=answers["answer"].tolist(), ticktext=texts, tickfont_size=10, showgrid=False
    )
    fig.update_yaxes(range=[len(texts) - 0.4, -0.6], zeroline=False, title_text="answer token")
    tokens = frame.drop_duplicates("position").set_index("position")["token"]
    names = [plotly_text(shorten(visible(tokens[place]), 10)) for place in places]
    fig.update_xaxes(tickvals=list(range(len(places))), ticktext=names, tickfont_size=10)
    fig.update_xaxes(tickangle=-60, showgrid=False, zeroline=False, title_text="context token")
