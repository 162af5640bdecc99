"""What a score correlates with: length, loss, entropy, overlap with the prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from airlens.arguments import checked
from airlens.errors import DataError, need_columns

from .statistics import N_BOOT, ranks, spearman_interval

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
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> pd.DataFrame:
    """Spearman's ρ of every score with every confound, over all samples and within domains.

    Args:
        samples: ``Influence.samples``, or steps with the same columns. A confound without a column
            is left out; :func:`airlens.validity.heuristics.add_overlap` adds ``overlap``.
        scores: columns.
        against: columns.
        within: column of the domains; None: only over all.
        each: add a row for each single domain.
        n_boot: bootstrap samples, over rows.
        seed: of the bootstrap.

    Returns:
        score, against, group ("all", "within <column>": ranks taken inside each domain and put
        together, then each domain's name), rho, lo, hi, n.

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
            parts = [("all", x, y)]  # no dict: a domain may be called "all" too
            if several and domains is not None:
                names = domains.to_numpy()
                parts.append((f"within {within}", *_inside(x, y, names)))
                for name in sorted(set(names)) if each else ():
                    parts.append((str(name), x[names == name], y[names == name]))
            for group, left, right in parts:
                rho, lo, hi = spearman_interval(left, right, n_boot=n_boot, seed=seed)
                n = int((np.isfinite(left) & np.isfinite(right)).sum())
                rows.append((score, other, group, rho, lo, hi, n))
    return pd.DataFrame(rows, columns=["score", "against", "group", "rho", "lo", "hi", "n"])


def _inside(x: np.ndarray, y: np.ndarray, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of both sides within their domain, scaled to [0, 1]: removes differences of domains."""
    left, right = np.full(len(x), np.nan), np.full(len(y), np.nan)
    for name in set(names):
        where = (names == name) & np.isfinite(x) & np.isfinite(y)
        if where.sum() > 1:
            span = where.sum() - 1
            left[where] = (ranks(x[where]) - 1) / span
            right[where] = (ranks(y[where]) - 1) / span
    return left, right
