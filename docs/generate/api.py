"""The API pages: one for each room of the package, every public name with its docstring.

A public name without a docstring, or a public method without one, stops the build.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import airlens as al

from . import first_sentence, write_if_new
from .rooms import GROUND, READING, room_of


def names_by_room() -> dict[str, list[str]]:
    """Every public name of `airlens` under the room it lives in."""
    rooms: dict[str, list[str]] = {}
    for name in al.__all__:
        found = getattr(al, name)
        if not name.startswith("__") and not inspect.ismodule(found):
            rooms.setdefault(room_of(found.__module__), []).append(f"airlens.{name}")
    rooms["figures"] = [f"airlens.figures.{name}" for name in al.figures.__all__]
    errors = inspect.getmembers(sys.modules["airlens.errors"], inspect.isclass)
    listed = {n.rsplit(".", 1)[-1] for names in rooms.values() for n in names}
    rooms["errors"] = [
        f"airlens.errors.{name}"
        for name, kind in errors
        if issubclass(kind, al.AirlensError) and name not in listed
    ]
    return rooms


def missing_docstrings(dotted: str) -> list[str]:
    """The name itself, or those of its public members, that say nothing of what they are."""
    found = resolve(dotted)
    bad = [] if (inspect.getdoc(found) or "").strip() else [dotted]
    if inspect.isclass(found):
        for name, member in vars(found).items():
            callable_ = isinstance(member, (property, classmethod, staticmethod))
            if (callable_ or inspect.isfunction(member)) and not name.startswith("_"):
                own = member.fget if isinstance(member, property) else getattr(found, name)
                if not (inspect.getdoc(own) or "").strip():
                    bad.append(f"{dotted}.{name}")
    return bad


def resolve(dotted: str) -> Any:
    """What `airlens.figures.head_map` names."""
    found: Any = al
    for name in dotted.split(".")[1:]:
        found = getattr(found, name)
    return found


def _directive(dotted: str) -> str:
    found = resolve(dotted)
    kind = "class" if inspect.isclass(found) else "function"
    if inspect.isclass(found) and issubclass(found, BaseException):
        kind = "exception"
    lines = [f"```{{eval-rst}}\n.. auto{kind}:: {dotted}\n```\n"]
    return "\n".join(lines)


def _page(room: str, names: list[str]) -> str:
    module = sys.modules.get(f"airlens.{room}")
    about = (inspect.getdoc(module) or "") if module else ""
    if room in ("figures", "errors"):
        about = first_sentence(about)
    heading = room.replace("_", " ").capitalize()
    rows = [
        f"- {{py:obj}}`{name.removeprefix('airlens.')} <{name}>`: "
        f"{_plain(first_sentence(inspect.getdoc(resolve(name))))}"
        for name in names
    ]
    head = f"# {heading}\n\n```{{eval-rst}}\n{about}\n```\n"
    return "\n".join([head, *rows, "", *map(_directive, names)])


def _plain(text: str) -> str:
    """A summary in reStructuredText as Markdown."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text).replace("``", "`")
    parts = text.split("`")  # what is code is left as it is
    parts[::2] = [part.replace("{", "\\{").replace("<", "\\<") for part in parts[::2]]
    return "`".join(parts)


def write(folder: Path) -> None:
    """Write a page for each room, and the one that lists them."""
    found = names_by_room()
    order = (*READING[1:], GROUND, "errors")
    rooms = {room: sorted(found[room], key=str.lower) for room in order if found.get(room)}
    bad = [
        name for names in rooms.values() for dotted in names for name in missing_docstrings(dotted)
    ]
    if bad:
        raise ValueError("no docstring: " + ", ".join(bad))
    for room, names in rooms.items():
        write_if_new(folder / "api" / f"{room}.md", _page(room, names))
    count = sum(map(len, rooms.values()))
    lines = [
        "# API\n",
        f"All {count} public names, by the part of the package that they live in. "
        "`import airlens as al` gives those of the first level; shapes are written [L, H]: L "
        "layers, H query heads, P probes, T positions, D dimensions of a head, V tokens of the "
        "vocabulary; losses are in nats.\n",
    ]
    for room, names in rooms.items():
        short = ", ".join(f"{{py:obj}}`{n.rsplit('.', 1)[-1]} <{n}>`" for n in names)
        lines.append(f"[**{room}**]({room}.md): {short}\n")
    toc = "\n".join(rooms)
    lines.append(f"```{{toctree}}\n:hidden:\n\n{toc}\n```\n")
    write_if_new(folder / "api" / "index.md", "\n".join(lines))
