"""Small pieces of HTML for a head: copied tokens, scores per probe, effect of its ablation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from airlens.views.figures.coloured_text import WARM, coloured
from airlens.views.figures.labels import escape_html, label, number, visible
from airlens.views.figures.step_maps import row_dicts
from airlens.views.figures.style import COLOURS

FAINT = "opacity:.7"
CELL = "padding:1px 14px 1px 0;text-align:left;font-weight:400;line-height:1.6;min-width:5em"
ROUND = "border-radius:2px"
MARKED, AFTER = f"rgba({WARM},.28)", f"rgba({WARM},.12)"


def copied_html(name: str, words: Iterable[tuple[str, bool]]) -> str:
    """The tokens of an answer; those that the head copies are marked."""
    parts = [
        coloured(escape_html(visible(text)), MARKED if hit else "", look=ROUND if hit else FAINT)
        + "\u200b"
        for text, hit in words
    ]
    return (
        f'<div style="line-height:1.7"><span style="{FAINT}">{escape_html(name)} copies: </span>'
        f"{''.join(parts)}</div>"
    )


def probe_scores_html(rows: pd.DataFrame, current: str) -> str:
    """One bar per probe (columns probe, score); ``current`` is the probe shown."""
    values = [abs(float(v)) for v in rows["score"] if v == v]
    longest = max([1.0, *values]) if max(values, default=0) <= 1 else max(values)
    lines = []
    for row in row_dicts(rows):
        name, score = str(row["probe"]), float(row["score"])
        width = max(1, round(100 * abs(score) / longest)) if score == score else 0
        weight = "600" if name == current else "400"
        look = f"display:block;height:7px;width:{width}%;background:{COLOURS['base']}"
        lines.append(
            f'<tr><th style="{CELL};font-weight:{weight};white-space:nowrap">'
            f'{escape_html(name)}</th><td style="{CELL}">{number(score)}</td>'
            f'<td style="width:160px"><i style="{look}"></i></td></tr>'
        )
    return f'<table aria-label="score per probe">{"".join(lines)}</table>'


def effect_html(rows: pd.DataFrame) -> str:
    """Copy accuracy and answer NLL as a table; rows from ``HeadEffects.table``."""
    names = {"copy_accuracy": "copy accuracy", "nll": "answer NLL"}
    head = "".join(
        f'<th style="{CELL};{FAINT}" title="{escape_html(label(column))}">{name}</th>'
        for column, name in names.items()
    )
    lines = [f'<tr><td style="{CELL}"></td>{head}</tr>']
    for row in row_dicts(rows):
        accuracy, name = float(row["copy_accuracy"]), _set_name(row["heads"], int(row["k"]))
        share = round(100 * accuracy)
        tint = f"linear-gradient(90deg,rgba(0,114,178,.22) {share}%,transparent {share}%)"
        lines.append(
            f'<tr><th style="{CELL};white-space:nowrap">{escape_html(name)}</th>'
            f'<td style="{CELL};background:{tint}">{number(accuracy)}</td>'
            f'<td style="{CELL}">{number(row["nll"])}</td></tr>'
        )
    return f'<table style="border-collapse:collapse">{"".join(lines)}</table>'


def _set_name(kind: str, k: int) -> str:
    if kind in ("all heads", "needle removed"):
        return kind
    word = {"top": "the top", "chosen": "the chosen", "random": "random"}[kind]
    return f"without {word} {k}" if kind != "random" else f"without {k} {word} ones"


def texts_html(rows: Sequence[tuple[str, Sequence[str], int | None]]) -> str:
    """Texts below each other, each with its name, marked from the first difference on.

    Args:
        rows: name, tokens, and the index of the first token that differs (None: nothing does).
    """
    lines = [
        f'<tr><th style="{CELL};{FAINT};white-space:nowrap;vertical-align:top">'
        f'{escape_html(name)}</th><td style="{CELL};overflow-wrap:anywhere">'
        f"{marked_html(tokens, split)}</td></tr>"
        for name, tokens, split in rows
    ]
    return f'<table style="border-collapse:collapse">{"".join(lines)}</table>'


def marked_html(tokens: Sequence[str], split: int | None) -> str:
    """A text with its token ``split`` marked, and what follows in a paler tone."""
    cut = len(tokens) if split is None else split
    same = escape_html("".join(tokens[:cut]))
    first = escape_html("".join(map(visible, tokens[cut : cut + 1])))
    rest = escape_html("".join(tokens[cut + 1 :]))
    if first:
        first = coloured(first, MARKED, look=ROUND)
    if rest:
        rest = coloured(rest, AFTER)
    return f'<span style="white-space:pre-wrap;overflow-wrap:anywhere">{same}{first}{rest}</span>'
