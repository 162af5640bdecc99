"""Layout that the explorers share: figures in an output area, headings, columns."""

from __future__ import annotations

import html
from typing import Any

import ipywidgets as w
from markupsafe import Markup

from airlens.views.figures.style import CONFIG, TITLE_PAD, headline_height
from airlens.views.html_file import escaped


def figure_output(name: str) -> Any:
    """An output area for one figure; see :func:`put_figure`."""
    output = w.Output(layout={"min_width": "0", "width": "100%", "overflow": "hidden"})
    output.add_class("airlens-figure")
    output.add_class(f"airlens-{name}")
    return output


def put_figure(output: Any, fig: Any) -> None:
    """Show a figure in an output area, replacing its content, with the headline as text above it.

    Sets the outputs directly: printing into an area from a callback depends on which cell the
    kernel takes as running. As text the headline wraps where the page is narrow.
    """
    data = fig.to_plotly_json()
    layout = _plain(data["layout"])
    headline, room = _take_headline(layout)
    bundle = {"data": _plain(data["data"]), "layout": layout, "config": CONFIG}
    # A minimum height, or everything below would jump while the new figure is drawn.
    output.layout.min_height = f"{layout['height'] + room}px"
    output.outputs = (
        {"output_type": "display_data", "data": {"text/html": headline}, "metadata": {}},
        {
            "output_type": "display_data",
            "data": {"application/vnd.plotly.v1+json": bundle, "text/plain": "figure"},
            "metadata": {},
        },
    )


def _take_headline(layout: dict[str, Any]) -> tuple[str, int]:
    """Take the title out of a figure's layout: as HTML, and the room it needs, in pixels.

    The title is what :func:`airlens.views.figures.style.figure` made: escaped text in lines, and
    under it a span of smaller print.
    """
    head, _, rest = layout.pop("title")["text"].partition("<br><span")
    aid = rest.partition(">")[2].removesuffix("</span>")
    lines = headline_height(head.count("<br>") + 1, aid.count("<br>") + 1 if aid else 0)
    layout["margin"]["t"] = max(8, layout["margin"]["t"] - lines - TITLE_PAD)
    layout["height"] -= lines + TITLE_PAD
    head, aid = (text.replace("<br>", " ") for text in (head, aid))
    return headline_html(Markup(head), Markup(aid)), 25 + (20 if aid else 0)


def headline_html(head: str, aid: str = "") -> str:
    """A sentence that says what a view shows, and a line in smaller print under it; escaped."""
    return f'<div class="airlens-headline"><b>{escaped(head)}</b><div>{escaped(aid)}</div></div>'


def _plain(value: Any) -> Any:
    """The value with lists instead of tuples and arrays, and None instead of NaN."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and value != value else value


def title(text: str, aid: str = "", *workers: Any) -> Any:
    """A heading, and a line in smaller print under it (plain text), beside the workers' messages.

    There a message is in sight, and nothing moves when it appears or disappears.
    """
    small = f'<div style="opacity:.75;line-height:1.4">{html.escape(aid)}</div>' if aid else ""
    head = w.HTML(f'<div style="font-size:18px;font-weight:600">{html.escape(text)}</div>{small}')
    head.layout.flex = "0 1 auto"
    for worker in workers:
        worker.layout.flex = "0 1 auto"
    layout = {"display": "flex", "flex_flow": "row wrap", "align_items": "center"}
    return w.Box([head, *workers], layout={**layout, "grid_gap": "0 24px", "min_height": "52px"})


def row(*parts: Any) -> Any:
    """Widgets in a row, wrapping where the page is narrow."""
    layout = {"display": "flex", "flex_flow": "row wrap", "align_items": "center"}
    made = w.Box(list(parts), layout={**layout, "grid_gap": "12px"})
    made.add_class("airlens-row")
    return made


def columns(left: Any, right: Any) -> Any:
    """Two columns that become one where the page is narrow."""
    left.layout.flex, right.layout.flex = "1 1 360px", "4 1 360px"
    left.layout.min_width = right.layout.min_width = "0"
    layout = {"display": "flex", "flex_flow": "row wrap", "align_items": "flex-start"}
    return w.Box([left, right], layout={**layout, "grid_gap": "8px 20px"})
