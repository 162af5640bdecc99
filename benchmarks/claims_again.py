"""Tables and claims anew from the measurements in `data/results`; no model.

    python benchmarks/claims_again.py
    python benchmarks/claims_again.py planted needles

After a change of the statistics, without measuring anything again. A folder whose measurements were
not stored is left as it is, and said. Prints the claims whose verdict changed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pandas as pd

import airlens as al
from airlens.experiments.needles import needle_costs, needle_summary
from airlens.experiments.paper.compare_models import Comparison, tables_of
from airlens.experiments.paper.model_claims import comparison_claims
from airlens.experiments.validity.benchmark import Measured
from airlens.experiments.validity.claim_reports import confound_tables, head_tables, labelled_tables
from airlens.experiments.validity.claims import confound_claims, head_claims, labelled_claims
from airlens.experiments.validity.early_report import early_claims, early_tables
from airlens.experiments.validity.planted import planted_tables
from airlens.experiments.validity.true_sources.path_report import path_claims, path_tables
from airlens.experiments.validity.true_sources.source_claims import source_claims
from airlens.experiments.validity.true_sources.source_report import source_tables
from airlens.files import read_json
from airlens.folders import write_tables

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results"
Tables = dict[str, pd.DataFrame]


def raw(folder: Path) -> Tables:
    """The stored measurements of a report, by name."""
    files = sorted(folder.glob("measured_*.parquet"))
    return {file.stem.removeprefix("measured_"): pd.read_parquet(file) for file in files}


def planted(folder: Path) -> Tables:
    """Planted steps."""
    measured = Measured(**raw(folder))
    seed = read_json(folder / "provenance.json")["seed"]
    return planted_tables(measured, seed)


def labelled(folder: Path) -> Tables:
    """Labelled traces."""
    tables = labelled_tables(**raw(folder))
    return {**tables, "claims": labelled_claims(tables)}


def confounds(folder: Path) -> Tables:
    """What the score of a sample goes along with."""
    tables = confound_tables(raw(folder)["samples"])
    return {**tables, "claims": confound_claims(tables)}


def heads(folder: Path) -> Tables:
    """Single heads."""
    tables = head_tables(**raw(folder), profile=pd.read_csv(folder / "idle.csv"))
    return {**tables, "claims": head_claims(tables)}


def sources(folder: Path) -> Tables:
    """True sources."""
    tables = source_tables(raw(folder))
    return {**tables, "claims": source_claims(tables)}


def answers(folder: Path) -> Tables:
    """Early answers."""
    tables = early_tables(raw(folder))
    return {**tables, "claims": early_claims(tables)}


def paths(folder: Path) -> Tables:
    """Paths of facts."""
    tables = path_tables(**raw(folder))
    return {**tables, "claims": path_claims(tables)}


def needles(folder: Path) -> Tables:
    """Needles."""
    answers = pd.read_csv(folder / "answers.csv")
    return {"summary": needle_summary(answers), "costs": needle_costs(answers)}


def heads_off(folder: Path) -> Tables:
    """Accuracy with heads off."""
    answers = pd.read_csv(folder / "answers.csv")
    former = pd.read_csv(folder / "differences.csv")
    pairs = list(zip(former["one"], former["other"], strict=True))
    return {
        "accuracy": al.accuracy_table(answers),
        "differences": al.accuracy_differences(answers, pairs),
    }


def two_models(folder: Path) -> Tables:
    """Two models side by side."""
    former = Comparison.load(folder)
    table = tables_of(former)
    return {"table": table, "claims": comparison_claims(table)}


PARTS: dict[str, tuple[Callable[[Path], Tables], Path, str]] = {
    "planted": (planted, RESULTS / "validity" / "planted", "measured_losses.parquet"),
    **{
        folder.name: (planted, folder, "measured_losses.parquet")
        for folder in sorted((RESULTS / "validity").glob("novel_*"))
    },
    "labelled": (labelled, RESULTS / "validity" / "labelled", "measured_steps.parquet"),
    "confounds": (confounds, RESULTS / "validity" / "confounds", "measured_samples.parquet"),
    "heads": (heads, RESULTS / "validity" / "heads", "measured_rises.parquet"),
    "sources": (sources, RESULTS / "validity" / "sources", "measured_uses.parquet"),
    "answers": (answers, RESULTS / "validity" / "answers", "measured_needed.parquet"),
    "paths": (paths, RESULTS / "validity" / "paths", "measured_chains.parquet"),
    "needles": (needles, RESULTS / "needles", "answers.csv"),
    "heads_off": (heads_off, RESULTS / "heads_off", "answers.csv"),
    "two_models": (two_models, RESULTS / "two_models", "measured_units.parquet"),
}


def main() -> None:
    """Recompute what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    asked = parser.parse_args().part or list(PARTS)
    if unknown := [name for name in asked if name not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}")
    for name in asked:
        make, folder, need = PARTS[name]
        if not (folder / need).is_file():
            print(f"{name}: {folder} holds no {need}: measure it again")
            continue
        tables = make(folder)
        note = read_json(folder / "provenance.json")
        if "claims" in tables:
            former = pd.read_csv(folder / "claims.csv")
            _changes(name, former, tables["claims"])
        write_tables(folder, tables, note)


def _changes(name: str, former: pd.DataFrame, claims: pd.DataFrame) -> None:
    before = "verdict" if "verdict" in former else "holds"
    both = claims.merge(former, on="claim", how="outer", suffixes=("", "_before"))
    old = both[f"{before}_before"] if f"{before}_before" in both else both[before]
    changed = both.assign(before=old)[both["verdict"].astype(str) != old.astype(str)]
    print(f"{name}: {len(claims)} claims, {claims['verdict'].value_counts().to_dict()}")
    if len(changed):
        print(changed[["claim", "before", "verdict", "evidence"]].to_string(index=False))


if __name__ == "__main__":
    main()
