"""Figures of early answers: the answer's probability along a trace, and what each step adds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from airlens.arguments import checked

from .copying_curve import faded
from .labels import label, number, percent, plotly_text, shorten
from .single_trace import one_trace
from .step_maps import row_dicts
from .style import COLOURS, figure, floats, legend_room, need, no_data

CURVES = {
    "base": ("the model", COLOURS["base"]),
    "ref": ("without the critical heads", COLOURS["ablated"]),
    "control": ("without random heads (control)", COLOURS["control"]),
}
ROOMY = 40  # steps: of more, not every one has a tick of its own
SHOWN = 16  # answers written above the curve at most


def _decided(rows: pd.DataFrame, column: str) -> int | None:
    """The first step from which on every answer is right."""
    if column not in rows:
        return None
    wrong = np.flatnonzero(~rows[column].fillna(False).to_numpy(dtype=bool))
    first = int(wrong[-1]) + 1 if len(wrong) else 0
    return int(rows["step"].iloc[first]) if first < len(rows) else None


def _changes(rows: pd.DataFrame) -> list[tuple[int, str]]:
    """Each step at which the answer given changes, and the new answer; at most `SHOWN` of them."""
    if "answer_now" not in rows:
        return []
    found: list[tuple[int, str]] = []
    for step, text in zip(rows["step"], rows["answer_now"].fillna("").astype(str), strict=True):
        if not found or text != found[-1][1]:
            found.append((int(step), text))
    if len(found) <= SHOWN:
        return found
    return [found[i] for i in np.linspace(0, len(found) - 1, SHOWN).round().astype(int)]


def _name(step: object) -> str:
    return "before the first step" if step == -1 else f"after step {step}"


def _curve_hover(row: dict[str, Any]) -> str:
    text = f"<b>{_name(row['step'])}</b>"
    if "answer_now" in row:
        said = plotly_text(shorten(row["answer_now"], 60))
        text += f"<br>answers: {said}" + (" (right)" if row.get("right_base") is True else "")
        text += f", probability {number(row.get('p_now'))}"
    for kind, (name, _) in CURVES.items():
        if f"logp_{kind}" in row:
            text += f"<br>{name}: {number(row[f'logp_{kind}'])} nats"
    if "logp_contrast" in row:
        text += f"<br>a wrong answer: {number(row['logp_contrast'])} nats"
    return text + ("<br>the step writes the answer" if row.get("states_answer") is True else "")


def _curve_title(rows: pd.DataFrame, base: NDArray[np.float64]) -> str:
    decided = _decided(rows, "right_base")
    if decided is not None:
        return f"The answer is decided {_name(decided)} of {int(rows['step'].max())}"
    known = base[np.isfinite(base)]
    end = f"at the end the right one has probability {percent(float(np.exp(known[-1])))}"
    return f"The answer is not decided: {end}"


@checked
def early_answer_curve(
    steps: pd.DataFrame,
    id: str | None = None,
    *,
    controls: pd.DataFrame | None = None,
    title: str | None = None,
) -> go.Figure:
    """Return the log-probability of a trace's answer after each step, with and without heads.

    Above the curve stand the answers that the model would give, where they change; a mark says from
    where on they are right.

    Args:
        steps: One row per cut, as `EarlyAnswers.steps`: id, step, logp_base (nats); logp_ref,
            logp_control, answer_now, right_base where known.
        id: The trace; the first one by default.
        controls: `EarlyAnswers.controls`, for a band from the lowest to the highest draw.
        title: Replaces the headline.
    """
    heading = title or "Early answers of one trace"
    rows = one_trace(steps, id)
    if rows.empty:
        return no_data(heading, "no steps to show" if id is None else f"no trace with id {id}")
    need(rows, ("step", "logp_base"), "early_answer_curve")
    rows = rows.sort_values("step", kind="stable")
    base = floats(rows, "logp_base")
    if not np.isfinite(base).any():
        return no_data(heading, "no step of this trace has a value in logp_base")
    aid = f"Trace {shorten(rows['id'].iloc[0], 40)}: it is cut after each step and asked for its "
    aid += "answer. Above: the answer given, where it changes"
    fig = figure(title or _curve_title(rows, base), aid, height=470, legend=True)
    draws = None if controls is None else one_trace(controls, str(rows["id"].iloc[0]))
    _add_band(fig, draws)
    hover = [_curve_hover(row) for row in row_dicts(rows)]
    for kind, (name, colour) in reversed(CURVES.items()):
        values = floats(rows, f"logp_{kind}")
        if np.isfinite(values).any():
            _add_curve(fig, rows, values, (name, colour), hover)
    _write_answers(fig, rows)
    decided = _decided(rows, "right_base")
    if decided is not None:
        fig.add_vline(x=decided, line={"color": COLOURS["selected"], "dash": "dot", "width": 1.5})
        note = {"text": "decided", "x": decided, "yref": "paper", "y": 0, "xanchor": "left"}
        fig.add_annotation(**note, yanchor="bottom", showarrow=False, font_size=11.5, xshift=4)
    legend_room(fig)
    fig.update_layout(legend_traceorder="reversed")
    first, last = int(rows["step"].min()), int(rows["step"].max())
    fig.update_xaxes(title_text="last step before the cut", range=[first - 0.5, last + 0.5])
    if last - first < ROOMY:
        fig.update_xaxes(dtick=1 if last - first <= 20 else 2)
    fig.update_yaxes(title_text=label("logp_base"))
    return fig


def _add_band(fig: Any, draws: pd.DataFrame | None) -> None:
    if draws is None or draws.empty:
        return
    need(draws, ("step", "logp_control"), "early_answer_curve")
    ends = draws.groupby("step")["logp_control"].agg(["min", "max"]).dropna()
    edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    edge |= {"x": ends.index.tolist(), "showlegend": False}
    fig.add_scatter(y=ends["min"].tolist(), **edge)
    colour = faded(COLOURS["control"])
    fig.add_scatter(y=ends["max"].tolist(), fill="tonexty", fillcolor=colour, **edge)


def _add_curve(
    fig: Any,
    rows: pd.DataFrame,
    values: NDArray[np.float64],
    look: tuple[str, str],
    hover: list[str],
) -> None:
    fig.add_scatter(
        x=rows["step"].tolist(),
        y=values.tolist(),
        mode="lines+markers",
        name=look[0],
        line={"color": look[1], "width": 2},
        marker={"color": look[1], "size": 6},
        hovertext=hover,
        hoverinfo="text",
    )


def _write_answers(fig: Any, rows: pd.DataFrame) -> None:
    """The answers given, slanted, above the plot's upper edge."""
    changes = _changes(rows)
    right = dict(zip(rows["step"], rows.get("right_base", [False] * len(rows)), strict=True))
    for step, text in changes:
        colour = COLOURS["selected"] if right.get(step) else None
        font = {"size": 11} | ({"color": colour} if colour else {})
        fig.add_annotation(
            x=step,
            y=1,
            yref="paper",
            text=plotly_text(shorten(text, 14) or "(nothing)"),
            textangle=-35,
            xanchor="left",
            yanchor="top",
            yshift=4,
            showarrow=False,
            font=font,
        )


def _gain_title(rows: pd.DataFrame, values: NDArray[np.float64]) -> str:
    best = int(np.nanargmax(values))
    row = rows.iloc[best]
    ref = floats(rows, "gain_ref")[best]
    text = f"Step {row['step']} adds most to the answer: {number(values[best])} nats"
    return text + (f", {number(ref)} without the critical heads" if np.isfinite(ref) else "")


@checked
def step_gain_bars(
    steps: pd.DataFrame, id: str | None = None, *, title: str | None = None
) -> go.Figure:
    """Return what each step of a trace adds to its answer's log-probability, as bars.

    Beside the model's gain stand those without the critical heads and without random ones. A step
    that writes the answer is marked: its gain is trivial.

    Args:
        steps: One row per cut, as `EarlyAnswers.steps`: id, step, gain (nats); gain_ref,
            gain_control, states_answer where known.
        id: The trace; the first one by default.
        title: Replaces the headline.
    """
    heading = title or "What each step adds to the answer"
    rows = one_trace(steps, id)
    if rows.empty:
        return no_data(heading, "no steps to show" if id is None else f"no trace with id {id}")
    need(rows, ("step", "gain"), "step_gain_bars")
    rows = rows.sort_values("step", kind="stable")
    # Before the first step nothing was added.
    rows = rows[rows["step"] >= 0] if (rows["step"] >= 0).any() else rows
    values = floats(rows, "gain")
    if not np.isfinite(values).any():
        return no_data(heading, "no step of this trace has a value in gain")
    aid = f"Trace {shorten(rows['id'].iloc[0], 40)}; * the step writes the answer"
    height = 130 + len(rows) * (44 if len(rows) <= ROOMY else 18)
    fig = figure(title or _gain_title(rows, values), aid, height=height, legend=True)
    hover = [_gain_hover(row) for row in row_dicts(rows)]
    places = list(range(len(rows)))
    for kind, (name, colour) in CURVES.items():
        gains = floats(rows, "gain" if kind == "base" else f"gain_{kind}")
        if np.isfinite(gains).any():
            look: dict[str, Any] = {"name": name, "marker_color": colour, "orientation": "h"}
            fig.add_bar(x=gains.tolist(), y=places, hovertext=hover, hoverinfo="text", **look)
    stated = rows.get("states_answer", pd.Series(False, index=rows.index)).fillna(False)
    ticks = [f"<b>{s}</b>{' *' if a else ''}" for s, a in zip(rows["step"], stated, strict=True)]
    fig.update_yaxes(tickvals=places, ticktext=ticks, tickfont_size=11.5, title_text="step")
    fig.update_yaxes(range=[len(rows) - 0.4, -0.6], showgrid=False, ticklabelstandoff=4)
    fig.update_xaxes(title_text=label("gain"))
    fig.update_layout(barmode="group", bargap=0.3, bargroupgap=0.06)
    legend_room(fig)
    return fig


def _gain_hover(row: dict[str, Any]) -> str:
    text = f"<b>step {row['step']}</b>"
    for kind, (name, _) in CURVES.items():
        column = "gain" if kind == "base" else f"gain_{kind}"
        if column in row:
            text += f"<br>{name}: {number(row[column])} nats"
    if "answer_now" in row:
        text += f"<br>would answer: {plotly_text(shorten(row['answer_now'], 60))}"
    return text + ("<br>the step writes the answer" if row.get("states_answer") is True else "")
