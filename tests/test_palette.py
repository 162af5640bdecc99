"""Colours that mean different things beside each other are told apart, by anybody and on paper."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from colour_vision import ciede2000, contrast, distances, lab, linear, over, without_green_cones

import airlens as al
from airlens.views.explorers.traits import PALETTE
from airlens.views.explorers.view_scripts import stylesheet
from airlens.views.figures.coloured_text import COOL, STRONGEST, WARM
from airlens.views.figures.style import COLOURS, DOMAIN_CYCLE, SYMBOLS, TEXT_DIVERGING

VIEWS = Path(al.__file__).parent / "views"
APART = 12.0
"""CIEDE2000; ours: about 1 is just seen between large patches, thin lines and dots need more."""
GREY = 5.0  # of L*, which goes from black, 0, to white, 100; ours
SHAPES = 3.0  # contrast of a graphical object with what is behind it: WCAG 2.2, 1.4.11
PAPERS = {"light": "#fdfdfc", "dark": "#15181c"}  # of html_file.css

# What stands side by side. On grey paper too the first ones are told by their colour alone; of the
# others there is a second mark: a dashed line, a form, or a side.
TOGETHER = {
    "A and B, gain and loss, critical and random heads": ("base", "ablated", "control"),
    "chosen and other samples": ("selected", "unselected"),
}
MARKED_TOO = {
    "curves, and the needle removed (dashed)": ("base", "ablated", "control", "floor"),
    "right answers, and those without the heads (dashed)": ("base", "ablated", "selected"),
    "kinds of samples (a form each)": ("base", "selected", "unselected"),
}


def of_names(names: tuple[str, ...]) -> dict[str, str]:
    return {name: COLOURS[name] for name in names}


@pytest.mark.parametrize("what", [*TOGETHER, *MARKED_TOO])
def test_colours_of_one_view_are_far_apart_without_green_cones_too(what: str) -> None:
    names = (TOGETHER | MARKED_TOO)[what]
    for pair, seen, deutan, _ in distances(of_names(names)):
        assert min(seen, deutan) >= APART, (what, pair, seen, deutan)


@pytest.mark.parametrize("what", list(TOGETHER))
def test_colours_alone_are_told_apart_on_grey_paper(what: str) -> None:
    for pair, _, _, grey in distances(of_names(TOGETHER[what])):
        assert grey >= GREY, (what, pair, grey)


@pytest.mark.parametrize("theme", list(PAPERS))
def test_colours_are_seen_on_the_page(theme: str) -> None:
    for name in ("base", "ablated", "control", "floor", "selected"):
        assert contrast(COLOURS[name], PAPERS[theme]) >= SHAPES, (name, theme)


@pytest.mark.parametrize("theme", list(PAPERS))
def test_tints_of_a_text_are_told_apart_and_from_the_page(theme: str) -> None:
    paper = PAPERS[theme]
    cool, warm = (over(COLOURS[name], STRONGEST, paper) for name in ("base", "ablated"))
    for pair, seen, deutan, _ in distances({"cool": cool, "warm": warm, "paper": paper}):
        assert min(seen, deutan) >= APART, (theme, pair)
    # In print both ends are one grey, so what is below zero is underlined; a match always is.
    style = stylesheet()
    assert re.search(r"@media print \{[^@]*\.lower \{ text-decoration: underline", style)
    assert re.search(r"\.hit \{[^}]*text-decoration: underline", style)


def test_light_cells_with_words_are_told_apart() -> None:
    ends = {str(place): str(colour) for place, colour in TEXT_DIVERGING if place in (0, 0.5, 1)}
    for pair, seen, deutan, _ in distances(ends):
        assert min(seen, deutan) >= APART, pair


def test_groups_have_a_colour_and_a_form_of_their_own() -> None:
    for pair, seen, deutan, _ in distances({colour: colour for colour in DOMAIN_CYCLE}):
        assert min(seen, deutan) >= APART, pair
    assert len(set(SYMBOLS)) == len(SYMBOLS) == len(DOMAIN_CYCLE)
    script = (VIEWS / "explorers" / "static" / "marks.js").read_text("utf-8")
    assert script.count("    () => ") == len(SYMBOLS)


def test_every_place_that_names_a_colour_names_the_same() -> None:
    assert [COLOURS[name] for name in ("base", "ablated", "control")] == PALETTE
    for text, colour in ((COOL, "base"), (WARM, "ablated")):
        assert "#" + "".join(f"{int(part):02X}" for part in text.split(",")) == COLOURS[colour]
    page = (VIEWS / "page" / "page.css").read_text("utf-8")
    for name, colour in (("warm", "ablated"), ("cool", "base"), ("grey", "control")):
        assert f"--{name}: {COLOURS[colour].lower()}" in page
    html = (VIEWS / "html_file.css").read_text("utf-8")
    assert all(f"--paper: {paper}" in html for paper in PAPERS.values())
    report = (VIEWS / "reports" / "report.css").read_text("utf-8")
    bars = re.findall(r"--bar:(#\w+);--bar-neg:(#\w+)", report)
    assert len(bars) == 2
    for pair in bars:
        for name, seen, deutan, _ in distances(dict(zip(("above", "below"), pair, strict=True))):
            assert min(seen, deutan) >= APART, name


# The measures themselves --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [  # Sharma, Wu & Dalal 2005, table 1
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_distances_are_those_that_were_published(
    one: tuple[float, ...], other: tuple[float, ...], distance: float
) -> None:
    for pair in itertools.permutations((np.array(one, float), np.array(other, float))):
        assert ciede2000(*pair) == pytest.approx(distance, abs=5e-5)


def test_greys_stay_greys_and_red_and_green_meet() -> None:
    for grey in ("#000000", "#808080", "#ffffff"):
        np.testing.assert_allclose(without_green_cones(linear(grey)), linear(grey), atol=1e-5)
    np.testing.assert_allclose(lab(linear("#ffffff")), [100, 0, 0], atol=1e-3)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    # Of one luminance to a person without green cones: Ishihara's kind of pair.
    pair = {"red": "#b4686a", "green": "#7e8b63"}
    [(_, seen, deutan, _)] = distances(pair)
    assert seen > 3 * deutan
