"""How a selection changes when a confound is removed from the score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from airlens.selection.select import select


def what_changes(
    samples: pd.DataFrame,
    *,
    score: str = "ais",
    on: Sequence[str] = ("loss_base",),
    top: float = 0.2,
    within: str | None = "domain",
) -> pd.DataFrame:
    """How a selection changes when loss or length is removed from the score.

    Args:
        samples: ``Influence.samples``.
        score: the column selected by.
        on: the columns to remove.
        top: the share selected.
        within: of each group of this column.

    Returns:
        score, variant ("as it is", "residual on …", "length-matched"), kept (share of the original
        selection still selected), and of the selected samples: n, tokens (median length) and loss
        (median base loss); the row "all samples" is the pool.
    """
    variants: dict[str, dict[str, Any]] = {
        "as it is": {},
        f"residual on {', '.join(on)}": {"residual_on": on},
        "length-matched": {"length_matched": True},
    }
    first: set[str] = set()
    rows = []
    for variant, options in variants.items():
        chosen = select(samples, score, top, within=within, **options).chosen
        first = first or set(chosen["id"])
        kept = len(first & set(chosen["id"])) / len(first) if first else np.nan
        rows.append((score, variant, kept, *_summary(chosen)))
    rows.append((score, "all samples", np.nan, *_summary(samples)))
    return pd.DataFrame(rows, columns=["score", "variant", "kept", "n", "tokens", "loss"])


def _summary(samples: pd.DataFrame) -> tuple[int, float, float]:
    medians = samples[["n_tokens", "loss_base"]].median()
    return len(samples), float(medians["n_tokens"]), float(medians["loss_base"])
