"""How a command ends: errors in a sentence, an interrupt that says how to go on, exit statuses.

0: done. 1: a check failed (`airlens doctor`). 2: wrong usage or data. 130: Ctrl+C. 143: SIGTERM.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

import typer

from airlens.errors import AirlensError

from .plain_help import PlainGroup

# Not the program's fault, and nothing that a traceback explains.
_OF_THE_MACHINE = {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EROFS, errno.EMFILE}
_OF_THE_MACHINE |= {getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has no quota error
# What the running command says that it keeps when it is interrupted.
_kept: list[Callable[[], str]] = []


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, which ends a command as Ctrl+C does; holds the exit status."""


class Interrupted(Exception):
    """A command was interrupted; the message says what is kept and how to go on."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


def when_interrupted(kept: Callable[[], str]) -> None:
    """Let an interrupt of this command say what it leaves: ``kept`` is called when there is one.

    It returns a sentence about what the same command, typed again, goes on from. An empty text
    means that nothing is kept, which is also what is said where this was not called.
    """
    _kept[:] = [kept]


def kept_in(folder: Path | None, what: str) -> Callable[[], str]:
    """For :func:`when_interrupted`: a folder where each finished piece is kept."""

    def kept() -> str:
        if folder is None:
            return ""
        return f"{what} is kept in {folder}." if any(folder.rglob("*.*")) else ""

    return kept


class Group(PlainGroup):
    """The commands; an error names an option as it is typed, an interrupt what is kept."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        _kept.clear()
        try:
            return super().invoke(ctx)
        except AirlensError as error:
            _as_typed(error, self.commands.get(ctx.invoked_subcommand or ""))
            raise
        except KeyboardInterrupt as stop:
            raise _interrupted(stop) from None


def _as_typed(error: AirlensError, command: Any) -> None:
    """Let the message name the option in place of the argument of the library."""
    name = error.argument
    for param in command.params if command is not None and name else []:
        if name and param.name == name:
            typed = max(param.opts, key=len) if param.param_type_name == "option" else name.upper()
            # "raise max_tokens to …": a name that is no English word is meant
            reason = error.reason.replace(name, typed) if "_" in name else error.reason
            error.args = (f"{typed} {error.value}: {reason}",)


def _interrupted(stop: KeyboardInterrupt) -> Interrupted:
    kept = ""
    for say in _kept:
        with suppress(Exception):  # a folder that cannot be read: then we do not know
            kept = say()
    how = "terminated" if isinstance(stop, Terminated) else "interrupted"
    if kept:
        message = f"{how}. {kept} To go on:\n  {command_line()}"
    else:
        message = f"{how}; nothing was kept. To start again:\n  {command_line()}"
    return Interrupted(message, _status(stop))


def _status(stop: KeyboardInterrupt) -> int:
    return int(stop.args[0]) if isinstance(stop, Terminated) else 130


def command_line() -> str:
    """The running command as it can be typed again."""
    program = Path(sys.argv[0])
    words = [program.name.removesuffix(".exe")]
    if program.name == "__main__.py":
        words = ["python", "-m", "airlens.cli" if program.parent.name == "cli" else "airlens"]
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return join([*words, *sys.argv[1:]])


def say(message: str, colour: str | None = None) -> None:
    """Print to stderr, in colour only where a person looks and has not set NO_COLOR."""
    plain = False if os.environ.get("NO_COLOR") else None
    typer.secho(f"airlens: {message}", err=True, fg=colour, color=plain)


def fail(message: str) -> NoReturn:
    """Say on stderr what went wrong, and exit with status 2."""
    say(message, typer.colors.RED)
    sys.exit(2)


def run(app: Callable[[], Any]) -> None:
    """Run the command line; an error a person can act on is one line, not a traceback."""
    _catch_signals()
    _print_anything()
    try:
        app()
    except AirlensError as error:
        fail(str(error))
    except Interrupted as stop:
        _leave(str(stop), stop.status)
    except KeyboardInterrupt as stop:  # before a command began
        _leave("interrupted", _status(stop))
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        place = f"{error.filename}: " if error.filename else ""
        fail(f"{place}{error.strerror}")


def _leave(message: str, status: int) -> NoReturn:
    if os.environ.get("RANK", "0") == "0":  # of several processes of one training only the first
        typer.echo(err=True)  # a progress bar has left its line open
        say(message)
    sys.exit(status)


def _catch_signals() -> None:
    """SIGTERM and a closed terminal end a command as Ctrl+C does, unless they are ignored."""

    def stop(number: int, frame: object) -> NoReturn:
        raise Terminated(128 + number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


def _print_anything() -> None:
    """A terminal that is not UTF-8 shows "?" for what it cannot, instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
