"""Figures of head scores: a map of all heads, and the scores sorted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from airlens.arguments import checked

from .labels import label, number, percent, plotly_text
from .style import (
    COLOURS,
    DIVERGING,
    INK,
    SEQUENTIAL,
    colour_bar,
    figure,
    floats,
    limit,
    need,
    no_data,
    whole_axis,
)


def _top(frame: pd.DataFrame) -> NDArray[np.bool_]:
    if "exact" in frame.columns:  # measured cells among estimated ones; no mark if all are alike
        exact = frame["exact"].to_numpy(dtype=bool)
        return exact & ~exact.all()
    if "top" not in frame.columns:
        return np.zeros(len(frame), dtype=bool)
    return frame["top"].fillna(False).to_numpy(dtype=bool)


def _head_hover(frame: pd.DataFrame, value: str) -> list[str]:
    """Hover text per row: the head's name, its value, 95 % interval and rank."""
    low, high, rank = (floats(frame, column) for column in ("lo", "hi", "rank"))
    shown = zip(frame["name"], floats(frame, value), low, high, rank, strict=True)
    texts = []
    for name, real, lo, hi, place in shown:
        text = f"<b>{plotly_text(name)}</b><br>{label(value)} {number(real)}"
        if value == "score" and np.isfinite(lo):
            text += f"<br>95 % interval {number(lo)} to {number(hi)}"
        if np.isfinite(place):
            text += f"<br>rank {number(place)} of {len(frame)}"
        texts.append(text)
    return texts


def _grid(frame: pd.DataFrame, cells: Any, fill: Any) -> Any:
    """Put one value per row into a layers × heads array."""
    layers, heads = frame["layer"].to_numpy(dtype=int), frame["head"].to_numpy(dtype=int)
    least = (layers.max() + 1, heads.max() + 1)
    shape = np.maximum(least, frame.attrs.get("shape", least))  # layers without heads are blank
    grid = np.full(shape, fill, dtype=object if fill == "" else float)
    grid[layers, heads] = cells
    return grid


def _outlines(frame: pd.DataFrame, colour: str) -> Any:
    """One line trace that boxes each row's cell."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for layer, head in zip(frame["layer"], frame["head"], strict=True):
        xs += [head - 0.5, head + 0.5, head + 0.5, head - 0.5, head - 0.5, None]
        ys += [layer - 0.5, layer - 0.5, layer + 0.5, layer + 0.5, layer - 0.5, None]
    line = {"color": colour, "width": 2}
    return go.Scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", name="top heads")


def _map_words(frame: pd.DataFrame, value: str) -> tuple[str, str]:
    values, chosen = floats(frame, value), int(_top(frame).sum())
    best = frame["name"].iloc[int(np.nanargmax(np.abs(values)))]
    peak = number(values[np.nanargmax(np.abs(values))])
    aid = "One cell per head, layers upward"
    if "exact" in frame.columns:
        aid += f"; outlined: the {chosen} measured exactly, the others estimated" if chosen else ""
    elif chosen:
        aid += f"; outlined: the top {chosen} ({percent(chosen / len(frame))})"
    if value != "score":
        return f"{best} moves it most: {peak}", aid
    low = float(np.mean(values[np.isfinite(values)] < 0.1))
    quiet = f"{percent(low)} of the {number(len(frame))} heads score under 0.1"
    return f"{quiet}; {best} leads with {peak}", aid


@checked
def head_map(
    frame: pd.DataFrame,
    value: str = "score",
    *,
    diverging: bool | None = None,
    title: str | None = None,
) -> go.Figure:
    """Return the layers × heads map of one value.

    Args:
        frame: One row per head: layer, head, name and `value`; lo, hi, rank and top where known.
            With a column exact (`HeadInfluence.to_frame`) the measured cells are outlined.
        value: The column to colour by.
        diverging: Put 0 in the middle of the scale; by default for all but `score`.
        title: Replaces the headline.
    """
    if frame.empty:
        return no_data(title or "Head map", "no heads to show")
    need(frame, ("layer", "head", "name", value), "head_map")
    values = floats(frame, value)
    if not np.isfinite(values).any():
        return no_data(title or "Head map", f"no head has a value in {value}")
    signed = value != "score" if diverging is None else diverging
    head, aid = _map_words(frame, value)
    grid = _grid(frame, values, np.nan)
    fig = figure(title or head, aid, height=150 + max(17 * grid.shape[0], 190))
    bound = limit(values, 0.995)
    fig.add_heatmap(
        z=grid.tolist(),
        hovertext=_grid(frame, _head_hover(frame, value), "").tolist(),
        hoverinfo="text",
        colorscale=DIVERGING if signed else SEQUENTIAL,
        zmin=-bound if signed else 0,
        zmax=bound if signed else max(1e-9, float(np.nanmax(values))),
        colorbar=colour_bar(label(value), max(17 * grid.shape[0], 190)),
        xgap=2,
        ygap=2,
    )
    marked = frame[_top(frame)]
    if len(marked):
        fig.add_trace(_outlines(marked, INK if signed else COLOURS["ablated"]))
    whole_axis(fig.update_xaxes, "head", grid.shape[1])
    whole_axis(fig.update_yaxes, "layer", grid.shape[0])
    return fig


def _rank_ticks(count: int, cut: int) -> list[int]:
    round_ones = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick < count]
    clear = [tick for tick in round_ones if not cut or not 0.72 < tick / cut < 1.4]
    return sorted({*clear, *([cut] if cut else [])})


@checked
def score_ranking(frame: pd.DataFrame, *, names: int = 8, title: str | None = None) -> go.Figure:
    """Return all heads sorted by score, with a line where the critical heads end.

    Args:
        frame: One row per head: name, score; lo, hi (95 % interval) and top where known.
        names: How many of the best heads are labelled.
        title: Replaces the headline.
    """
    if len(frame):
        need(frame, ("name", "score"), "score_ranking")
    if not np.isfinite(floats(frame, "score")).any():
        return no_data(title or "Scores by rank", "no head has a score")
    ranked = frame.assign(score=floats(frame, "score")).dropna(subset="score")
    ranked = ranked.sort_values("score", ascending=False, kind="stable").reset_index(drop=True)
    ranked["rank"] = np.arange(1, len(ranked) + 1)
    score, cut = floats(ranked, "score"), int(_top(ranked).sum())
    held = float(score[:cut].sum() / score.sum()) if score.sum() else float("nan")
    head = f"{ranked['name'].iloc[0]} scores highest: {number(score[0])}"
    if cut:
        head = f"{cut} heads ({percent(cut / len(ranked))}) hold {percent(held)} of the whole score"
    aid = "Heads sorted by retrieval score, rank on a log axis; bars: 95 % interval over probes"
    fig = figure(title or head, aid, height=400)
    fig.add_scatter(
        x=ranked["rank"].tolist(),
        y=score.tolist(),
        error_y=_interval(ranked, score),
        mode="markers",
        marker={"color": _rank_colours(_top(ranked), cut), "size": 6},
        hovertext=_head_hover(ranked, "score"),
        hoverinfo="text",
        cliponaxis=False,
    )
    for place in range(min(names, len(ranked))):
        _add_name(fig, ranked, place)
    if cut:
        note = f" {percent(cut / len(ranked))}: {cut} heads "
        line = {"color": INK, "width": 1, "dash": "dash"}
        fig.add_vline(x=cut + 0.5, line=line)
        at = float(np.log10(cut + 0.5))
        fig.add_annotation(x=at, y=1, yref="paper", xanchor="left", text=note, showarrow=False)
    ticks = _rank_ticks(len(ranked), cut)
    fig.update_xaxes(title_text="rank (1 = best)", type="log", tickvals=ticks, showgrid=False)
    fig.update_xaxes(range=[-0.06, float(np.log10(len(ranked) + 1)) + 0.04])
    fig.update_yaxes(title_text=label("score"), rangemode="tozero")
    return fig


def _add_name(fig: Any, ranked: pd.DataFrame, place: int) -> None:
    """Write one head's name above its interval, slanted so that neighbours stay apart."""
    high = np.nanmax([floats(ranked, "hi")[place], floats(ranked, "score")[place]])
    style = {"showarrow": False, "textangle": -50, "xanchor": "left", "yanchor": "bottom"}
    name = plotly_text(ranked["name"].iloc[place])
    at = float(np.log10(place + 1))
    fig.add_annotation(x=at, y=float(high), text=name, font={"size": 11}, xshift=-3, **style)


def _rank_colours(top: NDArray[np.bool_], cut: int) -> list[str]:
    if not cut:
        return [COLOURS["base"]] * len(top)
    return [COLOURS["ablated"] if marked else COLOURS["control"] for marked in top]


def _interval(frame: pd.DataFrame, middle: NDArray[np.float64]) -> dict[str, Any]:
    up, down = floats(frame, "hi") - middle, middle - floats(frame, "lo")
    bars = {"array": np.nan_to_num(np.maximum(up, 0)), "symmetric": False, "thickness": 1}
    bars |= {"arrayminus": np.nan_to_num(np.maximum(down, 0)), "width": 0}
    return {"type": "data", "color": "rgba(128,134,142,0.6)", **bars}
