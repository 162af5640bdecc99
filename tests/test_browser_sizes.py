"""The shared page from a telephone to a wide screen, light, dark and in forced colours.

Nothing moves the page sideways, nothing is cut or lies over something else, and the finding is read
first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
import browser_pages as bp
import browser_server as bs
import numpy as np
import pandas as pd
from colour_vision import drawn_columns
from page_data import long_results, made_up_answers, made_up_subsets
from test_browser_page import opened

import airlens as al

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bs.find_chromium() is None, reason="there is no Chromium"),
]
SIZES = [(360, 740), (800, 1000), (1280, 800), (1920, 1080)]
LOOKS = [("light", "none"), ("dark", "none"), ("light", "active")]

# Words of elements that lose a part of them: past the window, or in a box that hides what is over.
CUT = """() => {
    const own = (node) => [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    const known = new Map([[document.body, false]]);
    const scrolled = (node) => {
        if (!known.has(node)) known.set(node, scrolled(node.parentElement) || /auto|scroll/.test(getComputedStyle(node).overflowX));
        return known.get(node);
    };
    const found = [];
    for (const node of document.querySelectorAll("body *")) {
        if (!own(node) || scrolled(node) || ["SCRIPT", "STYLE", "OPTION", "NOSCRIPT"].includes(node.tagName)) continue;
        const box = node.getBoundingClientRect();
        if (!box.width || !box.height) continue;
        const name = `${node.tagName} ${node.id} ${node.className.baseVal ?? node.className}: ${node.textContent.slice(0, 40)}`;
        if (box.right > innerWidth + 1 || box.left < -1) found.push(`outside: ${name}`);
        for (let up = node; up && up !== document.body; up = up.parentElement) {
            const look = getComputedStyle(up);
            const hides = look.overflowX === "hidden" && look.textOverflow !== "ellipsis";
            if (hides && up.scrollWidth > up.clientWidth + 1 && up.contains(node)) found.push(`cut across: ${name}`);
            if (look.overflowY === "hidden" && up.scrollHeight > up.clientHeight + 2) found.push(`cut below: ${name}`);
        }
    }
    return found;
}"""  # noqa: E501
# Words over other words, in the page and within each drawing.
OVER = """() => {
    const seen = (node) => { const b = node.getBoundingClientRect(); return b.width && b.height ? b : null; };
    const scrolled = (node) => node.closest(".scroll, #traces, .links, pre, table, #story ol");
    const words = "h1, h2, header p, dt, dd, form label, #heads-off button, #estimate, #strongest, .readout, .key > *, .tools button, .chip";
    const groups = [[...document.querySelectorAll(words)].filter((node) => !scrolled(node))];
    for (const svg of document.querySelectorAll("svg")) groups.push([...svg.querySelectorAll("text")]);
    const found = [];
    for (const nodes of groups) nodes.forEach((one, i) => nodes.slice(i + 1).forEach((other) => {
        const [a, b] = [one, other].map(seen);
        if (!a || !b || one.contains(other) || other.contains(one)) return;
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const tall = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 1.5 && tall > 3) found.push(`${one.textContent.slice(0, 30)} | ${other.textContent.slice(0, 30)}`);
    }));
    return found;
}"""  # noqa: E501
FINDING = """() => {
    const node = document.querySelector("h1"), box = node.getBoundingClientRect(), look = getComputedStyle(node);
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(Number)
            .map((n) => n / 255).map((n) => (n <= 0.03928 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [a, b] = [look.color, getComputedStyle(document.body).backgroundColor].map(light);
    return { bottom: box.bottom, size: parseFloat(look.fontSize), contrast: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) };
}"""  # noqa: E501


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = long_results(2, 60, 12)
    result = made["result"]
    heads = result.provenance["heads"]
    rows = [(f"long-{i}", h, s, 0.01 * s) for i in range(2) for h in heads for s in range(60)]
    rng = np.random.default_rng(0)
    scores = rng.random((12, 4)).astype(np.float32)
    return al.page(
        path=tmp_path_factory.mktemp("sizes") / "page.html",
        scores=al.HeadScores(scores, scores[None]),
        step_heads=pd.DataFrame(rows, columns=["id", "name", "step", "delta"]),
        early=made_up_answers(result.steps, heads),
        subsets=made_up_subsets(result, heads),
        story="auto",
        **made,
    )


@pytest.mark.parametrize(("scheme", "forced"), LOOKS)
def test_the_page_fits_and_reads_at_every_size(path: Path, scheme: Any, forced: Any) -> None:
    with opened(path) as seen:
        page = seen.page
        page.emulate_media(color_scheme=scheme, forced_colors=forced)
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            # One state as it opens, one with all that can be said.
            for state in ("", "#trace=1&step=30&source=4&without=L1H2-L10H3&map=10_40_10_50"):
                seen.open(state)
                page.locator("#matrix [data-window]").wait_for()
                assert page.evaluate("() => document.documentElement.scrollWidth") <= width
                assert page.evaluate(CUT) == [], (width, state)
                assert page.evaluate(OVER) == [], (width, state)
            bp.screenshot(page, f"sizes-{width}-{scheme}-{forced}")
            seen.open()
            found = page.evaluate(FINDING)
            assert found["bottom"] < height and found["size"] >= 20, width
            assert found["contrast"] >= 7, width
        seen.check()


def test_the_page_is_whole_at_twice_the_size_of_its_letters(path: Path) -> None:
    """Zoomed to 200 %, a window of 1280 pixels has room for 640."""
    with opened(path, 640, 400) as seen:
        seen.open("#trace=1&step=30")
        assert seen.page.evaluate("() => document.documentElement.scrollWidth") <= 640
        assert seen.page.evaluate(CUT) == []
        assert seen.page.evaluate(OVER) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_tracks_of_sliders_are_seen_in_forced_colours(path: Path, scheme: Any) -> None:
    with opened(path) as seen:
        seen.page.emulate_media(color_scheme=scheme, forced_colors="active")
        seen.open("#trace=1&step=30")
        for slider in seen.page.locator("input[type=range]:visible").all():
            assert drawn_columns(slider.screenshot()) > 0.9
        assert seen.page.locator("input[type=range]:visible").count() == 2


def test_what_moves_stands_still_where_that_is_asked_for(path: Path) -> None:
    with opened(path) as seen:
        seen.page.emulate_media(reduced_motion="reduce")
        seen.open("#trace=1&step=30")
        moving = """() => [...document.querySelectorAll("*")].filter((node) => {
            const look = getComputedStyle(node);
            return parseFloat(look.transitionDuration) > 0 || look.animationName !== "none";
        }).length"""
        assert seen.page.evaluate(moving) == 0
