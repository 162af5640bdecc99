"""A notebook whose kernel is gone shows the static form of its live views, in a real browser."""

from __future__ import annotations

import json
from pathlib import Path

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


def write_notebook(folder: Path) -> Path:
    """A notebook of two live views of a tiny model and a hostile trace."""
    cells = [
        "import airlens as al\n"
        f"lm = al.load_model({str(save_tiny(folder / 'tiny'))!r})\n"
        f"trace = al.Trace({HOSTILE!r}, 'Add.', {HOSTILE!r}).with_steps('line')",
        "al.TraceExplorer(lm, trace, 'L0H1, L1H2')",
        f"al.AblationLab(lm, 'L0H1, L1H2', {HOSTILE!r}, new_tokens=4)",
        "'done'",  # waits until the jobs of both have ended
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    path = folder / "views.ipynb"
    nbformat.write(book, path)
    return path


def saved_html(path: Path) -> list[str]:
    """The HTML in the notebook's file."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    data = [output.get("data", {}) for cell in cells for output in cell["outputs"]]
    return ["".join(each["text/html"]) for each in data if "text/html" in each]


def test_a_notebook_without_its_kernel_shows_the_static_forms(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("static")  # the kernel's sockets need a short path
    path = write_notebook(folder)
    with bs.jupyterlab(folder) as address, bp.open_page() as seen:
        page = seen.page
        expect.set_options(timeout=bp.PATIENCE)
        bp.open_notebook(page, address, path.name)
        bp.run_cells(page)
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
