"""The path of a fact: the sentences it passes through, and the copies that join them."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from airlens.arguments import checked

from .labels import number, plotly_text, shorten, visible
from .single_trace import one_trace
from .source_matrix import unit_names
from .step_maps import row_dicts
from .style import COLOURS, INK, figure, need, no_data

COLUMNS = ("path", "set", "hop", "index", "step", "token", "source_index", "source")
TOP = "top"
ROW = 34  # pixels of a sentence
WORDS = 84  # characters of a sentence that are shown
BULGE = np.sin(np.linspace(0, np.pi, 25)) ** 0.7


@checked
def fact_path(
    hops: pd.DataFrame,
    tokens: pd.DataFrame | None = None,
    ends: pd.DataFrame | None = None,
    id: str | None = None,
    *,
    path: int | None = None,
    title: str | None = None,
) -> go.Figure:
    """Return the steps and sentences that a fact passes through, top to bottom as in the text.

    At the left, a line joins the step that copies a token and the unit it is copied from: the
    critical heads' in colour, thicker for a larger weight, and those of random heads in grey, where
    they join units that the critical heads come by.

    Args:
        hops: `Paths.hops`: one row per copy.
        tokens: `Sources.tokens`, for the words of the units, and the numbers of the prompt's.
        ends: `Paths.ends`, for why the paths end.
        id: The trace; the first one by default.
        path: One path; all of the trace by default, so those of each token of a number.
        title: Replaces the headline.
    """
    heading = title or "The path of a fact"
    rows = one_trace(hops, id)
    if rows.empty:
        return no_data(heading, "no copy to show: nothing is copied where the path begins")
    need(rows, COLUMNS, "fact_path")
    rows = rows if path is None else rows[rows["path"] == path]
    own = rows[rows["set"] == TOP]
    if own.empty:
        return no_data(heading, "no copy of the critical heads to show")
    name = str(rows["id"].iloc[0])
    known = None if tokens is None else one_trace(tokens, name)
    order = sorted({int(u) for column in ("step", "source") for u in own[column]})
    every = order if known is None or known.empty else known["unit"].dropna().unique().tolist()
    names = unit_names([*every, *order], long=True)
    place = {unit: row for row, unit in enumerate(order)}
    random = rows[(rows["set"] != TOP) & rows["step"].isin(order) & rows["source"].isin(order)]
    fig = figure(title or _headline(own, names), _aid(name, rows), height=60 + ROW * len(order))
    _add_lines(fig, random, place, "random heads (control)", COLOURS["control"])
    _add_lines(fig, own, place, "critical heads", COLOURS["ablated"])
    _add_words(fig, order, _words(own, known), names)
    stops = None if ends is None else one_trace(ends, name)
    if stops is not None and not stops.empty:
        stops = stops if path is None else stops[stops["path"] == path]
        _add_ends(fig, stops[stops["set"] == TOP], place)
    fig.update_xaxes(visible=False, range=[-0.36, 1], fixedrange=True)
    fig.update_yaxes(visible=False, range=[len(order) - 0.5, -0.6], fixedrange=True)
    fig.update_layout(margin={"l": 8, "r": 8, "b": 12})
    return fig


def _headline(own: pd.DataFrame, names: dict[int, str]) -> str:
    first, last = (int(own["source"].min()), int(own["step"].max()))
    starts = own[own["hop"] == 1].drop_duplicates("path")
    token = "".join(str(text) for text in starts.sort_values("path")["token"])
    token = shorten(token, 24) or visible(token)
    return f"“{token}”: from {names[last]} back to {names[first]}"


def _aid(name: str, rows: pd.DataFrame) -> str:
    draws = rows.loc[rows["set"] != TOP, "set"].nunique()
    aid = f"Trace {shorten(name, 40)}; a line joins a copied token and the place it is copied from"
    return aid + ("; grey: random heads, where they come by the same places" if draws else "")


def _add_lines(fig: Any, rows: pd.DataFrame, place: dict[int, int], name: str, colour: str) -> None:
    """A line for each copy, bulging to the left by how far it reaches."""
    reach = max(len(place) - 1, 1)
    for row in row_dicts(rows):
        below, above = place[int(row["step"])], place[int(row["source"])]
        wide = 0.05 + 0.27 * (below - above) / reach
        weight = float(row.get("weight", 1))
        hover = f"{visible(row['token'])} ← {visible(row['source_token'])}"
        hover = f"<b>{plotly_text(hover)}</b><br>L{row['layer']}H{row['head']}, weight "
        fig.add_scatter(
            x=(-0.01 - wide * BULGE).tolist(),
            y=np.linspace(above, below, BULGE.size).tolist(),
            mode="lines",
            line={"color": colour, "width": 0.8 + 3 * weight, "shape": "spline"},
            opacity=0.4 + 0.5 * weight,
            hovertext=f"{hover}{number(row.get('weight'))}<br>{plotly_text(name)}",
            hoverinfo="text",
            name=name,
            showlegend=False,
        )


def _words(own: pd.DataFrame, known: pd.DataFrame | None) -> dict[int, str]:
    """The words of each unit, the copied ones bold; without tokens those that are copied."""
    copied: dict[int, dict[int, str]] = {}
    for row in row_dicts(own):
        copied.setdefault(int(row["step"]), {})[int(row["index"])] = str(row["token"])
        source = copied.setdefault(int(row["source"]), {})
        source[int(row["source_index"])] = str(row["source_token"])
    texts = copied
    if known is not None and not known.empty:
        inside = known[known["unit"].notna() & known["unit"].isin(list(copied))]
        texts = {
            int(str(unit)): dict(zip(rows["index"].astype(int), rows["token"], strict=True))
            for unit, rows in inside.groupby("unit")
        }
    return {
        unit: _sentence([(str(text), index in of) for index, text in sorted(texts[unit].items())])
        for unit, of in copied.items()
        if unit in texts
    }


def _sentence(tokens: list[tuple[str, bool]]) -> str:
    """Tokens (text, whether it is copied) as one line around the first that is copied."""
    starts = np.cumsum([0, *(len(text) for text, _ in tokens)])
    first = next((at for at, (_, is_copied) in zip(starts, tokens, strict=False) if is_copied), 0)
    begin = max(0, min(int(first) - WORDS // 2, int(starts[-1]) - WORDS))
    shown = [
        token
        for at, token in zip(starts, tokens, strict=False)
        if (begin <= at and at + len(token[0]) <= begin + WORDS) or at == first
    ]
    found = "…" if begin else ""
    for is_copied, group in groupby(shown, key=lambda token: token[1]):
        text = " ".join("".join(text for text, _ in group).replace("\n", " ").split(" "))
        found += f"<b>{plotly_text(text)}</b>" if is_copied and text.strip() else plotly_text(text)
    return found + ("…" if shown and shown[-1] != tokens[-1] else "")


def _add_words(fig: Any, order: list[int], words: dict[int, str], names: dict[int, str]) -> None:
    for row, unit in enumerate(order):
        text = f'<span style="color:{INK}">{names[unit]}</span>  {words.get(unit, "")}'
        fig.add_annotation(x=0, y=row, text=text, showarrow=False, xanchor="left", align="left")


def _add_ends(fig: Any, ends: pd.DataFrame, place: dict[int, int]) -> None:
    """Why paths end, at the right of the unit where they do."""
    for unit, own in ends[ends["unit"].isin(list(place))].groupby("unit"):
        why = ", ".join(dict.fromkeys(str(why) for why in own["why"]))
        fig.add_annotation(
            x=1, y=place[int(str(unit))], text=f"<i>{plotly_text(why)}</i>", showarrow=False,
            xanchor="right", font={"color": INK},
        )  # fmt: skip
