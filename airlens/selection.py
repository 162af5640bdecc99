"""Choose samples by a score (AIR: overall; AttentionInfluence §4.2: within each domain)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from .errors import ConfigError, DataError
from .provenance import provenance

# METHOD §5: what a selector ranks by, higher is kept. "ais_control" is AIS with random heads.
SELECTORS: dict[str, tuple[str, int]] = {
    "ais": ("ais", 1),
    "delta": ("delta", 1),
    "ais_control": ("ais_control", 1),
    "length": ("n_tokens", 1),
    "shortest": ("n_tokens", -1),
    "loss": ("loss_base", 1),
    "loss_low": ("loss_base", -1),
    "entropy": ("entropy", 1),
}
TOP = 0.2  # AttentionInfluence §4.2: the top 20 % of each domain


@dataclass(frozen=True)
class Selection:
    """Which samples were chosen, and why.

    Attributes:
        samples: the samples with ``selector`` (the value ranked by), ``rank_in_group`` (1 = first)
            and ``selected`` added; no row is dropped.
        by: the selector.
        provenance: its settings.
    """

    samples: pd.DataFrame
    by: str
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def chosen(self) -> pd.DataFrame:
        """The rows that were selected, best first."""
        rows = self.samples[self.samples["selected"]]
        return rows.sort_values("selector", ascending=False, kind="stable")

    @property
    def ids(self) -> list[str]:
        """Ids of the selected samples, best first."""
        return list(self.chosen["id"])


def select(
    samples: pd.DataFrame,
    by: str = "ais",
    top: float | int = TOP,
    *,
    within: str | None = "domain",
    seed: int = 0,
) -> Selection:
    """Keep the top samples by a score.

    Args:
        samples: ``Influence.samples``, or any frame with ``id`` and the column ranked by.
        by: ``ais``, ``delta``, ``random``, ``length``, ``shortest``, ``loss``, ``loss_low``,
            ``entropy``, ``ais_control``, or the name of any numeric column (highest kept).
        top: a share of each group (float) or a count of each group (int).
        within: rank within the groups of this column; None: over all.
        seed: of ``random``.

    Rows whose value is NaN (below the loss floor, empty) are ranked last and never selected.

    Raises:
        ConfigError: an unknown selector or share.
        DataError: a column is missing.
    """
    if within is not None and within not in samples:
        raise DataError("no such column to select within", field=within)
    values = selector_values(samples, by, seed)
    frame = samples.assign(selector=values)
    groups = frame[within].fillna("") if within else pd.Series("", index=frame.index)
    # Ties are broken by id, so that the order of the rows decides nothing.
    order = frame.sort_values(["selector", "id"], ascending=[False, True], na_position="last")
    rank = order.groupby(groups.loc[order.index], sort=False).cumcount() + 1
    frame["rank_in_group"] = rank.reindex(frame.index).astype(int)
    size = groups.map(groups.value_counts()).astype(int)
    frame["selected"] = (frame["rank_in_group"] <= _quota(top, size)) & values.notna()
    note = provenance(by=by, top=top, within=within, seed=seed, n=len(frame))
    return Selection(frame, by, note)


def selector_values(samples: pd.DataFrame, by: str, seed: int = 0) -> pd.Series:
    """The value that selector ``by`` ranks each sample by; higher is kept.

    Raises:
        ConfigError: no such selector or column.
    """
    if by == "random":
        # Drawn in the order of ids: the same sample gets the same number in any row order.
        ids = samples["id"].sort_values(kind="stable").index
        drawn = np.random.default_rng(seed).random(len(samples))
        return pd.Series(drawn, index=ids).reindex(samples.index)
    column, sign = SELECTORS.get(by, (by, 1))
    if column not in samples or not pd.api.types.is_numeric_dtype(samples[column]):
        known = ", ".join(["random", *SELECTORS])
        raise ConfigError(f"by={by!r}: use {known}, or a numeric column of the samples")
    return samples[column].astype(float) * sign


def _quota(top: float | int, size: pd.Series) -> pd.Series:
    if isinstance(top, int) and not isinstance(top, bool) and top >= 1:
        return pd.Series(top, index=size.index)
    if not 0 < top <= 1:
        raise ConfigError(f"top={top}: give a share in (0, 1] or a count of at least 1")
    return (size * top).round().clip(lower=1)


def overlap(
    samples: pd.DataFrame,
    selectors: Sequence[str] = ("ais", "random", "length", "loss", "entropy", "ais_control"),
    tops: Sequence[float] = (TOP,),
    *,
    within: str | None = "domain",
    seed: int = 0,
) -> pd.DataFrame:
    """How much the choices of selectors have in common: columns a, b, top, jaccard."""
    rows = []
    for top in tops:
        chosen = {
            by: set(select(samples, by, top, within=within, seed=seed).ids) for by in selectors
        }
        for name in selectors:
            rows.append((name, name, top, 1.0))
        for a, b in combinations(selectors, 2):
            union = len(chosen[a] | chosen[b])
            share = len(chosen[a] & chosen[b]) / union if union else float("nan")
            rows += [(a, b, top, share), (b, a, top, share)]
    return pd.DataFrame(rows, columns=["a", "b", "top", "jaccard"])
