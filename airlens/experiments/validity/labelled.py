"""A step score compared with labels of real steps: their function, and their importance.

Importances (Thought Anchors 2506.19143) are in ``Trace.step_meta``: how much the answer changes
when a sentence is resampled, replaced by one of another meaning (counterfactual), or forced to be
the last, by accuracy or by the KL divergence of the answers.

Several traces may answer one problem, and are no independent samples of what traces are like.
Intervals are over problems; every problem counts the same, however many traces and steps it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from airlens.errors import DataError
from airlens.provenance import fingerprint
from airlens.statistics.correlations import partial_spearman, spearman
from airlens.statistics.grids import grid_of, mean_of
from airlens.step_influence.settings import FLOOR
from airlens.traces.trace import Trace

IMPORTANCES = tuple(
    f"{kind}_importance_{measure}"
    for kind in ("counterfactual", "resampling", "forced")
    for measure in ("kl", "accuracy")
)
VALUES = ("ais", "ais_control", "delta", "delta_control")
SCORES = ("ais", "delta", "ais_control", "delta_control")
FREE = ("length", "position", "loss", "entropy", "overlap")


def by_function(steps: pd.DataFrame, values: Sequence[str] = VALUES) -> pd.DataFrame:
    """Mean value of the steps of each label, with intervals over problems.

    Args:
        steps: ``Influence.steps``: id, label and the values; problem, which traces of one problem
            share (default: the id).
        values: columns; AIS and Δ (nats per token), of the critical heads and of the control.

    Returns:
        label, value, mean (over problems, of the mean over a problem's steps), lo, hi, n_steps,
        n_traces, n_problems; steps without a label are left out.

    Raises:
        DataError: no step has a label.
    """
    known = steps[steps["label"].notna()]
    if known.empty:
        raise DataError("no step has a label", field="label")
    rows = []
    for label, part in known.groupby("label"):
        for value in values:
            usable = part[part[value].notna()] if value in part else part.iloc[:0]
            if len(usable):
                found = mean_of(grid_of(usable[value], problem_of(usable)))
                counts = (len(usable), usable["id"].nunique(), found.clusters)
                rows.append((label, value, found.value, *found.interval(), *counts))
    columns = ["label", "value", "mean", "lo", "hi", "n_steps", "n_traces", "n_problems"]
    return pd.DataFrame(rows, columns=columns)


def problems_of(traces: Iterable[Trace]) -> dict[str, str]:
    """What traces of one prompt share, by id: a hash of the prompt."""
    return {trace.id: fingerprint({"prompt": trace.prompt})[:12] for trace in traces}


def problem_of(table: pd.DataFrame) -> pd.Series:
    """The problem of each row: the column of that name, or else the trace."""
    return table["problem"] if "problem" in table else table["id"]


def function_differences(
    steps: pd.DataFrame, step_controls: pd.DataFrame, floor: float = FLOOR
) -> pd.DataFrame:
    """AIS and Δ of the steps of each label, minus those of random heads on the same steps.

    Args:
        steps: as for :func:`by_function`.
        step_controls: ``Influence.step_controls``.
        floor: nats; AIS is left out where the base loss is under it.

    Returns:
        label, value ("ais" or "delta"), mean and mean_control, difference, lo, hi, p (over problems
        and draws of heads), n_steps, n_traces, n_problems, draws.
    """
    columns = ["label", "value", "mean", "mean_control", "difference", "lo", "hi", "p"]
    columns += ["n_steps", "n_traces", "n_problems", "draws"]
    if step_controls.empty:
        return pd.DataFrame(columns=columns)
    known = steps[steps["label"].notna()]
    both = step_controls.merge(known, on=["id", "step"], suffixes=("_of_draw", ""))
    own = both["loss_control_of_draw"]
    gaps = {"delta": (both["loss_ref"] - both["loss_base"], own - both["loss_base"])}
    usable = both["loss_base"].where(both["loss_base"] >= floor)
    gaps["ais"] = (gaps["delta"][0] / usable, gaps["delta"][1] / usable)
    rows = []
    for label in sorted(both["label"].unique()):
        for value in ("ais", "delta"):
            top, control = (side[both["label"] == label] for side in gaps[value])
            some = both.loc[(both["label"] == label) & top.notna()]
            if some.empty:
                continue
            top, control = top[some.index], control[some.index]
            grid = grid_of(top - control, problem_of(some), some["draw"])
            found = mean_of(grid, random_draws=True)
            mean = mean_of(grid_of(top, problem_of(some))).value
            numbers = (mean, mean - found.value, found.value, *found.interval(), found.p())
            counts = (len(some[["id", "step"]].drop_duplicates()), some["id"].nunique())
            rows.append((label, value, *numbers, *counts, found.clusters, found.draws))
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
    for name in IMPORTANCES:
        try:
            table[name] = pd.to_numeric(table[name]).astype(float)
        except (TypeError, ValueError) as error:
            raise DataError(f"an importance is no number ({error})", field=name) from error
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
            (:func:`airlens.experiments.validity.heuristics.add_heuristics`).
        scores: columns of the scores.
        free: columns that need no ablation, compared in the same way.
        importances: columns.

    Returns:
        id, problem, score, importance, rho, partial, n: ``partial`` is the correlation given all
        ``free`` columns (given the other ones, for one of them).
    """
    rows = []
    for name, part in steps.groupby("id", sort=False):
        problem = problem_of(part).iloc[0]
        columns = {c: part[c].to_numpy(np.float64) for c in (*scores, *free, *importances)}
        for importance in importances:
            for score in (*scores, *free):
                given = [columns[other] for other in free if other != score]
                x, y = columns[score], columns[importance]
                n = int((np.isfinite(x) & np.isfinite(y)).sum())
                if n:
                    rho = spearman(x, y, least=5)
                    partial = partial_spearman(x, y, given)
                    rows.append((name, problem, score, importance, rho, partial, n))
    columns_out = ["id", "problem", "score", "importance", "rho", "partial", "n"]
    return pd.DataFrame(rows, columns=columns_out)


def correlation_summary(correlations: pd.DataFrame) -> pd.DataFrame:
    """Means of the per-trace correlations over the traces of a problem, then over problems.

    Returns:
        score, importance, rho, lo, hi, p, partial, partial_lo, partial_hi, partial_p, n_traces,
        n_problems.
    """
    rows = []
    for (score, importance), part in correlations.groupby(["score", "importance"], sort=False):
        plain, given = (mean_of(grid_of(part[c], problem_of(part))) for c in ("rho", "partial"))
        numbers = [(e.value, *e.interval(), e.p()) for e in (plain, given)]
        counts = (int(part["rho"].notna().sum()), plain.clusters)
        rows.append((score, importance, *numbers[0], *numbers[1], *counts))
    columns = ["score", "importance"]
    columns += [f"{part}{end}" for part in ("", "partial_") for end in ("rho", "lo", "hi", "p")]
    named = [name.replace("partial_rho", "partial") for name in columns]
    return pd.DataFrame(rows, columns=[*named, "n_traces", "n_problems"])
