"""All figures under one name: ``al.figures.head_map(scores.to_frame())``.

Each takes a tidy DataFrame and returns a Plotly figure; none knows a model. The functions live in
the ``figures_*`` modules.
"""

from __future__ import annotations

from .figures_ablation import ablation_curve
from .figures_attention import answer_attention_map
from .figures_emergence import emergence_figure
from .figures_heads import head_map, score_ranking
from .figures_needle import generations_figure, needle_grid_figure
from .figures_selection import ais_by_domain, domain_counts, selection_scatter, selector_overlap
from .figures_steps import ais_by_label, head_step_heatmap, step_heatmap
from .figures_study import step_weight_bars, study_forest
from .figures_tokens import next_token_bars
from .figures_trace import step_bars, token_strip
from .figures_trust import agreement_figure, detector_curves, mirror_figure, stability_figure
from .trace_html import trace_html

__all__ = [
    "ablation_curve",
    "agreement_figure",
    "ais_by_domain",
    "ais_by_label",
    "answer_attention_map",
    "detector_curves",
    "domain_counts",
    "emergence_figure",
    "generations_figure",
    "head_map",
    "head_step_heatmap",
    "mirror_figure",
    "needle_grid_figure",
    "next_token_bars",
    "score_ranking",
    "selection_scatter",
    "selector_overlap",
    "stability_figure",
    "step_bars",
    "step_heatmap",
    "step_weight_bars",
    "study_forest",
    "token_strip",
    "trace_html",
]
