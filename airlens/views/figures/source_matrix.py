"""The map of steps × sources of a trace, and helpers of all figures of sources.

They take the pairs of :func:`airlens.sources`: one row a step and earlier unit of the text. Units
are the steps of the response, 0…S−1, and the sentences of the prompt, −P…−1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from airlens.arguments import checked

from .labels import MEASURES, is_signed, label, number, plotly_text, shorten
from .single_trace import one_trace
from .step_maps import row_dicts
from .style import COLOURS, DIVERGING, SEQUENTIAL, colour_bar, figure, floats, limit, need, no_data

COLUMNS = ("step", "source")
WORDY = 1600  # cells; in a larger matrix the hover leaves out the words of step and source


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


def unit_order(rows: pd.DataFrame, units: pd.DataFrame | None) -> list[int]:
    """All units of the trace in the order of the text."""
    if units is not None and not units.empty:
        return sorted({int(unit) for unit in units["unit"]})
    return sorted({int(unit) for name in COLUMNS for unit in rows[name]})


def unit_words(units: pd.DataFrame | None) -> dict[int, str]:
    """Return the beginning of each unit's text, where it is known."""
    if units is None or "text" not in units:
        return {}
    return {int(row["unit"]): shorten(row["text"], 60) for row in row_dicts(units)}


def one_trace_pairs(
    pairs: pd.DataFrame, units: pd.DataFrame | None, value: str, id: str | None, who: str
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The rows of one trace, of pairs and of units."""
    rows = one_trace(pairs, id)
    need(rows, (*COLUMNS, value), who)
    return rows, None if units is None else one_trace(units, str(rows["id"].iloc[0]))


def pairs_headline(rows: pd.DataFrame, value: str, names: dict[int, str]) -> str:
    """Return a headline that names the strongest pair, and its control."""
    values, control = floats(rows, value), floats(rows, f"{value}_control")
    best = int(np.nanargmax(values))
    step, source = (names[int(rows[name].iloc[best])] for name in COLUMNS)
    text = f"Strongest: {step} from {source}, {MEASURES.get(value, value)} {number(values[best])}"
    return text + (f", random heads {number(control[best])}" if np.isfinite(control[best]) else "")


@checked
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
        pairs: One row per step and source: id, step, source and `value`; `<value>_control` where
            known. Cells that were not measured (NaN) stay empty.
        value: `copies`, `attention`, `attention_per_token`, `knockout` or `knockout_kl`.
        units: One row per unit: id, unit; text where known, for the hover.
        id: The trace; the first one by default.
        title: Replaces the headline.
    """
    heading = title or "Where each step fetches from"
    if one_trace(pairs, id).empty:
        return no_data(heading, "no sources to show" if id is None else f"no trace with id {id}")
    rows, units = one_trace_pairs(pairs, units, value, id, "step_sources")
    values, control = floats(rows, value), floats(rows, f"{value}_control")
    if not np.isfinite(values).any():
        return no_data(heading, f"no pair of this trace has a value in {value}")
    order = unit_order(rows, units)
    long = unit_names(order, long=True)
    steps = [unit for unit in order if unit >= 0]
    place = (rows["step"].map(steps.index), rows["source"].map(order.index))
    hover = pair_hover(rows, value, long, unit_words(units), len(steps) * len(order) <= WORDY)
    both = bool(np.isfinite(control).any())
    aid = f"Trace {shorten(rows['id'].iloc[0], 40)}; one row a step, one column a source"
    aid += ", sentences of the prompt left of the line" if order[0] < 0 else ""
    aid += "; right: as many random heads (control), on the same scale" if both else ""
    tall = max(230, min(620, 14 * len(steps))) if not both else max(230, min(460, 14 * len(steps)))
    fig = figure(title or pairs_headline(rows, value, long), aid, height=130 + tall)
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


def pair_hover(
    rows: pd.DataFrame, value: str, names: dict[int, str], words: dict[int, str], wordy: bool
) -> list[str]:
    """Return the hover text of each pair: its units, value, control, and the units' words."""
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
    """About `wanted` of `count` places to label, in round steps from `first` on.

    Of the places before `first` (the prompt's units), only the very first is labelled.
    """
    gap = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200) if count / s <= wanted), 500)
    before = [0] if first >= gap * 0.6 or gap == 1 else []
    return (list(range(first)) if gap == 1 else before) + list(range(first, count, gap))
