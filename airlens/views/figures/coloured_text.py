"""One trace as coloured text in plain HTML: no script, nothing loaded, every character escaped.

Colours are translucent and the ink is the page's own, so the text is readable in light and dark
themes. Hovering a token shows its exact numbers; the margin shows each step's AIS beside the
random-heads control.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from airlens.arguments import checked

from .labels import DASH, MINUS, TOKEN_LABELS, clean, escape_html, is_signed, known, number, visible
from .single_trace import one_trace
from .step_maps import row_dicts
from .style import MONO, limit, need

WARM, COOL = "213,94,0", "0,114,178"
"""Raised and lowered (or, unsigned, present): the ends of the figures' diverging scale."""
STRONGEST = 0.62
"""Opacity at the colour limit: text on it stays readable."""
PER_STEP = ("ais", "gain", "depends")
"""Columns of which all tokens of a step have the step's value."""
HOVER = ("nll_base", "nll_ref", "delta", "nll_control", "delta_control", "entropy")

CSS = f"""
.airlens-trace{{line-height:1.75;font-size:15px;overflow-wrap:anywhere}}
.airlens-trace .key{{display:flex;flex-wrap:wrap;gap:.4em 1.4em;align-items:center;
 font-size:12.5px;opacity:.85;margin-bottom:.8em}}
.airlens-trace .ramp{{display:inline-block;width:9em;height:.7em;border-radius:2px;margin:0 .5em}}
.airlens-trace .step{{display:grid;grid-template-columns:10.5em minmax(0,1fr);gap:0 1.4em;
 padding:.4em 0;border-top:1px solid rgba(128,134,142,.25)}}
.airlens-trace .side{{font-size:12.5px;line-height:1.45;padding-top:.25em}}
.airlens-trace .side b{{font-weight:600}}
.airlens-trace .row{{display:grid;grid-template-columns:3.6em 1fr;gap:.5em;align-items:center;
 font-variant-numeric:tabular-nums}}
.airlens-trace .row i{{display:block;height:6px;border-radius:1px}}
.airlens-trace .row i.over{{border-right:3px double currentColor}}
.airlens-trace .text{{white-space:pre-wrap;unicode-bidi:isolate;min-width:0}}
.airlens-trace .code{{font-family:{MONO};font-size:13px}}
.airlens-trace .text span{{border-radius:2px}}
.airlens-trace .text span:hover{{outline:1.5px solid currentColor}}
.airlens-trace .nl::after{{content:"\\23CE";opacity:.45;font-size:.8em}}
.airlens-trace .faint{{opacity:.6}}
@media (max-width:620px){{.airlens-trace .step{{grid-template-columns:1fr}}}}
"""


NEWLINE = '<span class="nl"></span>'


@dataclass
class Piece:
    """A piece of text and its tokens (several where they split a character)."""

    text: str
    step: int
    tokens: list[dict[str, Any]] = field(default_factory=list)


def _pieces_of_response(rows: list[dict[str, Any]], response: str) -> Iterator[Piece]:
    """Cut the response at the tokens' offsets; text that no token covers stays uncoloured."""
    cursor, waiting = 0, list[dict[str, Any]]()
    last: Piece | None = None
    for row in rows:
        start, end = max(int(row["start"]), cursor), min(int(row["end"]), len(response))
        if end <= cursor:
            (last.tokens if last else waiting).append(row)
            continue
        if last:
            yield last
        if start > cursor:
            yield Piece(response[cursor:start], _step(row))
        last = Piece(response[start:end], _step(row), [*waiting, row])
        cursor, waiting = end, []
    if last:
        yield last
    if cursor < len(response):
        yield Piece(response[cursor:], _step(rows[-1]))


def _pieces_of_tokens(rows: list[dict[str, Any]]) -> Iterator[Piece]:
    """Join tokens by their own text; tokens that are parts of one character become one piece."""
    last: Piece | None = None
    for row in rows:
        text = clean(row["token"])
        part = not text or "\ufffd" in text
        if last and part and (not text or last.text.endswith("\ufffd")):
            last.tokens.append(row)
            continue
        if last:
            yield last
        last = Piece(text, _step(row), [row])
    if last:
        yield last


def pieces(rows: list[dict[str, Any]], response: str | None = None) -> list[Piece]:
    """Cut a trace's text into pieces of one token, or of the tokens that make one character.

    Args:
        rows: tokens in order, with token, and start and end where ``response`` is given.
        response: the response's text; text that no token covers becomes a piece without tokens.
    """
    if not rows:
        return []
    if response and "start" in rows[0] and "end" in rows[0]:
        return list(_pieces_of_response(rows, response))
    return list(_pieces_of_tokens(rows))


def _step(row: dict[str, Any]) -> int:
    return int(row.get("step", 0))


def piece_value(tokens: list[dict[str, Any]], column: str) -> float:
    """Return the value of one piece: its tokens' sum (NLL in nats adds up), or their step's."""
    values = [float(t[column]) for t in tokens if known(t.get(column))]
    if not values:
        return float("nan")
    return values[0] if column in PER_STEP else float(sum(values))


@dataclass(frozen=True)
class Colouring:
    """What colours the pieces of a text.

    Attributes:
        values: of each piece; NaN is not coloured.
        bound: the value at which the colour is full.
        signed: whether 0 is the middle of two colours, or the pale end of one.
    """

    values: NDArray[np.float64]
    bound: float
    signed: bool

    @property
    def ends(self) -> tuple[str, str]:
        """The lowest and the highest value of the scale, as text."""
        return number(-self.bound) if self.signed else "0", number(self.bound)

    def colour(self, piece: int) -> str:
        """The background of a piece, in CSS; empty where it has none."""
        value = float(self.values[piece])
        share = min(abs(value) / self.bound, 1.0) * STRONGEST if value == value else 0.0
        warm = self.signed and value > 0
        return f"rgba({WARM if warm else COOL},{share:.2f})" if share >= 0.01 else ""


def colouring(
    pieces: Sequence[Piece],
    column: str,
    rows: Mapping[int, Mapping[str, Any]] | None = None,
    bound: float | None = None,
) -> Colouring:
    """Colour pieces by a column of their tokens.

    Args:
        pieces: of :func:`pieces`.
        column: of the tokens, or of their step (`PER_STEP`).
        rows: by the tokens' `pos`, rows that hold the column; None: the pieces' own tokens do.
        bound: the value at which the colour is full; None: the 98 % quantile of the sizes.
    """
    tokens = [piece.tokens for piece in pieces]
    if rows is not None:
        tokens = [[dict(rows.get(int(t["pos"]), {})) for t in each] for each in tokens]
    values = np.array([piece_value(each, column) for each in tokens], dtype=np.float64)
    return Colouring(values, bound or limit(values), is_signed(column))


def coloured(html: str, background: str = "", title: str = "", look: str = "") -> str:
    """A span of text on a background.

    Args:
        html: the text, escaped already.
        background: a colour in CSS; empty for none.
        title: plain text for the pointer.
        look: more CSS, not from data.
    """
    css = ";".join(filter(None, (background and f"background:{background}", look)))
    style = f' style="{css}"' if css else ""
    note = f' title="{escape_html(title)}"' if title else ""
    return f"<span{style}{note}>{html}</span>"


def longest_bar(rows: Iterable[Mapping[str, Any]]) -> float:
    """The AIS, or that of random heads, at which a bar of these rows is as long as it gets.

    The largest; or where one would flatten all others, twice the 90 % quantile of the sizes. A bar
    that would be longer is marked.
    """
    names = ("ais", "ais_control")
    sizes = [abs(float(row[name])) for row in rows for name in names if known(row.get(name))]
    if not sizes:
        return 1.0
    return min(max(sizes), 2 * float(np.quantile(sizes, 0.9)) or max(sizes)) or 1.0


def hover_text(tokens: list[dict[str, Any]]) -> str:
    """Return the known numbers of each token of a piece, as lines of plain text."""
    lines = []
    for row in tokens:
        where = f"  (token {row['token_id']})" if "token_id" in row else ""
        lines.append(f"“{visible(row['token'])}”{where}")
        names = [name for name in HOVER if known(row.get(name))]
        lines += [f"{TOKEN_LABELS[name]}: {number(row[name])}" for name in names]
    if len(tokens) > 1:
        lines.append(f"{len(tokens)} tokens make this text; the colour is their sum")
    return "\n".join(lines)


def _escape(text: str, tail: bool) -> str:
    """Escape `text` and mark its newlines; in a step's `tail` the last ones add no empty line."""
    escaped = escape_html(text)
    body = escaped.rstrip("\n") if tail else escaped
    ends = len(escaped) - len(body)
    return body.replace("\n", NEWLINE + "\n") + NEWLINE * ends


def _piece_html(piece: Piece, colour: str, tail: bool, notes: bool) -> str:
    text = _escape(piece.text, tail)
    if not piece.tokens:
        return f'<span class="faint">{text}</span>' if piece.text.strip() else text
    if not notes and not colour:
        return text
    return coloured(text, colour, hover_text(piece.tokens) if notes else "")


def _text_html(pieces: list[tuple[Piece, str]], notes: bool) -> str:
    """One step's text and colours; newlines at its end are marked but add no empty lines."""
    parts, tail = list[str](), True
    for piece, colour in reversed(pieces):
        parts.append(_piece_html(piece, colour, tail, notes))
        tail = tail and not piece.text.strip("\n")
    return "".join(reversed(parts))


def margin_number(real: float) -> str:
    """A number with two decimals, for the margin (`−0.05`, `1.24`)."""
    if abs(real) < 0.005:
        return "0.00"
    return f"{real:.2f}".replace("-", MINUS) if abs(real) < 100 else number(real, 2)


def _bar(name: str, value: object, longest: float, colour: str) -> str:
    if not known(value):
        return f'<div class="row"><span>{DASH}</span><span class="faint">{name}</span></div>'
    real = float(str(value))
    width = 100 * min(abs(real) / longest, 1.0)
    shade = COOL if real < 0 and colour == WARM else colour
    bar = f'<i style="width:{width:.0f}%;min-width:1px;background:rgba({shade},.85)"></i>'
    text = margin_number(real)
    if abs(real) > longest:
        bar, name = bar.replace("<i ", '<i class="over" '), f"{name}, longer than its bar"
    return f'<div class="row" title="{name}: {number(real)}"><span>{text}</span>{bar}</div>'


def _side(step: int, row: dict[str, Any] | None, longest: float) -> str:
    if row is None:
        return f'<div class="side"><b>{step}</b></div>'
    name = row.get("label")
    text = f"<b>{step}</b> " + (escape_html(name) if isinstance(name, str) else "")
    text += _bar("AIS, critical heads", row.get("ais"), longest, WARM)
    if known(row.get("ais_control")):
        text += _bar("AIS, random heads (control)", row["ais_control"], longest, "141,148,156")
    if row.get("below_floor") is True:
        text += '<div class="faint">base loss under the floor</div>'
    losses = [f"{name} {number(row[name])}" for name in ("loss_base", "loss_ref") if name in row]
    return f'<div class="side" title="{", ".join(losses)}">{text}</div>'


def _key(column: str, paint: Colouring, controls: bool) -> str:
    signed, ends = paint.signed, paint.ends
    middle = f"rgba({COOL},0) 50%" if signed else ""
    low = f"rgba({COOL},{STRONGEST}),{middle}," if signed else f"rgba({COOL},0),"
    high = f"rgba({WARM},{STRONGEST})" if signed else f"rgba({COOL},{STRONGEST})"
    ramp = f'<i class="ramp" style="background:linear-gradient(90deg,{low}{high})"></i>'
    text = escape_html(TOKEN_LABELS.get(column, column))
    margin = "margin: AIS of the step" + (", random heads in grey" if controls else "")
    scale = f"<span>{text}: {ends[0]}{ramp}{ends[1]}</span>"
    return f'<div class="key">{scale}<span>{margin}</span></div>'


@checked
def trace_html(
    tokens: pd.DataFrame,
    steps: pd.DataFrame | None = None,
    id: str | None = None,
    *,
    value: str = "delta",
    response: str | None = None,
    bound: float | None = None,
    code: bool = False,
    notes: bool = True,
) -> str:
    """Return one trace as coloured text with its steps in the margin, as an HTML fragment.

    Args:
        tokens: One row per token: id, token and `value`; step, pos, start, end (character offsets
            into the response) and the NLL columns (nats) where known.
        steps: One row per step: id, step; label, ais, ais_control, below_floor where known.
        id: The trace; the first one of `tokens` by default.
        value: The token column to colour by, or `ais` to colour whole steps.
        response: The response's text: with it the text is cut at start and end, so that a character
            made of several tokens stays whole, and text without a token is shown uncoloured.
        bound: Value at which the colour is full; by default the 98 % quantile of its size.
        code: Set the text in a fixed-width font.
        notes: Keep each token's numbers for the pointer; without them the HTML is much smaller.
    """
    frame = one_trace(tokens, id)
    if frame.empty:
        return f'<div class="airlens-trace"><style>{CSS}</style>No tokens to show.</div>'
    need(frame, ("token",) if value == "ais" else ("token", value), "trace_html")
    frame = frame.sort_values("pos", kind="stable") if "pos" in frame else frame
    sides = _sides(steps, str(frame["id"].iloc[0]))
    rows = row_dicts(frame)
    if value == "ais":
        rows = [row | {"ais": sides.get(_step(row), {}).get("ais")} for row in rows]
    parts = pieces(rows, response)
    paint = colouring(parts, value, bound=bound)
    controls = any(known(side.get("ais_control")) for side in sides.values())
    body = "".join(_steps_html(parts, sides, paint, code, notes))
    key = _key(value, paint, controls)
    return f'<div class="airlens-trace"><style>{CSS}</style>{key}{body}</div>'


def _sides(steps: pd.DataFrame | None, id: str) -> dict[int, dict[str, Any]]:
    if steps is None or steps.empty:
        return {}
    need(steps, ("id", "step"), "trace_html")
    return {_step(row): row for row in row_dicts(steps[steps["id"].astype(str) == id])}


def _steps_html(
    pieces: list[Piece],
    sides: dict[int, dict[str, Any]],
    paint: Colouring,
    code: bool,
    notes: bool,
) -> Iterator[str]:
    longest = longest_bar(sides.values())
    groups: dict[int, list[tuple[Piece, str]]] = {}
    for i, piece in enumerate(pieces):
        groups.setdefault(piece.step, []).append((piece, paint.colour(i)))
    for step, group in groups.items():
        text = _text_html(group, notes)
        side = _side(step, sides.get(step), longest)
        kind = "text code" if code else "text"
        yield f'<div class="step">{side}<div class="{kind}" dir="auto">{text}</div></div>'
