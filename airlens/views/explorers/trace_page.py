"""The trace that an explorer shows, as a page to send: what is measured already, in one file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pandas as pd

from airlens.errors import ConfigError
from airlens.views.figures.strongest_step import StrongestStep, said_of, strongest_step
from airlens.views.page.page_file import page_html

if TYPE_CHECKING:
    from airlens.heads import HeadScores

    from .trace_explorer import TraceExplorer


def trace_page(view: TraceExplorer, scores: HeadScores | None = None) -> tuple[str, str]:
    """Name and text of a page of the shown trace, which opens at the chosen step.

    Nothing is measured for it: sources, heads alone and early answers are in it where they are
    known.

    Raises:
        ConfigError: no trace is scored yet.
    """
    found, trace = view.result, view.trace
    if found is None:
        raise ConfigError("no trace is scored yet")
    alone = view.frame("heads")
    html = page_html(
        found,
        view.sources.result,
        [trace],
        scores,
        step_heads=None if alone.empty else alone.assign(id=trace.id),
        early=view.answers.result,
        story=_opened(view),
    )
    name = re.sub(r"[^\w.-]+", "-", trace.id).strip("-.")[:60] or "trace"
    return f"airlens-{name}.html", html


def _opened(view: TraceExplorer) -> list[tuple[str, str]] | None:
    """A stop at the chosen step; None where a page opens there by itself."""
    step, steps = view.text.current, view.frame("steps")
    best = strongest_step(steps)
    if step < 0 or (best is not None and best.step == step):
        return None
    row = steps[steps["step"] == step].iloc[0]
    if pd.isna(row["ais"]):
        return None
    here = StrongestStep(
        view.trace.id, step, str(row["label"] or ""), float(row["ais"]), float(row["ais_control"])
    )
    return [(urlencode({"trace": 1, "step": step}), said_of(here, len(view.heads), "this trace"))]
