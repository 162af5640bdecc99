"""What a page says around its views: its head, the traces to choose from, what its numbers mean.

The HTML of it is the template ``page.html.j2``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from airlens.heads import HeadGrid
from airlens.version import __version__
from airlens.views.figures.coloured_text import longest_bar, margin_number
from airlens.views.figures.labels import DASH, known, number, percent, shorten
from airlens.views.figures.step_maps import row_dicts
from airlens.views.html_file import rendered

from .data import copied_shares, finding, measures_of

if TYPE_CHECKING:
    from airlens.step_influence.early_answers import EarlyAnswers
    from airlens.step_influence.influence import Influence
    from airlens.step_sources import Sources
    from airlens.traces.trace import Trace

    from .story import Stop

PAPERS = (
    ("AIR", "2512.13279", "steps and samples scored by retrieval heads"),
    ("AttentionInfluence", "2505.07293", "the score over a corpus"),
    ("Retrieval heads", "2404.15574", "what a retrieval head is"),
)
HEADS_SHOWN = 3


def page_name(result: Influence, sources: Sources | None) -> str:
    """What the page is about, without its finding."""
    model = model_name(result)
    return (
        f"Where {model} copies from" if sources is not None else f"What the heads of {model} carry"
    )


def model_name(result: Influence) -> str:
    """The model's name, without the folders before it."""
    name = str(result.provenance.get("model", {}).get("name") or "the model")
    return name.rstrip("/").rsplit("/", 1)[-1] or name


def body(
    title: str | None,
    result: Influence,
    sources: Sources | None,
    traces: Sequence[Trace],
    data: Mapping[str, Any],
    report: str | None = None,
    early: EarlyAnswers | None = None,
    story: Sequence[Stop] = (),
) -> Markup:
    """The page's body, for :func:`airlens.views.html_file.html_file`.

    Args:
        title: plain text; None: the page's finding is its title.
        result: of the traces.
        sources: of the traces, where measured.
        traces: in the order of ``result.samples``.
        data: what :func:`airlens.views.page.data.index_data` gave.
        report: the address of a report to link to.
        early: of the traces, where measured.
        story: the stops of a tour through the page.
    """
    notes = {"influence": result.provenance}
    if early is not None:
        notes["early answers"] = early.provenance
    if sources is not None:
        notes["sources"] = sources.provenance
    shown = [("critical", "the critical heads"), ("control", "random heads"), ("both", "both")]
    found = finding(result, data["heads"])
    trace, step = data["opens"]
    return rendered(
        "page/page.html.j2",
        name=page_name(result, sources),
        report=report or "",
        title=title or found,
        finding=found if title else "",
        opens=f"#trace={trace + 1}" + (f"&step={step}" if step >= 0 else ""),
        opens_at=f"step {step} of {_last(traces[trace].id)}" if step >= 0 else "",
        lede=_lede(result, len(traces)),
        facts=list(_facts(result, sources)),
        cards=_cards(result, traces),
        colours=[(colour["name"], colour["text"]) for colour in data["colours"]],
        measures=[(measure["name"], measure["text"]) for measure in data["measures"]],
        shown=shown if data["controls"] else shown[:1],
        map=data["map"] is not None,
        alone=data["alone"],
        early=data["early"],
        subsets=_alone(data["subsets"]),
        n_tops=1 + sum(not one["alone"] or one["first"] for one in data["subsets"]),
        story=[(f"#{stop.state}", stop.said) for stop in story],
        measured=measured(result, sources, early),
        made_by=list(_made_by(result)),
        record=json.dumps(notes, indent=1, ensure_ascii=False, default=str),
        version=__version__,
        papers=PAPERS,
    )


def _alone(subsets: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The choice of one head that is ablated alone; empty where that was not measured."""
    names = [str(one["name"]) for one in subsets if one["alone"]]
    return [("", "no"), *((name, name) for name in names)] if names else []


def _lede(result: Influence, n_traces: int) -> str:
    """What was done, in a sentence."""
    note = result.provenance
    model, heads = note.get("model", {}), note.get("heads", [])
    total = len(HeadGrid.of_model(model))
    names = ", ".join(heads[:HEADS_SHOWN]) + (", …" if len(heads) > HEADS_SHOWN else "")
    return (
        f"{_count(n_traces, 'trace')} read through {_count(len(heads), 'attention head')}"
        + (f" of {total}" if total else "")
        + f" ({names}), ablation {note.get('mode', DASH)}"
        + (", beside as many random heads." if note.get("controls") else ".")
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


@dataclass(frozen=True)
class _Bar:
    """A value with its bar: ``width`` in pixels, ``colour`` a class of the style sheet."""

    text: str
    width: str
    colour: str


@dataclass(frozen=True)
class _Card:
    """A trace to choose, with its AIS and that of random heads."""

    name: str
    said: str
    size: str
    bars: list[_Bar]


def _cards(result: Influence, traces: Sequence[Trace]) -> list[_Card]:
    rows = {str(row["id"]): row for row in row_dicts(result.samples)}
    longest = longest_bar(rows.values())
    return [_card(trace.id, rows[trace.id], longest) for trace in traces]


def _card(id: str, row: Mapping[str, Any], longest: float) -> _Card:
    said = f"{id}: AIS {number(row['ais'])}" + (
        f", random heads {number(row['ais_control'])}" if known(row["ais_control"]) else ""
    )
    size = f"{_count(int(row['n_steps']), 'step')}, {int(row['n_tokens']):,} tokens"
    bars = [
        _bar(float(row[name]), longest, colour)
        for name, colour in (("ais", "warm"), ("ais_control", "grey"))
        if known(row[name])
    ]
    return _Card(_last(id), said, size, bars)


def _last(id: str) -> str:
    """The last part of a name that is a path: the part in which names of one data set differ."""
    return shorten(id.rstrip("/").rsplit("/", 1)[-1] or id, 28)


def _bar(real: float, longest: float, colour: str) -> _Bar:
    width = max(60 * min(abs(real) / longest, 1.0), 1)
    shade = "cool" if real < 0 and colour == "warm" else colour
    return _Bar(margin_number(real), f"{width:.0f}", shade)


def measured(
    result: Influence, sources: Sources | None, early: EarlyAnswers | None = None
) -> list[tuple[str, str]]:
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
    names = [] if sources is None else [measure["name"] for measure in measures_of(sources)]
    found += [(name, text) for name, text in _SOURCES.items() if name in names]
    if early is not None:
        forcing = str(early.provenance.get("forcing_text", DASH))
        found += [(name, text.format(forcing=forcing)) for name, text in _EARLY.items()]
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
    "knockout_kl": "Mean KL divergence, in nats, of what the model predicts at the step's tokens "
    "from what it predicts when the heads may not attend to the source: of all words that could "
    "have come, where the knockout has those that did.",
}
_EARLY = {
    "early answers": "The trace is cut after each step, “{forcing}” is written behind the cut, and "
    "the model goes on: that is the answer it would give there. The curves are the probability of "
    "the trace's own answer.",
    "gain": "What a step adds to the log-probability of the trace's answer, in nats. A step that "
    "writes the answer adds it trivially. Another text behind the cut can give other gains.",
    "depends": "Fall of the answer's log-probability, in nats, when these heads may not attend to "
    "the step while the answer is given.",
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
