"""Figures of one reasoning trace: its steps as bars, its tokens as coloured text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from airlens.arguments import checked

from .labels import columns, is_signed, known, label, number, plotly_text, shorten, visible
from .step_maps import row_dicts, step_hover
from .style import (
    COLOURS,
    DARK_INK,
    MONO,
    colour_bar,
    figure,
    floats,
    limit,
    need,
    no_data,
    paint,
    text_scale,
)

EDGE = {"width": 0.6, "color": "rgba(255,255,255,0.9)"}


def one_trace(frame: pd.DataFrame, id: str | None) -> pd.DataFrame:
    """Return the rows of one trace, the first one's where `id` is None."""
    if frame.empty:
        return frame
    need(frame, ("id",), "one trace")
    wanted = str(frame["id"].iloc[0]) if id is None else str(id)
    return frame[frame["id"].astype(str) == wanted]


def _tick(row: dict[str, Any], roomy: bool) -> str:
    name = row.get("label")
    text = f"<b>{row['step']}</b>" + (f" {plotly_text(name)}" if isinstance(name, str) else "")
    words = shorten(row.get("text", ""), 38)
    return f"{text}<br>{plotly_text(words)}" if roomy and words else text


def _bars_title(rows: pd.DataFrame, value: str) -> str:
    values, control = floats(rows, value), floats(rows, f"{value}_control")
    best = int(np.nanargmax(values))
    row = rows.iloc[best]
    name = f" ({row['label']})" if isinstance(row.get("label"), str) else ""
    short = "AIS" if value == "ais" else "Δ loss" if value == "delta" else label(value)
    text = f"Step {row['step']}{name} has the highest {short}: {number(values[best])}"
    return text + (f", random heads {number(control[best])}" if np.isfinite(control[best]) else "")


@checked
def step_bars(
    steps: pd.DataFrame, id: str | None = None, value: str = "ais", *, title: str | None = None
) -> go.Figure:
    """Return one trace's steps as bars, top to bottom, each with its random-heads control.

    Args:
        steps: One row per step: id, step and `value`; `<value>_control`, `<value>_control_std`
            (error bars, over draws), label, text and below_floor where known.
        id: The trace; the first one by default.
        value: `ais`, `delta` or a loss (nats per token).
        title: Replaces the headline.
    """
    heading = title or "Steps of one trace"
    rows = one_trace(steps, id)
    if rows.empty:
        return no_data(heading, "no steps to show" if id is None else f"no trace with id {id}")
    need(rows, ("step", value), "step_bars")
    rows = rows.sort_values("step", kind="stable")
    values, control = floats(rows, value), floats(rows, f"{value}_control")
    if not np.isfinite(values).any():
        return no_data(heading, f"no step of this trace has a value in {value}")
    roomy, many = len(rows) <= 40, bool(np.isfinite(control).any())
    aid = f"Trace {shorten(rows['id'].iloc[0], 40)}"
    aid += "; whisker: ± one standard deviation over draws of random heads" if many else ""
    height = 130 + len(rows) * (38 if roomy else 16)
    fig = figure(title or _bars_title(rows, value), aid, height=height, legend=many)
    hover = [step_hover(row, value) for row in row_dicts(rows)]
    _add_bars(fig, values, ("critical heads", COLOURS["ablated"]), hover)
    if many:
        spread = np.nan_to_num(floats(rows, f"{value}_control_std"))
        _add_bars(fig, control, ("random heads (control)", COLOURS["control"]), hover, spread)
    _note_floor(fig, rows, values)
    ticks = [_tick(row, roomy) for row in row_dicts(rows)]
    fig.update_yaxes(tickvals=list(range(len(rows))), ticktext=ticks, tickfont_size=11.5)
    fig.update_yaxes(range=[len(rows) - 0.4, -0.6], showgrid=False, ticklabelstandoff=4)
    fig.update_xaxes(title_text=label(value))
    fig.update_layout(barmode="group", bargap=0.32, bargroupgap=0.06)
    return fig


def _add_bars(
    fig: Any,
    values: NDArray[np.float64],
    look: tuple[str, str],
    hover: list[str],
    spread: NDArray[np.float64] | None = None,
) -> None:
    whisker: dict[str, Any] = {"color": COLOURS["control"], "thickness": 1.2, "width": 3}
    if spread is not None and spread.any():
        whisker |= {"type": "data", "array": spread.tolist()}
    fig.add_bar(
        x=values.tolist(),
        y=list(range(len(values))),
        orientation="h",
        name=look[0],
        marker={"color": look[1]},
        error_x=whisker if "array" in whisker else None,
        hovertext=hover,
        hoverinfo="text",
    )


def _note_floor(fig: Any, rows: pd.DataFrame, values: NDArray[np.float64]) -> None:
    if "below_floor" not in rows:
        return
    under = rows["below_floor"].fillna(False).to_numpy(dtype=bool) & ~np.isfinite(values)
    for place in np.flatnonzero(under):
        note = {"text": "base loss under the floor", "font": {"size": 11}, "xanchor": "left"}
        fig.add_annotation(x=0, y=int(place), showarrow=False, yshift=8, **note)


def _layout(rows: pd.DataFrame, wrap: int) -> tuple[list[str], list[int], list[int], list[int]]:
    """Place tokens on lines of at most `wrap` cells; a step starts a new line.

    Returns the shown texts, the first cell, the line of each, and the first line of each step.
    """
    texts = [visible(token) for token in rows["token"]]
    steps = rows["step"].tolist() if "step" in rows else [0] * len(rows)
    starts, lines, firsts = [], [], [0]
    cell = line = 0
    for place, text in enumerate(texts):
        new_step = place > 0 and steps[place] != steps[place - 1]
        if new_step or (cell and cell + columns(text) > wrap):
            cell, line = 0, line + 1
        if new_step:
            firsts.append(line)
        starts.append(cell)
        lines.append(line)
        cell += columns(text)
    return texts, starts, lines, firsts


def _token_hover(row: dict[str, Any]) -> str:
    text = f"<b>{plotly_text(visible(row['token']))}</b>"
    text += f" · step {row['step']}" if "step" in row else ""
    text += f" · position {row['pos']}" if "pos" in row else ""
    for column in ("nll_base", "nll_ref", "nll_control", "delta", "delta_control", "entropy"):
        if known(row.get(column)):
            text += f"<br>{label(column, token=True)}: {number(row[column])}"
    return text


@checked
def token_strip(
    tokens: pd.DataFrame,
    id: str | None = None,
    value: str = "delta",
    *,
    wrap: int = 84,
    limit_at: float | None = None,
    title: str | None = None,
) -> go.Figure:
    """Return one trace's tokens as coloured, wrapped text; each step starts a line.

    Args:
        tokens: One row per token: id, token and `value`; step, pos and the NLL columns (nats)
            where known. Equal tokens stay apart; spaces and newlines are shown.
        id: The trace; the first one by default.
        value: The column to colour by; Δ has 0 in the middle.
        wrap: Width of a line in characters.
        limit_at: Value at which the colour is full; by default the 98 % quantile of its size.
        title: Replaces the headline.
    """
    heading = title or "Tokens of one trace"
    rows = one_trace(tokens, id)
    if rows.empty:
        return no_data(heading, "no tokens to show" if id is None else f"no trace with id {id}")
    need(rows, ("token", value), "token_strip")
    rows = rows.sort_values("pos", kind="stable") if "pos" in rows else rows
    values = floats(rows, value)
    texts, starts, lines, firsts = _layout(rows, wrap)
    aid = f"Trace {shorten(rows['id'].iloc[0], 40)}, {len(rows)} tokens, coloured by "
    aid += label(value, token=True) + "; a number on the left: the step that starts there"
    count, bound = max(lines[-1] + 1, 6), limit_at or limit(values)
    height = 84 + 25 * count
    fig = figure(title or _strip_title(rows, values, value), aid, height=height, bottom=24)
    fig.add_bar(
        x=[columns(text) for text in texts],
        base=starts,
        y=lines,
        width=0.86,
        orientation="h",
        text=[plotly_text(text) for text in texts],
        textposition="inside",
        insidetextanchor="middle",
        insidetextfont={"family": MONO, "size": 12, "color": DARK_INK},
        textangle=0,
        constraintext="none",
        marker={"color": paint(values, value, bound), "line": EDGE},
        hovertext=[_token_hover(row) for row in row_dicts(rows)],
        hoverinfo="text",
    )
    fig.add_trace(_key(value, bound, height - 84))
    numbers = rows["step"].drop_duplicates().tolist() if "step" in rows else [""]
    fig.update_yaxes(tickvals=firsts, ticktext=[str(n) for n in numbers[: len(firsts)]])
    fig.update_yaxes(range=[count - 0.4, -0.6], showgrid=False, ticks="")
    fig.update_xaxes(range=[-0.5, wrap + 0.5], visible=False)
    fig.update_layout(bargap=0, dragmode=False)
    return fig


def _key(value: str, bound: float, height: int) -> Any:
    """An invisible point that carries the colour bar, as the bars have explicit colours."""
    marker = {
        "color": [0],
        "colorscale": text_scale(value),
        "cmin": -bound if is_signed(value) else 0,
        "cmax": bound,
        "colorbar": colour_bar(label(value, token=True), height),
        "showscale": True,
        "size": 0.1,
    }
    return go.Scatter(x=[0], y=[0], mode="markers", marker=marker, hoverinfo="skip", opacity=0)


def _strip_title(rows: pd.DataFrame, values: NDArray[np.float64], value: str) -> str:
    if not np.isfinite(values).any():
        return f"No token of this trace has a value in {value}"
    best = int(np.nanargmax(values))
    token = visible(rows["token"].iloc[best])
    return f"Highest {label(value, token=True)}: {number(values[best])} at “{shorten(token, 24)}”"
