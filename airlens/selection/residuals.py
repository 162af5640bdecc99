"""What is left of a score once other columns are taken out of it, in ranks (ours)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from airlens.arguments import checked
from airlens.errors import ConfigError, DataError
from airlens.statistics.correlations import rank_residual


@checked
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
    for name in (score, *on, *([within] if within else [])):
        need_column(samples, name)
    if not on:
        raise ConfigError("on=() takes nothing out; name a column such as 'loss_base'")
    keys = groups_of(samples, within).to_numpy()
    columns = samples[[score, *on]].to_numpy(np.float64)
    values = np.full(len(samples), np.nan)
    for where in pd.Series(keys).groupby(keys).indices.values():
        values[where] = rank_residual(columns[where, 0], list(columns[where, 1:].T))
    return samples.assign(**{f"{score}_residual": values})


def groups_of(samples: pd.DataFrame, within: str | None) -> pd.Series:
    """The group of each sample as text: "" without one, and for all where nothing is given."""
    if not within:
        return pd.Series("", samples.index)
    return samples[within].astype(object).where(samples[within].notna(), "").astype(str)


def need_column(samples: pd.DataFrame, name: str) -> pd.Series:
    """A column of the samples, or a :class:`DataError` that names those there are."""
    if name not in samples:
        raise DataError(f"no such column; there are: {', '.join(map(str, samples))}", field=name)
    return samples[name]
