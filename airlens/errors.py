"""Every error airlens raises on purpose, so that callers can catch one base class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from numbers import Integral
from typing import Any


class AirlensError(Exception):
    """Base class: a message a person can act on, without a traceback into our internals.

    Args:
        message: what is wrong, and what may be given.
        argument: the argument that it is about, if one, such as "top". In Python the message then
            begins with ``top=…``, at the command line with the option as it is typed there.
        value: what was given.
    """

    def __init__(self, message: str, *, argument: str | None = None, value: object = None) -> None:
        self.reason, self.argument, self.value = message, argument, value
        super().__init__(f"{argument}={short(value)}: {message}" if argument else message)


class ConfigError(AirlensError, ValueError):
    """An argument or a combination of arguments that makes no sense."""


class ModelError(AirlensError, RuntimeError):
    """A model that cannot be found, loaded or wrapped."""


class EngineError(ConfigError, ModelError):
    """An engine that was asked for and cannot run this model."""


class NumbersError(ModelError):
    """A model gave NaN or infinity where a number was needed.

    Args:
        reason: what it gave, in which type, and what helps.
        place: the text and token concerned.
        item: index of the text among those given, where it is known.
        token: index of the token among those scored in it, where it is known.
    """

    def __init__(
        self, reason: str, *, place: str = "", item: int | None = None, token: int | None = None
    ) -> None:
        self.reason, self.item, self.token = reason, item, token
        super().__init__(f"{place}: {reason}" if place else reason)


class HeadError(AirlensError, ValueError):
    """A head that does not exist in the model, or cannot be parsed."""


class AblationError(AirlensError, RuntimeError):
    """An ablation that did not take place: a hook that never fired, or a mode out of place."""


class RunError(AirlensError, RuntimeError):
    """A scoring run that cannot go on: its folder is taken, full, or of another run."""


class WriteError(RunError):
    """A file or folder that could not be written: a full disk, no permission.

    Args:
        place: what was written.
        cause: what the system said.
    """

    def __init__(self, place: object, cause: OSError) -> None:
        self.cause = cause
        super().__init__(
            f"{place} could not be written ({cause.strerror or cause}): make room, or name another "
            "place; what was there before is unchanged"
        )


class DataError(AirlensError, ValueError):
    """Data that cannot be used: the message says which file, line and field, and what is wrong.

    Args:
        message: what is wrong and what was found.
        file: the file it was found in, if any.
        line: 1-based line or row number, if any.
        field: the field (column) concerned, if any.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        field: str | None = None,
    ) -> None:
        self.file, self.line, self.field = file, line, field
        where = [str(file)] if file is not None else []
        where += [f"line {line}"] if line is not None else []
        where += [f"field {field!r}"] if field is not None else []
        super().__init__(f"{', '.join(where)}: {message}" if where else message)
        self.reason = message


def need_count(value: object, argument: str, least: int = 1) -> int:
    """``value`` as an int if it is a whole number of at least ``least``, else `ConfigError`."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or int(value) < least:  # type: ignore[call-overload]
        raise ConfigError(
            f"give a whole number of at least {least}", argument=argument, value=value
        )
    return int(value)  # type: ignore[call-overload,no-any-return]


def need_table(value: Any, argument: str) -> Any:
    """``value`` if it is a data frame, else a :class:`ConfigError` that names it ``argument``.

    For a result, which holds several tables, the message says which.
    """
    if hasattr(value, "columns") and hasattr(value, "iloc"):
        return value
    tables = [name for name, item in _parts(value).items() if hasattr(item, "iloc")]
    hint = f", such as its .{', .'.join(tables)}" if tables else ""
    raise ConfigError(f"{argument}: expected a DataFrame{hint}, found a {type(value).__name__}")


def need_columns(frame: Any, columns: Iterable[str], who: str) -> None:
    """Raise a :class:`DataError` that names the columns ``who`` needs and a data frame lacks."""
    need_table(frame, who)
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        have = ", ".join(map(str, frame.columns)) or "none"
        raise DataError(f"{who} needs the column(s) {', '.join(missing)}; the frame has: {have}")


def _parts(value: object) -> dict[str, object]:
    return dict(getattr(value, "__dict__", {}))


def one_of(value: object, names: Iterable[str]) -> str:
    """Text for an error message, "use one of a, b, c", with the name that was probably meant.

    >>> one_of("unifrom", ["uniform", "zero"])
    "use one of uniform, zero (did you mean 'uniform'?)"
    """
    known = list(names)
    close = get_close_matches(str(value).lower(), known, 1) if isinstance(value, str) else []
    guess = f" (did you mean {close[0]!r}?)" if close else ""
    return f"use one of {', '.join(known)}{guess}"


def short(value: object) -> str:
    """``repr`` of a value, cut to a length that fits a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}…"


def described(value: object) -> str:
    """A value named as in JSON, for an error message: "null", "a number (3)", "a list of 2"."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case int() if value.bit_length() > 14_000:  # more digits than Python writes
            return f"a number of {value.bit_length():,} bits"
        case int() | float():
            return f"a number ({str(value)[:40]})"
        case str():
            return f"text ({value[:40]!r})"
        case list() | tuple():
            return f"a list of {len(value)}"
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"


# What torch says of the host on Linux and macOS, of the host on Windows, and of an accelerator.
_NO_MEMORY = ("allocate memory", "not enough memory", "out of memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on an accelerator or on the host."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(x in str(error).lower() for x in _NO_MEMORY)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
