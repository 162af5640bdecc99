"""The explorers in JupyterLab, clicked in a real browser. One server and one page for all tests."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright")
import browser_pages as bp
import browser_server as bs

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bs.find_chromium() is None, reason="there is no Chromium"),
]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bp.Watched]:
    folder = tmp_path_factory.mktemp("lab")
    bp.write_notebook(folder, bp.small_parameters(folder))
    with bs.jupyterlab(folder) as address, bp.open_page() as seen:
        bp.open_notebook(seen.page, address)
        bp.run_cells(seen.page)
        seen.page.locator(".airlens-grid svg").first.wait_for()
        seen.page.locator(".airlens-table tbody tr").first.wait_for()
        seen.page.wait_for_function(bp.IDLE)
        yield seen


def show(page: bp.Any, selector: str, nth: int = 0) -> bp.Any:
    found = page.locator(selector).nth(nth)
    found.scroll_into_view_if_needed()
    return found


def test_a_click_on_a_head_shows_its_attention(seen: bp.Watched) -> None:
    page = seen.page
    show(page, ".airlens-grid").locator("rect.cell[data-index='6']").click()
    page.locator(".airlens-pattern .gtitle", has_text="L1H2 copies").wait_for()
    show(page, ".airlens-grid").locator("rect.cell[data-index='9']").click()
    page.locator(".airlens-pattern .gtitle", has_text="L2H1 copies").wait_for()


def test_the_keyboard_walks_the_map(seen: bp.Watched) -> None:
    page = seen.page
    page.locator(".airlens-grid svg").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator(".airlens-pattern .gtitle", has_text="L2H2 copies").wait_for()


def test_the_slider_changes_the_set_and_the_ablation_figure(seen: bp.Watched) -> None:
    page = seen.page
    page.locator(".airlens-curve .gtitle").wait_for()
    measured = """() => document.querySelector('.airlens-curve .js-plotly-plot')
        .data.filter(trace => trace.name === 'top').flatMap(trace => [...trace.x])"""
    assert 2 not in page.evaluate(measured)
    show(page, ".widget-hslider .noUi-handle").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"() => ({measured})().includes(2)")
    assert page.locator(".airlens-grid").first.locator("rect.marked").count() == 2


def test_a_step_and_then_a_head_recolour_the_text(seen: bp.Watched) -> None:
    page = seen.page
    text = show(page, ".airlens-text")
    assert text.locator(".side").count() == 3
    text.locator(".side").nth(1).click()
    grid = page.locator(".airlens-grid").nth(1)
    grid.locator("rect.cell").first.wait_for()
    assert page.locator(".airlens-text").first.locator(".step.current").count() == 1
    spans = "[...document.querySelectorAll('.airlens-text [data-i]')]"
    colours = f"() => {spans}.map(span => span.style.background).join()"
    before = page.evaluate(colours)
    grid.locator("rect.cell").nth(1).click()
    text.locator(".key", has_text=re.compile(r"L\dH\d alone")).wait_for()
    assert page.evaluate(colours) != before


def test_hostile_text_stays_text(seen: bp.Watched) -> None:
    page = seen.page
    row = show(page, ".airlens-table tbody tr", 1)
    row.click()
    page.locator(".airlens-text", has_text="onerror").last.wait_for()
    show(page, ".airlens-text", 1)
    # The same trace in the trace explorer, whose prompt and names come from the file too.
    picker = page.locator("select", has_text=re.compile("hostile"))
    picker.first.select_option(index=1)
    page.locator(".airlens-text", has_text="onerror").first.wait_for()
    assert page.evaluate("() => window.pwned === undefined")
    assert page.locator(".jp-OutputArea img[src='x'], .airlens img, .airlens b b").count() == 0
    assert not seen.dialogs


def test_the_texts_are_compared(seen: bp.Watched) -> None:
    page = seen.page
    page.locator(".airlens-next-tokens .gtitle").wait_for()


def test_of_a_long_pasted_trace_only_what_is_seen_is_drawn(seen: bp.Watched) -> None:
    page = seen.page
    show(page, ".jupyter-widget-Accordion-child, .lm-Accordion-child").locator("div").first.click()
    page.get_by_role("textbox", name="response").fill("\n\n".join(f"line {i}." for i in range(250)))
    page.get_by_role("button", name="score this trace").click()
    text = page.locator(".airlens-text").first
    text.locator(".step[data-step='249']").wait_for(state="attached")
    drawn = "() => document.querySelector('.airlens-text').querySelectorAll('[data-i]').length"
    assert 0 < page.evaluate(drawn) < 1500
    text.locator(".step[data-step='249']").scroll_into_view_if_needed()
    text.locator(".step[data-step='249'] [data-i]").first.wait_for()
    assert page.evaluate(drawn) < 1500


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (800, 1000)])
def test_it_fits_the_page(seen: bp.Watched, theme: str, size: tuple[int, int]) -> None:
    page = seen.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    set_theme(page, theme)
    names = [".airlens-grid", ".airlens-curve", ".airlens-text", ".airlens-next-tokens", "canvas"]
    for name in [*names, ".airlens-table"]:
        show(page, name)
        page.wait_for_timeout(250)
        bp.screenshot(page, f"lab-{theme}-{size[0]}-{name.strip('.')}")
        box = page.locator(name).first.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= size[0] + 1


def set_theme(page: bp.Any, theme: str) -> None:
    wanted = f"JupyterLab {theme.capitalize()}"
    change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
    page.evaluate(change, wanted)
    page.wait_for_function(f"() => document.body.dataset.jpThemeName === '{wanted}'")
    page.wait_for_timeout(1500)  # figures are drawn anew


def test_nothing_went_wrong_and_nothing_left_this_machine(seen: bp.Watched) -> None:
    assert seen.errors == []
    assert seen.away == []
