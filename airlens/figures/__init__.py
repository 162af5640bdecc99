"""All figures under one name: ``al.figures.head_map(scores.to_frame())``.

Each takes a tidy DataFrame and returns a Plotly figure, without a model. The functions live in the
modules of this package. Registered figures (:mod:`airlens.plugins`) are available here too.
May import: of the core, arguments, errors, files and registry; storage.
Imported by: explorers, reports, paper, cli.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airlens.registry import Registry

from .arcs import source_arcs
from .coloured_text import trace_html
from .copying_curve import ablation_curve
from .corpus_samples import (
    cluster_bars,
    correlation_forest,
    lengths_by_selector,
    sample_map,
    word_overlap_map,
)
from .detector_comparison import (
    agreement_figure,
    detector_curves,
    mirror_figure,
    stability_figure,
)
from .detector_comparison import rank_figure as rank_figure
from .emergence import emergence_figure, emergence_map
from .head_attention import answer_attention_map
from .head_maps import head_map, score_ranking
from .image_files import save_figures as save_figures
from .model_comparison import models_bars, models_forest, models_side_by_side
from .needle_grids import generations_figure, needle_grid_figure
from .next_tokens import next_token_bars
from .selected_samples import ais_by_domain, domain_counts, selection_scatter, selector_overlap
from .single_trace import step_bars, token_strip
from .source_matrix import step_sources
from .source_truth import source_truth
from .speed import speed_bars, speed_frame
from .step_maps import ais_by_label, head_step_heatmap, step_heatmap
from .step_validity import (
    auroc_forest,
    correlation_strip,
    influence_by_function,
    matched_pairs,
)
from .training_arms import arm_differences, composition_map, step_weight_bars, study_forest

__all__ = [
    "ablation_curve",
    "agreement_figure",
    "ais_by_domain",
    "ais_by_label",
    "answer_attention_map",
    "arm_differences",
    "auroc_forest",
    "cluster_bars",
    "composition_map",
    "correlation_forest",
    "correlation_strip",
    "detector_curves",
    "domain_counts",
    "emergence_figure",
    "emergence_map",
    "generations_figure",
    "head_map",
    "head_step_heatmap",
    "influence_by_function",
    "lengths_by_selector",
    "matched_pairs",
    "mirror_figure",
    "models_bars",
    "models_forest",
    "models_side_by_side",
    "needle_grid_figure",
    "next_token_bars",
    "sample_map",
    "score_ranking",
    "selection_scatter",
    "selector_overlap",
    "source_arcs",
    "source_truth",
    "speed_bars",
    "speed_frame",
    "stability_figure",
    "step_bars",
    "step_heatmap",
    "step_sources",
    "step_weight_bars",
    "study_forest",
    "token_strip",
    "trace_html",
    "word_overlap_map",
]

# By name, registered ones included: (frame, *, title=None) -> Plotly figure.
FIGURES: Registry[Callable[..., Any]] = Registry(
    "figure", "airlens.figures", {name: globals()[name] for name in __all__}
)


def __getattr__(name: str) -> Any:
    # The modules of this package come here too while they are being imported.
    if not name.startswith("_") and "FIGURES" in globals() and name in FIGURES:
        return FIGURES[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *FIGURES})
