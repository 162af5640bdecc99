"""The measurements behind the papers' figures, as tables; each is made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from airlens.ablation import DEFAULT_MODE
from airlens.detectors.needle_probes import DEPTHS, LENGTHS, needle_probes
from airlens.experiments.emergence import Emergence, TinySettings, emergence
from airlens.experiments.needles import needle_grid
from airlens.heads import TOP_SHARE
from airlens.selection.contrast import (
    TOPS,
    cluster_shares,
    cluster_words,
    length_table,
    word_overlap,
)
from airlens.selection.overlap import overlap
from airlens.views.reports.demo_results import DemoResult, DemoSize, run_demo
from airlens.views.reports.sample_views import map_frame

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from airlens.ablation import Mode

# AIS and the selectors that it is compared with.
SELECTORS = ("ais", "random", "length", "loss", "loss_low", "entropy", "ais_control")


@dataclass(frozen=True)
class PaperSize:
    """How much is measured; the defaults take about ten minutes on two CPU cores.

    Attributes:
        demo: heads, masking and the traces.
        needle_lengths: of the needle grid, in tokens.
        needle_depths: of the needle grid, shares.
        needles: probes in each of its cells.
        random_draws: of random heads in the grid.
        tiny: the transformer that is trained to see heads emerge.
    """

    demo: DemoSize = field(default_factory=DemoSize)
    needle_lengths: tuple[int, ...] = LENGTHS
    needle_depths: tuple[float, ...] = DEPTHS
    needles: int = 1
    random_draws: int = 1
    tiny: TinySettings = field(default_factory=TinySettings)


@dataclass(frozen=True)
class PaperData:
    """The tables.

    Attributes:
        demo: heads, masking curve, traces, influence, selection.
        needles: from :func:`~airlens.experiments.needles.needle_grid`.
        emergence: heads of a tiny transformer over its training.
        overlap: Jaccard of selectors at the top 10, 20 and 50 %.
        words: top words shared with each other selector, at the same shares.
        lengths: mean tokens of what each selector takes and leaves.
        map: samples with principal components and clusters.
        clusters: shares of clusters among all and among the chosen.
        runs: of the selection study; None where it was not run.
        provenance: settings and versions.
    """

    demo: DemoResult
    needles: pd.DataFrame
    emergence: Emergence
    overlap: pd.DataFrame
    words: pd.DataFrame
    lengths: pd.DataFrame
    map: pd.DataFrame
    clusters: pd.DataFrame
    runs: pd.DataFrame | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


def thirds(longest: int) -> tuple[int, ...]:
    """Three lengths up to the longest, for the needle grid."""
    return tuple(longest * i // 3 for i in (1, 2, 3))


def measure_paper(
    model: TransformerBridge,
    *,
    size: PaperSize | None = None,
    mode: Mode = DEFAULT_MODE,
    seed: int = 0,
    runs: pd.DataFrame | None = None,
    progress: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> PaperData:
    """Measure all that the figures show, on one model and the bundled traces.

    Args:
        model: the bridge.
        size: how much to measure.
        mode: ablation mode.
        seed: of probes, draws, the random selector, clusters and the tiny transformer.
        runs: of the selection study.
        progress: show progress bars.
        say: called with a line of text at each stage.
    """
    size = size or PaperSize()
    demo = run_demo(model, size=size.demo, mode=mode, seed=seed, progress=progress, say=say)
    top = demo.scores.top(TOP_SHARE)
    say("asking for needles, with heads masked")
    grid = (size.needle_lengths, size.needle_depths)
    probes = needle_probes(model.tokenizer, size.needles, *grid, seed=seed)
    needles = needle_grid(
        model, top, probes, mode=mode, draws=size.random_draws, seed=seed, progress=progress
    )
    say("training a tiny transformer")
    grown = emergence(replace(size.tiny, seed=seed), progress=progress)
    say("comparing selections")
    samples, texts = demo.influence.samples, pd.Series({t.id: t.response for t in demo.traces})
    rivals = [name for name in SELECTORS if name != "ais"]
    chart = map_frame(demo.selection, texts, model, seed=seed, progress=progress)
    shares = cluster_shares(chart, chart.set_index("id")["selected"])
    shares["words"] = shares["cluster"].map(cluster_words(chart))
    return PaperData(
        demo,
        needles,
        grown,
        overlap(samples, SELECTORS, TOPS, seed=seed),
        word_overlap(samples, texts, others=rivals, seed=seed),
        length_table(samples, SELECTORS, seed=seed),
        chart,
        shares,
        runs,
        {**demo.provenance, "paper_size": asdict(size)},
    )


def masking_table(data: PaperData) -> pd.DataFrame:
    """AttentionInfluence's Table 6 from these data, in the form of `airlens.experiments.mirror`.

    Copy accuracy and needle recall have random heads of any layer, losses random heads of the same
    layers. One row per measurement: measure, condition (base, random, top), draw, value,
    higher_is_better.
    """
    curve, needles = data.demo.curve, data.needles
    base = curve[(curve["heads"] == "top") & (curve["k"] == 0)].assign(heads="base")
    at_top = curve[(curve["k"] == curve["k"].max()) & curve["heads"].isin(["top", "random"])]
    rows = [
        ("copy accuracy", row["heads"], row["draw"], row["copy_accuracy"])
        for row in pd.concat([base, at_top]).to_dict("records")
    ]
    recall = needles.groupby(["condition", "draw"], sort=False)["recall"].mean()
    rows += [("needle recall", *place, value) for place, value in recall.items()]  # type: ignore[misc]
    frame = pd.DataFrame(rows, columns=["measure", "condition", "draw", "value"])
    return pd.concat(
        [frame.assign(higher_is_better=True), _losses(data).assign(higher_is_better=False)],
        ignore_index=True,
    )


def _losses(data: PaperData) -> pd.DataFrame:
    """Response NLL (nats per token) of each domain: measure, condition, draw, value."""
    samples, controls = data.demo.influence.samples, data.demo.influence.controls
    tokens = samples.set_index("id")["n_tokens"]
    rows: list[tuple[Any, ...]] = []
    for domain, part in samples.groupby("domain", sort=False):
        name = f"NLL, {domain}"
        for condition, column in (("base", "loss_base"), ("top", "loss_ref")):
            rows.append((name, condition, 0, np.average(part[column], weights=part["n_tokens"])))
        mine = controls[controls["id"].isin(part["id"])]
        for draw, of_draw in mine.groupby("draw"):
            weights = tokens[of_draw["id"]]
            value = np.average(of_draw["loss_control"], weights=weights)
            rows.append((name, "random", draw, value))
    return pd.DataFrame(rows, columns=["measure", "condition", "draw", "value"])
