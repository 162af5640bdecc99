"""Read the steps that a record lists, with their labels and whatever else it says of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airlens.errors import DataError, described

from .align_steps import align_steps
from .columns import Columns, Fields, list_of, parsed
from .step import Step
from .trace import UNALIGNED, check_text

_STEP_TEXT = ("text", "step", "content", "value", "completion", "sentence")
_STEP_LABEL = ("label", "rating", "correct")
# Fields of a step that `Trace.steps` already holds.
_STEP_OWN = frozenset({"start", "end"})
_LABELS = ("labels", "step_labels", "ratings", "label")


@dataclass
class GivenSteps:
    """The steps that a record lists.

    Attributes:
        texts: one a step.
        labels: what kind of step each is, as text.
        extras: all other fields of each; the label too where it is no text.
    """

    texts: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    extras: list[dict[str, Any]] = field(default_factory=list)

    def add(self, text: str, label: Any) -> None:
        """One more step."""
        self.texts.append(text)
        self.labels.append(_as_label(label))
        self.extras.append({} if label is None or isinstance(label, str) else {"label": label})

    def joined(self, separator: str) -> str:
        """The response that the steps make up; each step then ends in the separator."""
        self.texts = [f"{text}{separator}" for text in self.texts[:-1]] + self.texts[-1:]
        return "".join(self.texts)

    def placed(
        self, response: str
    ) -> tuple[tuple[Step, ...], tuple[dict[str, Any], ...], dict[str, Any]]:
        """The steps found in a response, what is known of each, and which were not found."""
        steps, unaligned = align_steps(response, self.texts, self.labels)
        missing = set(unaligned)
        placed = [index for index in range(len(self.texts)) if index not in missing]
        known: tuple[dict[str, Any], ...] = ()
        if placed and any(self.extras):
            known = tuple({"index": index, **self.extras[index]} for index in placed)
        return steps, known, {UNALIGNED: unaligned} if unaligned else {}


def _as_label(label: Any) -> str | None:
    if label is None or isinstance(label, str):
        return label
    return str(label).lower() if isinstance(label, bool) else str(label)


def given_steps(data: Fields, columns: Columns) -> tuple[GivenSteps | None, tuple[str, ...]]:
    """The steps of a record and their columns: the one named, else ``steps`` where it has steps.

    A step is a text, or an object with a text and perhaps a label (of any plain type), or ``tags``
    of which the first is the label. A list of as many labels may stand in a column of its own.

    Raises:
        DataError: the column named is missing, or holds no steps.
    """
    if columns.refuses("steps"):
        return None, ()
    if named := columns.names("steps"):
        name = data.named(named)
        if data[name] is None or data[name] == "":
            return None, (name,)
        return _with_labels(data, name, _steps(list_of(data, name), name))
    found_name = data.find("steps")
    if found_name is None:
        return None, ()
    try:
        steps = _steps(list_of(data, found_name), found_name)
    except DataError:  # a number of steps, a setting of a sampler: nobody asked for it
        return None, ()
    return _with_labels(data, found_name, steps) if steps.texts else (None, ())


def _with_labels(
    data: Fields, name: str, steps: GivenSteps
) -> tuple[GivenSteps | None, tuple[str, ...]]:
    if not steps.texts:
        return None, (name,)
    if any(label is not None for label in steps.labels):
        return steps, (name,)
    column, labels = labels_of(data, len(steps.texts))
    if column is None:
        return steps, (name,)
    made = GivenSteps()
    for text, label in zip(steps.texts, labels, strict=True):
        made.add(text, label)
    made.extras = [{**old, **new} for old, new in zip(steps.extras, made.extras, strict=True)]
    return made, (name, column)


def labels_of(data: Fields, n: int) -> tuple[str | None, list[Any]]:
    """A column with ``n`` labels, and the labels."""
    for known in _LABELS:
        name = data.find(known)
        value = data[name] if name is not None else None
        if isinstance(value, str):
            value = parsed(value)
        if isinstance(value, list) and len(value) == n and all(map(_is_label, value)):
            return name, value
    return None, []


def _is_label(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _steps(items: list[Any], name: str) -> GivenSteps:
    given = GivenSteps()
    for number, item in enumerate(items):
        step = {"text": item} if isinstance(item, str) else item
        key = _text_key(step)
        if key is None:
            raise DataError(f"step {number}: expected a text, found {described(item)}", field=name)
        label_key = next((k for k in _STEP_LABEL if step.get(k) is not None), None)
        label = step[label_key] if label_key else _first_tag(step)
        if not _is_label(label):
            what = f"expected a text or a number as label, found {described(label)}"
            raise DataError(f"step {number}: {what}", field=name)
        if isinstance(label, str):
            check_text(label, name)
        own = _STEP_OWN | {key} | ({"label"} if isinstance(label, str) else set())
        extra = {k: v for k, v in step.items() if k not in own}
        given.texts.append(check_text(step[key], name))
        given.labels.append(_as_label(label))
        given.extras.append(extra)
    return given


def _text_key(step: object) -> str | None:
    if not isinstance(step, Mapping):
        return None
    return next((key for key in _STEP_TEXT if isinstance(step.get(key), str)), None)


def _first_tag(step: Mapping[str, Any]) -> Any:
    tags = step.get("tags")
    return tags[0] if isinstance(tags, list) and tags else None


# Math-Shepherd marks the end of each step with this letter; a label stands in its place.
_MARK = "ки"
_STEP_1 = re.compile(r"(?<!\S)Step 1:")


def shepherd_steps(text: str, labels: str) -> tuple[str, GivenSteps] | None:
    """Math-Shepherd: the question, and the steps with their labels "+" and "-".

    None where the text has no marked steps.
    """
    pieces = text.split(_MARK)
    start = _STEP_1.search(pieces[0])
    if len(pieces) < 2:
        return None
    question = pieces[0][: start.start()] if start else ""
    marks = _shepherd_labels(pieces, labels)
    steps = GivenSteps()
    for number, piece in enumerate(pieces):
        body = (piece[len(question) :] if number == 0 else piece).strip()
        if body:
            steps.add(body, marks[number] if number < len(marks) else None)
    return question.strip(), steps


def _shepherd_labels(pieces: list[str], labels: str) -> list[str]:
    """The character that stands in the labels where the text has a mark."""
    found_labels, at = [], 0
    for piece in pieces[:-1]:
        at += len(piece)
        found_labels.append(labels[at : at + 1])
        at += 1
    return [mark if mark in ("+", "-") else "" for mark in found_labels]


def prm800k_steps(item: Mapping[str, Any]) -> GivenSteps | None:
    """PRM800K: of each step the completion that was chosen, else the human's, else the first."""
    steps = GivenSteps()
    for step in item.get("steps") or ():
        if not isinstance(step, Mapping):
            return None
        chosen = _prm800k_completion(step)
        if not isinstance(chosen, Mapping) or not isinstance(chosen.get("text"), str):
            return None
        steps.add(chosen["text"], chosen.get("rating"))
    return steps if steps.texts else None


def _prm800k_completion(step: Mapping[str, Any]) -> Any:
    completions = step.get("completions") or []
    index = step.get("chosen_completion")
    if isinstance(index, int) and isinstance(completions, list) and 0 <= index < len(completions):
        return completions[index]
    human = step.get("human_completion")
    if isinstance(human, str):
        human = {"text": human}
    return human or (completions[0] if isinstance(completions, list) and completions else None)
