"""Data sets whose columns mean something of their own: nested, marked, or several together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from airlens.errors import DataError, described

from .columns import Columns, Fields, as_text, label, list_of, parsed, text_of
from .conversations import Scored, call_text, joined
from .drafts import CALL_NOTE, PROMPTS, Context, Draft, context_of, draft, prompt_column, tools_in
from .step_lists import GivenSteps, labels_of, prm800k_steps, shepherd_steps


def has(*names: str) -> Callable[[Fields], bool]:
    """A test whether a record has all these columns."""
    return lambda data: all(name in data.own for name in names)


def s1k(data: Fields, columns: Columns) -> Draft:
    """s1K: the thinking, and the attempt at an answer where there is one."""
    name = data.named("thinking_trajectories")
    thought = "\n".join(as_text(text, name) for text in list_of(data, name))
    return _thoughts(data, columns, [(name, thought, "attempt")])


def s1k_1_1(data: Fields, columns: Columns) -> Draft:
    """s1K-1.1: DeepSeek's thinking and attempt; Gemini's are the other response."""
    given = []
    for who in ("deepseek", "gemini"):
        name = data.find(f"{who}_thinking_trajectory")
        if name is not None and (who == "deepseek" or data.given(name)):
            given.append((name, text_of(data, name), f"{who}_attempt"))
    return _thoughts(data, columns, given)


def _thoughts(data: Fields, columns: Columns, given: list[tuple[str, str, str]]) -> Draft:
    """Responses of a thought and an attempt, each given as (column, thought, attempt's column)."""
    context = context_of(data, columns, data.named("question"))
    responses, used = [], []
    for name, thought, other in given:
        attempt = data.find(other)
        text = text_of(data, attempt) if attempt is not None and data.given(attempt) else ""
        responses.append(joined(thought, text))
        used.append((name,) if attempt is None else (name, attempt))
    made = draft(context, responses, used[0], many=len(used) > 1)
    made.others = tuple(name for names in used[1:] for name in names)
    return made


def columns_as_many(*names: str) -> Callable[[Fields, Columns], Draft]:
    """A reader of several columns with a response each, the first of which is taken."""

    def read(data: Fields, columns: Columns) -> Draft:
        context = context_of(data, columns, prompt_column(data, columns))
        have = [name for name in map(data.find, names) if name]
        given = [name for name in have if data.given(name)] or have[:1]
        made = draft(context, [Scored(text_of(data, n)) for n in given], (given[0],), many=True)
        made.others = tuple(given[1:])
        return made

    return read


def is_prm800k(data: Fields) -> bool:
    """PRM800K's own format: a question and its labelled steps as objects."""
    question, marks = data.find("question"), data.find("label")
    return bool(
        question
        and marks
        and isinstance(data[question], Mapping)
        and isinstance(data[marks], Mapping)
    )


def prm800k(data: Fields, columns: Columns) -> Draft:
    """PRM800K (2305.20050): the steps that were chosen, joined by line ends."""
    name, marks = data.named("question"), data.named("label")
    question = data[name]
    steps = prm800k_steps(data[marks])
    if steps is None:
        raise DataError("expected steps with completions", field=marks)
    context = Context(as_text(question.get("problem"), name), (), (name,))
    made = draft(context, [Scored(steps.joined("\n"))], (marks,), steps=steps)
    answer = question.get("ground_truth_answer")
    made.answer = answer if isinstance(answer, str) else ""
    made.columns["steps"] = (marks,)
    return made


def is_math_shepherd(data: Fields) -> bool:
    """Math-Shepherd's own format: a text with marked steps, and the same text with labels."""
    name, marks = data.find("input"), data.find("label")
    if name is None or marks is None or not isinstance(data[marks], str):
        return False
    return isinstance(data[name], str) and "ки" in data[name]


def math_shepherd(data: Fields, columns: Columns) -> Draft:
    """Math-Shepherd (2312.08935): the text up to "Step 1:" is the question."""
    name, marks = data.named("input"), data.named("label")
    made = shepherd_steps(text_of(data, name), text_of(data, marks))
    if made is None:
        raise DataError("expected steps marked by ки", field=name)
    question, steps = made
    context = Context(question, (), (name,))
    found_ = draft(context, [Scored(steps.joined("\n"))], (name,), steps=steps)
    found_.columns["steps"] = (name, marks)
    return found_


def is_stepwise(data: Fields) -> bool:
    """TRL's stepwise supervision: a list of steps and a list of as many labels."""
    name = data.find("completions")
    texts = data[name] if name is not None else None
    return isinstance(texts, list) and bool(texts) and labels_of(data, len(texts))[0] is not None


def stepwise(data: Fields, columns: Columns) -> Draft:
    """Steps with a label each, joined by line ends as TRL does."""
    context = context_of(data, columns, prompt_column(data, columns))
    name = data.named("completions")
    texts = [as_text(text, name) for text in list_of(data, name)]
    column, labels = labels_of(data, len(texts))
    steps = GivenSteps()
    for text, mark in zip(texts, labels, strict=True):
        steps.add(text, mark)
    made = draft(context, [Scored(steps.joined("\n"))], (name,), steps=steps)
    made.columns["steps"] = (name, str(column))
    return made


def has_choices(data: Fields) -> bool:
    """A question with choices to answer from."""
    name = data.find("options", "choices")
    return name is not None and data.find(*PROMPTS) is not None and bool(data[name])


def choices(data: Fields, columns: Columns) -> Draft:
    """A question with choices, which belong to the prompt; the response explains, or is a choice.

    AQuA-RAT, MathQA, ScienceQA, ARC, CommonsenseQA, MMLU.
    """
    context = context_of(data, columns, prompt_column(data, columns))
    name = str(data.find("options", "choices"))
    letters, shown = _listed(data[name], name)
    hint = data.find("hint")
    before = data[hint] if hint is not None else None
    parts = [before] if isinstance(before, str) and before.strip() else []
    used = (*([str(hint)] if parts else []), *context.columns, name)
    context = Context("\n".join([*parts, context.text, *shown]), (), used)
    right = data.find("correct", "answerkey", "answer", "label")
    answer = _letter(data[right], letters) if right is not None else ""
    explained = map(data.find, ("rationale", "solution", "explanation"))
    reason = next((c for c in explained if c and str(data[c] or "").strip()), None)
    if reason is not None:
        made = draft(context, [Scored(text_of(data, reason))], (reason,))
    elif right is not None and answer in letters:
        made = draft(context, [Scored(shown[letters.index(answer)])], (right,))
    else:
        raise DataError(f"no explanation and no right choice; {data.listed()}", field=name)
    made.answer = answer
    if right is not None and right != reason and reason is not None:
        made.columns["answer"] = (right,)
    return made


_LETTER = re.compile(r"^\s*\(?([A-Za-z])\s*[).:]")


def _listed(value: Any, name: str) -> tuple[list[str], list[str]]:
    """Letters and lines of the choices."""
    value = parsed(value) if isinstance(value, str) and value.lstrip()[:1] in "[{" else value
    if isinstance(value, str):  # MathQA: "a ) 38 , b ) 27"
        return [], [value]
    if isinstance(value, Mapping):
        texts, letters = value.get("text"), value.get("label")
        if isinstance(texts, list) and isinstance(letters, list) and len(texts) == len(letters):
            pairs = [(label(a, name), label(b, name)) for a, b in zip(letters, texts, strict=True)]
            return [a for a, _ in pairs], [f"{a}. {b}" for a, b in pairs]
        value = list(value.values())
    if not isinstance(value, list) or not 0 < len(value) <= 26:
        raise DataError(f"expected a list of choices, found {described(value)}", field=name)
    texts = [label(item, name) for item in value]
    given = [_LETTER.match(text) for text in texts]
    if all(given):
        return [match.group(1) for match in given if match], texts
    letters = [chr(ord("A") + i) for i in range(len(texts))]
    return letters, [f"{letter}. {text}" for letter, text in zip(letters, texts, strict=True)]


def _letter(value: Any, letters: list[str]) -> str:
    """The letter of the right choice: given as such, or as the index of the choice."""
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int | float):
        return letters[int(value)] if 0 <= value < len(letters) else ""
    text = str(value).strip()
    if text.isdecimal() and text not in letters and int(text[:3]) < len(letters):
        return letters[int(text)]
    return text


def tool_calls(data: Fields, columns: Columns) -> Draft:
    """xLAM: a query, tools, and the calls that answer it."""
    context = context_of(data, columns, data.named("query"))
    tools, used = tools_in(data)
    name = data.named("answers")
    calls = [call for call in list_of(data, name) if isinstance(call, Mapping)]
    response = Scored("\n".join(map(call_text, calls)))
    made = draft(replace(context, turns=tuple(context.chat())), [response], (name,), tools=tools)
    made.columns |= {"tools": used} if tools else {}
    made.reading |= {"tool_calls": [{"type": "function", "function": c} for c in calls]}
    made.reading["notes"] = [CALL_NOTE]
    return made
