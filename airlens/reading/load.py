"""Load reasoning traces from files, data frames and hub data sets, whatever their columns.

A record that makes no trace is an error that names file, line and field; with ``on_error="skip"``
it is listed, with the reason, in `Traces.skipped`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from airlens.errors import ConfigError, DataError
from airlens.steps import SPLITTERS, split_steps
from airlens.trace import (
    NEW_FIELDS,
    OWN_FIELDS,
    UNALIGNED,
    Splitter,
    Step,
    Trace,
    check_text,
    upgraded,
)

from .align_steps import align_steps
from .columns import (
    Columns,
    Draft,
    GivenSteps,
    Layout,
    answer_of,
    domain_of,
    id_of,
    layout_of,
    steps_of,
)
from .record_files import Record, Rejected
from .records import iter_records

# As the domain column: use the name of the file as domain.
FILE_DOMAIN = "@file"
# Fields of every trace in a file of airlens 0.1.
_WRITTEN_BY_0_1 = frozenset({"id", "prompt", "response", "domain", "steps", "meta"})
ID_DIGITS = 16  # of the SHA-256 that identifies a trace without an id: 64 bits


class Traces(list[Trace]):
    """Traces in the order of their source.

    Attributes:
        source: what they were loaded from, as text.
        skipped: the records that made no trace, with file, line, field and reason.
    """

    def __init__(
        self, traces: Iterable[Trace] = (), *, source: str = "", skipped: Iterable[Rejected] = ()
    ) -> None:
        super().__init__(traces)
        self.source = source
        self.skipped = list(skipped)


def load_traces(
    source: Any,
    *,
    prompt: str | None = None,
    response: str | None = None,
    steps: str | None = None,
    domain: str | None = None,
    id: str | None = None,
    messages: str | None = None,
    split: str = "train",
    config: str | None = None,
    splitter: str | re.Pattern[str] | Splitter = "auto",
    on_error: Literal["raise", "skip"] = "raise",
    limit: int | None = None,
) -> Traces:
    r"""Load traces.

    The columns of airlens's own files, GSM8K, MATH, s1K, LIMO, OpenR1-Math, chat ``messages`` and
    plain ``text`` are known; others are named by argument. All other columns are kept in
    `Trace.meta`.

    Args:
        source: a file (JSON lines, JSON, CSV, TSV, Parquet, Arrow; ``.gz``, ``.zst``), a folder,
            a glob, the name of a hub data set, a ``datasets.Dataset``, a data frame, or records.
        prompt: the column with the prompt.
        response: the column with the response, used unchanged: ``response="answer"`` keeps the
            calculator notes of GSM8K, which are left out otherwise.
        steps: the column with the steps: texts, or objects with ``text`` and perhaps ``label``.
        domain: the column with the domain, the group within which samples are ranked.
        id: the column with the id. Without one, and without a column ``id``, the id is a hash of
            prompt and response.
        messages: the column with a chat; the assistant's last turn is the response.
        split: which split of a data set that has several.
        config: which configuration of a hub data set.
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
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error is 'raise' or 'skip', not {on_error!r}")
    columns = Columns(prompt, response, steps, domain, id, messages)
    name = source if isinstance(source, str) else _describe(source)
    traces = Traces(source=name)
    for item in iter_traces(
        source, columns, split=split, config=config, splitter=splitter, limit=limit
    ):
        if isinstance(item, Trace):
            traces.append(item)
        elif on_error == "raise":
            raise item.error
        else:
            traces.skipped.append(item)
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
    split: str = "train",
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
    split: str = "train",
    config: str | None = None,
    splitter: str | re.Pattern[str] | Splitter = "auto",
    limit: int | None = None,
    unique: bool = True,
    stream: bool | None = None,
) -> Iterator[tuple[Record | Rejected, Trace | Rejected]]:
    """The items of `iter_traces`, each with its record, which has file and line.

    The arguments are those of `iter_traces`; with ``stream`` a hub data set is read over the
    network rather than downloaded, by default only where there is a limit.
    """
    if limit is not None and limit < 0:
        raise ConfigError(f"limit is a number of traces, not {limit!r}")
    if columns and columns.messages and (columns.prompt or columns.response):
        raise ConfigError("messages holds prompt and response: name it, or those two")
    builder = _Builder(columns or Columns(), _cutter(splitter), unique)
    # For a few records a large hub data set need not be downloaded.
    over_network = limit is not None if stream is None else stream
    return _limited(source, builder, split, config, limit, over_network)


def _limited(
    source: Any,
    builder: _Builder,
    split: str,
    config: str | None,
    limit: int | None,
    stream: bool,
) -> Iterator[tuple[Record | Rejected, Trace | Rejected]]:
    if limit == 0:
        return
    count = 0
    for item in iter_records(source, split=split, config=config, stream=stream):
        made = builder(item) if isinstance(item, Record) else item
        yield item, made
        builder.records += 1
        count += isinstance(made, Trace)
        if count == limit:
            break
    if not builder.records and isinstance(source, str | Path):
        raise DataError("no records", file=str(source))
    if builder.records and builder.columns.domain and not builder.domain_seen:
        raise DataError("no record has this column", field=builder.columns.domain)


@dataclass
class _Builder:
    """Makes traces of records; holds the state between records, such as the ids seen."""

    columns: Columns
    cut: Splitter | None  # None: use given steps, else split as the layout says
    unique: bool
    layout: Layout | None = None
    records: int = 0
    domain_seen: bool = False
    ids: dict[str, int] = field(default_factory=dict)

    def __call__(self, record: Record) -> Trace | Rejected:
        try:
            return self._trace(record)
        except DataError as error:
            return Rejected(record.file, record.line, error.field, error.reason)
        except RecursionError:
            return Rejected(record.file, record.line, None, "nested too deep")

    def _trace(self, record: Record) -> Trace:
        data = {name: _plain(value) for name, value in record.data.items()}
        own = self._own(data)
        if own is not None:
            return own
        if self.columns.domain in data:
            self.domain_seen = True
        self.layout = layout_of(data, self.columns, self.layout)
        draft = self.layout.read(data, self.columns)
        if not draft.prompt and not draft.response:
            raise DataError("prompt and response are both empty", field=self.layout.requires[-1])
        domain, domain_column = self._domain(record, data, self.layout)
        steps, step_meta = self._steps(data, draft)
        used = draft.used | {domain_column or "domain", self.columns.id or "id", "meta"}
        used |= {self.columns.steps or "steps"}
        meta = {name: value for name, value in data.items() if name not in used}
        meta |= self._given_meta(data)
        return Trace(
            self._identity(data, draft.prompt, draft.response),
            draft.prompt,
            draft.response,
            domain,
            steps,
            meta,
            turns=tuple(draft.turns),
            thinking=draft.thinking,
            answer=answer_of({**meta, **data}, draft.used),
            step_meta=step_meta,
            reading=draft.reading,
        )

    def _own(self, data: dict[str, Any]) -> Trace | None:
        """The trace that `save_traces` or a selection wrote, now or in airlens 0.1."""
        if self.columns != Columns() or not isinstance(data.get("meta"), Mapping):
            return None
        if not set(data) >= NEW_FIELDS:
            if NEW_FIELDS & set(data) - {"answer"} or not set(data) >= _WRITTEN_BY_0_1:
                return None
            data = upgraded(data)
            data["answer"] = answer_of({**data, **data["meta"]}, set())
        if not _are_spans(data["steps"]):
            return None
        self.domain_seen = True
        other = {name: value for name, value in data.items() if name not in OWN_FIELDS}
        text = (check_text(data[name], name) for name in ("prompt", "response"))
        data |= {"id": self._identity(data, *text), "meta": {**other, **data["meta"]}}
        trace = Trace.from_json(data)
        return trace if self.cut is None else trace.with_steps(self.cut)

    def _domain(
        self, record: Record, data: Mapping[str, Any], layout: Layout
    ) -> tuple[str, str | None]:
        if self.columns.domain != FILE_DOMAIN:
            return domain_of(data, layout, self.columns)
        self.domain_seen = True
        return Path(record.file).name.split(".")[0], None

    def _steps(
        self, data: Mapping[str, Any], draft: Draft
    ) -> tuple[tuple[Step, ...], tuple[dict[str, Any], ...]]:
        """The steps, and what else is known of each."""
        if self.cut is not None:
            return self.cut(draft.response), ()
        given = steps_of(data, self.columns) if draft.response else None
        if given is None:
            return split_steps(draft.response, draft.natural), ()
        steps, unaligned = align_steps(draft.response, given.texts, given.labels)
        if unaligned:
            draft.reading[UNALIGNED] = unaligned
        return steps, _step_meta(given, unaligned)

    def _given_meta(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The column ``meta`` that `save_traces` writes, merged into the meta."""
        given = data.get("meta")
        if not isinstance(given, Mapping):
            return {} if given is None else {"meta": given}
        return dict(given)

    def _identity(self, data: Mapping[str, Any], prompt: str, response: str) -> str:
        given = id_of(data, self.columns)
        identity = given or content_hash(prompt, response)
        if not self.unique:
            return identity
        count = self.ids[identity] = self.ids.get(identity, 0) + 1
        if count == 1:
            return identity
        if given is not None:
            raise DataError(f"the id {given!r} was given before", field=self.columns.id or "id")
        return f"{identity}-{count}"


def content_hash(prompt: str, response: str) -> str:
    """The id of a trace without a given one: the same for the same texts in any file."""
    digest = hashlib.sha256(prompt.encode() + b"\0" + response.encode())
    return digest.hexdigest()[:ID_DIGITS]


def _are_spans(steps: object) -> bool:
    """Whether steps have the places that `Trace.to_json` gives them."""
    return isinstance(steps, list) and all(
        isinstance(step, Mapping) and {"text", "start", "end"} <= set(step) for step in steps
    )


def _step_meta(given: GivenSteps, unaligned: list[int]) -> tuple[dict[str, Any], ...]:
    """What else is known of each step that was found, in the order of the trace's steps."""
    missing = set(unaligned)
    placed = [index for index in range(len(given.texts)) if index not in missing]
    if not placed or not any(given.extras):
        return ()
    return tuple({"index": index, **given.extras[index]} for index in placed)


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


def _plain(value: Any) -> Any:
    """The value as a plain JSON type: data frames have numbers, lists and nulls of their own."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return None if type(value).__name__ in ("NAType", "NaTType") else str(value)


def _describe(source: object) -> str:
    return str(source) if hasattr(source, "__fspath__") else f"<{type(source).__name__}>"
