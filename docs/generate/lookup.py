"""Lookup and continuation heads on the page on what may be claimed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from airlens.experiments.validity.true_sources.planted_traces import DISTANCES
from airlens.files import read_json

from .tables import RESULTS, claims_of, claims_table, counted, interval, markdown

LOOKUP = RESULTS / "lookup"
FOLDERS = sorted(LOOKUP.iterdir(), reverse=True)  # SmolLM2 first
ABLATED = ("nothing ablated", "top", "same_layers", "random")
SCORES = {"ais": "AIS", "ais_novel": "novel AIS"}
ORDER = ["all", *DISTANCES, "prompt"]


def lookup_tables() -> str:
    """What the sets share and what changes without each of them, by model."""
    parts = []
    for folder in FOLDERS:
        note = read_json(folder / "provenance.json")
        n, probes = len(note["heads"]["average"]), note["probes"]["n"]
        parts += [
            f"*`data/results/lookup/{folder.name}`: {note['model']['name']}, {n} heads in each "
            f"set, {probes} probes for the sets and {note['copy_probes']['n']} fresh ones, "
            f"{note['draws']} draws:*\n",
            copying_table(folder, note),
            agreement_table(folder),
        ]
        if (folder / "planted_sets.csv").exists():
            parts.append(planted_table(folder))
        if (folder / "sources_sets.csv").exists():
            parts.append(sources_table(folder))
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
    table = table.assign(planted=table["kind"], score=table["score"].map(SCORES))
    return _side_by_side(table, ["planted", "score"])


def sources_table(folder: Path) -> str:
    """AUROC of true sources by each set of heads, of the same uses."""
    table = pd.read_csv(folder / "sources_sets.csv").rename(columns={"measure": "score"})
    alone = pd.read_csv(folder / "sources.csv")
    alone = alone[(alone["heads"] == "top") & (alone["wording"] == "all")]
    keyed = alone.set_index(["set", "score", "distance"])["auroc"]
    for name, column in (("set", "auroc"), ("against", "auroc_against")):
        keys = zip(table[name], table["score"], table["distance"], strict=True)
        table[column] = [keyed[key] for key in keys]
    table = table.assign(**{"sources by": table["score"].str.replace("_", " ")})
    order = table["distance"].map(ORDER.index)
    table = table.assign(order=order).sort_values(["sources by", "order"], kind="stable")
    return _side_by_side(
        table.rename(columns={"distance": "steps before"}), ["sources by", "steps before"]
    )


def _side_by_side(table: pd.DataFrame, columns: list[str]) -> str:
    """The AUROC of two sets of heads side by side, and their difference; a table for each pair."""
    parts = []
    for (one, other), pair in table.groupby(["set", "against"], sort=False):
        shown = {
            **{name: pair[name] for name in columns},
            f"{one} heads": pair["auroc"],
            f"{other} heads": pair["auroc_against"],
            "difference": interval(pair, "difference"),
            "n": pair["n"],
        }
        parts.append(markdown(pd.DataFrame(shown), left=len(columns)))
    return "\n".join(parts)


def lookup_sentences() -> list[str]:
    """What is decided between the average heads and the lookup heads, by model."""
    lines = []
    ending = " by average heads than by lookup heads"
    for folder in FOLDERS:
        claims = claims_of(folder.name, LOOKUP)
        pair = claims[claims["claim"].str.endswith(ending)]
        name = read_json(folder / "provenance.json")["model"]["name"]
        sides = []
        for verdict in ("holds", "fails"):
            found = pair.loc[pair["verdict"] == verdict, "claim"].str.removesuffix(ending)
            sides.append("; ".join(found.str.removesuffix(" more")) or "none")
        lines.append(
            f"**Lookup heads** ({name}, {counted(claims)}; {len(pair)} set them against the "
            f"average heads): decided more by the average heads: {sides[0]}; decided more by the "
            f"lookup heads: {sides[1]}."
        )
    return lines


def lookup_claims() -> str:
    """All that was tested of the sets together, by model."""
    parts = []
    for folder in FOLDERS:
        parts += [f"`{folder.name}`\n", claims_table(folder.name, folder=LOOKUP)]
    return "\n".join(parts)
