"""What readers of page, demo and documentation once met, in a real browser; a test for each kind.

More of E3, E4 and the level arcs of E5 are in `test_browser_page.py`: that a page opens at its
finding and Back stays within it, that each click answers and the link restores all, that arcs are
level. The page at every width is in `test_browser_sizes.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
import browser_server as bs
from page_data import long_results
from test_browser_page import Seen, opened
from test_browser_sizes import CUT
from test_cli import folder, run

import airlens as al
from docs.generate import live_page

__all__ = ["folder"]  # a fixture
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bs.find_chromium() is None, reason="there is no Chromium"),
]


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """Two traces: the first's control is above its score; a step of the other is an outlier."""
    results = long_results(2, 20, 12)
    steps = results["result"].steps.copy()
    steps["n_tokens"] = 12
    first = steps["id"] == "long-0"
    steps.loc[first, ["ais", "ais_control"]] = [0.1, 0.3]
    steps.loc[~first, "ais"] = 0.2 + 0.01 * steps.loc[~first, "step"]
    steps.loc[~first, "ais_control"] = 0.05
    steps.loc[~first & (steps["step"] == 7), "ais"] = 30.0
    samples = results["result"].samples.assign(ais=[0.8, 0.4], ais_control=[0.09, 0.2])
    return {**results, "result": replace(results["result"], steps=steps, samples=samples)}


@pytest.fixture(scope="module")
def seen(made: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with opened(al.page(path=tmp_path_factory.mktemp("cases") / "page.html", **made)) as seen:
        seen.open()
        yield seen
        seen.check()


def test_e1_a_score_and_its_control_have_one_scale(seen: Seen) -> None:
    bars = """() => {
        const heads = [...document.querySelectorAll("#table th")];
        const named = (name) => heads.findIndex((th) => th.textContent.trim() === name);
        const of = (row, name) => {
            const cell = row.cells[named(name)], share = cell.style.background.match(/([\\d.]+)%/);
            return [parseFloat(cell.textContent), parseFloat(share[1])];
        };
        const rows = [...document.querySelectorAll("#table tbody tr")];
        return rows.map((row) => ["AIS", "AIS (random)"].map((name) => of(row, name)));
    }"""
    found = seen.page.evaluate(bars)
    assert sorted(score for (score, _), _ in found) == [0.4, 0.8]
    for (score, long), (control, other) in found:
        assert long > 0
        assert other / long == pytest.approx(control / score, abs=0.02)


def test_e3_a_page_opens_at_the_strongest_step_above_its_control(seen: Seen) -> None:
    seen.open()
    page = seen.page
    assert (page.locator("html").get_attribute("data-shown"), seen.current()) == ("2", "7")
    title = page.locator("h1").inner_text().replace("\u00a0", " ")
    assert "step 7" in title and "random ones" in title
    page.locator("#traces button").first.click()  # of the other trace it says that there is none
    page.locator("html[data-shown='1']").wait_for(state="attached")
    assert page.locator("#strongest").inner_text().startswith("No step of this trace stands above")


def test_e5_the_arcs_are_few_at_first_and_an_outlier_flattens_no_bar(seen: Seen) -> None:
    seen.open("#trace=2&step=12&measure=attention")
    page = seen.page
    assert float(page.locator("#threshold-said").inner_text()) > 0
    seen_arcs = "() => [...document.querySelectorAll('#arcs .arc')].length"
    few = page.evaluate(seen_arcs)
    page.locator("#threshold").fill("0")
    page.locator("#threshold-said", has_text=re.compile(r"^0$")).wait_for()
    page.wait_for_function(f"few => ({seen_arcs})() > few", arg=few)
    wide = """(step) => {
        const bar = document.querySelector(`#text .side[data-step='${step}'] .bar i`);
        return [parseFloat(bar.style.width), bar.classList.contains("over")];
    }"""
    plain, outlier = (page.evaluate(wide, step) for step in (6, 7))
    assert outlier[1] and not plain[1]
    assert plain[0] > 30  # though the outlier is a hundred times as large
    assert "flatten" in str(
        page.locator("#text .side[data-step='7'] .bar").first.get_attribute("title")
    )


def test_e8_the_demo_opens_with_a_sentence_fits_a_telephone_and_leads_to_its_page(
    seen: Seen, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "demo.html"
    done = run("demo", "--model", folder, "--traces", 1, "--out", out, "--quiet")
    assert done.exit_code == 0, done.output
    page = seen.page.context.browser.new_page(viewport={"width": 360, "height": 740})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(out.as_uri())
    page.locator("h1").wait_for()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    assert page.evaluate(CUT) == []
    # A sentence comes before the numbers.
    order = """() => {
        const [words, facts] = ["p", "dl"].map((one) => document.querySelector(`body ${one}`));
        return Boolean(words.compareDocumentPosition(facts) & Node.DOCUMENT_POSITION_FOLLOWING);
    }"""
    assert page.evaluate(order)
    assert "random ones" in page.locator("body").inner_text()
    # No word is broken into letters: a line of text is wider than it is tall.
    thin = """() => [...document.querySelectorAll("p, td, .text")].filter((node) => {
        const box = node.getBoundingClientRect();
        return node.textContent.trim().length > 8 && box.width && box.width < 24;
    }).length"""
    assert page.evaluate(thin) == 0
    # On paper the tokens keep their colours.
    page.emulate_media(media="print")
    adjust = "() => getComputedStyle(document.querySelector('body')).printColorAdjust"
    assert page.evaluate(adjust) == "exact"
    page.emulate_media(media="screen")
    page.get_by_role("link", name="Read the traces step by step").click()
    page.locator("html[data-shown]").wait_for(state="attached")
    page.get_by_role("link", name="The report of all the results").click()
    page.get_by_role("heading", level=1).first.wait_for()
    assert errors == []
    page.close()


def test_e9_the_documentation_opens_with_a_live_page_and_claims_with_verdicts(
    seen: Seen, tmp_path: Path
) -> None:
    """That each figure of the gallery has a picture is in `test_docs.py`."""
    (tmp_path / "_static").mkdir()
    live_page.write(tmp_path)
    frame = re.search(r"<iframe.*?</iframe>", (bs.ROOT / "docs" / "index.md").read_text(), re.S)
    assert frame is not None
    index = tmp_path / "index.html"
    index.write_text(f"<!doctype html><title>docs</title>{frame[0]}", encoding="utf-8")
    page = seen.page.context.browser.new_page(color_scheme="dark")
    page.goto(index.as_uri())
    page.locator("iframe.live").scroll_into_view_if_needed()
    live = page.frame_locator("iframe.live")
    live.locator("#text .step.current").first.wait_for()
    assert live.locator("#story li").count() >= 2
    page.close()
    claims = (bs.ROOT / "docs" / "claims.md").read_text()
    assert 0 < claims.index("parts/verdicts.md") < claims.index("## ")
