"""The explorers served as an app without code: first page, a click, no request elsewhere."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright")
import browser_pages as bp
import browser_server as bs

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bs.find_chromium() is None, reason="there is no Chromium"),
]


def test_the_app_shows_the_explorers_and_answers_a_click(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    pytest.importorskip("voila")
    folder = tmp_path_factory.mktemp("app")
    with bs.app(folder, bp.small_parameters(folder)) as address, bp.open_page() as seen:
        page = seen.page
        page.goto(address)
        page.locator(".airlens-grid svg").first.wait_for()
        page.locator(".airlens-pattern .airlens-headline").wait_for()
        for width, height in ((800, 1000), (1280, 800)):
            bp.resize(page, width, height)
            bp.screenshot(page, f"app-light-{width}")
        assert page.get_by_text("import airlens").count() == 0
        page.locator(".airlens-grid").first.locator("rect.cell[data-index='6']").click()
        page.locator(".airlens-pattern .airlens-headline", has_text="L1H2 copies").wait_for()
        page.locator(".airlens-text .step[data-step='1'] .side").first.click()
        page.locator(".airlens-grid").nth(2).locator("rect.cell").first.wait_for()
        page.locator(".airlens-table tbody tr").nth(1).wait_for()
        assert page.evaluate("() => window.pwned === undefined")
        assert seen.errors == []
        assert seen.away == []
