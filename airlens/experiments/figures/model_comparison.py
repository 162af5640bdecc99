"""Several models side by side: their head scores, and the cost of ablating heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from plotly.subplots import make_subplots

from airlens.arguments import checked
from airlens.control_kinds import CONTROL_WORDS
from airlens.views.figures.labels import label, number, percent, plotly_text
from airlens.views.figures.style import (
    COLOURS,
    DOMAIN_CYCLE,
    error_bars,
    figure,
    floats,
    legend_room,
    need,
    no_data,
)

GROUPS = {
    "base": ("nothing ablated", COLOURS["base"]),
    "top": ("top heads ablated", COLOURS["ablated"]),
    "random": (f"{CONTROL_WORDS['random']} ablated", COLOURS["control"]),
    "same_layers": (f"{CONTROL_WORDS['same_layers']} ablated", "#5d646c"),
    "needle removed": ("needle removed", COLOURS["floor"]),
}
"""Sets of heads in the order of their bars: their label and colour."""


@checked
def models_side_by_side(heads: pd.DataFrame, *, title: str | None = None) -> Any:
    """Return one panel per model: every head by its score and its relative depth.

    Args:
        heads: `Comparison.heads`: model, name, score, depth (0 to 1), top.
        title: Replaces the headline.
    """
    need(heads, ("model", "name", "score", "depth", "top"), "models_side_by_side")
    if heads.empty:
        return no_data(title or "Heads of several models", "no heads to show")
    names = list(dict.fromkeys(heads["model"].astype(str)))
    parts = [heads[heads["model"].astype(str) == name] for name in names]
    shares = [float((floats(part, "score") >= 0.1).mean()) for part in parts]
    head = "Heads that score 0.1 or more: " + ", ".join(
        f"{percent(share)} of {len(part)} in {name}"
        for name, part, share in zip(names, parts, shares, strict=True)
    )
    aid = "One dot a head: retrieval score, and layer as a share of the depth; filled: top heads"
    panels = [plotly_text(name) for name in names]
    grid = _panels(title or head, aid, panels, height=440)
    best = max(0.1, float(np.nanmax(floats(heads, "score"))))
    for i, part in enumerate(parts, start=1):
        marked = part["top"].fillna(False).to_numpy(bool)
        for chosen, colour, symbol in (
            (~marked, COLOURS["control"], "circle-open"),
            (marked, COLOURS["ablated"], "circle"),
        ):
            rows = part[chosen]
            grid.add_scatter(
                x=floats(rows, "score").tolist(),
                y=floats(rows, "depth").tolist(),
                mode="markers",
                marker={"color": colour, "size": 8, "symbol": symbol},
                hovertext=_head_hover(rows),
                hoverinfo="text",
                cliponaxis=False,
                row=1,
                col=i,
            )
        _name_best(grid, part[marked], i)
        grid.update_xaxes(title_text=label("score"), range=[-0.03 * best, 1.12 * best], col=i)
    grid.update_yaxes(range=[-0.04, 1.04])
    grid.update_yaxes(title_text="depth (0 first layer, 1 last)", row=1, col=1)
    return grid


def _head_hover(rows: pd.DataFrame) -> list[str]:
    shown = zip(rows["name"], floats(rows, "score"), floats(rows, "depth"), strict=True)
    return [
        f"<b>{plotly_text(name)}</b><br>{label('score')} {number(score)}<br>depth {number(depth)}"
        for name, score, depth in shown
    ]


def _name_best(grid: Any, top: pd.DataFrame, col: int, count: int = 3) -> None:
    """Label the best heads, where the labels do not collide."""
    placed: list[tuple[float, float]] = []
    for row in top.sort_values("score", ascending=False).to_dict("records"):
        here = (float(row["score"]), float(row["depth"]))
        if any(abs(here[0] - x) < 0.16 and abs(here[1] - y) < 0.05 for x, y in placed):
            continue
        placed.append(here)
        grid.add_annotation(
            x=here[0], y=here[1], text=plotly_text(row["name"]), showarrow=False, yshift=12,
            font={"size": 11}, row=1, col=col,
        )  # fmt: skip
        if len(placed) == count:
            return


@checked
def models_bars(
    table: pd.DataFrame, measure: str = "copy accuracy", *, title: str | None = None
) -> Any:
    """Return one measure of every model as bars: base, and each set of heads ablated.

    Args:
        table: `Comparison.table`: model, measure, heads, value, lo, hi, n, unit.
        measure: Which of its measures.
        title: Replaces the headline.
    """
    need(table, ("model", "measure", "heads", "value", "lo", "hi"), "models_bars")
    rows = table[(table["measure"] == measure) & table["heads"].isin(list(GROUPS))]
    if rows.empty:
        return no_data(title or measure.capitalize(), f"the table has no {measure!r}")
    names = list(dict.fromkeys(rows["model"].astype(str)))
    at = rows.set_index(["model", "heads"])["value"]
    head = f"{measure.capitalize()} without the top heads: " + ", ".join(
        f"{number(at[name, 'base'])} → {number(at[name, 'top'])} in {name}"
        for name in names
        if (name, "base") in at and (name, "top") in at
    )
    counted = rows.drop_duplicates("model")
    units = [
        f"{number(n)} {unit}"
        for n, unit in zip(counted.get("n", []), counted.get("unit", []), strict=True)
    ]
    aid = "Bars: mean over " + (" and ".join(dict.fromkeys(units)) or "units")
    aid += "; lines: 95 % interval over these, and over draws of random heads"
    fig = figure(title or head, aid, height=380, legend=True)
    for group, (called, colour) in GROUPS.items():
        part = rows[rows["heads"] == group]
        if part.empty:
            continue
        value, lo, hi = (floats(part, column) for column in ("value", "lo", "hi"))
        fig.add_bar(
            x=[plotly_text(name) for name in part["model"]],
            y=value.tolist(),
            error_y=error_bars(value, lo, hi, thickness=1.2, width=3),
            name=called,
            marker={"color": colour, "line": {"width": 0}},
            hovertext=[
                f"<b>{plotly_text(name)}</b><br>{called}: {number(v)} [{number(a)}, {number(b)}]"
                for name, v, a, b in zip(part["model"], value, lo, hi, strict=True)
            ],
            hoverinfo="text",
        )
    legend_room(fig)
    fig.update_layout(barmode="group", bargap=0.3, bargroupgap=0.08)
    fig.update_xaxes(showgrid=False)
    fig.update_yaxes(title_text=measure, rangemode="tozero")
    return fig


@checked
def models_forest(
    table: pd.DataFrame,
    contains: str,
    *,
    heads: str = "top",
    zero: float = 0.0,
    title: str | None = None,
) -> Any:
    """Return a row per measure with every model's value and interval, to see where they agree.

    Args:
        table: `Comparison.table`.
        contains: Part of the names of the measures to show, such as `AUROC` or `ρ`.
        heads: Which set of heads.
        zero: The value of no effect: 0.5 for AUROC.
        title: Replaces the headline.
    """
    need(table, ("model", "measure", "heads", "value", "lo", "hi"), "models_forest")
    mine = table["measure"].astype(str).str.contains(contains, regex=False)
    rows = table[mine & (table["heads"] == heads)]
    if rows.empty:
        return no_data(title or contains, f"the table has no {contains!r} of {heads}")
    measures = list(dict.fromkeys(rows["measure"].astype(str)))
    names = list(dict.fromkeys(rows["model"].astype(str)))
    clear = (floats(rows, "lo") > zero).astype(int) - (floats(rows, "hi") < zero).astype(int)
    sums = rows.assign(clear=clear).groupby("measure")["clear"].sum().abs()
    head = (
        f"{int((sums == len(names)).sum())} of {len(measures)} measures lie clearly on the same "
        f"side of {zero:g} in all models"
    )
    aid = f"{heads}; dots: value, lines: 95 % interval, each alone; dashed: {zero:g}, no effect"
    fig = figure(title or head, aid, height=120 + 44 * len(measures), legend=True)
    for i, name in enumerate(names):
        part = rows[rows["model"].astype(str) == name]
        value, lo, hi = (floats(part, column) for column in ("value", "lo", "hi"))
        colour = DOMAIN_CYCLE[(i + 1) % len(DOMAIN_CYCLE)]
        place = [measures.index(m) for m in part["measure"]]
        fig.add_scatter(
            x=value.tolist(),
            y=[p + 0.22 * (i - (len(names) - 1) / 2) for p in place],
            error_x=error_bars(value, lo, hi, thickness=1.5, width=0, color=colour),
            mode="markers",
            name=plotly_text(name),
            marker={"color": colour, "size": 9},
            hovertext=[
                f"<b>{plotly_text(name)}</b><br>{plotly_text(m)}: {number(v)} "
                f"[{number(a)}, {number(b)}]"
                for m, v, a, b in zip(part["measure"], value, lo, hi, strict=True)
            ],
            hoverinfo="text",
        )
    fig.add_vline(x=zero, line={"color": COLOURS["control"], "width": 1, "dash": "dash"})
    shown = [plotly_text(_short(m)) for m in measures]
    fig.update_yaxes(tickvals=list(range(len(measures))), ticktext=shown, showgrid=False)
    fig.update_yaxes(range=[len(measures) - 0.4, -0.6], zeroline=False)
    return fig


def _short(measure: str) -> str:
    """A measure's name, short enough for an axis."""
    for old in ("AUROC of real over ", "ρ of AIS and ", " steps by AIS"):
        measure = measure.replace(old, "")
    return measure


def _panels(title: str, aid: str, names: list[str], height: int) -> Any:
    """Panels side by side under one headline, with one y axis."""
    layout = figure(title, aid, height=height).layout
    grid = make_subplots(
        cols=len(names), rows=1, shared_yaxes=True, subplot_titles=names, horizontal_spacing=0.04
    )
    margin = layout.margin.to_plotly_json()
    grid.update_layout(layout.to_plotly_json() | {"height": layout.height + 24})
    grid.update_layout(margin=margin | {"t": margin["t"] + 24}, showlegend=False)
    grid.update_annotations(font_size=12.5)
    return grid
