"""The possible sources of a step: the steps before it, and the sentences of the prompt.

Units are numbered in the order of the text: the prompt's are -P to -1, the steps 0 to S-1. Two
kinds of token belong to no unit: those of the chat template, and the first token of the sequence,
which heads with nothing to fetch attend to (an attention sink).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from airlens.losses.windows import Window
from airlens.traces.chat_template import KNOWN_TAGS
from airlens.traces.encoding import EncodedTrace
from airlens.traces.steps import split_steps
from airlens.traces.token_spans import first_characters

SINK, TEMPLATE = 0, 1  # groups of tokens that belong to no unit; unit u is group 2 + P + u
_CLOSING = re.compile("|".join(re.escape(closing) for _, closing in KNOWN_TAGS))
UNIT_COLUMNS = [
    *("id", "unit", "kind", "label", "text", "start", "end"),
    *("n_tokens", "first", "last"),
]
TOKEN_COLUMNS = [
    *("id", "index", "part", "unit", "pos", "token_id", "token", "start", "end"),
]


@dataclass(frozen=True)
class Units:
    """The tokens of a trace by unit.

    Attributes:
        encoded: the trace as tokens, N of them.
        prompt: character spans of the prompt's P units in ``encoded.prefix``.
        group: int [N]: `SINK`, `TEMPLATE`, or 2 + P + number of the unit.
    """

    encoded: EncodedTrace
    prompt: tuple[tuple[int, int], ...]
    group: np.ndarray

    @property
    def n_steps(self) -> int:
        """Number of steps, S."""
        return len(self.encoded.trace.whole_steps())

    @property
    def n_groups(self) -> int:
        """Number of groups of tokens, 2 + P + S."""
        return 2 + len(self.prompt) + self.n_steps

    def number(self, group: int) -> int | None:
        """The number of a group's unit; None for the sink and the template."""
        return None if group < 2 else group - 2 - len(self.prompt)

    def span(self, group: int) -> tuple[int, int]:
        """First token of a group, and one past its last; the tokens of a unit are contiguous."""
        return span_of(self.group, group) or (0, 0)


@dataclass(frozen=True)
class Stretch:
    """A window of a trace whose attention is read.

    Attributes:
        window: its n tokens; the last m of them are scored.
        offset: index in the whole sequence of the window's first token.
        group: int [n], see `Units`; the window's own first token is a sink.
        step: int [m], the step of each scored token.
        n_groups: number of groups.
        n_steps: number of steps.
    """

    window: Window
    offset: int
    group: np.ndarray
    step: np.ndarray
    n_groups: int
    n_steps: int


def span_of(groups: np.ndarray, group: int) -> tuple[int, int] | None:
    """First place of a group in ``groups``, int [n], and one past its last; None without any."""
    where = np.flatnonzero(groups == group)
    return (int(where[0]), int(where[-1]) + 1) if len(where) else None


def units_of(encoded: EncodedTrace) -> Units:
    """Split prompt and response of a trace into units."""
    prompt = tuple(_prompt_units(encoded))
    group = np.full(len(encoded.tokens), TEMPLATE, dtype=np.int64)
    spans = encoded.spans[: encoded.response_start]
    first = first_characters(encoded.prefix, spans)
    real = spans[:, 0] < spans[:, 1]
    for number, (start, end) in enumerate(prompt):
        group[: len(spans)][real & (start <= first) & (first < end)] = 2 + number
    group[encoded.response_start :] = 2 + len(prompt) + encoded.step
    group[:1] = SINK
    return Units(encoded, prompt, group)


def stretch_of(units: Units, window: Window) -> Stretch:
    """The window of a trace, with the group of each token and the step of each scored one."""
    encoded = units.encoded
    offset = encoded.response_start + window.position - window.first
    group = units.group[offset : offset + len(window.tokens)].copy()
    group[:1] = SINK
    step = encoded.step[window.position : window.position + window.n_scored]
    return Stretch(window, offset, group, step, units.n_groups, units.n_steps)


def _prompt_units(encoded: EncodedTrace) -> Iterator[tuple[int, int]]:
    """Character spans of the prompt's lines, and of the sentences in them, in the prefix."""
    turns, prefix = encoded.trace.chat(), encoded.prefix
    begin = 0
    for turn in turns:
        for text in _texts(turn):
            # All of it, or what follows a thought: templates leave that of an earlier turn out.
            for part in dict.fromkeys((text, _CLOSING.split(text)[-1].strip())):
                # A template may begin with text of its own, so of a single turn the last
                # occurrence is taken.
                at = prefix.rfind(part) if len(turns) == 1 else prefix.find(part, begin)
                if part and at >= 0:
                    begin = at + len(part)
                    yield from _sentences(part, at)
                    break


def _texts(turn: Mapping[str, Any]) -> Iterator[str]:
    """What a turn says, without blanks around it: one text, or those of the parts of a content."""
    content = turn.get("content")
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str) and text.strip():
            yield text.strip()


def _sentences(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Spans of the sentences in each line of a text that stands at ``at``."""
    for line in split_steps(text, "line"):
        for sentence in split_steps(line.text, "sentence"):
            start = at + line.start + sentence.start
            yield start, start + len(sentence.text)


def unit_table(units: Units) -> pd.DataFrame:
    """One row per unit; see :class:`airlens.step_sources.Sources`."""
    encoded, trace = units.encoded, units.encoded.trace
    rows: list[tuple[str, str | None, str, int, int, int]] = []
    for number, (start, end) in enumerate(units.prompt):
        rows.append(("prompt", None, encoded.prefix[start:end], start, end, 2 + number))
    for number, step in enumerate(trace.whole_steps()):
        group = 2 + len(units.prompt) + number
        rows.append(("step", step.label, step.text, step.start, step.end, group))
    table = []
    for kind, label, text, start, end, group in rows:
        first, stop = units.span(group)
        counted = int((units.group == group).sum())
        known = (trace.id, units.number(group), kind, label, text, start, end)
        table.append((*known, counted, first, stop - 1))
    return pd.DataFrame(table, columns=UNIT_COLUMNS)


def token_table(units: Units) -> pd.DataFrame:
    """One row per token of the whole sequence; see :class:`airlens.step_sources.Sources`."""
    encoded = units.encoded
    n, begin = len(encoded.tokens), encoded.response_start
    text = encoded.prefix + encoded.trace.response
    index = np.arange(n)
    inside = units.group >= 2
    number = pd.array(units.group - 2 - len(units.prompt), dtype="Int64")
    number[~inside] = pd.NA
    pos = pd.array(index - begin, dtype="Int64")
    pos[index < begin] = pd.NA
    part = np.where(index >= begin, "response", np.where(inside, "prompt", "template"))
    moved = np.where(index >= begin, len(encoded.prefix), 0)
    columns = {
        "id": encoded.trace.id,
        "index": index,
        "part": part,
        "unit": number,
        "pos": pos,
        "token_id": np.asarray(encoded.tokens, dtype=np.int64),
        "token": pd.Series([text[a:b] for a, b in encoded.spans.tolist()], dtype=object),
        "start": encoded.spans[:, 0] - moved,
        "end": encoded.spans[:, 1] - moved,
    }
    return pd.DataFrame(columns, columns=TOKEN_COLUMNS)
