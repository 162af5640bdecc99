"""A notebook of small parameters and a page that notes everything that goes wrong in it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import browser_server as bs
from explore_tiny import HOSTILE, save_tiny

from airlens.views.explorers.notebook_files import read, with_parameters, write

NOTEBOOK = bs.ROOT / "notebooks" / "07_explorers.ipynb"
FOUND = """\
lm = al.load_model(model)
probes = al.key_value_probes(lm.tokenizer, n=2, max_tokens=1400)
scores = al.retrieval_scores(lm, probes, progress=False)
"""  # what the workspace has found by then, where it is in the notebook
PATIENCE = 150_000  # milliseconds, on a machine with other work
# What a browser says of itself, or a server of files that it may do without.
HARMLESS = ("favicon", "AudioContext", "source map", "Failed to load resource")

# In a page of views: from an event to the next frame, in milliseconds.
CLICK_STEP = """async (step) => {
    const begun = performance.now();
    document.querySelector(`#text .step[data-step='${step}'] .side`).click();
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - begun;
}"""
# A turn of the wheel in the middle of the map of a page, until it is drawn anew; which way.
ZOOM_MAP = """async (way) => {
    const holder = document.querySelector("#matrix .holder"), box = holder.getBoundingClientRect();
    const begun = performance.now();
    const middle = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 };
    const turn = { bubbles: true, cancelable: true, deltaY: -200 * way, ...middle };
    holder.dispatchEvent(new WheelEvent("wheel", turn));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - begun;
}"""
# Of a shared page: from the start of loading to the first frame with its text, in milliseconds.
FIRST_VIEW = """async () => {
    const shown = () => document.documentElement.dataset.shown;
    while (!shown()) await new Promise((done) => requestAnimationFrame(done));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now();
}"""
STEP_IN_VIEW = """() => {
    const [row, scroll] = ["#text .step.current", "#text .scroll"]
        .map((one) => document.querySelector(one).getBoundingClientRect());
    return row.top < scroll.bottom && row.bottom > scroll.top;
}"""
STEP_IS_DRAWN = "step => document.querySelector(`.step[data-step='${step}'] [data-i]`)"
# Each token of a step that is drawn; the mean.
POINT_AT_TOKENS = """async (step) => {
    const spans = [...document.querySelectorAll(`#text .step[data-step='${step}'] [data-i]`)];
    const begun = performance.now();
    for (const span of spans) {
        span.dispatchEvent(new MouseEvent('mouseover', { bubbles: true }));
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    }
    return (performance.now() - begun) / spans.length;
}"""


def small_parameters(folder: Path) -> dict[str, Any]:
    """Of the explorers' notebook: a tiny model and two traces, one of them hostile."""
    traces = folder / "traces.jsonl"
    plain = "First 2 + 2 = 4.\nThen 4 + 3 = 7.\nThe answer is 7."
    records = [
        {"id": i, "domain": i, "prompt": "Add.", "response": text}
        for i, text in (("plain", plain), ("hostile", HOSTILE))
    ]
    traces.write_text("".join(json.dumps(record) + "\n" for record in records))
    small = {"n_traces": 2, "top": 0.25, "new_tokens": 4}
    return {"model": str(save_tiny(folder / "tiny")), "traces_from": str(traces), **small}


def write_notebook(folder: Path, values: Mapping[str, Any]) -> Path:
    """The explorers' notebook with these parameters, not yet run; each explorer alone."""
    notebook = with_parameters(read(NOTEBOOK), values)
    notebook.cells = [cell for cell in notebook.cells if not cell.id.startswith("workspace")]
    for cell in notebook.cells:
        if cell.id == "load-heads":
            cell.source = FOUND + cell.source.partition("\n")[2]
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    write(folder / "explorers.ipynb", notebook)
    return folder / "explorers.ipynb"


@dataclass
class Watched:
    """A page, what its console said, and where it wanted to go."""

    page: Any
    errors: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


def _local(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme in ("data", "blob", "about") or parts.hostname in ("127.0.0.1", "localhost")


@contextlib.contextmanager
def open_page(width: int = 1280, height: int = 800) -> Iterator[Watched]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=bs.find_chromium(), args=bs.ARGUMENTS)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(PATIENCE)
        seen = Watched(page)

        def route(found: Any) -> None:
            if _local(found.request.url):
                found.continue_()
            else:
                seen.away.append(found.request.url)
                found.abort()

        def console(message: Any) -> None:
            text = f"{message.text} {message.location.get('url', '')}"
            if message.type == "error" and not any(word in text for word in HARMLESS):
                seen.errors.append(text)

        def dialog(found: Any) -> None:
            seen.dialogs.append(found.message)
            found.dismiss()

        page.route("**/*", route)
        page.on("console", console)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("dialog", dialog)
        try:
            yield seen
        finally:
            browser.close()


def cell_place(matrix: Any, row: int, col: int) -> tuple[float, float]:
    """Where the middle of a cell of a map of sources is on the screen; it must be in its window."""
    matrix.page.wait_for_function("node => node.dataset.window", arg=matrix.element_handle())
    matrix.locator("svg").scroll_into_view_if_needed()
    window = str(matrix.get_attribute("data-window"))
    r0, r1, c0, c1 = map(float, window.split())
    box = matrix.locator("canvas").bounding_box()
    assert r0 <= row + 0.5 <= r1 and c0 <= col + 0.5 <= c1, (row, col, window)
    x = box["x"] + box["width"] * (col + 0.5 - c0) / (c1 - c0)
    return x, box["y"] + box["height"] * (row + 0.5 - r0) / (r1 - r0)


def click_cell(matrix: Any, row: int, col: int) -> None:
    """Click a cell of a map of sources."""
    matrix.page.mouse.click(*cell_place(matrix, row, col))


IDLE = """() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]
    .every(prompt => /\\[\\d+\\]:/.test(prompt.textContent))"""
"""Whether every cell has run."""


def open_notebook(page: Any, address: str, name: str = "explorers.ipynb") -> None:
    """Open a notebook in JupyterLab and wait for its kernel."""
    page.goto(f"{address}/lab/tree/{name}")
    # Cells that are run before the kernel is ready are dropped.
    page.get_by_text("| Idle").wait_for()


def run_cells(page: Any) -> None:
    """Run all cells of the notebook that is open."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


SETTLED = """() => new Promise(done => {
    let last = '', same = 0;
    const look = () => {
        const parts = [...document.querySelectorAll('.airlens-figure .main-svg, .airlens canvas')];
        const now = parts.map(part => Object.values(part.getBoundingClientRect().toJSON())).join();
        const figures = [...document.querySelectorAll('.airlens-figure')];
        const drawn = figures.every(figure => figure.querySelector('.main-svg'));
        same = drawn && now === last ? same + 1 : 0;
        last = now;
        same < 15 ? requestAnimationFrame(look) : done(true);
    };
    look();
})"""
"""Waits until every figure is there and has kept its place and size for 15 frames."""


def resize(page: Any, width: int, height: int) -> None:
    """Give the page another size, and wait until its figures have taken it."""
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate(SETTLED)


def set_theme(page: Any, theme: str) -> None:
    """Change JupyterLab's theme (``light``, ``dark``), and wait until the page is drawn anew."""
    wanted = f"JupyterLab {theme.capitalize()}"
    if page.evaluate("() => document.body.dataset.jpThemeName") == wanted:
        return
    change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
    page.evaluate(change, wanted)
    page.wait_for_function(f"() => document.body.dataset.jpThemeName === '{wanted}'")
    page.evaluate(SETTLED)


def screenshot(page: Any, name: str) -> None:
    """Keep a picture where ``AIRLENS_SCREENSHOTS`` names a folder."""
    folder = os.environ.get("AIRLENS_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))
