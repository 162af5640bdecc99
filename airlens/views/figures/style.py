"""The common style of all figures: template, colours, scales and titles.

The background is transparent and the ink a middle grey, so that a figure is readable on light and
dark pages. Colour scales fade into the page at zero and are safe for colour-blind readers (Okabe
and Ito's blue and vermilion). A colour has one meaning in all figures.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from numpy.typing import NDArray

from airlens.errors import need_columns

from .labels import is_signed, plotly_text

FONT = (
    "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', "
    "Arial, sans-serif"
)
MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Noto Sans Mono', monospace"
TITLE_PAD = 18  # pixels above a headline
SUBTITLE = "font-size:12.5px;font-weight:400;fill-opacity:0.85"
INK = "#747a82"
GRID = "rgba(128,134,142,0.20)"
DARK_INK = "#1c2126"
"""Text on the light cells of `TEXT_SEQUENTIAL` and `TEXT_DIVERGING`."""

COLOURS: dict[str, str] = {
    "base": "#0072B2",
    "ablated": "#D55E00",
    "control": "#8d949c",
    "floor": "#95507c",
    "selected": "#009E73",
    "unselected": "#a3a9b0",
}
"""One colour per meaning, the same in all figures."""

DOMAIN_CYCLE = ("#E69F00", "#56B4E9", "#CC79A7", "#7a6fd0", "#9c8a00", "#24806f", "#9c6b4a")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon")

Scale = list[list[Any]]
SEQUENTIAL: Scale = [[0, "rgba(26,130,200,0.09)"], [0.5, "rgba(18,122,190,0.6)"], [1, "#1279be"]]
DIVERGING: Scale = [
    [0, "#0072B2"],
    [0.25, "rgba(0,114,178,0.55)"],
    [0.4999, "rgba(0,114,178,0.09)"],
    [0.5, "rgba(128,134,142,0.09)"],
    [0.5001, "rgba(213,94,0,0.09)"],
    [0.75, "rgba(213,94,0,0.55)"],
    [1, "#D55E00"],
]
TEXT_SEQUENTIAL: Scale = [[0, "#f3f4f3"], [0.5, "#c3dcee"], [1, "#7fb5dc"]]
"""Light and opaque: for cells with dark text, on any page."""
TEXT_DIVERGING: Scale = [
    [0, "#7fb5dc"],
    [0.25, "#c3dcee"],
    [0.5, "#f3f4f3"],
    [0.75, "#f9cfae"],
    [1, "#f09a5a"],
]

CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "responsive": True,
    "toImageButtonOptions": {"format": "svg", "filename": "airlens"},
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}
"""Options for every `show`, `to_html` and widget: no data leave the page."""


def colour_bar(title: str = "", height: int = 1000) -> dict[str, Any]:
    """Return a colour bar beside the top of a plot `height` pixels high."""
    size = max(min(height, 280), 120)
    return {
        "thickness": 12,
        "outlinewidth": 0,
        "ticklen": 3,
        "lenmode": "pixels",
        "len": size,
        "y": 1,
        "yanchor": "top",
        "tickfont": {"size": 11.5},
        "title": {"text": title, "side": "right", "font": {"size": 12.5}},
    }


def _template() -> Any:
    axis = {
        "gridcolor": GRID,
        "zerolinecolor": "rgba(128,134,142,0.55)",
        "zerolinewidth": 1,
        "linecolor": GRID,
        "ticks": "outside",
        "tickcolor": GRID,
        "ticklen": 4,
        "automargin": True,
        "title": {"standoff": 10, "font": {"size": 13}},
    }
    heat = {"colorbar": colour_bar(), "hoverongaps": False}
    layout = {
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": list(DOMAIN_CYCLE),
        "colorscale": {"sequential": SEQUENTIAL, "diverging": DIVERGING},
        "xaxis": axis,
        "yaxis": axis,
        "hoverlabel": {
            "bgcolor": "#20262d",
            "bordercolor": "#20262d",
            "align": "left",
            "font": {"family": FONT, "size": 12.5, "color": "#f4f5f6"},
        },
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#9aa0a6", "activecolor": "#0072B2"},
    }
    return go.layout.Template(layout=layout, data={"heatmap": [heat]})


TEMPLATE = _template()
pio.templates["airlens"] = TEMPLATE


def figure(
    title: str, subtitle: str = "", *, height: int = 420, legend: bool = False, bottom: int = 56
) -> go.Figure:
    """Return an empty figure: headline top left, a reading aid under it, the legend above the plot.

    `title` and `subtitle` are plain text, escaped and wrapped here; `height` is in pixels.
    """
    head, sub = _lines(title, 72), _lines(subtitle, 96)
    text = "<br>".join(map(plotly_text, head))
    if sub:
        small = "<br>".join(map(plotly_text, sub))
        text += f'<br><span style="{SUBTITLE}">{small}</span>'
    top = TITLE_PAD + headline_height(len(head), len(sub)) + 12 + (30 if legend else 0)
    fig = go.Figure()
    fig.update_layout(
        template=TEMPLATE,
        height=height + top - 60,
        margin={"l": 64, "r": 24, "t": top, "b": bottom},
        showlegend=legend,
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 12}},
        title={
            "text": text,
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 6, "t": TITLE_PAD},
            "font": {"size": 16, "weight": 600},
        },
    )
    return fig


def headline_height(lines: int, aid_lines: int) -> int:
    """Pixels that the lines of a headline take, and those of the reading aid under it."""
    return 21 * lines + 17 * aid_lines


def error_bars(middle: np.ndarray, lo: np.ndarray, hi: np.ndarray, **look: Any) -> dict[str, Any]:
    """Error bars from ``lo`` to ``hi`` around ``middle``, each [n]; none where a value is NaN."""
    ends = {"array": (hi - middle).tolist(), "arrayminus": (middle - lo).tolist()}
    return {"type": "data", "symmetric": False, **ends, **look}


def _lines(text: str, width: int) -> list[str]:
    """Wrap `text` into as few lines as `width` needs, of about equal length."""
    count = len(textwrap.wrap(text, width))
    even = max(len(text) // max(count, 1), 1)
    tries = (textwrap.wrap(text, size) for size in range(even, width + 1))
    return next((lines for lines in tries if len(lines) <= count), textwrap.wrap(text, width))


def whole_axis(update: Any, title: str, size: int) -> None:
    """Set an axis of `size` whole numbers from 0, with few enough ticks to read."""
    step = 1 if size <= 16 else 2 if size <= 36 else max(4, size // 16)
    update(title_text=title, dtick=step, tick0=0, range=[-0.6, size - 0.4], showgrid=False)
    update(zeroline=False)


def legend_room(fig: go.Figure, width: int = 620) -> None:
    """Make room above the plot for the legend's further rows, at `width` pixels of plot."""
    shown = [trace.name or "" for trace in fig.data if trace.showlegend is not False]
    rows = -(-sum(46 + 7 * len(name) for name in shown) // width)
    extra = 22 * max(0, rows - 1)
    fig.update_layout(margin_t=fig.layout.margin.t + extra, height=fig.layout.height + extra)


def no_data(title: str, why: str = "no data") -> go.Figure:
    """Return a figure that says, in plain text, why there is nothing to show."""
    fig = figure(title, height=220)
    fig.update_xaxes(visible=False)
    fig.update_yaxes(visible=False)
    fig.add_annotation(
        text=plotly_text(why), x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False
    )
    return fig


def need(frame: pd.DataFrame, columns: Iterable[str], who: str) -> None:
    """Raise a DataError that names the columns `who` needs and `frame` lacks."""
    need_columns(frame, columns, who)


def floats(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return a column as float64, NaN where it is missing, absent or no number."""
    if column not in frame.columns:
        return np.full(len(frame), np.nan)
    numbers = pd.to_numeric(frame[column], errors="coerce")
    array = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(array), array, np.nan)


def limit(values: NDArray[np.float64], quantile: float = 0.98) -> float:
    """Return a colour limit: a high quantile of |value|, so that outliers do not set the scale."""
    size = np.abs(values[np.isfinite(values)])
    if not size.size or size.max() == 0:
        return 1.0
    robust = float(np.quantile(size, quantile))
    return robust if robust > 0 else float(size.max())


def text_scale(column: str) -> Scale:
    """Return the light scale for cells that carry text: 0 in the middle for Δ and AIS."""
    return TEXT_DIVERGING if is_signed(column) else TEXT_SEQUENTIAL


def paint(values: NDArray[np.float64], column: str, bound: float) -> list[str]:
    """Return one light colour per value on `text_scale(column)`, full at `bound`; NaN is 0."""
    share = np.clip(np.nan_to_num(values) / bound, -1, 1)
    share = (share + 1) / 2 if is_signed(column) else np.clip(share, 0, 1)
    scale = text_scale(column)
    stops = [float(stop[0]) for stop in scale]
    parts = np.array([[int(stop[1][i : i + 2], 16) for i in (1, 3, 5)] for stop in scale])
    mixed = [np.rint(np.interp(share, stops, parts[:, i])).astype(int) for i in range(3)]
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in zip(*mixed, strict=True)]


def domain_colours(domains: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return (colour, marker symbol) for each distinct domain; the order of names decides."""
    names = sorted(set(domains))
    pick = len(DOMAIN_CYCLE)
    return {name: (DOMAIN_CYCLE[i % pick], SYMBOLS[i % pick]) for i, name in enumerate(names)}


def fig_html(fig: Any, div_id: str | None = None) -> str:
    """Return a figure as an HTML fragment that loads nothing; the page must have plotly.js."""
    html = pio.to_html(
        fig,
        config=dict(CONFIG),
        full_html=False,
        include_plotlyjs=False,
        include_mathjax=False,
        div_id=div_id,
    )
    return str(html)
