"""Load reasoning traces from files, data frames and hub data sets, whatever their columns.

A record that makes no trace is an error that names file, line and field; with ``on_error="skip"``
it is listed, with the reason, in `Traces.skipped`.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from airlens.arguments import checked
from airlens.errors import ConfigError, DataError
from airlens.readings import describe
from airlens.steps import SPLITTERS, split_steps
from airlens.trace import (
    NEW_FIELDS,
    OWN_FIELDS,
    Splitter,
    Step,
    Trace,
    check_text,
    upgraded,
)

from .columns import GENERATIONS, Columns, Fields, answer_of, domain_of, id_of
from .conversations import Scored
from .drafts import Draft, ignored
from .items import Record, Rejected
from .layouts import read_record
from .plain_values import Unreadable, plain_record
from .records import iter_records
from .step_lists import given_steps

log = logging.getLogger(__name__)

# As the domain column: use the name of the file as domain.
FILE_DOMAIN = "@file"
# Roles of columns that airlens's own files have fields for.
_OWN_ROLES = ("prompt", "response", "steps", "messages", "system", "thinking", "answer")
# Fields of every trace in a file of airlens 0.1.
_WRITTEN_BY_0_1 = frozenset({"id", "prompt", "response", "domain", "steps", "meta"})
ID_DIGITS = 16  # of the SHA-256 that identifies a trace without an id: 64 bits


class Traces(list[Trace]):
    """Traces in the order of their source.

    Attributes:
        source: what they were loaded from, as text.
        skipped: the records that made no trace, with file, line, field and reason.
        reading: which columns were read as what, in words, and of how many records.
    """

    def __init__(
        self,
        traces: Iterable[Trace] = (),
        *,
        source: str = "",
        skipped: Iterable[Rejected] = (),
        reading: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(traces)
        self.source = source
        self.skipped = list(skipped)
        self.reading = dict(reading or {})


@checked
def load_traces(
    source: Any,
    *,
    prompt: str | None = None,
    response: str | None = None,
    steps: str | None = None,
    domain: str | None = None,
    id: str | None = None,
    messages: str | None = None,
    system: str | None = None,
    thinking: str | None = None,
    answer: str | None = None,
    generations: Literal["one", "all"] = "one",
    split: str | None = None,
    config: str | None = None,
    splitter: str | re.Pattern[str] | Splitter = "auto",
    on_error: Literal["raise", "skip"] = "raise",
    limit: int | None = None,
) -> Traces:
    r"""Load traces.

    The columns of most public data sets are known (the page "Data sets" of the documentation lists
    them), others are named by argument; "none" says that there is no such column. What was chosen
    is in `Traces.reading` and `Trace.reading`, and logged once. All other columns are kept in
    `Trace.meta`.

    Args:
        source: a file (JSON lines, JSON, CSV, TSV, Parquet, Arrow, Feather; also compressed), a
            folder, a glob, the name of a hub data set, a ``datasets.Dataset``, a data frame, an
            Arrow table, a dictionary of columns, or records.
        prompt: the column with the prompt, a text or turns; "none" or "": nothing stands before
            the response.
        response: the column with the response, used unchanged: ``response="answer"`` keeps the
            calculator notes of GSM8K, which are left out otherwise.
        steps: the column with the steps: texts, or objects with ``text`` and perhaps ``label``.
        domain: the column with the domain, the group within which samples are ranked; "@file": the
            file's name.
        id: the column with the id. Without one, and without a column ``id``, the id is a hash of
            prompt and response.
        messages: the column with a chat; the assistant's last turn is the response.
        system: the column with the system turn, beside a prompt or a chat.
        thinking: the column with the thought, which stands before the response.
        answer: the column with the final answer.
        generations: "one" takes of several responses to a problem the first that was verified,
            else the first; "all" makes a trace of each, with ids that end in #0, #1, ….
        split: which split of a data set or folder that has several; the default is "train".
        config: which configuration of a hub data set, or of its copy in a folder.
        splitter: "auto" takes the steps that are given, else lines for GSM8K, else what
            `airlens.steps.auto_how` says. Any other replaces given steps: "paragraph", "line",
            "sentence", a registered name, a compiled pattern, or a function from a response to its
            steps.
        on_error: what to do with a record that makes no trace.
        limit: how many traces to load at most.

    Raises:
        DataError: a record makes no trace (unless skipped), an id is given twice (likewise), the
            source cannot be found or read, or no record has the column ``domain``.
        ConfigError: an argument that makes no sense.

    Example:
        >>> load_traces([{"question": "1 + 1?", "answer": "1 + 1 = 2\n#### 2"}])[0].steps[1].text
        '#### 2'
    """
    if generations not in GENERATIONS:
        raise ConfigError(f"generations={generations!r}: use {' or '.join(GENERATIONS)}")
    columns = Columns(
        prompt=prompt,
        response=response,
        steps=steps,
        domain=domain,
        id=id,
        messages=messages,
        system=system,
        thinking=thinking,
        answer=answer,
        generations=None if generations == "one" else generations,
    )
    how: dict[str, Any] = {"split": split, "config": config, "splitter": splitter, "limit": limit}
    return read_traces(source, columns, on_error=on_error, **how)


def read_traces(source: Any, columns: Columns, *, on_error: str = "raise", **how: Any) -> Traces:
    """:func:`load_traces` with the columns as one object; ``how``: as in `iter_traces`."""
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error is 'raise' or 'skip', not {on_error!r}")
    traces = Traces(source=source if isinstance(source, str) else _describe(source))
    said: Counter[str] = Counter()
    for _, item in iter_located(source, columns, said=said, **how):
        if isinstance(item, Trace):
            traces.append(item)
        elif on_error == "raise":
            raise item.error
        else:
            traces.skipped.append(item)
    traces.reading = dict(said)
    return traces


def first_of_each_domain(traces: Iterable[Trace], n: int | None) -> list[Trace]:
    """The first ``n`` traces of every domain, in their order; None: all."""
    counts: dict[str, int] = {}
    chosen = []
    for trace in traces:
        counts[trace.domain] = counts.get(trace.domain, 0) + 1
        if n is None or counts[trace.domain] <= n:
            chosen.append(trace)
    return chosen


def iter_traces(
    source: Any,
    columns: Columns | None = None,
    *,
    split: str | None = None,
    config: str | None = None,
    splitter: str | re.Pattern[str] | Splitter = "auto",
    limit: int | None = None,
    unique: bool = True,
) -> Iterator[Trace | Rejected]:
    """Traces one by one, with a `Rejected` in place of each record that makes none.

    Args:
        source: as in `load_traces`.
        columns: names of columns, for layouts that are not recognised.
        split: as in `load_traces`.
        config: as in `load_traces`.
        splitter: as in `load_traces`.
        limit: how many traces to yield at most.
        unique: make ids unique: a given id that comes again is rejected, the hash of a repeated
            text gets a number. Takes some 100 bytes per trace; without it memory stays constant.

    Raises:
        DataError: the source cannot be found, or no record has the column ``domain``.
        ConfigError: an argument that makes no sense.
    """
    located = iter_located(
        source, columns, split=split, config=config, splitter=splitter, limit=limit, unique=unique
    )
    return (made for _, made in located)


def iter_located(
    source: Any,
    columns: Columns | None = None,
    *,
    split: str | None = None,
    config: str | None = None,
    splitter: str | re.Pattern[str] | Splitter = "auto",
    limit: int | None = None,
    unique: bool = True,
    stream: bool | None = None,
    said: Counter[str] | None = None,
) -> Iterator[tuple[Record | Rejected, Trace | Rejected]]:
    """The items of `iter_traces`, each with its record, which has file and line.

    The arguments are those of `iter_traces`; with ``stream`` a hub data set is read over the
    network rather than downloaded, by default only where there is a limit. ``said`` counts how
    records were read, in words.
    """
    if limit is not None and limit < 0:
        raise ConfigError(f"limit is a number of traces, not {limit!r}")
    builder = _Builder(columns or Columns(), _cutter(splitter), unique)
    builder.said = Counter() if said is None else said
    # For a few records a large hub data set need not be downloaded.
    over_network = limit is not None if stream is None else stream
    return _limited(source, builder, split, config, limit, over_network)


def _limited(
    source: Any,
    builder: _Builder,
    split: str | None,
    config: str | None,
    limit: int | None,
    stream: bool,
) -> Iterator[tuple[Record | Rejected, Trace | Rejected]]:
    if limit == 0:
        return
    count = 0
    for item in iter_records(source, split=split, config=config, stream=stream):
        builder.records += 1
        for made in builder(item) if isinstance(item, Record) else (item,):
            yield item, made
            count += isinstance(made, Trace)
            if count == limit:
                return
    if not builder.records and isinstance(source, str | Path):
        raise DataError("no records", file=str(source))
    if builder.records and builder.columns.domain and not builder.domain_seen:
        raise DataError("no record has this column", field=builder.columns.domain)


@dataclass
class _Builder:
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
    digest = hashlib.sha256(prompt.encode() + b"\0" + response.encode())
    return digest.hexdigest()[:ID_DIGITS]


def _are_spans(steps: object) -> bool:
    """Whether steps have the places that `Trace.to_json` gives them."""
    return isinstance(steps, list) and all(
        isinstance(step, Mapping) and {"text", "start", "end"} <= set(step) for step in steps
    )


def _cutter(splitter: object) -> Splitter | None:
    if splitter == "auto":
        return None
    if isinstance(splitter, re.Pattern):
        return partial(split_steps, how="regex", pattern=splitter)
    if isinstance(splitter, str) and splitter in SPLITTERS:
        return partial(split_steps, how=splitter)
    if callable(splitter):
        cut: Callable[[str], tuple[Step, ...]] = splitter
        return cut
    names = ", ".join(SPLITTERS)
    raise ConfigError(f"unknown splitter {splitter!r}: {names}, a compiled pattern or a function")


def _describe(source: object) -> str:
    return str(source) if hasattr(source, "__fspath__") else f"<{type(source).__name__}>"
