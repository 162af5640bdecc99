"""The papers' figures on a tiny model: all are drawn, and their sentences follow the tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from explore_tiny import save_tiny, tiny_model
from typer.testing import CliRunner

from airlens import cli
from airlens.experiments.emergence import TinySettings
from airlens.experiments.paper import captions as paper_text
from airlens.experiments.paper.measurements import (
    PaperData,
    PaperSize,
    masking_table,
    measure_paper,
    thirds,
)
from airlens.experiments.paper.reproductions import PAPER_FIGURES, captions, make_figures
from airlens.figures import emergence_map
from airlens.views.figures import image_files as figure_files
from airlens.views.reports.demo_results import DemoSize

DEMO = DemoSize(2, 1400, 1, 1400, 1, 2, 1)
TINY = TinySettings(steps=4, checkpoints=3, batch=2, length=12, span=4, vocab=12, width=16)


@pytest.fixture(scope="module")
def data() -> PaperData:
    size = PaperSize(DEMO, (500,), (0.5,), tiny=TINY)
    return measure_paper(tiny_model(), size=size, progress=False)


def test_every_figure_and_its_sentence(data: PaperData) -> None:
    made = make_figures(data)
    assert list(made) == [f.name for f in PAPER_FIGURES]
    assert all(isinstance(fig, go.Figure) and fig.layout.title.text for fig in made.values())
    text = captions(data)
    assert all(f"## {f.name}\n" in text and f.shows in text for f in PAPER_FIGURES)
    assert "nan" not in text.lower()
    assert "not run" in paper_text.study_text(data.runs)


def test_the_masking_table_is_what_was_measured(data: PaperData) -> None:
    table = masking_table(data).set_index(["measure", "condition", "draw"])["value"]
    needles = data.needles
    asked = needles.loc[needles["condition"] == "top", "recall"]
    assert table["needle recall", "top", 0] == pytest.approx(asked.mean())
    samples = data.demo.influence.samples
    code = samples[samples["domain"] == "code"]
    tokens = data.demo.influence.tokens
    mine = tokens[tokens["id"].isin(code["id"])]
    assert table["NLL, code", "top", 0] == pytest.approx(mine["nll_ref"].mean(), rel=1e-5)
    assert table["NLL, code", "random", 0] == pytest.approx(mine["nll_control"].mean(), rel=1e-5)


def test_a_verdict_turns_with_its_table(data: PaperData) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"condition": name, "draw": draw, "expected": f"answer {i}", "length": 64, "depth": 0.5}
        | {"recall": recall + 0.1 * rng.random()}
        for name, draws, recall in (("base", 1, 0.9), ("top", 1, 0.1), ("random", 4, 0.8))
        for draw in range(draws)
        for i in range(12)
    ]
    frame = pd.DataFrame(rows)

    def said(needles: pd.DataFrame) -> str:
        return paper_text.needle_text(replace(data, needles=needles))

    assert said(frame).startswith("**Agrees")
    turned = frame.replace({"condition": {"top": "random", "random": "top"}})
    assert said(turned.query("draw == 0")).startswith("**Not decided** (1 of at least 3 draws")
    few = frame[frame["expected"].isin([f"answer {i}" for i in range(5)])]
    assert said(few).startswith("**Not decided** (5 of at least 8")
    level = said(frame.assign(recall=0.1 * rng.random(len(frame))))
    assert level.startswith("**Not decided** (the interval holds 0)")
    assert "less than half" in level


def runs_of(means: dict[str, float], seeds: int = 3, problems: int = 60) -> pd.DataFrame:
    """Runs of arms whose NLL a problem differs from 10 by so much."""
    rng = np.random.default_rng(0)
    rows = []
    for arm, mean in means.items():
        for seed in range(seeds):
            nll = 10 + mean + 0.05 * rng.normal() + 0.3 * rng.normal(size=problems)
            row = {"setting": "s", "arm": arm, "budget": "tokens", "seed": seed}
            row |= {"n_samples": 4, "n_labels": 100, "steps": 2, "nll": nll.mean() / 10}
            row |= {"problem_id": [f"p{i}" for i in range(problems)]}
            rows.append(row | {"problem_tokens": [10] * problems, "problem_nll": nll})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("by", "verdict"), [(-1.0, "**Agrees"), (0.0, "**Not decided"), (1.0, "**Does not agree")]
)
def test_the_study_says_what_is_decided(by: float, verdict: str) -> None:
    said = paper_text.study_text(runs_of({"random": 0.0, "AIR": by, "longest": 2.0}))
    assert said.startswith(verdict)
    assert "Worse: " + ("AIR; longest." if by > 0 else "longest.") in said
    assert "better than random (Holm): " + ("AIR." if by < 0 else "none.") in said


def test_one_seed_decides_nothing() -> None:
    said = paper_text.study_text(runs_of({"random": 0.0, "AIR": 1.0}, seeds=1))
    assert said.startswith("**Not decided** (1 seeds)")


def test_emergence_in_a_still() -> None:
    rows = [(s, 0, h, f"L0H{h}", s * h / 10) for s in (0, 10) for h in (0, 1)]
    heads = pd.DataFrame(rows, columns=["step", "layer", "head", "name", "score"])
    fig = emergence_map(heads)
    assert np.array_equal(fig.data[0].z, [[0.0, 0.0], [0.0, 1.0]])
    assert "1 of 2 heads" in fig.layout.title.text
    assert emergence_map(heads.iloc[:0]).layout.annotations


@pytest.mark.slow
def test_the_command_writes_all_without_jupyter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kaleido")

    def files(figures: list[Any], paths: list[Path]) -> None:
        for path in paths:
            path.write_bytes(b"x")

    monkeypatch.setattr(figure_files, "_write", files)
    command = ["figures", "--model", str(save_tiny(tmp_path / "m")), "--out", str(tmp_path / "f")]
    command += ["--probes", "2", "--max-tokens", "1500", "--traces", "2", "--quiet"]
    command += ["--tiny-steps", "3"]
    done = CliRunner().invoke(cli.app, command, catch_exceptions=False)
    names = {f"{f.name}.{kind}" for f in PAPER_FIGURES for kind in ("png", "svg", "pdf")}
    assert {p.name for p in (tmp_path / "f").iterdir()} == names | {"README.md"}
    assert len(done.stdout.splitlines()) == len(names) + 1


def test_thirds() -> None:
    assert thirds(840) == (280, 560, 840)
