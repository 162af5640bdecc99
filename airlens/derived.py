"""A score with a confound taken out, as a column that :func:`airlens.select` can rank by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .errors import ConfigError, DataError
from .stats import rank_residual


def residualise(
    samples: pd.DataFrame,
    on: Sequence[str] = ("loss_base",),
    *,
    score: str = "ais",
    within: str | None = None,
) -> pd.DataFrame:
    """The samples (or steps) with a column ``<score>_residual``.

    The residual of a linear fit of the score's ranks on the ranks of ``on``, in ranks; what is left
    has no linear rank correlation with them. Ranks, because AIS is a ratio with a long tail.

    Args:
        samples: with the columns named.
        on: what is taken out.
        score: from what.
        within: fit within the groups of this column; None: one fit.

    Raises:
        DataError: a column is missing.
        ConfigError: nothing to take out.
    """
    _need(samples, [score, *on, *([within] if within else [])])
    if not on:
        raise ConfigError("on=() takes nothing out; name a column such as 'loss_base'")
    groups = _groups(samples, within)
    values = np.full(len(samples), np.nan)
    for where in groups:
        part = samples.iloc[where]
        columns = [part[name].to_numpy(np.float64) for name in (score, *on)]
        values[where] = rank_residual(columns[0], columns[1:])
    return samples.assign(**{f"{score}_residual": values})


def what_changes(
    samples: pd.DataFrame,
    *,
    score: str = "ais",
    on: Sequence[str] = ("loss_base",),
    top: float = 0.2,
    within: str | None = "domain",
) -> pd.DataFrame:
    """What taking loss or length out of a score changes in what is selected.

    Args:
        samples: ``Influence.samples``.
        score: the column selected by.
        on: what is taken out.
        top: the share selected.
        within: of each group of this column.

    Returns:
        score, variant ("as it is", "residual on …", "length-matched"), kept (share of the original
        selection still selected), and of the selected samples: n, tokens (median length) and loss
        (median base loss); the row "all samples" is the pool.
    """
    from .selection import select

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


def _need(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in frame]
    if missing:
        raise DataError(
            f"no such column; there are: {', '.join(map(str, frame))}", field=missing[0]
        )


def _groups(frame: pd.DataFrame, within: str | None) -> list[np.ndarray]:
    """Row numbers of each group."""
    if within is None:
        return [np.arange(len(frame))]
    codes = frame[within].fillna("").astype("category").cat.codes.to_numpy()
    return [np.flatnonzero(codes == code) for code in np.unique(codes)]
