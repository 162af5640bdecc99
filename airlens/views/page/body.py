"""The HTML of a page: its head, the places of the views, and the explanation of its numbers.

All of it is HTML made here, with every text from data escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airlens.heads import HeadGrid
from airlens.version import __version__
from airlens.views.figures.coloured_text import margin_number
from airlens.views.figures.labels import DASH, known, number, percent, shorten
from airlens.views.figures.labels import escape_html as escape
from airlens.views.figures.step_maps import row_dicts

from .data import copied_shares

if TYPE_CHECKING:
    from airlens.step_influence.influence import Influence
    from airlens.step_sources import Sources
    from airlens.traces.trace import Trace

PAPERS = (
    ("AIR", "2512.13279", "steps and samples scored by retrieval heads"),
    ("AttentionInfluence", "2505.07293", "the score over a corpus"),
    ("Retrieval heads", "2404.15574", "what a retrieval head is"),
)
HEADS_SHOWN = 3


def page_title(result: Influence, sources: Sources | None) -> str:
    """The default title of the page."""
    model = model_name(result)
    return (
        f"Where {model} copies from" if sources is not None else f"What the heads of {model} carry"
    )


def model_name(result: Influence) -> str:
    """The model's name, without the folders before it."""
    name = str(result.provenance.get("model", {}).get("name") or "the model")
    return name.rstrip("/").rsplit("/", 1)[-1] or name


def body(
    title: str,
    result: Influence,
    sources: Sources | None,
    traces: Sequence[Trace],
    data: Mapping[str, Any],
) -> str:
    """The page's body, for :func:`airlens.views.page.shell.html_page`.

    Args:
        title: plain text.
        result: of the traces.
        sources: of the traces, where measured.
        traces: in the order of ``result.samples``.
        data: what :func:`airlens.views.page.data.index_data` gave.
    """
    parts = [
        _header(title, result, sources, traces),
        _strip(result, traces),
        f"<main>{_reader(data)}{_below(data)}</main>",
        _about(result, sources),
    ]
    return "\n".join(parts)


def _header(title: str, result: Influence, sources: Sources | None, traces: Sequence[Trace]) -> str:
    note = result.provenance
    model, heads = note.get("model", {}), note.get("heads", [])
    total = len(HeadGrid.of_model(model))
    names = ", ".join(heads[:HEADS_SHOWN]) + (", …" if len(heads) > HEADS_SHOWN else "")
    lede = (
        f"{_count(len(traces), 'trace')} read through {_count(len(heads), 'attention head')}"
        + (f" of {total}" if total else "")
        + f" ({names}), ablation {note.get('mode', DASH)}"
        + (", beside as many random heads." if note.get("controls") else ".")
    )
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(aside)}</small></dd></div>"
        for name, value, aside in _facts(result, sources)
    )
    return (
        f'<header><div><h1>{escape(title)}</h1><p class="lede">{escape(lede)}</p></div>'
        f'<dl class="facts">{facts}</dl></header>'
    )


def _facts(result: Influence, sources: Sources | None) -> Iterable[tuple[str, str, str]]:
    """Name, value and control of the page's key numbers, over its traces."""
    samples = result.samples

    def both(value: float, control: float, show: Any) -> tuple[str, str]:
        return show(value), f"random heads {show(control)}" if known(control) else ""

    yield "median AIS", *both(samples["ais"].median(), samples["ais_control"].median(), _real)
    if sources is not None and len(sources.steps):
        shares = copied_shares(sources.steps)
        yield (
            "tokens copied",
            *both(shares["copied"].mean(), shares["copied_control"].mean(), percent),
        )


def _real(value: float) -> str:
    return margin_number(value) if known(value) else DASH


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def _strip(result: Influence, traces: Sequence[Trace]) -> str:
    """The traces to choose from, each with its AIS and that of random heads."""
    rows = {str(row["id"]): row for row in row_dicts(result.samples)}
    sizes = [abs(float(r[n])) for r in rows.values() for n in ("ais", "ais_control") if known(r[n])]
    longest = max(sizes, default=0.0) or 1.0
    cards = "".join(_card(i, t, rows[t.id], longest) for i, t in enumerate(traces))
    hidden = " hidden" if len(traces) < 2 else ""
    return f'<nav id="traces" aria-label="Traces"{hidden}>{cards}</nav>'


def _card(i: int, trace: Trace, row: Mapping[str, Any], longest: float) -> str:
    size = f"{_count(int(row['n_steps']), 'step')}, {int(row['n_tokens']):,} tokens"
    bars = _bar(row["ais"], longest, "warm") + _bar(row["ais_control"], longest, "grey")
    said = f"AIS {number(row['ais'])}" + (
        f", random heads {number(row['ais_control'])}" if known(row["ais_control"]) else ""
    )
    return (
        f'<button type="button" data-trace="{i}" title="{escape(trace.id)}: {said}">'
        f"<b>{i + 1}</b> <span>{escape(_last(trace.id))}</span><small>{size}</small>{bars}</button>"
    )


def _last(id: str) -> str:
    """The last part of a name that is a path: the part in which names of one data set differ."""
    return shorten(id.rstrip("/").rsplit("/", 1)[-1] or id, 28)


def _bar(value: object, longest: float, kind: str) -> str:
    if not known(value):
        return ""
    real = float(str(value))
    kind = "cool" if real < 0 and kind == "warm" else kind
    width = 60 * min(abs(real) / longest, 1.0)
    return (
        f'<span class="meter"><span>{margin_number(real)}</span>'
        f'<svg class="{kind}" width="60" height="6" aria-hidden="true">'
        f'<rect width="{max(width, 1):.0f}" height="6" rx="1"></rect></svg></span>'
    )


def _reader(data: Mapping[str, Any]) -> str:
    colours = _select("colour", "colour", [(c["name"], c["text"]) for c in data["colours"]])
    measures = data["measures"]
    controls = ""
    if measures:
        shown = [("critical", "the critical heads"), ("control", "random heads"), ("both", "both")]
        controls = _select("measure", "sources by", [(m["name"], m["text"]) for m in measures])
        controls += _select("show", "of", shown if data["controls"] else shown[:1])
        controls += (
            '<label>at least <input type="range" id="threshold" min="0" max="50" value="0">'
            '<output id="threshold-said" for="threshold"></output></label>'
        )
    views = '<div id="text"></div>'
    if measures:
        views = f'<div id="arcs"></div>{views}<div id="matrix"></div>'
    return (
        f'<section id="reader" aria-label="A trace"><form class="controls">{colours}{controls}'
        f'</form><p id="failed" hidden>The data of this page could not be read; a browser of 2023 '
        f'or later can.</p><div class="views{"" if measures else " alone"}">{views}</div></section>'
    )


def _select(id: str, name: str, options: Iterable[tuple[str, str]]) -> str:
    items = "".join(f'<option value="{value}">{escape(text)}</option>' for value, text in options)
    return f'<label>{name} <select id="{id}">{items}</select></label>'


def _below(data: Mapping[str, Any]) -> str:
    where = _section("map-part", _MAP, "map") if data["map"] is not None else ""
    alone = _section("alone-part", _ALONE, "alone") if data["alone"] else ""
    table = _section("table-part", _SAMPLES, "table")
    kind = "below" if where else "below alone"
    return f'<div class="{kind}">{where}<div>{alone}{table}</div></div>'


def _section(id: str, words: tuple[str, str], place: str) -> str:
    head, text = map(escape, words)
    return f'<section id="{id}"><h2>{head}</h2><p>{text}</p><div id="{place}"></div></section>'


_MAP = (
    "Which heads",
    "Score of every head on probes from which one value has to be copied: the share of the value's "
    "tokens that the head attends to most, just when they are to be predicted.",
)
_ALONE = (
    "Which head carries which step",
    "Each head ablated alone. The effects of single heads need not add up to that of all of them.",
)
_SAMPLES = (
    "The traces side by side",
    "Click a heading to sort, a row to read its trace. Samples are selected for a high AIS; beside "
    "it stands what random heads, length and base loss say of them.",
)


def _about(result: Influence, sources: Sources | None) -> str:
    """What is measured, how the page was made, and what to cite."""
    terms = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>"
        for name, text in measured(result, sources)
    )
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in _made_by(result)
    )
    notes = {"influence": result.provenance}
    if sources is not None:
        notes["sources"] = sources.provenance
    record = escape(json.dumps(notes, indent=1, ensure_ascii=False, default=str))
    papers = "; ".join(
        f'{escape(name)}, <a href="https://arxiv.org/abs/{id}" rel="noreferrer">arXiv {id}</a> '
        f"({escape(what)})"
        for name, id, what in PAPERS
    )
    return (
        f'<footer><section><h2>What is measured</h2><dl class="terms">{terms}</dl></section>'
        f'<section><h2>How this was made</h2><dl class="made">{facts}</dl>'
        f"<details><summary>Everything that decides these numbers</summary><pre>{record}</pre>"
        f"</details><p>Made with airlens {__version__}. Please cite airlens and the papers whose "
        f"methods it implements: {papers}.</p></section></footer>"
    )


def measured(result: Influence, sources: Sources | None) -> list[tuple[str, str]]:
    """The meaning of each number on the page, of its control, and what it does not show."""
    note = result.provenance
    mode = {
        "uniform": "made to attend evenly to all they can see",
        "zero": "set to zero",
        "mean": "replaced by their mean output",
    }.get(str(note.get("mode")), "ablated")
    found = [
        (
            "AIS",
            f"(L_ref − L_base) / L_base of a step or sample, with L the mean token NLL in nats; in "
            f"L_ref the heads are {mode}. For single tokens the difference, Δ NLL.",
        )
    ]
    draws = len(note.get("controls") or [])
    where = "of the same layers" if note.get("control") == "same_layers" else "of any layer"
    if draws:
        found.append(
            (
                "random heads",
                f"The same with as many other heads {where}, the mean of {_count(draws, 'draw')}. "
                "What random heads give too is no effect of these heads.",
            )
        )
    names = [] if sources is None else sources.provenance.get("measures", [])
    found += [(name, text) for name, text in _SOURCES.items() if name in names]
    found.append(("what it is not", _CAVEAT + (_CAVEAT_SOURCES if names else "")))
    return found


_SOURCES = {
    "copies": "Share of a step's tokens that at least one of the heads copies from the source: its "
    "largest attention weight, from the position that predicts the token, lies on that very token "
    "there.",
    "attention": "Mean attention weight of the heads, from the positions that predict the step's "
    "tokens, on all tokens of the source.",
    "knockout": "Rise of the step's mean token NLL, in nats, when the heads may not attend to the "
    "source: an intervention.",
}
_CAVEAT = (
    "A measure of importance or of reasoning: a step that repeats what was said can score high, "
    "and a head that is not among these may carry what a step needs."
)
_CAVEAT_SOURCES = (
    " Copies and attention say where the heads look, not that the step would fail without it."
)


def _made_by(result: Influence) -> Iterable[tuple[str, str]]:
    note = result.provenance
    model = note.get("model", {})
    kind = f"{model.get('architecture', '?')}, {model.get('dtype', '?')}"
    yield "model", f"{model_name(result)} ({kind}), {HeadGrid.of_model(model).words()}"
    yield "weights", str(model.get("weights", DASH))
    yield "heads", ", ".join(note.get("heads", [])) or DASH
    yield "ablation", str(note.get("mode", DASH))
    draws = len(note.get("controls") or [])
    yield "random heads", f"{_count(draws, 'draw')}, seed {note.get('seed', DASH)}"
    yield "prompts as", str(note.get("template", DASH))
    yield "made", str(note.get("time", DASH))
    yield "versions", ", ".join(f"{k} {v}" for k, v in note.get("versions", {}).items()) or DASH
