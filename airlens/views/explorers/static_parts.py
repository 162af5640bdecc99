"""Parts of the static forms of live views: a sentence, a table, a picture of a map, some steps."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from airlens.traces.trace import Trace
from airlens.views.figures.cell_picture import cell_picture
from airlens.views.figures.labels import known, label, number
from airlens.views.figures.style import limit
from airlens.views.html_file import part

TEMPLATE = "explorers/static_parts.html.j2"
MOST_TOKENS = 1500
"""So many tokens of a trace are shown, around the current step: about 100 kB."""


def said(head: str, aside: str = "") -> Markup:
    """A sentence, and a line under it; plain text."""
    return part(TEMPLATE, "said", head=head, aside=aside)


def unread(words: str, trace: Trace) -> Markup:
    """What comes, and until then the text of a trace as it is."""
    return part(TEMPLATE, "unread", words=words, trace=trace)


def table(frame: pd.DataFrame) -> Markup:
    """The rows of a frame, numbers in few digits."""
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return part(TEMPLATE, "table", columns=[label(name) for name in frame.columns], rows=rows)


def _cell(value: object) -> str:
    if not known(value):
        return ""
    return number(value) if isinstance(value, (float, np.floating)) else str(value)


def picture(values: NDArray[np.float64], words: str, marked: Sequence[int] = ()) -> Markup:
    """A map of cells [R, C], rows upward, and what it shows in plain words."""
    signed = bool((values < 0).any())
    png, width, height = cell_picture(
        values, bound=limit(values.ravel(), 0.995), signed=signed, marked=marked
    )
    return png_picture(png, words, width, height)


def png_picture(png: bytes, words: str, width: int, height: int) -> Markup:
    """A PNG in the text, shown ``width`` x ``height`` pixels large, and what it shows in words."""
    data = base64.b64encode(png).decode()
    return part(TEMPLATE, "picture", png=data, words=words, width=width, height=height)


def steps_shown(tokens: pd.DataFrame, step: int) -> tuple[pd.DataFrame, str]:
    """The tokens of whole steps around ``step``, at most about `MOST_TOKENS`, and what is left out.

    Args:
        tokens: of one trace.
        step: stays in sight; negative: the first one does.
    """
    counts = tokens.groupby("step", sort=True).size()
    if counts.sum() <= MOST_TOKENS:
        return tokens, ""
    steps = list(counts.index)
    first = last = steps.index(step) if step in steps else 0
    room = MOST_TOKENS - counts.iloc[first]
    while room > 0 and (first > 0 or last < len(steps) - 1):
        if last < len(steps) - 1:
            last += 1
            room -= counts.iloc[last]
        if first > 0 and room > 0:
            first -= 1
            room -= counts.iloc[first]
    kept = tokens[tokens["step"].between(steps[first], steps[last])]
    return kept, f"shown here: steps {steps[first]} to {steps[last]} of {len(steps)}"
