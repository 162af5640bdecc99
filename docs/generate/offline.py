"""The built site asks nothing of another host: links may lead there, nothing is loaded."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from sphinx.errors import ExtensionError

# What a browser fetches by itself when it opens a page.
_LOADS = {
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "object": ("data",),
    "embed": ("src",),
}
_CSS_URL = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)")
_LINKS_ONLY = {"canonical", "next", "prev", "author", "license", "index", "search"}


class _Loads(HTMLParser):
    """Collects the addresses of other hosts that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one tag."""
        values = dict(attrs)
        if tag == "link" and set((values.get("rel") or "").split()) <= _LINKS_ONLY:
            return
        for name in _LOADS.get(tag, ()):
            value = values.get(name) or ""
            if re.search(r"(?:^|[\s,])(?:https?:)?//", value):
                self.found.append(value)
        self.found += _CSS_URL.findall(values.get("style") or "")


def loads_from_elsewhere(folder: Path) -> list[str]:
    """`page: address` of everything that the pages and style sheets load from other hosts."""
    found = []
    for path in sorted(folder.rglob("*.html")):
        page = _Loads()
        page.feed(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(folder)}: {address}" for address in page.found]
    for path in sorted(folder.rglob("*.css")):
        for address in _CSS_URL.findall(path.read_text(encoding="utf-8")):
            found.append(f"{path.relative_to(folder)}: {address}")
    return found


def check(app, exception: Exception | None) -> None:
    """Fail the build if a page would load something from another host."""
    if exception is None and app.builder.format == "html":
        found = loads_from_elsewhere(Path(app.outdir))
        if found:
            raise ExtensionError("loaded from another host:\n" + "\n".join(found))
