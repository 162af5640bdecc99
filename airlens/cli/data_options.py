"""The options of every command that reads traces, declared once: columns, split, steps, errors."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import checks
from .options import name_option, with_shared

if TYPE_CHECKING:
    from airlens.traces.columns import Columns
    from airlens.traces.load import Traces

PANEL = "Data"


@dataclass(frozen=True)
class DataOptions:
    """What was typed about the data; see :func:`airlens.load_traces` for each.

    Args:
        columns: the columns named, by role.
        split: of a data set or folder that has several.
        config: of a hub data set, or its copy in a folder.
        splitter: how responses are cut.
        limit: how many traces at most.
        on_error: "skip" or "raise".
    """

    columns: Columns
    split: str | None
    config: str | None
    splitter: str
    limit: int | None
    on_error: str

    def how(self) -> dict[str, Any]:
        """The options by name, for what reads records one by one."""
        return dict(vars(self))

    def traces(self, source: Any) -> Traces:
        """The traces of a source; rows that were skipped are counted on stderr.

        Raises:
            DataError: a row that makes no trace under ``on_error="raise"``, or none that makes one.
        """
        from airlens.errors import DataError
        from airlens.traces.load import read_traces

        traces = read_traces(source, **self.how())
        reasons = Counter(bad.counted_as for bad in traces.skipped)
        if traces.skipped and not traces:
            first = traces.skipped[0]
            raise DataError(first.reason, file=first.file, line=first.line, field=first.field)
        if reasons:
            typer.echo(f"airlens: {len(traces.skipped)} rows skipped", err=True)
        for reason, n in reasons.most_common(5):
            typer.echo(f"  {n} × {reason}", err=True)
        return traces


def _column(name: str, what: str) -> Any:
    text = f"Column with {what}."
    return typer.Option(f"--{name}-column", help=text, metavar="COLUMN", rich_help_panel=PANEL)


def _options(limit: int | None, limit_names: tuple[str, ...], on_error: str) -> list[Parameter]:
    """The parameters of the shared options."""
    none = "none: there is none"
    declared: list[tuple[str, Any, Any]] = [
        ("prompt_column", str | None, _column("prompt", f"the prompt; {none}")),
        ("response_column", str | None, _column("response", "the response")),
        ("messages_column", str | None, _column("messages", f"a chat; {none}")),
        ("system_column", str | None, _column("system", f"the system turn; {none}")),
        ("thinking_column", str | None, _column("thinking", f"the thought; {none}")),
        ("steps_column", str | None, _column("steps", f"the steps; {none}")),
        ("answer_column", str | None, _column("answer", f"the final answer; {none}")),
        ("domain_column", str | None, _column("domain", "the domain; @file: the file's name")),
        ("id_column", str | None, _column("id", "the id; none: a hash of the text")),
        (
            "generations",
            str,
            name_option(
                "Of several responses to a problem: one (the first verified, else the first), all.",
                "one",
                "all",
                panel=PANEL,
            ),
        ),
        ("split", str | None, typer.Option(help="Split (default: train).", rich_help_panel=PANEL)),
        (
            "config",
            str | None,
            typer.Option(help="Configuration of a hub data set.", rich_help_panel=PANEL),
        ),
        (
            "splitter",
            str,
            typer.Option(
                parser=checks.splitter,
                metavar="NAME",
                help="Steps where none are given: auto, paragraph, line, sentence.",
                rich_help_panel=PANEL,
            ),
        ),
        (
            "limit",
            int | None,
            typer.Option(*limit_names, min=1, help="Most traces.", rich_help_panel=PANEL),
        ),
        (
            "on_error",
            str,
            name_option("What to do with a bad row: skip or raise.", "skip", "raise", panel=PANEL),
        ),
    ]
    defaults = {"generations": "one", "splitter": "auto", "limit": limit, "on_error": on_error}
    return [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=defaults.get(name),
            annotation=Annotated[kind, option],
        )
        for name, kind, option in declared
    ]


def reads_data(
    *,
    limit: int | None = None,
    limit_names: tuple[str, ...] = ("--limit",),
    on_error: str = "raise",
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the shared options, which it gets as ``data_options``.

    The choice of columns is said on stderr while the command runs, once.

    Args:
        limit: default of the largest number of traces.
        limit_names: how that option is spelt.
        on_error: default of ``--on-error``.
    """
    shared = _options(limit, limit_names, on_error)
    names = [parameter.name for parameter in shared]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**options: Any) -> None:
            typed = _typed({name: options.pop(name) for name in names})
            with _choices_said(quiet=bool(options.get("quiet"))):
                command(**options, data_options=typed)

        return with_shared(command, "data_options", shared, run)

    return decorate


def _typed(given: dict[str, Any]) -> DataOptions:
    from airlens.traces.columns import Columns

    suffix = "_column"
    columns = {name.removesuffix(suffix): given.pop(name) for name in list(given) if suffix in name}
    every = given.pop("generations") == "all"
    return DataOptions(Columns(**columns, generations="all" if every else None), **given)


@contextmanager
def _choices_said(quiet: bool) -> Iterator[None]:
    """Say on stderr what the reader chose, each sentence once; quiet: only between rivals."""
    log, said = logging.getLogger("airlens.traces"), set[str]()

    class Said(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            if message not in said:
                said.add(message)
                typer.echo(f"airlens: {message}", err=True)

    handler = Said(logging.WARNING if quiet else logging.INFO)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
