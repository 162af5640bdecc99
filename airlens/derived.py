"""A score with a confound taken out, as a column that :func:`airlens.select` can rank by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .analysis.statistics import rank_residual
from .errors import ConfigError, DataError


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
