"""The animated figure of heads emerging in training, with the loss beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from airlens.arguments import checked
from airlens.views.figures.labels import number
from airlens.views.figures.style import COLOURS, INK, SEQUENTIAL, figure, need, no_data


@checked
def emergence_figure(
    heads: pd.DataFrame,
    losses: pd.DataFrame,
    *,
    title: str | None = None,
    follow: int = 0,
    seed: int = 0,
) -> Any:
    """Return the head map over checkpoints (slider and play button) beside the loss curve.

    Args:
        heads: step, layer, head, score.
        losses: step, loss, loss_repeated (nats per token); smoothed over ten rows where they are
            of single training steps, taken as they are where there is one row a checkpoint.
        title: Replaces the headline.
        follow: Draw the scores of this many heads, those that end highest, over training, and of
            as many random others.
        seed: Of the random heads.
    """
    need(heads, ("step", "layer", "head", "score"), "emergence_figure")
    need(losses, ("step", "loss", "loss_repeated"), "emergence_figure")
    if heads.empty:
        return no_data(title or "Emergence of heads", "no checkpoint was scored")
    steps = sorted(int(step) for step in heads["step"].unique())
    last = heads[heads["step"] == steps[-1]]
    best = last.iloc[int(last["score"].to_numpy().argmax())]
    name = f"L{int(best['layer'])}H{int(best['head'])}"
    half = heads[(heads["layer"] == best["layer"]) & (heads["head"] == best["head"])]
    half = half[half["score"] >= best["score"] / 2]
    head = f"{name} ends at {number(best['score'])} and is half there by step {half['step'].min()}"
    says = "Left: score of each head; right: loss"
    layout = figure(
        title or head,
        f"{says}, and the {follow} heads that end highest beside {follow} random ones"
        if follow
        else says,
        height=640 if follow else 430,
        legend=True,
        bottom=110,
    ).layout
    fig = make_subplots(
        rows=1 + bool(follow),
        cols=2,
        column_widths=[0.42, 0.58],
        horizontal_spacing=0.14,
        vertical_spacing=0.16,
        specs=[[{"rowspan": 2}, {}], [None, {}]] if follow else None,
    )
    fig.update_layout(layout.to_plotly_json())
    peak = max(float(heads["score"].max()), 1e-9)
    # It opens at the end of training: a still of step 0 would show nothing.
    first = _frame(heads, losses, steps[-1], peak)
    fig.add_trace(first[0], row=1, col=1)
    window = 10 if len(losses) > len(steps) else 1
    for column, label, colour in (
        ("loss", "all tokens", COLOURS["control"]),
        ("loss_repeated", "repeated tokens", COLOURS["base"]),
    ):
        y = losses[column].rolling(window, min_periods=1).mean()
        keep = np.unique(np.linspace(0, len(losses) - 1, min(len(losses), 300)).astype(int))
        fig.add_scatter(
            x=losses["step"].iloc[keep].tolist(),
            y=[round(v, 4) for v in y.iloc[keep]],
            mode="lines",
            name=label,
            line={"color": colour, "width": 2},
            row=1,
            col=2,
        )
    fig.add_trace(first[1], row=1, col=2)
    if follow:
        _add_paths(fig, heads, last, follow, seed)
    fig.frames = [
        go.Frame(data=_frame(heads, losses, step, peak), traces=[0, 3], name=str(step))
        for step in steps
    ]
    fig.update_xaxes(title_text="head", dtick=1, showgrid=False, zeroline=False, row=1, col=1)
    fig.update_yaxes(title_text="layer", dtick=1, showgrid=False, zeroline=False, row=1, col=1)
    fig.update_xaxes(title_text="training step", row=1 + bool(follow), col=2)
    fig.update_yaxes(title_text="loss (nats per token)", rangemode="tozero", row=1, col=2)
    _controls(fig, steps)
    return fig


def _add_paths(fig: Any, heads: pd.DataFrame, last: pd.DataFrame, follow: int, seed: int) -> None:
    """Lines of the heads that end highest and of random others, below the losses."""
    order = last.sort_values("score", ascending=False)
    ranked = [(int(a), int(b)) for a, b in zip(order["layer"], order["head"], strict=True)]
    top, others = ranked[:follow], ranked[follow:]
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(others), size=min(follow, len(others)), replace=False)
    groups = (
        ("random heads", [others[i] for i in drawn], COLOURS["control"], "dot"),
        ("top heads", top, COLOURS["ablated"], "solid"),
    )
    for label, chosen, colour, dash in groups:
        for i, (layer, head) in enumerate(chosen):
            line = heads[(heads["layer"] == layer) & (heads["head"] == head)].sort_values("step")
            fig.add_scatter(
                x=line["step"].tolist(),
                y=[round(v, 4) for v in line["score"]],
                mode="lines",
                name=label,
                legendgroup=label,
                showlegend=i == 0,
                line={"color": colour, "width": 1.5, "dash": dash},
                hovertemplate=f"L{layer}H{head}, step %{{x}}: %{{y:.3f}}<extra></extra>",
                row=2,
                col=2,
            )
    fig.update_yaxes(title_text="score", rangemode="tozero", row=2, col=2)


@checked
def emergence_map(heads: pd.DataFrame, *, title: str | None = None) -> Any:
    """Return every head's score at each checkpoint, in one still: for print.

    Args:
        heads: step, layer, head, name, score.
        title: Replaces the headline.
    """
    need(heads, ("step", "layer", "head", "name", "score"), "emergence_map")
    if heads.empty:
        return no_data(title or "Emergence of heads", "no checkpoint was scored")
    rows = heads.sort_values(["layer", "head", "step"])
    grid = rows.pivot_table(index="name", columns="step", values="score", sort=False)
    last = grid.iloc[:, -1]
    strong = int((last >= last.max() / 2).sum())
    fig = figure(
        title or f"{strong} of {len(grid)} heads grow strong, {last.idxmax()} most of all",
        f"Score of each head in training, up to step {grid.columns[-1]}",
        height=150 + 26 * len(grid),
    )
    fig.add_heatmap(
        z=grid.to_numpy().tolist(),
        x=[str(step) for step in grid.columns],
        y=list(grid.index),
        colorscale=SEQUENTIAL,
        zmin=0,
        zmax=max(float(grid.to_numpy().max()), 1e-9),
        xgap=1,
        ygap=2,
        colorbar={"title": {"text": "score"}},
        hovertemplate="%{y}, step %{x}: %{z:.3f}<extra></extra>",
    )
    fig.update_xaxes(title_text="training step", type="category", showgrid=False, nticks=12)
    fig.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return fig


def _frame(heads: pd.DataFrame, losses: pd.DataFrame, step: int, peak: float) -> list[Any]:
    part = heads[heads["step"] == step]
    grid = part.pivot(index="layer", columns="head", values="score").to_numpy()
    cells = go.Heatmap(
        z=grid.tolist(),
        colorscale=SEQUENTIAL,
        zmin=0,
        zmax=peak,
        xgap=2,
        ygap=2,
        colorbar={"x": 0.37, "title": {"text": "score", "side": "top"}},
        hovertemplate="L%{y}H%{x}: %{z:.3f}<extra></extra>",
    )
    top = float(losses["loss"].max())
    line = go.Scatter(
        x=[step, step],
        y=[0, top],
        mode="lines",
        line={"color": INK, "width": 1, "dash": "dash"},
        showlegend=False,
        hoverinfo="skip",
    )
    return [cells, line]


def _controls(fig: Any, steps: list[int]) -> None:
    still = {"frame": {"duration": 0, "redraw": True}, "mode": "immediate"}
    play = {"frame": {"duration": 350, "redraw": True}, "fromcurrent": True}
    marks = [{"args": [[str(s)], still], "label": str(s), "method": "animate"} for s in steps]
    slider = {"steps": marks, "currentvalue": {"prefix": "step "}, "y": -0.12, "len": 0.86}
    slider["active"] = len(steps) - 1
    button = {"label": "▶", "method": "animate", "args": [None, play]}
    menu = {"type": "buttons", "buttons": [button], "x": 0, "y": -0.22, "showactive": False}
    fig.update_layout(sliders=[slider | {"x": 0.12}], updatemenus=[menu | {"xanchor": "left"}])
