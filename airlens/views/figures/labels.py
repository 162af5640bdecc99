"""Text for figures: axis titles with units, visible white space, escaped labels, numbers.

All text from data that a figure or page shows goes through one of these functions.
"""

from __future__ import annotations

import html
import math
import re
import textwrap
import unicodedata
from typing import Any

import pandas as pd

MINUS = "\u2212"
"""A real minus sign, as wide as a plus."""
DASH = "\u2013"
"""Shown in place of a missing number."""

STEP_LABELS = {
    "score": "retrieval score",
    "lookup": "lookup (share of first answer tokens copied)",
    "continuation": "continuation (share of later answer tokens copied)",
    "ais": "AIS (relative rise in loss)",
    "ais_control": "AIS of random heads",
    "ais_novel": "AIS of what is no copy",
    "ais_novel_control": "AIS of what is no copy, random heads",
    "novel": "share of tokens that are no copy",
    "rsr": "rank-surprisal ratio",
    "lalp": "local log-probability",
    "fai": "attention from later tokens",
    "waad": "attention distance in a window",
    "circuit": "variance of a circuit's attention",
    "delta": "Δ loss (nats per token)",
    "delta_control": "Δ loss of random heads (nats per token)",
    "loss_base": "base loss (nats per token)",
    "loss_ref": "ablated loss (nats per token)",
    "loss_control": "loss with random heads ablated (nats per token)",
    "entropy": "base entropy (nats per token)",
    "n_tokens": "response length (tokens)",
    "n_steps": "steps",
    "copy_accuracy": "copy accuracy (share of answer tokens)",
    "nll": "answer NLL (nats per token)",
    "copies": "copies (share of the step's tokens)",
    "attention": "attention mass (share)",
    "attention_per_token": "attention per token of the source",
    "knockout": "Δ loss without the source (nats per token)",
    "knockout_kl": "change of the predictions without the source (KL, nats per token)",
    "gain": "gain of the step (nats, log-probability of the answer)",
    "logp_base": "log-probability of the answer (nats)",
    "direct": "fall of the answer's log-probability (nats)",
}
MEASURES = {
    "copies": "share of tokens copied",
    "attention": "attention",
    "attention_per_token": "attention per source token",
    "knockout": "Δ loss without it",
    "knockout_kl": "change of predictions without it (KL)",
}
"""Names of the measures of sources, in a sentence."""
SHORT = {
    "ais": "AIS",
    "delta": "Δ loss",
    "n_tokens": "response length",
    "loss_base": "base loss",
    "entropy": "base entropy",
}
"""Names of columns, in a headline."""
TOKEN_LABELS = {
    "delta": "Δ NLL (nats)",
    "delta_control": "Δ NLL, random heads (nats)",
    "nll_base": "base NLL (nats)",
    "nll_ref": "ablated NLL (nats)",
    "nll_control": "NLL, random heads (nats)",
    "entropy": "base entropy (nats)",
    "ais": "AIS of the step",
    "gain": "gain of the step (nats)",
    "depends": "what the answer depends on (nats)",
}

_MARKS = {" ": "·", "\n": "⏎", "\r": "␍", "\t": "⇥", "\u00a0": "⍽"}
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"}


def clean(text: object) -> str:
    """Return `text` as a string that UTF-8 can hold: a lone surrogate becomes U+FFFD."""
    return _SURROGATE.sub("\ufffd", str(text))


def escape_html(text: object) -> str:
    """Escape `text` for HTML, also within a quoted attribute."""
    return html.escape(clean(text).replace("\x00", "\ufffd"))


def visible(token: object) -> str:
    """Return one token's text with invisible characters made visible.

    A space becomes `·`, a newline `⏎`, a tab `⇥`; other control characters and marks of writing
    direction become escapes; an empty token becomes `∅`.
    """
    text = clean(token)
    return "".join(map(_mark, text)) if text else "∅"


def _mark(char: str) -> str:
    if char in _MARKS:
        return _MARKS[char]
    hidden = unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"}
    joins_emoji = char == "\u200d"
    return f"\\u{ord(char):04x}" if hidden and not joins_emoji else char


def plotly_text(text: object) -> str:
    """Escape `text` for Plotly's labels, which read tags, entities and `$…$` as markup."""
    return "".join(_ESCAPES.get(char, char) for char in clean(text))


def shorten(text: object, width: int = 40) -> str:
    """Return `text` on one line, at most `width` characters, cut with an ellipsis."""
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= width else flat[: max(1, width - 1)].rstrip() + "…"


def wrapped(text: object, width: int = 70, lines: int = 12) -> str:
    """Return `text` escaped for a Plotly hover label: wrapped with `<br>`, cut after `lines`."""
    rows = [row for line in clean(text).splitlines() for row in textwrap.wrap(line, width) or [""]]
    while rows and not rows[-1].strip():
        rows.pop()
    kept = rows[:lines] + (["…"] if len(rows) > lines else [])
    return "<br>".join(map(plotly_text, kept))


def number(value: object, digits: int = 3) -> str:
    """Return a number with `digits` significant digits (`0.866`, `1,240`, `−3.1e−07`).

    Whole numbers keep all their digits; None and NaN become an en dash.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not known(value):
        return DASH
    real = float(str(value))
    if math.isinf(real):
        return (MINUS if real < 0 else "") + "∞"
    if real == int(real) and abs(real) < 1e12:
        return f"{int(real):,}".replace("-", MINUS)
    return _significant(real, digits).replace("-", MINUS)


def _significant(real: float, digits: int) -> str:
    exponent = math.floor(math.log10(abs(real)))
    if not -4 <= exponent < 9:
        return f"{real:.{digits - 1}e}"
    return f"{real:,.{max(0, digits - 1 - exponent)}f}"


def known(value: Any) -> bool:
    """Return whether a cell holds something: not None, not NaN, not an empty string."""
    missing = value is None or value is pd.NA or (isinstance(value, str) and not value)
    return not missing and bool(pd.notna(value))


def percent(share: float) -> str:
    """Return a share of one as a percentage (`0.052` → `5.2 %`, `0.94` → `94 %`)."""
    if math.isnan(share):
        return DASH
    return f"{share * 100:.2g} %" if abs(share) < 0.095 else f"{share * 100:.0f} %"


def columns(text: str) -> int:
    """Return how many cells of a fixed-width font `text` takes (wide characters take two)."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    zero = sum(unicodedata.combining(char) != 0 or char == "\u200d" for char in text)
    return max(1, len(text) + wide - zero)


def label(column: str, *, token: bool = False) -> str:
    """Return the axis title of a column, with its unit."""
    names = TOKEN_LABELS if token else STEP_LABELS
    return names.get(column, column)


def is_signed(column: str) -> bool:
    """Return whether a column has a meaningful 0 in the middle (Δ, AIS, gain)."""
    signed = ("delta", "ais", "influence", "knockout", "gain", "depends")
    return column.startswith(signed) and not column.startswith("knockout_kl")
