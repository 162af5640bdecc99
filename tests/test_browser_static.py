"""A notebook whose kernel is gone shows the static form of its live views, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
import browser_pages as bp
import browser_server as bs
import nbformat
from explore_tiny import HOSTILE, save_tiny
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bs.find_chromium() is None, reason="there is no Chromium"),
]
# Not waited for: the dialog that it opens is answered by a click.
RESTART = "() => { window.jupyterapp.commands.execute('kernelmenu:restart'); }"
# The outputs that a reader sees, not those hidden while a view lives.
FORMS = ".jp-OutputArea .airlens-static"
SAVE = "() => window.jupyterapp.shell.currentWidget.context.save()"


VIEWS = [
    f"trace = al.Trace({HOSTILE!r}, 'Add.', {HOSTILE!r}).with_steps('line')\n"
    "al.TraceExplorer(lm, trace, 'L0H1, L1H2')",
    f"al.AblationLab(lm, 'L0H1, L1H2', {HOSTILE!r}, new_tokens=4)",
    "'done'",  # waits until the jobs of both have ended
]
SLOW = [
    "lab = al.AblationLab(lm, 'L0H1', 'Add.', new_tokens=2)\nlab",
    "import time, torch\n"
    "def work():\n"
    "    for _ in range(6000):\n"
    "        time.sleep(0.05), torch.zeros(1)\n"
    "lab.worker.start(work, print, what='slow work')",
    "'the cell has run'",
]


def write_notebook(folder: Path, cells: list[str]) -> Path:
    """A notebook of live views of a tiny model."""
    tiny = str(save_tiny(folder / "tiny"))
    cells = [f"import airlens as al\nlm = al.load_model({tiny!r})", *cells]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    path = folder / "views.ipynb"
    nbformat.write(book, path)
    return path


@contextmanager
def running(folder: Path, cells: list[str]) -> Iterator[tuple[Any, Path]]:
    """What is seen of such a notebook once all cells were told to run, and its file."""
    path = write_notebook(folder, cells)
    with bs.jupyterlab(folder) as address, bp.open_page() as seen:
        expect.set_options(timeout=bp.PATIENCE)
        bp.open_notebook(seen.page, address, path.name)
        bp.run_cells(seen.page)
        yield seen, path


def saved_html(path: Path) -> list[str]:
    """The HTML in the notebook's file."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    data = [output.get("data", {}) for cell in cells for output in cell["outputs"]]
    return ["".join(each["text/html"]) for each in data if "text/html" in each]


def test_a_notebook_without_its_kernel_shows_the_static_forms(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("static")  # the kernel's sockets need a short path
    with running(folder, VIEWS) as (seen, path):
        page = seen.page
        page.wait_for_function(bp.IDLE)
        live = page.locator(".airlens-live")
        expect(live).to_have_count(2)
        forms = page.locator(FORMS)
        expect(forms).to_have_count(2)
        expect(forms.first).to_be_hidden()
        expect(page.get_by_role("button", name="write on")).to_be_visible()
        expect(forms.first.locator(".step")).to_have_count(1)
        page.evaluate(SAVE)
        assert len(saved_html(path)) == 2

        # The kernel is started anew, the page stays: the dead controls give way.
        page.evaluate(RESTART)
        page.get_by_role("button", name="Confirm Kernel Restart").click()
        expect(forms.first).to_be_visible()
        expect(live.first).to_be_hidden()

        # The notebook is opened again.
        page.reload()
        page.get_by_text("| Idle").wait_for()
        expect(forms).to_have_count(2)
        for form, words in zip(forms.all(), ("TraceExplorer", "AblationLab"), strict=True):
            expect(form).to_be_visible()
            expect(form.locator(".again")).to_contain_text(words)
            expect(form.locator(".again")).to_contain_text("to this one")
            expect(form).to_contain_text("onerror")
        broken = page.get_by_text("model not found")
        expect(broken).to_have_count(2)
        expect(broken.first).to_be_hidden()
        for theme in ("light", "dark"):
            bp.set_theme(page, theme)
            bp.screenshot(page, f"static-{theme}")
        assert page.evaluate("() => window.pwned === undefined")
        assert page.locator(".jp-OutputArea img[src='x']").count() == 0

        # And lives again.
        bp.run_cells(page)
        expect(live).to_have_count(2)
        expect(forms.first).to_be_hidden()
    assert seen.away == []


def test_e6_a_job_is_cancelled_while_a_cell_waits_for_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running(tmp_path_factory.mktemp("slow"), SLOW) as (seen, _):
        page = seen.page
        # How long it takes already; what is not known yet has no bar to stall.
        line = page.get_by_text(re.compile("slow work, [1-9]"))
        expect(line).to_be_visible()
        assert page.locator(".airlens-live [role=progressbar]:visible").count() == 0
        page.get_by_role("button", name="cancel").click()
        expect(page.get_by_text("cancelled")).to_be_visible()
        expect(page.locator(".jp-OutputArea", has_text="the cell has run")).to_be_visible()
        expect(line).to_be_hidden()
