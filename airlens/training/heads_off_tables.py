"""Accuracy with heads off as tables: shares with intervals, and paired differences with verdicts.

Conditions answer the same problems, so differences are paired by problem; draws of random heads
are a second source of variance (:mod:`airlens.statistics`).
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from airlens.arguments import checked
from airlens.errors import ConfigError, DataError, need_columns, one_of
from airlens.statistics.grids import grid_of, proportion_difference, proportion_of
from airlens.statistics.verdicts import claims_table, greater

from .heads_off import OUTCOMES

NEEDED = ("condition", "mode", "draw", "id", "outcome", "n_new")


@checked
def accuracy_table(answers: pd.DataFrame) -> pd.DataFrame:
    """How each condition ended, with the 95 % interval of its accuracy over problems and draws.

    Args:
        answers: from :func:`~airlens.accuracy_under_ablation`.

    Returns:
        One row per condition: condition, mode, accuracy, lo, hi, a share for each other outcome
        (wrong, no answer, repeats), n_new (mean tokens of a solution), n (problems), draws (of
        random heads; 0 for a single set).

    Raises:
        DataError: a column is missing.
    """
    need_columns(answers, NEEDED, "accuracy_table")
    rows = []
    for name, part in answers.groupby("condition", sort=False):
        drawn = bool(part["draw"].notna().any())
        found = proportion_of(_correct(part), most=len(part), random_draws=drawn)
        lo, hi = found.interval()
        row = {"condition": name, "mode": part["mode"].iloc[0], "accuracy": found.value}
        row |= {"lo": lo, "hi": hi}
        row |= {other: (part["outcome"] == other).mean() for other in OUTCOMES[1:]}
        rows.append({**row, "n_new": part["n_new"].mean(), "n": found.clusters})
        rows[-1]["draws"] = found.draws
    columns = ["condition", "mode", "accuracy", "lo", "hi", *OUTCOMES[1:], "n_new", "n", "draws"]
    return pd.DataFrame(rows, columns=columns)


@checked
def accuracy_differences(
    answers: pd.DataFrame, pairs: Sequence[tuple[str, str]] | None = None
) -> pd.DataFrame:
    """How much more accurate one condition is than another on the same problems.

    Args:
        answers: from :func:`~airlens.accuracy_under_ablation`.
        pairs: the conditions that are compared, as (one, other); default: the first condition with
            each of the others. Two conditions that both have draws need the same number of them.

    Returns:
        One row per pair: one, other, difference (accuracy of one minus that of the other), lo, hi
        (95 % over problems and draws), p, p_holm (corrected over the pairs), verdict ("holds": one
        is more accurate; "fails": the other is; "undecided"; "no verdict": too few problems or
        draws), n (problems that both answered), draws.

    Raises:
        ConfigError: no such condition, or different numbers of draws.
        DataError: a column is missing, or two conditions share no problem.
    """
    need_columns(answers, NEEDED, "accuracy_differences")
    parts = {str(name): part for name, part in answers.groupby("condition", sort=False)}
    first = next(iter(parts), "")
    given = [(first, name) for name in parts if name != first] if pairs is None else list(pairs)
    rows, claims = [], []
    for one, other in given:
        row = {"one": one, "other": other, **_difference(parts, one, other)}
        rows.append(row)
        claims.append(greater(f"{one} is more accurate than {other}", row, "", value="difference"))
    found = pd.DataFrame(rows, columns=[*_COLUMNS[:6], "n", "draws"])
    said = claims_table(claims)
    return found.assign(p_holm=said["p_holm"], verdict=said["verdict"])[_COLUMNS]


_COLUMNS = ["one", "other", "difference", "lo", "hi", "p", "p_holm", "verdict", "n", "draws"]


def _difference(parts: dict[str, pd.DataFrame], one: str, other: str) -> dict[str, float]:
    """The row of a pair but for its names."""
    for name in (one, other):
        if name not in parts:
            raise ConfigError(one_of(name, parts), argument="pairs", value=name)
    grids = [_correct(parts[name]) for name in (one, other)]
    both = grids[0].index.intersection(grids[1].index)
    if not len(both):
        raise DataError(f"{one!r} and {other!r} have no problem in common")
    if len({grid.shape[1] for grid in grids} - {1}) > 1:
        raise ConfigError(f"pairs: {one!r} and {other!r} have different numbers of draws")
    drawn = any(parts[name]["draw"].notna().any() for name in (one, other))
    found = proportion_difference(
        *(grid.loc[both] for grid in grids), most=lambda value, n: n, random_draws=drawn
    )
    lo, hi = found.interval()
    numbers = {"difference": found.value, "lo": lo, "hi": hi, "p": found.p()}
    return {**numbers, "n": found.clusters, "draws": found.draws}


def _correct(part: pd.DataFrame) -> pd.DataFrame:
    """1 where a problem (row) was solved under a draw (column)."""
    right = (part["outcome"] == "correct").astype(float)
    return grid_of(right, part["id"], part["draw"].fillna(0))
