"""The tables of the page on statistics: how often intervals hold the truth, in simulations."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from . import ROOT, write_if_new
from .tables import markdown

COVERAGE = ROOT / "data" / "results" / "coverage"


def table(name: str) -> pd.DataFrame:
    """One table of ``benchmarks/coverage.py``."""
    return pd.read_csv(COVERAGE / f"{name}.csv")


def worst(frame: pd.DataFrame, rows: list[str], column: str) -> str:
    """The lowest coverage in each cell, over all that was simulated for it."""
    low = frame.pivot_table(index=rows, columns=column, values="coverage", aggfunc="min")
    low.columns = [f"{column} {_short(value)}" for value in low.columns]
    shown = low.map(lambda v: "" if pd.isna(v) else f"{v:.3f}").reset_index()
    return markdown(shown.astype(str), left=len(rows))


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def each(frame: pd.DataFrame, columns: list[str]) -> str:
    """The rows as they are, shares with three digits."""
    shown = frame[columns].copy()
    for name in ("coverage", "too_high", "too_low", "false_in_table", "least_of_a_head"):
        if name in shown:
            shown[name] = shown[name].map("{:.3f}".format)
    for name in shown.select_dtypes("number"):
        shown[name] = shown[name].map("{:g}".format)
    shown.columns = [str(name).replace("_", " ") for name in shown]
    return markdown(shown.astype(str), left=0)


def source() -> str:
    """Which command, seed and number of simulations stand behind the tables."""
    note = json.loads((COVERAGE / "provenance.json").read_text(encoding="utf-8"))
    return (
        f"*`data/results/coverage`, made by `python benchmarks/coverage.py`: seed {note['seed']}, "
        f"{note['reps']} simulated studies a row at most, {note['time'][:10]}.*\n"
    )


def write(folder: Path) -> None:
    """Write each table as a part that `statistics.md` includes."""
    draws = table("against_draws")
    training = ["seeds", "arms", "drawn", "share_of_runs", "coverage", "false_in_table"]
    false = draws.groupby(["draws", "clusters"])["false_in_table"].mean().reset_index()
    false["false_in_table"] = false["false_in_table"].map("{:.3f}".format)
    false = false.pivot(index="clusters", columns="draws", values="false_in_table")
    false.columns = [f"{n} draws" for n in false.columns]
    parts = {
        "coverage_auroc": worst(table("auroc"), ["clusters"], "auroc"),
        "coverage_bootstrap": worst(table("bootstrap"), ["clusters"], "auroc"),
        "coverage_draws": worst(draws, ["clusters", "draws"], "auroc"),
        "coverage_false": markdown(false.reset_index().astype(str)),
        "coverage_equal_loss": worst(table("equal_loss"), ["clusters"], "apart"),
        "coverage_gains": worst(table("gains"), ["clusters"], "strength"),
        "coverage_means": worst(table("means"), ["clusters", "draws"], "share_of_draws"),
        "coverage_training": each(table("training"), training),
        "coverage_proportions": worst(table("proportions"), ["clusters", "alike"], "share"),
        "coverage_correlations": worst(table("correlations"), ["pairs"], "rho"),
        "coverage_ranks": each(table("ranks"), ["probes", "heads", "coverage", "least_of_a_head"]),
        "coverage_source": source(),
    }
    for name, text in parts.items():
        write_if_new(folder / "parts" / f"{name}.md", text)
