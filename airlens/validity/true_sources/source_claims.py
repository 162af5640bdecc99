"""Claims about the measures of sources, filled from their tables.

"A score finds sources" holds if its whole interval is above chance; "it is better than another"
holds if the interval of their difference, on the same steps or traces, is above zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from airlens.validity.claims import COLUMNS, Claim

NAMES = {
    "copies": "copies",
    "copies_number": "copies of the number",
    "attention": "attention",
    "attention_per_token": "attention per token",
    "knockout": "knockout",
}
RANDOM = {"layer-matched": "layer-matched random heads", "random": "random heads anywhere"}
DISTRACTORS = {
    "words": "a step with the same name",
    "numbers": "a step with the same number",
    "template": "a step like the source with another name and number",
    "phrasing": "a step phrased like the use, with another name and number",
    "rest": "all other steps",
}


def source_claims(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Claims from the tables of :func:`airlens.validity.true_sources.source_report.source_report`.

    Returns:
        claim, holds, evidence.
    """
    rows: list[Claim] = []
    if "planted" in tables:
        rows += _planted(tables["planted"], tables["planted_contrasts"])
        rows += _distractors(tables["distractors"])
    if "labelled" in tables:
        rows += _labelled(tables["labelled"], tables["labelled_contrasts"], tables["gain"])
    return pd.DataFrame(rows, columns=COLUMNS)


def _span(row: Mapping[Any, Any], value: str = "auroc", ends: str = "", form: str = ".2f") -> str:
    lo, hi = (float(row[f"{ends}{end}"]) for end in ("lo", "hi"))
    interval = f"[{lo:{form}}, {hi:{form}}]" if lo == lo else "(too few traces for an interval)"
    return f"{row[value]:{form}} {interval}"


def _difference(row: Mapping[Any, Any], value: str = "diff") -> str:
    return _span(row, value, form="+.2f")


def _planted(table: pd.DataFrame, contrasts: pd.DataFrame) -> Iterable[Claim]:
    every = table[table["wording"] == "all"]
    for distance, part in every.groupby("distance", sort=False):
        at = {"all": "at any distance", "prompt": "in the prompt"}.get(
            str(distance), f"{distance} step{'' if distance == '1' else 's'} before"
        )
        what = f"planted sources {at}"
        same = contrasts[contrasts["distance"] == distance]
        over = same[same["value"] == "auroc"]
        for row in part[part["heads"] == "top"].to_dict("records"):
            by = f"by {NAMES[row['score']]} of the critical heads"
            said = f"{what} are found {by}"
            yield said, bool(row["lo"] > 0.5), f"AUROC {_span(row)}, {row['n']} steps"
            yield from _rivals(over[over["score"] == row["score"]], said, "AUROC")
            said = f"{what} are put first {by} more often than"
            evidence = f"precision at 1 {_span(row, 'p1', 'p1_')}, chance {row['chance']:.2f}"
            yield f"{said} by chance", bool(row["p1_lo"] > row["chance"]), evidence
            first = same[(same["value"] == "p1") & (same["score"] == row["score"])]
            yield from _rivals(first, said.removesuffix(" more often than"), "precision at 1")
        yield from _best_control(part, over, what)


def _rivals(contrasts: pd.DataFrame, said: str, value: str) -> Iterable[Claim]:
    """Claims: better than the score of random heads, than every control, than all of these."""
    own = contrasts[contrasts["against"] == contrasts["score"]]
    for row in own.to_dict("records"):
        heads = RANDOM.get(row["against_heads"], row["against_heads"])
        yield f"{said}, better than by {heads}", bool(row["lo"] > 0), f"{value} {_difference(row)}"
    known = contrasts[contrasts["lo"].notna()]
    for rivals, what in (
        (known[known["against_heads"] == ""], "every free control"),
        (known, "all that needs no critical heads"),
    ):
        if len(rivals):
            near = min(rivals.to_dict("records"), key=lambda row: float(row["lo"]))
            by = RANDOM.get(near["against_heads"])
            of = _plain(near["against"]) + (f" of {by}" if by else "")
            evidence = f"{value} {_difference(near)} against {of}"
            yield f"{said}, better than by {what}", bool(near["lo"] > 0), evidence


def _plain(score: str) -> str:
    return NAMES.get(score, score.replace("_", " "))


def _best_control(table: pd.DataFrame, contrasts: pd.DataFrame, what: str) -> Iterable[Claim]:
    """Whether the best of the controls is better than every measure of the critical heads."""
    free = table[table["heads"] == ""]
    if free.empty:
        return
    best = max(free.to_dict("records"), key=lambda row: float(row["auroc"]))
    against = contrasts[
        (contrasts["against"] == best["score"]) & (contrasts["against_heads"] == "")
    ]
    if against.empty or against["hi"].isna().all():
        return
    near = against.loc[against["hi"].idxmax()].to_dict()
    said = f"{what} are found by {_plain(best['score'])} alone better than by every measure"
    evidence = f"AUROC {_span(best)}; {_plain(near['score'])} {_difference(near)} beside it"
    yield said, bool(near["hi"] < 0), evidence


def _distractors(table: pd.DataFrame) -> Iterable[Claim]:
    for row in table[table["heads"] == "top"].to_dict("records"):
        by = f"by {NAMES[row['score']]} of the critical heads"
        said = f"planted sources rank {by} above {DISTRACTORS[row['kind']]}"
        yield said, bool(row["lo"] > 0.5), f"AUROC {_span(row, 'above')}, {row['n']} steps"


def _labelled(table: pd.DataFrame, contrasts: pd.DataFrame, gain: pd.DataFrame) -> Iterable[Claim]:
    every = table[table["traces"] == "all"]
    for _, part in every.groupby(["beyond", "compared"], sort=False):
        beyond, compared = int(part["beyond"].iloc[0]), str(part["compared"].iloc[0])
        what = f"labelled sources more than {beyond} steps before" if beyond else "labelled sources"
        what += "" if compared == "all pairs" else ", among those of one step,"
        same = contrasts[(contrasts["beyond"] == beyond) & (contrasts["compared"] == compared)]
        for row in part[part["heads"] == "top"].to_dict("records"):
            said = f"{what} are found by {NAMES[row['score']]} of the critical heads"
            evidence = f"AUROC {_span(row)}, {row['n_traces']} traces, {row['n_true']} pairs"
            yield said, bool(row["lo"] > 0.5), evidence
            yield from _rivals(same[same["score"] == row["score"]], said, "AUROC")
            if compared == "all pairs":
                yield from _gained(gain, row, f"{said}, beyond proximity, overlap and length")
        yield from _best_control(part, same, what)


def _gained(gain: pd.DataFrame, row: Mapping[Any, Any], said: str) -> Iterable[Claim]:
    same = (gain["beyond"] == row["beyond"]) & (gain["score"] == row["score"])
    for found in gain[same & (gain["heads"] == "top")].to_dict("records"):
        evidence = f"gain {_difference(found, 'gain')} over {found['auroc_free']:.2f}"
        yield said, bool(found["lo"] > 0), evidence
