"""The complete script of each view: its files, joined.

Each result is one ES module that ends in ``export default { render };`` and imports nothing, so
that a widget and a page without a server can both use it.
"""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).parent / "static"
PARTS: dict[str, tuple[str, ...]] = {
    "cancel": ("names", "cancel"),
    "address": ("dom", "history", "address"),
    "arcs": ("dom", "units", "beside", "arcs"),
    "grid": ("dom", "cells", "tiles", "grid"),
    "matrix": (
        "dom", "cells", "window", "sidebars", "matrix_parts", "gestures", "picture",
        "matrix_words", "matrix",
    ),
    "scatter": ("dom", "marks", "scatter"),
    "table": ("dom", "table"),
    "text": (
        "dom", "units", "copies", "search", "blocks", "links", "numbers", "sidebars", "strip",
        "text_keys", "text",
    ),
    "tokens": ("dom", "tokens"),
    "track": ("dom", "track"),
}  # fmt: skip
"""The files of each view, in order; the last is the view, those before it are shared or parts of
it.
"""
STYLES = ("airlens", "links", "tiles", "track", "matrix", "controls")


def script(view: str) -> str:
    """The ES module of a view: one of `PARTS`."""
    return "\n".join((STATIC / f"{part}.js").read_text("utf-8") for part in PARTS[view])


def stylesheet() -> str:
    """The one style sheet of all views."""
    return "".join((STATIC / f"{name}.css").read_text("utf-8") for name in STYLES)
