"""The report of a scored corpus: its scores, and what a selection keeps and leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airlens.corpus.run_folder import RunFolder
from airlens.selection.contrast import column_of
from airlens.selection.select import SELECTORS, TOP, columns_to_rank, select
from airlens.shares import Share, share_or_count
from airlens.views.figures.labels import percent

from .corpus_sections import COLUMNS, Sections
from .html_page import Report

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MOST_POINTS = 5_000  # drawn as points, and read for their words; of a larger corpus a random sample


def corpus_report(
    run: RunFolder,
    *,
    by: str = "ais",
    top: Share = TOP,
    within: str | None = "domain",
    seed: int = 0,
    model: TransformerBridge | None = None,
    shown: int = 3,
    progress: bool = False,
) -> Report:
    """A page about the samples of a folder and the selection of the ``top`` of each group ``by``.

    Args:
        run: what `airlens.corpus.run.score_corpus` wrote.
        by: the selector that the page is about.
        top: the share or the number kept of each group.
        within: rank within the groups of this column.
        seed: of ``random``, of the samples drawn from a large corpus, and of the map's clusters.
        model: its residual stream gives the map of samples; without a model there is no map.
        shown: how many samples of each kind are shown as text.
        progress: show a progress bar while samples are embedded.

    Of the samples the columns that the page is about are in memory, some 200 bytes a row, of the
    texts only those that are shown.

    Raises:
        DataError: the folder holds no scores.
    """
    samples = run.read(columns=_columns(by, within))
    several = within is not None and samples[within].nunique() > 1
    top = share_or_count(top)
    kept = percent(top) if isinstance(top, float) else str(top)
    subtitle = f"{by}, top {kept}" + (f" within each {within}" if several else "")
    page = Report("What is selected, and what else that follows", subtitle, run.manifest())
    chosen = select(samples, by, top, within=within, seed=seed)
    drawn = samples.sample(min(len(samples), MOST_POINTS), random_state=0).sort_index()
    sections = Sections(page, run, chosen, by, top, within, seed, drawn.index)
    sections.facts(run.manifest())
    sections.notes([*run.current().notes, *chosen.notes])
    sections.scores()
    sections.simpler()
    sections.lengths()
    sections.overlaps()
    if run.has("rows"):
        texts = run.some("rows", set(drawn["id"]), ["id", "response"])
        responses = texts.set_index("id")["response"]
        sections.words(responses)
        if model is not None:
            sections.map(responses, model, progress)
        sections.texts(shown)
    sections.table()
    return page


def _columns(by: str, within: str | None) -> list[str] | None:
    """The columns of the samples that the page is about; None: all, for a selector of one's own."""
    mine = columns_to_rank(by, within)
    if mine is None:
        return None
    ranked = [column_of(name) for name in SELECTORS.own]
    return list(dict.fromkeys([*mine, *COLUMNS, *ranked]))
