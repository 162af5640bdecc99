"""What the explorers say is of what is chosen; demo and page lead to each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from explore_tiny import tiny_model, tiny_probes
from page_data import long_results

import airlens as al
from airlens.cli.demo import _address
from airlens.heads import HeadSet
from airlens.views.explorers.continuation import Continuations
from airlens.views.explorers.head_effects import HeadEffects
from airlens.views.page import page_html


def test_the_headline_is_of_the_chosen_heads() -> None:
    found = HeadEffects(tiny_model(), tiny_probes(tiny_model().tokenizer, 1), 2)
    chosen = HeadSet.parse("L0H1, L2H0", "chosen")
    rows = [("top", 0, "", 0.9), ("top", 14, "x", 0.1), ("random", 14, "y", 0.8),
            ("chosen", 2, str(chosen), 0.5), ("random", 2, "z", 0.7)]  # fmt: skip
    found.rows = [
        {"heads": h, "mode": "zero", "k": k, "set": s, "copy_accuracy": v, "nll": 1.0, "share": 0.1}
        for h, k, s, v in rows
    ]
    said = "Copy accuracy is 0.500 without 2 chosen heads, 0.700 without 2 random ones"
    assert found.headline(chosen, "zero") == said
    assert found.headline(HeadSet.parse("L0H2", "chosen"), "zero") is None


def test_what_is_equal_after_a_difference_is_not_marked() -> None:
    base, other = (1, 2, 3, 4, 5), (1, 9, 3, 4, 5, 6)
    texts = [tuple(map(str, ids)) for ids in (base, other)]
    found = Continuations((0,), base, other, HeadSet(()), "zero", texts[0], texts[1])
    assert found.divergence == 1
    assert found.differing == ([1], [1, 5])


def test_the_lab_writes_without_random_heads_too() -> None:
    lab: Any = al.AblationLab(tiny_model(), "L0H1, L1H2", "Add.", new_tokens=3)
    lab.worker.wait()
    assert lab.random.name.startswith("without 2 random ones")
    assert len(lab.random.texts) == len(lab.result.ablated)


def test_page_and_report_lead_to_each_other(tmp_path: Path) -> None:
    out, page = tmp_path / "reports" / "demo.html", tmp_path / "a b" / "page.html"
    assert _address(page, out) == "../a%20b/page.html"
    html = page_html(**long_results(1, steps=2), report=_address(out, page))
    assert 'href="../reports/demo.html"' in html
