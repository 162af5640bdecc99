"""Tables of `data/results` as Markdown: intervals, verdicts, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from airlens.files import read_json

from . import ROOT

RESULTS = ROOT / "data" / "results"
VALIDITY = RESULTS / "validity"


def markdown(frame: pd.DataFrame, left: int = 1) -> str:
    """A frame as a Markdown table, the first columns to the left and the others to the right."""
    names = [str(name) for name in frame.columns]
    rule = [":--"] * left + ["--:"] * (len(names) - left)
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [names, rule, *rows]) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.2f}"
    return str(value).replace("|", "\\|")


def interval(
    frame: pd.DataFrame, value: str, lo: str = "lo", hi: str = "hi", digits: int = 2
) -> pd.Series:
    """`0.96 [0.90, 0.99]`; empty where nothing was measured, no limits where undefined."""
    rows = zip(frame[value], frame[lo], frame[hi], strict=True)
    d = digits
    # No-break spaces: an interval stays on one line.
    text = [
        ""
        if pd.isna(v)
        else f"{v:.{d}f}" + ("" if pd.isna(a) else f"\u00a0[{a:.{d}f},\u00a0{b:.{d}f}]")
        for v, a, b in rows
    ]
    return pd.Series(text, index=frame.index)


def source(name: str, folder: Path = VALIDITY) -> str:
    """A line that says which file, which model and how many heads stand behind a table."""
    note = read_json(folder / name / "provenance.json")
    model, versions = note["model"], note["versions"]
    return (
        f"*`data/results/validity/{name}`: {model['name']} (weights {model['weights']}), "
        f"{len(note['heads'])} heads, torch {versions['torch']}, TransformerLens "
        f"{versions['transformer_lens']}, {note['time'][:10]}.*\n"
    )


VERDICTS = ("holds", "fails", "undecided", "no verdict")


def claims_of(name: str, folder: Path = VALIDITY) -> pd.DataFrame:
    """The claims of a report."""
    return pd.read_csv(folder / name / "claims.csv")


def claims_table(name: str, contains: Sequence[str] = (), folder: Path = VALIDITY) -> str:
    """The claims that the command tested together: verdict, evidence, corrected p."""
    table = claims_of(name, folder)
    for text in contains:
        table = table[table["claim"].str.contains(text, regex=False)]
    order = table["verdict"].map({verdict: i for i, verdict in enumerate(VERDICTS)})
    table = table.assign(order=order).sort_values("order", kind="stable")
    shown = table["verdict"].replace({"holds": "**holds**"})
    p = ["" if pd.isna(v) else "< .0001" if v < 1e-4 else f"{v:.4f}" for v in table["p_holm"]]
    table = table.assign(verdict=shown, **{"p (Holm)": p})
    return markdown(table[["verdict", "claim", "evidence", "p (Holm)"]], left=3)


def counted(claims: pd.DataFrame) -> str:
    """`of 240 claims 45 hold, 27 fail, …`."""
    n = claims["verdict"].value_counts()
    return (
        f"of {len(claims)} claims {n.get('holds', 0)} hold, {n.get('fails', 0)} fail, "
        f"{n.get('undecided', 0)} are undecided, {n.get('no verdict', 0)} have no verdict"
    )
