"""Read a chat: its turns as a chat template takes them, and the turn that is scored.

Turns come as ``role`` and ``content``, as ShareGPT's ``from`` and ``value``, as pairs of question
and answer, or as plain texts that alternate between user and assistant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

from airlens.errors import DataError, described

from .columns import parsed
from .plain_values import Unreadable
from .trace import check_text

_ROLE_KEYS = ("role", "from", "speaker", "author")
_TEXT_KEYS = ("content", "value", "text", "message", "parts")
THOUGHT_KEYS: tuple[str, ...] = (
    "thinking",
    "reasoning_content",
    "reasoning",
    "thoughts",
    "thought",
    "think",
)
# What else a chat template may read from a turn.
_OTHER_KEYS = ("name", "tool_call_id", "tool_responses")
_ROLES = {
    **dict.fromkeys(("human", "user", "prompter", "usr", "instruction"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bot", "chatbot", "model", "ai"), "assistant"),
    **dict.fromkeys(("bard", "bing", "claude", "llm"), "assistant"),
    **dict.fromkeys(("observation", "tool", "function", "function_response"), "tool"),
    **dict.fromkeys(("tool_response", "ipython", "function-response"), "tool"),
}
_CALLS = ("function_call", "function-call", "tool_call")
_PAIRS = (
    ("input", "output"),
    ("user", "assistant"),
    ("human", "assistant"),
    ("question", "answer"),
    ("prompt", "response"),
    ("instruction", "output"),
)
# Of parts of a content: those that are text, and those that are a thought.
_TEXT_PARTS = ("text", "input_text", "output_text")
_THOUGHT_PARTS = ("thinking", "reasoning", "think")

Turn = dict[str, Any]


class Scored(NamedTuple):
    """A response, and how many of its first characters are the thought given apart."""

    text: str
    thinking: int = 0


@dataclass(frozen=True)
class Chat:
    """A chat that ends in the scored turn.

    Attributes:
        turns: those before it.
        scored: its text.
        reading: what else there is: ``later_turns``, ``tool_calls`` of the scored turn.
    """

    turns: list[Turn]
    scored: Scored
    reading: dict[str, Any]


def are_turns(value: object) -> bool:
    """Whether a value looks like a chat, is one turn, or is text that says a chat in JSON."""
    if isinstance(value, Mapping):
        return _first(value, _ROLE_KEYS) is not None and _first(value, _TEXT_KEYS) is not None
    if isinstance(value, str):
        # Few texts begin so, and parsing is not free.
        value = parsed(value) if re.match(r"\s*\[\s*[\[{]", value) else None
    if not isinstance(value, list) or not value:
        return False
    if all(isinstance(item, Mapping) for item in value):
        return all(_first(item, _ROLE_KEYS) is not None or _pair(item) for item in value)
    return all(_is_pair(item) for item in value)


def turns_of(value: object, name: str) -> list[Turn]:
    """The turns of a chat in column ``name``.

    Raises:
        DataError: it is no chat; names the message.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = parsed(value)
        if value is None:
            raise DataError("not a JSON list", field=name)
    if isinstance(value, Unreadable):
        raise DataError(f"expected a list, found {value.what}", field=name)
    value = [value] if isinstance(value, Mapping) and are_turns(value) else value
    if not isinstance(value, list):
        raise DataError(f"expected a list, found {described(value)}", field=name)
    if len(value) > 1 and all(isinstance(item, str) for item in value):
        return [_plain_turn(number, check_text(text, name)) for number, text in enumerate(value)]
    turns: list[Turn] = []
    for number, item in enumerate(value):
        turns += _turns_of_item(item, number, name)
    return turns


def _plain_turn(number: int, text: str) -> Turn:
    return {"role": "assistant" if number % 2 else "user", "content": text}


def _turns_of_item(item: object, number: int, name: str) -> list[Turn]:
    """The turn of a message; the two turns of a pair."""
    if _is_pair(item):
        return [_plain_turn(i, check_text(text, name)) for i, text in enumerate(item)]
    if not isinstance(item, Mapping):
        raise DataError(
            f"message {number}: expected an object, found {described(item)}", field=name
        )
    if _first(item, _ROLE_KEYS) is None and (pair := _pair(item)):
        return [_plain_turn(i, check_text(item[key], name)) for i, key in enumerate(pair)]
    return [_turn(item, number, name)]


def _is_pair(item: object) -> TypeGuard[list[str]]:
    return isinstance(item, list) and len(item) == 2 and all(isinstance(x, str) for x in item)


def _pair(item: Mapping[str, Any]) -> tuple[str, str] | None:
    texts = (pair for pair in _PAIRS if all(isinstance(item.get(key), str) for key in pair))
    return next(texts, None)


def _first(item: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((item[key] for key in keys if item.get(key) is not None), None)


def _turn(item: Mapping[str, Any], number: int, name: str) -> Turn:
    """One message as a chat template takes it; nulls, with which tables fill up, are left out."""
    role, content = _first(item, _ROLE_KEYS), _first(item, _TEXT_KEYS)
    # OpenAI's older form has one call of its own kind.
    calls = item.get("tool_calls") or [c for c in [item.get("function_call")] if c]
    thought = _first(item, THOUGHT_KEYS)
    if isinstance(content, list):
        content, thought = _joined(content, thought, number, name)
    empty = content is None and (calls or thought)
    if not isinstance(role, str) or not (isinstance(content, str) or empty):
        what = f"role {described(role)}, content {described(content)}"
        raise DataError(f"message {number}: expected two texts, found {what}", field=name)
    check_text(role + (content or ""), name)
    if role.lower() in _CALLS and isinstance(content, str):
        return _call_turn(content)
    turn: Turn = {"role": _ROLES.get(role.lower(), role), "content": content}
    if thought is not None:
        if isinstance(thought, list) and all(isinstance(text, str) for text in thought):
            thought = "\n".join(thought)
        if not isinstance(thought, str):
            reason = f"message {number}: expected a thought as text, found {described(thought)}"
            raise DataError(reason, field=name)
        turn["reasoning_content"] = check_text(thought, name)
    for key in _OTHER_KEYS:
        if item.get(key) not in (None, [], ""):
            turn[key] = item[key]
    if calls:
        turn["tool_calls"] = _calls(calls, number, name)
    return turn


def _joined(parts: list[Any], thought: Any, number: int, name: str) -> tuple[str | None, Any]:
    """Text and thought of a content that is a list of parts."""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type", "text") if isinstance(part, Mapping) else described(part)
        if kind in _THOUGHT_PARTS and isinstance(text := _first(part, (kind, "text")), str):
            thoughts.append(text)
        elif kind in _TEXT_PARTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            reason = f"message {number}: a part of type {kind!r}, where only text can be read"
            raise DataError(reason, field=name)
    return "".join(texts) if texts or not thoughts else None, "\n".join(thoughts) or thought


def _call_turn(content: str) -> Turn:
    """ShareGPT's turn that calls a tool."""
    call = parsed(content)
    if isinstance(call, Mapping) and isinstance(call.get("name"), str):
        calls = [{"type": "function", "function": _function(call)}]
        return {"role": "assistant", "content": None, "tool_calls": calls}
    return {"role": "assistant", "content": content}


def _calls(value: object, number: int, name: str) -> list[dict[str, Any]]:
    """Tool calls, their arguments as an object: templates write JSON of it."""
    calls = parsed(value) if isinstance(value, str) else value
    if not isinstance(calls, list) or not all(isinstance(call, Mapping) for call in calls):
        reason = f"message {number}: expected tool calls, found {described(calls)}"
        raise DataError(reason, field=name)
    made = []
    for call in calls:
        function = call.get("function")
        if isinstance(function, Mapping):
            others = {key: value for key, value in call.items() if value is not None}
            made.append({**others, "function": _function(function)})
        else:
            made.append({"type": "function", "function": _function(call)})
    return made


def _function(function: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(function)
    if isinstance(made.get("arguments"), str):
        arguments = parsed(made["arguments"])
        made["arguments"] = arguments if isinstance(arguments, dict) else made["arguments"]
    return made


def chat_of(turns: Sequence[Turn], name: str) -> Chat:
    """The chat that ends in the last turn of the assistant.

    Raises:
        DataError: there is none, or it is empty.
    """
    last = last_answer(turns)
    if last is None:
        roles = ", ".join(turn["role"] for turn in turns) or "none"
        raise DataError(f"expected a turn of the assistant, found: {roles}", field=name)
    turn = turns[last]
    reading: dict[str, Any] = {}
    if turns[last + 1 :]:
        reading["later_turns"] = [dict(later) for later in turns[last + 1 :]]
    text = turn["content"] or ""
    if calls := turn.get("tool_calls"):
        reading["tool_calls"] = calls
        text = "\n".join([*([text] if text else []), *map(call_text, calls)])
    return Chat(list(turns[:last]), joined(turn.get("reasoning_content"), text), reading)


def last_answer(turns: Sequence[Turn]) -> int | None:
    """The index of the assistant's last turn."""
    return next((i for i in reversed(range(len(turns))) if turns[i]["role"] == "assistant"), None)


def call_text(call: Mapping[str, Any]) -> str:
    """A tool call as text, in the form of Hermes and Qwen."""
    function = call.get("function", call)
    named = {key: function[key] for key in ("name", "arguments") if key in function}
    return f"<tool_call>\n{json.dumps(named, ensure_ascii=False)}\n</tool_call>"


def joined(thought: str | None, text: str) -> Scored:
    """A thought, a blank line and the text; a thought that the text repeats is not doubled."""
    thought = (thought or "").strip("\n")
    if not thought.strip() or ("<think" in text and thought.strip() in text):
        return Scored(text)
    text = text.lstrip("\n")
    return Scored(f"{thought}\n\n{text}" if text else thought, len(thought))


def prompt_of(turns: Sequence[Mapping[str, Any]]) -> str:
    """Turns as one readable text, with their roles only where there was an earlier answer."""
    if any(turn["role"] == "assistant" for turn in turns):
        return "\n\n".join(f"{turn['role']}: {_readable(turn)}" for turn in turns)
    return "\n\n".join(filter(None, map(_readable, turns)))


def _readable(turn: Mapping[str, Any]) -> str:
    calls = turn.get("tool_calls") or ()
    return "\n".join([*filter(None, [turn.get("content")]), *map(call_text, calls)])


_MARK = re.compile(
    r"(?:^|\n+)[ \t]*(Human|Assistant|USER|ASSISTANT|SYSTEM|FUNCTION RESPONSE): ?", re.MULTILINE
)
_MARKED = {"human": "user", "function response": "tool"}


def marked_turns(text: str) -> list[Turn] | None:
    r"""The turns of a text like "\n\nHuman: …\n\nAssistant: …"; None where it does not begin so."""
    marks = list(_MARK.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        return None
    turns: list[Turn] = []
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    for mark, end in zip(marks, ends, strict=True):
        role = mark.group(1).lower()
        content = text[mark.end() : end].replace("<|endoftext|>", "").strip()
        turns.append({"role": _MARKED.get(role, role), "content": content})
    return turns
