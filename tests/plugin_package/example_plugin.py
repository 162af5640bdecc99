"""A package from outside: one detector, ablation mode, selector, splitter and figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

import airlens as al
from airlens.traces.step import cut_at


def last_layers(model: Any, probes: Any, *, progress: bool = True, power: float = 1.0) -> Any:
    """A head's score is its layer, whatever the probes."""
    n_layers, n_heads = int(model.cfg.n_layers), int(model.cfg.n_heads)
    scores = np.repeat(np.arange(n_layers, dtype=np.float32)[:, None], n_heads, axis=1) ** power
    return al.HeadScores(scores, np.repeat(scores[None], len(probes), axis=0))


def negated(model: Any, layer: int, heads: list[int]) -> Any:
    """The heads write the opposite of what they would."""

    def edit(z: Any) -> Any:
        z = z.clone()
        z[:, :, heads] *= -1
        return z

    return f"blocks.{layer}.attn.hook_z", edit


def fewest_steps(samples: Any) -> Any:
    """Samples with few steps first."""
    return -samples["n_steps"]


def commas(response: str) -> Any:
    """A step ends at each comma."""
    return cut_at(response, [i + 1 for i, char in enumerate(response) if char == ","])


def count_bar(frame: Any, *, title: str | None = None) -> go.Figure:
    """One bar: the number of rows."""
    return go.Figure(go.Bar(y=[len(frame)])).update_layout(title_text=title)
