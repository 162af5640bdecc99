"""The report of a scored corpus: what scores look like, what a selection keeps and leaves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from . import contrast
from .embed import embed_map, embeddings
from .errors import DataError
from .figstyle import floats
from .figtext import number, percent
from .figures_corpus import cluster_bars, lengths_by_selector, sample_map, word_overlap_map
from .figures_selection import (
    ais_by_domain,
    domain_counts,
    selection_scatter,
    selector_overlap,
)
from .parts import RunFolder
from .report import Report
from .selection import TOP, Selection, overlap, select
from .stats import spearman
from .trace_html import trace_html

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MAP_SAMPLES = 300  # ours: embedded for the map; a larger corpus is drawn from, seeded
MOST_POINTS = 5_000  # drawn as points; of more, so many at random
TABLE_ROWS = 200
_TABLE = ["id", "domain", "n_tokens", "loss_base", "ais", "ais_control", "delta", "selected"]


def corpus_report(
    run: RunFolder,
    *,
    by: str = "ais",
    top: float = TOP,
    within: str | None = "domain",
    seed: int = 0,
    model: TransformerBridge | None = None,
    shown: int = 3,
    progress: bool = False,
) -> Report:
    """A page about the samples of a folder and the selection of the ``top`` share ``by``.

    Args:
        run: what `airlens.run.score_corpus` wrote.
        by: the selector that is looked at.
        top: share that is kept.
        within: rank within the groups of this column.
        seed: of ``random``, of the map's draw and of its clusters.
        model: draws the map of samples from its residual stream; without it there is none.
        shown: how many samples of each kind are shown as text.
        progress: show a progress bar while samples are embedded.

    Raises:
        DataError: the folder holds no scores.
    """
    samples = run.read()
    chosen = select(samples, by, top, within=within, seed=seed)
    matched = select(samples, by, top, within=within, seed=seed, length_matched=True)
    manifest = run.manifest()
    subtitle = f"{by}, top {percent(top)}" + (f" within each {within}" if within else "")
    page = Report("What is selected, and what else that follows", subtitle, manifest)
    _facts(page, samples, chosen, manifest)
    _scores(page, chosen, by)
    _lengths(page, chosen, matched, by)
    selectors = contrast.usable_selectors(samples)
    _overlaps(page, samples, selectors, within, seed)
    if run.has("rows"):
        texts = run.read("rows", ["id", "response"]).set_index("id")["response"]
        _words(page, samples, texts, by, within, seed)
        if model is not None:
            _map(page, chosen, texts, model, seed, progress)
        _samples(page, run, chosen, by, shown)
    _table(page, chosen)
    return page


def _facts(page: Report, samples: pd.DataFrame, chosen: Selection, manifest: Any) -> None:
    page.add_section("What was scored")
    page.add_facts(
        {
            "samples": f"{len(samples):,}",
            "domains": str(samples["domain"].nunique()),
            "response tokens": f"{int(samples['n_tokens'].sum()):,}",
            "chosen": f"{len(chosen.ids):,}",
            "rows rejected": f"{manifest.get('rejects', 0):,}",
            "below the loss floor": f"{int(samples['below_floor'].sum()):,}",
        }
    )
    settings = manifest.get("identity", {})
    model = manifest.get("provenance", {}).get("model", {}).get("name", "")
    page.add_text(
        f"AIS is how much the mean token loss of a response grows, as a share of it, when "
        f"{len(settings.get('heads', []))} heads of `{model}` are ablated "
        f"(mode `{settings.get('mode', '')}`). It favours texts that repeat themselves, and a "
        "ratio is large where the base loss is small: look at the baselines beside it."
    )


def _scores(page: Report, chosen: Selection, by: str) -> None:
    page.add_section("Scores by domain")
    drawn = _drawn(chosen.samples)
    page.add_figure(ais_by_domain(drawn))
    page.add_figure(domain_counts(chosen.samples))
    column = by if by in chosen.samples else "selector"
    page.add_figure(
        selection_scatter(drawn, "loss_base", column),
        "Where the base loss is low, a small rise is a large share of it.",
    )


def _lengths(page: Report, chosen: Selection, matched: Selection, by: str) -> None:
    page.add_section("Is it length?")
    samples = chosen.samples
    rho = spearman(floats(samples, "n_tokens"), floats(samples, "selector"))
    means = [float(part.chosen["n_tokens"].mean()) for part in (chosen, matched)]
    page.add_text(
        f"Spearman's ρ between {by} and the length of the response is **{number(rho, 2)}**. The "
        f"mean length of all is {number(float(samples['n_tokens'].mean()))} tokens, of the chosen "
        f"{number(means[0])}. *Length-matched* takes the same share of each tenth of the lengths: "
        f"mean {number(means[1])} tokens, and "
        f"{percent(_common(chosen, matched))} of the plain choice."
    )
    column = by if by in samples else "selector"
    page.add_figure(selection_scatter(_drawn(samples), "n_tokens", column))
    page.add_figure(
        selection_scatter(
            _drawn(matched.samples), "n_tokens", column, title="The length-matched choice"
        )
    )
    table = contrast.length_table(samples, top=chosen.provenance["top"])
    page.add_figure(lengths_by_selector(table))
    page.add_table(table, "Mean response tokens of what each selector takes and leaves.")


def _drawn(samples: pd.DataFrame) -> pd.DataFrame:
    return samples.sample(min(len(samples), MOST_POINTS), random_state=0).sort_index()


def _common(a: Selection, b: Selection) -> float:
    return len(set(a.ids) & set(b.ids)) / max(1, len(a.ids))


def _overlaps(
    page: Report, samples: pd.DataFrame, selectors: list[str], within: str | None, seed: int
) -> None:
    page.add_section("Overlap of selectors")
    table = overlap(samples, selectors, contrast.TOPS, within=within, seed=seed)
    for top in contrast.TOPS:
        page.add_figure(selector_overlap(table, top, title=f"What is shared at top {percent(top)}"))
    page.add_text("Two random choices of the top 20 % share a Jaccard of about 0.11.")


def _words(
    page: Report,
    samples: pd.DataFrame,
    texts: pd.Series,
    by: str,
    within: str | None,
    seed: int,
) -> None:
    page.add_section("Words")
    table = contrast.word_overlap(samples, texts, by, within=within, seed=seed)
    page.add_figure(word_overlap_map(table, title=f"Top words that {by} shares with others"))


def _map(
    page: Report,
    chosen: Selection,
    texts: pd.Series,
    model: TransformerBridge,
    seed: int,
    progress: bool,
) -> None:
    page.add_section("Where the chosen lie")
    frame = map_frame(chosen, texts, model, seed=seed, progress=progress)
    page.add_figure(sample_map(frame))
    shares = contrast.cluster_shares(frame, frame.set_index("id")["selected"])
    shares["words"] = shares["cluster"].map(contrast.cluster_words(frame))
    page.add_figure(cluster_bars(shares))
    page.add_text(
        "Each response is the mean of the model's own residual stream in the middle of its "
        "layers; axes are the first two principal components, clusters are found by k-means in "
        "the first 20."
    )


def map_frame(
    chosen: Selection,
    texts: pd.Series,
    model: TransformerBridge,
    *,
    n: int = MAP_SAMPLES,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Samples with map coordinates, cluster and text; of more than ``n``, ``n`` at random."""
    samples = chosen.samples
    if len(samples) > n:
        samples = samples.sample(n, random_state=np.random.default_rng(seed)).sort_index()
    words = texts.loc[samples["id"]].astype(str).tolist()
    vectors = embeddings(model, words, progress=progress)
    frame = embed_map(list(samples["id"]), vectors, seed=seed)
    explained = frame.attrs.get("explained", [])
    columns = samples.set_index("id").loc[frame["id"]]
    for name in ("selected", "ais", "domain"):
        if name in columns:
            frame[name] = columns[name].to_numpy()
    frame["text"] = words
    frame.attrs["explained"] = explained
    return frame


def _samples(page: Report, run: RunFolder, chosen: Selection, by: str, shown: int) -> None:
    page.add_section("Samples to read")
    against = "loss" if by != "loss" else "length"
    telling = contrast.telling_samples(chosen.samples, by, against, shown)
    steps = run.read("steps") if run.has("steps") else None
    texts = run.read("rows").set_index("id")
    values = chosen.samples.set_index("id")
    for why, part in telling.groupby("why", sort=False):
        page.add_text(f"### {str(why).capitalize()}")
        for name in part["id"]:
            row = values.loc[name]
            page.add_text(
                f"`{name}` · AIS {number(row['ais'])} "
                f"(random heads {number(row['ais_control'])}) · base loss "
                f"{number(row['loss_base'])} nats · {int(row['n_tokens'])} tokens"
            )
            page.add_text(f"*{str(texts.loc[name, 'prompt'])[:600]}*".replace("\n", " "))
            page.add_html(step_html(texts.loc[name], steps, str(name)))


def step_html(text: pd.Series, steps: pd.DataFrame | None, name: str) -> str:
    """A response with its steps coloured by AIS, each step's value in the margin.

    Args:
        text: response and steps (JSON) of the row.
        steps: the step table; without it the text is shown uncoloured.
        name: the row's id.

    Raises:
        DataError: the row's steps do not fit the table.
    """
    response = str(text["response"])
    spans = json.loads(text["steps"]) or [[0, len(response), None]]
    pieces = pd.DataFrame(
        [
            {"id": name, "step": i, "pos": i, "token": response[a:b], "start": a, "end": b}
            for i, (a, b, _) in enumerate(spans)
        ]
    )
    mine = None if steps is None else steps[steps["id"] == name]
    if mine is not None and len(mine) not in (len(pieces), len(pieces) + 1):
        raise DataError(f"row {name!r} has {len(pieces)} steps, {len(mine)} were scored")
    if mine is not None and len(mine) == len(pieces) + 1:  # a document: its prompt is a step too
        mine = mine.assign(step=mine["step"] - 1)
    return trace_html(pieces, mine, name, value="ais", response=response)


def _table(page: Report, chosen: Selection) -> None:
    page.add_section("All samples")
    frame = chosen.samples.sort_values("selector", ascending=False, kind="stable")
    columns = [name for name in _TABLE if name in frame]
    page.add_table(frame[columns], "Best first.", bars=("ais",), rows=TABLE_ROWS)
