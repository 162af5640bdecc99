"""Find the columns of a record, by the caller's names or by the names that data sets use."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from airlens.errors import ConfigError, DataError, described

from .plain_values import Unreadable
from .trace import check_text

# What a caller writes to say that a record has no such column.
NO_COLUMN = frozenset({"", "none"})
GENERATIONS = ("one", "all")


@dataclass(frozen=True)
class Columns:
    """Columns named by the caller; None leaves a column to what is recognised.

    Each may be "none" (or ""): there is no such column, although one is called so.

    Args:
        prompt: text or turns before the response; "none": nothing stands before it.
        response: the text to be scored.
        steps: the steps of the response.
        domain: the group a trace is ranked in.
        id: the name of a trace.
        messages: a chat.
        system: the system turn, beside a prompt or a chat.
        thinking: the thought before the response.
        answer: the final answer.
        generations: "one" (the default) takes one of several responses to a problem, "all" makes a
            trace of each.
    """

    prompt: str | None = None
    response: str | None = None
    steps: str | None = None
    domain: str | None = None
    id: str | None = None
    messages: str | None = None
    system: str | None = None
    thinking: str | None = None
    answer: str | None = None
    generations: str | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and not isinstance(value, str):
                raise ConfigError(f"{each.name}= is the name of a column, not {described(value)}")
        if self.generations not in (None, *GENERATIONS):
            names = " or ".join(GENERATIONS)
            raise ConfigError(f"generations={self.generations!r}: use {names}")
        if self.names("messages") and (self.names("prompt") or self.names("response")):
            raise ConfigError("messages holds prompt and response: name it, or those two")

    def names(self, role: str) -> str | None:
        """The column that the caller names for ``role``; None where none is, or "none"."""
        value: str | None = getattr(self, role)
        return None if value is None or value in NO_COLUMN else value

    def refuses(self, role: str) -> bool:
        """Whether the caller says that there is no such column."""
        return getattr(self, role) in NO_COLUMN


class Fields(Mapping[str, Any]):
    """The columns of one record, found whatever the case of their names."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.own = {name.lower(): name for name in reversed(list(data))}

    def __getitem__(self, name: str) -> Any:
        return self.data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def find(self, *names: str) -> str | None:
        """The column that is called by the first of ``names`` (lower case) that there is."""
        own = self.own
        for name in names:  # no generator: a record is asked a hundred times
            if name in own:
                return own[name]
        return None

    def named(self, name: str) -> str:
        """The column that the caller names.

        Raises:
            DataError: there is none.
        """
        exact = name.strip() if name not in self.data else name
        column = exact if exact in self.data else self.own.get(exact.lower())
        if column is None:
            raise DataError(f"missing ({self.listed()})", field=name)
        return column

    def listed(self) -> str:
        """The names of the columns, for a message."""
        return f"the columns are: {', '.join(self.data) or 'none'}"

    def given(self, name: str | None) -> bool:
        """Whether there is such a column, and a value in it."""
        return name is not None and self.data.get(name) is not None

    def without_nulls(self) -> Fields:
        """The columns that have a value."""
        return Fields({name: value for name, value in self.data.items() if value is not None})


def text_of(data: Mapping[str, Any], name: str) -> str:
    """The text in a column.

    Raises:
        DataError: null or no text.
    """
    return as_text(data[name], name)


def as_text(value: object, name: str) -> str:
    """``value`` as the text of column ``name``, or :class:`DataError`."""
    if isinstance(value, Unreadable):
        raise DataError(f"expected text, found {value.what}", field=name)
    return check_text(value, name)


def list_of(data: Mapping[str, Any], name: str) -> list[Any]:
    """The list in a column; a CSV cell may hold it as text, as JSON or Python writes it.

    Raises:
        DataError: it is not a list.
    """
    value = data.get(name)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = parsed(value)
        if value is None:
            raise DataError("not a JSON list", field=name)
    if isinstance(value, Unreadable):
        raise DataError(f"expected a list, found {value.what}", field=name)
    if not isinstance(value, list):
        raise DataError(f"expected a list, found {described(value)}", field=name)
    return value


def parsed(text: str) -> Any:
    """What a text says in JSON, or in Python's literals (as pandas writes lists); else None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    text = text.strip()
    if not text or text[0] not in "[{" or text[-1] not in "]}":
        return None
    with warnings.catch_warnings():  # Python's about what it is made to read
        warnings.simplefilter("ignore", SyntaxWarning)
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return None


DOMAINS: tuple[str, ...] = (
    "domain",
    "subject",
    "problem_type",
    "cot_type",
    "topic",
    "category",
    "type",
    "source",
    "data_source",
    "problem_source",
    "dataset",
    "subset",
    "task",
)


def domain_of(data: Fields, columns: Columns) -> tuple[str, str | None]:
    """The domain and its column; ("", None) where there is none.

    Without a column named by the caller, the first of `DOMAINS` that holds a text or a number.

    Raises:
        DataError: the value in the column named is neither.
    """
    if columns.refuses("domain"):
        return "", None
    if named := columns.names("domain"):
        name = named if named in data else data.own.get(named.strip().lower())
        return ("", None) if name is None or data[name] is None else (label(data[name], name), name)
    for known in DOMAINS:
        column = data.find(known)
        if column is not None and _is_label(data[column]):
            return label(data[column], column), column
    return "", None


def id_of(data: Fields, columns: Columns) -> tuple[str | None, str | None]:
    """The id of a record and its column: the one named, else ``id`` where it can be one.

    Raises:
        DataError: the column named is missing, or the id is empty or neither text nor a number.
    """
    if columns.refuses("id"):
        return None, None
    if columns.id is None:
        name = data.find("id")
        usable = name is not None and _is_label(data[name]) and data[name] != ""
        return (label(data[name], name), name) if name and usable else (None, None)
    name = data.named(columns.id)
    if data[name] is None:
        raise DataError("null", field=name)
    made = label(data[name], name)
    if not made:
        raise DataError("expected an id, found an empty text", field=name)
    return made, name


def _is_label(value: object) -> bool:
    if isinstance(value, str):
        return value.encode("utf-8", "ignore").decode() == value  # no lone surrogate
    return isinstance(value, int | float) and not isinstance(value, bool)


def label(value: object, name: str) -> str:
    """A text or a number as text, or :class:`DataError`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return as_text(value, name)


# Names of a final answer; "answer" is one only where it is not the response.
ANSWERS: tuple[str, ...] = (
    "final_answer",
    "expected_answer",
    "gt_answer",
    "ground_truth_answer",
    "reference_answer",
    "gold_answer",
    "correct_answer",
    "ground_truth",
    "answer",
)


def answer_of(data: Fields, columns: Columns, used: Iterable[str]) -> tuple[str, str | None]:
    """The final answer that a record names, and its column; ("", None) where it names none.

    ``reward_model`` (RL data) holds it as ``ground_truth``.

    Raises:
        DataError: the value in the column that the caller names is neither text nor a number.
    """
    if columns.refuses("answer"):
        return "", None
    if named := columns.names("answer"):
        name = data.named(named)
        return ("" if data[name] is None else label(data[name], name)), name
    taken = set(used)
    for known in ANSWERS:
        column = data.find(known)
        if column is not None and column not in taken and _is_label(data[column]):
            text = str(data[column])
            if text and "####" not in text:
                return text, column
    column = data.find("reward_model")
    model = data[column] if column is not None else None
    if isinstance(model, Mapping) and _is_label(truth := model.get("ground_truth")):
        return str(truth), column
    return "", None
