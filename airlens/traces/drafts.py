"""What a record means, and the parts that all layouts share: context, thought, tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airlens.errors import DataError

from .columns import Columns, Fields, as_text, parsed
from .conversations import THOUGHT_KEYS, Scored, Turn, are_turns, marked_turns, prompt_of, turns_of
from .step_lists import GivenSteps

# Names that data sets give to their columns, in the order of preference; lower case.
PROMPTS: tuple[str, ...] = (
    "prompt",
    "problem",
    "question",
    "query",
    "instruction",
    "input",
    "inputs",
    "message_1",
    "question_stem",
)
# Columns with several responses to one problem, and those with one.
MANY: tuple[str, ...] = (
    "generations",
    "responses",
    "completions",
    "outputs",
    "samples",
    "solutions",
)
RESPONSES: tuple[str, ...] = (
    "response",
    "completion",
    "output",
    *MANY,
    "generated_solution",
    "generation",
    "llm_response",
    "model_response",
    "r1_generation",
    "deepseek_solution",
    "targets",
    "target",
    "message_2",
    "chosen",
    "rationale",
    "solution",
    "canonical_solution",
    "code",
)
WEAK: tuple[str, ...] = ("answer",)  # the response only where no chat has one
THOUGHTS: tuple[str, ...] = (
    *THOUGHT_KEYS,
    "deepseek_reasoning",
    "reasoning_trace",
    "thinking_trajectory",
    "chain_of_thought",
    "complex_cot",
    "cot",
)
CHATS: tuple[str, ...] = (
    "messages",
    "conversations",
    "conversation",
    "chat",
    "dialog",
    "dialogue",
    "turns",
    "trajectory",
    "contents",
    "data",
)
SYSTEMS: tuple[str, ...] = (
    "system",
    "system_prompt",
    "system_message",
)
TEXTS: tuple[str, ...] = (
    "text",
    "content",
    "raw_content",
    "document",
)  # What belongs to the prompt beside its column; the last two stand before a question.
COMPANIONS: tuple[str, ...] = (
    "input",
    "context",
    "passage",
)
_RIVALS = frozenset({*PROMPTS, *RESPONSES, *WEAK, *CHATS, *TEXTS, *COMPANIONS, "rejected"})
# Values of a column `reasoning` that switch a thought on or off, and are none.
_SWITCHES = frozenset({"", "on", "off", "yes", "no", "true", "false", "low", "medium", "high"})
_SWITCHES |= {"enabled", "disabled", "auto", "none"}
CALL_NOTE = "tool calls of the scored turn are written as <tool_call> and JSON"


@dataclass
class Draft:
    """What a layout makes of a record, before it becomes a trace.

    Attributes:
        prompt: readable text before the response.
        responses: all that the record has, usually one; a `DataError` for one that is no text;
            none where the record has only an answer.
        columns: the columns used, by role: prompt, response, steps, tools, answer.
        chosen: which response is taken where one is asked for.
        many: whether the record may have several responses.
        others: the columns of those that are not taken, where they have their own.
        turns: the chat before the response; empty where there was only a text.
        tools: definitions of tools.
        answer: the final answer, where the layout knows it.
        steps: those that make up the response.
        natural: the default splitter.
        reading: what else belongs into `Trace.reading`.
    """

    prompt: str
    responses: list[Scored | DataError]
    columns: dict[str, tuple[str, ...]]
    chosen: int = 0
    many: bool = False
    others: tuple[str, ...] = ()
    turns: list[Turn] = field(default_factory=list)
    tools: list[Any] = field(default_factory=list)
    answer: str = ""
    steps: GivenSteps | None = None
    natural: str = "auto"
    reading: dict[str, Any] = field(default_factory=dict)

    def used(self) -> set[str]:
        """All columns used."""
        return {name for names in self.columns.values() for name in names}

    def take_all(self) -> None:
        """Use every response, also those in columns of their own."""
        self.columns["response"] = (*self.columns["response"], *self.others)
        self.others = ()
        self.reading["notes"] = ["each of several responses"]

    def without_prompt(self) -> Draft:
        """The same response, with nothing before it."""
        kept = {role: names for role, names in self.columns.items() if role != "tools"}
        return replace(self, prompt="", turns=[], tools=[], columns={**kept, "prompt": ()})


def ignored(data: Fields, made: Draft) -> list[str]:
    """Columns that could have been prompt or response by their names, and were not used."""
    rivals = {*made.others, thought_column(data, Columns())}
    names = (name for name in data if name.lower() in _RIVALS or name in rivals)
    used = made.used()
    return [name for name in names if name not in used]


@dataclass(frozen=True)
class Context:
    """What stands before the response: a text, or turns of which ``text`` is the readable form."""

    text: str = ""
    turns: tuple[Turn, ...] = ()
    columns: tuple[str, ...] = ()

    @classmethod
    def of_turns(cls, turns: list[Turn], *columns: str) -> Context:
        """The context that turns make up."""
        return cls(prompt_of(turns), tuple(turns), columns)

    def chat(self) -> list[Turn]:
        """The turns; a text is one of the user."""
        user: list[Turn] = [{"role": "user", "content": self.text}] if self.text else []
        return list(self.turns) or user


def draft(context: Context, responses: list[Any], response: tuple[str, ...], **more: Any) -> Draft:
    """The draft of a context and responses, with the columns of both."""
    names = {"prompt": context.columns, "response": response}
    return Draft(context.text, responses, names, turns=list(context.turns), **more)


def column_of(data: Fields, names: tuple[str, ...]) -> str | None:
    """The first column of these names that holds text, a list or null, else the first there is.

    A number under one of these names is no response, but something counted.
    """
    first = None
    for known in names:
        name = data.find(known)
        if name is not None and _may_be_text(data[name], name):
            return name
        first = first or name
    return first


def _may_be_text(value: object, name: str) -> bool:
    if name.lower() in MANY and isinstance(value, str):
        return value.lstrip().startswith("[")
    return value is None or isinstance(value, str | list) or are_turns(value)


def prompt_column(data: Fields, columns: Columns) -> str | None:
    """The column of the prompt: the one the caller names, else by the usual names."""
    if columns.refuses("prompt"):
        return None
    named = columns.names("prompt")
    return data.named(named) if named else column_of(data, PROMPTS)


def context_of(data: Fields, columns: Columns, name: str | None) -> Context:
    """The context in a column, text or turns, with the system turn and what else belongs to it."""
    if name is None:
        return Context() if columns.refuses("prompt") else with_system(data, columns, Context())
    if are_turns(data[name]):
        turns = turns_of(data[name], name)
        return with_system(data, columns, Context.of_turns(turns, name))
    text = as_text(data[name], name)
    used: tuple[str, ...] = (name,)
    for known in COMPANIONS if columns.prompt is None else ():
        other = data.find(known)
        more = _as_passage(data[other]) if other is not None and other != name else None
        if other is None or more is None:
            continue
        after = name.lower() == "instruction" or known == "input"
        used = (*used, other) if after else (other, *used)
        # A column "prompt" may be the whole prompt, made of the other.
        if more.strip() and not (name.lower() == "prompt" and more.strip() in text):
            text = "\n\n".join((text, more) if after else (more, text))
    return with_system(data, columns, _after_history(data, Context(text, (), used)))


def _as_passage(value: object) -> str | None:
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return "\n\n".join(value)
    return value if isinstance(value, str) else None


def _after_history(data: Fields, context: Context) -> Context:
    """The context behind the earlier turns in a column ``history`` (pairs of texts)."""
    name = data.find("history")
    if name is None or not are_turns(data[name]):
        return context
    return Context.of_turns([*turns_of(data[name], name), *context.chat()], name, *context.columns)


def with_system(data: Fields, columns: Columns, context: Context) -> Context:
    """The context behind the record's system turn, where it has one and none is there yet."""
    if columns.refuses("system"):
        return context
    named = columns.names("system")
    name = data.named(named) if named else data.find(*SYSTEMS)
    value = data[name] if name is not None else None
    if name is None or value is None or (not named and not isinstance(value, str)):
        return context
    text = as_text(value, name)
    marked = marked_turns(text)
    text = marked[0]["content"] if marked and marked[0]["role"] == "system" else text
    turns = context.chat()
    if not text.strip() or (turns and turns[0]["role"] == "system"):
        return context
    return Context.of_turns([{"role": "system", "content": text}, *turns], name, *context.columns)


def thought_column(data: Fields, columns: Columns) -> str | None:
    """The column of the thought: the one the caller names, else by the usual names."""
    if columns.refuses("thinking"):
        return None
    if named := columns.names("thinking"):
        return data.named(named)
    for known in THOUGHTS:
        name = data.find(known)
        if name is None:
            continue
        value = data[name]
        if isinstance(value, str) and value.strip().lower() not in _SWITCHES:
            return name
        if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
            return name
    return None


def thought_in(data: Fields, name: str | None) -> str:
    """The thought in a column; "" where there is none."""
    value = data[name] if name is not None else None
    if name is None or value is None:
        return ""
    if isinstance(value, list):
        return "\n".join(as_text(text, name) for text in value)
    return as_text(value, name)


def tools_in(data: Fields) -> tuple[list[Any], tuple[str, ...]]:
    """Definitions of tools, where a column ``tools`` has them as objects or as JSON."""
    name = data.find("tools", "functions")
    value = data[name] if name is not None else None
    value = parsed(value) if isinstance(value, str) else value
    if name is None or not isinstance(value, list):
        return [], ()
    tools = [parsed(tool) if isinstance(tool, str) else tool for tool in value]
    usable = bool(tools) and all(isinstance(tool, Mapping) for tool in tools)
    return (tools, (name,)) if usable else ([], ())


def with_tools(made: Draft, data: Fields) -> Draft:
    """The draft with the record's tools, which only a chat can use."""
    if made.turns:
        made.tools, names = tools_in(data)
        made.columns |= {"tools": names} if names else {}
    if "tool_calls" in made.reading:
        made.reading["notes"] = [CALL_NOTE]
    return made
