"""One HTML file that opens from disk, with style, script and data inline.

The page's content-security policy names its one style sheet and its one script by their hash, so
nothing in the data can run, style or load anything. Data are JSON in script elements that the
browser does not run, with every character escaped that could end one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

from airlens.views.figures.labels import clean

_UNSAFE = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


def script_json(value: Any) -> str:
    """JSON that is inert in an HTML script element: what could end the element is escaped.

    Raises:
        ValueError: NaN or infinity, which JSON has not.
    """
    return _compact(value).translate(_UNSAFE)


def packed_json(value: Any) -> str:
    """JSON, deflated (zlib) and in base64: a fifth of the size for the numbers of a long trace."""
    return base64.b64encode(zlib.compress(_compact(value).encode(), 9)).decode()


def _compact(value: Any) -> str:
    return clean(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def source_hash(text: str) -> str:
    """The hash by which a content-security policy allows an inline script or style sheet."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def policy(script: str, style: str) -> str:
    """The page's policy: its own script and style sheet run; nothing is loaded, sent or framed."""
    return (
        f"default-src 'none'; script-src {source_hash(script)}; style-src {source_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def html_page(
    *,
    title: str,
    body: str,
    style: str,
    script: str,
    data: Mapping[str, str],
) -> str:
    """Assemble a page.

    Args:
        title: escaped text.
        body: HTML, its text escaped; style attributes and scripts in it have no effect.
        style: the style sheet.
        script: the script; it runs when the page has been read.
        data: id of a script element → what :func:`script_json` or :func:`packed_json` made.
    """
    blocks = "\n".join(
        f'<script type="application/{_kind(text)}" id="{name}">{text}</script>'
        for name, text in data.items()
    )
    return _PAGE.format(
        policy=policy(script, style),
        title=title,
        style=style,
        body=body,
        data=blocks,
        script=script,
    )


def _kind(text: str) -> str:
    return "json" if text[:1] in ("{", "[") else "x-deflated-json"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="airlens">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
{data}
<script>{script}</script>
</body>
</html>
"""
