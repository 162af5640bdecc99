"""Run the notebooks, keep their outputs, and check that they are fit to be committed.

``python -m tools.run_notebooks`` runs each notebook of ``notebooks/`` from top to bottom and writes
its outputs back: figures as Plotly data and, where there is a Chromium, as PNG, which is what
GitHub shows. ``-p name=value`` sets a parameter for the run; a name that the notebook does not have
is an error. What was run with other parameters than its own is not written back.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from airlens.errors import AirlensError
from airlens.views.explorers.notebook_files import (
    TAG,
    parse_values,
    read,
    tagged,
    with_parameters,
    write,
)
from airlens.views.explorers.notebook_files import parameters as parameters

FOLDER = Path("notebooks")
MOST_BYTES = 1_000_000  # GitHub shows nothing of a larger notebook
LONGEST_CELL = 12  # lines
WIDE, SCALE = 800, 2  # pixels of a still picture, and how many of its dots are in one: for print
PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


class NotebookError(AirlensError, RuntimeError):
    """A notebook that did not run to its end; says which cell and why."""


def execute(
    path: str | Path, values: Mapping[str, Any] | None = None, *, timeout: int = 1200
) -> Any:
    """Run a notebook in a fresh kernel, in its own folder; return it with its outputs.

    Args:
        path: the notebook; it is not changed.
        values: parameters for this run.
        timeout: seconds that one cell may take.

    Raises:
        ConfigError: an unknown parameter.
        NotebookError: a cell failed.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = with_parameters(read(path), values or {})
    # Plotly's other renderers write 5 MB of script into each notebook.
    os.environ.setdefault("PLOTLY_RENDERER", "plotly_mimetype")
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(Path(path).resolve().parent)}},
        record_timing=False,
        store_widget_state=False,
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise NotebookError(_first_words(error)) from error
    return notebook


def _first_words(error: Exception) -> str:
    """What went wrong in a line, with the lines of the cell but without the coloured traceback."""
    name, value = getattr(error, "ename", None), getattr(error, "evalue", None)
    if name is None:
        return str(error).strip()
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    cell = text.split("------------------")[1].strip() if "------------------" in text else ""
    return f"{name}: {value}\nin the cell\n{cell}"


def make_static(notebook: Any, *, png: bool = True) -> Any:
    """Make the outputs fit to be committed: PNG beside Plotly, no widget without its state."""
    figures = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs = [o for o in cell.outputs if not (_is_progress(o) or _is_stderr(o))]
        for output in cell.outputs:
            data = output.get("data", {})
            data.pop(WIDGET, None)  # what the view showed is another output
            if PLOTLY in data:
                figures.append(data)
    if png and figures and find_browser():
        _add_png(figures)
    notebook.metadata.pop("widgets", None)
    return notebook


def _is_stderr(output: Any) -> bool:
    """Warnings of libraries: they name paths of the machine, and say nothing of the result."""
    return bool(output.output_type == "stream" and output.name == "stderr")


def _is_progress(output: Any) -> bool:
    text = str(output.get("data", {}).get("text/plain", ""))
    return WIDGET in output.get("data", {}) and "%|" in text


def find_browser() -> str | None:
    """The path of a Chromium, or None."""
    return os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)


def _add_png(figures: Iterable[dict[str, Any]]) -> None:
    """Put a PNG beside each figure, on white: GitHub's dark page has none of its own."""
    import base64

    import kaleido
    import plotly.graph_objects as go
    import plotly.io as pio

    os.environ.setdefault("BROWSER_PATH", find_browser() or "")
    kaleido.start_sync_server(silence_warnings=True)
    try:
        for data in figures:
            figure = go.Figure({k: v for k, v in data[PLOTLY].items() if k in ("data", "layout")})
            figure.update_layout(paper_bgcolor="white")
            image = pio.to_image(figure, format="png", width=WIDE, scale=SCALE)
            data["image/png"] = base64.b64encode(in_few_colours(image)).decode("ascii")
    finally:
        kaleido.stop_sync_server(silence_warnings=True)


def in_few_colours(png: bytes) -> bytes:
    """The picture with a palette of 256 colours: figures look the same in a third of the bytes."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    out = io.BytesIO()
    small.save(out, "PNG", optimize=True)
    return out.getvalue()


def problems(path: str | Path) -> list[str]:
    """What keeps a notebook from being committed; empty if nothing does."""
    notebook = read(path)
    found = []
    if len(tagged(notebook)) != 1:
        found.append(f"{len(tagged(notebook))} cells are tagged {TAG!r}, not 1")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("no kernelspec python3 in its metadata")
    # nbformat mends ids as it reads.
    ids = [c.get("id") for c in json.loads(Path(path).read_text(encoding="utf-8"))["cells"]]
    if None in ids or len(set(ids)) < len(ids):
        found.append("a cell has no id, or two have the same")
    if Path(path).stat().st_size > MOST_BYTES:
        found.append(f"larger than {MOST_BYTES} bytes")
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            found += [f"cell {number}: {what}" for what in _cell_problems(cell)]
    counts = [c.execution_count for c in notebook.cells if c.cell_type == "code" and c.source]
    if counts != list(range(1, len(counts) + 1)):
        found.append("not run from top to bottom: run `make notebooks`")
    return found


def _cell_problems(cell: Any) -> list[str]:
    found = []
    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        return [f"not Python: {error.msg}"]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    if any(isinstance(node, kinds) for node in ast.walk(tree)):
        found.append("defines a function or class; that belongs in the library")
    if len(cell.source.splitlines()) > LONGEST_CELL:
        found.append(f"more than {LONGEST_CELL} lines")
    if any(output.output_type == "error" for output in cell.outputs):
        found.append("holds an error")
    if any(WIDGET in output.get("data", {}) for output in cell.outputs):
        found.append("holds a widget without its state")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run notebooks and write their outputs back; 1 if one of them failed or is not fit."""
    parser = argparse.ArgumentParser(prog="python -m tools.run_notebooks", description=main.__doc__)
    parser.add_argument("names", nargs="*", type=Path, help="notebooks; default: all")
    parser.add_argument("-p", "--parameter", action="append", default=[], help="name=value")
    parser.add_argument("--check", action="store_true", help="look only, run nothing")
    parser.add_argument("--stills", action="store_true", help="draw the PNGs anew, run nothing")
    parser.add_argument("--no-png", action="store_true", help="add no PNG beside Plotly's data")
    parser.add_argument("--timeout", type=int, default=1200, help="seconds a cell may take")
    given = parser.parse_args(arguments)
    failed = 0
    for path in given.names or sorted(FOLDER.glob("*.ipynb")):
        found = _run(path, given)
        failed |= bool(found)
        sys.stdout.write(f"{path}: {'; '.join(found) or 'ok'}\n")
        sys.stdout.flush()
    return int(failed)


def _run(path: Path, given: argparse.Namespace) -> list[str]:
    """What is wrong with one notebook, after running it unless it is only looked at."""
    try:
        values = parse_values(given.parameter)
        if given.stills:
            write(path, make_static(read(path)))
        elif not given.check:
            done = execute(path, values, timeout=given.timeout)
            if values:  # not written back, so not judged
                return []
            write(path, make_static(done, png=not given.no_png))
        return problems(path)
    except AirlensError as error:
        return [str(error)]


if __name__ == "__main__":
    sys.exit(main())
