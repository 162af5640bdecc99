"""A reasoning trace: a prompt, the response to it, the steps of the response, and its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from os import PathLike
from typing import Any, TypeGuard

from airlens.arguments import reader
from airlens.errors import ConfigError, DataError, described, short

from .step import Step
from .steps import Splitter, split_steps


@dataclass(frozen=True)
class Trace:
    """A prompt and the response to it.

    The steps cover the response completely: in order, without gap or overlap.

    Args:
        id: names the trace among its fellows; not empty.
        prompt: what the model was given, as readable text; may be empty.
        response: the reasoning to be scored; may be empty.
        domain: group for a selection within domains; "" where unknown.
        steps: empty while the response has not been split.
        meta: the record's other columns as they were, JSON-able; nothing in it is airlens's own.
        turns: the chat before the response, each turn a mapping with ``role`` and what else a chat
            template takes (``content``, ``tool_calls``, …); empty where there was only a text.
        tools: definitions of tools, for the chat template.
        thinking: how many leading characters of the response are a thought that the record gave
            apart from the answer; 0 where it did not.
        answer: the final answer where the record names one, else "".
        step_meta: what else is known of each step, one mapping a step; or empty.
        reading: how the record was read: its layout, the columns used, what was left out. Goes
            with results; never mixed with the user's columns.

    Raises:
        DataError: a wrong type, text that is not valid Unicode, steps that do not cover the
            response, or not as many step_meta as steps; names the field.
    """

    id: str
    prompt: str
    response: str
    domain: str = ""
    steps: tuple[Step, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)
    turns: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    tools: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    thinking: int = 0
    answer: str = ""
    step_meta: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    reading: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("id", "prompt", "response", "domain", "answer"):
            check_text(getattr(self, name), name)
        if not self.id:
            raise DataError("a trace needs an id, found an empty one", field="id")
        for name in ("meta", "reading"):
            object.__setattr__(self, name, dict(_mapping(getattr(self, name), name)))
        for name in ("turns", "tools", "step_meta"):
            object.__setattr__(self, name, _mappings(getattr(self, name), name))
        for number, turn in enumerate(self.turns):
            if not isinstance(role := turn.get("role"), str):
                raise DataError(
                    f"turn {number}: expected a role, found {described(role)}", field="turns"
                )
        if type(self.thinking) is not int or not 0 <= self.thinking <= len(self.response):
            reason = (
                f"expected 0 to {len(self.response)} characters, found {described(self.thinking)}"
            )
            raise DataError(reason, field="thinking")
        object.__setattr__(self, "steps", tuple(self.steps))
        _check_cover(self.steps, self.response)
        if self.step_meta and len(self.step_meta) != len(self.steps):
            reason = f"{len(self.step_meta)} for {len(self.steps)} steps"
            raise DataError(reason, field="step_meta")

    def with_steps(self, splitter: str | Splitter) -> Trace:
        r"""The same trace, its response split anew; what was known of the old steps is left out.

        ``splitter``: a name as in `split_steps`, or a function from a response to its steps.

        >>> trace = Trace("1", "2 + 3 * 4?", "3 * 4 = 12.\n2 + 12 = 14.")
        >>> [step.text for step in trace.with_steps("line").steps]
        ['3 * 4 = 12.\n', '2 + 12 = 14.']
        """
        cut = splitter if callable(splitter) else lambda text: split_steps(text, splitter)
        reading = {key: value for key, value in self.reading.items() if key != UNALIGNED}
        return replace(self, steps=cut(self.response), step_meta=(), reading=reading)

    def whole_steps(self) -> tuple[Step, ...]:
        """The steps; a response that was not split is one step, an empty one has none."""
        whole = (Step(self.response, 0, len(self.response)),) if self.response else ()
        return self.steps or whole

    def chat(self) -> tuple[Mapping[str, Any], ...]:
        """The turns before the response; where there was only a prompt, it as one user turn."""
        return self.turns or ({"role": "user", "content": self.prompt},)

    def without_prompt(self) -> Trace:
        """The response alone: nothing stands before it."""
        return replace(self, prompt="", turns=(), tools=())

    def as_document(self) -> Trace:
        """Prompt and response as one text without a prompt; the prompt becomes the first step."""
        if not self.prompt:
            return self
        n = len(head := self.prompt + "\n")
        moved = (replace(s, start=s.start + n, end=s.end + n) for s in self.whole_steps())
        steps = (Step(head, 0, n, "prompt"), *moved)
        known = ({}, *self.step_meta) if self.step_meta else ()
        bare = replace(self.without_prompt(), thinking=0, steps=(), step_meta=())
        return replace(bare, response=head + self.response, steps=steps, step_meta=known)

    def to_json(self) -> dict[str, Any]:
        """The trace as an object for ``json.dumps``; `from_json` reads it back."""
        made = {**vars(self), "steps": [asdict(step) for step in self.steps]}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in made.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trace:
        """The trace that `to_json` described, here or in airlens 0.1.

        Raises:
            DataError: names the field.
        """
        if not isinstance(data, Mapping):
            raise DataError(f"expected an object, found {described(data)}")
        for name in ("id", "prompt", "response"):
            if name not in data:
                names = ", ".join(map(str, data)) or "none"
                raise DataError(f"missing; the fields are: {names}", field=name)
        own = {name: data[name] for name in OWN_FIELDS if name in data}
        if not NEW_FIELDS & set(own):
            own = upgraded(own)
        return cls(**{**own, "steps": _steps_from_json(own.get("steps", ()))})


OWN_FIELDS = tuple(each.name for each in fields(Trace))
# Not in the files of airlens 0.1, which kept them in `meta`.
NEW_FIELDS = frozenset(OWN_FIELDS[OWN_FIELDS.index("meta") + 1 :])
# In `Trace.reading`: the indices of given steps that were not found in the response.
UNALIGNED = "unaligned"


def upgraded(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a trace that airlens 0.1 wrote, with what it kept in ``meta`` moved out.

    Something is moved only where it can be nothing else: as many mappings as steps, the turns that
    make up the prompt, a place in the response.
    """
    meta = data.get("meta")
    if not isinstance(meta, Mapping):
        return dict(data)
    left = dict(meta)
    made: dict[str, Any] = {}
    reading: dict[str, Any] = {}
    response = data.get("response")
    turns = left.get("messages")
    if _are_mappings(turns) and all(str(turn.get("content")) in data["prompt"] for turn in turns):
        made["turns"] = left.pop("messages")
        if _are_mappings(left.get("messages_after")):
            reading["later_turns"] = left.pop("messages_after")
    known = left.get("steps")
    if _are_mappings(known) and len(known) == len(data.get("steps") or ()):
        made["step_meta"] = left.pop("steps")
    if isinstance(left.get("unaligned"), list):
        reading[UNALIGNED] = left.pop("unaligned")
    start = left.get("attempt_start")
    if isinstance(start, int) and isinstance(response, str) and response[:start].endswith("\n\n"):
        made["thinking"] = left.pop("attempt_start") - 2
    return {**data, **made, "meta": left, "reading": reading}


def _are_mappings(value: object) -> TypeGuard[list[Mapping[str, Any]]]:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"expected a mapping, found {described(value)}", field=name)
    return value


def _mappings(values: object, name: str) -> tuple[dict[str, Any], ...]:
    if not isinstance(values, list | tuple):
        raise DataError(f"expected a list, found {described(values)}", field=name)
    return tuple(dict(_mapping(value, name)) for value in values)


@reader("Iterable[Trace]", "Sequence[Trace]", "Iterable[Trace] | Trace", "Trace | Iterable[Trace]")
def as_traces(value: Any, name: str = "traces") -> list[Trace]:
    """A list of traces from a list of them, or from one.

    Raises:
        ConfigError: anything else; says how to get traces from it.
    """
    if isinstance(value, Trace):
        return [value]
    if isinstance(value, str | PathLike):
        raise ConfigError(f"{name}: al.load_traces({short(str(value))}) reads traces from a file")
    kind = type(value).__name__
    if hasattr(value, "iloc") or isinstance(value, Mapping):
        raise ConfigError(f"{name}: expected traces, found a {kind}; al.load_traces makes them")
    items = list(value) if isinstance(value, Iterable) else [value]
    for item in items:
        if not isinstance(item, Trace):
            made = isinstance(item, Mapping)
            remedy = (
                "al.load_traces makes traces of records" if made else "al.load_traces reads them"
            )
            raise ConfigError(f"{name}: expected traces, found a {type(item).__name__}; {remedy}")
    return items


def check_ids(traces: Iterable[Trace]) -> None:
    """Raise :class:`DataError` where two traces have the same id."""
    seen: set[str] = set()
    for trace in traces:
        if trace.id in seen:
            raise DataError(f"two traces have the id {trace.id!r}", field="id")
        seen.add(trace.id)


def check_text(value: object, name: str) -> str:
    """``value`` if it is text that UTF-8 can express, else :class:`DataError` on field ``name``."""
    if not isinstance(value, str):
        raise DataError(f"expected text, found {described(value)}", field=name)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # JSON can escape half of a surrogate pair; no tokenizer or file can take it.
        reason = f"not valid Unicode: a lone surrogate at character {error.start}"
        raise DataError(reason, field=name) from error
    return value


def _check_cover(steps: tuple[Step, ...], response: str) -> None:
    """Raise unless there are no steps yet, or the steps cover the response exactly."""
    position = 0
    for number, step in enumerate(steps):
        if not isinstance(step, Step):
            raise DataError(
                f"step {number}: expected a Step, found {described(step)}", field="steps"
            )
        if step.label is not None:
            check_text(step.label, "steps")
        if step.start != position or step.end <= step.start:
            span = f"[{step.start}, {step.end})"
            reason = f"step {number} is {span}; it must start at {position} and not be empty"
            raise DataError(reason, field="steps")
        if step.text != response[step.start : step.end]:
            raise DataError(f"step {number}: its text is not that of the response", field="steps")
        position = step.end
    if steps and position != (end := len(response)):
        raise DataError(f"the steps end at {position}, the response at {end}", field="steps")


def _steps_from_json(items: object) -> tuple[Step, ...]:
    if not isinstance(items, list | tuple):
        raise DataError(f"expected a list, found {described(items)}", field="steps")
    steps = []
    for number, item in enumerate(items):
        try:
            steps.append(Step(item["text"], item["start"], item["end"], item.get("label")))
        except (KeyError, TypeError, AttributeError) as error:
            reason = f"step {number}: expected text, start, end, found {described(item)}"
            raise DataError(reason, field="steps") from error
    return tuple(steps)
