"""Comparisons of arms over training seeds: which pairs, their differences, and a verdict.

Every arm is compared with random selection; then come the pairs that explain a difference. No model
here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from airlens.control_kinds import CONTROL_WORDS
from airlens.errors import DataError

from .paired_runs import LEAST_SEEDS, Difference, difference, difference_rows, run_variances

REFERENCE = "random"
UNTRAINED = "untrained"


def unweighted(name: str) -> str | None:
    """The arm with the same data but no step weights; None for an arm without weights.

    >>> unweighted("AIR + linear weights"), unweighted("AIR")
    ('AIR', None)
    """
    plain, plus, _ = name.partition(" + ")
    return plain if plus else None


def comparisons(arms: Sequence[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Two families of pairs (arm, against) that are tested together, among the arms that ran.

    First every arm against random selection. Then comparisons that explain a difference: an arm
    against its controls with other heads, weighted arms against the same data without weights, and
    with shuffled weights.
    """
    ran = [name for name in arms if name != UNTRAINED]
    first = [(name, REFERENCE) for name in ran if name != REFERENCE]
    words = CONTROL_WORDS["same_layers"], CONTROL_WORDS["random"]
    second = [(name, f"{name}, {word}") for name in ran for word in words]
    second.append(("AIR", CONTROL_WORDS["random"]))
    for name in ran:
        plain = unweighted(name)
        if plain is not None:
            second.append((name, plain))
        if name.endswith("threshold weights"):
            second.append((name, name.replace("threshold", "shuffled")))
    known = set(first)
    return first, [p for p in second if set(p) <= set(ran) and p not in known]


def differences_table(
    runs: pd.DataFrame, measure: str = "accuracy", part: str | None = "same"
) -> pd.DataFrame:
    """The :func:`comparisons` of arms, one row each.

    All arms must have answered the same problems. Holm's correction is over the rows of one kind
    of comparison.

    Args:
        runs: of one setting and budget.
        measure: ``accuracy`` (a share) or ``nll`` (nats per token).
        part: of the controlled study's test; None: all problems.

    Returns:
        arm, against, measure, part, and what
        :func:`~airlens.experiments.studies.paired_runs.difference_rows` gives.

    Raises:
        DataError: the runs answered different problems.
    """
    tables = []
    trained = runs[runs["arm"] != UNTRAINED]
    for family in comparisons([str(arm) for arm in trained["arm"].unique()]):
        found = arm_differences(trained, family, measure, part)
        names = [{"arm": a, "against": b, "measure": measure, "part": part} for a, b in found]
        if found:
            tables.append(difference_rows(list(zip(names, found.values(), strict=True))))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def arm_differences(
    runs: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    measure: str = "nll",
    part: str | None = None,
) -> dict[tuple[str, str], Difference]:
    """The differences of pairs of arms, whose runs vary as those of all arms given do.

    Args:
        runs: of one setting; with the column ``data`` (what a run trained on) arms that draw their
            data with every seed are told from those that do not.
        pairs: (arm, against); those that did not both run are left out.
        measure: ``accuracy`` or ``nll``.
        part: of the test; None: all problems.
    """
    column = "correct" if measure == "accuracy" else "nll"
    values, size, drawn = {}, None, []
    for arm, own in runs.groupby("arm", sort=False):
        one_each = own.drop_duplicates("seed").sort_values("seed")
        values[str(arm)] = problem_values(one_each, part, column)
        size = problem_values(one_each, part, "tokens")[0] if measure == "nll" else None
        if "data" in own and one_each["data"].nunique() > 1:
            drawn.append(str(arm))
    if len({tuple(ids) for ids in runs["problem_id"]}) > 1:
        raise DataError("the runs answered different problems", field="problem_id")
    known = run_variances(values, size, drawn)
    return {
        (a, b): difference(values[a], values[b], (known[a], known[b]), size)
        for a, b in pairs
        if a in values and b in values
    }


def verdict(differences: pd.DataFrame, arm: str) -> str:
    """A sentence: whether an arm differs from its comparison, or what is needed to tell."""
    rows = differences[differences["arm"] == arm]
    if rows.empty:
        return f"{arm}: not run beside {REFERENCE} selection."
    row = rows.iloc[0]
    what = "accuracy" if row["measure"] == "accuracy" else "NLL"
    beside = f"{arm} against {row['against']}: {what} {row['difference']:+.3f}"
    if not np.isfinite(row["p"]):
        few = f"{row['n_seeds']} of at least {LEAST_SEEDS} seeds"
        return f"{beside}; not decided: too few seeds, {few}."
    beside += f" [{row['lo']:+.3f}, {row['hi']:+.3f}], {row['n_seeds']} seeds"
    if row["decided"]:
        return f"{beside}; decided (Holm p = {row['p_holm']:.3g})."
    seen = f"differences from {row['smallest_seen']:.3f} on would be seen"
    if row["measure"] == "accuracy" and row["smallest_seen"] > 1:
        seen = "with so few seeds no difference would be seen"
    if not np.isfinite(row["seeds_needed"]):
        return f"{beside}; not decided: {seen}, this one needs more problems, not only seeds."
    more = max(1, int(row["seeds_needed"]) - int(row["n_seeds"]))
    return f"{beside}; not decided: {seen}, this one would need about {more} more seeds."


def problem_values(runs: pd.DataFrame, part: str | None, column: str) -> np.ndarray:
    """A value of every problem, or of those of a part: float64 [n_runs, n_problems].

    Args:
        runs: with ``problem_id`` and ``problem_<column>``, a list in each row.
        part: what the ids begin with; None: all.
        column: ``nll``, ``tokens`` or ``correct``.

    Raises:
        DataError: the runs answered different problems.
    """
    ids = list(runs["problem_id"].iloc[0])
    if any(list(other) != ids for other in runs["problem_id"]):
        raise DataError("the runs answered different problems", field="problem_id")
    kept = np.asarray([part is None or str(name).startswith(f"{part}-") for name in ids])
    values = np.stack([np.asarray(v, dtype=np.float64) for v in runs[f"problem_{column}"]])
    return values[:, kept]
