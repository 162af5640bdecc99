"""Choose samples by a score (AIR: overall; AttentionInfluence §4.2: within each domain)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from airlens.arguments import checked, expected
from airlens.errors import ConfigError, DataError
from airlens.provenance import provenance
from airlens.registry import Registry
from airlens.shares import Share, how_many, share_or_count

from .residuals import groups_of, need_column, residualise


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
# (:mod:`airlens.plugins`). "ais_control" is AIS with random heads; "gain" and "depends" are columns
# of `EarlyAnswers.samples`.
SELECTORS: Registry[Selector] = Registry(
    "selector",
    "airlens.selectors",
    {
        **{name: Ranked(name) for name in ("ais", "delta", "ais_control")},
        "length": Ranked("n_tokens"),
        "shortest": Ranked("n_tokens", -1),
        "loss": Ranked("loss_base"),
        "loss_low": Ranked("loss_base", -1),
        **{name: Ranked(name) for name in ("entropy", "ifd", "gain", "depends", "ais_novel")},
        "rsr": Ranked("rsr", -1),
        **{name: Ranked(name) for name in ("lalp", "fai", "waad", "circuit")},
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
        notes: sentences on where the outcome is not what the settings say: rows without a value,
            groups too small for their share, ties at the cut.
    """

    samples: pd.DataFrame
    by: str
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def chosen(self) -> pd.DataFrame:
        """The rows that were selected, best first."""
        rows = self.samples[self.samples["selected"]]
        return rows.sort_values("selector", ascending=False, kind="stable")

    @property
    def ids(self) -> list[str]:
        """Ids of the selected samples, best first."""
        return list(self.chosen["id"])


@checked
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
    at_most: float | None = None,
    residual_on: Sequence[str] = (),
) -> Selection:
    """Keep the top samples by a score.

    Args:
        samples: ``Influence.samples``, or any frame with ``id`` and the column ranked by, whatever
            its index. No id may come twice (in a frame of steps: no step of an id).
        by: ``ais``, ``delta``, ``random``, ``length``, ``shortest``, ``loss``, ``loss_low``,
            ``entropy``, ``ifd``, ``ais_novel``, ``ais_control``, ``rsr`` (lowest kept), ``lalp``,
            ``fai``, ``waad`` or ``circuit`` (of :func:`airlens.rival_scores`), ``gain`` or
            ``depends`` (of ``EarlyAnswers.samples``), one that was registered, or the name of any
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
        at_most: samples with a value over this are not chosen; Cherry LLM's own code leaves out an
            IFD over 1.
        residual_on: rank by what these columns leave of the score, e.g. ``("loss_base",)``
            (:func:`airlens.residualise`).

    Rows whose value is NaN (below the loss floor, empty) are ranked last and never selected. A
    group too small for its share gives one row. `Selection.notes` says where that happened.

    Raises:
        ConfigError: an unknown selector or share, or settings that contradict each other.
        DataError: a column is missing or there twice, or an id is.

    >>> samples = pd.DataFrame({"id": ["a", "b", "c"], "domain": "maths", "ais": [0.1, 0.5, 0.3]})
    >>> select(samples, "ais", 2).ids
    ['b', 'c']
    """
    _check(samples, within)
    if quotas is not None and not isinstance(quotas, Mapping):
        raise expected("a share or a count by group, {'maths': 0.5}", quotas, "quotas")
    if quotas and within is None:
        raise ConfigError("quotas are for groups: name the column with within")
    if tokens is not None and (quotas or tokens < 1):
        raise ConfigError("a token budget is a number of at least 1, and takes no quotas")
    for name, limit in (("min_loss", min_loss), ("at_most", at_most)):
        if limit is not None and np.isnan(limit):
            raise ConfigError("give a number", argument=name, value=limit)
    # An index may repeat (two results concatenated): rows are told apart by their place.
    frame = samples.reset_index(drop=True)
    frame["selector"] = selector_values(frame, by, seed)
    # of the score as it is, also where the lowest are kept
    value = _sign(by) * frame["selector"]
    over = value > (np.inf if at_most is None else at_most)
    if residual_on:
        frame["selector"] = residualise(frame, residual_on, score="selector")["selector_residual"]
    eligible = frame["selector"].notna() & ~over
    if min_loss is not None:
        eligible &= need_column(frame, "loss_base") >= min_loss
    groups = groups_of(frame, within)
    wanted = _wanted(top, quotas or {}, groups)
    cells = groups
    if length_matched:
        # Each tenth gives one at least; where fewer are wanted, the stretches are longer.
        most = pd.Series(LENGTH_BINS, groups.index) if tokens else groups.map(wanted).astype(int)
        cells = _length_cells(frame, groups, most.clip(1, LENGTH_BINS))
    frame["rank_in_group"] = _ranks(frame, cells, eligible)
    if tokens is None:
        kept = frame["rank_in_group"] <= _counts(wanted, groups, cells)
    else:
        kept = _within_budget(frame, cells, eligible, tokens)
    frame["selected"] = kept & eligible
    how: dict[str, Any] = {"by": by, "top": top, "within": within, "seed": seed, "n": len(frame)}
    how |= {"tokens": tokens, "quotas": dict(quotas or {}), "length_matched": length_matched}
    how |= {"min_loss": min_loss, "at_most": at_most, "residual_on": list(residual_on)}
    told = [*_notes_on_rows(frame, by, cells, eligible)]
    told += _notes_on_groups(frame, groups, eligible, how, wanted)
    frame.index = samples.index
    return Selection(frame, by, provenance(**how, notes=told), tuple(told))


def _sign(by: str) -> int:
    """-1 for a selector whose values are those of a column turned round, else 1."""
    selector = _selector(by)
    return selector.sign if isinstance(selector, Ranked) else 1


def _selector(by: str) -> Selector:
    """One that is registered, or a column by its highest values."""
    return SELECTORS[by] if by in SELECTORS else Ranked(by)


def columns_to_rank(by: str, within: str | None = None) -> list[str] | None:
    """The columns of a large table that `select` looks at, to read no others; None: all.

    They are those for ``by``, ``within``, ``min_loss``, ``tokens`` and ``length_matched``.
    """
    selector = _selector(by)
    if not isinstance(selector, Ranked):
        return None
    names = [
        "id",
        "domain",
        "n_tokens",
        "loss_base",
        selector.column,
        *([within] if within else []),
    ]
    return list(dict.fromkeys(names))


def _check(samples: pd.DataFrame, within: str | None) -> None:
    """Raise unless this is a table of samples that can be told apart by id."""
    if not isinstance(samples, pd.DataFrame):
        what = "a table of samples, such as Influence.samples"
        raise ConfigError(f"expected {what}, found a {type(samples).__name__}")
    repeated = samples.columns[samples.columns.duplicated()]
    if len(repeated):
        raise DataError("two columns have this name", field=str(repeated[0]))
    if within is not None and within not in samples:
        raise DataError("no such column to select within", field=within)
    ids = need_column(samples, "id")
    if ids.isna().any():
        raise DataError("a row has no id", field="id")
    twice = samples.duplicated(["id", "step"] if "step" in samples else ["id"])
    if twice.any():
        name = ids[twice.to_numpy()].iloc[0]
        reason = (
            "is there more than once; select from each result by itself, or make the ids differ"
        )
        raise DataError(f"{name!r} {reason}", field="id")


def _notes_on_rows(
    frame: pd.DataFrame, by: str, cells: pd.Series, eligible: pd.Series
) -> Iterator[str]:
    """Rows that could not be chosen, ties that ids decided, and IFD over 1."""
    missing = int(frame["selector"].isna().sum())
    if missing:
        yield f"no value of {by!r}: {_rows(missing)} of {len(frame):,}, which are not chosen"
    barred = int((~eligible).sum()) - missing
    if barred:
        yield f"barred by min_loss or at_most: {_rows(barred)}"
    last = frame["selector"].where(frame["selected"]).groupby(cells).transform("min")
    tied = int((eligible & ~frame["selected"] & (frame["selector"] == last)).sum())
    if tied:
        yield f"as high as the last one kept, but left out by the order of ids: {_rows(tied)}"
    if by == "ifd":
        high = int((frame["selected"] & (frame["ifd"] > 1)).sum())
        if high:
            yield f"chosen with an IFD over 1, which Cherry LLM's code drops: {_rows(high)}"


def _notes_on_groups(
    frame: pd.DataFrame,
    groups: pd.Series,
    eligible: pd.Series,
    how: Mapping[str, Any],
    wanted: Mapping[str, int],
) -> Iterator[str]:
    """Groups that gave more or fewer rows than the settings ask of them."""
    sizes = groups.value_counts()
    usable = eligible.groupby(groups).sum().reindex(sizes.index)
    kept = frame["selected"].groupby(groups).sum().reindex(sizes.index)
    share = f"{int(kept.sum()):,} of {len(frame):,} rows are kept"
    none = sizes.index[(usable == 0).to_numpy()]
    if len(none):
        yield f"{_groups(none, sizes)} no row that can be chosen"
    if how["tokens"] is not None:
        empty = sizes.index[((kept == 0) & (usable > 0)).to_numpy()]
        if len(empty):
            yield f"{_groups(empty, sizes)} no row that fits into its share of the tokens"
        return
    picks = {str(name): share_or_count(pick) for name, pick in how["quotas"].items() if pick != 0}
    pick = pd.Series([picks.get(str(name), share_or_count(how["top"])) for name in sizes.index])
    pick.index = sizes.index
    shares = pick.map(lambda value: isinstance(value, float)).astype(bool)
    small = sizes.index[(shares & ((sizes * pick.astype(float)).round() < 1)).to_numpy()]
    if len(small):
        yield f"{_groups(small, sizes)} less than one row to its share, and gave one: {share}"
    asked = pd.Series([wanted[name] for name in sizes.index], sizes.index)
    short = sizes.index[((usable > 0) & (usable < asked)).to_numpy()]
    if len(short):
        first = short[0]
        yield (
            f"{_groups(short, sizes)} fewer rows to choose from than are wanted "
            f"({usable[first]:,} for {asked[first]:,}): {share}"
        )


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def _groups(names: pd.Index, sizes: pd.Series) -> str:
    """A subject for a sentence: "the selection has", "2 of 5 groups (a, b) have"."""
    if len(sizes) == 1:
        return "the selection has"
    few = ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
    return f"{len(names):,} of {len(sizes):,} groups ({few}) ha{'s' if len(names) == 1 else 've'}"


def _ranks(frame: pd.DataFrame, cells: pd.Series, eligible: pd.Series) -> pd.Series:
    """1 for the best of each cell; those that cannot be chosen come last."""
    keyed = pd.DataFrame({"selector": frame["selector"], "id": comparable(frame["id"])})
    keyed["eligible"] = eligible
    # Ties are broken by id, so that the order of the rows decides nothing.
    order = keyed.sort_values(["eligible", "selector", "id"], ascending=[False, False, True])
    return _places(order.index, cells) + 1


def comparable(ids: pd.Series) -> pd.Series:
    """Ids that can be put in order: numbers as they are, anything else as text."""
    return ids if is_numeric_dtype(ids) else ids.astype(str)


def _places(order: pd.Index, cells: pd.Series) -> pd.Series:
    """Place of each sample in its cell, from 0, where the samples come in this order."""
    return cells.loc[order].groupby(cells.loc[order], sort=False).cumcount().reindex(cells.index)


def _length_cells(frame: pd.DataFrame, groups: pd.Series, bins: pd.Series) -> pd.Series:
    """The stretch of its group's lengths that each sample lies in, as a name of its own.

    ``bins``: for each sample into how many equal stretches its group is cut.
    """
    lengths = need_column(frame, "n_tokens").astype(float)
    order = pd.DataFrame({"length": lengths, "id": comparable(frame["id"])}).sort_values(
        ["length", "id"]
    )
    size = groups.map(groups.value_counts()).astype(int)
    stretch = (_places(order.index, groups) * bins // size).astype(int)
    return groups + "\x00" + stretch.map("{:02d}".format).astype(str)


def _wanted(top: Share, quotas: Mapping[str, Share], groups: pd.Series) -> dict[str, int]:
    """How many of each group are wanted."""
    sizes = {str(name): count for name, count in groups.value_counts().items()}
    unknown = sorted({str(name) for name in quotas} - set(sizes))
    if unknown:
        known = ", ".join(sorted(sizes))
        raise ConfigError(f"a quota for {unknown[0]!r}, which is none of: {known}")
    share_or_count(top)
    given = {str(name): pick for name, pick in quotas.items()}
    picks = {name: given.get(name, top) for name in sizes}
    # a quota of 0 leaves its group out
    return {name: 0 if pick == 0 else how_many(pick, sizes[name]) for name, pick in picks.items()}


def _counts(wanted: Mapping[str, int], groups: pd.Series, cells: pd.Series) -> pd.Series:
    """How many of each sample's cell are kept: a group's number, shared out by the cells' sizes.

    Rounded along the order of the cells (tenths of the lengths), so that where there is less than
    one for each, those that get one lie evenly among the rest.
    """
    sizes = cells.groupby([groups.to_numpy(), cells.to_numpy()]).size()
    share = sizes.index.get_level_values(0).map(wanted).astype(float) / sizes.groupby(
        level=0
    ).transform("sum")
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
        ids = comparable(samples["id"]).sort_values(kind="stable").index
        drawn = np.random.default_rng(seed).random(len(samples))
        return pd.Series(drawn, index=ids).reindex(samples.index)
    selector = _selector(by)
    if isinstance(selector, Ranked):
        column = selector.column
        if by == "ifd" and column not in samples:
            raise ConfigError("by='ifd': these samples were scored without it; score with --ifd")
        if by in ("lalp", "fai", "waad", "circuit") and column not in samples:
            option = "--circuit HEADS" if by == "circuit" else f"--rivals {by}"
            how = f"al.rival_scores(…).on(samples), or score with {option}"
            raise ConfigError(f"by={by!r}: these samples were scored without it: {how}")
        if by in ("gain", "depends") and column not in samples:
            raise ConfigError(f"by={by!r}: give the samples of early answers (al.early_answers)")
        if column not in samples or not is_numeric_dtype(samples[column]):
            known = ", ".join(["random", *SELECTORS])
            raise ConfigError(f"by={by!r}: use {known}, or a numeric column of the samples")
    values = pd.Series(selector(samples))
    if not (is_numeric_dtype(values) and values.index.equals(samples.index)):
        wanted = f"numeric Series with the index of its {len(samples)} samples"
        raise ConfigError(f"selector {by!r} gave no {wanted}")
    return values.astype(float)
