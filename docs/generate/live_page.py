"""The page that the documentation opens with, live: as `make demo` writes it, with its tour.

Of the small run in `gallery_run/`, so that no model is needed.
"""

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
    path, result = folder / "_static" / "page.html", al.Influence.load(RUN)
    al.page(result, sources, traces, scores, path, story="auto")
