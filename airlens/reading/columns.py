"""Which columns of known data sets hold the prompt, the response, the steps and the domain.

A layout is recognised by the columns of a record; `LAYOUTS` lists them in the order in which they
are tried. For other data the user names the columns (`Columns`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airlens.errors import DataError, found
from airlens.trace import check_text

Fields = Mapping[str, Any]
# The calculator notes of GSM8K, "<<48/2=24>>".
_CALCULATOR = re.compile(r"<<[^<>\n]*=[^<>\n]*>>")
_FINAL_ANSWER = re.compile(r"^#### ", re.MULTILINE)
_STEP_TEXT = "text"
# Fields of a step that `Trace.steps` already holds.
_STEP_OWN = frozenset({_STEP_TEXT, "label", "start", "end"})


@dataclass(frozen=True)
class Columns:
    """Columns named by the caller; None leaves a column to the recognised layout."""

    prompt: str | None = None
    response: str | None = None
    steps: str | None = None
    domain: str | None = None
    id: str | None = None
    messages: str | None = None


@dataclass
class Draft:
    """The fields of a record, before it becomes a trace."""

    prompt: str
    response: str
    used: set[str]  # columns that are not copied to meta
    natural: str = "auto"  # the default splitter of this layout
    turns: Sequence[Mapping[str, Any]] = ()
    thinking: int = 0
    reading: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """A known data set: the columns it is recognised by, and how they are read."""

    name: str
    requires: tuple[str, ...]
    read: Callable[[Fields, Columns], Draft]
    domain: tuple[str, ...] = ("domain", "subject")  # the first of these that a record has


def text_of(data: Fields, name: str) -> str:
    """The text in a column.

    Raises:
        DataError: the column is missing, null or no text.
    """
    if name not in data:
        names = ", ".join(data) or "none"
        raise DataError(f"missing; the columns are: {names}", field=name)
    return check_text(data[name], name)


def list_of(data: Fields, name: str) -> list[Any]:
    """The list in a column; a CSV cell may hold it as JSON.

    Raises:
        DataError: it is not a list.
    """
    value = data.get(name)
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DataError(f"not a JSON list: {error}", field=name) from error
    if not isinstance(value, list | tuple):
        raise DataError(f"expected a list, found {found(value)}", field=name)
    return list(value)


def _pair(prompt: str | None, response: str) -> Callable[[Fields, Columns], Draft]:
    """A reader of two columns; without a prompt column the prompt is empty."""

    def read(data: Fields, columns: Columns) -> Draft:
        if prompt is None:
            return Draft("", text_of(data, response), {response})
        return Draft(text_of(data, prompt), text_of(data, response), {prompt, response})

    return read


def _gsm8k(data: Fields, columns: Columns) -> Draft:
    answer = text_of(data, "answer")
    draft = Draft(text_of(data, "question"), answer, {"question", "answer"})
    if _FINAL_ANSWER.search(answer):
        draft.natural = "line"
        draft.response = _CALCULATOR.sub("", answer)
    return draft


def _s1k(data: Fields, columns: Columns) -> Draft:
    """s1K: the thinking, a blank line, then the attempt at an answer where there is one."""
    thoughts = list_of(data, "thinking_trajectories")
    thinking = "\n".join(check_text(text, "thinking_trajectories") for text in thoughts)
    return _thought(data, thinking, "thinking_trajectories", "attempt")


def _s1k_1_1(data: Fields, columns: Columns) -> Draft:
    column = "deepseek_thinking_trajectory"
    return _thought(data, text_of(data, column), column, "deepseek_attempt")


def _thought(data: Fields, thinking: str, column: str, attempt: str) -> Draft:
    draft = Draft(text_of(data, "question"), thinking, {"question", column, attempt})
    if data.get(attempt) is not None:
        draft.response = f"{thinking}\n\n{text_of(data, attempt)}"
        draft.thinking = len(thinking)
    return draft


def _openr1(data: Fields, columns: Columns) -> Draft:
    """OpenR1-Math: the first generation that was verified, else the first."""
    texts = list_of(data, "generations")
    if not texts:
        raise DataError("expected a generation, found an empty list", field="generations")
    verdicts = data.get("correctness_math_verify")
    correct = list_of(data, "correctness_math_verify") if verdicts is not None else []
    index = next((i for i, good in enumerate(correct[: len(texts)]) if good), 0)
    draft = Draft(text_of(data, "problem"), check_text(texts[index], "generations"), set())
    draft.used = {"problem", "generations", "messages"}
    draft.reading["generation"] = index
    return draft


def _chat(data: Fields, columns: Columns) -> Draft:
    """The last turn of the assistant, and all turns before it as the prompt."""
    name = columns.messages or "messages"
    turns = [_turn(item, number, name) for number, item in enumerate(list_of(data, name))]
    last = max((i for i, turn in enumerate(turns) if turn["role"] == "assistant"), default=None)
    if last is None:
        roles = ", ".join(turn["role"] for turn in turns) or "none"
        raise DataError(f"expected a turn of the assistant, found: {roles}", field=name)
    draft = Draft(_prompt(turns[:last]), turns[last]["content"], {name})
    draft.turns = turns[:last]
    if turns[last + 1 :]:
        draft.reading["later_turns"] = turns[last + 1 :]
    return draft


def _prompt(turns: Sequence[Mapping[str, str]]) -> str:
    """Turns as one text, with their roles only where there was an earlier answer."""
    if any(turn["role"] == "assistant" for turn in turns):
        return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
    return "\n\n".join(turn["content"] for turn in turns)


# ShareGPT's names for the roles.
_ROLES = {"human": "user", "gpt": "assistant"}


def _turn(item: object, number: int, name: str) -> dict[str, str]:
    """One message as role and content; ShareGPT's ``from`` and ``value`` as well."""
    if not isinstance(item, Mapping):
        raise DataError(f"message {number}: expected an object, found {found(item)}", field=name)
    role, content = item.get("role", item.get("from")), item.get("content", item.get("value"))
    if not isinstance(role, str) or not isinstance(content, str):
        what = f"role {found(role)}, content {found(content)}"
        raise DataError(f"message {number}: expected two texts, found {what}", field=name)
    check_text(role + content, name)
    return {"role": _ROLES.get(role, role), "content": content}


LAYOUTS = (
    Layout("airlens", ("prompt", "response"), _pair("prompt", "response")),
    Layout("s1K-1.1", ("question", "deepseek_thinking_trajectory"), _s1k_1_1, ("cot_type",)),
    Layout("s1K", ("question", "thinking_trajectories"), _s1k, ("cot_type",)),
    Layout("OpenR1-Math", ("problem", "generations"), _openr1, ("problem_type", "source")),
    Layout(
        "MATH", ("problem", "solution"), _pair("problem", "solution"), ("subject", "type", "source")
    ),
    Layout("LIMO", ("question", "solution"), _pair("question", "solution"), ("domain", "source")),
    Layout("chat", ("messages",), _chat, ("domain", "source")),
    Layout("GSM8K", ("question", "answer"), _gsm8k),
    Layout("text", ("text",), _pair(None, "text"), ("domain", "source")),
)
_PROMPTS = ("prompt", "problem", "question", "instruction")
_RESPONSES = ("response", "solution", "completion", "output", "answer", "text")


def layout_of(data: Fields, columns: Columns, last: Layout | None = None) -> Layout:
    """The layout of a record.

    Args:
        data: the record.
        columns: named by the caller; a named prompt or response defines a layout.
        last: the layout of the previous record, to name the column that a record without layout
            lacks.

    Raises:
        DataError: no layout fits; names the column missing for the nearest one.
    """
    if columns.messages:
        return Layout("chat", (columns.messages,), _chat, ("domain", "source"))
    if columns.prompt or columns.response:
        return _mapped(data, columns)
    for layout in LAYOUTS:
        if all(name in data for name in layout.requires) and not _is_ambiguous(data, layout):
            return layout
    near = [layout for layout in LAYOUTS if any(name in data for name in layout.requires)]
    near = [last] if last else [layout for layout in near if not _is_ambiguous(data, layout)]
    names = ", ".join(data) or "none"
    missing = [name for layout in near for name in layout.requires if name not in data]
    if len(missing) == 1:
        raise DataError(f"missing; the columns are: {names}", field=missing[0])
    known = f"; a known layout would also have {' or '.join(missing)}" if missing else ""
    remedy = (
        "name them with prompt= and response=, or messages= (--prompt-column, --response-column, "
        "--messages-column)"
    )
    raise DataError(f"no known layout; the columns are: {names}{known}; {remedy}")


def _is_ambiguous(data: Fields, layout: Layout) -> bool:
    """Whether a text stands beside a prompt: not a document, and perhaps not the response."""
    return layout.name == "text" and any(name in data for name in _PROMPTS)


def _mapped(data: Fields, columns: Columns) -> Layout:
    """A layout of the named columns; the other of prompt and response goes by common names."""
    response = columns.response or next((name for name in _RESPONSES if name in data), "response")
    prompt = columns.prompt or next((x for x in _PROMPTS if x in data and x != response), None)
    domain = ("domain", "subject", "source")
    requires = (response,) if prompt is None else (prompt, response)
    return Layout("named", requires, _pair(prompt, response), domain)


# Columns that name a final answer; the column stays in meta.
_ANSWERS = ("final_answer", "answer", "gt_answer", "expected_answer", "ground_truth")


def answer_of(data: Fields, used: set[str]) -> str:
    """The final answer that a record names, "" where it names none."""
    for name in _ANSWERS:
        value = data.get(name)
        given = isinstance(value, str | int | float) and not isinstance(value, bool)
        if name not in used and given and value != "" and "####" not in str(value):
            return str(value)
    return ""


def domain_of(data: Fields, layout: Layout, columns: Columns) -> tuple[str, str | None]:
    """The domain and its column; ("", None) where there is none.

    Raises:
        DataError: neither text nor a number.
    """
    names = (columns.domain,) if columns.domain else layout.domain
    name = next((name for name in names if data.get(name) is not None), None)
    if name is None:
        return "", None
    return _label(data[name], name), name


def id_of(data: Fields, columns: Columns) -> str | None:
    """The id of a record: from the named column, else from ``id``, else None.

    Raises:
        DataError: the column named is missing, or the id is empty or neither text nor a number.
    """
    name = columns.id or "id"
    if data.get(name) is None:
        if columns.id is None:
            return None
        names = ", ".join(data) or "none"
        what = "null" if name in data else f"missing; the columns are: {names}"
        raise DataError(what, field=name)
    label = _label(data[name], name)
    if not label:
        raise DataError("expected an id, found an empty text", field=name)
    return label


def _label(value: object, name: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return check_text(value, name)


@dataclass(frozen=True)
class GivenSteps:
    """The steps that a record lists: texts, labels, and all other fields of each step."""

    texts: list[str]
    labels: list[str | None]
    extras: list[dict[str, Any]]


def steps_of(data: Fields, columns: Columns) -> GivenSteps | None:
    """The steps of a record, from the named column, else from ``steps``; None if it has none.

    A step is a text, or an object with ``text`` and perhaps a ``label``, or ``tags`` of which the
    first is the label.

    Raises:
        DataError: a step is neither, or the column named is missing.
    """
    name = columns.steps or "steps"
    if columns.steps and name not in data:
        names = ", ".join(data) or "none"
        raise DataError(f"missing; the columns are: {names}", field=name)
    if data.get(name) is None or data[name] == "":
        return None
    given = GivenSteps([], [], [])
    for number, item in enumerate(list_of(data, name)):
        step = {_STEP_TEXT: item} if isinstance(item, str) else item
        if not isinstance(step, Mapping) or not isinstance(step.get(_STEP_TEXT), str):
            raise DataError(f"step {number}: expected a text, found {found(item)}", field=name)
        given.texts.append(check_text(step[_STEP_TEXT], name))
        given.labels.append(_step_label(step, number, name))
        given.extras.append({key: step[key] for key in step if key not in _STEP_OWN})
    return given if given.texts else None


def _step_label(step: Mapping[str, Any], number: int, name: str) -> str | None:
    label = step.get("label")
    tags = step.get("tags")
    if label is None and isinstance(tags, list | tuple) and tags:
        label = tags[0]
    if label is not None and not isinstance(label, str):
        raise DataError(
            f"step {number}: expected a text as label, found {found(label)}", field=name
        )
    return label
