"""What may be said: claims with a p value each, corrected for how many there are in a table.

A claim holds where the evidence for it survives Holm's correction over its table, and fails where
that for its opposite does; otherwise it is undecided. Where there are too few independent units, or
an interval is undefined, there is no verdict, and the claim is no test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .estimates import ALPHA, LEAST_CLUSTERS, LEAST_DRAWS, Correlation, Source, student
from .several import holm

HOLDS, FAILS, UNDECIDED, NO_VERDICT = "holds", "fails", "undecided", "no verdict"
COLUMNS = ["claim", "verdict", "holds", "evidence", "p", "p_holm"]


class Claim(NamedTuple):
    """A sentence that may hold, and the evidence.

    Attributes:
        claim: the sentence.
        against: one-sided p of data like these if the sentence were false.
        favour: one-sided p of data like these if its opposite were false.
        evidence: the numbers.
        why_not: why nothing is decided whatever the p values; empty where something may be.
    """

    claim: str
    against: float
    favour: float
    evidence: str
    why_not: str = ""


def greater(
    claim: str,
    row: Mapping[Any, Any],
    evidence: str,
    *,
    value: str,
    null: float = 0.0,
    p: str = "p",
    n: str = "n",
) -> Claim:
    """The claim that a number of a table's row is greater than ``null``.

    Args:
        claim: the sentence.
        row: with the number, its two-sided p value and how many independent units it is of; and
            with draws, where draws of random heads have a part in it.
        evidence: the numbers as text.
        value: column of the number.
        null: what it is compared with.
        p: column of the p value.
        n: column of the units.
    """
    found = float(row[p]) / 2
    up = bool(row[value] > null)
    sides = (found, 1 - found) if up else (1 - found, found)
    return Claim(claim, *sides, evidence, why_not(row, p, n))


def within(claim: str, row: Mapping[Any, Any], evidence: str, limit: float) -> Claim:
    """The claim that a correlation (rho, lo, hi, n) lies between ``-limit`` and ``limit``.

    Both sides are tested, each at half the level: the claim holds where the whole interval is
    inside, and fails where the whole interval is beyond one limit.
    """
    reason = why_not(row, "rho", "n")
    n = int(row["n"])
    if reason or not np.isfinite([row["lo"], row["hi"]]).all():
        return Claim(claim, np.nan, np.nan, evidence, reason or "no interval")
    wide = (np.arctanh(row["hi"]) - np.arctanh(row["lo"])) / 2
    found = Correlation(row["rho"], (Source(float(wide / student(ALPHA, n - 1)) ** 2, n - 1),), n)
    below, above = (_one_sided(found, end, up) for end, up in ((limit, False), (-limit, True)))
    beyond = min(_one_sided(found, limit, True), _one_sided(found, -limit, False))
    return Claim(claim, max(below, above), min(1.0, beyond), evidence)


def _one_sided(found: Correlation, null: float, up: bool) -> float:
    p = found.p(null) / 2
    return p if (found.value > null) == up else 1 - p


def why_not(row: Mapping[Any, Any], p: str = "p", n: str = "n") -> str:
    """Why a row decides nothing; empty where it may."""
    draws = row.get("draws", 0)
    if row[n] < LEAST_CLUSTERS:
        return f"{int(row[n])} independent units, at least {LEAST_CLUSTERS} are needed"
    if 0 < draws < LEAST_DRAWS:
        return f"{int(draws)} draws of random heads, at least {LEAST_DRAWS} are needed"
    return "" if np.isfinite(row[p]) else "the interval is undefined"


def claims_table(claims: Iterable[Claim], alpha: float = ALPHA) -> pd.DataFrame:
    """The verdicts of claims that are made together.

    Args:
        claims: of one table.
        alpha: chance of any verdict of the table being false.

    Returns:
        claim, verdict ("holds", "fails", "undecided", "no verdict"), holds, evidence, p (two-sided,
        of the claim alone), p_holm (corrected over the claims that could be tested).
    """
    given = list(claims)
    p = [np.nan if c.why_not else min(1.0, 2 * min(c.against, c.favour)) for c in given]
    corrected = holm(p)
    rows = []
    for claim, alone, together in zip(given, p, corrected, strict=True):
        said = NO_VERDICT if claim.why_not else UNDECIDED
        if together <= alpha:
            said = HOLDS if claim.against < claim.favour else FAILS
        evidence = claim.evidence + (f" ({claim.why_not})" if claim.why_not else "")
        rows.append((claim.claim, said, said == HOLDS, evidence, alone, together))
    return pd.DataFrame(rows, columns=COLUMNS)
