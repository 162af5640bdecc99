"""The figures and tables of the papers, each beside our reproduction at our scale.

Numbers of the papers are those of AttentionInfluence (see METHOD §7); ours come from a
:class:`~airlens.demo.DemoResult` and from the runs of the selection study.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from . import figures
from .bundled import data_path
from .errors import ConfigError
from .selection import overlap
from .study import STUDY_FILE, read_runs, study_table

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from .demo import DemoResult

# AttentionInfluence Table 6: the 1.3B model, with as many random heads masked, and with its
# retrieval heads masked.
TABLE_6 = pd.DataFrame(
    [
        ("MMLU", 0.426, 0.417, 0.309),
        ("GSM8K", 0.182, 0.127, 0.007),
        ("BBH", 0.317, 0.301, 0.043),
        ("DROP", 0.234, 0.219, 0.114),
        ("HumanEval", 0.171, 0.116, 0.110),
    ],
    columns=["task", "base", "random heads", "retrieval heads"],
)
OVERLAP_TOPS = (0.1, 0.2, 0.5)  # AttentionInfluence Table 4


@dataclass(frozen=True)
class PaperFigure:
    """One figure: its file name, what the paper shows there, and how ours is made."""

    name: str
    paper: str
    shows: str
    make: Callable[[DemoResult], go.Figure] | None


PAPER_FIGURES: tuple[PaperFigure, ...] = (
    PaperFigure(
        "head_map",
        "AttentionInfluence fig. 2; AIR",
        "Layers × heads of a 1.3B model: some 5 % of the heads stand out.",
        lambda r: figures.head_map(r.scores.to_frame()),
    ),
    PaperFigure(
        "head_ranking",
        "Wu et al. 2404.15574; AIR",
        "Retrieval heads are few; most heads never copy.",
        lambda r: figures.score_ranking(r.scores.to_frame()),
    ),
    PaperFigure(
        "masking",
        "AttentionInfluence table 6; Wu et al.",
        "Masking retrieval heads costs far more than masking as many random ones.",
        lambda r: figures.ablation_curve(r.curve),
    ),
    PaperFigure(
        "steps_of_a_trace",
        "AIR",
        "Influence differs from step to step of one trace.",
        lambda r: figures.step_bars(r.influence.steps, _longest(r)),
    ),
    PaperFigure(
        "influence_by_label",
        "AIR",
        "Steps that reason lean on the retrieval heads.",
        lambda r: figures.ais_by_label(r.influence.steps),
    ),
    PaperFigure(
        "influence_and_length",
        "AttentionInfluence table 3",
        "The token length of what is selected, beside what is not.",
        lambda r: figures.selection_scatter(r.selection.samples),
    ),
    PaperFigure(
        "influence_by_domain",
        "AttentionInfluence §6",
        "Domains differ in their scores; hence the selection within domains.",
        lambda r: figures.ais_by_domain(r.influence.samples),
    ),
    PaperFigure(
        "selector_overlap",
        "AttentionInfluence table 4",
        "What two selectors choose overlaps in part, at the top 10, 20 and 50 %.",
        lambda r: figures.selector_overlap(_overlap(r)),
    ),
    PaperFigure(
        "training",
        "AIR; AttentionInfluence §5",
        "Training on what was selected is better than training on a random selection.",
        None,
    ),
)


def make_figures(result: DemoResult, runs: pd.DataFrame | None = None) -> dict[str, go.Figure]:
    """All figures by file name; that of the training is left out without runs."""
    made = {f.name: f.make(result) for f in PAPER_FIGURES if f.make is not None}
    if runs is not None and len(runs):
        table = study_table(runs)
        # One setting a figure: the largest that was run.
        setting = "gpu" if "gpu" in set(table["setting"]) else table["setting"].iloc[0]
        made["training"] = figures.study_forest(table[table["setting"] == setting])
    return made


def study_runs(path: str | Path | None = None) -> pd.DataFrame | None:
    """The runs of the selection study: from ``path``, else the bundled ones, else None.

    Raises:
        DataError: ``path`` is not such a file.
    """
    if path is not None:
        return read_runs(path)
    try:
        return read_runs(data_path(STUDY_FILE))
    except ConfigError:
        return None


def _overlap(result: DemoResult) -> pd.DataFrame:
    return overlap(result.influence.samples, tops=OVERLAP_TOPS)


def _longest(result: DemoResult) -> str:
    """The trace with the most steps: the most to see."""
    samples = result.influence.samples
    return str(samples.sort_values(["n_steps", "id"])["id"].iloc[-1])
