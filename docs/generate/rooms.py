"""Which part of the package a module belongs to, and what imports what."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grimp

from . import ROOT, first_sentence

CORE = "core"


def room_of(module: str) -> str:
    """`airlens.figures.heads` lies in `figures`; a module at the root is part of the core."""
    parts = module.split(".")
    package = ROOT / "airlens" / parts[1] if len(parts) > 1 else ROOT / "airlens"
    return parts[1] if len(parts) > 1 and package.is_dir() else CORE


@dataclass
class Module:
    """One file: its dotted name, its number of lines, and the first sentence of its docstring."""

    name: str
    path: Path
    lines: int
    about: str


@dataclass
class Room:
    """A part of the package, with the other parts that it imports."""

    name: str
    modules: list[Module] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)

    @property
    def lines(self) -> int:
        """Lines of all its files."""
        return sum(module.lines for module in self.modules)


def read_rooms() -> dict[str, Room]:
    """Every room, with the arrows between them; imports for type checkers only do not count."""
    graph = grimp.build_graph("airlens", exclude_type_checking_imports=True, cache_dir=None)
    rooms: dict[str, Room] = {}
    for name in sorted(graph.modules):
        room = rooms.setdefault(room_of(name), Room(room_of(name)))
        room.modules.append(read_module(name))
        # The root's own `__init__` names everything and imports it when it is used.
        if name != "airlens":
            found = {room_of(other) for other in graph.find_modules_directly_imported_by(name)}
            room.imports |= found - {room.name}
    return rooms


def wrong_way(rooms: Mapping[str, Room]) -> list[str]:
    """`core → engine` for everything around it that the core imports: there should be nothing."""
    core = rooms.get(CORE, Room(CORE))
    found = [f"{CORE} → {name}" for name in sorted(core.imports)]
    core.imports = set()
    return found


def read_module(name: str) -> Module:
    """The file of a dotted name.

    Raises:
        ValueError: it has no docstring.
    """
    base = ROOT.joinpath(*name.split("."))
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    source = path.read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(source))
    if not doc:
        raise ValueError(f"{path} has no docstring")
    return Module(name, path, source.count("\n"), first_sentence(doc))
