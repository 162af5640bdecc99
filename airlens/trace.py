"""A reasoning trace: a prompt, the response to it, and the steps the response consists of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .errors import ConfigError, DataError
from .files import atomic_file
from .steps import Splitter as Splitter
from .steps import Step as Step
from .steps import split_steps

# Lists in `meta` that run parallel to the steps, and so go stale when the steps change.
PER_STEP_META = ("steps", "unaligned")


@dataclass(frozen=True)
class Trace:
    """A prompt and the response to it.

    The steps cover the response completely: in order, without gap or overlap. A separator
    between two steps belongs to the first of them, whitespace before the first step to that step.

    Args:
        id: names the trace among its fellows; not empty.
        prompt: what the model was given; may be empty.
        response: the reasoning to be scored; may be empty.
        domain: group for a selection within domains; "" where unknown.
        steps: empty while the response has not been split.
        meta: whatever else is known, JSON-able. ``meta["steps"]``, where present, has one mapping
            per step, ``meta["unaligned"]`` the indices of given steps not found in the response.

    Raises:
        DataError: a wrong type, text that is not valid Unicode, or steps that do not cover the
            response; names the field.
    """

    id: str
    prompt: str
    response: str
    domain: str = ""
    steps: tuple[Step, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("id", "prompt", "response", "domain"):
            check_text(getattr(self, name), name)
        if not self.id:
            raise DataError("a trace needs an id, found an empty one", field="id")
        if not isinstance(self.meta, Mapping):
            raise DataError(f"expected a mapping, found {found(self.meta)}", field="meta")
        object.__setattr__(self, "steps", tuple(self.steps))
        object.__setattr__(self, "meta", dict(self.meta))
        _check_cover(self.steps, self.response)

    def with_steps(self, splitter: str | Splitter) -> Trace:
        r"""The same trace, its response split anew.

        Args:
            splitter: "auto", "paragraph", "line", "sentence", a registered name, or a function from
                a response to its steps.

        What ``meta`` held per step is left out, as it belonged to the former steps.

        >>> trace = Trace("1", "2 + 3 * 4?", "3 * 4 = 12.\n2 + 12 = 14.")
        >>> [step.text for step in trace.with_steps("line").steps]
        ['3 * 4 = 12.\n', '2 + 12 = 14.']
        """
        cut = splitter if callable(splitter) else lambda text: split_steps(text, splitter)
        meta = {key: value for key, value in self.meta.items() if key not in PER_STEP_META}
        return replace(self, steps=cut(self.response), meta=meta)

    def whole_steps(self) -> tuple[Step, ...]:
        """The steps; a response that was not split is one step, an empty one has none."""
        whole = (Step(self.response, 0, len(self.response)),) if self.response else ()
        return self.steps or whole

    def as_document(self) -> Trace:
        """Prompt and response as one text without a prompt; the prompt becomes the first step."""
        if not self.prompt:
            return self
        head = self.prompt + "\n"
        n = len(head)
        moved = (replace(s, start=s.start + n, end=s.end + n) for s in self.whole_steps())
        steps = (Step(head, 0, n, "prompt"), *moved)
        return replace(self, prompt="", response=head + self.response, steps=steps)

    def to_json(self) -> dict[str, Any]:
        """The trace as an object for ``json.dumps``; `from_json` reads it back."""
        return {
            "id": self.id,
            "prompt": self.prompt,
            "response": self.response,
            "domain": self.domain,
            "steps": [asdict(step) for step in self.steps],
            "meta": dict(self.meta),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trace:
        """The trace that `to_json` described.

        Raises:
            DataError: a field is missing or malformed; names it.
        """
        if not isinstance(data, Mapping):
            raise DataError(f"expected an object, found {found(data)}")
        for name in ("id", "prompt", "response"):
            if name not in data:
                names = ", ".join(map(str, data)) or "none"
                raise DataError(f"missing; the fields are: {names}", field=name)
        return cls(
            id=data["id"],
            prompt=data["prompt"],
            response=data["response"],
            domain=data.get("domain", ""),
            steps=_steps_from_json(data.get("steps", ())),
            meta=data.get("meta", {}),
        )


def check_ids(traces: Iterable[Trace]) -> None:
    """Raise unless every trace has an id of its own.

    Raises:
        DataError: two traces have the same id; names it.
    """
    seen: set[str] = set()
    for trace in traces:
        if trace.id in seen:
            raise DataError(f"two traces have the id {trace.id!r}", field="id")
        seen.add(trace.id)


def save_traces(traces: Iterable[Trace], path: str | Path) -> Path:
    """Write traces as JSON lines, for `airlens.reading.load.load_traces` to read.

    The file appears when it is complete; a failure leaves what was there before.

    Raises:
        ConfigError: ``path`` does not end in ``.jsonl``.
        DataError: a trace whose ``meta`` JSON cannot express; names its number.
    """
    target = Path(path)
    if target.suffix.lower() != ".jsonl":
        raise ConfigError(f"traces are saved as JSON lines: name the file *.jsonl, not {target}")
    with atomic_file(target) as temporary, temporary.open("wb") as out:
        for number, trace in enumerate(traces, start=1):
            try:
                out.write(_json_line(trace.to_json()))
            except (TypeError, ValueError, RecursionError) as error:
                reason = f"cannot be written as JSON: {error}"
                raise DataError(reason, file=str(target), line=number, field="meta") from error
    return target


def found(value: object) -> str:
    """A value named as in JSON, for an error message: "null", "a number (3)", "a list of 2"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"a number ({str(value)[:40]})"
    if isinstance(value, str):
        return f"text ({value[:40]!r})"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"


def check_text(value: object, name: str) -> str:
    """``value`` if it is text that UTF-8 can express.

    Raises:
        DataError: it is not; ``name`` is the field it names.
    """
    if not isinstance(value, str):
        raise DataError(f"expected text, found {found(value)}", field=name)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # JSON can escape half of a surrogate pair; no tokenizer or file can take it.
        reason = f"not valid Unicode: a lone surrogate at character {error.start}"
        raise DataError(reason, field=name) from error
    return value


def _check_cover(steps: tuple[Step, ...], response: str) -> None:
    """Raise unless there are no steps yet, or the steps cover the response exactly."""
    if not steps:
        return
    position = 0
    for number, step in enumerate(steps):
        if not isinstance(step, Step):
            raise DataError(f"step {number}: expected a Step, found {found(step)}", field="steps")
        if step.label is not None:
            check_text(step.label, "steps")
        if step.start != position or step.end <= step.start:
            span = f"[{step.start}, {step.end})"
            reason = f"step {number} is {span}; it must start at {position} and not be empty"
            raise DataError(reason, field="steps")
        if step.text != response[step.start : step.end]:
            raise DataError(f"step {number}: its text is not that of the response", field="steps")
        position = step.end
    if position != len(response):
        reason = f"the steps end at {position}, the response at {len(response)}"
        raise DataError(reason, field="steps")


def _steps_from_json(items: object) -> tuple[Step, ...]:
    if not isinstance(items, list | tuple):
        raise DataError(f"expected a list, found {found(items)}", field="steps")
    steps = []
    for number, item in enumerate(items):
        try:
            steps.append(Step(item["text"], item["start"], item["end"], item.get("label")))
        except (KeyError, TypeError, AttributeError) as error:
            reason = f"step {number}: expected text, start, end, found {found(item)}"
            raise DataError(reason, field="steps") from error
    return tuple(steps)


def _json_line(data: object) -> bytes:
    try:
        return json.dumps(data, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        # Half a surrogate pair somewhere in meta: escaped, it survives the round trip.
        return json.dumps(data).encode() + b"\n"
