"""A report: text, figures and tables in one HTML file that opens offline.

The file contains plotly.js once and loads nothing from a server: its content security policy
forbids that, and lets only the page's own two scripts run. Text from data is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs

from airlens.files import atomic_file
from airlens.views.figures.labels import escape_html, known, number
from airlens.views.figures.style import CONFIG
from airlens.views.page.shell import source_hash

from .html_page_assets import CSS, SCRIPT

_INLINE = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*(.+?)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"(?<![\w*])\*(?!\s)([^*]+?)\*(?!\w)"), r"<em>\1</em>"),
)


def inline(text: str) -> str:
    """Escape `text`, then convert `**bold**`, `*emphasis*` and `` `code` `` to HTML."""
    escaped = escape_html(text)
    for pattern, markup in _INLINE:
        escaped = pattern.sub(markup, escaped)
    return escaped


class Report:
    """A page built part by part; the order of calls is the order of the page.

    Example:
        >>> report = Report("Retrieval heads", "SmolLM2-135M")
        >>> report.add_section("Where they are")
        >>> report.add_text("The top **5 %** of heads.")
        >>> _ = report.write("report.html")  # doctest: +SKIP
    """

    def __init__(
        self, title: str, subtitle: str = "", provenance: Mapping[str, Any] | None = None
    ) -> None:
        """Start a page; `provenance` (serialisable as JSON) is shown at its foot."""
        self.title, self.subtitle = title, subtitle
        self.provenance: dict[str, Any] = dict(provenance or {})
        self._parts: list[str] = []
        self._sections: list[tuple[str, str]] = []
        self._figures = 0

    def add_section(self, title: str) -> None:
        """Start a section; the page's contents list links to it."""
        anchor = f"s{len(self._sections) + 1}"
        self._sections.append((anchor, title))
        self._parts.append(f'<h2 id="{anchor}">{inline(title)}</h2>')

    def add_text(self, text: str) -> None:
        """Add paragraphs, `- ` lists, `## ` sections and `### ` headings; all text is escaped.

        Blank lines separate blocks; within them `**bold**`, `*emphasis*` and `` `code` `` are
        converted.
        """
        for block in re.split(r"\n\s*\n", text.strip()):
            self._add_block([line.strip() for line in block.splitlines() if line.strip()])

    def _add_block(self, lines: list[str]) -> None:
        if not lines:
            return
        if lines[0].startswith("## "):
            self.add_section(lines[0][3:])
            self._add_block(lines[1:])
        elif lines[0].startswith("### "):
            self._parts.append(f"<h3>{inline(lines[0][4:])}</h3>")
            self._add_block(lines[1:])
        elif all(line.startswith("- ") for line in lines):
            items = "".join(f"<li>{inline(line[2:])}</li>" for line in lines)
            self._parts.append(f"<ul>{items}</ul>")
        else:
            self._parts.append(f"<p>{inline(' '.join(lines))}</p>")

    def add_quote(self, text: str, title: str = "") -> None:
        """Add text from data, such as a prompt: escaped, without markup, with its line breaks."""
        head = f"<strong>{inline(title)}</strong>" if title else ""
        self._parts.append(
            f'<blockquote dir="auto">{head}<div>{escape_html(text)}</div></blockquote>'
        )

    def add_facts(self, facts: Mapping[str, object]) -> None:
        """Add a row of key numbers: what → value (numbers get three significant digits)."""
        cells = "".join(
            f"<div><dd>{escape_html(_shown(value))}</dd><dt>{inline(name)}</dt></div>"
            for name, value in facts.items()
        )
        self._parts.append(f'<dl class="facts">{cells}</dl>')

    def add_figure(self, fig: Any, caption: str = "", *, width: int | None = None) -> None:
        """Add a Plotly figure, as wide as the page or at most `width` pixels (titles need 600).

        On a narrower screen it can be moved sideways.
        """
        self._figures += 1
        name = f"fig{self._figures}"
        height = int(fig.layout.height or 420)
        spec = fig.to_json().replace("<", "\\u003c")
        limit = f";max-width:{int(width)}px" if width else ""
        self._parts.append(
            f'<figure><div class="wide"><div class="plot" id="{name}" '
            f'style="height:{height}px{limit}"></div></div>'
            f'<script type="application/json" id="{name}-data">{spec}</script>'
            f"{_caption(caption)}</figure>"
        )

    def add_html(self, trusted_html: str, caption: str = "") -> None:
        """Add HTML unchanged: only from functions that escape their data, such as `trace_html`.

        Scripts in it do not run.
        """
        self._parts.append(f'<figure class="html">{trusted_html}{_caption(caption)}</figure>')

    def add_table(
        self,
        frame: pd.DataFrame,
        caption: str = "",
        *,
        bars: Sequence[str] = (),
        rows: int = 200,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Add a table: three significant digits, sortable by a click on a column's head.

        Args:
            frame: What to show, without its index.
            caption: Text under the table.
            bars: Number columns that get a bar in each cell.
            rows: Most rows shown; the caption says when there are more.
            names: Column → heading.
        """
        if len(frame) > rows:
            caption = f"{caption} First {rows} of {len(frame):,} rows.".strip()
        table = _table(frame.head(rows), bars, names or {})
        self._parts.append(f'<figure class="html">{table}{_caption(caption)}</figure>')

    def html(self) -> str:
        """Return the whole page."""
        library = get_plotlyjs() if self._figures else ""
        config = json.dumps(CONFIG)
        script = SCRIPT.replace("__CONFIG__", config)
        scripts = [text for text in (library, script) if text]
        allowed = " ".join(map(source_hash, scripts))
        policy = (
            f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
            "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
        )
        return _PAGE.format(
            policy=policy,
            title=escape_html(self.title),
            css=CSS,
            header=self._header(),
            body="\n".join(self._parts),
            footer=self._footer(),
            scripts="\n".join(f"<script>{text}</script>" for text in scripts),
        )

    def write(self, path: str | Path) -> Path:
        """Write the page to `path` atomically, and return the path."""
        target = Path(path)
        page = self.html().encode("utf-8", "replace")
        with atomic_file(target) as temporary:
            temporary.write_bytes(page)
        return target

    def _header(self) -> str:
        links = "".join(f'<a href="#{at}">{inline(name)}</a>' for at, name in self._sections)
        nav = f'<nav aria-label="Contents">{links}</nav>' if len(self._sections) > 1 else ""
        subtitle = f'<p class="subtitle">{inline(self.subtitle)}</p>' if self.subtitle else ""
        return f"<header><h1>{inline(self.title)}</h1>{subtitle}{nav}</header>"

    def _footer(self) -> str:
        if not self.provenance:
            return ""
        text = escape_html(json.dumps(self.provenance, indent=2, ensure_ascii=False, default=str))
        summary = "<summary>How this was made</summary>"
        return f"<footer><details>{summary}<pre>{text}</pre></details></footer>"


def _caption(text: str) -> str:
    return f"<figcaption>{inline(text)}</figcaption>" if text else ""


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    if not pd.api.types.is_scalar(value):
        return str(value)
    if pd.api.types.is_bool(value):
        return number(bool(value))
    return number(value) if not known(value) or pd.api.types.is_number(value) else str(value)


def _table(frame: pd.DataFrame, bars: Sequence[str], names: Mapping[str, str]) -> str:
    numeric = {
        column: pd.api.types.is_numeric_dtype(frame[column])
        and not pd.api.types.is_bool_dtype(frame[column])
        for column in frame.columns
    }
    heads = "".join(
        f'<th scope="col"{" class=num" if numeric[column] else ""}>'
        f'<button type="button">{escape_html(names.get(str(column), column))}</button></th>'
        for column in frame.columns
    )
    tops = {column: float(frame[column].abs().max()) for column in bars if numeric.get(column)}
    body = "".join(
        "<tr>"
        + "".join(
            _cell(value, numeric[column], tops.get(column))
            for column, value in zip(frame.columns, row, strict=True)
        )
        + "</tr>"
        for row in frame.itertuples(index=False, name=None)
    )
    empty = "" if len(frame) else '<p class="empty">no rows</p>'
    head = f"<thead><tr>{heads}</tr></thead>"
    table = f"<table>{head}<tbody>{body}</tbody></table>"
    return f'<div class="table" tabindex="0">{table}{empty}</div>'


def _cell(value: object, numeric: bool, top: float | None) -> str:
    shown = escape_html(_shown(value))
    if not numeric:
        return f"<td>{shown}</td>"
    real = float(str(value)) if known(value) else float("nan")
    key = f' data-v="{real!r}"' if real == real else ""
    if not top or real != real:
        return f'<td class="num"{key}>{shown}</td>'
    sign = " neg" if real < 0 else ""
    width = 72 * min(abs(real) / top, 1)
    bar = f'<span class="bar{sign}"><i style="width:{width:.0f}px"></i></span>'
    return f'<td class="num"{key}><div class="cell">{bar}<span>{shown}</span></div></td>'


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="airlens">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
{header}
<main>
{body}
</main>
{footer}
{scripts}
</body>
</html>
"""
