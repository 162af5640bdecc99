"""What a score correlates with: length, loss, entropy, overlap with the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from airlens.arguments import checked
from airlens.errors import DataError, need_columns
from airlens.statistics.correlations import Array, correlation_of, ranks, spearman

AGAINST = ("loss_base", "n_tokens", "entropy", "overlap")
SCORES = ("ais", "delta", "ais_control", "delta_control")


@checked
def confound_table(
    samples: pd.DataFrame,
    *,
    scores: Sequence[str] = SCORES,
    against: Sequence[str] = AGAINST,
    within: str | None = "domain",
    each: bool = True,
) -> pd.DataFrame:
    """Spearman's ρ of every score with every confound, over all samples and within domains.

    Args:
        samples: ``Influence.samples``, or steps with the same columns. A confound without a column
            is left out; :func:`airlens.experiments.validity.heuristics.add_overlap` adds
            ``overlap``.
        scores: columns.
        against: columns.
        within: column of the domains; None: only over all.
        each: add a row for each single domain.

    Returns:
        score, against, group ("all", "within <column>": ranks taken inside each domain and put
        together, then each domain's name), rho, lo, hi (jackknife over rows), p (of 0), n.

    Raises:
        DataError: none of the scores or none of the confounds is a column.
    """
    if within not in (None, "domain"):  # a frame without domains is one domain
        need_columns(samples, [within], "confound_table")
    own = [name for name in scores if name in samples and samples[name].notna().any()]
    others = [name for name in against if name in samples and samples[name].notna().any()]
    if not own or not others:
        wanted, field = (scores, "scores") if not own else (against, "against")
        raise DataError(f"the frame has none of {', '.join(wanted)}", field=field)
    domains = samples[within].fillna("") if within and within in samples else None
    several = domains is not None and domains.nunique() > 1
    rows = []
    for score in own:
        for other in others:
            x, y = (samples[name].to_numpy(np.float64) for name in (score, other))
            parts = [("all", correlation_of(x, y))]  # no dict: a domain may be called "all" too
            if several and domains is not None:
                names = domains.to_numpy()
                inside = correlation_of(x, y, partial(_inside, names))
                parts.append((f"within {within}", inside))
                for name in sorted(set(names)) if each else ():
                    alone = correlation_of(x[names == name], y[names == name])
                    parts.append((str(name), alone))
            for group, found in parts:
                numbers = (found.value, *found.interval(), found.p(), found.clusters)
                rows.append((score, other, group, *numbers))
    return pd.DataFrame(rows, columns=["score", "against", "group", "rho", "lo", "hi", "p", "n"])


def _inside(domains: np.ndarray, x: Array, y: Array, places: np.ndarray) -> float:
    """ρ of the ranks within domains, scaled to [0, 1]: removes differences of domains."""
    names = domains[places]
    left, right = np.full(len(x), np.nan), np.full(len(y), np.nan)
    for name in set(names):
        where = (names == name) & np.isfinite(x) & np.isfinite(y)
        if where.sum() > 1:
            span = where.sum() - 1
            left[where] = (ranks(x[where]) - 1) / span
            right[where] = (ranks(y[where]) - 1) / span
    return spearman(left, right)
