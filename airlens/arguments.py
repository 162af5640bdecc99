"""What a public function is given, checked once by the types that it declares.

`checked` reads the annotations of a function and passes each argument through the reader of its
type: a ``TransformerBridge`` must be one, ``Heads`` become a `HeadSet`, ``Iterable[Trace]`` a list
of traces, an ``int`` is a whole number. Anything else is a :class:`ConfigError` (or the type's own
error) that names the argument and says what to give instead. The reader of a type stands beside it:
`reader` makes it known.

>>> @checked
... def repeated(text: str, times: int = 2) -> str:
...     return text * times
>>> repeated("ab", "three")
Traceback (most recent call last):
    ...
airlens.errors.ConfigError: times='three': give a whole number of at least 0
"""

from __future__ import annotations

import inspect
import math
from ast import literal_eval
from collections.abc import Callable, Iterable
from functools import partial, wraps
from numbers import Real
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from .errors import ConfigError, need_count, need_table, one_of
from .shares import share_or_count

P = ParamSpec("P")
R = TypeVar("R")
# Of a value and the name of its argument.
Reader = Callable[[Any, str], Any]
F = TypeVar("F", bound=Callable[..., Any])

# Whole numbers that have to be 1 at least; the others may be 0.
_POSITIVE = frozenset(
    {"n", "n_boot", "max_tokens", "max_tokens_per_batch", "max_new_tokens", "new_tokens", "most"}
    | {"batch_size", "part_rows", "key_length", "screen", "rows", "measured", "k"}
    | {"tokens"}
)
_READERS: dict[str, Reader] = {}


def reader(*types: str) -> Callable[[F], F]:
    """Make a function the reader of these annotations, as they are written."""

    def known(read: F) -> F:
        _READERS.update(dict.fromkeys(types, read))
        return read

    return known


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function, with what it is given checked by its annotations (see the module)."""
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **options)
        except TypeError:
            return function(*args, **options)  # Python says which argument is missing or unknown
        for name, value in given.arguments.items():
            parameter = signature.parameters[name]
            may_be_none = parameter.default is None or "| None" in str(parameter.annotation)
            read = None if value is None and may_be_none else _reader_of(parameter)
            if read is not None:
                given.arguments[name] = read(value, name)
        return function(*given.args, **given.kwargs)

    return call


def _reader_of(parameter: inspect.Parameter) -> Reader | None:
    """The reader of an argument, None where its type has none."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return None
    kind = str(parameter.annotation).removesuffix(" | None")
    if kind == "int":
        return partial(need_count, least=int(parameter.name in _POSITIVE))
    if kind.startswith("Literal["):
        return named(literal_eval(f"({kind[8:-1]},)"))
    return _READERS.get(kind)


def expected(what: str, value: object, name: str) -> ConfigError:
    """The error of an argument of another kind."""
    return ConfigError(f"{name}: expected {what}, found a {type(value).__name__}")


def each(read: Reader) -> Reader:
    """A reader of several values, or of one alone."""

    def several(value: Any, name: str) -> tuple[Any, ...]:
        single = isinstance(value, str) or not isinstance(value, Iterable)
        return tuple(read(item, name) for item in ([value] if single else value))

    return several


def named(names: Iterable[str]) -> Reader:
    """A reader of one of these names."""

    def name_of(value: Any, name: str) -> str:
        if value not in tuple(names):
            raise ConfigError(one_of(value, names), argument=name, value=value)
        return str(value)

    return name_of


@reader("float")
def number(value: Any, name: str) -> Any:
    """A number that is one, not NaN."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if is_number and not math.isnan(float(value)):
        return value
    raise ConfigError("give a number", argument=name, value=value)


@reader("str", "Mode", "Template", "Engine", "Long", "Precision", "Place", "Think")
def text(value: Any, name: str) -> str:
    """A text; whether it is a name that is known is asked where it is used."""
    if isinstance(value, str):
        return value
    raise ConfigError("give one text", argument=name, value=value)


@reader("str | Path")
def path(value: Any, name: str) -> str | Path:
    """A path."""
    if isinstance(value, str | Path):
        return value
    raise ConfigError("give a path", argument=name, value=value)


@reader("PreTrainedTokenizerBase")
def tokenizer(value: Any, name: str) -> Any:
    """A tokenizer, known by what it can do."""
    if callable(value) and hasattr(value, "encode") and hasattr(value, "decode"):
        return value
    raise expected("a tokenizer (model.tokenizer)", value, name)


@reader("PreTrainedModel")
def hf_model(value: Any, name: str) -> Any:
    """A model of transformers, or one that wraps it."""
    if hasattr(value, "parameters") and hasattr(value, "generate") and hasattr(value, "config"):
        return value
    raise expected("a Hugging Face model (model, tokenizer = al.load_hf(NAME))", value, name)


reader("pd.DataFrame")(need_table)
reader("Share", "float | int")(share_or_count)
reader("Sequence[Share]", "Sequence[float | int]")(each(share_or_count))
reader("Sequence[float]")(each(number))
reader("Sequence[int]", "tuple[int, ...]")(each(partial(need_count, least=1)))
reader("Sequence[str]", "Sequence[Mode]", "Iterable[str]")(each(text))
