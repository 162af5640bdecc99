"""All figures under one name: ``al.figures.head_map(scores.to_frame())``.

Each takes a tidy DataFrame and returns a Plotly figure, without a model. Those of single traces,
heads and selections live in `airlens.views.figures`, those of experiments in
`airlens.experiments.figures`; registered ones (:mod:`airlens.plugins`) are here too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .registry import Registry
from .views.figures.accuracy_bars import accuracy_bars
from .views.figures.arcs import source_arcs
from .views.figures.coloured_text import trace_html
from .views.figures.copying_curve import ablation_curve
from .views.figures.corpus_samples import (
    cluster_bars,
    correlation_forest,
    lengths_by_selector,
    sample_map,
    word_overlap_map,
)
from .views.figures.early_answer_figures import early_answer_curve, step_gain_bars
from .views.figures.fact_paths import fact_path
from .views.figures.head_attention import answer_attention_map
from .views.figures.head_maps import head_map, score_ranking
from .views.figures.head_parts import head_parts
from .views.figures.image_files import save_figures as save_figures
from .views.figures.next_tokens import next_token_bars
from .views.figures.selected_samples import (
    ais_by_domain,
    domain_counts,
    selection_scatter,
    selector_overlap,
)
from .views.figures.single_trace import step_bars, token_strip
from .views.figures.source_matrix import step_sources
from .views.figures.step_maps import ais_by_label, head_step_heatmap, step_heatmap

# The figures of experiments, where these are installed: the library works without them.
try:
    from .experiments.figures.detector_comparison import (
        agreement_figure,
        detector_curves,
        mirror_figure,
        stability_figure,
    )
    from .experiments.figures.detector_comparison import rank_figure as rank_figure
    from .experiments.figures.emergence import emergence_figure, emergence_map
    from .experiments.figures.model_comparison import (
        models_bars,
        models_forest,
        models_side_by_side,
    )
    from .experiments.figures.needle_grids import generations_figure, needle_grid_figure
    from .experiments.figures.source_truth import source_truth
    from .experiments.figures.speed import speed_bars, speed_frame
    from .experiments.figures.step_validity import (
        auroc_forest,
        correlation_strip,
        influence_by_function,
        matched_pairs,
    )
    from .experiments.figures.training_arms import (
        arm_differences,
        composition_map,
        step_weight_bars,
        study_forest,
    )
except ModuleNotFoundError as error:
    if not str(error.name).startswith("airlens.experiments"):
        raise

__all__ = [
    "ablation_curve",
    "accuracy_bars",
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
    "early_answer_curve",
    "emergence_figure",
    "emergence_map",
    "fact_path",
    "generations_figure",
    "head_map",
    "head_parts",
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
    "step_gain_bars",
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
    "figure", "airlens.figures", {name: globals()[name] for name in __all__ if name in globals()}
)


def __getattr__(name: str) -> Any:
    if not name.startswith("_") and "FIGURES" in globals() and name in FIGURES:
        return FIGURES[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *FIGURES})
