"""The controlled study's tables: results of each arm, and the composition of its training data.

``benchmarks/selection_study.py --setting controlled`` makes the runs, one row each; no model here.
Every arm is compared with random selection, every arm with step weights also with the same data
without weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from airlens.errors import DataError

from .paired_runs import LEAST_SEEDS, difference_rows, paired_runs
from .study import Arm

PARTS = {"same": "the same problems", "longer": "longer chains", "other": "another domain"}
REFERENCE = "random"
UNTRAINED = "untrained"
CONTROLLED_FOLDER = "results/controlled_study"  # in the folder of bundled data

CONTROLLED_ARMS: tuple[Arm, ...] = (
    Arm("random", "random", seeded=True),
    Arm("oracle: clean only", "is_clean"),
    Arm("AIR", "ais"),
    Arm("AIR, layer-matched heads", "ais_control"),
    Arm("AIR, random heads", "ais_random"),
    Arm("longest", "length"),
    Arm("shortest", "shortest"),
    Arm("highest loss", "loss"),
    Arm("lowest loss", "loss_low"),
    Arm("highest entropy", "entropy"),
    Arm("IFD", "ifd"),
    Arm("AIR, mean mode", "ais_mean"),
    Arm("AIR, Δ", "delta"),
    Arm("AIR, length-matched", "ais", length_matched=True),
    Arm("AIR, loss-residualised", "ais", residual_on=("loss_base",)),
    Arm("AIR + threshold weights", "ais", scheme="threshold"),
    Arm("AIR + linear weights", "ais", scheme="linear"),
    Arm("AIR + softmax weights", "ais", scheme="softmax"),
    Arm("AIR + prefix weights", "ais", scheme="prefix"),
    Arm("AIR + shuffled weights", "ais", scheme="threshold", shuffled=True),
    Arm("random + threshold weights", "random", scheme="threshold", seeded=True),
    Arm("random + shuffled weights", "random", scheme="threshold", shuffled=True, seeded=True),
)


def unweighted(name: str) -> str | None:
    """The arm with the same data but no step weights; None for an arm without weights."""
    arms = {arm.name: arm for arm in CONTROLLED_ARMS}
    arm = arms.get(name)
    if arm is None or arm.scheme is None:
        return None
    plain = replace(arm, name="", scheme=None, shuffled=False)
    return next(a.name for a in CONTROLLED_ARMS if replace(a, name="") == plain)


def comparisons(arms: Sequence[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Two families of pairs (arm, against) that are tested together, among the arms that ran.

    First every arm against random selection. Then comparisons that explain a difference: AIR
    against its controls with other heads, weighted arms against the same data without weights, and
    with shuffled weights.
    """
    ran = [name for name in arms if name != UNTRAINED]
    first = [(name, REFERENCE) for name in ran if name != REFERENCE]
    second = [("AIR", "AIR, layer-matched heads"), ("AIR", "AIR, random heads")]
    for name in ran:
        plain = unweighted(name)
        if plain is not None:
            second.append((name, plain))
        if name.endswith("threshold weights"):
            second.append((name, name.replace("threshold", "shuffled")))
    known = set(first)
    return first, [p for p in second if set(p) <= set(ran) and p not in known]


def schedule(arms: Sequence[Arm], seeds: int) -> list[tuple[Arm | None, int]]:
    """All runs in order: the untrained model, every arm with the first seed, then with the next."""
    return [(None, 0), *((arm, seed) for seed in range(seeds) for arm in arms)]


def results_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and part of the test: arm, part, n_runs, accuracy, nll, and their seed_std.

    Accuracy is the share of problems answered exactly, NLL the nats per token of the reference
    solutions; both are means over runs.
    """
    rows = []
    for arm, group in runs.groupby("arm", sort=False):
        for part in PARTS:
            right, nll, tokens = (_matrix(group, part, c) for c in ("correct", "nll", "tokens"))
            if not right.size:
                continue  # none of this part was asked
            accuracy, loss = right.mean(axis=1), nll.sum(axis=1) / tokens.sum(axis=1)
            row: dict[str, Any] = {"arm": arm, "part": part, "n_runs": len(group)}
            for name, values in (("accuracy", accuracy), ("nll", loss)):
                row[name] = float(values.mean())
                row[f"{name}_std"] = float(values.std(ddof=1)) if len(values) > 1 else np.nan
            rows.append(row)
    return pd.DataFrame(rows)


def differences_table(
    runs: pd.DataFrame, measure: str = "accuracy", part: str = "same"
) -> pd.DataFrame:
    """The :func:`comparisons` of arms, one row each.

    Runs are paired by seed and problem; arms and the arm they are compared with must have answered
    the same problems. Holm's correction is over the rows of one kind of comparison.

    Args:
        runs: of the study.
        measure: ``accuracy`` (a share) or ``nll`` (nats per token).
        part: of the test, see ``PARTS``.

    Returns:
        arm, against, measure, part, and what :func:`~airlens.training.paired_runs.difference_rows`
        gives.

    Raises:
        DataError: the runs answered different problems.
    """
    tables = []
    for family in comparisons([str(arm) for arm in runs["arm"].unique()]):
        pairs = []
        for arm, against in family:
            both = _paired(runs, arm, against)
            if both is None:
                continue
            ours, theirs = both
            column = "correct" if measure == "accuracy" else "nll"
            size = _matrix(ours, part, "tokens")[0] if measure == "nll" else None
            gap = paired_runs(_matrix(ours, part, column), _matrix(theirs, part, column), size)
            names = {"arm": arm, "against": against, "measure": measure, "part": part}
            pairs.append((names, gap))
        if pairs:
            tables.append(difference_rows(pairs))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def composition_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Composition of each arm's training data by kind of trace, and of the pool (arm ``pool``).

    Arms with step weights are left out: they train on another arm's traces.

    Returns:
        arm, kind, samples, labels (response tokens), share (of the arm's labels); means over runs.
    """
    parts = []
    chosen = [arm != UNTRAINED and unweighted(str(arm)) is None for arm in runs["arm"]]
    for _, run in runs[chosen].iterrows():
        for arm, n, labels in (
            (run["arm"], run["kind_samples"], run["kind_labels"]),
            ("pool", run["pool_samples"], run["pool_labels"]),
        ):
            frame = pd.DataFrame({"kind": list(run["kinds"]), "samples": n, "labels": labels})
            parts.append(frame.assign(arm=arm, share=frame["labels"] / frame["labels"].sum()))
    if not parts:
        return pd.DataFrame(columns=["arm", "kind", "samples", "labels", "share"])
    joined = pd.concat(parts)
    columns = ["samples", "labels", "share"]
    return joined.groupby(["arm", "kind"], sort=False)[columns].mean().reset_index()


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


def _paired(runs: pd.DataFrame, arm: str, against: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """The runs of two arms with their common seeds, in the order of the seeds."""
    ours, theirs = (
        runs[runs["arm"] == name].drop_duplicates("seed").set_index("seed").sort_index()
        for name in (arm, against)
    )
    seeds = ours.index.intersection(theirs.index)
    return (ours.loc[seeds], theirs.loc[seeds]) if len(seeds) else None


def _matrix(runs: pd.DataFrame, part: str, column: str) -> np.ndarray:
    """A value of every problem of a part of the test: float64 [n_runs, n_problems].

    Raises:
        DataError: the runs answered different problems.
    """
    ids = list(runs["problem_id"].iloc[0])
    if any(list(other) != ids for other in runs["problem_id"]):
        raise DataError("the runs answered different problems", field="problem_id")
    kept = np.asarray([str(name).startswith(f"{part}-") for name in ids])
    values = np.stack([np.asarray(v, dtype=np.float64) for v in runs[f"problem_{column}"]])
    return values[:, kept]
