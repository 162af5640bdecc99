"""What a line of a selection becomes in an exported file: the source's columns, then airlens's.

The source's columns come back as they were, in their order. A column of airlens of the same name
and the same content is not written twice; with another content it gets the prefix `PREFIX`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from airlens.loss_free import Unkept, decode
from airlens.traces.trace import OWN_FIELDS

PREFIX = "airlens_"
RECORD = "record"  # field of a selection's line: the record as it was read
# Columns that the chat is written in place of: a trainer (TRL) would take one of them for the text.
_IN_CHAT = ("prompt", "response", "completion", "text", "chosen", "rejected")
# Where records keep a thought apart from the answer.
_THOUGHTS = ("reasoning_content", "thinking", "reasoning")


@dataclass
class Layout:
    """How lines become rows, the same for all of them.

    Attributes:
        chat: write the conversation as ``messages`` in place of prompt and response.
        weights: step weights by id.
        names: columns of the source, in the order in which they came.
        renamed: airlens's columns that got the prefix, with their names.
        dropped: columns of the source that are left out: their text is in the chat.
        shared: airlens's columns that are the source's own.
        unkept: columns of the source with values of a type that could not be kept.
        counts: how many rows had something to be said about.
    """

    chat: bool = False
    weights: Mapping[str, Sequence[float]] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    unkept: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def learn(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Look at all lines once, to know which names collide."""
        same: Counter[str] = Counter()
        own: dict[str, None] = {}
        kept: set[str] = set()
        for line in lines:
            record, mine = original(line), self._own(line)
            self.names |= dict.fromkeys(record)
            own |= dict.fromkeys(mine)
            same.update(name for name in mine if name in record and _same(name, mine, record))
            self.counts["rows"] += 1
            for name, value in record.items():
                if isinstance(value, Unkept):
                    self.unkept[name] = value.type
            if self.chat:
                told = _told(line, record, mine["messages"])
                self.dropped |= told
                kept |= {name for name in _IN_CHAT if name in record} - told
                self._count(line, record, mine["messages"])
        self.dropped -= kept
        for name in own:
            if name not in self.names or name in self.dropped:
                continue
            if same[name] == self.counts["rows"]:
                self.shared.add(name)
            elif name == "messages" and self.counts["begun"] == self.counts["rows"]:
                self.dropped.add(name)  # the conversation that was read, up to the scored turn
            else:
                free = PREFIX + name
                while free in self.names:
                    free = PREFIX + free
                self.renamed[name] = free

    def row(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """The row that a line becomes."""
        made = {
            name: value
            for name, value in original(line).items()
            if name not in self.dropped and not isinstance(value, Unkept)
        }
        for name, value in self._own(line).items():
            if name not in self.shared:
                made[self.renamed.get(name, name)] = value
        return made

    def notes(self) -> list[str]:
        """Sentences about names and about the chat."""
        found = [
            f"column {name} holds values ({kind}) that cannot be kept: left out"
            for name, kind in self.unkept.items()
        ]
        if self.renamed:
            found.append(
                f"the source has columns named {', '.join(self.renamed)}: those of airlens are "
                f"{', '.join(self.renamed.values())}"
            )
        if self.counts["field"]:
            found.append(f"thoughts in the field that they came in: {_rows(self.counts['field'])}")
        if self.counts["text"]:
            found.append(f"thoughts in the text, before the answer: {_rows(self.counts['text'])}")
        if self.counts["later"]:
            later = _rows(self.counts["later"])
            found.append(f"turns after the scored one are left out: {later}")
        return found

    def _own(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of airlens."""
        first = ("id", "domain") if self.chat else ("id", "domain", "prompt", "response", "steps")
        made = {name: line[name] for name in first if name in line}
        made |= {k: v for k, v in line.items() if k not in OWN_FIELDS and k != RECORD}
        if line["id"] in self.weights:
            made["step_weights"] = list(self.weights[line["id"]])
        if self.chat:
            if line.get("tools"):
                made["tools"] = line["tools"]
            made["messages"] = conversation(line)
        return made

    def _count(
        self, line: Mapping[str, Any], record: Mapping[str, Any], messages: list[Any]
    ) -> None:
        given = record.get("messages")
        if isinstance(given, list) and equal(given[: len(messages)], messages):
            self.counts["begun"] += 1  # the source's column begins with the conversation
        if (line.get("reading") or {}).get("later_turns"):
            self.counts["later"] += 1
        if line.get("thinking"):
            apart = any(messages[-1].get(name) for name in _THOUGHTS)
            self.counts["field" if apart else "text"] += 1


def _same(name: str, mine: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether a column of airlens is what the source has under that name."""
    given = record[name]
    if name in ("id", "domain") and isinstance(given, int | float) and not isinstance(given, bool):
        return bool(str(given) == mine[name])  # we know it as text
    return equal(mine[name], given)


def _told(
    line: Mapping[str, Any], record: Mapping[str, Any], messages: list[Mapping[str, Any]]
) -> set[str]:
    """Columns of the source that a trainer would take for the text, and that are in the chat."""
    turns = list(line.get("turns") or ())
    texts = [line["prompt"], line["response"], turns, messages, messages[:-1], messages[-1:]]
    return {
        name
        for name in _IN_CHAT
        if name in record and any(equal(record[name], text) for text in texts)
    }


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def original(line: Mapping[str, Any]) -> dict[str, Any]:
    """The record that a line was read from; where that is not known, its other columns."""
    if RECORD in line:
        texts = {"prompt": line["prompt"], "response": line["response"]}
        found: dict[str, Any] = decode(line[RECORD], texts)
        return found
    return dict(line.get("meta") or {})


def conversation(line: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The turns up to the scored one, as they stand in the source where it has them.

    A thought stays in the field in which it came; one that came in no turn stands in the text.
    """
    turns = list(line.get("turns") or ())
    response = str(line["response"])
    said = {response, response[int(line.get("thinking") or 0) :].lstrip("\n")}
    for value in original(line).values():
        if isinstance(value, list) and all(isinstance(turn, Mapping) for turn in value):
            at = _scored_turn(value, turns, said)
            if at is not None:
                return [*turns[: len(turns) - at], *value[: at + 1]]
    if not turns and line["prompt"]:
        turns = [{"role": "user", "content": line["prompt"]}]
    return [*turns, {"role": "assistant", "content": response}]


def _scored_turn(given: Sequence[Mapping[str, Any]], turns: Sequence[Any], said: set[str]) -> Any:
    """The place of the scored turn in a chat of the source; None where it is not there.

    The turns before it are the last ones of those that were read: a system prompt may have come
    from a column of its own. Roles are those that templates know, or it is not what is written.
    """
    roles = [turn.get("role") for turn in turns]
    for at in range(min(len(turns), len(given) - 1), -1, -1):
        turn = given[at]
        before = [each.get("role") for each in given[:at]]
        if turn.get("role") != "assistant" or before != roles[len(roles) - at :]:
            continue
        if _text(turn.get("content")) in said:
            return at
    return None


def _text(content: object) -> str:
    """The text of a turn; of a list of parts their texts."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def equal(a: Any, b: Any) -> bool:
    """Whether two values are the same and of the same type, through and through."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Mapping):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, float) and pd.isna(a):
        return bool(pd.isna(b))
    try:
        return bool(a == b)
    except (TypeError, ValueError):  # arrays
        return False
