"""axe-core on what people open: no violation, in light and in dark, wide and narrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")
import browser_server as bs
from accessible import violations
from page_data import long_results, made_up_answers, made_up_subsets
from test_browser_page import opened, written
from test_corpus_report import folder

import airlens as al
from airlens.views.reports.corpus_page import corpus_report

__all__ = ["folder", "written"]  # fixtures
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bs.find_chromium() is None, reason="there is no Chromium"),
]
SIZES = [(1280, 800, "light"), (360, 740, "dark")]


@pytest.mark.parametrize(("width", "height", "scheme"), SIZES)
def test_the_shared_page(written: Path, width: int, height: int, scheme: str) -> None:
    with opened(written, width, height, scheme) as seen:
        seen.open()
        assert violations(seen.page) == []


@pytest.mark.parametrize(("width", "height", "scheme"), SIZES)
def test_a_page_with_answers_fewer_heads_and_a_tour(
    tmp_path: Path, width: int, height: int, scheme: str
) -> None:
    made = long_results(2, 30)
    result = made["result"]
    heads = result.provenance["heads"]
    more = {
        "early": made_up_answers(result.steps, heads),
        "subsets": made_up_subsets(result, heads),
    }
    path = al.page(path=tmp_path / "page.html", story="auto", **more, **made)
    with opened(path, width, height, scheme) as seen:
        seen.open("#trace=1&step=20&without=top+2")
        assert violations(seen.page) == []
        seen.check()


@pytest.mark.parametrize(("width", "height", "scheme"), SIZES)
def test_the_report_of_a_corpus_run(
    folder: Any, llama: Any, tmp_path: Path, width: int, height: int, scheme: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text(corpus_report(folder, top=0.2, model=llama).html(), encoding="utf-8")
    with opened(path, width, height, scheme) as seen:
        seen.page.goto(path.as_uri())
        seen.page.locator("main, body").first.wait_for()
        assert violations(seen.page) == []
