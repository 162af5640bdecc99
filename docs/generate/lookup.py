"""Lookup and continuation heads on the page on what may be claimed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from airlens.files import read_json

from .tables import RESULTS, claims_of, claims_table, counted, interval, markdown

LOOKUP = RESULTS / "lookup"
FOLDERS = sorted(LOOKUP.iterdir(), reverse=True)  # SmolLM2 first
ABLATED = ("nothing ablated", "top", "same_layers", "random")
SCORES = {"ais": "AIS", "ais_novel": "novel AIS"}


def lookup_tables() -> str:
    """What the sets share and what changes without each of them, by model."""
    parts = []
    for folder in FOLDERS:
        note = read_json(folder / "provenance.json")
        parts += [copying_table(folder, note), agreement_table(folder)]
        if (folder / "planted_sets.csv").exists():
            parts.append(planted_table(folder))
        if (folder / "sources_sets.csv").exists():
            parts.append(sources_table(folder))
        n, probes = len(note["heads"]["average"]), note["probes"]["n"]
        parts.append(
            f"*`data/results/lookup/{folder.name}`: {note['model']['name']}, {n} heads in each "
            f"set, {probes} probes for the sets and {note['copy_probes']} fresh ones, "
            f"{note['draws']} draws.*\n"
        )
    return "\n".join(parts)


def copying_table(folder: Path, note: dict[str, Any]) -> str:
    """First and later tokens copied without each set, beside random heads."""
    table = pd.read_csv(folder / "copying.csv")
    table = table.assign(cell=interval(table, "accuracy"))
    # Sets of the same heads have the same numbers: the first of them stands for all.
    same = {tuple(sorted(heads)): name for name, heads in reversed(note["heads"].items())}
    table = table[table["set"].isin(same.values())]
    wide = table.pivot(index=["set", "heads"], columns="part", values="cell")
    order = [(name, heads) for name in same.values() for heads in ABLATED]
    wide = wide.reindex(sorted(order, key=lambda row: row[0]))
    shown = wide.rename(columns=lambda part: f"{part} tokens copied").reset_index()
    shown["heads"] = shown["heads"].replace({"top": "these heads"})
    return markdown(shown, left=2)


def agreement_table(folder: Path) -> str:
    """What the sets share with each other and with those of other detectors."""
    shared = pd.read_csv(folder / "agreement.csv")
    counts = shared.assign(
        sets=shared["a"] + " and " + shared["b"],
        shared=[f"{r.shared} of {r.top}" for r in shared.itertuples()],
    )
    return markdown(counts[["sets", "shared", "jaccard", "spearman"]])


def planted_table(folder: Path) -> str:
    """AUROC of real over planted steps by each set of heads, on the same steps."""
    table = pd.read_csv(folder / "planted_sets.csv")
    table = table[table["score"].isin(SCORES)]
    shown = {
        "planted": table["kind"],
        "score": table["score"].map(SCORES),
        **_by_set(table),
        "n": table["n"],
    }
    return markdown(pd.DataFrame(shown), left=2)


def sources_table(folder: Path) -> str:
    """AUROC of true sources by each set of heads, of the same uses."""
    table = pd.read_csv(folder / "sources_sets.csv").rename(columns={"measure": "score"})
    alone = pd.read_csv(folder / "sources.csv")
    alone = alone[(alone["heads"] == "top") & (alone["wording"] == "all")]
    keyed = alone.set_index(["set", "score", "distance"])["auroc"]
    for name, column in (("set", "auroc"), ("against", "auroc_against")):
        keys = zip(table[name], table["score"], table["distance"], strict=True)
        table[column] = [keyed[key] for key in keys]
    shown = {
        "sources by": table["score"].str.replace("_", " "),
        "steps before": table["distance"],
        **_by_set(table),
        "n": table["n"],
    }
    return markdown(pd.DataFrame(shown), left=2)


def _by_set(table: pd.DataFrame) -> dict[str, pd.Series]:
    """The AUROC of two sets of heads side by side, and their difference."""
    (one,), (other,) = table["set"].unique(), table["against"].unique()
    return {
        f"{one} heads": table["auroc"],
        f"{other} heads": table["auroc_against"],
        "difference": interval(table, "difference"),
    }


def lookup_sentences() -> list[str]:
    """What is decided between the sets, a sentence for each model."""
    lines = []
    for folder in FOLDERS:
        table = claims_of(folder.name, LOOKUP)
        name = read_json(folder / "provenance.json")["model"]["name"]
        ending = " by average heads than by lookup"
        sides = []
        for verdict in ("holds", "fails"):
            found = table[table["claim"].str.endswith(ending) & (table["verdict"] == verdict)]
            sides.append("; ".join(found["claim"].str.removesuffix(ending)) or "nothing")
        lines.append(
            f"**Lookup heads** ({name}, {counted(table)}): decided more by the average heads than "
            f"by the lookup heads: {sides[0]}; less: {sides[1]}."
        )
    return lines


def lookup_claims() -> str:
    """All that was tested of the sets together, by model."""
    parts = []
    for folder in FOLDERS:
        parts += [f"`{folder.name}`\n", claims_table(folder.name, folder=LOOKUP)]
    return "\n".join(parts)
