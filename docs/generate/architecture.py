"""The picture of the package and the list of its files, drawn from the imports.

`python docs/generate/architecture.py FILE.svg` writes the picture alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))

from generate import ROOT, write_if_new
from generate.rooms import READING, Room, read_rooms

WIDTH, BOX_W, BOX_H, ROW = 860, 132, 46, 104


def layers(arrows: Mapping[str, set[str]]) -> dict[str, int]:
    """The row of each room: 0 imports nothing, every other stands above all that it imports.

    Raises:
        ValueError: rooms that import each other in a circle.
    """
    found: dict[str, int] = {}

    def height(name: str, below: tuple[str, ...]) -> int:
        if name in below:
            raise ValueError("a circle of imports: " + " → ".join([*below, name]))
        if name not in found:
            found[name] = 1 + max((height(n, (*below, name)) for n in arrows[name]), default=-1)
        return found[name]

    for name in arrows:
        height(name, ())
    return found


def needed_arrows(arrows: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The arrows without those that a longer way along other arrows implies."""

    def reach(name: str) -> set[str]:
        return arrows[name] | {far for near in arrows[name] for far in reach(near)}

    return {
        name: {n for n in out if not any(n in reach(other) for other in out - {n})}
        for name, out in arrows.items()
    }


def picture(rooms: Mapping[str, Room]) -> str:
    """The rooms as an SVG, each above what it imports. Its ink is that of the page."""
    arrows = {name: room.imports for name, room in rooms.items()}
    rows: dict[int, list[str]] = {}
    for name, row in layers(arrows).items():
        rows.setdefault(row, []).append(name)
    top = max(rows)
    place: dict[str, tuple[float, float]] = {}
    for row in sorted(rows):  # from below, each room over the mean of what it imports
        names = sorted(
            rows[row],
            key=lambda n: (sum(place[m][0] for m in arrows[n]) / max(1, len(arrows[n])), n),
        )
        gap = WIDTH / len(names)
        for i, name in enumerate(names):
            place[name] = (gap * (i + 0.5), (top - row) * ROW + BOX_H / 2 + 8)
    lines = [
        _arrow(place[a], place[b]) for a, out in needed_arrows(arrows).items() for b in sorted(out)
    ]
    boxes = [_box(rooms[name], *xy) for name, xy in place.items()]
    height = top * ROW + BOX_H + 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'class="rooms" font-family="system-ui, sans-serif" fill="currentColor">\n'
        "<title>The parts of the package; an arrow leads to what a part imports</title>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>\n'
        + "\n".join([*lines, *boxes])
        + "\n</svg>\n"
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (x2, y2) = (start[0], start[1] + BOX_H / 2), (end[0], end[1] - BOX_H / 2 - 2)
    bend = (y2 - y) / 2
    return (
        f'<path d="M{x:.0f},{y:.0f} C{x:.0f},{y + bend:.0f} {x2:.0f},{y2 - bend:.0f} '
        f'{x2:.0f},{y2:.0f}" fill="none" stroke="currentColor" stroke-opacity="0.45" '
        'stroke-width="1.3" marker-end="url(#tip)"/>'
    )


def _box(room: Room, x: float, y: float) -> str:
    files = len(room.modules)
    size = f"{files} file{'s' if files > 1 else ''}, {room.lines:,} lines"
    return (
        f'<g transform="translate({x - BOX_W / 2:.0f},{y - BOX_H / 2:.0f})">'
        f'<rect width="{BOX_W}" height="{BOX_H}" rx="8" class="room" stroke="currentColor" '
        'stroke-width="1.2"/>'
        f'<text x="{BOX_W / 2}" y="20" text-anchor="middle" font-size="14.5" font-weight="600">'
        f"{room.name}</text>"
        f'<text x="{BOX_W / 2}" y="36" text-anchor="middle" font-size="11.5" '
        f'fill-opacity="0.75">{size}</text></g>'
    )


def files_table(rooms: Mapping[str, Room]) -> str:
    """One line a file, by room, with what each room imports and what imports it."""
    parts = []
    for name in sorted(rooms, key=READING.index):
        room = rooms[name]
        users = sorted(n for n, other in rooms.items() if name in other.imports)
        parts.append(f"### {name}\n")
        parts.append(f"{_about(room.about)}\n")
        parts.append(
            f"{len(room.modules)} files, {room.lines:,} lines. Imports: {_list(room.imports)}. "
            f"Imported by: {_list(users)}.\n"
        )
        parts.append("| file | lines | what it is |\n|---|--:|---|")
        for module in room.in_reading_order():
            path = module.path.relative_to(ROOT)
            parts.append(f"| `{path}` | {module.lines} | {_cell(module.about)} |")
        parts.append("")
    return "\n".join(parts)


def _list(names: set[str] | list[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "nothing"


def _about(doc: str) -> str:
    """A docstring as Markdown; its examples as code, since ``>`` would begin a quotation."""
    return "\n\n".join(
        f"```pycon\n{part}\n```" if part.startswith(">>> ") else _cell(part)
        for part in doc.split("\n\n")
    )


def _cell(text: str) -> str:
    """A sentence of a docstring as a cell of a Markdown table."""
    text = re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", text).replace("``", "`")
    return text.replace("|", "\\|").replace("<", "&lt;")


def write(folder: Path) -> None:
    """Write the picture and the list."""
    rooms = read_rooms()
    write_if_new(folder / "parts" / "rooms.md", f"```{{raw}} html\n{picture(rooms)}\n```\n")
    write_if_new(folder / "parts" / "files.md", files_table(rooms))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture(read_rooms()), encoding="utf-8")
