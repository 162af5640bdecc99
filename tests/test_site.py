"""The documentation as it was built (`make docs`): axe-core finds nothing, in light and in dark."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")
import browser_pages as bp
import browser_server as bs
from accessible import violations

SITE = bs.ROOT / "docs" / "_build" / "html"
# One of each kind of page.
PAGES = (
    *("index", "method", "claims", "cli", "howto/workspace", "gallery/index", "gallery/traces"),
    *("notebooks/00_quickstart", "api/step_influence", "api/detectors"),
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bs.find_chromium() is None, reason="there is no Chromium"),
    pytest.mark.skipif(not SITE.is_dir(), reason="the documentation is not built: make docs"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_documentation(scheme: str) -> None:
    with bp.open_page() as seen:
        seen.page.route("file://**", lambda route: route.continue_())
        seen.page.emulate_media(color_scheme=scheme)
        for name in PAGES:
            seen.page.goto((SITE / f"{name}.html").as_uri())
            seen.page.locator("main, article").first.wait_for()
            assert violations(seen.page) == [], name
