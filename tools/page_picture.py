"""Make the picture of the page that ``make demo`` writes: ``python -m tools.page_picture``.

Runs the demo, which takes minutes, or takes its page where it is named (``--page
reports/page.html``), opens it in Chromium where it opens for anybody, at its first stop, and keeps
what is seen as ``notebooks/pictures/page.png``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from airlens.views.reports.demo_results import DemoSize

PICTURE = Path("notebooks/pictures/page.png")
SIZE = {"width": 1400, "height": 900}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def demo_page(folder: Path) -> Path:
    """The demo's own page: of the traces that are on it, and no more."""
    page, traces = folder / "page.html", str(DemoSize.shown_per_domain)
    command = ["demo", "--out", str(folder / "demo.html"), "--page", str(page), "--traces", traces]
    subprocess.run([sys.executable, "-m", "airlens", *command, "--quiet"], check=True)
    return page


def take_picture(page: Path, fragment: str, picture: Path, *, dark: bool = False) -> Path:
    """What a browser shows of the page at that fragment."""
    from playwright.sync_api import sync_playwright

    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        seen = browser.new_page(viewport=SIZE, color_scheme="dark" if dark else "light")  # type: ignore[arg-type]
        seen.goto(page.resolve().as_uri() + fragment)
        seen.locator("html[data-shown]").wait_for(state="attached")
        seen.wait_for_timeout(500)
        seen.screenshot(path=str(picture))
        browser.close()
    return picture


def main() -> None:
    """Make the picture of the demo's page, or of one that is there."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--page", type=Path, help="a page that is there (default: run the demo)")
    options.add_argument("--show", default="", help="what the page shows: its fragment")
    options.add_argument("--dark", action="store_true")
    options.add_argument("--out", type=Path, default=PICTURE)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = given.page or demo_page(Path(folder))
        take_picture(page, given.show, given.out, dark=given.dark)


if __name__ == "__main__":
    main()
