r"""Stretches of a text that are read as a whole: code between fences, and display mathematics.

Fences are those of Markdown, ``` and ~~~, also indented, in lists and quotes; one that is never
closed runs to the end, as in Markdown. Mathematics is ``\[ … \]``, ``$$ … $$`` and
``\begin{…} … \end{…}``; what is never closed is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_OPENER = re.compile(
    r"(?<!`)(?P<fence>`{3,})(?=[^`\n]*$)|^[ \t>]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)*(?P<tildes>~{3,})"
    r"|(?<!\\)(?P<bracket>\\\[)|(?<![\\$])(?P<dollars>\$\$)(?!\$)|(?P<begin>\\begin\{[A-Za-z]+\*?\})",
    re.MULTILINE,
)
_BRACKET = re.compile(r"(?<!\\)\\[\[\]]")
_ENVIRONMENT = re.compile(r"\\(begin|end)\{([A-Za-z]+\*?)\}")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
# What may stand before a fence at the start of a line: blanks, quotes, the mark of a list item.
_INDENT = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)*\Z")
_LANGUAGE = re.compile(r"[\w+#.-]*[ \t]*$", re.MULTILINE)


def blocks(text: str) -> Iterator[tuple[int, int]]:
    r"""Where blocks lie in ``text``: first character, and one past the last; in order, apart.

    >>> [*blocks("So\n\\[ x\n= 1 \\]\nand `y`.\n```\ny = 2\n\ny\n```\n")]
    [(3, 14), (24, 40)]
    """
    environments = _environments(text)
    never_closed: set[str] = set()
    at = 0
    while match := _OPENER.search(text, at):
        end = _end_of(text, match, environments, never_closed)
        at = match.end() if end is None else end
        if end is not None:
            yield match.start(match.lastgroup or 0), end


def _end_of(
    text: str, match: re.Match[str], environments: dict[int, int], never_closed: set[str]
) -> int | None:
    """Where a block ends; None where what was found opens none."""
    start = match.end()
    match match.lastgroup:
        case "bracket":
            other = _BRACKET.search(text, start)
            return other.end() if other and other[0] == r"\]" else None
        case "dollars":
            end = text.find("$$", start)
            inside = text[start:end]
            # Two sums of money, and not mathematics: a paragraph ends between them.
            apart = _BLANK_LINE.search(inside) and not inside.lstrip(" \t").startswith("\n")
            return None if end < 0 or apart else end + 2
        case "begin":
            return environments.get(match.start())
    return _end_of_fence(text, match, never_closed)


def _end_of_fence(text: str, match: re.Match[str], never_closed: set[str]) -> int | None:
    """Where a fence ends; its mark is noted in ``never_closed`` where no end follows."""
    mark = match["fence"] or match["tildes"]
    line = text.rfind("\n", 0, match.end()) + 1
    first = bool(match["tildes"]) or bool(_INDENT.match(text[line : match.start("fence")]))
    if not first and not _LANGUAGE.match(text, match.end()):
        return None  # a sentence about fences
    after = text.find("\n", match.end())
    if mark not in never_closed and after >= 0:
        closing = re.compile(rf"^[ \t>]*{mark[0]}{{{len(mark)},}}[ \t]*$", re.MULTILINE)
        if found := closing.search(text, after):
            return found.end()
        never_closed.add(mark)
    return len(text) if first else None


def _environments(text: str) -> dict[int, int]:
    r"""Where each ``\begin{…}`` that is closed stands, and where its ``\end{…}`` ends."""
    opened: dict[str, list[int]] = {}
    found: dict[int, int] = {}
    for match in _ENVIRONMENT.finditer(text):
        if match[1] == "begin":
            opened.setdefault(match[2], []).append(match.start())
        elif opened.get(match[2]):
            found[opened[match[2]].pop()] = match.end()
    return found
