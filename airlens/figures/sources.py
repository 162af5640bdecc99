"""Where the steps of a trace fetch from: steps × sources, and arcs along the trace.

Both take the pairs of :func:`airlens.sources`: one row a step and earlier unit of the text. Units
are the steps of the response, 0…S−1, and the sentences of the prompt, −P…−1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from .steps import row_dicts
from .style import (
    COLOURS,
    DIVERGING,
    GRID,
    SEQUENTIAL,
    colour_bar,
    figure,
    floats,
    limit,
    need,
    no_data,
)
from .text import MEASURES, is_signed, label, number, plotly_text, shorten
from .trace import one_trace

COLUMNS = ("step", "source")
WORDY = 1600  # cells; in a larger matrix the hover does not repeat the words of step and source
CURVE = np.sin(np.linspace(0, np.pi, 25)) ** 0.7


def unit_names(units: pd.DataFrame | list[int], *, long: bool = False) -> dict[int, str]:
    """Name the units of a trace: steps by their number, those of the prompt p1, p2, … in order.

    Args:
        units: a frame with the column unit, or the numbers.
        long: "step 3" and "prompt 1" instead of "3" and "p1".
    """
    given = units["unit"] if isinstance(units, pd.DataFrame) else units
    order = sorted({int(unit) for unit in given})
    lowest = order[0] if order else 0
    step, prompt = ("step ", "prompt ") if long else ("", "p")
    return {u: f"{step}{u}" if u >= 0 else f"{prompt}{u - lowest + 1}" for u in order}


def _order(rows: pd.DataFrame, units: pd.DataFrame | None) -> list[int]:
    """All units of the trace in the order of the text."""
    if units is not None and not units.empty:
        return sorted({int(unit) for unit in units["unit"]})
    return sorted({int(unit) for name in COLUMNS for unit in rows[name]})


def _words(units: pd.DataFrame | None) -> dict[int, str]:
    if units is None or "text" not in units:
        return {}
    return {int(row["unit"]): shorten(row["text"], 60) for row in row_dicts(units)}


def _one(
    pairs: pd.DataFrame, units: pd.DataFrame | None, value: str, id: str | None, who: str
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The rows of one trace, of pairs and of units."""
    rows = one_trace(pairs, id)
    need(rows, (*COLUMNS, value), who)
    return rows, None if units is None else one_trace(units, str(rows["id"].iloc[0]))


def _headline(rows: pd.DataFrame, value: str, names: dict[int, str]) -> str:
    values, control = floats(rows, value), floats(rows, f"{value}_control")
    best = int(np.nanargmax(values))
    step, source = (names[int(rows[name].iloc[best])] for name in COLUMNS)
    text = f"Strongest: {step} from {source}, {MEASURES.get(value, value)} {number(values[best])}"
    return text + (f", random heads {number(control[best])}" if np.isfinite(control[best]) else "")


def step_sources(
    pairs: pd.DataFrame,
    value: str = "copies",
    units: pd.DataFrame | None = None,
    id: str | None = None,
    *,
    title: str | None = None,
) -> go.Figure:
    """Return the map of steps and their sources, the random-heads control beside it.

    Args:
        pairs: One row a step and source: id, step, source and `value`; `<value>_control` where
            known. What was not measured (NaN) stays empty.
        value: `copies`, `attention`, `attention_per_token` or `knockout`.
        units: One row a unit: id, unit; text where known, for the hover.
        id: The trace; the first one by default.
        title: Replaces the headline.
    """
    heading = title or "Where each step fetches from"
    if one_trace(pairs, id).empty:
        return no_data(heading, "no sources to show" if id is None else f"no trace with id {id}")
    rows, units = _one(pairs, units, value, id, "step_sources")
    values, control = floats(rows, value), floats(rows, f"{value}_control")
    if not np.isfinite(values).any():
        return no_data(heading, f"no pair of this trace has a value in {value}")
    order = _order(rows, units)
    long = unit_names(order, long=True)
    steps = [unit for unit in order if unit >= 0]
    place = (rows["step"].map(steps.index), rows["source"].map(order.index))
    hover = _pair_hover(rows, value, long, _words(units), len(steps) * len(order) <= WORDY)
    both = bool(np.isfinite(control).any())
    aid = f"Trace {shorten(rows['id'].iloc[0], 40)}; one row a step, one column a source"
    aid += ", sentences of the prompt left of the line" if order[0] < 0 else ""
    aid += "; right: as many random heads (control), on the same scale" if both else ""
    tall = max(230, min(620, 14 * len(steps))) if not both else max(230, min(460, 14 * len(steps)))
    fig = figure(title or _headline(rows, value, long), aid, height=130 + tall)
    scale = limit(np.concatenate([values, control]), 0.995)
    for panel, (found, name) in enumerate(((values, "critical heads"), (control, "random heads"))):
        if panel and not both:
            break
        grid = np.full((len(steps), len(order)), np.nan)
        text = np.full(grid.shape, "", dtype=object)
        grid[place], text[place] = found, hover
        _add_panel(fig, panel, (grid, text), (value, scale, tall))
        _add_axes(fig, panel, order, (name if both else "source", both))
    return fig


def _pair_hover(
    rows: pd.DataFrame, value: str, names: dict[int, str], words: dict[int, str], wordy: bool
) -> list[str]:
    found = []
    for row in row_dicts(rows[[*COLUMNS, *(c for c in (value, f"{value}_control") if c in rows)]]):
        step, source = int(row["step"]), int(row["source"])
        text = f"<b>{names[step]} from {names[source]}</b><br>{MEASURES.get(value, value)}: "
        text += f"{number(row[value])}<br>random heads: {number(row.get(f'{value}_control'))}"
        if wordy and words:
            text += f"<br><br>{plotly_text(words.get(source, ''))}<br>→ "
            text += plotly_text(words.get(step, ""))
        found.append(text)
    return found


def _add_panel(
    fig: Any,
    panel: int,
    cells: tuple[NDArray[np.float64], NDArray[Any]],
    look: tuple[str, float, int],
) -> None:
    (grid, hover), (value, bound, tall) = cells, look
    signed = is_signed(value)
    gap = 1 if grid.shape[1] <= 60 else 0
    fig.add_heatmap(
        z=grid.tolist(),
        hovertext=hover.tolist(),
        hoverinfo="text",
        colorscale=DIVERGING if signed else SEQUENTIAL,
        zmin=-bound if signed else 0,
        zmax=bound,
        showscale=panel == 0,
        colorbar=colour_bar(label(value), tall),
        xgap=gap,
        ygap=gap,
        xaxis="x2" if panel else "x",
        yaxis="y2" if panel else "y",
    )


def _add_axes(fig: Any, panel: int, order: list[int], look: tuple[str, bool]) -> None:
    (name, both), names = look, unit_names(order)
    edge = sum(unit < 0 for unit in order) - 0.5
    if edge > 0:
        line = {"line_width": 1, "line_color": COLOURS["control"]}
        fig.add_shape(
            type="line", x0=edge, x1=edge, y0=0, y1=1, **line,
            xref="x2" if panel else "x", yref="y2 domain" if panel else "y domain",
        )  # fmt: skip
    steps = [unit for unit in order if unit >= 0]
    x, y = ("xaxis2", "yaxis2") if panel else ("xaxis", "yaxis")
    domain = [0.53, 1] if panel else [0, 0.47 if both else 1]
    near, far = (
        places(len(steps), 20),
        places(len(order), 10 if both else 20, len(order) - len(steps)),
    )
    plain = {"showgrid": False, "zeroline": False, "ticklen": 2, "tickfont_size": 11}
    fig.update_layout(
        {
            x: {
                "domain": domain, "anchor": "y2" if panel else "y", "title_text": name,
                "range": [-0.5, len(order) - 0.5], **plain,
                "tickvals": far, "ticktext": [names[order[i]] for i in far], "tickangle": 0,
            },
            y: {
                "anchor": "x2" if panel else "x", "range": [len(steps) - 0.5, -0.5], **plain,
                "title_text": "" if panel else "step", "showticklabels": not panel,
                "tickvals": near, "ticktext": [names[steps[i]] for i in near],
            },
        }
    )  # fmt: skip


def places(count: int, wanted: int, first: int = 0) -> list[int]:
    """At most about `wanted` places of `count` to be labelled, in round steps from `first` on.

    Of what stands before `first` (the prompt's units), the very first is labelled.
    """
    gap = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200) if count / s <= wanted), 500)
    before = [0] if first >= gap * 0.6 or gap == 1 else []
    return (list(range(first)) if gap == 1 else before) + list(range(first, count, gap))


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
    """Return the trace as a line of units, with an arc from each step to where it fetches from.

    Arcs above are the critical heads', arcs below those of random heads; the thicker, the stronger.

    Args:
        pairs: One row a step and source: id, step, source and `value`; `<value>_control` where
            known.
        units: One row a unit: id, unit; text where known, for the hover.
        value: `copies`, `attention`, `attention_per_token` or `knockout`.
        id: The trace; the first one by default.
        top: At most so many arcs of the critical heads and of the random heads, the strongest.
        step: Only the sources of this step.
        title: Replaces the headline.
    """
    heading = title or "Where each step fetches from"
    if one_trace(pairs, id).empty:
        return no_data(heading, "no sources to show" if id is None else f"no trace with id {id}")
    rows, units = _one(pairs, units, value, id, "source_arcs")
    order = _order(rows, units)
    rows = rows if step is None else rows[rows["step"] == step]
    values, control = floats(rows, value), floats(rows, f"{value}_control")
    if not (values > 0).any():
        return no_data(heading, "no source with a value above zero")
    long, words = unit_names(order, long=True), _words(units)
    hover = _pair_hover(rows, value, long, words, True)
    bound = float(np.nanmax(np.concatenate([values, control])))
    least = np.sort(values[values > 0])[::-1][:top][-1]
    above, below = ((np.nan_to_num(found) >= least) & (found > 0) for found in (values, control))
    aid = f"Trace {shorten(rows['id'].iloc[0], 40)}; above: the {min(top, above.sum())} strongest"
    if np.isfinite(control).any():
        aid += f"; below: {below.sum()} of as many random heads that are no weaker"
        aid += f" ({top} drawn)" if below.sum() > top else ""
    aid += f"; width: {MEASURES.get(value, value)}"
    fig = figure(title or _headline(rows, value, long), aid, height=470, legend=True)
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
    """Draw the strongest arcs, weak ones first; `size`: the value of the thickest, and how many."""
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
    """The units themselves, on the line from which the arcs rise."""
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
