"""Figures over many steps: AIS by label, steps × traces, heads × steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from airlens.arguments import checked

from .labels import SHORT, known, label, number, percent, plotly_text, shorten, wrapped
from .style import COLOURS, DIVERGING, colour_bar, figure, floats, limit, need, no_data, whole_axis


def by_group(
    frame: pd.DataFrame, group: str, value: str, *, title: str | None, what: str
) -> go.Figure:
    """Return box plots of `value` for each value of `group`, beside the random-heads control.

    `what` names the unit of a row in the plural ("steps", "samples"). The axis ends at the
    whiskers, so that a few huge ratios do not compress the rest; the figure says how many are
    beyond it.
    """
    heading = title or f"{label(value)} by {group}"
    if frame.empty:
        return no_data(heading, f"no {what} to show")
    need(frame, (group, value), f"{value} by {group}")
    rows = frame.assign(value=floats(frame, value), control=floats(frame, f"{value}_control"))
    rows["group"] = [str(name) if known(name) else "(none)" for name in frame[group]]
    rows = rows.dropna(subset="value")
    if rows.empty:
        return no_data(heading, f"no {what} with a value in {value}")
    medians = rows.groupby("group")["value"].median().sort_values()
    names = [str(name) for name in medians.index]
    head = f"Median {SHORT.get(value, value)}: {number(medians.iloc[-1])} for {names[-1]}"
    head += f", {number(medians.iloc[0])} for {names[0]}" if len(names) > 1 else ""
    aid = f"{len(rows)} {what}; box: quartiles, line: median"
    reach = _reach(rows)
    cut = _outside(rows[["value", "control"]].to_numpy().ravel(), reach)
    aid += f"; {cut} points lie beyond the axis" if cut else ""
    fig = figure(title or head, aid, height=170 + 58 * len(names), legend=True)
    for column, name in (("control", "random heads (control)"), ("value", "critical heads")):
        if rows[column].notna().any():
            colour = COLOURS["control" if column == "control" else "ablated"]
            _add_boxes(fig, rows, column, (name, colour), names)
    ticks = [f"{plotly_text(n)}  <i>n = {int((rows['group'] == n).sum())}</i>" for n in names]
    fig.update_yaxes(tickvals=list(range(len(names))), ticktext=ticks, showgrid=False)
    fig.update_yaxes(range=[-0.6, len(names) - 0.4], zeroline=False)
    fig.update_xaxes(title_text=label(value), range=reach)
    fig.update_layout(boxmode="group", boxgap=0.35, legend_traceorder="reversed")
    return fig


def _reach(rows: pd.DataFrame) -> tuple[float, float]:
    """An axis range that holds every box and its whiskers, and 0."""
    ends = [0.0]
    for column in ("value", "control"):
        for _, group in rows.groupby("group")[column]:
            real = group.dropna().to_numpy()
            if real.size:
                low, high = np.quantile(real, [0.25, 0.75])
                fence = 1.5 * (high - low)
                ends += [max(real.min(), low - fence), min(real.max(), high + fence)]
    room = 0.05 * (max(ends) - min(ends) or 1.0)
    return float(min(ends) - room), float(max(ends) + room)


def _outside(values: NDArray[np.float64], reach: tuple[float, float]) -> int:
    return int(((values < reach[0]) | (values > reach[1])).sum())


def _add_boxes(
    fig: Any, rows: pd.DataFrame, column: str, look: tuple[str, str], names: list[str]
) -> None:
    fig.add_box(
        x=rows[column].tolist(),
        y=[names.index(name) for name in rows["group"]],
        orientation="h",
        name=look[0],
        offsetgroup=column,
        marker={"color": look[1], "size": 3, "opacity": 0.55},
        line={"width": 1.5},
        boxpoints="outliers",
    )


@checked
def ais_by_label(steps: pd.DataFrame, value: str = "ais", *, title: str | None = None) -> go.Figure:
    """Return the distribution of a step value by label of the step, with the control beside it.

    Args:
        steps: One row per step: label and `value`; `<value>_control` where known.
        value: `ais` or `delta` (nats per token).
        title: Replaces the headline.
    """
    return by_group(steps, "label", value, title=title, what="steps")


@checked
def step_heatmap(
    steps: pd.DataFrame, value: str = "ais", *, traces: int = 60, title: str | None = None
) -> go.Figure:
    """Return the map of a step value: one row per trace, one column per step.

    Args:
        steps: One row per step: id, step and `value`; label and text where known.
        value: The column to colour by.
        traces: Most traces drawn; where there are more, the figure says so.
        title: Replaces the headline.
    """
    heading = title or "Steps of all traces"
    if steps.empty:
        return no_data(heading, "no steps to show")
    need(steps, ("id", "step", value), "step_heatmap")
    everything = [str(name) for name in steps["id"].unique()]
    ids = everything[:traces]
    rows = steps[steps["id"].astype(str).isin(ids)]
    values = floats(rows, value)
    if not np.isfinite(values).any():
        return no_data(heading, f"no step has a value in {value}")
    place = (rows["id"].astype(str).map(ids.index).to_numpy(dtype=int), _whole(rows["step"]))
    grid = np.full((len(ids), int(place[1].max()) + 1), np.nan)
    hover = np.full(grid.shape, "", dtype=object)
    grid[place], hover[place] = values, [step_hover(row, value) for row in row_dicts(rows)]
    aid = "One row a trace, one column a step"
    aid += f"; the first {len(ids)} of {len(everything)} traces" if len(everything) > traces else ""
    fig = figure(title or _where(rows, values), aid, height=160 + max(15 * len(ids), 190))
    _add_map(fig, grid, hover, value)
    ticks = [plotly_text(shorten(name, 18)) for name in ids]
    _fewer_ticks(fig, ticks)
    whole_axis(fig.update_xaxes, "step", grid.shape[1])
    return fig


def _where(rows: pd.DataFrame, values: NDArray[np.float64]) -> str:
    """A headline: in which half of a trace the highest value is, over traces of several steps."""
    steps = _whole(rows["step"])
    frame = pd.DataFrame({"id": rows["id"].astype(str).to_numpy(), "step": steps, "v": values})
    frame = frame.dropna()
    frame = frame[frame.groupby("id")["step"].transform("size") > 1]
    if frame.empty:
        return "Influence of the critical heads on each step"
    best = frame.loc[frame.groupby("id")["v"].idxmax()]
    ends = frame.groupby("id")["step"].max()
    late = float((2 * best["step"].to_numpy() > ends.to_numpy()).mean())
    half = "second" if late >= 0.5 else "first"
    share = percent(max(late, 1 - late))
    return f"The most influenced step lies in the {half} half of {share} of the traces"


@checked
def head_step_heatmap(
    frame: pd.DataFrame, value: str = "delta", *, title: str | None = None
) -> go.Figure:
    """Return the heads × steps map of one trace: the effect of ablating each head alone.

    Args:
        frame: One row per head and step: step, name (`L18H6`) and `value`; the rows' order gives
            the order of the heads, first at the top.
        value: The column to colour by, 0 in the middle.
        title: Replaces the headline.
    """
    heading = title or "Heads by step"
    if frame.empty:
        return no_data(heading, "no heads to show")
    need(frame, ("step", "name", value), "head_step_heatmap")
    values = floats(frame, value)
    if not np.isfinite(values).any():
        return no_data(heading, f"no head has a value in {value}")
    names = [str(name) for name in frame["name"].unique()]
    place = (frame["name"].astype(str).map(names.index).to_numpy(dtype=int), _whole(frame["step"]))
    grid = np.full((len(names), int(place[1].max()) + 1), np.nan)
    hover = np.full(grid.shape, "", dtype=object)
    grid[place] = values
    hover[place] = [
        f"<b>{plotly_text(row['name'])}</b>, step {row['step']}<br>{label(value)}: "
        f"{number(row[value])}"
        for row in row_dicts(frame)
    ]
    best = frame.iloc[int(np.nanargmax(np.abs(values)))]
    head = f"{best['name']} moves step {best['step']} most: {number(best[value])}"
    aid = "Each head ablated alone, one row a head"
    fig = figure(title or head, aid, height=160 + max(19 * len(names), 190))
    _add_map(fig, grid, hover, value)
    _fewer_ticks(fig, [plotly_text(name) for name in names])
    whole_axis(fig.update_xaxes, "step", grid.shape[1])
    return fig


def _add_map(fig: Any, grid: NDArray[np.float64], hover: Any, value: str) -> None:
    bound = limit(grid.ravel())
    fig.add_heatmap(
        z=grid.tolist(),
        hovertext=hover.tolist(),
        hoverinfo="text",
        colorscale=DIVERGING,
        zmin=-bound,
        zmax=bound,
        colorbar=colour_bar(label(value), max(15 * grid.shape[0], 190)),
        xgap=1.5,
        ygap=1.5,
    )


def _fewer_ticks(fig: Any, ticks: list[str]) -> None:
    fig.update_yaxes(tickvals=list(range(len(ticks))), ticktext=ticks, tickfont_size=11)
    fig.update_yaxes(range=[len(ticks) - 0.4, -0.6], showgrid=False, zeroline=False)


def _whole(column: Any) -> NDArray[np.int64]:
    return np.asarray(column, dtype=np.int64)


def row_dicts(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as dictionaries with string keys."""
    return [{str(key): cell for key, cell in row.items()} for row in frame.to_dict("records")]


def step_hover(row: dict[str, Any], value: str) -> str:
    """Return the hover text of one step: number, label, value and control, and its words."""
    name = row.get("label")
    text = f"<b>step {row['step']}</b>" + (f" · {plotly_text(name)}" if known(name) else "")
    if "id" in row:
        text += f" · {plotly_text(shorten(row['id'], 40))}"
    text += f"<br>{label(value)}: {number(row.get(value))}"
    if f"{value}_control" in row:
        text += f"<br>random heads: {number(row[f'{value}_control'])}"
        spread = row.get(f"{value}_control_std")
        text += f" ± {number(spread)}" if known(spread) else ""
    if "loss_base" in row:
        text += f"<br>base loss: {number(row['loss_base'])} nats per token"
    if row.get("below_floor") is True:
        text += "<br>base loss under the floor: no ratio"
    return text + (f"<br><br>{wrapped(row['text'])}" if "text" in row else "")
