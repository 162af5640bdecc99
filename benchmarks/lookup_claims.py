"""What is decided of lookup and continuation heads, from the tables of `lookup_heads.py`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import pandas as pd

from airlens.control_kinds import CONTRASTED_WORDS
from airlens.experiments.validity.claims import NAMES, number
from airlens.heads import Part
from airlens.statistics.verdicts import claims_table, greater

# The sets of heads by name, and the part of the answer that each is chosen by.
SETS: dict[str, Part | None] = {
    "average": None,
    "lookup": "lookup",
    "continuation": "continuation",
}
TESTED = ("ais", "ais_novel")  # of planted steps; Δ stands in the tables


def lookup_claims(tables: Mapping[str, pd.DataFrame], sets: Collection[str]) -> pd.DataFrame:
    """Each set against random heads, against nothing ablated, and against the sets after it.

    Args:
        tables: of `lookup_heads.py`; what is not among them is not tested.
        sets: in order, of those with the same heads one.

    Returns:
        What :func:`airlens.statistics.verdicts.claims_table` gives: all are tested together.
    """
    found, order = [], list(sets)
    repeated = SETS.keys() - sets
    for table in _differences(tables):
        for row in table.to_dict("records"):
            one, other = row["set"], row["against"]
            if {one, other} & repeated or other in order[: order.index(one)]:
                continue
            text = f"{row['what']} by {_words(one)} than by {_words(other)}"
            found.append(greater(text, row, number(row, "difference"), value="difference"))
    return claims_table(found)


def _words(name: str) -> str:
    """A set of heads, a kind of random heads, or what else is compared, in words."""
    return CONTRASTED_WORDS.get(name, f"{name} heads" if name in SETS else name)


def _differences(tables: Mapping[str, pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """What, set, against, difference with lo, hi, p, n and draws: above 0 where the set is more."""
    if "copying_contrasts" in tables:
        gap = tables["copying_contrasts"]
        what = gap["part"] + " tokens: ablating stops more copying"
        less, lo, hi = -gap["diff"], -gap["hi"], -gap["lo"]
        yield gap.assign(what=what, against=_rival(gap), difference=less, lo=lo, hi=hi)
    for name in ("planted_controls", "planted_sets"):
        if name in tables:
            gap = tables[name]
            gap = gap[gap["score"].isin(TESTED)]
            score = gap["score"].map(NAMES)
            what = score + " ranks real steps above " + gap["kind"] + " ones more"
            yield gap.assign(what=what, draws=gap.get("draws", 0))
    found = "copies find true sources more"
    if "sources_contrasts" in tables:
        gap = tables["sources_contrasts"]
        gap = gap[(gap["value"] == "auroc") & (gap["score"] == "copies")]
        gap = gap[(gap["against"] == "copies") & (gap["distance"] == "all")]
        yield gap.assign(what=found, against=_rival(gap), difference=gap["diff"])
    if "sources_sets" in tables:
        gap = tables["sources_sets"]
        gap = gap[(gap["measure"] == "copies") & (gap["distance"] == "all")]
        yield gap.assign(what=found, draws=0)


def _rival(gap: pd.DataFrame) -> pd.Series:
    """The kind of random heads, or what else a set is compared with."""
    return gap["against_heads"].where(gap["against_heads"].isin(CONTRASTED_WORDS), gap["against"])
