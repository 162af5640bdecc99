"""A step score compared with labels of real steps: their function, and their importance.

Importances (Thought Anchors 2506.19143) are in ``Trace.step_meta``: how much the answer changes
when a sentence is resampled, replaced by one of another meaning (counterfactual), or forced to be
the last, by accuracy or by the KL divergence of the answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from airlens.analysis.statistics import N_BOOT, mean_interval, partial_spearman, spearman
from airlens.errors import DataError
from airlens.trace import Trace

IMPORTANCES = tuple(
    f"{kind}_importance_{measure}"
    for kind in ("counterfactual", "resampling", "forced")
    for measure in ("kl", "accuracy")
)
VALUES = ("ais", "ais_control", "delta", "delta_control")
SCORES = ("ais", "delta", "ais_control", "delta_control")
FREE = ("length", "position", "loss", "entropy", "overlap")


def by_function(
    steps: pd.DataFrame,
    values: Sequence[str] = VALUES,
    *,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean value of the steps of each label, with intervals over traces.

    Args:
        steps: ``Influence.steps``: id, label and the values.
        values: columns; AIS and Δ (nats per token), of the critical heads and of the control.
        n_boot: bootstrap samples, over traces.
        seed: of the bootstrap.

    Returns:
        label, value, mean, lo, hi, n_steps, n_traces; steps without a label are left out.

    Raises:
        DataError: no step has a label.
    """
    known = steps[steps["label"].notna()]
    if known.empty:
        raise DataError("no step has a label", field="label")
    rows = []
    for label, part in known.groupby("label"):
        for value in values:
            if value in part and part[value].notna().any():
                found = mean_interval(part[value], part["id"], n_boot=n_boot, seed=seed)
                usable = part[part[value].notna()]
                rows.append((label, value, *found, len(usable), usable["id"].nunique()))
    columns = ["label", "value", "mean", "lo", "hi", "n_steps", "n_traces"]
    return pd.DataFrame(rows, columns=columns)


def add_importance(steps: pd.DataFrame, traces: Iterable[Trace]) -> pd.DataFrame:
    """``Influence.steps`` with the columns `IMPORTANCES`, NaN where nothing is known.

    Raises:
        DataError: no trace has any.
    """
    rows = [
        {"id": trace.id, "step": number, **{name: known.get(name) for name in IMPORTANCES}}
        for trace in traces
        for number, known in enumerate(trace.step_meta)
        if any(name in known for name in IMPORTANCES)
    ]
    if not rows:
        raise DataError("no trace has importances", field="step_meta")
    table = pd.DataFrame(rows)
    table[list(IMPORTANCES)] = table[list(IMPORTANCES)].apply(pd.to_numeric, errors="coerce")
    return steps.merge(table, on=["id", "step"], how="left")


def importance_correlations(
    steps: pd.DataFrame,
    *,
    scores: Sequence[str] = SCORES,
    free: Sequence[str] = FREE,
    importances: Sequence[str] = IMPORTANCES,
) -> pd.DataFrame:
    """Spearman's ρ of each score with each importance, trace by trace.

    Args:
        steps: with importances (:func:`add_importance`) and heuristics
            (:func:`airlens.validity.heuristics.add_heuristics`).
        scores: columns of the scores.
        free: columns that need no ablation, compared in the same way.
        importances: columns.

    Returns:
        id, score, importance, rho, partial, n: ``partial`` is the correlation given all ``free``
        columns (given the other ones, for one of them).
    """
    rows = []
    for name, part in steps.groupby("id", sort=False):
        columns = {c: part[c].to_numpy(np.float64) for c in (*scores, *free, *importances)}
        for importance in importances:
            for score in (*scores, *free):
                given = [columns[other] for other in free if other != score]
                x, y = columns[score], columns[importance]
                n = int((np.isfinite(x) & np.isfinite(y)).sum())
                if n:
                    rho = spearman(x, y, least=5)
                    partial = partial_spearman(x, y, given)
                    rows.append((name, score, importance, rho, partial, n))
    columns_out = ["id", "score", "importance", "rho", "partial", "n"]
    return pd.DataFrame(rows, columns=columns_out)


def correlation_summary(
    correlations: pd.DataFrame, *, n_boot: int = N_BOOT, seed: int = 0
) -> pd.DataFrame:
    """Mean over traces of the per-trace correlations, with 95 % bootstrap intervals over traces.

    Returns:
        score, importance, rho, lo, hi, partial, partial_lo, partial_hi, n_traces.
    """
    rows = []
    for (score, importance), part in correlations.groupby(["score", "importance"], sort=False):
        plain, given = (
            mean_interval(part[column], part["id"], n_boot=n_boot, seed=seed)
            for column in ("rho", "partial")
        )
        rows.append((score, importance, *plain, *given, int(part["rho"].notna().sum())))
    columns = ["score", "importance", "rho", "lo", "hi", "partial", "partial_lo", "partial_hi"]
    return pd.DataFrame(rows, columns=[*columns, "n_traces"])
