"""A report: text, figures and tables in one HTML file that opens offline.

The file contains plotly.js once and loads nothing from a server: its content security policy
forbids that, and lets only the page's own two scripts run. Text from data is escaped.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from airlens.views.figures.labels import known, number
from airlens.views.figures.style import CONFIG
from airlens.views.html_file import escaped, html_file, inert, part, write_html

HERE = Path(__file__).parent
PARTS = "reports/parts.html.j2"
_INLINE = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*(.+?)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"(?<![\w*])\*(?!\s)([^*]+?)\*(?!\w)"), r"<em>\1</em>"),
)


def inline(text: str) -> Markup:
    """Escape `text`, then convert `**bold**`, `*emphasis*` and `` `code` `` to HTML."""
    html = str(escaped(str(text)))
    for pattern, markup in _INLINE:
        html = pattern.sub(markup, html)
    return Markup(html)


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
        self._parts: list[Markup] = []
        self._sections: list[tuple[str, str]] = []
        self._figures = 0

    def _add(self, name: str, **values: Any) -> None:
        self._parts.append(part(PARTS, name, **values))

    def add_section(self, title: str) -> None:
        """Start a section; the page's contents list links to it."""
        anchor = f"s{len(self._sections) + 1}"
        self._sections.append((anchor, title))
        self._add("section", anchor=anchor, title=inline(title))

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
            self._add("heading", title=inline(lines[0][4:]))
            self._add_block(lines[1:])
        elif all(line.startswith("- ") for line in lines):
            self._add("items", texts=[inline(line[2:]) for line in lines])
        else:
            self._add("paragraph", text=inline(" ".join(lines)))

    def add_quote(self, text: str, title: str = "") -> None:
        """Add text from data, such as a prompt: escaped, without markup, with its line breaks."""
        self._add("quote", title=inline(title), text=text)

    def add_facts(self, facts: Mapping[str, object]) -> None:
        """Add a row of key numbers: what → value (numbers get three significant digits)."""
        self._add("facts", pairs=[(inline(name), _shown(value)) for name, value in facts.items()])

    def add_figure(self, fig: Any, caption: str = "", *, width: int | None = None) -> None:
        """Add a Plotly figure, as wide as the page or at most `width` pixels (titles need 600).

        On a narrower screen it can be moved sideways.
        """
        self._figures += 1
        self._add(
            "plot",
            id=f"fig{self._figures}",
            spec=inert(fig.to_json()),
            height=int(fig.layout.height or 420),
            width=int(width) if width else None,
            text=inline(caption),
        )

    def add_html(self, trusted_html: str, caption: str = "") -> None:
        """Add HTML unchanged: only from functions that escape their data, such as `trace_html`.

        Scripts in it do not run.
        """
        self._add("html", content=Markup(trusted_html), text=inline(caption))

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
        self.add_html(_table(frame.head(rows), bars, names or {}), caption)

    def html(self) -> str:
        """Return the whole page."""
        script = (HERE / "report.js").read_text("utf-8").replace("__CONFIG__", json.dumps(CONFIG))
        header = part(
            PARTS,
            "header",
            title=inline(self.title),
            subtitle=inline(self.subtitle),
            sections=[(anchor, inline(name)) for anchor, name in self._sections],
        )
        body = Markup("\n").join([header, Markup("<main>"), *self._parts, Markup("</main>")])
        return html_file(
            title=self.title,
            body=body + self._footer(),
            style=(HERE / "report.css").read_text("utf-8"),
            scripts=[get_plotlyjs(), script] if self._figures else [script],
            styled=True,
        )

    def write(self, path: str | Path) -> Path:
        """Write the page to `path` atomically, and return the path."""
        return write_html(self.html(), path)

    def _footer(self) -> Markup:
        if not self.provenance:
            return Markup()
        record = json.dumps(self.provenance, indent=2, ensure_ascii=False, default=str)
        return part(PARTS, "footer", record=record)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    if not pd.api.types.is_scalar(value):
        return str(value)
    if pd.api.types.is_bool(value):
        return number(bool(value))
    return number(value) if not known(value) or pd.api.types.is_number(value) else str(value)


@dataclass(frozen=True)
class _Column:
    name: str
    numeric: bool


@dataclass(frozen=True)
class _Cell:
    """A cell's text; of a number its key for sorting, and its bar's width in pixels, if any."""

    shown: str
    key: str = ""
    width: int | None = None
    negative: bool = False


def _table(frame: pd.DataFrame, bars: Sequence[str], names: Mapping[str, str]) -> Markup:
    columns = [
        _Column(
            str(names.get(str(name), name)),
            pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column),
        )
        for name, column in frame.items()
    ]
    tops = [
        float(column.abs().max()) if name in bars and about.numeric else None
        for (name, column), about in zip(frame.items(), columns, strict=True)
    ]
    rows = [
        [
            _cell(value, about.numeric, top)
            for value, about, top in zip(row, columns, tops, strict=True)
        ]
        for row in frame.itertuples(index=False, name=None)
    ]
    return part(PARTS, "table", columns=columns, rows=rows)


def _cell(value: object, numeric: bool, top: float | None) -> _Cell:
    real = float(str(value)) if numeric and known(value) else float("nan")
    if real != real:
        return _Cell(_shown(value))
    width = round(72 * min(abs(real) / top, 1)) if top and math.isfinite(top) else None
    return _Cell(_shown(value), repr(real), width, real < 0)
