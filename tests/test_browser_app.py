"""The workspace served as an app without code, in a real browser; no request elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("playwright")
pytest.importorskip("voila")
import browser_pages as bp
import browser_server as bs
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bs.find_chromium() is None, reason="there is no Chromium"),
]
SIZES = ((360, 800), (800, 1000), (1280, 900))
WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bp.Watched]:
    folder = tmp_path_factory.mktemp("app")
    with bs.app(folder, bp.small_parameters(folder)) as address, bp.open_page() as seen:
        expect.set_options(timeout=bp.PATIENCE)
        seen.page.goto(address)
        seen.page.locator(".airlens-text .step[data-step='2']").first.wait_for()
        yield seen


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def test_the_first_view_is_a_trace_in_colour(seen: bp.Watched) -> None:
    page = seen.page
    expect(page.get_by_text("Workspace", exact=True)).to_be_visible()
    assert page.get_by_text("import airlens").count() == 0
    page.locator(".airlens-text .step[data-step='1'] .side").first.click()
    # What is open in the tab: sources, then the heads of the step.
    page.locator(".airlens-matrix canvas").first.wait_for()
    page.locator(".airlens-grid rect.cell").first.wait_for()


def test_a_question_is_answered_token_by_token_and_cancelled(seen: bp.Watched) -> None:
    page = seen.page
    page.get_by_role("textbox", name="question").fill("Count <b>to</b> ten")
    page.get_by_role("spinbutton", name="tokens").fill("3500")
    page.get_by_role("button", name="let it write").click()
    written = page.locator(".airlens-written")
    expect(written).not_to_be_empty()
    before = len(written.text_content() or "")
    page.wait_for_function(
        "n => document.querySelector('.airlens-written').textContent.length > n", arg=before
    )
    page.get_by_role("button", name="cancel").first.click()
    expect(page.get_by_text("cancelled").first).to_be_visible()
    page.get_by_role("button", name="take what is written").click()
    expect(page.locator(".airlens-text .step.prompt").first).to_contain_text("Count <b>to</b> ten")
    assert page.locator(".airlens-text b b").count() == 0
    page.locator(".airlens-text .step[data-step='0'] [data-i]").first.wait_for()


def test_pinned_heads_stay_beside_others(seen: bp.Watched) -> None:
    page = seen.page
    tab(page, "A and B")
    page.get_by_role("button", name="pin the heads of B").click()
    pinned = page.get_by_role("textbox", name="heads A")
    expect(pinned).not_to_have_value("")
    kept = pinned.input_value()
    tab(page, "Trace")
    names = page.get_by_role("textbox", name="heads", exact=True).first
    names.fill("L0H0")
    names.press("Enter")
    tab(page, "A and B")
    expect(page.locator(".airlens-table tbody tr").first).to_be_visible()
    expect(pinned).to_have_value(kept)
    expect(page.get_by_text("B, L0H0")).to_be_visible()
    # The trace explorer's text, the pinned one, and the same again beside it.
    texts = page.locator(".airlens-text:visible")
    expect(texts).to_have_count(2)
    scales = texts.locator(".scale").all_text_contents()
    assert scales[0].split("margin")[0] == scales[1].split("margin")[0]
    texts.first.locator(".step[data-step='0'] .side").click()
    expect(texts.nth(1).locator(".step.current")).to_have_attribute("data-step", "0")


def test_it_fits_the_page(seen: bp.Watched) -> None:
    page = seen.page
    for name in ("Heads", "Without", "Select", "A and B", "Trace"):
        tab(page, name)
        if name == "Heads":
            page.locator(".airlens-pattern .airlens-headline").wait_for()
        if name == "Select":
            page.locator(".airlens-scatter canvas").first.wait_for()
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_function(f"() => ({WIDE})() <= 1")
            bp.screenshot(page, f"app-{name.replace(' ', '-')}-{width}")
    low = page.locator(".airlens-text .scroll:visible").all()
    assert all((each.bounding_box() or {"height": 0})["height"] > 20 for each in low)


def test_a_page_that_is_loaded_again_has_its_state(seen: bp.Watched) -> None:
    page = seen.page
    tab(page, "A and B")
    page.wait_for_function(
        "() => JSON.parse(Object.values(sessionStorage).find(x => x.includes('heads')) ?? '{}')"
        ".tab === 1"
    )
    page.reload()
    expect(page.get_by_role("textbox", name="heads A")).not_to_have_value("")
    expect(page.get_by_text("B, L0H0")).to_be_visible()
    tab(page, "Trace")
    expect(page.locator(".airlens-text .step.prompt").first).to_contain_text("Count <b>to</b> ten")


def test_nothing_went_wrong_and_nothing_left_this_machine(seen: bp.Watched) -> None:
    assert seen.page.evaluate("() => window.pwned === undefined")
    assert not seen.dialogs
    assert seen.errors == []
    assert seen.away == []
