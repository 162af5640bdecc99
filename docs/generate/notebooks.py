"""The notebooks as pages: copied beside the others, with the outputs they were committed with."""

from __future__ import annotations

import json
from pathlib import Path

from . import ROOT, write_if_new

FOLDER = ROOT / "notebooks"
_WIDGET = "application/vnd.jupyter.widget-view+json"
_PLOTLY = "application/vnd.plotly.v1+json"


def paths() -> list[Path]:
    """The notebooks, in order."""
    return sorted(FOLDER.glob("*.ipynb"))


def title(notebook: dict) -> str:
    """The first heading of a notebook."""
    for cell in notebook["cells"]:
        for line in "".join(cell["source"]).splitlines():
            if cell["cell_type"] == "markdown" and line.startswith("# "):
                return line.removeprefix("# ").strip()
    raise ValueError("a notebook without a heading")


def shown(notebook: dict) -> dict:
    """The notebook without what a page does not show: the data behind pictures, and widgets."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            for kind in (_WIDGET, _PLOTLY):
                output.get("data", {}).pop(kind, None)
    return notebook


def write(folder: Path) -> None:
    """Write a copy of each notebook, and the page that lists them."""
    rows = []
    for path in paths():
        notebook = json.loads(path.read_text(encoding="utf-8"))
        name = path.stem
        rows.append(f"| [{title(notebook)}]({path.name}) | `{name}` |")
        write_if_new(folder / "notebooks" / path.name, json.dumps(shown(notebook)))
    toc = "\n".join(path.stem for path in paths())
    text = (
        "# Notebooks\n\nAs they were committed, with their outputs; nothing was run to make these "
        "pages. `make lab` opens them, `make notebooks` runs them all again.\n\n"
        "| | file |\n|---|---|\n" + "\n".join(rows) + "\n\n"
        f"```{{toctree}}\n:hidden:\n:maxdepth: 1\n\n{toc}\n```\n"
    )
    write_if_new(folder / "notebooks" / "index.md", text)
