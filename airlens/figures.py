"""All figures under one name: ``al.figures.head_map(scores.to_frame())``.

Each takes a tidy DataFrame and returns a Plotly figure; none knows a model. The functions live in
the ``figures_*`` modules.
"""

from __future__ import annotations

from .figures_ablation import ablation_curve
from .figures_attention import answer_attention_map
from .figures_corpus import (
    cluster_bars,
    correlation_forest,
    lengths_by_selector,
    sample_map,
    word_overlap_map,
)
from .figures_emergence import emergence_figure, emergence_map
from .figures_heads import head_map, score_ranking
from .figures_needle import generations_figure, needle_grid_figure
from .figures_selection import ais_by_domain, domain_counts, selection_scatter, selector_overlap
from .figures_speed import speed_bars, speed_frame
from .figures_steps import ais_by_label, head_step_heatmap, step_heatmap
from .figures_study import step_weight_bars, study_forest
from .figures_tokens import next_token_bars
from .figures_trace import step_bars, token_strip
from .figures_trust import agreement_figure, detector_curves, mirror_figure, stability_figure
from .figures_validity import (
    auroc_forest,
    correlation_strip,
    influence_by_function,
    matched_pairs,
)
from .trace_html import trace_html

__all__ = [
    "ablation_curve",
    "agreement_figure",
    "ais_by_domain",
    "ais_by_label",
    "answer_attention_map",
    "auroc_forest",
    "cluster_bars",
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
    "needle_grid_figure",
    "next_token_bars",
    "sample_map",
    "score_ranking",
    "selection_scatter",
    "selector_overlap",
    "speed_bars",
    "speed_frame",
    "stability_figure",
    "step_bars",
    "step_heatmap",
    "step_weight_bars",
    "study_forest",
    "token_strip",
    "trace_html",
    "word_overlap_map",
]
