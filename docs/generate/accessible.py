"""What a screen reader and a keyboard miss in pages that Sphinx and its theme write."""

from __future__ import annotations

import re
from pathlib import Path

# As written → as it should be. axe-core finds each.
MENDED = {
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="Contents">',
    '<aside class="toc-drawer">': '<aside class="toc-drawer" aria-label="On this page">',
    '<div class="table-wrapper ': '<div tabindex="0" role="group" aria-label="Table" '
    'class="table-wrapper ',
    '<div class="formula">': '<div tabindex="0" role="group" aria-label="Formula" class="formula">',
    '<div class="highlight"><pre>': '<div class="highlight"><pre tabindex="0">',
    '<th class="head"><p></p></th>': '<td class="head"></td>',
    "<th></th>": "<td></td>",
}
# Of a signature of several lines Sphinx writes each parameter as a description of nothing.
PARAMETERS = re.compile(r"<dl>\n((?:<dd>.*</dd>\n)+)</dl>")


def _lines(found: re.Match[str]) -> str:
    lines = found[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
    return f"<span>\n{lines}</span>"


def mend(app, exception: Exception | None) -> None:
    """Name landmarks and levels, and let the keyboard scroll tables, in every page built."""
    if exception is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for before, after in MENDED.items():
            text = text.replace(before, after)
        text = PARAMETERS.sub(_lines, text)
        path.write_text(text, encoding="utf-8")
