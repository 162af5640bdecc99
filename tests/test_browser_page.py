"""The shared page opened from disk: a click, the address, dark, paper, and nothing that runs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
import browser_pages as bp
import browser_server as bs
import pandas as pd
from page_data import long_results, made_up_answers, made_up_subsets, measured

import airlens as al

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bs.find_chromium() is None, reason="there is no Chromium"),
]
WATCH = """window.violations = [];
addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));"""
CHIPS = ".airlens-text .from .chip"


@dataclass
class Seen:
    """A page, and everything it did that a page from disk has no business to do."""

    page: Any
    address: str
    wrong: list[str] = field(default_factory=list)

    def open(self, fragment: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto(self.address + fragment)
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is shown."""
        self.page.locator("html[data-shown]").wait_for(state="attached")
        self.page.evaluate("() => new Promise((done) => setTimeout(done, 60))")

    def fragment(self) -> str:
        return str(self.page.evaluate("() => location.hash"))

    def current(self) -> str | None:
        row = self.page.locator(".airlens-text .step.current")
        return row.first.get_attribute("data-step") if row.count() else None

    def check(self) -> None:
        assert self.page.evaluate("() => window.violations") == []
        assert self.page.evaluate("() => window.pwned === undefined")
        assert self.page.locator("img, iframe, object, embed").count() == 0
        assert self.wrong == []


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = measured()
    rows = [("plain", f"L{k}H0", step, 0.1 * k - 0.1) for k in range(3) for step in range(3)]
    alone = pd.DataFrame(rows, columns=["id", "name", "step", "delta"])
    path = tmp_path_factory.mktemp("page") / "page.html"
    return al.page(path=path, step_heads=alone, **made)


@contextlib.contextmanager
def opened(
    path: Path, width: int = 1280, height: int = 800, scheme: str = "light"
) -> Iterator[Seen]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=bs.find_chromium(), args=bs.ARGUMENTS)
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        page.add_init_script(WATCH)
        seen = Seen(page, path.as_uri())

        def asked(request: Any) -> None:
            if request.url.partition("#")[0] not in (seen.address, "about:blank", "data:,"):
                seen.wrong.append(f"request {request.url}")

        def said(message: Any) -> None:
            if message.type in ("error", "warning"):
                seen.wrong.append(f"console {message.text}")

        def dialog(found: Any) -> None:
            seen.wrong.append(f"dialog {found.message}")
            found.dismiss()

        page.on("request", asked)
        page.on("console", said)
        page.on("dialog", dialog)
        page.on("pageerror", lambda error: seen.wrong.append(f"error {error}"))
        try:
            yield seen
        finally:
            browser.close()


@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 800, "light"), (800, 1000, "dark")])
def test_a_page_from_disk_answers_clicks_and_asks_for_nothing(
    written: Path, width: int, height: int, scheme: str
) -> None:
    with opened(written, width, height, scheme) as seen:
        seen.open()
        page = seen.page
        assert page.locator("#map rect.cell").count() == 12
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        paper = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, paper[4:-1].split(","))) < 200) == (scheme == "dark")
        bp.screenshot(page, f"page-{scheme}-{width}")
        found = []
        for step in ("1", "2"):
            page.locator(f".airlens-text .side[data-step='{step}']").click()
            seen.settle()
            assert seen.current() == step
            assert f"step={step}" in seen.fragment()
            found.append(page.locator(".airlens-text .links").inner_text())
        assert found[0] != found[1] and "step 2" in found[1]
        for trace in ("2", "3", "1"):  # two of them hostile through and through
            page.locator("#traces button").nth(int(trace) - 1).click()
            page.locator(f"html[data-shown='{trace}']").wait_for(state="attached")
        page.locator("#table tbody tr").nth(1).click()
        page.locator("html[data-shown='2']").wait_for(state="attached")
        assert page.locator(".airlens-text .text", has_text="<img").count() > 0
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        seen.check()


def test_the_address_restores_what_was_shown(written: Path) -> None:
    state = "#trace=1&step=2&source=1&colour=nll_base&measure=attention&show=both"
    with opened(written) as seen:
        seen.open(state)
        page = seen.page
        assert seen.current() == "2"
        assert [page.locator(f"#{i}").input_value() for i in ("colour", "measure", "show")] == [
            "nll_base", "attention", "both",
        ]  # fmt: skip
        assert "base NLL" in page.locator(".airlens-text .scale").inner_text()
        assert page.locator("#matrix .now").count() == 1
        assert seen.fragment() == state
        # Somebody pastes another address over it.
        page.evaluate("() => { location.hash = '#trace=2&step=1'; }")
        page.locator("html[data-shown='2']").wait_for(state="attached")
        assert seen.current() == "1"
        assert page.locator("#measure").input_value() == "copies"
        page.locator("#colour").select_option("entropy")
        seen.settle()
        assert seen.fragment() == "#trace=2&step=1&colour=entropy"
        seen.check()


def test_the_policy_holds(written: Path) -> None:
    put = """(text) => {
        const node = document.createElement(text.startsWith("window") ? "script" : "style");
        node.textContent = text;
        document.body.appendChild(node);
        document.body.setAttribute("style", "opacity: 0");
    }"""
    with opened(written) as seen:
        seen.open()
        seen.page.evaluate(put, "window.pwned = 1")
        seen.page.evaluate(put, "body { opacity: 0 }")
        assert seen.page.evaluate("() => window.pwned === undefined")
        assert seen.page.evaluate("() => getComputedStyle(document.body).opacity") == "1"
        assert len(seen.page.evaluate("() => window.violations")) >= 3


@pytest.mark.parametrize(
    "fragment",
    [
        "#trace=99&step=77",
        "#trace=<img src=x onerror=alert(1)>&colour=__proto__",
        "#%",
        "#step=1e9",
    ],
)
def test_an_address_that_means_nothing_opens_at_the_finding(written: Path, fragment: str) -> None:
    with opened(written) as seen:
        seen.open()
        opened_at = (seen.page.locator("html").get_attribute("data-shown"), seen.current())
        seen.open(fragment)
        assert (seen.page.locator("html").get_attribute("data-shown"), seen.current()) == opened_at
        seen.check()


def test_matrix_arcs_and_maps_lead_to_the_text(written: Path) -> None:
    with opened(written) as seen:
        seen.open("#trace=1&measure=attention")
        page = seen.page
        matrix = page.locator("#matrix .airlens-matrix")
        wide = matrix.get_attribute("data-columns")
        bp.click_cell(matrix, 2, int(wide or 0) - 3)  # the trace has three steps
        seen.settle()
        assert "step=2&source=0" in seen.fragment()
        assert seen.current() == "2"
        page.locator("#arcs [data-unit='1']").click(force=True)
        seen.settle()
        assert seen.current() == "1" and "source" not in seen.fragment()
        page.locator("#alone rect.cell[data-index='5']").click()
        seen.settle()
        assert seen.current() == "2"
        seen.check()


def test_one_head_or_all(written: Path) -> None:
    with opened(written) as seen:
        seen.open("#trace=1&step=2&source=0")
        page, lit = seen.page, ".airlens-text .lit"
        everyone = page.locator(lit).count()
        assert everyone > 0
        counts = []
        for layer, head in ((0, 1), (1, 2), (2, 0)):
            page.locator(f"#map rect.cell[data-index='{4 * layer + head}']").click()
            seen.settle()
            counts.append(page.locator(lit).count())
        page.locator("#map rect.cell[data-index='8']").click()  # the same once more: all heads
        seen.settle()
        assert page.locator(lit).count() == everyone
        assert max(counts) <= everyone <= sum(counts)
        page.locator("#map rect.cell[data-index='3']").click()  # none of the ablated heads
        seen.settle()
        assert page.locator(lit).count() == everyone
        seen.check()


def test_the_threshold_leaves_out_weak_sources_and_keys_move_it(written: Path) -> None:
    with opened(written) as seen:
        seen.open("#trace=1&step=2&measure=attention")
        page = seen.page
        page.locator("#threshold").focus()
        page.keyboard.press("Home")
        seen.settle()
        every = page.locator(CHIPS).count()
        page.keyboard.press("End")
        seen.settle()
        assert page.locator(CHIPS).count() < every
        seen.check()


def test_every_measure_and_colour_can_be_chosen(written: Path) -> None:
    with opened(written) as seen:
        seen.open("#trace=1&step=2")
        page, titles, labels = seen.page, set(), set()
        for name in ("copies", "attention", "attention_per_token", "knockout", "knockout_kl"):
            page.locator("#measure").select_option(name)
            seen.settle()
            titles.add(page.locator("#matrix .key").inner_text())
            assert name == "copies" or f"measure={name}" in seen.fragment()
        for name in ("delta", "ais", "nll_base", "entropy", "delta_control"):
            page.locator("#colour").select_option(name)
            seen.settle()
            labels.add(page.locator(".airlens-text .scale").inner_text())
        assert len(titles) == 5 and len(labels) == 5
        seen.check()


def test_on_paper_all_of_the_text_is_there(written: Path) -> None:
    with opened(written) as seen:
        seen.open("#trace=1&step=1")
        page = seen.page
        page.emulate_media(media="print")
        page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
        text = page.locator("#text").inner_text()
        assert "So Anna and Ben have" in text and "How many pears?" in text
        assert not page.locator("#colour").is_visible()
        scroll = page.locator("#text .scroll")
        assert scroll.evaluate("(node) => node.scrollHeight <= node.clientHeight + 1")
        seen.check()


def test_the_page_opens_at_its_finding_and_back_works_within_it(written: Path) -> None:
    with opened(written) as seen:
        seen.open()
        page, lit = seen.page, page_lit(seen)
        if page.locator("#opens").count():
            assert seen.current() is not None
            assert seen.fragment() == page.locator("#opens").get_attribute("href")
        page.locator("#traces button").nth(0).click()
        page.locator("html[data-shown='1']").wait_for(state="attached")
        page.locator(".airlens-text .side[data-step='2']").click()
        seen.settle()
        assert lit() > 0  # what the step copies, without a token pointed at
        assert "Copied by step 2" in page.locator("#text .readout").inner_text()
        page.locator(CHIPS).first.click()
        seen.settle()
        assert "step=2&source=" in seen.fragment()
        assert "Copied by step 2 from" in page.locator("#text .readout").inner_text()
        page.locator("#map rect.cell[data-index='1']").click()
        seen.settle()
        assert page.locator("#one-head").inner_text().startswith("only what L0H1 copies")
        assert "head=L0H1" in seen.fragment()
        page.go_back()
        seen.settle()
        assert not page.locator("#one-head").is_visible()
        page.go_back()
        seen.settle()
        assert seen.fragment() == "#trace=1&step=2"
        page.go_back()
        seen.settle()
        assert seen.fragment().startswith("#trace=1") and "step=2" not in seen.fragment()
        page.locator("#map rect.cell[data-index='3']").click()  # none of the ablated heads
        seen.settle()
        assert "L0H3 is not one of the ablated heads" in page.locator("#map .readout").inner_text()
        seen.check()


def test_a_unit_of_the_prompt_shows_where_it_is_used_and_the_link_restores_all(
    written: Path,
) -> None:
    with opened(written) as seen:
        seen.open("#trace=1")
        page = seen.page
        page.locator(".airlens-text .step.prompt .side").first.click()
        seen.settle()
        said = page.locator("#text .readout").inner_text()
        assert "opied from prompt 1" in said
        link = "#trace=1&step=2&least=20&head=L1H2"
        seen.open(link)
        assert seen.fragment() == link
        assert page.locator("#threshold").input_value() == "20"
        assert page.locator("#one-head").is_visible()
        seen.check()


def test_a_later_step_that_uses_this_one_is_locked_by_a_click_and_back_leads_back(
    written: Path,
) -> None:
    with opened(written) as seen:
        seen.open("#trace=1&step=0")
        page = seen.page
        uses = page.locator(".airlens-text .uses .chip")
        used = uses.first.get_attribute("data-step")
        assert "row" not in seen.fragment() and used is not None and int(used) > 0
        uses.first.hover()
        said = f"opied by step {used} from step 0"
        assert said in page.locator("#text .readout").inner_text()
        assert seen.current() == "0"
        uses.first.click()
        seen.settle()
        assert seen.current() == used
        assert seen.fragment() == f"#trace=1&step={used}&source=0"
        assert page.locator(".airlens-text .step.chosen[data-step='0']").count() == 1
        page.go_back()
        page.wait_for_function("() => location.hash === '#trace=1&step=0'")
        seen.settle()
        assert seen.current() == "0"
        seen.check()


def page_lit(seen: Seen) -> Any:
    return lambda: seen.page.locator(".airlens-text .lit").count()


def test_what_the_rules_of_accessibility_ask_of_the_page(written: Path) -> None:
    with opened(written) as seen:
        seen.open("#trace=1&step=2")
        page = seen.page
        assert page.locator("noscript").count() == 1
        assert page.locator("[role=option]").count() == 0
        named = """() => [...document.querySelectorAll('input, select')]
            .filter((node) => !(node.labels?.length || node.getAttribute('aria-label'))).length"""
        assert page.evaluate(named) == 0
        # A name that is given holds what is seen.
        kept = """() => [...document.querySelectorAll('button[aria-label]')]
            .map((node) => [node.textContent.replace(' \u2715', '').trim(), node.ariaLabel])
            .filter(([seen, name]) => /[a-z]{2}/i.test(seen) && !name.includes(seen))"""
        assert page.evaluate(kept) == []
        line = "() => getComputedStyle(document.querySelector('footer a')).textDecorationLine"
        assert page.evaluate(line) == "underline"
        # The cell that the keys are at is seen before Enter.
        page.locator("#map svg").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#map .cursor").count() == 1
        page.emulate_media(forced_colors="active")
        tint = """() => [...document.querySelectorAll('.airlens-text [data-i]')]
            .some((span) => getComputedStyle(span).backgroundColor.startsWith('rgba(213, 94'))"""
        assert page.evaluate(tint)
        seen.check()


def test_arcs_are_level_with_their_text_also_when_it_is_moved(written: Path) -> None:
    off = """() => [...document.querySelectorAll('#arcs .unit')].map((dot) => {
        const row = document.querySelector(`#text .step[data-step='${dot.dataset.unit}']`);
        const [at, of] = [dot, row].map((node) => node.getBoundingClientRect());
        return (at.top + at.bottom) / 2 - of.top - Math.min(of.height, 40) / 2;
    })"""
    with opened(written, 1280, 160) as seen:
        seen.open("#trace=1&step=2")
        page = seen.page
        assert max(map(abs, page.evaluate(off))) < 3
        page.locator("#text .scroll").evaluate("(node) => { node.scrollTop = 15; }")
        seen.settle()
        assert page.locator("#text .scroll").evaluate("(node) => node.scrollTop") > 0
        assert max(map(abs, page.evaluate(off))) < 3
        seen.check()


def test_the_track_of_answers_is_tied_to_the_text(tmp_path: Path) -> None:
    made = long_results(2, 30)
    early = made_up_answers(made["result"].steps, made["result"].provenance["heads"])
    early.samples["n_left_out"] = [0, 12]
    with opened(al.page(path=tmp_path / "page.html", early=early, **made)) as seen:
        seen.open("#trace=2&step=3")
        page = seen.page
        beyond = "no room in the context to ask after the last 12 steps"
        assert beyond in page.locator("#track .key").inner_text()
        said = page.locator("#track .readout")
        assert "after step 3" in said.inner_text().lower()
        page.locator("#track svg").focus()
        page.keyboard.press("ArrowRight")
        page.locator(".airlens-text .step.current[data-step='4']").wait_for()
        assert "step=4" in seen.fragment()
        now = early.steps[early.steps["id"] == "long-1"].set_index("step")["answer_now"]
        assert f"after step 4 it would answer \u201c{now[4]}\u201d" in said.inner_text().lower()
        slider = page.get_by_role("slider", name="What the model would answer after each step")
        assert slider.get_attribute("aria-valuenow") == "4"
        page.keyboard.press("End")
        page.locator(".airlens-text .step.current[data-step='29']").wait_for()
        box = page.locator("#track svg").bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 10)
        page.locator(".airlens-text .step.current[data-step='14']").wait_for()
        numbers = page.locator("#text .numbers")
        assert numbers.locator("dt").all_inner_texts()[1:] == [
            "AIS",
            "gain, nats",
            "the answer depends on it, nats",
        ]
        assert "step 14" in numbers.inner_text()
        page.locator("#colour").select_option("gain")
        page.locator(".airlens-text .key", has_text="gain of the step").wait_for()
        assert "colour=gain" in seen.fragment()
        page.locator(".airlens-text .side[data-step='13']").click()
        page.locator("#track svg[aria-valuenow='13']").wait_for()
        page.keyboard.press("Home")
        seen.check()


def test_a_long_page_is_drawn_where_it_is_seen_and_is_whole_to_keys_search_and_paper(
    tmp_path: Path,
) -> None:
    made = long_results(1, 300, 12)
    early = made_up_answers(made["result"].steps, made["result"].provenance["heads"])
    with opened(al.page(path=tmp_path / "page.html", early=early, **made)) as seen:
        seen.open("#trace=1&step=250")
        page, count = seen.page, seen.page.locator("#text [data-i]").count
        row = page.locator("#text .step.current[data-step='250']")
        row.locator("[data-i]").first.wait_for()
        page.wait_for_function(bp.STEP_IN_VIEW)
        assert count() < 1500 < len(made["result"].tokens)
        assert page.locator("#arcs *").count() < 1000
        page.locator("#text .scroll").focus()
        page.keyboard.press("k")
        page.locator("#text .step.current[data-step='249']").wait_for()
        page.wait_for_function(bp.STEP_IN_VIEW)
        word = made["traces"][0].steps[10].text.split()[3]
        page.locator("#text .search input").fill(word)
        hit = page.locator("#text .hit.at")
        hit.wait_for()
        # Its inner text is empty until the row is drawn.
        assert (hit.text_content() or "").strip() == word
        page.locator("#text .side[data-step='299']").click()
        page.wait_for_function(bp.STEP_IN_VIEW)
        page.locator("#track svg[aria-valuenow='299']").wait_for()
        page.emulate_media(media="print")
        page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
        whole = "least => document.querySelector('#text .scroll').innerText.length > least"
        page.wait_for_function(whole, arg=len(made["traces"][0].response))
        seen.check()


def test_a_tour_goes_from_stop_to_stop_by_clicks_and_keys(tmp_path: Path) -> None:
    made = long_results(2, 30)
    story = [
        ("#trace=2&step=4", "It begins here."),
        ("#trace=1&step=9&show=both", "Then this."),
        ("#trace=1&step=9&colour=ais", "And this at last."),
    ]
    with opened(al.page(path=tmp_path / "page.html", story=story, **made)) as seen:
        seen.open()
        page, said = seen.page, seen.page.locator("#story li.now")
        assert seen.fragment() == "#trace=2&step=4" and seen.current() == "4"
        assert said.inner_text() == "It begins here."
        assert page.locator("#story-back").is_disabled()
        page.get_by_role("button", name="on in the tour").click()
        page.locator("#story li.now", has_text="Then this.").wait_for()
        page.locator("html[data-shown='1']").wait_for(state="attached")
        assert seen.current() == "9" and seen.fragment() == "#trace=1&step=9&show=both"
        assert page.locator("#show").input_value() == "both"
        page.keyboard.press("ArrowRight")
        page.locator("#story li.now", has_text="And this at last.").wait_for()
        assert page.locator("#story-at").inner_text() == "3 of 3"
        page.keyboard.press("ArrowLeft")
        page.locator("#story li.now", has_text="Then this.").wait_for()
        page.locator(".airlens-text .side[data-step='3']").click()  # away, and back to the stop
        page.locator("#story.away").wait_for()
        said.locator("a").click()
        page.locator("#story:not(.away)").wait_for()
        page.locator(".airlens-text .step.current[data-step='9']").wait_for()
        page.go_back()
        page.locator("#story.away").wait_for()
        # Keys of a view are its own.
        page.locator("#text .scroll").focus()
        page.keyboard.press("ArrowRight")
        assert said.inner_text() == "Then this."
        page.emulate_media(media="print")
        assert page.locator("#story li:visible").count() == 3
        seen.check()


def test_fewer_heads_recolour_text_bars_and_copies_without_python(tmp_path: Path) -> None:
    made = long_results(1, 12)
    heads = made["result"].provenance["heads"]
    subsets = made_up_subsets(made["result"], heads)
    with opened(al.page(path=tmp_path / "page.html", subsets=subsets, **made)) as seen:
        seen.open("#trace=1&step=8")
        page = seen.page
        # Of step 8, which is in view all the time.
        tints = """() => [...document.querySelectorAll("#text .step[data-step='8'] [data-i]")]
            .map((s) => s.style.background)"""
        page.wait_for_function(bp.STEP_IS_DRAWN, arg=8)
        bars = page.locator("#text .side[data-step='8'] .bars")
        before, chips = page.evaluate(tints), page.locator(CHIPS).all_inner_texts()
        ais = made["result"].steps["ais"][8]
        assert f"{ais:.2f}" in bars.inner_text()
        slider = page.locator("#top")
        assert slider.input_value() == "2"  # 1, 2, all 3
        slider.focus()
        page.keyboard.press("ArrowLeft")
        page.locator("#top-said", has_text="2 of 3").wait_for()
        assert "without=top+2" in seen.fragment()
        # The fourth subset: four tenths of what all heads do.
        page.locator("#text .side[data-step='8'] .bars", has_text=f"{0.4 * ais:.2f}").wait_for()
        assert page.evaluate(tints) != before
        events = made["sources"].events.query("step == 8 and head == @heads[1] and source < 8")
        page.locator("#one-alone").select_option(heads[1])
        page.locator("#top-said", has_text=heads[1]).wait_for()
        page.locator("#threshold").fill("0")
        page.locator("#threshold-said", has_text="0").wait_for()
        copied = events.groupby("source")["pos"].nunique()
        names = {text.split(":")[0] for text in page.locator(CHIPS).all_inner_texts()}
        assert len(names) == min(5, len(copied))
        used = made["sources"].events.query("source == 8 and head == @heads[1] and step > 8")
        uses = page.locator(".airlens-text .uses .chip").all_inner_texts()
        assert {text.split(":")[0] for text in uses} == {f"step {step}" for step in used["step"]}
        link = seen.fragment()
        assert f"without={heads[1]}" in link
        seen.open(link)
        assert page.locator("#one-alone").input_value() == heads[1]
        assert f"{0.2 * ais:.2f}" in bars.inner_text()
        slider.fill("2")
        page.locator("#top-said", has_text="3 of 3").wait_for()
        page.locator("#threshold").fill("10")
        page.locator("#text .side[data-step='8'] .bars", has_text=f"{ais:.2f}").wait_for()
        page.wait_for_function(bp.STEP_IS_DRAWN, arg=8)
        assert page.evaluate(tints) == before
        assert page.locator(CHIPS).all_inner_texts() == chips
        seen.check()


def test_heads_are_toggled_and_a_sum_of_single_heads_is_called_an_estimate(tmp_path: Path) -> None:
    made = long_results(1, 12)
    heads = made["result"].provenance["heads"]
    steps = made["result"].steps
    subsets = made_up_subsets(made["result"], heads)  # alone .1, .2 and .3 of all; top 2 .4
    with opened(al.page(path=tmp_path / "page.html", subsets=subsets, **made)) as seen:
        seen.open("#trace=1&step=8")
        page, said = seen.page, seen.page.locator("#estimate")
        bars = page.locator("#text .side[data-step='8'] .bars")
        buttons = {
            h: page.locator("#heads-off").get_by_role("button", name=h, exact=True) for h in heads
        }

        def off() -> list[str]:
            return [h for h in heads if buttons[h].get_attribute("aria-pressed") == "true"]

        assert off() == heads and not said.is_visible()
        buttons[heads[0]].click()
        said.wait_for()
        assert off() == heads[1:]
        half = f"{0.5 * steps['ais'][8]:.2f}"
        page.locator("#text .side[data-step='8'] .bars", has_text=half).wait_for()
        mean = steps["ais"].abs().mean()
        words = said.inner_text()
        assert "the sum of 2 single heads, which were not measured together" in words
        for n, off_by, of in ((2, 0.1, 0.4), (3, 0.4, 1.0)):
            found = re.search(rf"{n} heads (\d+\.\d+) of (\d+\.\d+)", words)
            assert found is not None, words
            assert float(found[1]) == pytest.approx(off_by * mean, rel=0.06)
            assert float(found[2]) == pytest.approx(of * mean, rel=0.06)
        assert "2 random heads, measured" in words
        assert "0.08" in bars.inner_text()  # the control of two heads
        assert "estimate: sum of 2 single heads" in page.locator("#text .scale").inner_text()
        assert page.locator("#text.estimate").count() == 1
        link = seen.fragment()
        assert f"without={heads[1]}-{heads[2]}" in link
        seen.open(link)
        assert off() == heads[1:] and said.is_visible() and seen.fragment() == link
        # Sets that were measured are no estimate.
        buttons[heads[0]].click()
        page.locator("#top-said", has_text="3 of 3").wait_for()
        assert not said.is_visible() and "without" not in seen.fragment()
        buttons[heads[2]].click()
        page.locator("#top-said", has_text="2 of 3").wait_for()
        assert "without=top+2" in seen.fragment() and not said.is_visible()
        assert f"{0.4 * steps['ais'][8]:.2f}" in bars.inner_text()
        buttons[heads[1]].click()
        page.locator("#top-said", has_text=heads[0]).wait_for()
        buttons[heads[0]].click()
        page.locator("#top-said", has_text="0 of 3").wait_for()
        assert "without=none" in seen.fragment() and "0.00" in bars.inner_text()
        assert page.locator(CHIPS).count() == 0  # no head copies
        page.get_by_role("button", name="all heads off").click()
        page.locator("#top-said", has_text="3 of 3").wait_for()
        seen.check()
