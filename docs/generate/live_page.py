"""The page that the documentation opens with, live: of the small run in `gallery_run/`."""

from __future__ import annotations

from pathlib import Path

import airlens as al

RUN = Path(__file__).parents[1] / "gallery_run"


def write(folder: Path) -> None:
    """Write `_static/page.html`."""
    sources = al.Sources.load(RUN / "sources")
    ids = set(sources.units["id"])
    traces = [t for t in al.load_traces(al.data_path("traces.jsonl")) if t.id in ids]
    scores = al.HeadScores.load(RUN / "heads.json")
    al.page(al.Influence.load(RUN), sources, traces, scores, folder / "_static" / "page.html")
