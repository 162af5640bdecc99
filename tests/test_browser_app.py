"""The workspace served as an app without code, in a real browser; no request elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

pytest.importorskip("playwright")
pytest.importorskip("voila")
import browser_pages as bp
import browser_server as bs
from accessible import violations
from colour_vision import drawn_columns
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bs.find_chromium() is None, reason="there is no Chromium"),
]
TABS = ("Heads", "Without", "Select", "A and B", "Trace")
SIZES = ((360, 800), (800, 1000), (1280, 900), (1920, 1080))
WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Of the two texts that are seen, whether both have their colours, on one scale.
SAME_SCALE = """() => {
    const texts = [...document.querySelectorAll('.airlens-text')].filter(x => x.checkVisibility());
    const [a, b] = texts.map(x => x.querySelector('.scale').textContent.split('margin')[0]);
    return texts.length === 2 && a && a === b;
}"""
# Text that does not fit its button, label or choice, and controls that stand over each other.
CUT = """() => {
    const seen = (node) => node.checkVisibility() && node.getBoundingClientRect().width > 0;
    const cut = [...document.querySelectorAll('button, .widget-label, .airlens-headline')]
        .filter(node => seen(node) && !node.closest('.scroll, .airlens-cancel')
            && node.scrollWidth > node.clientWidth + 1);
    const controls = [...document.querySelectorAll(
        '.airlens-row > .widget-inline-hbox, .airlens-row > button')].filter(seen);
    const over = controls.filter((a, i) => controls.slice(i + 1).some(b => {
        const [p, q] = [a.getBoundingClientRect(), b.getBoundingClientRect()];
        return Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1
            && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 1;
    }));
    return [...cut, ...over].map(node => node.outerHTML.slice(0, 120));
}"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bp.Watched]:
    folder = tmp_path_factory.mktemp("app")
    given = bp.small_parameters(folder)
    with bs.app(folder, given | {"beside": given["model"]}) as address, bp.open_page() as seen:
        expect.set_options(timeout=bp.PATIENCE)
        seen.page.goto(address)
        shown(seen.page)
        yield seen


def shown(page: Any, step: int = 2) -> None:
    """Wait until the trace has its colours and its sources."""
    page.locator(f".airlens-text .step[data-step='{step}']").first.wait_for()
    page.locator(".airlens-text .links:not([hidden])").first.wait_for(state="attached")


def said(page: Any) -> dict[str, str]:
    """What the address says."""
    return dict(parse_qsl(urlsplit(page.url).fragment))


def wait_for_address(page: Any, *words: str) -> None:
    page.wait_for_function("words => words.every(x => location.hash.includes(x))", arg=list(words))


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
    page.wait_for_function(SAME_SCALE)
    texts.first.locator(".step[data-step='0'] .side").click()
    expect(texts.nth(1).locator(".step.current")).to_have_attribute("data-step", "0")


def test_another_model_is_pinned_beside_this_one(seen: bp.Watched) -> None:
    page = seen.page
    tab(page, "A and B")
    page.get_by_role("combobox", name="model A").select_option(index=1)
    expect(page.get_by_text("in the same tokens as B")).to_be_visible()
    wait_for_address(page, "beside=")
    page.get_by_role("combobox", name="model A").select_option(index=0)
    expect(page.get_by_text("in the same tokens as B")).not_to_be_visible()


def test_the_address_is_the_state_and_back_works(seen: bp.Watched) -> None:
    page = seen.page
    tab(page, "Trace")
    text = page.locator(".airlens-text:visible").first
    picker = page.get_by_role("combobox", name="trace", exact=True)
    picker.select_option(index=0)
    shown(page)
    text.locator(".step[data-step='1'] .side").click()
    wait_for_address(page, "trace=plain", "step=1")
    text.locator(".step[data-step='0'] .side").click()
    wait_for_address(page, "step=0")
    page.get_by_role("combobox", name="colour").select_option(label="AIS of the step")
    wait_for_address(page, "step=0", "colour=ais")
    tab(page, "Without")
    wait_for_address(page, "tab=3")
    page.go_back()
    expect(page.get_by_role("tab", name="Trace")).to_have_attribute("aria-selected", "true")
    page.go_back()
    page.go_back()  # at once
    current = text.locator(".step.current")
    expect(current).to_have_attribute("data-step", "1")
    colour = page.get_by_role("combobox", name="colour")
    expect(colour).not_to_have_value("AIS of the step")
    page.go_forward()
    expect(current).to_have_attribute("data-step", "0")
    # The next key of a walk takes the place of the one before.
    before = page.evaluate("history.length")
    text.locator(".scroll").press("j")
    wait_for_address(page, "step=1")
    text.locator(".scroll").press("j")
    wait_for_address(page, "step=2")
    assert page.evaluate("history.length") <= before


@pytest.mark.parametrize("forced", ["none", "active"])
def test_it_fits_the_page(seen: bp.Watched, forced: str) -> None:
    fits(seen.page, f"light-{forced}", forced)


def fits(page: Any, look: str, forced: str = "none") -> None:
    """Every tab at every size: nothing is wider than the page, nothing is cut."""
    page.emulate_media(forced_colors=forced)
    for name in TABS:
        tab(page, name)
        if name == "Heads":
            page.locator(".airlens-pattern .airlens-headline").wait_for()
        if name == "Select":
            page.locator(".airlens-scatter canvas").first.wait_for()
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_function(f"() => ({WIDE})() <= 1")
            page.wait_for_function(f"() => ({CUT})().length === 0")
            bp.screenshot(page, f"app-{look}-{name.replace(' ', '-')}-{width}")
    low = page.locator(".airlens-text .scroll:visible").all()
    assert all((each.bounding_box() or {"height": 0})["height"] > 20 for each in low)
    page.emulate_media(forced_colors="none")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_tracks_of_sliders_are_seen_in_forced_colours(seen: bp.Watched) -> None:
    page = seen.page
    tab(page, "Trace")
    sliders = page.locator(".noUi-target:visible")
    sliders.first.wait_for()
    assert sliders.count() == 2
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, forced_colors="active")
        for slider in sliders.all():
            slider.scroll_into_view_if_needed()
            box = slider.bounding_box()
            assert (
                drawn_columns(page.screenshot(clip={**box, "y": box["y"] - 2, "height": 8})) > 0.9
            )
    page.emulate_media(color_scheme="light", forced_colors="none")


def test_axe_finds_nothing_in_any_tab(seen: bp.Watched) -> None:
    for name in TABS:
        tab(seen.page, name)
        assert violations(seen.page) == [], name


def test_a_page_that_is_loaded_again_has_its_state(seen: bp.Watched) -> None:
    page = seen.page
    tab(page, "A and B")
    wait_for_address(page, "tab=1")
    page.reload()
    expect(page.get_by_role("textbox", name="heads A")).not_to_have_value("")
    expect(page.get_by_text("B, L0H0")).to_be_visible()
    tab(page, "Trace")
    picker = page.get_by_role("combobox", name="trace", exact=True)
    expect(picker.locator("option")).to_have_count(3)
    picker.select_option(index=2)
    expect(page.locator(".airlens-text .step.prompt").first).to_contain_text("Count <b>to</b> ten")


def test_a_link_to_ones_own_trace_opens_there_for_somebody_else(seen: bp.Watched) -> None:
    page = seen.page
    shown(page, 0)
    page.locator(".airlens-text:visible .step[data-step='0'] .side").first.click()
    wait_for_address(page, "trace=question", "step=0", "text=")
    page.get_by_role("button", name="copy link").click()
    link = page.get_by_role("textbox", name="what was copied").input_value()
    assert link == page.url
    with page.expect_download() as download:
        page.get_by_role("button", name="save as a page").click()
    assert download.value.suggested_filename == "airlens-question-1.html"
    # Somebody else's browser, which keeps nothing of this one; and a dark page.
    with page.context.browser.new_context() as stranger:
        there = stranger.new_page()
        there.set_default_timeout(bp.PATIENCE)
        there.goto(link.replace("#", "?theme=dark#"))
        shown(there, 0)
        expect(there.locator(".airlens-text .step.current").first).to_have_attribute(
            "data-step", "0"
        )
        expect(there.locator(".airlens-text .step.prompt").first).to_contain_text(
            "Count <b>to</b> ten"
        )
        assert said(there) == said(page)
        assert there.evaluate("document.body.dataset.jpThemeName") == "JupyterLab Dark"
        fits(there, "dark")
        there.set_viewport_size({"width": 360, "height": 740})
        assert violations(there) == []


def test_nothing_went_wrong_and_nothing_left_this_machine(seen: bp.Watched) -> None:
    assert seen.page.evaluate("() => window.pwned === undefined")
    assert not seen.dialogs
    assert seen.errors == []
    assert seen.away == []
