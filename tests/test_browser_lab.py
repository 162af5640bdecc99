"""The explorers in JupyterLab, clicked in a real browser. One server and one page for all tests."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright")
import browser_pages as bp
import browser_server as bs
from accessible import violations
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bs.find_chromium() is None, reason="there is no Chromium"),
]

# What each explorer shows when it is done: a map, a text, what was written, points.
CONTENT = (
    *(".airlens-grid rect.cell", ".airlens-text [data-i]"),
    *(".airlens-tokens .text span", ".airlens-scatter canvas"),
)


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
        expect.set_options(timeout=bp.PATIENCE)
        yield seen


def show(page: bp.Any, selector: str, nth: int = 0) -> bp.Any:
    found = page.locator(selector).nth(nth)
    found.scroll_into_view_if_needed()
    return found


def test_a_click_on_a_head_shows_its_attention(seen: bp.Watched) -> None:
    page = seen.page
    show(page, ".airlens-grid").locator("rect.cell[data-index='6']").click()
    page.locator(".airlens-pattern .airlens-headline", has_text="L1H2 copies").wait_for()
    show(page, ".airlens-grid").locator("rect.cell[data-index='9']").click()
    page.locator(".airlens-pattern .airlens-headline", has_text="L2H1 copies").wait_for()


def test_the_keyboard_walks_the_map(seen: bp.Watched) -> None:
    page = seen.page
    show(page, ".airlens-grid").locator("rect.cell[data-index='5']").click()
    page.locator(".airlens-pattern .airlens-headline", has_text="L1H1 copies").wait_for()
    page.locator(".airlens-grid svg").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.locator(".airlens-pattern .airlens-headline", has_text="L2H2 copies").wait_for()


def test_the_slider_changes_the_set_and_the_ablation_figure(seen: bp.Watched) -> None:
    page = seen.page
    page.locator(".airlens-curve .airlens-headline").wait_for()
    measured = """() => document.querySelector('.airlens-curve .js-plotly-plot')
        .data.filter(trace => trace.name === 'top').flatMap(trace => [...trace.x])"""
    assert 2 not in page.evaluate(measured)
    show(page, ".widget-hslider .noUi-handle").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"() => ({measured})().includes(2)")
    expect(page.locator(".airlens-grid").first.locator("rect.marked")).to_have_count(2)


def test_small_patterns_of_all_heads_are_pointed_at_and_picked(seen: bp.Watched) -> None:
    page = seen.page
    button = page.get_by_role("button", name="all 12 patterns")
    button.scroll_into_view_if_needed()
    button.click()
    tiles = page.locator(".airlens-grid.tiled")
    tiles.locator("img.cells").wait_for()
    tiles.scroll_into_view_if_needed()
    expect(tiles.locator("rect.cell")).to_have_count(12)
    larger, readout = tiles.locator(".larger"), tiles.locator(".readout")
    tiles.locator("rect.cell[data-index='7']").hover()  # head 2 of layer 1: layers go across
    expect(readout).to_contain_text("L1H2")
    expect(readout).to_contain_text("goes to the first token")
    place = "node => getComputedStyle(node).backgroundPosition"
    assert larger.evaluate(place) == f"50% {200 / 3:.4f}%"
    tiles.locator("rect.cell[data-index='7']").click()
    page.locator(".airlens-pattern .airlens-headline", has_text="L1H2 copies").wait_for()
    expect(tiles.locator("rect.now")).to_have_count(1)
    tiles.locator("svg").focus()
    page.keyboard.press("ArrowRight")
    expect(readout).to_contain_text("L2H2")
    page.keyboard.press("Enter")
    page.locator(".airlens-pattern .airlens-headline", has_text="L2H2 copies").wait_for()
    name = tiles.locator("svg").get_attribute("aria-label") or ""
    assert name.startswith("Attention of every head over") and "Arrow keys move" in name
    assert violations(page, ".airlens-grid.tiled") == []
    button.click()
    expect(tiles).to_have_count(0)


def test_a_step_and_then_a_head_recolour_the_text(seen: bp.Watched) -> None:
    page = seen.page
    text = show(page, ".airlens-text")
    side = text.locator(".step:not(.prompt) .side")
    expect(side).to_have_count(3)
    expect(text.locator(".step.prompt")).to_have_text("prompt 1Add.")
    # A step's last newline is marked, and opens no line of its own.
    first = text.locator(".step:not(.prompt) .text").first
    expect(first).to_have_text("First 2 + 2 = 4.\u23ce")
    assert first.evaluate("text => text.textContent.includes('\\n')") is False
    side.nth(1).click()
    grid = page.locator(".airlens-grid").nth(1)
    grid.locator("rect.cell").first.wait_for()
    expect(text.locator(".step.current")).to_have_count(1)
    spans = "[...document.querySelectorAll('.airlens-text [data-i]')]"
    colours = f"() => {spans}.map(span => span.style.background).join()"
    before = page.evaluate(colours)
    grid.locator("rect.cell").nth(1).click()
    text.locator(".key", has_text=re.compile(r"L\dH\d alone")).wait_for()
    assert page.evaluate(colours) != before


def test_a_step_shows_its_sources_and_keys_stay_in_the_text(seen: bp.Watched) -> None:
    page = seen.page
    show(page, ".airlens-arcs svg")
    text = show(page, ".airlens-text")
    text.locator(".step[data-step='2'] .side").click()
    matrix = show(page, ".airlens-matrix")
    expect(matrix.locator(".outlines .from")).to_have_count(1)
    expect(text.locator(".links")).to_contain_text("step 2")
    # Neither moves JupyterLab to another cell.
    text.locator(".scroll").focus()
    for key, step in (("k", 1), ("ArrowUp", 0), ("j", 1)):
        page.keyboard.press(key)
        expect(text.locator(".step.current")).to_have_attribute("data-step", str(step))
    page.keyboard.press("/")
    page.keyboard.type("answer")
    expect(text.locator(".search .faint")).to_have_text("1 of 1")
    expect(text.locator(".hit").first).to_be_visible()
    page.keyboard.press("Escape")
    bp.click_cell(matrix, 2, 1)  # step 2 from step 0
    expect(text.locator(".step.current")).to_have_attribute("data-step", "2")
    expect(matrix.locator(".readout")).to_contain_text("by step 2 from step 0")


def test_a_token_shows_what_else_was_likely(seen: bp.Watched) -> None:
    page = seen.page
    said = page.locator(".airlens-next-tokens .airlens-headline")
    said.wait_for()
    for position in (2, 1):
        show(page, ".airlens-tokens").locator(f"[data-i='{position}']").click()
        expect(said).to_contain_text(f"position {position} ")
    page.keyboard.press("ArrowRight")
    expect(said).to_contain_text("position 2 ")


def test_a_point_is_reached_by_key_and_shows_its_trace(seen: bp.Watched) -> None:
    page = seen.page
    show(page, ".airlens-scatter canvas").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".airlens-scatter .readout")).to_contain_text("plain")
    page.keyboard.press("Enter")
    expect(page.locator(".airlens-text").nth(1)).to_contain_text("Then 4 + 3 = 7.")
    expect(page.locator(".airlens-table tr.current")).to_contain_text("plain")


def test_a_loop_round_the_points_narrows_the_table(seen: bp.Watched) -> None:
    page = seen.page
    box = show(page, ".airlens-scatter canvas").bounding_box()
    assert box is not None
    x, y, w, h = (box[name] for name in ("x", "y", "width", "height"))
    said = page.locator(".airlens-table .faint")
    expect(said).to_have_text("2 of 2 rows")
    # Round the left half: the shorter of the two traces.
    page.mouse.move(x + 0.02 * w, y + 0.02 * h)
    page.mouse.down()
    for corner in ((0.5, 0.02), (0.5, 0.98), (0.02, 0.98)):
        page.mouse.move(x + corner[0] * w, y + corner[1] * h)
    page.mouse.up()
    expect(said).to_have_text("1 of 2 rows")
    page.locator(".airlens-scatter canvas").focus()
    page.keyboard.press("Escape")
    expect(said).to_have_text("2 of 2 rows")


def test_hostile_text_stays_text(seen: bp.Watched) -> None:
    page = seen.page
    show(page, ".airlens-table tbody tr", 1).click()
    expect(page.locator(".airlens-text").nth(1)).to_contain_text("onerror")
    # The same trace in the trace explorer, whose prompt and names come from the file too.
    page.locator("select", has_text=re.compile("hostile")).first.select_option(index=1)
    expect(page.locator(".airlens-text").first).to_contain_text("onerror")
    assert page.evaluate("() => window.pwned === undefined")
    assert page.locator(".jp-OutputArea img[src='x'], .airlens img, .airlens b b").count() == 0
    assert not seen.dialogs


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
    page.wait_for_function(f"() => ({drawn})() < 1500")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (800, 1000)])
def test_it_fits_the_page(seen: bp.Watched, theme: str, size: tuple[int, int]) -> None:
    page = seen.page
    bp.set_theme(page, theme)
    bp.resize(page, *size)
    figures = [
        f".airlens-{name}" for name in ("grid", "curve", "arcs", "text", "next-tokens", "table")
    ]
    for name in [*figures, ".airlens-scatter canvas"]:
        show(page, name)
        bp.screenshot(page, f"lab-{theme}-{size[0]}-{name.strip('.').replace(' ', '-')}")
        box = page.locator(name).first.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= size[0] + 1
    wide = """() => {
        const parts = document.querySelectorAll('.airlens-figure .main-svg, .airlens canvas');
        return [...parts].filter(part => part.getBoundingClientRect().right >
            part.closest('.jp-OutputArea').getBoundingClientRect().right + 1).length;
    }"""
    assert page.evaluate(wide) == 0
    low = "() => [...document.querySelectorAll('.airlens-figure')].map(f => f.clientHeight)"
    assert min(page.evaluate(low)) > 150  # a figure that lost its height is not to be seen
    # A canvas that was not drawn at its size would be stretched.
    sharp = """() => [...document.querySelectorAll('.airlens-scatter canvas')]
        .every(c => c.width === Math.floor(c.clientWidth * devicePixelRatio))"""
    page.wait_for_function(sharp)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_any_explorer(seen: bp.Watched, theme: str) -> None:
    page = seen.page
    bp.set_theme(page, theme)
    expect(page.locator(".airlens-live")).to_have_count(4)
    for content in CONTENT:
        show(page, content).wait_for()
    assert violations(page, ".airlens-live") == []


def test_nothing_went_wrong_and_nothing_left_this_machine(seen: bp.Watched) -> None:
    assert seen.errors == []
    assert seen.away == []
