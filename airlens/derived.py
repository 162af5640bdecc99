"""Scores with a confound taken out, as columns that :func:`airlens.select` can rank by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .errors import ConfigError, DataError
from .stats import rank_residual, spearman

BINS = 5  # ours: groups of like length


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


def match(
    samples: pd.DataFrame,
    on: str = "n_tokens",
    *,
    score: str = "ais",
    bins: int = BINS,
    within: str | None = None,
) -> pd.DataFrame:
    """The samples with a column ``<score>_matched``: the score's rank among samples like it.

    The samples are cut into ``bins`` groups of equal size by ``on`` (length by default), and each
    gets the share of its group that it is not below, in (0, 1]. Selecting by it takes as many long
    samples as short ones.

    Raises:
        DataError: a column is missing.
        ConfigError: fewer than one bin.
    """
    _need(samples, [score, on, *([within] if within else [])])
    if bins < 1:
        raise ConfigError(f"bins={bins}: at least one")
    values = np.full(len(samples), np.nan)
    for where in _groups(samples, within):
        part = samples.iloc[where]
        order = part[on].rank(method="first")
        group = ((order - 1) * bins // max(1, len(part))).fillna(-1)
        values[where] = part[score].groupby(group).rank(pct=True).to_numpy()
    return samples.assign(**{f"{score}_matched": values})


def what_changes(
    samples: pd.DataFrame,
    *,
    score: str = "ais",
    on: Sequence[str] = ("loss_base",),
    matched: str = "n_tokens",
    top: float = 0.2,
    within: str | None = "domain",
) -> pd.DataFrame:
    """What taking a confound out changes in the score and in what it selects.

    Returns:
        One row a variant (score, ``<score>_residual``, ``<score>_matched``): variant, the Spearman
        correlations rho_score, rho_loss_base and rho_n_tokens with the score as it was, base loss
        and length, and kept: the share of the original selection that is still selected.
    """
    from .selection import select

    frame = match(residualise(samples, on, score=score), matched, score=score)
    first = set(select(frame, score, top, within=within).ids)
    rows = []
    for variant in (score, f"{score}_residual", f"{score}_matched"):
        chosen = set(select(frame, variant, top, within=within).ids)
        values = frame[variant].to_numpy(np.float64)
        rows.append(
            {
                "variant": variant,
                **{
                    f"rho_{name if name != score else 'score'}": spearman(
                        values, frame[name].to_numpy(np.float64)
                    )
                    for name in (score, "loss_base", "n_tokens")
                },
                "kept": len(first & chosen) / len(first) if first else np.nan,
            }
        )
    return pd.DataFrame(rows)


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
