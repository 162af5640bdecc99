"""The critical heads against random heads and controls, on the same steps or traces."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from airlens.analysis.statistics import N_BOOT, mean_interval

from .measured_pairs import KEY


def contrast_table(
    scores: pd.DataFrame,
    where: Sequence[str],
    unit: Sequence[str],
    value: str = "auroc",
    *,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> pd.DataFrame:
    """How much better the critical heads are than each rival score.

    Args:
        scores: the columns ``where`` and ``unit``, score, heads, draw, and the value.
        where: columns within which to compare.
        unit: columns that identify one comparison, "id" among them.
        value: the column compared.
        n_boot: bootstrap samples, over traces.
        seed: of the bootstrap.

    Returns:
        The columns ``where``, score (of the critical heads), against and against_heads (a score of
        random heads, or a control), value, diff (where both are known), lo, hi, n_traces.
    """
    rows = []
    for _, part in scores.groupby(list(where), sort=False):
        place = part[list(where)].iloc[0].to_dict()
        means = part.groupby([*unit, *KEY])[value].mean().unstack(KEY)
        keys: list[tuple[str, str]] = [(str(c[0]), str(c[1])) for c in means.columns]
        rivals = [key for key in keys if key[1] != "top"]
        for own in (key for key in keys if key[1] == "top"):
            for rival in rivals:
                difference = (means[own] - means[rival]).dropna()
                if difference.empty:
                    continue
                traces = difference.index.get_level_values("id").to_series()
                found = mean_interval(difference, traces, n_boot=n_boot, seed=seed)
                row = {**place, "score": own[0], "value": value}
                row |= dict(zip(("against", "against_heads"), rival, strict=True))
                row |= dict(zip(("diff", "lo", "hi"), found, strict=True))
                rows.append({**row, "n_traces": traces.nunique()})
    return pd.DataFrame(rows)
