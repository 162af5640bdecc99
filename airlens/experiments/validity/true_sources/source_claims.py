"""Claims about the measures of sources, filled from their tables.

"A score finds sources" holds if it is above chance, "it is better than another" if their difference
on the same steps or traces is above zero, and "better than every one" if it is so for each of them;
:mod:`airlens.statistics.verdicts` says which do, together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from airlens.control_kinds import CONTRASTED_WORDS
from airlens.experiments.validity.claims import number
from airlens.statistics.verdicts import Claim, claims_table, greater

NAMES = {
    "copies": "copies",
    "copies_number": "copies of the number",
    "attention": "attention",
    "attention_per_token": "attention per token",
    "knockout": "knockout",
}
DISTRACTORS = {
    "words": "a step with the same name",
    "numbers": "a step with the same number",
    "template": "a step like the source with another name and number",
    "phrasing": "a step phrased like the use, with another name and number",
    "rest": "all other steps",
}


def source_claims(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Claims from the tables of :func:`.source_report.source_report`.

    Returns:
        What :func:`airlens.statistics.verdicts.claims_table` gives.
    """
    rows: list[Claim] = []
    if "planted" in tables:
        rows += _planted(tables["planted"], tables["planted_contrasts"])
        rows += _distractors(tables["distractors"])
    if "labelled" in tables:
        rows += _labelled(tables["labelled"], tables["labelled_contrasts"], tables["gain"])
    return claims_table(rows)


def _difference(row: Mapping[Any, Any], value: str = "diff") -> str:
    return number(row, value, form="+.2f")


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
            evidence = f"AUROC {number(row)}, {row['n_traces']} traces, {row['n']} steps"
            yield greater(said, row, evidence, value="auroc", null=0.5, n="n_traces")
            yield from _rivals(over[over["score"] == row["score"]], said, "AUROC")
            said = f"{what} are put first {by} more often than"
            evidence = f"precision at 1 {number(row, 'p1', 'p1_')}, chance {row['chance']:.2f}"
            first = {"value": "p1", "null": row["chance"], "p": "p1_p", "n": "n_traces"}
            yield greater(f"{said} by chance", row, evidence, **first)
            rivals = same[(same["value"] == "p1") & (same["score"] == row["score"])]
            yield from _rivals(rivals, said.removesuffix(" more often than"), "precision at 1")
        yield from _best_control(part, over, what)


def _rivals(contrasts: pd.DataFrame, said: str, value: str) -> Iterable[Claim]:
    """Claims: better than the score of random heads, than every control, than all of these."""
    own = contrasts[contrasts["against"] == contrasts["score"]]
    for row in own.to_dict("records"):
        heads = CONTRASTED_WORDS.get(row["against_heads"], row["against_heads"])
        evidence = f"{value} {_difference(row)}"
        yield greater(f"{said}, better than by {heads}", row, evidence, value="diff")
    for rivals, what in (
        (contrasts[contrasts["against_heads"] == ""], "every free control"),
        (contrasts, "all that needs no critical heads"),
    ):
        if len(rivals):
            near = _nearest(rivals.to_dict("records"))
            by = CONTRASTED_WORDS.get(near["against_heads"])
            of = _plain(near["against"]) + (f" of {by}" if by else "")
            evidence = f"{value} {_difference(near)} against {of}"
            claims = [greater("", row, "", value="diff") for row in rivals.to_dict("records")]
            yield _each(f"{said}, better than by {what}", claims, evidence)


def _nearest(rivals: Sequence[Mapping[Any, Any]]) -> Mapping[Any, Any]:
    """The rival that comes nearest: the lower limit of the difference is the lowest."""
    known = [row for row in rivals if float(row["lo"]) == float(row["lo"])]
    return min(known or rivals, key=lambda row: float(row["lo" if known else "diff"]))


def _each(said: str, claims: Sequence[Claim], evidence: str) -> Claim:
    """The claim that all of these hold; it fails where one does, which was looked for in all."""
    unknown = next((claim.why_not for claim in claims if claim.why_not), "")
    against = max(claim.against for claim in claims)
    favour = min(1.0, len(claims) * min(claim.favour for claim in claims))
    return Claim(said, against, favour, evidence, unknown)


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
    if against.empty:
        return
    turned = [{**row, "diff": -row["diff"]} for row in against.to_dict("records")]
    claims = [greater("", row, "", value="diff") for row in turned]
    near = max(against.to_dict("records"), key=lambda row: float(row["diff"]))
    said = f"{what} are found by {_plain(best['score'])} alone better than by every measure"
    evidence = f"AUROC {number(best)}; {_plain(near['score'])} {_difference(near)} beside it"
    yield _each(said, claims, evidence)


def _distractors(table: pd.DataFrame) -> Iterable[Claim]:
    for row in table[table["heads"] == "top"].to_dict("records"):
        by = f"by {NAMES[row['score']]} of the critical heads"
        said = f"planted sources rank {by} above {DISTRACTORS[row['kind']]}"
        evidence = f"AUROC {number(row, 'above')}, {row['n_traces']} traces, {row['n']} steps"
        yield greater(said, row, evidence, value="above", null=0.5, n="n_traces")


def _labelled(table: pd.DataFrame, contrasts: pd.DataFrame, gain: pd.DataFrame) -> Iterable[Claim]:
    every = table[table["traces"] == "all"]
    for _, part in every.groupby(["beyond", "compared"], sort=False):
        beyond, compared = int(part["beyond"].iloc[0]), str(part["compared"].iloc[0])
        what = f"labelled sources more than {beyond} steps before" if beyond else "labelled sources"
        what += "" if compared == "all pairs" else ", among those of one step,"
        same = contrasts[(contrasts["beyond"] == beyond) & (contrasts["compared"] == compared)]
        for row in part[part["heads"] == "top"].to_dict("records"):
            said = f"{what} are found by {NAMES[row['score']]} of the critical heads"
            evidence = f"AUROC {number(row)}, {row['n']} problems, {row['n_true']} pairs"
            yield greater(said, row, evidence, value="auroc", null=0.5)
            yield from _rivals(same[same["score"] == row["score"]], said, "AUROC")
            if compared == "all pairs":
                yield from _gained(gain, row, f"{said}, beyond proximity, overlap and length")
        yield from _best_control(part, same, what)


def _gained(gain: pd.DataFrame, row: Mapping[Any, Any], said: str) -> Iterable[Claim]:
    same = (gain["beyond"] == row["beyond"]) & (gain["score"] == row["score"])
    for found in gain[same & (gain["heads"] == "top")].to_dict("records"):
        evidence = f"gain {_difference(found, 'gain')} over {found['auroc_free']:.2f}"
        yield greater(said, found, evidence, value="gain")
