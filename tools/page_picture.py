"""Make the picture of the shared page: ``python -m tools.page_picture``.

Measures a few of the bundled traces with the default model, writes the page, opens it in Chromium
at one step of one trace, and keeps what is seen as ``notebooks/pictures/page.png``.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import airlens as al
from airlens.files import data_path

PICTURE = Path("notebooks/pictures/page.png")
SHOWN = "#trace=1&step=4&source=-3"  # a step that restates a sentence of the prompt
DOMAINS = ("arithmetic", "lookup", "code")
PER_DOMAIN = 2
SIZE = {"width": 1400, "height": 842}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def write_page(path: Path) -> Path:
    """The page of the first bundled traces of each domain, with three draws of random heads."""
    every = al.load_traces(data_path("traces.jsonl"))
    traces = [t for name in DOMAINS for t in [t for t in every if t.domain == name][:PER_DOMAIN]]
    model = al.load_model()
    scores = al.retrieval_scores(model, al.key_value_probes(model.tokenizer))
    heads = scores.top()
    result = al.influence(model, traces, heads, controls=3)
    return al.page(result, al.sources(model, traces, heads, controls=3), traces, scores, path)


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
    """Write the page, or take one that is there, and make its picture."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--page", type=Path, help="a page that is there (default: make one)")
    options.add_argument("--show", default=SHOWN, help="what the page shows: its fragment")
    options.add_argument("--dark", action="store_true")
    options.add_argument("--out", type=Path, default=PICTURE)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = given.page or write_page(Path(folder) / "page.html")
        take_picture(page, given.show, given.out, dark=given.dark)


if __name__ == "__main__":
    main()
