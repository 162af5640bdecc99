"""One HTML file that opens from disk, with style, scripts and data inline: pages and reports.

HTML is made by Jinja2 templates, the files ``*.html.j2`` beside what they show, and every value put
into one is escaped. The file's content-security policy names its scripts by their hash, so nothing
in the data can run or load anything. Data are JSON in script elements that the browser does not
run, with every character escaped that could end one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from airlens.errors import ConfigError
from airlens.files import atomic_file
from airlens.views.figures.labels import clean, escape_html

HERE = Path(__file__).parent
_UNSAFE = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


def script_json(value: Any) -> Markup:
    """JSON that is inert in an HTML script element: what could end the element is escaped.

    Raises:
        ValueError: NaN or infinity, which JSON has not.
    """
    return inert(_compact(value))


def inert(json_text: str) -> Markup:
    """JSON text with every character escaped that could end an HTML script element."""
    return Markup(json_text.translate(_UNSAFE))


def packed_json(value: Any) -> Markup:
    """JSON, deflated (zlib) and in base64: a fifth of the size for the numbers of a long trace."""
    return Markup(base64.b64encode(zlib.compress(_compact(value).encode(), 9)).decode())


def _compact(value: Any) -> str:
    return clean(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def escaped(value: object) -> Markup:
    """A value as HTML: text escaped, also for a quoted attribute; HTML made here as it is."""
    return value if isinstance(value, Markup) else Markup(escape_html(value))


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def rendered(template: str, **values: Any) -> Markup:
    """A template, named by its path under ``airlens/views``, with these values, each escaped.

    A value of type ``Markup`` is HTML already.
    """
    return Markup(_templates().get_template(template).render(values).strip())


def part(template: str, name: str, **values: Any) -> Markup:
    """A part of a page: the macro ``name`` of a template, with these values, each escaped."""
    return Markup(getattr(_templates().get_template(template).module, name)(**values).strip())


def html_file(
    *,
    title: str,
    body: Markup,
    style: str,
    scripts: Sequence[str],
    data: Mapping[str, Markup] | None = None,
    styled: bool = False,
) -> str:
    """The whole file.

    Args:
        title: plain text.
        body: HTML; scripts in it have no effect, nor has a style attribute unless ``styled``.
        style: the style sheet, after that which all files share.
        scripts: run in this order when the file has been read.
        data: id of a script element → what :func:`script_json` or :func:`packed_json` made.
        styled: elements may have styles of their own, and pictures may be made in the page, as
            Plotly's figures need.

    Raises:
        ConfigError: a script holds the end of a script element.
    """
    for script in scripts:
        if "</script" in script or "<!--" in script:
            raise ConfigError("a script in a page cannot hold the end of a script element")
    style = (HERE / "html_file.css").read_text("utf-8") + style
    text = rendered(
        "html_file.html.j2",
        policy=Markup(_policy(scripts, style, styled)),
        title=title,
        style=Markup(style),
        body=body,
        data=data or {},
        scripts=[Markup(script) for script in scripts],
    )
    return f"{text}\n"


def write_html(text: str, path: str | Path) -> Path:
    """Write a file atomically, and return its path."""
    target = Path(path)
    with atomic_file(target) as temporary:
        temporary.write_bytes(text.encode("utf-8", "replace"))
    return target


def _policy(scripts: Sequence[str], style: str, styled: bool) -> str:
    """The policy of a file: its own scripts and styles run; nothing is loaded, sent or framed."""
    allowed = " ".join(map(_source_hash, scripts))
    styles = "'unsafe-inline'" if styled else _source_hash(style)
    images = "img-src data: blob:; font-src data:" if styled else "img-src data:"
    return (
        f"default-src 'none'; script-src {allowed}; style-src {styles}; {images}; "
        "base-uri 'none'; form-action 'none'"
    )


def _source_hash(text: str) -> str:
    """The hash by which a content-security policy allows an inline script or style sheet."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
