"""The tables of the controlled study, from its runs: printed, and written beside them as CSV."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from airlens.experiments.studies.controlled_study import (
    PARTS,
    composition_table,
    differences_table,
    results_table,
    verdict,
)
from airlens.experiments.studies.study import read_runs
from airlens.files import atomic_write_text

MEASURES = ("accuracy", "nll")


def tables(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By name: ``results``, ``differences`` (by measure and part of the test), ``composition``."""
    parts = [differences_table(runs, measure, part) for measure in MEASURES for part in PARTS]
    return {
        "results": results_table(runs),
        "differences": pd.concat(parts, ignore_index=True),
        "composition": composition_table(runs),
    }


def report(path: Path) -> str:
    """Write the tables into the folder of the runs, and say what they decide."""
    runs = read_runs(path)
    made = tables(runs)
    for name, table in made.items():
        atomic_write_text(
            path.parent / f"{name}.csv", table.to_csv(index=False, float_format="%.6g")
        )
    wide = made["composition"].pivot(index="arm", columns="kind", values="share").round(2)
    gaps = differences_table(runs)
    sentences = [verdict(gaps, str(arm)) for arm in gaps["arm"].unique()] if len(gaps) else []
    head = f"{len(runs)} runs, {runs['cpu_s'].sum() / 60:.0f} CPU minutes of training and answering"
    shown = [made["results"].round(3).to_string(index=False), wide.to_string()]
    return "\n\n".join([head, *shown, "\n".join(sentences)])
