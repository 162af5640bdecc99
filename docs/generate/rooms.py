"""Which part of the package a module belongs to, and what imports what."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

import grimp

from . import ROOT, first_sentence

# What all rooms stand on: files at the root that know nothing of the method.
GROUND = "ground"
ON_THE_GROUND = (
    *("arguments", "control_kinds", "errors", "files", "folders", "hub", "json_lines", "loss_free"),
    *("registry", "shares", "statistics", "version"),
)
# The order in which the package is read, that of the method; a room imports only from those before.
READING = (
    *(GROUND, "heads", "model", "provenance", "traces", "ablation", "losses", "detectors"),
    *("step_influence", "step_sources", "selection", "corpus", "training", "views", "experiments"),
    *("figures", "plugins", "cli", "__main__"),
)


def room_of(module: str) -> str:
    """`airlens.views.figures.head_maps` lies in `views`, `airlens.errors` on the ground."""
    name = [*module.split("."), ""][1]
    return GROUND if name in ON_THE_GROUND else name


@dataclass
class Module:
    """One file.

    Attributes:
        name: dotted.
        path: of the file.
        lines: how many it has.
        doc: its docstring.
        needs: the files of its own room that it imports, by dotted name.
    """

    name: str
    path: Path
    lines: int
    doc: str
    needs: set[str] = field(default_factory=set)

    @property
    def about(self) -> str:
        """The first sentence of its docstring."""
        return first_sentence(self.doc)


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

    @property
    def about(self) -> str:
        """What its `__init__` says it is; what imports what is drawn from the imports instead."""
        own = [m.doc for m in self.modules if m.name == f"airlens.{self.name}"]
        return own[0].strip() if own else "What everything else stands on; it knows no model."

    def in_reading_order(self) -> list[Module]:
        """Its files, each after those of its own that it imports."""
        left = {module.name: module for module in self.modules}
        order: list[Module] = []
        while left:
            ready = [m for m in left.values() if not (m.needs & set(left)) - {m.name}]
            first = min(
                ready or left.values(), key=lambda m: (m.path.name != "__init__.py", m.name)
            )
            order.append(left.pop(first.name))
        return order


def read_rooms() -> dict[str, Room]:
    """Every room, with the arrows between them; imports for type checkers only do not count."""
    graph = grimp.build_graph("airlens", exclude_type_checking_imports=True, cache_dir=None)
    rooms: dict[str, Room] = {}
    # The root's own `__init__` names everything and imports it when it is used: it is no room.
    for name in sorted(graph.modules - {"airlens"}):
        room = rooms.setdefault(room_of(name), Room(room_of(name)))
        module = read_module(name)
        room.modules.append(module)
        imported = graph.find_modules_directly_imported_by(name) - {"airlens"}
        module.needs = {other for other in imported if room_of(other) == room.name}
        room.imports |= {room_of(other) for other in imported} - {room.name}
    return rooms


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
    return Module(name, path, source.count("\n"), doc)
