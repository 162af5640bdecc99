"""Load reasoning traces from files, data frames and hub data sets, whatever their columns.

A record that makes no trace is an error that names file, line and field; with ``on_error="skip"``
it is listed, with the reason, in `Traces.skipped`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from airlens.arguments import checked
from airlens.errors import ConfigError, DataError

from .columns import GENERATIONS, Columns
from .items import Record, Rejected
from .records import iter_records
from .step import Step
from .steps import SPLITTERS, Splitter, split_steps
from .trace import Trace
from .trace_builder import TraceBuilder
from .trace_builder import content_hash as content_hash


class Traces(list[Trace]):
    """Traces in the order of their source.

    Attributes:
        source: what they were loaded from, as text.
        skipped: the records that made no trace, with file, line, field and reason.
        reading: which columns were read as what, in words, and of how many records.
        places: file and line of each trace, by its id.
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
        self.places: dict[str, str] = {}


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
    r"""Load traces from files, data frames, records or a hub data set, whatever their columns.

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
            `airlens.traces.steps.auto_how` says. Any other replaces given steps: "paragraph",
            "line", "sentence", a registered name, a compiled pattern, or a function
            from a response to its steps.
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
    for record, item in iter_located(source, columns, said=said, **how):
        if isinstance(item, Trace):
            traces.append(item)
            traces.places[item.id] = record.place
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
    builder = TraceBuilder(columns or Columns(), _cutter(splitter), unique)
    builder.said = Counter() if said is None else said
    # For a few records a large hub data set need not be downloaded.
    over_network = limit is not None if stream is None else stream
    return _limited(source, builder, split, config, limit, over_network)


def _limited(
    source: Any,
    builder: TraceBuilder,
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
