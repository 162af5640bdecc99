"""Figures of training studies: gains of selections and step weights, and the weights of a trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from airlens.arguments import checked
from airlens.views.figures.labels import number, plotly_text
from airlens.views.figures.style import (
    COLOURS,
    DOMAIN_CYCLE,
    SEQUENTIAL,
    error_bars,
    figure,
    floats,
    need,
    no_data,
    whole_axis,
)

BUDGETS = {
    "tokens": "equal tokens",
    "samples": "equal samples",
    "all": "whole pool",
    "none": "no training",
}
_SHAPES = {"tokens": "circle", "samples": "square-open", "all": "diamond", "none": "x"}


@checked
def study_forest(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Difference of each arm's held-out NLL to random selection, with 95 % intervals.

    Args:
        table: :func:`~airlens.study_table`, of one setting.
        title: instead of the headline.

    The grey band is the spread of single seeds of random selection (± 2 standard deviations): an
    arm inside it is no better than another random draw might be.
    """
    need(table, ("arm", "budget", "difference"), "study_forest")
    rows = table[np.isfinite(floats(table, "difference"))]
    rows = rows[rows["budget"] != "none"]
    if rows.empty:
        return no_data(title or "Held-out NLL after training", "no run of random selection yet")
    order = rows.groupby("arm")["difference"].min().sort_values(ascending=False).index
    aid = (
        "Held-out NLL minus that of random selection, nats a token; left is better. Bars: 95 % "
        "over problems and runs, each alone. Grey band: ± 2 standard deviations of random seeds."
    )
    if "all" in set(rows["budget"]):
        aid += " The whole pool trains longer, by as much as it is larger."
    fig: Any = figure(
        title or _headline(rows),
        aid,
        height=max(320, 60 + 27 * len(order)),
        legend=True,
    )
    spread = floats(rows[rows["arm"] == "random"], "seed_std")
    if np.isfinite(spread).any():
        wide = 2 * float(np.nanmax(spread))
        fig.add_vrect(x0=-wide, x1=wide, fillcolor=COLOURS["control"], opacity=0.18, line_width=0)
    fig.add_vline(x=0, line_width=1, line_color=COLOURS["control"])
    for budget in [b for b in BUDGETS if b in set(rows["budget"])]:
        _add_budget(fig, rows[rows["budget"] == budget], budget)
    fig.update_yaxes(categoryorder="array", categoryarray=[plotly_text(a) for a in order])
    fig.update_xaxes(title_text="difference in held-out NLL (nats a token)")
    return fig


def _add_budget(fig: Any, rows: pd.DataFrame, budget: str) -> None:
    values = floats(rows, "difference")
    low, high = floats(rows, "difference_lo"), floats(rows, "difference_hi")
    fig.add_scatter(
        x=values,
        y=[plotly_text(arm) for arm in rows["arm"]],
        error_x=error_bars(values, low, high, thickness=1.3, width=0),
        mode="markers",
        name=BUDGETS[budget],
        marker={
            "symbol": _SHAPES[budget],
            "size": 9,
            "color": COLOURS["base"] if budget != "samples" else COLOURS["ablated"],
        },
        hovertext=[_hover(row) for row in rows.to_dict("records")],
        hoverinfo="text",
    )


def _hover(row: dict[Any, Any]) -> str:
    text = f"<b>{plotly_text(str(row['arm']))}</b>, {BUDGETS[row['budget']]}"
    text += f"<br>difference {number(row['difference'])}"
    text += f" [{number(row['difference_lo'])}, {number(row['difference_hi'])}]"
    for name in ("nll", "n_runs", "n_samples", "n_labels", "steps", "accuracy"):
        if name in row and np.isfinite(row[name]):
            text += f"<br>{name}: {number(row[name])}"
    return text


def _headline(rows: pd.DataFrame) -> str:
    """A headline: the result of AIR's selection at equal tokens."""
    equal = rows[(rows["budget"] == "tokens") & (rows["arm"] != "random")]
    air = equal[equal["arm"] == "AIR"]
    if air.empty:
        return "Held-out NLL after training, against random selection"
    row = air.iloc[0]
    gap = number(abs(row["difference"]))
    if row["difference_hi"] < 0:
        return f"Trained on what AIR selects, NLL is {gap} lower than on a random selection"
    if row["difference_lo"] > 0:
        return f"Trained on what AIR selects, NLL is {gap} higher than on a random selection"
    return "Training on what AIR selects is not told apart from a random selection"


@checked
def step_weight_bars(weights: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """The loss weight of each step of one trace, one group of bars per scheme.

    Args:
        weights: columns step, weight, scheme; tables of :func:`~airlens.step_weights` put together.
        title: instead of the headline.
    """
    need(weights, ("step", "weight", "scheme"), "step_weight_bars")
    if weights.empty:
        return no_data(title or "Weights of steps", "no weights")
    fig: Any = figure(
        title or "Where the loss counts: weights of the steps of one trace",
        "The mean over the trace's tokens is 1 whatever the scheme; the line is plain fine-tuning.",
        height=360,
        legend=True,
    )
    for place, (scheme, rows) in enumerate(weights.groupby("scheme", sort=False)):
        fig.add_bar(
            x=rows["step"],
            y=floats(rows, "weight"),
            name=plotly_text(str(scheme)),
            marker_color=DOMAIN_CYCLE[place % len(DOMAIN_CYCLE)],
            hovertemplate="step %{x}: weight %{y:.2f}",
        )
    fig.add_hline(y=1, line_width=1, line_color=COLOURS["control"])
    whole_axis(fig.update_xaxes, "step", int(weights["step"].max()) + 1)
    fig.update_yaxes(title_text="weight", rangemode="tozero")
    return fig


@checked
def arm_differences(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Difference of each arm to the one it is compared with; filled where it is decided.

    Args:
        table: :func:`~airlens.experiments.studies.arm_differences.differences_table`; the rows with
            the most frequent value of ``against`` (random selection) are drawn.
        title: instead of the headline.

    Bars are 95 % intervals over seeds and problems, not corrected; a filled dot differs from zero
    after Holm's correction over the arms. Without an interval (fewer than two seeds) the dot is
    open.
    """
    need(
        table, ("arm", "against", "difference", "lo", "hi", "n_seeds", "decided"), "arm_differences"
    )
    if table.empty:
        return no_data(title or "Accuracy after training", "no arm was run beside random selection")
    against = str(table["against"].mode().iloc[0])
    rows = table[table["against"] == against].sort_values("difference")
    is_accuracy = str(rows["measure"].iloc[0]) == "accuracy" if "measure" in rows else True
    what = "accuracy" if is_accuracy else "NLL (nats a token)"
    n, least = int(rows["decided"].sum()), int(rows["n_seeds"].min())
    head = f"{n} of {len(rows)} ways to choose differ from {against} selection in {what}"
    aid = f"Dot: mean difference to {against}, {least} or more seeds an arm. Bar: 95 % interval "
    aid += "over seeds and problems. Filled: decided (Holm over the arms)."
    if np.isfinite(floats(rows, "smallest_seen")).any():
        seen = float(np.nanmedian(floats(rows, "smallest_seen")))
        if is_accuracy and seen > 1:
            aid += " With so few seeds no difference would be seen (80 % power)."
        else:
            aid += f" Differences from about {number(seen)} on would be seen (80 % power)."
    fig: Any = figure(title or head, aid, height=max(320, 60 + 25 * len(rows)))
    values = floats(rows, "difference")
    fig.add_scatter(
        x=values,
        y=[plotly_text(arm) for arm in rows["arm"]],
        error_x=error_bars(values, floats(rows, "lo"), floats(rows, "hi"), thickness=1.3, width=0),
        mode="markers",
        marker={
            "symbol": ["circle" if done else "circle-open" for done in rows["decided"]],
            "size": 9,
            "color": [COLOURS["base"] if done else COLOURS["control"] for done in rows["decided"]],
        },
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    fig.add_vline(x=0, line_width=1, line_color=COLOURS["control"])
    fig.update_xaxes(title_text=f"difference in {what}")
    return fig


@checked
def composition_map(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """What each arm trained on: the share of its response tokens from each kind of trace.

    Args:
        table: :func:`~airlens.experiments.studies.controlled_study.composition_table`.
        title: instead of the headline.
    """
    need(table, ("arm", "kind", "share"), "composition_map")
    if table.empty:
        return no_data(title or "What each selector took", "no runs")
    wide = table.pivot_table(index="arm", columns="kind", values="share", sort=False)
    first = str(wide.columns[0])
    wide = wide.sort_values(first)
    shown = [
        [f"{100 * value:.0f}" if value > 0 else "" for value in row] for row in wide.to_numpy()
    ]
    best = wide.drop(index="pool", errors="ignore")[first].drop(
        index=[arm for arm in wide.index if str(arm).startswith("oracle")], errors="ignore"
    )
    parts = [("the pool", wide[first].get("pool")), ("what AIR takes", wide[first].get("AIR"))]
    if len(best) and best.idxmax() != "AIR":
        parts.append((f"what {best.idxmax()} takes, the most", best.max()))
    said = [f"{100 * share:.0f} % of {name}" for name, share in parts if share is not None]
    head = f"{first.capitalize()} traces: {', '.join(said)}" if said else "What each selector took"
    aid = (
        "Percent of the response tokens that an arm trained on, by kind of trace; pool: all traces."
    )
    fig: Any = figure(title or head, aid, height=max(340, 130 + 24 * len(wide)), bottom=90)
    fig.add_heatmap(
        z=wide.to_numpy(),
        x=[plotly_text(str(kind)) for kind in wide.columns],
        y=[plotly_text(str(arm)) for arm in wide.index],
        text=shown,
        texttemplate="%{text}",
        colorscale=SEQUENTIAL,
        zmin=0,
        zmax=1,
        showscale=False,
        hovertemplate="%{y}, %{x}: %{z:.0%}<extra></extra>",
    )
    fig.update_xaxes(tickangle=-30)
    return fig
