"""The map of steps and sources of a long trace, the strip beside its text, and pictures of both."""

from __future__ import annotations

import io
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
import browser_pages as bp
import browser_server as bs
from explore_tiny import HOSTILE
from page_data import long_results, made_up_answers
from test_browser_page import Seen, opened

import airlens as al
from airlens.views.figures.strongest_step import said_of, strongest_step

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bs.find_chromium() is None, reason="there is no Chromium"),
]
STEPS, PROMPT = 200, 10
MAP = "#matrix .airlens-matrix"


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return long_results(1, STEPS, 8)


@pytest.fixture(scope="module")
def path(made: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    early = made_up_answers(made["result"].steps, made["result"].provenance["heads"])
    return al.page(path=tmp_path_factory.mktemp("map") / "page.html", early=early, **made)


@pytest.fixture(scope="module")
def page_of(path: Path) -> Iterator[Seen]:
    with opened(path, 1280, 1000) as seen:
        yield seen
        seen.check()


@pytest.fixture
def seen(page_of: Seen) -> Seen:
    page_of.open("#trace=1&step=50")
    page_of.page.locator(f"{MAP}[data-window]").wait_for()
    return page_of


def window(seen: Seen) -> list[float]:
    """First row, end, first column, end of what the map shows."""
    return [float(n) for n in str(seen.page.locator(MAP).get_attribute("data-window")).split()]


def wait_window(seen: Seen, condition: str) -> list[float]:
    """Wait until the window, [r0, r1, c0, c1], is so."""
    of = f"document.querySelector('{MAP}').dataset.window.split(' ').map(Number)"
    seen.page.wait_for_function(f"() => {{ const [r0, r1, c0, c1] = {of}; return {condition}; }}")
    return window(seen)


def wait_link(seen: Seen, text: str) -> None:
    seen.page.wait_for_function("text => location.hash.includes(text)", arg=text)


def saved(seen: Seen, kind: str) -> tuple[str, bytes]:
    with seen.page.expect_download() as found:
        seen.page.get_by_role("button", name=f"save as {kind}").click()
    return str(found.value.suggested_filename), Path(found.value.path()).read_bytes()


def texts_of(svg: ET.Element) -> str:
    return "\n".join(node.text or "" for node in svg.iter("{http://www.w3.org/2000/svg}text"))


# First, while no other browser is open.
def test_a_picture_of_the_part_in_view_of_a_hostile_trace(tmp_path: Path) -> None:
    made = long_results(1, 20, 8)
    trace = replace(made["traces"][0], id=f"{HOSTILE}\x01 & <b>")
    tables = {
        name: getattr(made["result"], name).assign(id=trace.id)
        for name in ("tokens", "steps", "samples")
    }
    found = {
        name: getattr(made["sources"], name).assign(id=trace.id)
        for name in ("units", "tokens", "pairs", "steps", "events")
    }
    whole = al.page(
        replace(made["result"], **tables),
        replace(made["sources"], **found),
        [trace],
        path=tmp_path / "page.html",
    )
    with opened(whole, 1280, 900) as seen:
        seen.open("#trace=1&step=9&map=2_18_0_14")
        seen.page.locator(f"{MAP}[data-window]").wait_for()
        name, content = saved(seen, "SVG")
        assert not set(name) & set('<>:"/\\|?*')
        svg = ET.fromstring(content)  # well-formed
        said = texts_of(svg)
        assert "<img" in said and "steps 2 to 17" in said.replace("\n", " ")
        assert saved(seen, "PNG")[1][:4] == b"\x89PNG"
        seen.check()


def test_all_of_the_map_is_shown_first_and_keys_and_buttons_zoom(seen: Seen) -> None:
    page = seen.page
    whole = [0, STEPS, 0, STEPS + PROMPT]
    assert window(seen) == whole
    assert page.get_by_role("button", name="zoom out").is_disabled()
    page.locator(f"{MAP} svg").focus()
    page.keyboard.press("+")
    r0, r1, c0, c1 = wait_window(seen, f"r1 - r0 <= {STEPS / 2} + 0.1")
    assert (r1 - r0, c1 - c0) == (pytest.approx(STEPS / 2), pytest.approx((STEPS + PROMPT) / 2))
    wait_link(seen, "&map=")
    link = seen.fragment()
    page.keyboard.press("Shift+ArrowDown")
    moved = wait_window(seen, f"r0 > {r0} + 1")
    assert moved[0] - r0 == pytest.approx((r1 - r0) / 4, abs=0.02) and moved[2:] == [c0, c1]
    page.keyboard.press("0")
    wait_window(seen, f"r1 - r0 === {STEPS}")
    seen.open(link)
    wait_window(seen, f"Math.abs(r0 - {r0}) < 0.11 && Math.abs(c1 - {c1}) < 0.11")
    page.get_by_role("button", name="show all of the map").click()
    assert wait_window(seen, f"r1 - r0 === {STEPS}") == whole
    page.wait_for_function("() => !location.hash.includes('map=')")


def test_the_wheel_zooms_where_it_is_and_lets_a_moving_page_go_on(seen: Seen) -> None:
    page = seen.page
    x, y = bp.cell_place(page.locator(MAP), 150, 60)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -200)
    r0, r1, c0, c1 = wait_window(seen, f"r1 - r0 < {STEPS - 1}")
    # What was under the pointer still is.
    assert (150.5 - r0) / (r1 - r0) == pytest.approx(150.5 / STEPS, abs=0.01)
    assert (60.5 - c0) / (c1 - c0) == pytest.approx(60.5 / (STEPS + PROMPT), abs=0.01)
    page.mouse.wheel(0, 4000)
    wait_window(seen, f"r1 - r0 === {STEPS}")
    top = page.evaluate("() => scrollY")
    page.evaluate("() => scrollTo(0, 0)")
    page.mouse.wheel(0, 400)  # all is shown: nothing to zoom out of, the page moves
    page.wait_for_function("() => scrollY > 0")
    assert top >= 0


def test_it_is_dragged_and_pinched(seen: Seen) -> None:
    page = seen.page
    page.locator(f"{MAP} svg").focus()
    page.keyboard.press("+")
    r0, r1, *_ = wait_window(seen, f"r1 - r0 < {STEPS - 1}")
    box = page.locator(f"{MAP} canvas").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    before = seen.fragment().split("&map=")[0]
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0], middle[1] + box["height"] / 4, steps=4)
    page.mouse.up()
    moved = wait_window(seen, f"r0 < {r0} - 1")
    assert r0 - moved[0] == pytest.approx((r1 - r0) / 4, rel=0.1)
    assert seen.fragment().split("&map=")[0] == before  # a drag picks nothing
    # Two fingers that part.
    pinch = """(node) => {
        const box = node.getBoundingClientRect();
        const x = box.left + box.width / 2, y = box.top + box.height / 2;
        node.setPointerCapture = () => {};
        const send = (type, pointerId, dx) => node.dispatchEvent(new PointerEvent(type,
            { bubbles: true, pointerId, pointerType: "touch", clientX: x + dx, clientY: y }));
        send("pointerdown", 11, -30); send("pointerdown", 12, 30);
        send("pointermove", 11, -60); send("pointermove", 12, 60);
        send("pointerup", 11, -60); send("pointerup", 12, 60);
    }"""  # fmt: skip
    page.locator(f"{MAP} .holder").evaluate(pinch)
    wait_window(seen, f"r1 - r0 < {(r1 - r0) * 0.6}")


def test_a_click_locks_a_cell_and_a_step_of_the_text_is_found_in_the_map(seen: Seen) -> None:
    page = seen.page
    bp.click_cell(page.locator(MAP), 150, 20 + PROMPT)
    page.locator(".airlens-text .step.current[data-step='150']").wait_for()
    assert "step=150&source=20" in seen.fragment()
    page.locator(f"{MAP} .now").wait_for()
    page.locator(f"{MAP} .line.from").wait_for()
    page.locator(f"{MAP} .line.used").wait_for()
    page.wait_for_function(bp.STEP_IN_VIEW)
    # Zoomed in around it, another step comes into the map's view.
    page.locator(f"{MAP} svg").focus()
    for _ in range(4):
        page.keyboard.press("+")
    wait_window(seen, "r1 - r0 < 40")
    page.locator("#text .scroll").focus()
    seen.open("#trace=1&step=150&map=140_160_20_60")
    wait_window(seen, "r1 - r0 < 40")
    page.locator(".airlens-text .side[data-step='151']").click()
    page.locator(f"{MAP} .line.from").wait_for()
    page.get_by_role("slider", name="The whole trace").focus()
    page.keyboard.press("Home")
    page.locator(".airlens-text .step.current[data-step='0']").wait_for()
    wait_window(seen, f"r0 <= 0 && r1 >= 1 && c0 <= {PROMPT} && c1 > {PROMPT}")


def test_keys_walk_through_cells_and_enter_locks_one(seen: Seen) -> None:
    page, said = seen.page, seen.page.locator(f"{MAP} .readout")
    page.locator(f"{MAP} svg").focus()
    page.keyboard.press("End")
    page.locator(f"{MAP} .readout", has_text="step 50 from 49").wait_for()
    page.keyboard.press("ArrowDown")
    page.locator(f"{MAP} .readout", has_text="step 51 from 49").wait_for()
    assert page.locator(f"{MAP} .cursor").count() == 1
    page.keyboard.press("Enter")
    page.locator(".airlens-text .step.current[data-step='51']").wait_for()
    wait_link(seen, "step=51&source=49")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.locator(f"{MAP} .readout", has_text="step 51: step 51 comes later").or_(
        page.locator(f"{MAP} .readout", has_text="step 51")
    ).first.wait_for()
    assert "step 51" in said.inner_text()


def test_pointing_at_a_cell_previews_it(seen: Seen, made: dict[str, Any]) -> None:
    page, link = seen.page, seen.fragment()
    pairs = made["sources"].pairs
    row = pairs.loc[pairs.query("step == 51 and source >= 0")["copies"].idxmax()]
    source = int(row["source"])
    page.mouse.move(*bp.cell_place(page.locator(MAP), 51, source + PROMPT))
    value = float(f"{row['copies']:.3g}")
    words = f"step 51 from {source}: share of tokens copied {value:g}"
    page.locator(f"{MAP} .readout", has_text=words).wait_for()
    said = page.locator(f"{MAP} .readout").inner_text()
    for unit in (51, source):
        assert " ".join(made["traces"][0].steps[unit].text.split())[:30] in said
    # The text shows the pair for as long, and stays where it is.
    page.locator(f"#text .step.chosen[data-step='{source}']").wait_for(state="attached")
    assert seen.current() == "50" and seen.fragment() == link
    page.mouse.move(2, 2)
    page.locator("#text .step.chosen").wait_for(state="detached")


def test_the_cells_are_those_of_the_table(seen: Seen, made: dict[str, Any]) -> None:
    """The colour at the middle of a cell, zoomed in, against what its value should give."""
    pairs = made["sources"].pairs.set_index(["step", "source"])
    seen.open("#trace=1&measure=attention&map=100_116_100_116")
    page = seen.page
    r0, r1, c0, c1 = wait_window(seen, "r1 - r0 < 30")
    # One reading: several would be a warning of the browser's.
    read = """([rows, cols, [r0, r1, c0, c1]]) => {
        const { width, height } = document.querySelector("#matrix canvas");
        const pen = document.querySelector("#matrix canvas").getContext("2d");
        const { data } = pen.getImageData(0, 0, width, height);
        const at = (n, from, to, size) => Math.floor((size * (n + 0.5 - from)) / (to - from));
        const alpha = (row, col) => data[4 * (at(row, r0, r1, height) * width + at(col, c0, c1, width)) + 3];
        return rows.map((row) => cols.map((col) => alpha(row, col)));
    }"""  # fmt: skip  # noqa: E501
    rows = range(math.ceil(r0), math.floor(r1))
    cols = range(math.ceil(c0), math.floor(c1))
    alphas = page.evaluate(read, [list(rows), list(cols), [r0, r1, c0, c1]])
    found = [alpha for line in alphas for alpha in line]
    wanted = [pairs["attention"].get((row, col - PROMPT)) for row in rows for col in cols]
    pairs_seen = [(a, v) for a, v in zip(found, wanted, strict=True) if v is not None]
    assert all(a == 0 for a, v in zip(found, wanted, strict=True) if v is None)
    assert len(pairs_seen) > 20
    # More opaque for a larger value; alpha is 6 % and the share of the scale.
    ranked = sorted(pairs_seen, key=lambda one: one[1])
    assert [a for a, _ in ranked] == sorted(a for a, _ in ranked)
    assert ranked[0][0] >= 15


def test_a_picture_says_what_it_shows_and_where_it_is_from(
    seen: Seen, made: dict[str, Any]
) -> None:
    from PIL import Image

    seen.open("#trace=1&step=50&source=3")
    wait_link(seen, "source=3")
    name, content = saved(seen, "SVG")
    assert name.startswith("long-0-copies") and name.endswith(".svg")
    svg = ET.fromstring(content)
    said = re.sub(r"\s+", " ", texts_of(svg).replace("\u00a0", " "))
    best = strongest_step(made["result"].steps)
    finding = said_of(best, 3, "this trace").replace("\u00a0", " ")
    assert "random ones" in finding and f"{finding}." in said
    assert "long-0: copies" in said and "step 50 from 3" in said
    assert "page.html#trace=1&step=50&source=3" in said.replace(" ", "")
    assert str(seen.address).rsplit("/", 1)[0] not in content.decode()  # no folder of this machine
    written = content.decode().lower()
    for word in ("currentcolor", "var(", "<script", "<image", "foreignobject", "href"):
        assert word not in written, word
    kept = made["sources"].pairs.query("copies > 0 or copies_control > 0")
    assert len(kept) > 500 and written.count("m") > 500  # one subpath a cell
    name, content = saved(seen, "PNG")
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (2 * int(svg.attrib["width"]), 2 * int(svg.attrib["height"]))
        colours = image.convert("RGB").getcolors(1 << 24)
    assert colours is not None and len(colours) > 50
    assert max(colours)[1] == (255, 255, 255)


def test_the_strip_shows_the_whole_trace_and_leads_to_any_part_of_it(seen: Seen) -> None:
    page, strip = seen.page, seen.page.get_by_role("slider", name="The whole trace")
    assert strip.get_attribute("aria-valuenow") == "50"
    box = strip.bounding_box()
    units = STEPS + PROMPT
    # A click goes to a step, one of the three that are under it.
    place = 150
    y = box["y"] + 14 + (box["height"] - 14) * (place + 0.5) / units
    page.mouse.click(box["x"] + 10, y)
    page.wait_for_function(
        "at => Math.abs(Number(document.querySelector('#text .strip svg').ariaValueNow) - at) <= 1",
        arg=place - PROMPT,
    )
    step = int(strip.get_attribute("aria-valuenow") or -1)
    page.locator(f".airlens-text .step.current[data-step='{step}']").wait_for()
    assert f"step={step}" in seen.fragment()
    # What is in view is outlined, at the step that is.
    outlined = "() => document.querySelector('#text .strip .view').getBoundingClientRect().top"
    page.wait_for_function(f"y => Math.abs(({outlined})() - y) < 60", arg=y)
    # A step that is picked is brought into sight once more, when its row has its height.
    page.evaluate("() => new Promise((done) => setTimeout(done, 200))")
    top = page.evaluate(outlined)
    # A drag moves the text and picks nothing.
    page.mouse.move(box["x"] + 10, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 10, box["y"] + 40, steps=5)
    page.mouse.up()
    page.wait_for_function(f"top => ({outlined})() < top - 50", arg=top)
    assert f"step={step}" in seen.fragment()
    strip.focus()
    page.keyboard.press("ArrowDown")
    page.locator(f".airlens-text .step.current[data-step='{step + 1}']").wait_for()
    page.keyboard.press("End")
    page.locator(f".airlens-text .step.current[data-step='{STEPS - 1}']").wait_for()
    page.keyboard.press("Home")
    page.locator(".airlens-text .step.current[data-step='0']").wait_for()
    # Both AIS and what a step adds to the answer, each as few paths.
    assert [t.strip() for t in page.locator("#text .strip text").all_text_contents()] == [
        "AIS",
        "gain",
    ]
    assert 3 <= page.locator("#text .strip path.bars").count() <= 5


def test_a_large_map_stands_beside_its_text_and_is_in_the_link(seen: Seen) -> None:
    page = seen.page
    before = page.locator(f"{MAP} canvas").bounding_box()
    page.get_by_role("button", name="larger map").click()
    wide = "least => document.querySelector('#matrix canvas').clientWidth > least"
    page.wait_for_function(wide, arg=1.5 * before["width"])
    assert "large=1" in seen.fragment()
    text, canvas = (page.locator(s).bounding_box() for s in ("#text .scroll", f"{MAP} canvas"))
    assert text["x"] + text["width"] <= canvas["x"] and text["width"] > 250
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280
    seen.open(seen.fragment())
    page.wait_for_function(wide, arg=1.5 * before["width"])
    page.get_by_role("button", name="larger map").click()
    page.wait_for_function("() => !location.hash.includes('large')")
