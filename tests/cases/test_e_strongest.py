"""Where every view opens: the strongest step above its control, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from page_data import long_results

from airlens.views.explorers.traits import step_sides, table_traits
from airlens.views.figures.coloured_text import longest_bar
from airlens.views.figures.strongest_step import said_of, strongest_step
from airlens.views.page import page_html
from airlens.views.page.data import opening

ROWS = [  # id, step, n_tokens, ais, ais_control, spread
    ("a", 0, 20, 0.9, 0.8, 0.0),  # high, and so is its control
    ("a", 1, 20, 0.5, 0.1, 0.1),  # the strongest above it
    ("a", 2, 2, 9.0, 0.0, 0.0),  # two tokens
    ("b", 0, 20, 0.6, 0.1, 0.7),  # within the spread of the draws
    ("b", 1, 20, float("nan"), float("nan"), float("nan")),  # under the floor
    ("b", 2, 20, -0.4, -0.9, 0.0),  # easier without the heads
]
NAMES = ["id", "step", "n_tokens", "ais", "ais_control", "ais_control_std"]
STEPS = pd.DataFrame(ROWS, columns=NAMES)


def test_the_strongest_step_is_above_its_own_control() -> None:
    best = strongest_step(STEPS)
    assert best is not None
    assert (best.id, best.step, best.ais, best.control) == ("a", 1, 0.5, 0.1)
    assert strongest_step(STEPS[STEPS["id"] == "b"]) is None
    assert strongest_step(STEPS.iloc[:0]) is None
    few = strongest_step(STEPS[STEPS["n_tokens"] < 5])
    assert few is not None and few.step == 2
    alone = strongest_step(STEPS.drop(columns=["ais_control", "ais_control_std"]))
    assert alone is not None and (alone.step, alone.ais) == (0, 0.9)


def test_the_sentence_says_both_or_that_there_is_none() -> None:
    best = strongest_step(STEPS.assign(label="restates"))
    assert said_of(best, 14, "these 2 traces") == (
        "Without 14 heads the loss of step 1 (restates) rises by 50\u00a0%, "
        "without 14 random ones it rises by 10\u00a0%"
    )
    assert said_of(None, 1, "this trace").startswith("No step of this trace stands above its")
    alone = strongest_step(STEPS.drop(columns=["ais_control", "ais_control_std"]))
    assert said_of(alone, 2, "this trace").endswith("random heads were not measured")


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    results = long_results(2, steps=4)
    steps = results["result"].steps.copy()
    steps["ais"], steps["ais_control"], steps["n_tokens"] = 0.1, 0.2, 26
    steps["label"] = "<b>7</b>"
    last = steps.index[-1]
    steps.loc[last, "ais"] = 0.7
    return {**results, "result": replace(results["result"], steps=steps)}


def test_a_page_opens_at_its_finding_which_is_its_title(made: dict[str, Any]) -> None:
    assert opening(made["result"]) == (1, 3)
    html = page_html(**made)
    assert (
        "<h1>Without 3 heads the loss of step 3 (&lt;b&gt;7&lt;/b&gt;) rises by 70\u00a0%" in html
    )
    assert 'href="#trace=2&amp;step=3"' in html
    own = page_html(**made, title="Mine")
    assert "<h1>Mine</h1>" in own and '<p class="finding">Without 3 heads' in own


def test_a_page_without_a_finding_says_so(made: dict[str, Any]) -> None:
    steps = made["result"].steps.assign(ais=0.1)
    nothing = {**made, "result": replace(made["result"], steps=steps)}
    assert opening(nothing["result"]) == (0, -1)
    assert "<h1>No step of these 2 traces stands above its control" in page_html(**nothing)


def test_a_score_and_its_control_have_one_scale() -> None:
    frame = pd.DataFrame({"ais": [0.8, 0.1], "ais_control": [0.09, 0.02], "delta": [0.4, 0.0]})
    assert table_traits(frame, ["ais", "ais_control", "delta"])["bars"] == [0.8, 0.8, 0.4]
    assert table_traits(frame, ["ais_control"])["bars"] == [0.0, 0.8, 0.0]


def test_one_outlier_does_not_flatten_all_bars() -> None:
    rows = [{"step": i, "ais": 0.1 + 0.01 * i, "ais_control": 0.05} for i in range(12)]
    assert longest_bar(rows) == 0.1 + 0.01 * 11
    rows[5]["ais"] = 40.0
    assert longest_bar(rows) < 1
    sides = step_sides(pd.DataFrame(rows))
    assert [side["over"] for side in sides] == [i == 5 for i in range(12)]
    assert max(side["share"] for side in sides) == 1
