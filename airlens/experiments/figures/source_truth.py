"""How well the measures of sources find true sources, by their distance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from airlens.arguments import checked
from airlens.control_kinds import CONTRASTED_WORDS
from airlens.views.figures.labels import MEASURES, plotly_text
from airlens.views.figures.style import (
    COLOURS,
    DOMAIN_CYCLE,
    INK,
    SYMBOLS,
    error_bars,
    figure,
    floats,
    legend_room,
    need,
    no_data,
)

NAMES = {**MEASURES, "copies_number": "share of the number copied"}
HEADS = {
    "top": ("critical heads", COLOURS["ablated"], "circle"),
    "same_layers": (CONTRASTED_WORDS["same_layers"], COLOURS["control"], "diamond-open"),
    "random": (CONTRASTED_WORDS["random"], COLOURS["unselected"], "square-open"),
}
FREE = "free controls"


@checked
def source_truth(table: pd.DataFrame, value: str = "auroc", *, title: str | None = None) -> Any:
    """Return how well each measure finds true sources, one panel per measure, by distance.

    Args:
        table: of `airlens validate --what sources`: planted sources (wording, distance, score,
            heads, auroc, lo, hi, p1, p1_lo, p1_hi) or labelled ones (traces, beyond, compared,
            score, heads, auroc, lo, hi). Shown are the rows of all wordings (planted), or of all
            traces and pairs (labelled).
        value: `auroc`, or for planted sources `p1`, precision at 1.
        title: Replaces the headline.
    """
    heading = title or "How well true sources are found"
    if table.empty:
        return no_data(heading, "no measure of true sources")
    ends = ("p1_lo", "p1_hi") if value == "p1" else ("lo", "hi")
    need(table, ("score", "heads", value, *ends), "source_truth")
    rows, places, axis = _chosen(table)
    if rows.empty:
        return no_data(heading, "no measure of true sources at these distances")
    from plotly.subplots import make_subplots

    panels = [name for name in NAMES if name in set(rows["score"])]
    panels += [FREE] if (rows["heads"] == "").any() else []
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    what = "precision at 1" if value == "p1" else "AUROC"
    aid = f"{what}, bar: its own 95 % interval, over problems and draws of random heads"
    aid += "; 0.5 is no signal" if value == "auroc" else "; grey line: chance"
    base = figure(
        title or _headline(rows, value, places), aid, height=110 + 235 * down, legend=True
    )
    fig = make_subplots(
        rows=down,
        cols=across,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.26 / down,
        subplot_titles=[plotly_text(NAMES.get(name, name)) for name in panels],
    )
    fig.update_layout(base.layout)
    fig.update_layout(margin_t=base.layout.margin.t + 24)
    named: set[str] = set()
    for place, panel in enumerate(panels):
        spot = {"row": place // across + 1, "col": place % across + 1}
        for line in _lines(rows, panel, places, (value, *ends)):
            fig.add_trace({**line, "showlegend": line["name"] not in named}, **spot)
            named.add(line["name"])
        if value == "auroc":
            fig.add_hline(y=0.5, line={"color": INK, "width": 1, "dash": "dot"}, **spot)
        elif "chance" in rows:
            chance = rows.groupby("_x")["chance"].mean().reindex(list(places.values()))
            fig.add_trace(_chance(list(places), chance), **spot)
    fig.update_yaxes(range=[-0.03, 1.04], tickvals=[0, 0.25, 0.5, 0.75, 1], zeroline=False)
    fig.update_xaxes(range=[-0.45, len(places) - 0.55], tickvals=list(range(len(places))))
    fig.update_xaxes(ticktext=[plotly_text(name) for name in places], zeroline=False)
    fig.update_xaxes(title_text=axis, row=down)
    fig.update_annotations(font_size=12.5)
    legend_room(fig, 480)  # as narrow as on a page of documents
    # Above the panels' names.
    plot = fig.layout.height - fig.layout.margin.t - fig.layout.margin.b
    fig.update_layout(legend_y=1 + 26 / plot)
    return fig


def _chosen(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any], str]:
    """The rows shown, with their place on the x axis; its ticks and values; its title."""
    rows = table.assign(heads=table["heads"].fillna(""))
    if "beyond" in rows:
        need(rows, ("traces", "compared"), "source_truth")
        rows = rows[(rows["traces"] == "all") & (rows["compared"] == "all pairs")]
        ticks = {"all" if b == 0 else f"> {b}": b for b in sorted(set(rows["beyond"]))}
        return rows.assign(_x=rows["beyond"]), ticks, "steps apart"
    need(rows, ("wording", "distance"), "source_truth")
    rows = rows[(rows["wording"] == "all") & ~rows["distance"].isin(["all", "prompt"])]
    names = dict.fromkeys(rows["distance"].astype(str))
    return rows.assign(_x=rows["distance"].astype(str)), {n: n for n in names}, "steps before"


def _headline(rows: pd.DataFrame, value: str, places: dict[str, Any]) -> str:
    """The best measure where the sources are farthest, its random heads, and the best free control.

    The random heads are those of the same layers, or from anywhere if there are no others.
    """
    far = rows[(rows["_x"] == list(places.values())[-1]) & np.isfinite(floats(rows, value))]
    top, free = far[far["heads"] == "top"], far[far["heads"] == ""]
    parts = []
    if len(top):
        best = top.iloc[int(np.argmax(floats(top, value)))]
        parts.append(f"{_named(best)} {best[value]:.2f}")
        same = far[far["score"] == best["score"]].set_index("heads")[value]
        known = [heads for heads in ("same_layers", "random") if heads in same.index]
        parts += [f"random heads {same[heads]:.2f}" for heads in known[:1]]
    if len(free):
        best = free.iloc[int(np.argmax(floats(free, value)))]
        parts.append(f"best free control {_named(best)} {best[value]:.2f}")
    where = f"Sources {list(places)[-1]} steps {'apart' if 'beyond' in rows else 'before'}"
    return f"{where}: {', '.join(parts)}"


def _named(row: pd.Series) -> str:
    return NAMES.get(row["score"], str(row["score"]).replace("_", " "))


def _lines(
    rows: pd.DataFrame, panel: str, places: dict[str, Any], columns: tuple[str, str, str]
) -> list[dict[str, Any]]:
    """The lines of a panel: of the critical heads and their controls, or of the free controls."""
    if panel == FREE:
        free = rows[rows["heads"] == ""]
        looks = {
            (str(score), ""): (
                str(score).replace("_", " "),
                DOMAIN_CYCLE[i % len(DOMAIN_CYCLE)],
                SYMBOLS[i % len(SYMBOLS)],
            )
            for i, score in enumerate(dict.fromkeys(free["score"]))
        }
    else:
        looks = {(panel, heads): look for heads, look in HEADS.items()}
    found = []
    for shift, ((score, heads), look) in enumerate(looks.items()):
        part = rows[(rows["score"] == score) & (rows["heads"] == heads)]
        if len(part):
            offset = 0.09 * (shift - (len(looks) - 1) / 2)
            found.append(_line(part, places, columns, look, offset))
    return found


def _line(
    part: pd.DataFrame,
    places: dict[str, Any],
    columns: tuple[str, str, str],
    look: tuple[str, str, str],
    offset: float,
) -> dict[str, Any]:
    name, colour, symbol = look
    ordered = part.set_index("_x").reindex(list(places.values()))
    # Rounded: a page or a notebook keeps every digit.
    middle, lo, hi = (floats(ordered, column).round(4) for column in columns)
    spans = [f"{m:.2f} [{a:.2f}, {b:.2f}]" for m, a, b in zip(middle, lo, hi, strict=True)]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "legendgroup": name,
        "x": (np.arange(len(places)) + offset).round(3).tolist(),
        "y": middle.tolist(),
        "error_y": _short(error_bars(middle, lo, hi, thickness=1.2, width=0)),
        "line": {"color": colour, "width": 1.6},
        "marker": {"color": colour, "symbol": symbol, "size": 7},
        "hovertext": spans,
        "hovertemplate": "%{hovertext}<extra>" + plotly_text(name) + "</extra>",
    }


def _short(bars: dict[str, Any]) -> dict[str, Any]:
    ends = {name: np.round(bars[name], 4).tolist() for name in ("array", "arrayminus")}
    return {**bars, **ends}


def _chance(names: list[str], chance: pd.Series) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(range(len(names))),
        "y": chance.round(4).tolist(),
        "line": {"color": INK, "width": 1, "dash": "dot"},
        "hoverinfo": "skip",
        "showlegend": False,
    }
