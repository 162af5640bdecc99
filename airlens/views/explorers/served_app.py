"""The workspace as an app without code: the first part of its notebook, served by voila.

Served on this machine only. The page loads nothing from any other server, and its
Content-Security-Policy forbids the browser to.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airlens.errors import ConfigError

from .notebook_files import read, with_parameters, write

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1]
NAME = "07_explorers.ipynb"
TEMPLATE = "airlens"
STATIC = "static-form"
"""Tag of the cells that only repeat a live view for a page without a kernel."""
ALONE = "alone"
"""Tag of the cells of explorers that the workspace has in its tabs.

The kernel answers no click while it runs cells: the app has as few as there can be.
"""
POLICY = "; ".join(
    [
        "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'",
        "connect-src 'self' data: blob: ws://127.0.0.1:* ws://localhost:*",
        "frame-ancestors 'self'",
    ]
)


def explorers_notebook() -> Path:
    """The notebook of workspace and explorers, in a checkout or inside an installed wheel.

    Raises:
        ConfigError: this installation has none.
    """
    for folder in (PACKAGE.parent / "notebooks", PACKAGE / "_data"):
        if (folder / NAME).is_file():
            return folder / NAME
    raise ConfigError(f"airlens has no {NAME}; reinstall airlens")


def app_notebook(notebook: Any, values: Mapping[str, Any], folder: str | Path) -> Any:
    """The notebook as the app runs it: the workspace only, relative paths starting at ``folder``.

    Raises:
        ConfigError: a value for a parameter that the notebook does not have.
    """
    notebook = with_parameters(notebook, values)
    left_out = {STATIC, ALONE}
    code = [c for c in notebook.cells if c.cell_type == "code"]
    notebook.cells = [c for c in code if not left_out & {*c.metadata.get("tags", [])}]
    for cell in notebook.cells:
        cell.outputs, cell.execution_count = [], None
    start = importlib.import_module("nbformat").v4.new_code_cell(
        f"import os\n\nos.chdir({str(folder)!r})"
    )
    notebook.cells.insert(0, start)
    notebook.metadata["title"] = "airlens"
    return notebook


def settings(port: int, *, open_browser: bool = True, theme: str = "light") -> dict[str, Any]:
    """The configuration of voila.

    While voila runs the cells it does not read answers to its pings, and would close the page's
    connection after 90 s: pings are off.
    """
    headers = {"Content-Security-Policy": POLICY}
    return {
        "Voila": {
            "ip": "127.0.0.1",
            "port": port,
            "open_browser": open_browser,
            "tornado_settings": {"headers": headers, "ws_ping_interval": 0},
        },
        "VoilaConfiguration": {
            "template": TEMPLATE,
            "theme": theme,
            "allow_template_override": "NO",
            "progressive_rendering": True,
        },
    }


def serve(
    values: Mapping[str, Any] | None = None,
    *,
    port: int = 8866,
    open_browser: bool = True,
    theme: str = "light",
    notebook: str | Path | None = None,
) -> None:
    """Serve the explorers until the process is ended.

    Args:
        values: parameters of the notebook, e.g. ``{"model": …, "traces_from": …}``.
        port: where to listen; the next free one if it is taken.
        open_browser: open the page.
        theme: ``light`` or ``dark``.
        notebook: another notebook than that of the explorers.

    Raises:
        ConfigError: voila is not installed, or a parameter is unknown.
    """
    if importlib.util.find_spec("voila") is None:
        raise ConfigError("the app needs voila: pip install 'airlens[app]'")
    made = app_notebook(read(notebook or explorers_notebook()), values or {}, Path.cwd())
    # Where voila looks for templates, besides Jupyter's own folders.
    paths = [str(HERE / "app_template"), os.environ.get("JUPYTER_PATH", "")]
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, paths))
    # Plotly's other renderers write 5 MB of script into the page, or ask a CDN for it.
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"
    config = importlib.import_module("traitlets.config").Config(
        settings(port, open_browser=open_browser, theme=theme)
    )
    with tempfile.TemporaryDirectory(prefix="airlens-app-") as folder:
        page = Path(folder) / "airlens.ipynb"
        write(page, made)
        voila = importlib.import_module("voila.app").Voila
        sys.argv[:] = [sys.argv[0]]  # its options are not ours
        voila.launch_instance([str(page)], config=config)
