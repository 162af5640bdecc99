"""The page's script: the views of the widgets, their initial values, and the page's own part.

The views are the modules that the widgets of a notebook run. A page opened from disk cannot import
modules, so each becomes a function that returns its exports.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airlens.errors import ConfigError
from airlens.views.explorers import view_scripts as parts

HERE = Path(__file__).parent
EXPORT = "export default { render };"
HOST = ("subsets.js", "heads_off.js", "address.js", "page.js")
VIEWS = ("text", "arcs", "matrix", "grid", "table", "track")


def as_function(module: str) -> str:
    """An ES module as an expression: a function that is called at once and returns the exports.

    Raises:
        ConfigError: the module imports something, or exports anything but ``{ render }``.
    """
    lines = module.splitlines()
    if lines.count(EXPORT) != 1 or any(line.startswith(("import ", "export {")) for line in lines):
        raise ConfigError(f"a view is a module without imports, with the one line {EXPORT!r}")
    body = "\n".join("return { render };" if line == EXPORT else line for line in lines)
    return f"(() => {{\n{body}\n}})()"


def defaults(view: str) -> dict[str, Any]:
    """The traits of a view's widget, with their initial values."""
    import anywidget

    from airlens.views.explorers import js

    widget = {
        "text": js.TraceText,
        "arcs": js.SourceArcs,
        "matrix": js.SourceMatrix,
        "grid": js.GridMap,
        "table": js.DataTable,
        "track": js.AnswerTrack,
    }
    every = widget[view].class_traits(sync=True)
    of_any = anywidget.AnyWidget.class_traits(sync=True)
    own = {name: trait for name, trait in every.items() if name[0] != "_" and name not in of_any}
    return {name: trait.default() for name, trait in own.items()}


def page_script() -> str:
    """The whole script."""
    views = ",\n".join(f"{name}: {as_function(parts.script(name))}" for name in VIEWS)
    start = json.dumps({name: defaults(name) for name in VIEWS}, ensure_ascii=False)
    shared = "\n".join((parts.STATIC / n).read_text("utf-8") for n in ("dom.js", "history.js"))
    host = "\n".join((HERE / name).read_text("utf-8") for name in HOST)
    text = f"const VIEWS = {{\n{views}\n}};\nconst DEFAULTS = {start};\n{shared}\n{host}"
    return f'(() => {{\n"use strict";\n{text}\n}})();'


def page_style() -> str:
    """The whole style sheet."""
    return parts.stylesheet() + (HERE / "page.css").read_text("utf-8")
