"""Make traces of records, one by one: what a layout says of a record, its steps, domain and id."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from airlens.errors import DataError

from .columns import Columns, Fields, answer_of, domain_of, id_of
from .conversations import Scored
from .drafts import Draft, ignored
from .items import Record, Rejected
from .layouts import read_record
from .plain_values import Unreadable, plain_record
from .readings import describe
from .step import Step
from .step_lists import given_steps
from .steps import Splitter, split_steps
from .trace import NEW_FIELDS, OWN_FIELDS, Trace, check_text, upgraded

log = logging.getLogger(__name__)

# As the domain column: use the name of the file as domain.
FILE_DOMAIN = "@file"
# Roles of columns that airlens's own files have fields for.
_OWN_ROLES = ("prompt", "response", "steps", "messages", "system", "thinking", "answer")
# Fields of every trace in a file of airlens 0.1.
_WRITTEN_BY_0_1 = frozenset({"id", "prompt", "response", "domain", "steps", "meta"})
ID_DIGITS = 16  # of the SHA-256 that identifies a trace without an id: 64 bits


@dataclass
class TraceBuilder:
    """Makes traces of records; holds the state between records, such as the ids seen.

    Attributes:
        said: how records were read, in words, and how many were read so.
    """

    columns: Columns
    cut: Splitter | None  # None: use given steps, else split as the layout says
    unique: bool
    last: Draft | None = None
    records: int = 0
    domain_seen: bool = False
    ids: dict[str, int] = field(default_factory=dict)
    said: Counter[str] = field(default_factory=Counter)

    def __call__(self, record: Record) -> Iterator[Trace | Rejected]:
        """The trace of a record, or those of all its responses; what fails, with the reason."""
        try:
            yield from self._traces(record)
        except DataError as error:
            yield _rejected(record, error)
        except RecursionError:
            yield Rejected(record.file, record.line, None, "nested too deep")

    def _traces(self, record: Record) -> Iterator[Trace | Rejected]:
        data = Fields(plain_record(record.data))
        own = self._own(record, data)
        if own is not None:
            self._say({"layout": "traces that airlens wrote"})
            yield own
            return
        made = self.last = read_record(data, self.columns, self.last)
        if made.steps is None and not made.many:
            made.steps, made.columns["steps"] = given_steps(data, self.columns)
        every = self.columns.generations == "all" and made.many
        if every:
            made.take_all()
        shared = self._shared(record, data, made, every)
        rivals = (data[name] for name in shared.reading.get("ignored", ()))
        self._say(shared.reading, any(str(value) not in made.prompt for value in rivals))
        if not every:
            response = made.responses[made.chosen] if made.responses else Scored("")
            yield self._with_response(shared, made, response, made.chosen)
            return
        for index, response in enumerate(made.responses):
            named = replace(shared, id=f"{shared.id}#{index}")
            try:
                yield self._with_response(named, made, response, index)
            except DataError as error:
                yield _rejected(record, error)

    def _shared(self, record: Record, data: Fields, made: Draft, every: bool) -> Trace:
        """The trace without its response, and with what is said of the columns."""
        columns = {role: list(names) for role, names in made.columns.items() if names}
        if self.cut is not None:
            columns.pop("steps", None)
        domain, domain_column = self._domain(record, data)
        given, id_column = id_of(data, self.columns)
        answer, answer_column = answer_of(data, self.columns, made.used())
        if made.answer and self.columns.answer is None:
            answer, answer_column = made.answer, None
        for role, name in (("answer", answer_column), ("domain", domain_column), ("id", id_column)):
            columns |= {role: [name]} if name is not None and name != role else {}
        used = {*made.used(), domain_column, id_column}
        left = {name: value for name, value in data.items() if name not in used}
        unread = [name for name, value in left.items() if isinstance(value, Unreadable)]
        # All responses to a problem share the id that the first would have.
        scored = made.responses if every else made.responses[made.chosen :]
        first = next((r.text for r in scored if isinstance(r, Scored)), "")
        reading = {
            "layout": made.reading["layout"],
            "columns": columns,
            "ignored": [name for name in ignored(data, made) if name != answer_column],
            "left_out": unread,
            **made.reading,
        }
        return Trace(
            self._identity(given, id_column, made.prompt, first),
            made.prompt,
            "",
            domain,
            meta={name: value for name, value in left.items() if name not in unread},
            turns=tuple(made.turns),
            tools=tuple(made.tools),
            answer=answer,
            reading={key: value for key, value in reading.items() if value not in ([], {})},
        )

    def _with_response(
        self, shared: Trace, made: Draft, response: Scored | DataError, index: int
    ) -> Trace:
        if isinstance(response, DataError):
            raise response
        if not made.prompt and not response.text:
            names = made.columns["response"] or made.columns["prompt"] or (None,)
            raise DataError("prompt and response are both empty", field=names[-1])
        steps, known, more = self._steps(made, response.text)
        if made.many:
            more |= {"generation": index, "generations": len(made.responses)}
        return replace(
            shared,
            response=response.text,
            thinking=response.thinking,
            steps=steps,
            step_meta=known,
            reading={**shared.reading, **more},
        )

    def _steps(
        self, made: Draft, response: str
    ) -> tuple[tuple[Step, ...], tuple[dict[str, Any], ...], dict[str, Any]]:
        """The steps, what else is known of each, and what belongs into `Trace.reading`."""
        if self.cut is not None:
            return self.cut(response), (), {}
        if made.steps is None or not response:
            return split_steps(response, made.natural), (), {}
        return made.steps.placed(response)

    def _own(self, record: Record, fields: Fields) -> Trace | None:
        """The trace that `save_traces` or a selection wrote, now or in airlens 0.1."""
        data = dict(fields.data)
        named = [role for role in _OWN_ROLES if self.columns.names(role)]
        if named or not isinstance(data.get("meta"), Mapping):
            return None
        if not set(data) >= NEW_FIELDS:
            if NEW_FIELDS & set(data) - {"answer"} or not set(data) >= _WRITTEN_BY_0_1:
                return None
            data = upgraded(data)
            data["answer"], _ = answer_of(Fields({**data, **data["meta"]}), self.columns, ())
        if not _are_spans(data["steps"]):
            return None
        # A selection's line also has the record that it was read from: meta has its columns.
        other = {name: data[name] for name in data if name not in (*OWN_FIELDS, "record")}
        prompt, response = (check_text(data[name], name) for name in ("prompt", "response"))
        meta = {**other, **data["meta"]}
        given, id_column = id_of(Fields({**meta, **data}), self.columns)
        data |= {"id": self._identity(given, id_column, prompt, response), "meta": meta}
        if self.columns.domain is not None:
            data["domain"], _ = self._domain(record, Fields({**meta, **data}))
        trace = Trace.from_json(data)
        if self.columns.refuses("prompt"):
            trace = trace.without_prompt()
        if self.cut is not None:
            return trace.with_steps(self.cut)
        return trace.with_steps("auto") if self.columns.refuses("steps") else trace

    def _domain(self, record: Record, data: Fields) -> tuple[str, str | None]:
        if self.columns.domain == FILE_DOMAIN:
            self.domain_seen = True
            return Path(record.file).name.split(".")[0], None
        named = self.columns.names("domain")
        if named is None or named in data or named.strip().lower() in data.own:
            self.domain_seen = True
        return domain_of(data, self.columns)

    def _identity(self, given: str | None, column: str | None, prompt: str, response: str) -> str:
        identity = given or content_hash(prompt, response)
        if not self.unique:
            return identity
        count = self.ids[identity] = self.ids.get(identity, 0) + 1
        if count == 1:
            return identity
        if given is not None:
            raise DataError(f"given before: {given!r}", field=column)
        return f"{identity}-{count}"

    def _say(self, reading: Mapping[str, Any], rivals: bool = False) -> None:
        """Count how a record was read; the first time it is logged.

        ``rivals``: another column could have been meant, whose text is not in the prompt anyway.
        """
        said = describe(reading)
        if said and not self.said[said]:
            chosen = self.columns == Columns() and rivals
            log.log(logging.WARNING if chosen else logging.INFO, "%s", said)
        self.said[said] += 1


def _rejected(record: Record, error: DataError) -> Rejected:
    return Rejected(record.file, record.line, error.field, error.reason)


def content_hash(prompt: str, response: str) -> str:
    """The id of a trace without a given one: the same for the same texts in any file."""
    # Half a surrogate pair is refused with its field where the trace is made, not here.
    both = [text.encode("utf-8", "surrogatepass") for text in (prompt, response)]
    digest = hashlib.sha256(b"\0".join(both))
    return digest.hexdigest()[:ID_DIGITS]


def _are_spans(steps: object) -> bool:
    """Whether steps have the places that `Trace.to_json` gives them."""
    return isinstance(steps, list) and all(
        isinstance(step, Mapping) and {"text", "start", "end"} <= set(step) for step in steps
    )
