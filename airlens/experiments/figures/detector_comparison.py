"""Figures that compare detectors: stability, agreement, curves, ranks, the mirror table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from plotly.subplots import make_subplots

from airlens.arguments import checked
from airlens.views.figures.labels import number, plotly_text
from airlens.views.figures.style import (
    COLOURS,
    DARK_INK,
    DOMAIN_CYCLE,
    TEXT_SEQUENTIAL,
    error_bars,
    figure,
    floats,
    need,
    no_data,
)

PER_ROW = 4
"""Panels of detectors side by side."""
_INTERVAL = "rgba(128,134,142,0.6)"


@checked
def stability_figure(frame: pd.DataFrame, *, title: str | None = None) -> Any:
    """Return the agreement of split halves against the number of probes, one line per probe length.

    Args:
        frame: From `airlens.experiments.agreement.stability`.
        title: Replaces the headline.
    """
    need(frame, ("method", "n_probes", "jaccard", "jaccard_lo", "jaccard_hi"), "stability_figure")
    rows = frame[frame["method"] == "split half"]
    if rows.empty:
        return no_data(title or "Stability of the top heads", "too few probes to split in halves")
    best = rows.iloc[int(rows["jaccard"].to_numpy().argmax())]
    head = (
        f"Two sets of {int(best['n_probes'])} probes share their top heads with Jaccard "
        f"{number(best['jaccard'])}"
    )
    aid = "Jaccard of the top heads of two disjoint sets of probes; bars: 95 % of random splits"
    fig = figure(title or head, aid, height=380, legend=True)
    lengths = rows["max_tokens"] if "max_tokens" in rows else pd.Series(np.nan, rows.index)
    for i, (length, part) in enumerate(rows.groupby(lengths.fillna(0))):
        name = f"{int(length)} tokens" if length else "probes"
        low = floats(part, "jaccard") - floats(part, "jaccard_lo")
        high = floats(part, "jaccard_hi") - floats(part, "jaccard")
        bars = {"type": "data", "symmetric": False, "color": _INTERVAL, "thickness": 1}
        fig.add_scatter(
            x=part["n_probes"].tolist(),
            y=part["jaccard"].tolist(),
            error_y=bars | {"array": high.tolist(), "arrayminus": low.tolist()},
            mode="lines+markers",
            name=name,
            line={"color": DOMAIN_CYCLE[i % len(DOMAIN_CYCLE)], "width": 2},
            hovertemplate=f"{name}, %{{x}} probes<br>Jaccard %{{y:.2f}}<extra></extra>",
        )
    fig.update_xaxes(title_text="probes in each half (count)", rangemode="tozero")
    fig.update_yaxes(title_text="Jaccard of the top heads", range=[0, 1.04])
    return fig


@checked
def agreement_figure(
    frame: pd.DataFrame, value: str = "jaccard", *, title: str | None = None
) -> Any:
    """Return the matrix of pairs of rankings: detectors, or one detector on several corpora.

    Args:
        frame: From `airlens.experiments.agreement.agreement`: a, b and `value`.
        value: `jaccard` (of the top heads) or `spearman`.
        title: Replaces the headline.
    """
    need(frame, ("a", "b", value), "agreement_figure")
    if frame.empty:
        return no_data(title or "Agreement", "one ranking has nothing to agree with")
    names = list(dict.fromkeys([*frame["a"], *frame["b"]]))
    grid = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(grid, 1.0)
    for a, b, found in zip(frame["a"], frame["b"], floats(frame, value), strict=True):
        i, j = names.index(a), names.index(b)
        grid[i, j] = grid[j, i] = found
    ranked = frame.assign(value=floats(frame, value)).dropna(subset="value")
    what = "Jaccard of the top heads" if value == "jaccard" else "Spearman’s ρ of the scores"
    head = what
    if len(ranked):
        ranked = ranked.sort_values("value", kind="stable")
        least, most = ranked.iloc[0], ranked.iloc[-1]
        head = (
            f"{most['a']} and {most['b']} agree most ({number(most['value'])}), "
            f"{least['a']} and {least['b']} least ({number(least['value'])})"
        )
    if value == "spearman" and {"null_lo", "null_hi"} <= set(frame):
        chance = max(np.nanmax(np.abs(floats(frame, end))) for end in ("null_lo", "null_hi"))
        what += f" of all heads; by chance within ± {number(chance)} (95 % of permutations)"
    labels = [plotly_text(name) for name in names]
    fig = figure(title or head, what, height=170 + 38 * len(names))
    fig.add_heatmap(
        z=grid.tolist(),
        x=labels,
        y=labels,
        text=[[number(v) if np.isfinite(v) else "" for v in row] for row in grid],
        texttemplate="%{text}",
        textfont={"color": DARK_INK},
        colorscale=TEXT_SEQUENTIAL,
        zmin=0,
        zmax=1,
        hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
        xgap=2,
        ygap=2,
        colorbar={"title": {"text": value}},
    )
    fig.update_yaxes(autorange="reversed", showgrid=False)
    fig.update_xaxes(showgrid=False, tickangle=-30)
    return fig


@checked
def detector_curves(
    frame: pd.DataFrame, y: str = "copy_accuracy", *, title: str | None = None
) -> Any:
    """Return one ablation curve per detector: the lower, the more its top heads matter.

    Args:
        frame: Rows of `airlens.step_influence.ablation_curves.ablation_curves` with a column
            `detector`; the group `top` is drawn for each detector, `random` once.
        y: The measure on the vertical axis.
        title: Replaces the headline.
    """
    need(frame, ("detector", "heads", "k", y), "detector_curves")
    rows = frame.assign(value=floats(frame, y)).dropna(subset="value")
    top = rows[rows["heads"] == "top"]
    curves = top[top["k"] > 0].pivot_table(index="detector", columns="k", values="value")
    if curves.empty:
        return no_data(title or "Ablation by detector", "no ablation of top heads to show")
    means = curves.mean(axis=1)  # of the whole curve: many heads of any detector break copying
    worst = str(means.idxmin() if y == "copy_accuracy" else means.idxmax())
    end = curves.T[worst].dropna()
    head = (
        f"The top heads of {worst} hurt most: {number(float(end.iloc[-1]))} without {end.index[-1]}"
    )
    aid = "Ablating each detector’s top heads; grey: random heads, mean, lowest and highest draw"
    fig = figure(title or head, aid, height=400, legend=True)
    for i, (name, part) in enumerate(top.groupby("detector", sort=False)):
        mean = part.groupby("k")["value"].mean()
        fig.add_scatter(
            x=mean.index.tolist(),
            y=mean.tolist(),
            mode="lines+markers",
            name=plotly_text(name),
            line={"color": DOMAIN_CYCLE[i % len(DOMAIN_CYCLE)], "width": 2},
            hovertemplate=f"{plotly_text(name)}, %{{x}} heads: %{{y:.3f}}<extra></extra>",
        )
    draws = rows[rows["heads"] == "random"].groupby("k")["value"].agg(["mean", "min", "max"])
    if len(draws):
        places = draws.index.tolist()
        fig.add_scatter(
            x=[*places, *places[::-1]],
            y=[*draws["min"].tolist(), *draws["max"].tolist()[::-1]],
            mode="lines",
            fill="toself",
            fillcolor="rgba(141,148,156,0.2)",
            line={"width": 0},
            showlegend=False,
            hoverinfo="skip",
        )
        fig.add_scatter(
            x=places,
            y=draws["mean"].tolist(),
            mode="lines",
            name="random",
            line={"color": COLOURS["control"], "width": 2, "dash": "dash"},
        )
    fig.update_xaxes(title_text="ablated heads (count)", rangemode="tozero")
    axis = {"copy_accuracy": "copy accuracy (share of answer tokens)"}
    fig.update_yaxes(title_text=axis.get(y, f"{y} (nats per token)"))
    return fig


def rank_figure(table: pd.DataFrame, *, best: int = 10, title: str | None = None) -> Any:
    """Return each detector's best heads with the interval of their rank, one panel per detector.

    Args:
        table: From `airlens.experiments.agreement.rank_table`.
        best: How many heads of each detector.
        title: Replaces the headline.
    """
    need(table, ("detector", "name", "rank", "lo", "hi", "in_top"), "rank_figure")
    if table.empty:
        return no_data(title or "Ranks of heads", "no detector has scored a head")
    names = list(dict.fromkeys(table["detector"].astype(str)))
    shown = table[table["rank"] <= best]
    sure = shown[floats(shown, "in_top") >= 0.95].groupby("detector", sort=False).size()
    head = "Heads in the top in 95 % of the resamples: " + ", ".join(
        f"{int(sure.get(name, 0))} of {best} by {name}" for name in names
    )
    aid = "Lines: from the heads that are surely better to those surely worse (t test over probes)"
    rows = -(-len(names) // PER_ROW)
    layout = figure(title or head, aid, height=60 + rows * (70 + 19 * best)).layout
    grid = make_subplots(
        rows=rows,
        cols=min(PER_ROW, len(names)),
        subplot_titles=[plotly_text(name) for name in names],
        horizontal_spacing=0.09,
        vertical_spacing=0.28 / rows,
    )
    grid.update_layout(layout.to_plotly_json())
    grid.update_layout(margin_t=layout.margin.t + 24, height=layout.height + 24, showlegend=False)
    grid.update_annotations(font_size=12.5)
    for i, name in enumerate(names):
        part = shown[shown["detector"].astype(str) == name].sort_values("rank")
        rank, lo, hi = (floats(part, column) for column in ("rank", "lo", "hi"))
        place = {"row": i // PER_ROW + 1, "col": i % PER_ROW + 1}
        grid.add_scatter(
            x=rank.tolist(),
            y=[plotly_text(head) for head in part["name"]],
            error_x=error_bars(rank, lo, hi, color=_INTERVAL, thickness=1.5, width=0),
            mode="markers",
            marker={"color": COLOURS["base"], "size": 7},
            hovertext=[
                f"<b>{plotly_text(head)}</b><br>rank {number(r)} [{number(a)}, {number(b)}]"
                for head, r, a, b in zip(part["name"], rank, lo, hi, strict=True)
            ],
            hoverinfo="text",
            **place,
        )
        grid.update_yaxes(autorange="reversed", showgrid=False, **place)
        grid.update_xaxes(rangemode="tozero", **place)
        grid.update_xaxes(title_text="rank", row=rows)
    return grid


@checked
def mirror_figure(summary: pd.DataFrame, *, title: str | None = None) -> Any:
    """Return the mirror table as a table: base, random masked (lowest to highest draw), top masked.

    Args:
        summary: From `airlens.experiments.mirror.mirror_summary`.
        title: Replaces the headline.
    """
    columns = ("measure", "base", "random", "random_lo", "random_hi", "top")
    need(summary, columns, "mirror_figure")
    if summary.empty:
        return no_data(title or "Mirror table", "no measurement to show")
    spread = [
        f"{number(mean)} ({number(low)} to {number(high)})"
        for mean, low, high in zip(
            summary["random"], summary["random_lo"], summary["random_hi"], strict=True
        )
    ]
    cells = [
        [plotly_text(name) for name in summary["measure"]],
        [number(v) for v in summary["base"]],
        spread,
        [number(v) for v in summary["top"]],
    ]
    aid = "NLL in nats per token, lower is better; accuracy and recall: higher is better"
    fig = figure(title or "What masking costs", aid, height=120 + 30 * len(summary), bottom=8)
    fig.add_table(
        header={
            "values": ["measure", "base", "random masked", "top masked"],
            "align": "left",
            "fill": {"color": "rgba(128,134,142,0.20)"},
            "height": 30,
        },
        cells={
            "values": cells,
            "align": "left",
            "fill": {"color": "rgba(128,134,142,0.05)"},
            "height": 28,
        },
        columnwidth=[2, 1, 2, 1],
    )
    return fig
