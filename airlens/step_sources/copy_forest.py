"""What heads copy in one trace, as a forest: of each token, the earlier one it is copied from.

Of several heads that copy a token the one with the largest weight decides, and of equal weights the
first in the model. So a token has at most one source, which always stands before it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from airlens.heads import Head, parse_head
from airlens.traces.answers import named_answer, stands_in, whole
from airlens.traces.trace import Trace

_WORD = re.compile(r"\d+(?:[.,]\d+)*|\w+")


class Copy(NamedTuple):
    """Where a token is copied from: its index in the whole sequence, the head, the weight."""

    source: int
    head: Head
    weight: float


Parents = dict[int, Copy]  # by the index of the token in the whole sequence


class End(NamedTuple):
    """The end of a path: how many copies lead there, why it ends, and at which token."""

    hops: int
    why: str
    at: int


class Way(NamedTuple):
    """Copies (how many from the start, the token that is copied to), and the ends."""

    copies: list[tuple[int, int]]
    ends: list[End]


def strongest(events: pd.DataFrame, response_start: int) -> Parents:
    """The strongest copy of each token, of one trace's head, pos, source_index and weight."""
    found: Parents = {}
    columns = (events[name] for name in ("head", "pos", "source_index", "weight"))
    for name, pos, source, weight in zip(*columns, strict=True):
        new, index = Copy(int(source), parse_head(name), float(weight)), response_start + int(pos)
        old = found.get(index)
        if old is None or (-new.weight, new.head) < (-old.weight, old.head):
            found[index] = new
    return found


@dataclass(frozen=True)
class TraceTokens:
    """The words of a trace: where they stand, and whether they stood before.

    Attributes:
        tokens: rows of `Sources.tokens` of one trace.
        units: rows of `Sources.units` of it.
        n_read: how many tokens of the response were read.
    """

    tokens: pd.DataFrame
    units: pd.DataFrame
    n_read: int

    @cached_property
    def texts(self) -> list[str]:
        """The text of each token."""
        return [str(text) for text in self.tokens["token"]]

    @cached_property
    def unit(self) -> list[int | None]:
        """The unit of each token; None for the template and the first token."""
        return [None if pd.isna(unit) else int(unit) for unit in self.tokens["unit"]]

    @cached_property
    def part(self) -> list[str]:
        """The part of each token: "template", "prompt" or "response"."""
        return [str(part) for part in self.tokens["part"]]

    @cached_property
    def response_start(self) -> int:
        """Index of the first token of the response."""
        return self.part.index("response") if "response" in self.part else len(self.part)

    @cached_property
    def response(self) -> str:
        """The text of the response: its steps, one after the other."""
        return "".join(self.units.loc[self.units["kind"] == "step", "text"])

    @cached_property
    def prompt(self) -> str:
        """The sentences of the prompt."""
        return "\n".join(self.units.loc[self.units["kind"] == "prompt", "text"])

    def was_read(self, index: int) -> bool:
        """Whether the heads' attention was read where this token is predicted."""
        first = max(self.response_start, 1)  # nothing predicts the first token of a text
        return first <= index < first + self.n_read

    def of_text(self, text: str, unit: int | None, *, last: bool) -> list[int]:
        """Tokens of a text where it stands last, or first, as a word of a unit or the response."""
        within, offset = self.response, 0
        if unit is not None:
            row = self.units[self.units["unit"] == unit]
            if row.empty:
                return []
            within, offset = str(row["text"].iloc[0]), int(row["start"].iloc[0])
        places = list(re.finditer(whole(text), within))
        if not places:
            return []
        place = places[-1 if last else 0]
        return self._covering(offset + place.start(), offset + place.end(), unit)

    def of_answer(self, id: str) -> list[int]:
        """Tokens of the final answer where it stands last; none without one."""
        found = named_answer(Trace(id, "", self.response))
        at = -1 if found is None else self.response.rfind(found[0])
        return [] if found is None or at < 0 else self._covering(at, at + len(found[0]), None)

    def _covering(self, start: int, end: int, unit: int | None) -> list[int]:
        in_response = self.tokens["part"] == "response"
        here = in_response if unit is None or unit >= 0 else ~in_response
        own = here & (self.tokens["start"] < end) & (self.tokens["end"] > start)
        return [int(index) for index in self.tokens.loc[own, "index"]]

    def is_new(self, index: int) -> bool:
        """Whether the word or number of a token in the response stands nowhere before it."""
        row = self.tokens.iloc[index]
        text = self.texts[index]
        at = int(row["start"]) + len(text) - len(text.lstrip())
        for word in _WORD.finditer(self.response, max(0, at - 100)):
            if word.start() <= at < word.end():
                before = f"{self.prompt}\n{self.response[: word.start()]}"
                return not stands_in(before, word[0])
            if word.start() > at:
                break
        return False


def back(words: TraceTokens, parents: Mapping[int, Copy], start: int, most: int) -> Way:
    """From a token to its source, to the source of that, and so on."""
    copies: list[tuple[int, int]] = []
    at = start
    while at in parents and len(copies) < most:
        copies.append((len(copies) + 1, at))
        at = parents[at].source
    return Way(copies, [End(len(copies), _why(words, at, at in parents), at)])


def _why(words: TraceTokens, at: int, goes_on: bool) -> str:
    if goes_on:
        return "limit"
    if words.part[at] != "response":
        return "prompt"
    if not words.was_read(at):
        return "not read"
    return "computed" if words.is_new(at) else "nothing copied"


def forward(parents: Mapping[int, Copy], start: int, most: int) -> Way:
    """From a token to those that are copied from it, from there to those copied from them."""
    users: dict[int, list[int]] = {}
    for index in sorted(parents):
        users.setdefault(parents[index].source, []).append(index)
    copies: list[tuple[int, int]] = []
    ends: list[End] = []
    queue = deque([(0, start)])
    while queue:
        hops, at = queue.popleft()
        below = users.get(at, [])
        if not below or hops == most:
            why = "limit" if below else "last use" if hops else "not used"
            ends.append(End(hops, why, at))
            continue
        copies += [(hops + 1, index) for index in below]
        queue.extend((hops + 1, index) for index in below)
    return Way(copies, ends)
