"""The critical heads against random heads and controls, on the same steps or traces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from airlens.experiments.validity.auroc_tables import is_control
from airlens.experiments.validity.labelled import problem_of
from airlens.statistics.grids import grid_of, mean_of

from .measured_pairs import KEY


def contrast_table(
    scores: pd.DataFrame,
    where: Sequence[str],
    unit: Sequence[str],
    value: str = "auroc",
) -> pd.DataFrame:
    """How much better the critical heads are than each rival score, on the same traces.

    Args:
        scores: the columns ``where`` and ``unit``, score, heads, draw, and the value; problem,
            which traces of one problem share (default: the id).
        where: columns within which to compare.
        unit: columns that identify one comparison, "id" among them.
        value: the column compared.

    Returns:
        The columns ``where``, score (of the critical heads), against and against_heads (a score of
        random heads, or a control), value, diff (where both are known: the mean over problems, each
        the mean of its comparisons), lo, hi, p (over problems and draws of heads), n (problems),
        n_traces, draws.
    """
    rows = []
    for _, part in scores.groupby(list(where), sort=False):
        place = part[list(where)].iloc[0].to_dict()
        wide = part.pivot(index=list(unit), columns=[*KEY, "draw"], values=value)
        trace = wide.index.get_level_values("id").to_numpy()
        named = dict(zip(part["id"], problem_of(part), strict=True))
        problem = np.asarray([named[name] for name in trace])
        values, columns = wide.to_numpy(np.float64), list(wide.columns)
        keys = list(dict.fromkeys((str(c[0]), str(c[1])) for c in columns))
        of = {key: [i for i, c in enumerate(columns) if (c[0], c[1]) == key] for key in keys}
        for own in (key for key in keys if key[1] == "top"):
            for rival in (key for key in keys if key[1] != "top"):
                sides = [values[:, of[own][:1]], values[:, of[rival]]]
                known = np.isfinite(np.concatenate(sides, axis=1)).all(axis=1)
                if not known.any():
                    continue
                gap = sides[0][known] - sides[1][known]
                found = mean_of(_by_problem(gap, problem[known]), random_draws=is_control(rival[1]))
                lo, hi = found.interval()
                row = {**place, "score": own[0], "value": value}
                row |= {"against": rival[0], "against_heads": rival[1], "diff": found.value}
                row |= {"lo": lo, "hi": hi, "p": found.p(), "n": found.clusters}
                rows.append({**row, "n_traces": len(set(trace[known])), "draws": found.draws})
    return pd.DataFrame(rows)


def _by_problem(values: np.ndarray, problem: np.ndarray) -> pd.DataFrame:
    """[problems, draws]: means over the rows of a problem."""
    draws = values.shape[1]
    return grid_of(
        values.ravel(), np.repeat(problem, draws), np.tile(np.arange(draws), len(values))
    )
