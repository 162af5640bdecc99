"""What writes the pages that are made from the package, the notebooks and the results."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def write_if_new(path: Path, text: str) -> None:
    """Write a page only where it has changed, so that a second build reads little again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def first_sentence(doc: str | None) -> str:
    """The summary of a docstring, on one line."""
    lines = (doc or "").strip().split("\n\n")[0].split("\n")
    return " ".join(line.strip() for line in lines)
