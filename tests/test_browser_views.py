"""The views of a trace in a page without Python, under a strict policy, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
import browser_pages as bp
import browser_server as bs
from explore_tiny import HOSTILE
from fake_sources import Tables, fake_sources, long_trace
from playwright.sync_api import Locator, expect
from views_page import write_page

import airlens as al

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bs.find_chromium() is None, reason="there is no Chromium"),
]
PROMPT = ["There are 12 apples and 7 pears. ", "How many? "]
RESPONSE = "We have 12 apples. \nThen 7 pears. \nSo 12 plus 7 makes 19."


@pytest.fixture(scope="module")
def seen() -> Iterator[bp.Watched]:
    with bp.open_page() as seen:
        expect.set_options(timeout=20_000)
        seen.page.route("file://**", lambda route: route.continue_())
        yield seen
        assert seen.errors == []
        assert seen.away == []


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    tables = fake_sources(al.Trace("a", "".join(PROMPT), RESPONSE).with_steps("line"), PROMPT)
    return write_page(tmp_path_factory.mktemp("short") / "page.html", tables, RESPONSE), tables


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    trace, prompt = long_trace()
    tables = fake_sources(trace, prompt)
    assert len(tables.influence) > 3800
    path = tmp_path_factory.mktemp("long") / "page.html"
    return write_page(path, tables, trace.response), tables


def opened(seen: bp.Watched, page: tuple[Path, Tables]) -> Any:
    seen.page.goto(page[0].as_uri())
    seen.page.locator("#text .step").first.wait_for()
    return seen.page


def row(page: Any, unit: int) -> Locator:
    found: Locator = page.locator(f"#text .step[data-step='{unit}']")
    return found


def strength(row: Locator) -> float:
    """Opacity of a source's outline."""
    colour = row.evaluate("row => row.style.outlineColor")
    parts = re.findall(r"[\d.]+", colour)
    return float(parts[3]) if len(parts) == 4 else float(bool(parts))


def test_a_step_that_is_clicked_shows_its_sources(
    seen: bp.Watched, short: tuple[Path, Tables]
) -> None:
    page = opened(seen, short)
    assert page.locator("#text .step.from").count() == 0
    row(page, 2).locator(".side").click()
    expect(row(page, 2)).to_have_class(re.compile("current"))
    of_step = short[1].pairs.query("step == 2").set_index("source")["copies"]
    for unit, value in of_step.items():
        assert (strength(row(page, int(str(unit)))) > 0) == (value > 0)
    best = int(of_step.idxmax())
    assert strength(row(page, best)) == 1
    expect(page.locator("#text .links .chip")).to_have_count(int((of_step > 0).sum()))
    # The same in the arcs and in the map.
    assert page.locator("#arcs .arc.now:not(.control)").count() == int((of_step > 0).sum())
    expect(page.locator("#arcs .readout")).to_contain_text("step 2: from")
    assert page.evaluate("() => [matrix.get('row'), arcs.get('current')]") == [2, 2]
    expect(page.locator("#matrix .outlines .line.from")).to_have_count(1)


def test_a_step_shows_the_later_steps_that_use_it(
    seen: bp.Watched, short: tuple[Path, Tables]
) -> None:
    page = opened(seen, short)
    row(page, 0).locator(".side").click()
    pairs = short[1].pairs.query("source == 0 and copies > 0").set_index("step")["copies"]
    pairs = pairs.sort_values(ascending=False, kind="stable")
    assert len(pairs) > 0
    chips = page.locator("#text .links .uses .chip")
    expect(chips).to_have_count(len(pairs))
    for unit, value in pairs.items():
        expect(row(page, int(str(unit)))).to_have_class(re.compile(r"\buses\b"))
        expect(row(page, int(str(unit))).locator(".badge")).to_have_text(f"← {value:.2g}")
    used, copied = int(pairs.index[0]), short[1].events.query("step == @pairs.index[0]")
    words = set(copied.query("source == 0")["token"])
    # Pointed at: the copied tokens are lit, and nothing is locked.
    chips.first.hover()
    readout, lit = page.locator("#text .readout"), page.locator("#text .lit")
    expect(readout).to_contain_text(f"Copied by step {used} from step 0: “{words.pop().strip()}”")
    expect(lit).to_have_count(2 * len(copied.query("source == 0")))
    expect(row(page, used)).to_have_class(re.compile("chosen"))
    assert page.evaluate("() => [text.get('current'), text.get('focus')]") == [0, []]
    page.locator("#matrix .key").hover()
    expect(readout).not_to_contain_text("from step 0")
    # Clicked: the pair is locked.
    chips.first.click()
    assert page.evaluate("() => [text.get('current'), text.get('focus')]") == [used, [used, 0]]
    assert page.evaluate("() => [arcs.get('current'), matrix.get('row')]") == [used, used]
    page.locator("#matrix .key").hover()
    expect(readout).to_contain_text(f"Copied by step {used} from step 0")
    now = page.locator("#text .links .from .chip[aria-current]")
    expect(now).to_have_attribute("data-unit", "0")
    expect(now).to_be_focused()


def test_a_sentence_of_the_prompt_shows_what_uses_it(
    seen: bp.Watched, short: tuple[Path, Tables]
) -> None:
    page = opened(seen, short)
    row(page, -2).locator(".side").click()
    pairs = short[1].pairs.query("source == -2 and copies > 0")
    links = page.locator("#text .links")
    expect(links.locator(".uses .chip")).to_have_count(len(pairs))
    expect(links.locator(".from")).to_have_text("prompt 1: given, not copied")
    expect(page.locator("#text .step.uses")).to_have_count(len(pairs))
    expect(row(page, -2)).to_have_class(re.compile("chosen"))
    page.evaluate("() => text.set('threshold', 99)")
    expect(links).to_contain_text("prompt 1: no use above the threshold")
    expect(page.locator("#text .step.uses")).to_have_count(0)


def test_keys_reach_what_a_step_copies_from_and_what_uses_it(
    seen: bp.Watched, short: tuple[Path, Tables]
) -> None:
    page = opened(seen, short)
    text, readout = page.locator("#text .scroll"), page.locator("#text .readout")
    text.focus()
    for key in "jj":
        page.keyboard.press(key)
    of_step = short[1].pairs.query("step == 1 and copies > 0")
    best = int(of_step.set_index("source")["copies"].idxmax())
    page.keyboard.press("f")
    chips = page.locator("#text .links .chip")
    expect(chips.first).to_be_focused()
    name = f"prompt {best + 3}" if best < 0 else f"step {best}"
    expect(readout).to_contain_text(f"Copied by step 1 from {name}")
    page.keyboard.press("ArrowRight")
    expect(chips.nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(text).to_be_focused()
    page.keyboard.press("u")
    used = page.locator("#text .links .uses .chip")
    expect(used.first).to_be_focused()
    expect(readout).to_contain_text("Copied by step 2 from step 1")
    page.keyboard.press("Enter")
    assert page.evaluate("() => [text.get('current'), text.get('focus')]") == [2, [2, 1]]
    expect(page.locator("#text .links .chip:focus")).to_have_count(1)


def test_a_token_that_is_pointed_at_lights_up_what_it_is_copied_from(
    seen: bp.Watched, short: tuple[Path, Tables]
) -> None:
    page = opened(seen, short)
    token = row(page, 2).locator("[data-i]", has_text="12")
    token.hover()
    lit = page.locator("#text .lit")
    expect(lit).to_have_count(1)
    assert (lit.text_content() or "").strip() == "12"
    event = short[1].events.query("step == 2 and token.str.strip() == '12'").iloc[0]
    assert lit.evaluate("s => +s.closest('.step').dataset.step") == event["source"]
    said = f"copied by {event['head']} {float(f'{event.weight:.2g}'):g} from “12”"
    expect(page.locator("#text .readout")).to_contain_text(said)
    page.locator("#matrix .key").hover()
    expect(lit).to_have_count(0)
    # The keyboard reaches a token too.
    row(page, 2).locator(".side").click()
    page.locator("#text .scroll").focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#text .now")).to_contain_text("12")
    expect(lit).to_have_count(1)


def test_a_number_that_is_clicked_lights_up_its_path(seen: bp.Watched, tmp_path: Path) -> None:
    lines = [f"So {word} holds 12 here." for word in ("red", "blue", "green", "grey")]
    trace = al.Trace("a", "".join(PROMPT), "\n".join(lines)).with_steps("line")
    tables = fake_sources(trace, PROMPT)
    page = opened(seen, (write_page(tmp_path / "page.html", tables, trace.response), tables))
    steps = tables.steps.assign(n_tokens=9)
    sources = al.Sources(tables.units, tables.tokens, tables.pairs, steps, tables.events)
    hops = al.paths(sources, "12", step=3).hops
    assert len(hops) >= 3
    token = row(page, 3).locator("[data-i]", has_text="12")
    lit = page.locator("#text .lit")
    token.hover()
    expect(lit).to_have_count(1)
    token.click()
    expect(lit).to_have_count(len(hops))
    units = lit.evaluate_all("all => all.map(s => +s.closest('.step').dataset.step)")
    assert units == sorted(hops["source"])
    said = [f"(L{h.layer}H{h.head} {float(f'{h.weight:.2g}'):g})" for h in hops.itertuples()]
    for text in ("path: step 3 ← step 2 ", *said):
        expect(page.locator("#text .readout")).to_contain_text(text)
    page.locator("#text .scroll").focus()
    page.keyboard.press("Escape")
    page.locator("#matrix .key").hover()
    expect(page.locator("#text .readout")).not_to_contain_text("path:")
    # By keys: to the same token, then Enter.
    row(page, 3).locator(".side").click()
    page.locator("#text .scroll").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#text .now")).to_contain_text("12")
    expect(lit).to_have_count(1)
    page.keyboard.press("Enter")
    expect(lit).to_have_count(len(hops))


def test_a_cell_shows_both_steps_and_the_copied_tokens(
    seen: bp.Watched, short: tuple[Path, Tables]
) -> None:
    page = opened(seen, short)
    matrix = page.locator("#matrix .airlens-matrix")
    bp.click_cell(matrix, 1, 0)  # step 1 from p1
    expect(row(page, 1)).to_have_class(re.compile("current"))
    expect(page.locator("#text .chosen")).to_have_attribute("data-step", "-2")
    copied = short[1].events.query("step == 1 and source == -2")
    told = page.locator("#matrix .readout")
    expect(told).to_contain_text("Copied by step 1 from prompt 1")
    for word in copied["token"]:
        expect(told).to_contain_text(f"“{word.strip()}”")
    expect(page.locator("#text .lit")).to_have_count(2 * len(copied))
    expect(page.locator("#matrix .outlines .now")).to_have_count(1)
    bp.click_cell(matrix, 0, 3)  # above the diagonal
    expect(row(page, 1)).to_have_class(re.compile("current"))


def test_threshold_number_and_control_are_kept_to(
    seen: bp.Watched, short: tuple[Path, Tables]
) -> None:
    page = opened(seen, short)
    row(page, 2).locator(".side").click()
    chips = page.locator("#text .links .chip")
    many = chips.count()
    assert many > 1
    page.evaluate("() => text.set('strongest', 1)")
    expect(chips).to_have_count(1)
    best = page.evaluate("() => Math.max(...text.get('pairs')[2])")
    page.evaluate(
        "value => { text.set('strongest', 9); text.set('threshold', value); }", best + 0.01
    )
    expect(chips).to_have_count(0)
    expect(page.locator("#text .links")).to_contain_text("no source above the threshold")
    page.evaluate("() => { text.set('threshold', 0); text.set('show', 'control'); }")
    controls = short[1].pairs.query("step == 2 and copies_control > 0")
    expect(chips).to_have_count(len(controls))


def test_search_finds_words_across_tokens(seen: bp.Watched, short: tuple[Path, Tables]) -> None:
    page = opened(seen, short)
    page.locator("#text .scroll").focus()
    page.keyboard.press("/")
    box = page.locator("#text .search input")
    expect(box).to_be_focused()
    page.keyboard.type("7 PEARS")
    said = page.locator("#text .search .faint")
    expect(said).to_have_text("1 of 2")
    expect(page.locator("#text .hit")).to_have_count(4)
    expect(page.locator("#text .at")).to_have_count(2)
    assert page.locator("#text .at").first.evaluate("s => s.closest('.step').dataset.step") == "-2"
    page.keyboard.press("Enter")
    expect(said).to_have_text("2 of 2")
    assert page.locator("#text .at").first.evaluate("s => s.closest('.step').dataset.step") == "1"
    page.get_by_role("button", name="next match").click()
    expect(said).to_have_text("1 of 2")
    box.fill("absent")
    expect(said).to_have_text("no match")
    box.press("Escape")
    expect(page.locator("#text .hit")).to_have_count(0)


def test_keys_go_from_step_to_step(seen: bp.Watched, short: tuple[Path, Tables]) -> None:
    page = opened(seen, short)
    page.locator("#text .scroll").focus()
    for key, step in (("j", 0), ("ArrowDown", 1), ("j", 2), ("j", 2), ("k", 1), ("ArrowUp", 0)):
        page.keyboard.press(key)
        assert page.evaluate("() => text.get('current')") == step
        expect(row(page, step)).to_have_class(re.compile("current"))
    page.locator("#arcs svg").focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("() => [text.get('current'), text.get('picked')[0]]") == [1, 0]
    expect(row(page, 1)).to_have_class(re.compile("current"))


def test_hostile_text_stays_text(seen: bp.Watched, tmp_path: Path) -> None:
    trace = al.Trace(HOSTILE, HOSTILE, f"{HOSTILE}\n{HOSTILE}").with_steps("line")
    labelled = tuple(al.Step(s.text, s.start, s.end, HOSTILE) for s in trace.steps)
    trace = al.Trace(HOSTILE, HOSTILE, trace.response, "", labelled)
    tables = fake_sources(trace, [HOSTILE])
    page = opened(seen, (write_page(tmp_path / "page.html", tables, trace.response), tables))
    row(page, 1).locator(".side").click()
    row(page, 1).locator("[data-i]").nth(2).hover()
    expect(page.locator("#text")).to_contain_text("onerror")
    bp.click_cell(page.locator("#matrix .airlens-matrix"), 1, 1)
    expect(page.locator("#matrix .readout")).to_contain_text("Copied by step 1")
    assert page.evaluate("() => window.pwned === undefined")
    assert page.locator("img, #text script, #matrix script, #arcs script").count() == 0
    assert not seen.dialogs


def test_a_long_trace_is_drawn_where_it_is_seen(
    seen: bp.Watched, long: tuple[Path, Tables]
) -> None:
    page = opened(seen, long)
    drawn = "() => document.querySelectorAll('#text [data-i]').length"
    assert 0 < page.evaluate(drawn) < 1500
    assert page.locator("#matrix rect.cell").count() == 0  # one picture
    assert page.locator("#matrix canvas").count() == 1
    best = long[1].pairs.loc[long[1].pairs["copies"].idxmax()]
    step, source = int(best["step"]), int(best["source"])
    assert page.evaluate(bp.CLICK_STEP, step) > 0  # milliseconds: benchmarks/explorers.py
    assert strength(row(page, source)) == 1
    page.wait_for_function(bp.STEP_IS_DRAWN, arg=step)
    assert page.evaluate(bp.POINT_AT_TOKENS, step) > 0
    page.locator("#text .search input").fill(f"({step}).")
    expect(page.locator("#text .search .faint")).to_have_text("1 of 1")
    # A cell is found by its place in the picture.
    bp.click_cell(page.locator("#matrix .airlens-matrix"), step, source + 10)
    assert page.evaluate("() => text.get('focus')") == [step, source]
    expect(page.locator("#matrix .readout")).to_contain_text(f"Copied by step {step}")
    assert page.evaluate(drawn) < 1500


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (800, 1000)])
def test_the_views_fit_the_page(
    seen: bp.Watched, long: tuple[Path, Tables], scheme: Any, size: tuple[int, int]
) -> None:
    seen.page.emulate_media(color_scheme=scheme)
    seen.page.set_viewport_size({"width": size[0], "height": size[1]})
    page = opened(seen, long)
    row(page, 3).locator(".side").click()
    bp.screenshot(page, f"views-{scheme}-{size[0]}")
    for name in ("#arcs svg", "#text .scroll", "#matrix svg"):
        box = page.locator(name).bounding_box()
        assert box is not None
        assert box["width"] > 100
        assert box["x"] + box["width"] <= size[0] + 1
    wide = "() => document.documentElement.scrollWidth <= window.innerWidth"
    assert page.evaluate(wide)
