"""Write the page: results of influence and sources to one HTML file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from airlens.arguments import checked
from airlens.errors import ConfigError, DataError, need_count
from airlens.traces.trace import Trace
from airlens.views.explorers.source_traits import MOST_SOURCES
from airlens.views.figures.style import need
from airlens.views.html_file import html_file, packed_json, script_json, write_html

if TYPE_CHECKING:
    import pandas as pd

    from airlens.heads import HeadScores
    from airlens.step_influence.early_answers import EarlyAnswers
    from airlens.step_influence.head_subsets import HeadSubsets
    from airlens.step_influence.influence import Influence
    from airlens.step_sources import Sources

    from .story import Story


@checked
def page(
    result: Influence,
    sources: Sources | None,
    traces: Iterable[Trace] | Trace,
    scores: HeadScores | None = None,
    path: str | Path = "page.html",
    *,
    step_heads: pd.DataFrame | None = None,
    early: EarlyAnswers | None = None,
    subsets: HeadSubsets | None = None,
    most_sources: int | None = MOST_SOURCES,
    story: Story | None = None,
    title: str | None = None,
    report: str | None = None,
) -> Path:
    """Write one interactive HTML file: traces, steps, heads and sources beside their controls.

    The file contains its data, style and script; it loads nothing from a server, and its
    content-security policy forbids that. It opens at the strongest step above its control, and its
    title says so. The address holds what is shown: ``page.html#trace=3&step=12`` opens that step.

    Its size is at most about 200 kB + 60 bytes a token + 9 bytes x measures x steps x
    ``most_sources`` (deflated and in base64; with ``early``, 100 bytes a step more; with
    ``subsets``, 3 bytes a token for each subset and each number of random heads).

    Args:
        result: of :func:`airlens.influence`.
        sources: of :func:`airlens.sources`, of the same heads; None for a page without sources.
        traces: the traces to show, in this order; ``result`` must contain each.
        scores: of all heads, for their map; None: no map.
        path: where the page is written, atomically.
        step_heads: each head alone, one row per trace, head and step: id, name (``L18H6``), step,
            delta (nats per token); None leaves the map of heads and steps out.
        early: of :func:`airlens.early_answers`, of the same heads: what the model would answer
            after each step, along the trace; None leaves that out.
        subsets: of :func:`airlens.head_subsets`, of the same heads: a slider and a button for each
            head then recolour text, bars and copies for fewer heads; a set that was not measured
            is the sum of its heads alone, and called an estimate. None leaves them out.
        most_sources: how many sources of a step are kept for each measure, the strongest by value
            or control, so that the page grows with the steps, not with their square; None: all.
        story: a tour through the page, which opens at its first stop: pairs of a link to the page
            (``"#trace=1&step=4"``) and a caption; or ``"auto"``, which is told from the results:
            the finding, whence it copies, its control, an exception.
        title: of the page, plain text; None: what was found. A title of your own stands above it.
        report: a report of the same results to link to: its address, relative to the page.

    Returns:
        The path.

    Raises:
        ConfigError: ``sources``, ``early`` or ``subsets`` are of other heads than ``result``; a
            stop of the story that the page does not have.
        DataError: a trace that ``result`` does not contain, or no trace at all.
    """
    text = page_html(
        result,
        sources,
        traces,
        scores,
        step_heads=step_heads,
        early=early,
        subsets=subsets,
        most_sources=most_sources,
        story=story,
        title=title,
        report=report,
    )
    return write_html(text, path)


def page_html(
    result: Influence,
    sources: Sources | None,
    traces: Iterable[Trace] | Trace,
    scores: HeadScores | None = None,
    *,
    step_heads: pd.DataFrame | None = None,
    early: EarlyAnswers | None = None,
    subsets: HeadSubsets | None = None,
    most_sources: int | None = MOST_SOURCES,
    story: Story | None = None,
    title: str | None = None,
    report: str | None = None,
) -> str:
    """The page that :func:`page` writes, as text; the same input gives the same bytes."""
    from . import body, data, page_script
    from .story import stops_of, told

    if most_sources is not None:
        need_count(most_sources, "most_sources", 1)
    chosen = [traces] if isinstance(traces, Trace) else list(traces)
    result = _only(result, chosen)
    heads = _heads(result, sources, early, subsets)
    if step_heads is not None:
        need(step_heads, ("id", "name", "step", "delta"), "page")
    index = data.index_data(result, sources, scores, heads, early, subsets)
    index["alone"] = step_heads is not None and len(step_heads) > 0
    if story == "auto":
        stops = told(result, sources, chosen, heads, early)
    else:
        stops = stops_of(story or [], len(chosen))
    index["story"] = [stop.state for stop in stops]
    blocks = {"index": script_json(data.compact(index))}
    for i, trace in enumerate(chosen):
        alone = None if step_heads is None else step_heads[step_heads["id"] == trace.id]
        found = data.compact(
            data.trace_data(result, sources, trace, alone, early, most_sources, subsets)
        )
        blocks[f"trace-{i}"] = packed_json(found)
    return html_file(
        title=title or body.page_name(result, sources),
        body=body.body(title, result, sources, chosen, index, report, early, stops),
        style=page_script.page_style(),
        scripts=[page_script.page_script()],
        data=blocks,
    )


def _only(result: Influence, traces: Sequence[Trace]) -> Influence:
    """The result with the samples of these traces, in their order."""
    from dataclasses import replace

    if not traces:
        raise DataError("a page needs at least one trace")
    ids = [trace.id for trace in traces]
    rows = result.samples.assign(id=result.samples["id"].astype(str)).set_index("id", drop=False)
    if missing := [id for id in ids if id not in rows.index]:
        raise DataError(
            f"trace {missing[0]!r} is not in the result: run al.influence on the same traces"
        )
    return replace(result, samples=rows.loc[ids].reset_index(drop=True))


def _heads(
    result: Influence,
    sources: Sources | None,
    early: EarlyAnswers | None,
    subsets: HeadSubsets | None,
) -> list[str]:
    """The heads that the page is about."""
    heads = [str(name) for name in result.provenance.get("heads", [])]
    for name, other in (("sources", sources), ("early_answers", early), ("head_subsets", subsets)):
        others = heads if other is None else other.provenance.get("heads", heads)
        if set(others) != set(heads):
            raise ConfigError(
                f"influence and {name.replace('_', ' ')} are of different heads; give al.{name} "
                "those of al.influence"
            )
    return heads
