"""Choose samples by a score (AIR: overall; AttentionInfluence §4.2: within each domain)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from .errors import ConfigError, DataError
from .provenance import provenance
from .registry import Registry, named
from .shares import Share, how_many, share_or_count

residualise = named("airlens.analysis.residuals:residualise")


@dataclass(frozen=True)
class Ranked:
    """A selector that ranks by a column: by its highest values (sign 1) or its lowest (-1)."""

    column: str
    sign: int = 1

    def __call__(self, samples: pd.DataFrame) -> pd.Series:
        """The value of each sample; higher is kept."""
        return samples[self.column].astype(float) * self.sign


Selector: TypeAlias = Callable[[pd.DataFrame], pd.Series]

# From samples to the value that each is ranked by, higher is kept; with those that were registered
# (:mod:`airlens.plugins`). "ais_control" is AIS with random heads.
SELECTORS: Registry[Selector] = Registry(
    "selector",
    "airlens.selectors",
    {
        **{name: Ranked(name) for name in ("ais", "delta", "ais_control")},
        "length": Ranked("n_tokens"),
        "shortest": Ranked("n_tokens", -1),
        "loss": Ranked("loss_base"),
        "loss_low": Ranked("loss_base", -1),
        **{name: Ranked(name) for name in ("entropy", "ifd")},
    },
)
TOP = 0.2  # AttentionInfluence §4.2: the top 20 % of each domain
LENGTH_BINS = 10  # length-matched: the same share of each tenth of the lengths


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
    top: Share = TOP,
    *,
    within: str | None = "domain",
    seed: int = 0,
    tokens: int | None = None,
    quotas: Mapping[str, Share] | None = None,
    length_matched: bool = False,
    min_loss: float | None = None,
    residual_on: Sequence[str] = (),
) -> Selection:
    """Keep the top samples by a score.

    Args:
        samples: ``Influence.samples``, or any frame with ``id`` and the column ranked by.
        by: ``ais``, ``delta``, ``random``, ``length``, ``shortest``, ``loss``, ``loss_low``,
            ``entropy``, ``ifd``, ``ais_control``, one that was registered, or the name of any
            numeric column (highest kept).
        top: a share of each group (0.2, "20%") or a count of each group (20).
        within: rank within the groups of this column; None: over all.
        seed: of ``random``.
        tokens: instead of ``top``, the best of each group until they hold so many response tokens;
            each group gets its share of this budget, by its tokens.
        quotas: ``top`` for some groups of ``within`` (a share or a count); the others keep ``top``.
        length_matched: choose the same share from each tenth of the lengths of a group (of fewer
            stretches where fewer than ten are chosen), so that the chosen are as long as the rest.
        min_loss: samples with a base loss under this many nats a token are not chosen: a ratio to
            next to nothing says little.
        residual_on: rank by what these columns leave of the score, e.g. ``("loss_base",)``
            (:func:`airlens.residualise`).

    Rows whose value is NaN (below the loss floor, empty) are ranked last and never selected.

    Raises:
        ConfigError: an unknown selector or share, or settings that contradict each other.
        DataError: a column is missing.

    >>> samples = pd.DataFrame({"id": ["a", "b", "c"], "domain": "maths", "ais": [0.1, 0.5, 0.3]})
    >>> select(samples, "ais", 2).ids
    ['b', 'c']
    """
    if within is not None and within not in samples:
        raise DataError("no such column to select within", field=within)
    if quotas and within is None:
        raise ConfigError("quotas are for groups: name the column with within")
    if tokens is not None and (quotas or tokens < 1):
        raise ConfigError("a token budget is a number of at least 1, and takes no quotas")
    frame = samples.assign(selector=selector_values(samples, by, seed))
    if residual_on:
        frame["selector"] = residualise(frame, residual_on, score="selector")["selector_residual"]
    eligible = frame["selector"].notna()
    if min_loss is not None:
        eligible &= need_column(samples, "loss_base") >= min_loss
    groups = frame[within].fillna("").astype(str) if within else pd.Series("", frame.index)
    wanted = _wanted(top, quotas or {}, groups)
    cells = groups
    if length_matched:
        # Each tenth gives one at least; where fewer are wanted, the stretches are longer.
        most = pd.Series(LENGTH_BINS, groups.index) if tokens else groups.map(wanted)
        cells = _length_cells(frame, groups, most.clip(1, LENGTH_BINS))
    frame["rank_in_group"] = _ranks(frame, cells, eligible)
    if tokens is None:
        kept = frame["rank_in_group"] <= _counts(wanted, groups, cells)
    else:
        kept = _within_budget(frame, cells, eligible, tokens)
    frame["selected"] = kept & eligible
    how: dict[str, Any] = {"by": by, "top": top, "within": within, "seed": seed, "n": len(frame)}
    how |= {"tokens": tokens, "quotas": dict(quotas or {}), "length_matched": length_matched}
    how |= {"min_loss": min_loss, "residual_on": list(residual_on)}
    return Selection(frame, by, provenance(**how))


def need_column(samples: pd.DataFrame, name: str) -> pd.Series:
    """A column of the samples, or a :class:`DataError` that names those there are."""
    if name not in samples:
        raise DataError(f"no such column; there are: {', '.join(map(str, samples))}", field=name)
    return samples[name]


def _ranks(frame: pd.DataFrame, cells: pd.Series, eligible: pd.Series) -> pd.Series:
    """1 for the best of each cell; those that cannot be chosen come last."""
    keyed = frame[["selector", "id"]].assign(eligible=eligible)
    # Ties are broken by id, so that the order of the rows decides nothing.
    order = keyed.sort_values(["eligible", "selector", "id"], ascending=[False, False, True])
    return _places(order.index, cells) + 1


def _places(order: pd.Index, cells: pd.Series) -> pd.Series:
    """Place of each sample in its cell, from 0, where the samples come in this order."""
    return cells.loc[order].groupby(cells.loc[order], sort=False).cumcount().reindex(cells.index)


def _length_cells(frame: pd.DataFrame, groups: pd.Series, bins: pd.Series) -> pd.Series:
    """The stretch of its group's lengths that each sample lies in, as a name of its own.

    ``bins``: for each sample into how many equal stretches its group is cut.
    """
    lengths = need_column(frame, "n_tokens").astype(float)
    order = pd.DataFrame({"length": lengths, "id": frame["id"]}).sort_values(["length", "id"])
    size = groups.map(groups.value_counts())
    stretch = (_places(order.index, groups) * bins // size).astype(int)
    return groups + "\x00" + stretch.map("{:02d}".format)


def _wanted(top: Share, quotas: Mapping[str, Share], groups: pd.Series) -> dict[str, int]:
    """How many of each group are wanted."""
    unknown = sorted(set(quotas) - set(groups))
    if unknown:
        known = ", ".join(sorted(set(groups)))
        raise ConfigError(f"a quota for {unknown[0]!r}, which is none of: {known}")
    share_or_count(top)
    sizes = groups.value_counts().to_dict()
    picks = {str(name): quotas.get(str(name), top) for name in sizes}
    # a quota of 0 leaves its group out
    return {name: 0 if pick == 0 else how_many(pick, sizes[name]) for name, pick in picks.items()}


def _counts(wanted: Mapping[str, int], groups: pd.Series, cells: pd.Series) -> pd.Series:
    """How many of each sample's cell are kept: a group's number, shared out by the cells' sizes.

    Rounded along the order of the cells (tenths of the lengths), so that where there is less than
    one for each, those that get one lie evenly among the rest.
    """
    sizes = cells.groupby([groups.to_numpy(), cells.to_numpy()]).size()
    share = sizes.index.get_level_values(0).map(wanted) / sizes.groupby(level=0).transform("sum")
    exact = sizes * share.clip(upper=1.0)
    edges = np.floor(exact.groupby(level=0).cumsum() + 0.5 + 1e-9)
    counts = edges.groupby(level=0).diff().fillna(edges)
    return cells.map(counts.droplevel(0)).astype(int)


def _within_budget(
    frame: pd.DataFrame, cells: pd.Series, eligible: pd.Series, tokens: int
) -> pd.Series:
    """The best of each cell while their tokens fit into the cell's share of the budget."""
    lengths = need_column(frame, "n_tokens").astype(float).where(eligible, 0.0)
    shares = lengths.groupby(cells).transform("sum") / max(1.0, float(lengths.sum()))
    order = frame["rank_in_group"].sort_values(kind="stable").index
    used = lengths.loc[order].groupby(cells.loc[order], sort=False).cumsum().reindex(frame.index)
    return used <= shares * tokens


def selector_values(samples: pd.DataFrame, by: str, seed: int = 0) -> pd.Series:
    """The value that ``by`` ranks each sample by, higher is kept; else a :class:`ConfigError`."""
    if by == "random":
        # Drawn in the order of ids: the same sample gets the same number in any row order.
        ids = samples["id"].sort_values(kind="stable").index
        drawn = np.random.default_rng(seed).random(len(samples))
        return pd.Series(drawn, index=ids).reindex(samples.index)
    selector = SELECTORS[by] if by in SELECTORS else Ranked(by)
    if isinstance(selector, Ranked):
        column = selector.column
        if by == "ifd" and column not in samples:
            raise ConfigError("by='ifd': these samples were scored without it; score with --ifd")
        if column not in samples or not is_numeric_dtype(samples[column]):
            known = ", ".join(["random", *SELECTORS])
            raise ConfigError(f"by={by!r}: use {known}, or a numeric column of the samples")
    values = pd.Series(selector(samples))
    if not (is_numeric_dtype(values) and values.index.equals(samples.index)):
        wanted = f"numeric Series with the index of its {len(samples)} samples"
        raise ConfigError(f"selector {by!r} gave no {wanted}")
    return values.astype(float)
