"""The report of a scored corpus: what the scores look like and what a selection keeps."""

from __future__ import annotations

from .figures_selection import ais_by_domain, domain_counts, selection_scatter, selector_overlap
from .parts import RunFolder
from .report import Report
from .selection import TOP, overlap, select


def corpus_report(
    run: RunFolder,
    *,
    by: str = "ais",
    top: float = TOP,
    within: str | None = "domain",
    seed: int = 0,
) -> Report:
    """A page about the samples of a folder and the selection ``by`` ``top`` of them."""
    samples = run.read()
    chosen = select(samples, by, top, within=within, seed=seed)
    page = Report("Data selection", run.name, run.manifest())
    page.add_section("What was scored")
    page.add_figure(ais_by_domain(samples))
    page.add_figure(selection_scatter(chosen.samples))
    page.add_figure(domain_counts(chosen.samples))
    page.add_figure(selector_overlap(overlap(samples, tops=(0.1, 0.2, 0.5), within=within)))
    return page
