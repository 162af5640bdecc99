"""Figures of a scored corpus: what selectors correlate with, lengths and words of what they select,
and a map of samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from airlens.arguments import checked

from .labels import SHORT, number, percent, plotly_text, shorten
from .style import COLOURS, DARK_INK, TEXT_SEQUENTIAL, error_bars, figure, floats, need, no_data

NAMES = {**SHORT, "ifd": "IFD", "ais_control": "AIS of random heads"}


@checked
def correlation_forest(
    table: pd.DataFrame, by: str = "ais", *, title: str | None = None
) -> go.Figure:
    """Return Spearman's ρ of a selector with other values, with 95 % intervals.

    Args:
        table: from `airlens.selection.contrast.correlations`: column, scope, rho, lo, hi.
        by: the selector, for the headline.
        title: Replaces the headline.
    """
    if table.empty:
        return no_data(title or "Correlations", "nothing to compare with")
    need(table, ("column", "scope", "rho", "lo", "hi"), "correlation_forest")
    overall = table[table["scope"] == "overall"].reset_index(drop=True)
    if not np.isfinite(floats(overall, "rho")).any():  # few samples, or all alike
        return no_data(title or "Correlations", "too few different samples for a correlation")
    most = overall.loc[int(np.nanargmax(floats(overall, "rho") ** 2))]
    head = f"{SHORT.get(by, by)} goes most with {_name(most['column'])}: ρ = {number(most['rho'])}"
    aid = "Spearman's ρ; bars: 95 % interval over samples"
    scopes = list(dict.fromkeys(table["scope"]))
    names = list(dict.fromkeys(map(_name, table["column"])))
    fig = figure(title or head, aid, height=170 + 44 * len(names), legend=len(scopes) > 1)
    looks = zip(scopes, (COLOURS["base"], COLOURS["ablated"]), ("circle", "diamond"), strict=False)
    for place, (scope, colour, symbol) in enumerate(looks):
        part = table[table["scope"] == scope]
        rho, lo, hi = (floats(part, name) for name in ("rho", "lo", "hi"))
        apart = 0.24 * (place - (len(scopes) - 1) / 2)  # side by side, not one over the other
        fig.add_scatter(
            x=rho.tolist(),
            y=[names.index(_name(name)) + apart for name in part["column"]],
            error_x=error_bars(rho, lo, hi),
            mode="markers",
            name=plotly_text(scope),
            marker={"size": 10, "color": colour, "symbol": symbol},
            text=[plotly_text(_name(name)) for name in part["column"]],
            customdata=np.stack([lo, hi], axis=1).tolist(),
            hovertemplate="%{text}: %{x:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}]",
        )
    fig.add_vline(x=0, line_width=1, line_color=COLOURS["control"])
    fig.update_xaxes(title_text="Spearman's ρ", range=[-1.05, 1.05])
    ticks = {"tickvals": list(range(len(names))), "ticktext": [plotly_text(n) for n in names]}
    fig.update_yaxes(**ticks, range=[len(names) - 0.4, -0.6], zeroline=False)
    return fig


def _name(column: object) -> str:
    return NAMES.get(str(column), str(column))


@checked
def lengths_by_selector(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Return the mean length of the samples that each selector takes, and of those it leaves.

    Args:
        table: from `airlens.selection.contrast.length_table`; the rows of domain "all" are shown.
            The bar at ``random`` is the range of its draws.
        title: Replaces the headline.
    """
    if table.empty:
        return no_data(title or "Length of what is chosen", "no selector to show")
    need(table, ("selector", "domain", "selected", "not_selected"), "lengths_by_selector")
    rows = table[table["domain"] == "all"].sort_values("selected")
    ais = rows.loc[rows["selector"] == "ais", "ratio"]
    head = "Length of what each selector takes"
    if len(ais):
        head = f"What AIS takes is {number(float(ais.iloc[0]), 2)} times as long as what it leaves"
    fig = figure(title or head, height=170 + 30 * len(rows), legend=True)
    names = [plotly_text(name) for name in rows["selector"]]
    for column, kind, name in (
        ("not_selected", "unselected", "left"),
        ("selected", "selected", "taken"),
    ):
        fig.add_scatter(
            x=rows[column].tolist(),
            y=names,
            mode="markers",
            name=name,
            marker={"size": 11, "color": COLOURS[kind]},
            hovertemplate="%{y}: %{x:.1f} tokens<extra>" + name + "</extra>",
        )
    if "lo" in rows and rows["lo"].notna().any():
        fig.data[-1].error_x = error_bars(
            *(floats(rows, name) for name in ("selected", "lo", "hi"))
        )
    fig.update_xaxes(title_text="mean response length (tokens)", rangemode="tozero")
    fig.update_yaxes(showgrid=True)
    return fig


@checked
def word_overlap_map(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Return the share of top words that a selection shares with each other selector's.

    Args:
        table: from `airlens.selection.contrast.word_overlap`: other, top, tf, tf_idf; tf_lo, tf_hi,
            tf_idf_lo, tf_idf_hi where a cell is the mean of several draws.
        title: Replaces the headline.
    """
    if table.empty:
        return no_data(title or "Word overlap", "no selectors to compare")
    need(table, ("other", "top", "tf", "tf_idf"), "word_overlap_map")
    names = list(dict.fromkeys(table["other"].astype(str)))
    tops = sorted(table["top"].unique())
    columns = [(kind, top) for kind in ("tf", "tf_idf") for top in tops]
    shown = {"tf": "TF", "tf_idf": "TF-IDF"}
    by_cell = table.assign(other=table["other"].astype(str)).set_index(["other", "top"])
    cells = [[float(by_cell.loc[(name, top), kind]) for kind, top in columns] for name in names]
    shows = [[_cell(by_cell.loc[(name, top)], kind) for kind, top in columns] for name in names]
    ticks = [f"{shown[kind]}, top {percent(float(top))}" for kind, top in columns]
    head = "Top words shared with each other selector"
    fig = figure(title or head, "share of the 100 weightiest words", height=180 + 34 * len(names))
    fig.add_heatmap(
        z=cells,
        x=ticks,
        y=[plotly_text(name) for name in names],
        text=shows,
        texttemplate="%{text}",
        textfont={"size": 11.5, "color": DARK_INK},
        colorscale=TEXT_SEQUENTIAL,
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=2,
        ygap=2,
        hovertemplate="%{y}, %{x}: %{z:.3f}<extra></extra>",
    )
    fig.update_xaxes(showgrid=False, ticks="", tickangle=-30)
    fig.update_yaxes(showgrid=False, ticks="", autorange="reversed")
    return fig


def _cell(row: Any, kind: str) -> str:
    """A share, with the range over draws where there are several."""
    text = f"{row[kind]:.2f}"
    low, high = row.get(f"{kind}_lo", np.nan), row.get(f"{kind}_hi", np.nan)
    return text if np.isnan(low) else f"{text} ({low:.2f}–{high:.2f})"


@checked
def sample_map(frame: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Return samples by the first two principal components of their embeddings.

    Args:
        frame: id, x, y, cluster, and selected (bool); ais and text where known, for the hover.
        title: Replaces the headline.
    """
    if frame.empty:
        return no_data(title or "Map of samples", "no samples to show")
    need(frame, ("id", "x", "y", "cluster", "selected"), "sample_map")
    explained = frame.attrs.get("explained", [])
    aid = f"{len(frame)} samples; number: cluster"
    fig = figure(title or "Where the chosen lie among all", aid, height=480, legend=True)
    chosen = frame["selected"].to_numpy(dtype=bool)
    hover = [_map_hover(row) for row in frame.to_dict("records")]
    for mask, kind, size in ((~chosen, "unselected", 6), (chosen, "selected", 8)):
        rows = np.flatnonzero(mask)
        fig.add_scatter(
            x=frame["x"].to_numpy()[rows].tolist(),
            y=frame["y"].to_numpy()[rows].tolist(),
            mode="markers",
            name="chosen" if kind == "selected" else "not chosen",
            marker={"size": size, "color": COLOURS[kind], "opacity": 0.75},
            hovertext=[hover[row] for row in rows],
            hoverinfo="text",
        )
    for cluster, part in frame.groupby("cluster"):
        fig.add_annotation(
            x=float(part["x"].median()),
            y=float(part["y"].median()),
            text=f"<b>{plotly_text(str(cluster))}</b>",
            showarrow=False,
            yshift=15,  # beside the points, not over them
            bgcolor="rgba(255,255,255,0.75)",
            font={"color": DARK_INK, "size": 12},
        )
    shares = [f" ({percent(share)} of variance)" for share in explained] or ["", ""]
    fig.update_xaxes(title_text=f"first principal component{shares[0]}", showticklabels=False)
    fig.update_yaxes(title_text=f"second{shares[1]}", showticklabels=False)
    return fig


def _map_hover(row: dict[Any, Any]) -> str:
    text = f"<b>{plotly_text(shorten(row['id'], 50))}</b> · cluster {row['cluster']}"
    if "ais" in row:
        text += f"<br>AIS: {number(row['ais'])}"
    if row.get("text"):
        text += f"<br>{plotly_text(shorten(row['text'], 90))}"
    return text


@checked
def cluster_bars(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Return each cluster's share of all samples and of the chosen ones.

    Args:
        table: from `airlens.selection.contrast.cluster_shares`; ``words`` names a cluster, if
            known.
        title: Replaces the headline.
    """
    if table.empty:
        return no_data(title or "Clusters", "no clusters to show")
    need(table, ("cluster", "all", "selected"), "cluster_bars")
    names = [
        plotly_text(f"{row['cluster']}: {row['words']}" if row.get("words") else row["cluster"])
        for row in table.to_dict("records")
    ]
    ratio = (table["selected"] / table["all"]).to_numpy()
    most = int(table["cluster"].to_numpy()[int(np.nanargmax(ratio))])
    times = number(float(np.nanmax(ratio)), 2)
    head = f"Cluster {most} is {times} times as frequent among the chosen"
    fig = figure(title or head, height=170 + 44 * len(table), legend=True)
    for column, kind, name in (("selected", "selected", "chosen"), ("all", "unselected", "all")):
        fig.add_bar(
            x=table[column].tolist(),
            y=names,
            orientation="h",
            name=name,
            marker={"color": COLOURS[kind]},
            hovertemplate="%{y}<br>%{x:.1%}<extra>" + name + "</extra>",
        )
    fig.update_layout(barmode="group", legend_traceorder="normal")
    fig.update_xaxes(title_text="share of samples", tickformat=".0%")
    fig.update_yaxes(autorange="reversed", showgrid=False)
    return fig
