"""Figures of validity: AUROC by kind of distractor, matched pairs, step functions, correlations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from airlens.arguments import checked
from airlens.control_kinds import CONTROL_WORDS
from airlens.views.figures.labels import known, label, number, plotly_text, shorten
from airlens.views.figures.style import (
    COLOURS,
    DOMAIN_CYCLE,
    INK,
    SYMBOLS,
    error_bars,
    figure,
    floats,
    need,
    no_data,
)

MODE_COLOURS = {"uniform": "#D55E00", "zero": "#56B4E9", "mean": "#0072B2", "": "#8d949c"}
HEAD_SYMBOLS = {"top": "circle", "same_layers": "diamond-open", "random": "square-open", "": "x"}
SHORT = {
    "ais": "AIS",
    "ais_novel": "AIS of what is no copy",
    "ais_novel_share": "AIS of what is no copy, times its share",
    "novel": "share of what is no copy",
    "rsr": "RSR",
    "ifd": "IFD",
    "lalp": "LALP",
    "fai": "FAI",
    "waad": "WAAD",
    "delta": "Δ",
    "ais_control": "AIS, random heads",
    "delta_control": "Δ, random heads",
}


def _name(row: Mapping[Any, Any]) -> str:
    """The name of a score in lists: "AIS uniform, random heads of the same layers"."""
    score = SHORT.get(str(row["score"]), str(row["score"]))
    if not known(row.get("mode")):
        return score
    heads = "" if row["heads"] == "top" else f", {CONTROL_WORDS.get(row['heads'], row['heads'])}"
    return f"{score} {row['mode']}{heads}"


@checked
def auroc_forest(table: pd.DataFrame, kind: str | None = None, *, title: str | None = None) -> Any:
    """Return AUROC with its interval for every score, one panel per kind of distractor.

    Args:
        table: One row per kind and score: kind, score, mode, heads, auroc, lo, hi; n where known.
        kind: Show only this kind.
        title: Replaces the headline.
    """
    heading = title or "AUROC of real over planted steps"
    if table.empty:
        return no_data(heading, "no kinds to show")
    need(table, ("kind", "score", "mode", "heads", "auroc", "lo", "hi"), "auroc_forest")
    rows = table[np.isfinite(floats(table, "auroc"))]
    rows = rows if kind is None else rows[rows["kind"] == kind]
    if rows.empty:
        return no_data(heading, "no kind has an AUROC")
    from plotly.subplots import make_subplots

    kinds = [str(name) for name in dict.fromkeys(rows["kind"])]
    rows = rows.assign(name=[_name(row) for row in rows.fillna("").to_dict("records")])
    names = list(dict.fromkeys(rows["name"]))[::-1]
    across = min(5, len(kinds))
    down = -(-len(kinds) // across)
    aid = "Bar: its own 95 % interval, over traces and draws of random heads; 0.5 is no signal"
    base = figure(title or _forest_title(rows), aid, height=150 + down * (40 + 17 * len(names)))
    fig = make_subplots(
        rows=down,
        cols=across,
        shared_yaxes=True,
        horizontal_spacing=0.012,
        vertical_spacing=0.11 / down,
        subplot_titles=[plotly_text(name) for name in kinds],
    )
    fig.update_layout(base.layout)
    fig.update_layout(margin_t=base.layout.margin.t + 26)
    for place, name in enumerate(kinds):
        part = rows[rows["kind"] == name]
        spot = {"row": place // across + 1, "col": place % across + 1}
        fig.add_trace(_forest_points(part, names), **spot)
        fig.add_vline(x=0.5, line={"color": INK, "width": 1, "dash": "dot"}, **spot)
    fig.update_xaxes(range=[-0.03, 1.03], tickvals=[0, 0.5, 1])
    ticks = [plotly_text(name) for name in names]
    fig.update_yaxes(tickvals=list(range(len(names))), ticktext=ticks, tickfont_size=11)
    fig.update_yaxes(range=[-0.7, len(names) - 0.3], zeroline=False)
    fig.update_annotations(font_size=12.5)
    return fig


def _forest_title(rows: pd.DataFrame) -> str:
    air = rows[(rows["heads"] == "top") & (rows["score"].isin(["ais", "delta"]))]
    if air.empty:
        return "AUROC of real over planted steps"
    order = air.sort_values("auroc")
    low, high = order.iloc[0], order.iloc[-1]
    return (
        f"AIR tells {high['kind']} steps best ({number(high['auroc'], 2)}, {high['name']}) and "
        f"{low['kind']} worst ({number(low['auroc'], 2)}, {low['name']})"
    )


def _forest_points(part: pd.DataFrame, names: list[str]) -> dict[str, Any]:
    value, lo, hi = (floats(part, column) for column in ("auroc", "lo", "hi"))
    hover = [
        f"{plotly_text(row['name'])}<br>AUROC {row['auroc']:.2f} [{row['lo']:.2f}, {row['hi']:.2f}]"
        + (f"<br>{number(row['n'])} traces" if known(row.get("n")) else "")
        for row in part.to_dict("records")
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": value.tolist(),
        "y": [names.index(name) for name in part["name"]],
        "error_x": error_bars(value, lo, hi, thickness=1.2, width=0, color="rgba(128,134,142,0.7)"),
        "marker": {
            "size": 8,
            "color": [MODE_COLOURS.get(str(m), COLOURS["ablated"]) for m in part["mode"]],
            "symbol": [HEAD_SYMBOLS.get(str(h), "circle") for h in part["heads"]],
            "line": {"width": 1.4},
        },
        "hovertext": hover,
        "hoverinfo": "text",
        "showlegend": False,
    }


@checked
def matched_pairs(
    frame: pd.DataFrame,
    kind: str,
    value: str = "ais",
    *,
    mode: str = "uniform",
    heads: str = "top",
    title: str | None = None,
) -> Any:
    """Return a score against base loss, real steps joined to the steps planted in their place.

    Args:
        frame: One row per step and ablation (`Measured.scores()`): source, kind, mode, heads, loss
            and `value`.
        kind: Which planted steps.
        value: `ais` or `delta`.
        mode: Ablation mode.
        heads: `top`, `random` or `same_layers` (the mean over draws).
        title: Replaces the headline.
    """
    heading = title or f"{label(value)} against base loss: real and {kind} steps"
    if len(frame):
        need(frame, ("source", "kind", "mode", "heads", "loss", value), "matched_pairs")
        frame = frame[(frame["mode"] == mode) & (frame["heads"] == heads)]
        frame = frame[frame["kind"].isin(["real", kind])]
    if frame.empty or kind not in set(frame["kind"]):
        return no_data(heading, f"no {kind} steps under {mode} ablation of {heads} heads")
    points = frame.groupby(["kind", "source"])[["loss", value]].mean()
    real, planted = points.loc["real"], points.loc[kind]
    real = real.loc[planted.index]
    higher = float((real[value] > planted[value]).mean())
    head = f"The real step is above the {kind} one in {higher:.0%} of {len(real)} traces"
    aid = f"Line: the two steps at one place of a trace; {mode} ablation of {heads} heads"
    fig = figure(title or head, aid, height=440, legend=True)
    x, y = ([] for _ in range(2))
    for source in planted.index:
        x += [real.loc[source, "loss"], planted.loc[source, "loss"], None]
        y += [real.loc[source, value], planted.loc[source, value], None]
    line = {"color": "rgba(128,134,142,0.45)", "width": 1}
    fig.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)
    for part, name, colour, symbol in (
        (real, "real step", COLOURS["base"], "circle"),
        (planted, kind, COLOURS["ablated"], "diamond"),
    ):
        fig.add_scatter(
            x=part["loss"].tolist(),
            y=part[value].tolist(),
            mode="markers",
            name=plotly_text(name),
            marker={"color": colour, "symbol": symbol, "size": 8},
            hovertext=[plotly_text(shorten(source)) for source in part.index],
            hovertemplate="%{hovertext}<br>base loss %{x:.2f}<br>%{y:.3f}<extra></extra>",
        )
    fig.update_xaxes(title_text=label("loss_base"))
    fig.update_yaxes(title_text=label(value))
    return fig


@checked
def influence_by_function(
    table: pd.DataFrame, value: str = "ais", *, title: str | None = None
) -> Any:
    """Return the mean of a step value by label of the step, with intervals and the control.

    Args:
        table: One row per label and value: label, value, mean, lo, hi; n_steps where known.
        value: `ais` or `delta`; `<value>_control` is drawn beside it.
        title: Replaces the headline.
    """
    heading = title or f"{label(value)} by function"
    if len(table):
        need(table, ("label", "value", "mean", "lo", "hi"), "influence_by_function")
    rows = table[table["value"] == value] if len(table) else table
    if rows.empty:
        return no_data(heading, f"no mean of {value} by label")
    rows = rows.sort_values("mean")
    names = [str(name) for name in rows["label"]]
    head = f"{label(value)}: highest in {names[-1]} steps ({number(rows['mean'].iloc[-1], 2)})"
    aid = "Dot: mean over problems, bar: 95 % interval over them; grey: random heads"
    fig = figure(title or head, aid, height=140 + 42 * len(names), legend=True)
    for column, name, colour, shift in (
        (f"{value}_control", "random heads (control)", COLOURS["control"], -0.16),
        (value, "critical heads", COLOURS["ablated"], 0.0),
    ):
        part = table[table["value"] == column]
        if len(part):
            fig.add_trace(_means(part, names, (name, colour, shift)))
    ticks = [plotly_text(shorten(name, 32)) for name in names]
    fig.update_yaxes(tickvals=list(range(len(names))), ticktext=ticks, zeroline=False)
    fig.update_xaxes(title_text=label(value))
    return fig


def _means(part: pd.DataFrame, names: list[str], look: tuple[str, str, float]) -> dict[str, Any]:
    name, colour, shift = look
    mean, lo, hi = (floats(part, column) for column in ("mean", "lo", "hi"))
    counts = floats(part, "n_steps")
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": mean.tolist(),
        "y": [names.index(str(own)) + shift for own in part["label"]],
        "error_x": error_bars(mean, lo, hi, thickness=1.4, width=0),
        "marker": {"size": 9, "color": colour},
        "hovertext": [f"{number(n)} steps" for n in counts],
        "hovertemplate": "%{x:.3f}, %{hovertext}<extra>" + name + "</extra>",
    }


@checked
def correlation_strip(
    table: pd.DataFrame, importance: str, value: str = "rho", *, title: str | None = None
) -> Any:
    """Return each trace's correlation with an importance as a dot, one row per score.

    Args:
        table: One row per trace and score: id, score, importance and `value`.
        importance: Which importance.
        value: `rho`, or `partial` (given the heuristics).
        title: Replaces the headline.
    """
    heading = title or f"Correlation with {importance}"
    if len(table):
        need(table, ("id", "score", "importance", value), "correlation_strip")
    rows = table[table["importance"] == importance] if len(table) else table
    rows = rows[np.isfinite(floats(rows, value))] if len(rows) else rows
    if rows.empty:
        return no_data(heading, f"no trace has a correlation with {importance}")
    means = rows.groupby("score")[value].mean().sort_values()
    names = [str(name) for name in means.index]
    most = str(means.abs().idxmax())
    found = number(means[most], 2)
    head = f"{SHORT.get(most, most)} goes most with {importance}: mean ρ = {found}"
    kind = "Spearman's ρ" if value == "rho" else "Spearman's ρ given the heuristics"
    aid = f"Dot: {kind} in one trace of {rows['id'].nunique()}; line: mean over traces"
    fig = figure(title or head, aid, height=140 + 40 * len(names))
    for place, name in enumerate(names):
        part = rows[rows["score"] == name]
        spread = np.linspace(-0.18, 0.18, len(part)) if len(part) > 1 else np.zeros(1)
        air = name.startswith(("ais", "delta"))
        own = "control" if name.endswith("_control") else "ablated"
        fig.add_scatter(
            x=floats(part, value).tolist(),
            y=(place + spread).tolist(),
            mode="markers",
            marker={
                "size": 7,
                "opacity": 0.75,
                "color": COLOURS[own] if air else DOMAIN_CYCLE[1],
                "symbol": SYMBOLS[0] if air else SYMBOLS[2],
            },
            hovertext=[plotly_text(shorten(trace, 50)) for trace in part["id"]],
            hovertemplate="%{hovertext}<br>ρ %{x:.2f}<extra></extra>",
        )
        mean = float(means.iloc[place])
        fig.add_scatter(
            x=[mean, mean],
            y=[place - 0.32, place + 0.32],
            mode="lines",
            line={"color": INK, "width": 2},
            hoverinfo="skip",
        )
    ticks = [plotly_text(SHORT.get(name, name)) for name in names]
    fig.update_yaxes(tickvals=list(range(len(names))), ticktext=ticks, zeroline=False)
    fig.update_xaxes(title_text=kind, range=[-1.02, 1.02])
    return fig
