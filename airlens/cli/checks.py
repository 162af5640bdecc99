"""What is typed, checked when it is read: before a model is loaded or any work is done.

A function here is the ``parser`` of an option, so that every command with the option has its check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from airlens.heads import HeadSet

# The names that airlens has itself. Kept here as importing what they name takes seconds; a test
# compares them with the registries.
MODES = ("uniform", "zero", "mean")
DETECTORS = (
    *("retrieval", "retrieval_greedy", "qrhead", "locos"),
    *("retrieval_reasoning", "induction", "attribution", "causal"),
)
PARTS = ("lookup", "continuation")  # of an answer, which heads are scored by
DTYPES = ("float32", "bfloat16", "float16", "float64")
TEMPLATES = ("auto", "chat", "plain")
THINK = ("auto", "text")
KINDS = (  # of planted steps
    *("irrelevant", "irrelevant_loss", "other", "other_loss", "wrong_result", "wrong_numbers"),
    *("restated", "repeated", "memorised", "paraphrase"),
)
FORCINGS = ("sentence", "question", "hashes", "boxed")  # texts that ask for an answer
RIVALS = ("lalp", "fai", "waad")  # scores of rival papers that need passes of their own
SCHEMES = ("threshold", "linear", "softmax", "prefix", "uniform")


def choice(*names: str) -> Callable[[str], str]:
    """A parser that takes one of these names."""
    return _named(lambda: names)


def several(read: Callable[[str], str], *, some: bool = True) -> Callable[[str], str]:
    """A parser of names by comma, each read by ``read``; ``some``: at least one."""

    def each(text: str) -> str:
        names = [name.strip() for name in text.split(",") if name.strip()]
        if some and not names:
            raise typer.BadParameter("name at least one")
        return ",".join(map(read, names))

    return each


def offered(group: str, *names: str) -> Callable[[str], str]:
    """A parser that takes one of these names, or one that an installed package offers."""

    def known() -> Iterable[str]:
        from airlens.registry import offers

        return dict.fromkeys([*names, *offers(group)])

    return _named(known)


def splitter(text: str) -> str:
    """A splitter by name."""
    from airlens.traces.steps import SPLITTERS

    return _named(lambda: SPLITTERS)(text)


def distractor(text: str) -> str:
    """A kind of planted step."""
    return choice(*KINDS)(text)


def _named(known: Callable[[], Iterable[str]]) -> Callable[[str], str]:
    def read(text: str) -> str:
        from airlens.errors import one_of

        names = list(known())
        if text not in names:
            raise typer.BadParameter(f"{text}: {one_of(text, names)}")
        return text

    return read


def positive(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise typer.BadParameter(f"{text}: give a number above 0")
    return number


def share_or_count(text: str) -> Any:
    """A share or a count, as :mod:`airlens.shares` reads them."""
    from airlens.shares import share_or_count as read

    return _read(read, text)


def out_file(text: str) -> Path:
    """Where a file can be written."""
    from airlens.files import need_out_file

    return Path(_read(need_out_file, str(text)))


def out_folder(text: str) -> Path:
    """Where a folder is that can be written into, or can be made."""
    from airlens.files import need_out_folder

    return Path(_read(need_out_folder, str(text)))


def in_folder(text: str) -> Path:
    """A folder that is there."""
    path = Path(text).expanduser()
    if not path.is_dir():
        what = "a file, no folder" if path.exists() else "no such folder"
        raise typer.BadParameter(f"{text}: {what}")
    return path


def in_file(text: str) -> Path:
    """A file that is there and can be read."""
    path = Path(text).expanduser()
    if path.is_dir():
        raise typer.BadParameter(f"{text}: a folder, no file")
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise typer.BadParameter(f"{text}: no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise typer.BadParameter(f"{text}: cannot be read ({reason})") from error
    return path


def model_name(text: str) -> str:
    """A model's name; where it is clearly a path, something must be there."""
    from airlens.model.files import need_path

    return str(_read(need_path, text))


def device_map(text: str) -> Any:
    """How a model is spread over devices."""
    from airlens.model.placement import read_map

    return _read(read_map, text)


def max_memory(text: str) -> Any:
    """The memory of each device."""
    from airlens.model.placement import read_memory

    return _read(read_memory, text)


def planned_device(text: str) -> Any:
    """The device that a run is planned for."""
    from airlens.model.planned_devices import device_of

    return _read(device_of, text)


def heads_text(text: str) -> str:
    """Names of heads, or a file of them, which is read here only to see that it can be."""
    if text:
        _read(read_heads, text)
    return text


def read_heads(text: str) -> HeadSet:
    """The critical heads of a file that `airlens heads` wrote, or heads by name."""
    from airlens.heads import HeadSet, load_heads

    if text.endswith(".json") or Path(text).exists():
        return load_heads(text)
    return HeadSet.parse(text)


def traces_source(text: str) -> str:
    """A file, folder, glob or hub name; where it is clearly a path, something must be there."""
    from airlens.traces.records import need_path

    return str(_read(need_path, text)) if text else text


def _read(read: Callable[[str], Any], text: str) -> Any:
    """What ``read`` makes of the text, its error as one about the option."""
    from airlens.errors import AirlensError

    try:
        return read(text)
    except AirlensError as error:
        reason = error.reason if error.argument else str(error)
        shown = f"{text}: {reason}" if error.argument else reason
        raise typer.BadParameter(shown) from error
