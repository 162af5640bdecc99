"""The figures and tables of the papers, each beside our reproduction at our scale.

Numbers of the papers are those of AttentionInfluence (2505.07293), Wu et al. (2404.15574) and AIR
(2512.13279); ours come from :class:`~airlens.experiments.paper.measurements.PaperData`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from airlens.errors import ConfigError
from airlens.experiments.figures.detector_comparison import mirror_figure
from airlens.experiments.figures.emergence import emergence_map
from airlens.experiments.figures.needle_grids import needle_grid_figure
from airlens.experiments.figures.training_arms import study_forest
from airlens.experiments.mirror import mirror_summary
from airlens.experiments.studies.study import STUDY_FILE, largest_setting, read_runs, study_table
from airlens.files import data_path
from airlens.views.figures.copying_curve import ablation_curve
from airlens.views.figures.corpus_samples import (
    cluster_bars,
    lengths_by_selector,
    sample_map,
    word_overlap_map,
)
from airlens.views.figures.head_maps import head_map, score_ranking
from airlens.views.figures.selected_samples import (
    ais_by_domain,
    selection_scatter,
    selector_overlap,
)
from airlens.views.figures.single_trace import step_bars
from airlens.views.figures.step_maps import ais_by_label
from airlens.views.figures.style import no_data

from . import captions as paper_text
from .measurements import PaperData, masking_table

if TYPE_CHECKING:
    import plotly.graph_objects as go

# AttentionInfluence (2505.07293) Table 6: the 1.3B model, with as many random heads masked, and
# with its retrieval heads masked.
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


@dataclass(frozen=True)
class PaperFigure:
    """One figure.

    Attributes:
        name: file name without suffix.
        paper: where it stands in the paper.
        shows: the paper's finding.
        make: draws our figure.
        says: whether our result agrees, in sentences from the same tables.
    """

    name: str
    paper: str
    shows: str
    make: Callable[[PaperData], go.Figure]
    says: Callable[[PaperData], str]


PAPER_FIGURES: tuple[PaperFigure, ...] = (
    PaperFigure(
        "head_map",
        "AttentionInfluence fig. 2; AIR",
        "Layers × heads of a 1.3B model: some 5 % of the heads stand out.",
        lambda d: head_map(d.demo.scores.to_frame()),
        paper_text.heads_text,
    ),
    PaperFigure(
        "head_ranking",
        "Wu et al. 2404.15574 §3; AIR",
        "Fewer than 5 % of the heads retrieve, in models of several families.",
        lambda d: score_ranking(d.demo.scores.to_frame()),
        paper_text.heads_text,
    ),
    PaperFigure(
        "emergence",
        "AttentionInfluence fig. 2",
        "From 5B to 1,499B training tokens heads emerge, strengthen and settle.",
        lambda d: emergence_map(d.emergence.heads),
        paper_text.emergence_text,
    ),
    PaperFigure(
        "masking",
        "Wu et al. 2404.15574 §4",
        "Masking retrieval heads costs far more than masking as many random ones.",
        lambda d: ablation_curve(d.demo.curve),
        paper_text.masking_text,
    ),
    PaperFigure(
        "masking_table",
        "AttentionInfluence table 6",
        "GSM8K .182 falls to .127 with random heads masked and to .007 with retrieval heads.",
        lambda d: mirror_figure(mirror_summary(masking_table(d))),
        paper_text.table_text,
    ),
    PaperFigure(
        "needle_grid",
        "Wu et al. 2404.15574 fig. 1",
        "The needle is lost with the top heads masked, and found with random heads masked.",
        lambda d: needle_grid_figure(d.needles),
        paper_text.needle_text,
    ),
    PaperFigure(
        "steps_of_a_trace",
        "AIR",
        "Influence differs from step to step of one trace.",
        lambda d: step_bars(d.demo.influence.steps, _longest(d)),
        paper_text.steps_text,
    ),
    PaperFigure(
        "influence_by_label",
        "AIR",
        "Steps that reason lean on the retrieval heads.",
        lambda d: ais_by_label(d.demo.influence.steps),
        paper_text.labels_text,
    ),
    PaperFigure(
        "influence_by_domain",
        "AttentionInfluence §4.2",
        "Domains differ in their scores; hence the selection within domains.",
        lambda d: ais_by_domain(d.demo.influence.samples),
        paper_text.domains_text,
    ),
    PaperFigure(
        "influence_and_length",
        "asked by readers of both papers",
        "Is the score length in disguise?",
        lambda d: selection_scatter(d.demo.selection.samples),
        paper_text.lengths_text,
    ),
    PaperFigure(
        "length_of_selected",
        "AttentionInfluence table 3",
        "Mean token length of what is selected, beside what a classifier selects.",
        lambda d: lengths_by_selector(d.lengths),
        paper_text.lengths_text,
    ),
    PaperFigure(
        "selector_overlap",
        "AttentionInfluence table 4",
        "How much two selectors have in common at the top 10, 20 and 50 %.",
        lambda d: selector_overlap(d.overlap),
        paper_text.overlap_text,
    ),
    PaperFigure(
        "word_overlap",
        "AttentionInfluence table 4",
        "Top words (TF, TF-IDF) that two selections share at the top 10, 20 and 50 %.",
        lambda d: word_overlap_map(d.words),
        paper_text.words_text,
    ),
    PaperFigure(
        "sample_map",
        "AttentionInfluence fig. 4 and 5",
        "Principal components of what is selected, among all.",
        lambda d: sample_map(d.map),
        paper_text.clusters_text,
    ),
    PaperFigure(
        "cluster_shares",
        "AttentionInfluence fig. 6",
        "Shares of clusters among the selected and among all.",
        lambda d: cluster_bars(d.clusters),
        paper_text.clusters_text,
    ),
    PaperFigure(
        "training",
        "AIR; AttentionInfluence §5",
        "Training on what was selected is better than training on a random selection.",
        lambda d: _training(d.runs),
        lambda d: paper_text.study_text(d.runs),
    ),
)


def make_figures(data: PaperData) -> dict[str, go.Figure]:
    """All figures by file name."""
    return {figure.name: figure.make(data) for figure in PAPER_FIGURES}


def captions(data: PaperData) -> str:
    """Our result of each figure beside the paper's, as Markdown."""
    parts = [f"## {f.name}\n\n*{f.paper}:* {f.shows}\n\n{f.says(data)}\n" for f in PAPER_FIGURES]
    return "# The papers' figures, at our scale\n\n" + "\n".join(parts)


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


def _training(runs: pd.DataFrame | None) -> go.Figure:
    if runs is None or runs.empty:
        why = "no runs: python benchmarks/selection_study.py"
        return no_data("Held-out NLL after training", why)
    return study_forest(study_table(largest_setting(runs)))


def _longest(data: PaperData) -> str:
    """The trace with the most steps: the most to see."""
    samples = data.demo.influence.samples
    return str(samples.sort_values(["n_steps", "id"])["id"].iloc[-1])
