"""The controlled study's tables: results of each arm, and the composition of its training data.

``benchmarks/selection_study.py --setting controlled`` makes the runs, one row each; no model here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from airlens.control_kinds import CONTROL_WORDS

from .arm_differences import REFERENCE as REFERENCE
from .arm_differences import UNTRAINED as UNTRAINED
from .arm_differences import comparisons as comparisons
from .arm_differences import differences_table as differences_table
from .arm_differences import problem_values, unweighted
from .arm_differences import verdict as verdict
from .study import NOVEL_ARMS, Arm

PARTS = {"same": "the same problems", "longer": "longer chains", "other": "another domain"}
CONTROLLED_FOLDER = "results/controlled_study"  # in the folder of bundled data

CONTROLLED_ARMS: tuple[Arm, ...] = (
    Arm("random", "random", seeded=True),
    Arm("oracle: clean only", "is_clean"),
    Arm("AIR", "ais"),
    Arm(f"AIR, {CONTROL_WORDS['same_layers']}", "ais_control"),
    Arm(f"AIR, {CONTROL_WORDS['random']}", "ais_random"),
    Arm("longest", "length"),
    Arm("shortest", "shortest"),
    Arm("highest loss", "loss"),
    Arm("lowest loss", "loss_low"),
    Arm("highest entropy", "entropy"),
    Arm("IFD", "ifd"),
    Arm("RSR", "rsr"),
    Arm("LALP", "lalp"),
    Arm("FAI", "fai"),
    Arm("WAAD", "waad"),
    Arm("CircuitSeer", "circuit"),
    Arm("early-answer gain", "gain"),
    *NOVEL_ARMS,
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
            columns = ("correct", "nll", "tokens")
            right, nll, tokens = (problem_values(group, part, name) for name in columns)
            if not right.size:
                continue  # none of this part was asked
            accuracy, loss = right.mean(axis=1), nll.sum(axis=1) / tokens.sum(axis=1)
            row: dict[str, Any] = {"arm": arm, "part": part, "n_runs": len(group)}
            for name, values in (("accuracy", accuracy), ("nll", loss)):
                row[name] = float(values.mean())
                row[f"{name}_std"] = float(values.std(ddof=1)) if len(values) > 1 else np.nan
            rows.append(row)
    return pd.DataFrame(rows)


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
