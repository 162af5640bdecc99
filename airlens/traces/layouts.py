"""Make prompt, response, steps and answer of a record, whatever its layout.

`LAYOUTS` are tried in order; the first that fits reads the record. The special ones at the front
are data sets with columns of their own kind, the general ones behind them go by the names that
most data sets use (:mod:`.drafts`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from airlens.errors import DataError

from . import special_layouts as special
from .columns import Columns, Fields, as_text, label, list_of, parsed, text_of
from .conversations import (
    Scored,
    Turn,
    are_turns,
    chat_of,
    joined,
    last_answer,
    marked_turns,
    turns_of,
)
from .drafts import (
    CHATS,
    MANY,
    PROMPTS,
    RESPONSES,
    TEXTS,
    WEAK,
    Context,
    Draft,
    column_of,
    context_of,
    draft,
    prompt_column,
    thought_column,
    thought_in,
    with_system,
    with_tools,
)
from .special_layouts import has
from .step_lists import given_steps

_VERDICTS = ("correctness_math_verify", "correctness_llama", "correctness", "is_correct")
# The calculator notes of GSM8K, "<<48/2=24>>".
_CALCULATOR = re.compile(r"<<[^<>\n]*=[^<>\n]*>>")
_FINAL_ANSWER = re.compile(r"^#### ", re.MULTILINE)
# Columns that name an answer and can be no response.
_ANSWER_ONLY = ("ground_truth", "final_answer", "expected_answer", "gt_answer", "reward_model")


@dataclass(frozen=True)
class Layout:
    """A kind of record, and how it is read.

    Args:
        name: the data set or the kind, for `Trace.reading`.
        fits: whether a record is of this kind.
        read: makes a draft of it.
        main: the columns of which one must have a value; none where that is no question.
    """

    name: str
    fits: Callable[[Fields], bool]
    read: Callable[[Fields, Columns], Draft]
    main: Callable[[Fields], Iterable[str | None]] = lambda data: ()


# --- prompt and response in columns


def _pair(data: Fields, columns: Columns, prompt: str | None, response: str) -> Draft:
    """Prompt and response, each a text or turns, with a thought where there is one."""
    value = data[response]
    if prompt is None and columns.names("response") is None and isinstance(value, str):
        turns = marked_turns(value)
        if turns is not None and last_answer(turns) is not None:
            return _chat_draft(data, columns, turns, response)
    context = context_of(data, columns, prompt)
    if are_turns(value):
        return _continued(data, columns, context, response)
    name = thought_column(data, columns)
    name = None if name == response else name
    used = (response,) if name is None else (name, response)
    thought = thought_in(data, name)
    if _holds_many(value, response):
        return _many(data, context, response, used, thought)
    is_weak = response.lower() in WEAK and columns.response is None
    text = label(value, response) if response.lower() in WEAK else as_text(value, response)
    made = draft(context, [joined(thought, text)], used)
    return with_tools(_of_answer(made, text) if is_weak else made, data)


def _of_answer(made: Draft, text: str) -> Draft:
    """A response from a column ``answer``: GSM8K's notes are left out, one word is the answer too.

    GSM8K (2110.14168) marks the answer by "####" and sums by "<<48/2=24>>".
    """
    if _FINAL_ANSWER.search(text):
        made.natural = "line"
        if not any(isinstance(r, Scored) and r.thinking for r in made.responses):
            made.responses = [Scored(_CALCULATOR.sub("", text))]
    elif len(text.split()) == 1:
        made.answer = text.strip()
    return made


def _continued(data: Fields, columns: Columns, context: Context, name: str) -> Draft:
    """A response that is turns: it goes on from the context, or is a whole chat of its own."""
    turns = turns_of(data[name], name)
    if turns[0]["role"] not in ("assistant", "tool") or not context.text:
        return _chat_draft(data, columns, turns, name)
    known = replace(columns, system="none")  # the context has it
    made = _chat_draft(data, known, [*context.chat(), *turns], name)
    made.columns["prompt"] = context.columns
    return made


def _holds_many(value: object, name: str) -> bool:
    if isinstance(value, str) and name.lower() in MANY and value.lstrip().startswith("["):
        value = parsed(value)
    if not isinstance(value, list):
        return False
    return name.lower() in MANY or (bool(value) and all(isinstance(item, str) for item in value))


def _many(data: Fields, context: Context, name: str, used: tuple[str, ...], thought: str) -> Draft:
    """Several responses; taken is the first that was verified, else the first."""
    values = list_of(data, name)
    if not values:
        raise DataError("expected a generation, found an empty list", field=name)
    responses = [_one_of_many(value, name, thought) for value in values]
    verdicts = [data[c] for c in map(data.find, _VERDICTS) if c and isinstance(data[c], list)]
    right = [i for marks in verdicts for i, good in enumerate(marks[: len(values)]) if good is True]
    made = draft(context, responses, used, many=True, chosen=right[0] if right else 0)
    how = "verified one, else the first" if verdicts else "one"
    made.reading["notes"] = [f"of several responses the first {how}"]
    return made


def _one_of_many(value: Any, name: str, thought: str) -> Scored | DataError:
    """A response; NaturalReasoning's is an object."""
    if isinstance(value, dict):
        keys = ("response", "text", "content", "generation", "solution", "completion")
        value = next((value[key] for key in keys if isinstance(value.get(key), str)), value)
    try:
        return joined(thought, as_text(value, name))
    except DataError as error:
        return error


# --- chats


def _chat(data: Fields, columns: Columns) -> Draft:
    """The last turn of the assistant, and all turns before it."""
    named = columns.names("messages")
    name = data.named(named) if named else _chat_column(data)
    value = None if name is None else data[name]
    turns = (marked_turns(value) if isinstance(value, str) else None) or turns_of(value, str(name))
    rest = None if named else _beside_chat(data, columns, turns, str(name))
    return rest or _chat_draft(data, columns, turns, str(name))


def _chat_draft(data: Fields, columns: Columns, turns: list[Turn], name: str) -> Draft:
    chat = chat_of(turns, name)
    context = with_system(data, columns, Context.of_turns(chat.turns, name))
    made = draft(context, [chat.scored], (name,), reading=chat.reading)
    made.answer = _answer_in_turns(data[name])
    return with_tools(made, data)


def _answer_in_turns(value: object) -> str:
    """AM-DeepSeek-R1-Distilled names the answer in the first turn's ``info``."""
    first = value[0] if isinstance(value, list) and value else None
    info = first.get("info") if isinstance(first, dict) else None
    given = info.get("reference_answer") if isinstance(info, dict) else None
    return given if isinstance(given, str) else ""


def _beside_chat(data: Fields, columns: Columns, turns: list[Turn], name: str) -> Draft | None:
    """A chat that does not end with the assistant: the response may stand in another column."""
    if not turns or turns[-1]["role"] == "assistant":
        return None
    answered = last_answer(turns) is not None
    response = column_of(data, RESPONSES if answered else (*RESPONSES, *WEAK))
    thought = thought_column(data, columns)
    if response is None and (answered or (thought is None and not _only_answer(data))):
        return None
    context = with_system(data, columns, Context.of_turns(turns, name))
    if response is not None and are_turns(data[response]):
        return _continued(data, columns, context, response)
    used = tuple(filter(None, (thought, response)))
    text = "" if response is None else label(data[response], response)
    responses = [joined(thought_in(data, thought), text)] if used else []
    return with_tools(draft(context, responses, used), data)


def _chat_column(data: Fields) -> str | None:
    """The column with a chat; under the rarer names only what looks like one."""
    for known in CHATS:
        name = data.find(known)
        if name is None or isinstance(data[name], bool | int | float):
            continue
        value = data[name]
        marked = known == "chat" and isinstance(value, str) and marked_turns(value) is not None
        if known in CHATS[:2] or are_turns(value) or _alternate(value) or marked:
            return name
    return None


def _alternate(value: object) -> bool:
    if not isinstance(value, list) or len(value) < 2:
        return False
    return all(isinstance(text, str) for text in value)


# --- what is recognised by common names


def _response_column(data: Fields) -> str | None:
    return column_of(data, (*RESPONSES, *WEAK))


def _is_pair(data: Fields) -> bool:
    """A prompt and a response that is no mere answer; of preferences a whole chat will do."""
    if data.find(*PROMPTS) is not None:
        return data.find(*RESPONSES) is not None
    name = data.find("chosen")
    return name is not None and _is_whole_chat(data[name], name)


def _is_whole_chat(value: object, name: str) -> bool:
    """Whether a value is a chat that begins with what was asked, not only with the answer."""
    if isinstance(value, str) and (marked := marked_turns(value)):
        return str(marked[0]["role"]) != "assistant"
    return are_turns(value) and str(turns_of(value, name)[0]["role"]) != "assistant"


def _general_pair(data: Fields, columns: Columns) -> Draft:
    prompt = prompt_column(data, columns)
    names = (*RESPONSES, *WEAK) if data.find(*PROMPTS) is not None else ("chosen",)
    return _pair(data, columns, prompt, str(column_of(data, names)))


def _prompt_and_response(data: Fields) -> tuple[str | None, str | None]:
    return data.find(*PROMPTS), _response_column(data)


def _is_answered(data: Fields) -> bool:
    return data.find(*PROMPTS) is not None and data.find(*WEAK) is not None


def _is_thought(data: Fields) -> bool:
    return data.find(*PROMPTS) is not None and thought_column(data, Columns()) is not None


def _only_thought(data: Fields, columns: Columns) -> Draft:
    """A prompt and a thought, and no column with a response."""
    context = context_of(data, columns, prompt_column(data, columns))
    name = thought_column(data, columns)
    return draft(context, [joined(thought_in(data, name), "")], (str(name),))


def _is_step_list(data: Fields) -> bool:
    return data.find(*PROMPTS) is not None and given_steps(data, Columns())[0] is not None


def _step_list(data: Fields, columns: Columns) -> Draft:
    """A problem and the steps of its solution, which joined by blank lines are the response."""
    context = context_of(data, columns, prompt_column(data, columns))
    steps, used = given_steps(data, columns)
    if steps is None:
        raise DataError(f"missing ({data.listed()})", field="response")
    made = draft(context, [Scored(steps.joined("\n\n"))], used[:1], steps=steps)
    made.columns["steps"] = used
    return made


def _only_answer(data: Fields) -> bool:
    name = data.find(*_ANSWER_ONLY)
    return name is not None and (name.lower() != "reward_model" or isinstance(data[name], dict))


def _is_problem(data: Fields) -> bool:
    return data.find(*PROMPTS) is not None and _only_answer(data)


def _problem(data: Fields, columns: Columns) -> Draft:
    """A prompt and its final answer, as in data for reinforcement learning: no response."""
    context = context_of(data, columns, prompt_column(data, columns))
    return with_tools(draft(context, [], ()), data)


def _is_text(data: Fields) -> bool:
    """A document; a text beside a prompt is none, and perhaps not the response."""
    is_turn = data.find("role", "from") is not None
    return data.find(*TEXTS) is not None and data.find(*PROMPTS) is None and not is_turn


def _text(data: Fields, columns: Columns) -> Draft:
    name = str(column_of(data, TEXTS))
    return draft(Context(), [Scored(text_of(data, name))], (name,))


def _two(prompt: str, response: str) -> Callable[[Fields, Columns], Draft]:
    """A reader of two columns."""

    def read(data: Fields, columns: Columns) -> Draft:
        return _pair(data, columns, data.named(prompt), data.named(response))

    return read


def _is_chat(data: Fields) -> bool:
    return _chat_column(data) is not None


_CHAT = Layout("chat", _is_chat, _chat, lambda data: [_chat_column(data)])
LAYOUTS = (
    Layout("s1K-1.1", has("question", "deepseek_thinking_trajectory"), special.s1k_1_1),
    Layout("s1K", has("question", "thinking_trajectories"), special.s1k),
    Layout(
        "DeepMath-103K",
        has("question", "r1_solution_1"),
        special.columns_as_many("r1_solution_1", "r1_solution_2", "r1_solution_3"),
    ),
    Layout("PRM800K", special.is_prm800k, special.prm800k),
    Layout("Math-Shepherd", special.is_math_shepherd, special.math_shepherd),
    Layout("stepwise", special.is_stepwise, special.stepwise),
    Layout("choices", special.has_choices, special.choices),
    Layout("tool calls", has("query", "answers", "tools"), special.tool_calls),
    Layout("MBPP", has("text", "code", "test_list"), _two("text", "code")),
    Layout("user and assistant", has("user", "assistant"), _two("user", "assistant")),
    Layout("prompt and response", _is_pair, _general_pair, _prompt_and_response),
    _CHAT,
    Layout("prompt and answer", _is_answered, _general_pair, _prompt_and_response),
    Layout("prompt and thought", _is_thought, _only_thought),
    Layout("prompt and steps", _is_step_list, _step_list),
    Layout("prompt only", _is_problem, _problem, lambda d: [d.find(*PROMPTS)]),
    Layout("text", _is_text, _text, lambda d: [d.find(*TEXTS)]),
)


def read_record(data: Fields, columns: Columns, last: Draft | None = None) -> Draft:
    """What a record means.

    Args:
        data: the record.
        columns: named by the caller; a named prompt or response defines the layout.
        last: what the previous record meant, to name the column that one without layout lacks.

    Raises:
        DataError: no layout fits, or a column holds something else than the layout says.
    """
    if columns.refuses("messages"):
        data = _without(data, CHATS)
    layout, data = _layout(data, columns)
    if layout is None and columns.refuses("prompt"):
        layout, data = _layout(_without(data, PROMPTS), columns)
        layout = layout or _NAMED
    if layout is None:
        raise _unknown(data, last)
    made = layout.read(data, columns)
    made.reading.setdefault("layout", layout.name)
    return made.without_prompt() if columns.refuses("prompt") else made


def _without(data: Fields, names: tuple[str, ...]) -> Fields:
    return Fields({name: value for name, value in data.items() if name.lower() not in names})


def _layout(data: Fields, columns: Columns) -> tuple[Layout | None, Fields]:
    """The layout of a record, or None, and the columns to be read.

    A table of several data sets has the columns of all, and nulls in those of the others: a layout
    whose columns are all null gives way to one that fits the rest.
    """
    if columns.names("messages"):
        return _CHAT, data
    if columns.names("prompt") or columns.names("response"):
        return _NAMED, data
    layout = next((layout for layout in LAYOUTS if layout.fits(data)), None)
    empty = any(value is None for value in data.data.values())
    main = list(layout.main(data)) if layout is not None and empty else []
    if main and not any(data.given(name) for name in main):
        rest = data.without_nulls()
        other = next((other for other in LAYOUTS if other.fits(rest)), None)
        return (layout, data) if other is None else (other, rest)
    return layout, data


def _named(data: Fields, columns: Columns) -> Draft:
    """The columns that the caller names; the other of prompt and response goes by its names."""
    if named := columns.names("response"):
        response: str | None = data.named(named)
        others = Fields({name: value for name, value in data.items() if name != response})
        if columns.names("prompt") or columns.refuses("prompt"):
            return _pair(data, columns, prompt_column(data, columns), str(response))
        return _pair(data, columns, column_of(others, PROMPTS), str(response))
    prompt = prompt_column(data, columns)
    others = Fields({name: value for name, value in data.items() if name != prompt})
    response = column_of(others, (*RESPONSES, *WEAK, *TEXTS))
    if response is None and prompt is not None and _only_answer(others):
        return _problem(data, columns)
    if response is None:
        raise DataError(f"missing ({data.listed()})", field="response")
    return _pair(data, columns, prompt, response)


_NAMED = Layout("named", bool, _named)


def _unknown(data: Fields, last: Draft | None) -> DataError:
    """Why no layout fits: the column that is missing, or what to name."""
    columns = data.listed()
    if data.find("role", "from") is not None and data.find("content", "value") is not None:
        return DataError(f"a message of a chat; give records with a list `messages`; {columns}")
    missing = _missing(data, last)
    if missing is not None:
        return DataError(f"missing ({columns})", field=missing)
    remedy = (
        "name them with prompt= and response=, or messages= (--prompt-column, --response-column, "
        "--messages-column)"
    )
    return DataError(f"no known layout; {columns}; {remedy}")


def _missing(data: Fields, last: Draft | None) -> str | None:
    """The one column that the record lacks beside those it has."""
    if last is not None:
        wanted = [*last.columns.get("prompt", ()), *last.columns.get("response", ())]
        lacking = [name for name in dict.fromkeys(wanted) if name not in data]
        if len(lacking) == 1:
            return lacking[0]
    prompt, response = data.find("prompt"), data.find("response")
    if (prompt is None) == (response is None) or data.find(*TEXTS) is not None:
        return None
    return "response" if response is None else "prompt"
