"""Captions: our results beside the papers', in sentences filled from the tables.

Where a paper makes a claim and our measurements can test it, the caption begins with whether our
result agrees: the rule is a 95 % interval over what was sampled, and where that holds both answers,
or is of too few units, the caption says that it is not decided. Elsewhere it only describes our
result.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from airlens.control_kinds import CONTROL_WORDS
from airlens.experiments.mirror import mirror_summary
from airlens.experiments.studies.arm_differences import REFERENCE, differences_table
from airlens.experiments.studies.study import largest_setting, weights_table
from airlens.heads import TOP_SHARE
from airlens.statistics.correlations import spearman
from airlens.statistics.estimates import LEAST_CLUSTERS, Estimate
from airlens.statistics.grids import grid_of, mean_of
from airlens.views.figures.labels import number, percent

from .measurements import PaperData, masking_table

STANDS_OUT = 0.1  # Wu et al. §3: a retrieval head has a score of at least 0.1


def _verdict(agrees: bool, text: str) -> str:
    return f"**{'Agrees' if agrees else 'Does not agree'}.** {text}"


def _tested(found: Estimate, text: str, null: float = 0.0) -> str:
    """The text with a verdict on whether the number is over ``null``, or why there is none."""
    lo, hi = found.interval()
    if found.why_no_verdict:
        return f"**Not decided** ({found.why_no_verdict}). {text}"
    if lo <= null <= hi:
        return f"**Not decided** (the interval holds {null:g}). {text}"
    return _verdict(found.value > null, text)


def _span(found: Estimate) -> str:
    lo, hi = found.interval()
    if not np.isfinite([lo, hi]).all():
        return number(found.value)
    return f"{number(found.value)} [{number(lo)}, {number(hi)}]"


def heads_text(data: PaperData) -> str:
    """How many heads score high, and in which layers the top ones lie."""
    scores = data.demo.scores
    frame = scores.to_frame(TOP_SHARE)
    share = float((frame["score"] >= STANDS_OUT).mean())
    top = frame[frame["top"]]
    best = frame.iloc[int(frame["score"].to_numpy().argmax())]
    sure = int((frame["lo"] >= STANDS_OUT).sum())
    most = int((frame["hi"].fillna(frame["score"]) >= STANDS_OUT).sum())
    text = (
        f"{percent(share)} of {len(frame)} heads score {STANDS_OUT} or more ({sure} surely, {most} "
        f"at most, by intervals over {len(scores.samples)} probes); the top {len(top)} lie in "
        f"layers {top['layer'].min()} to {top['layer'].max()} of {scores.n_layers}. {best['name']} "
        f"leads with {number(best['score'])}, and the last of the top has "
        f"{number(top['score'].min())}."
    )
    if len(scores.samples) < LEAST_CLUSTERS:
        return f"**Not decided** ({len(scores.samples)} probes). {text}"
    if sure == 0 or (most >= 0.1 * len(frame) > sure):
        return f"**Not decided** (by the intervals of the heads). {text}"
    return _verdict(most < 0.1 * len(frame), text)


def emergence_text(data: PaperData) -> str:
    """When the strongest head of the tiny transformer emerged."""
    heads, losses = data.emergence.heads, data.emergence.losses
    last = heads[heads["step"] == heads["step"].max()]
    best = last.iloc[int(last["score"].to_numpy().argmax())]
    track = heads[heads["name"] == best["name"]].set_index("step")["score"]
    half = int(track.index[(track >= best["score"] / 2).to_numpy()].min())
    first = float(heads.loc[heads["step"] == heads["step"].min(), "score"].max())
    ends = losses["loss_repeated"].iloc[[0, -1]]
    count = heads["name"].nunique()
    return (
        f"**Ours.** In one transformer of {count} heads trained here, no head is above "
        f"{number(first)} at first; {best['name']} ends at {number(best['score'])} and has half of "
        f"that by step {half} of {heads['step'].max()}, while the loss on what can be copied goes "
        f"from {number(ends.iloc[0])} to {number(ends.iloc[1])} nats. This is a toy that can only "
        "learn to copy: it shows how such heads come about, not that those of a language model do."
    )


def masking_text(data: PaperData) -> str:
    """Copying without the top heads, without random ones, and without the needle."""
    curve = data.demo.curve
    k = int(curve["k"].max())
    at = curve.groupby(["heads", "k"])["copy_accuracy"].mean()
    base, top, random = float(at["top", 0]), float(at["top", k]), float(at["random", k])
    floor = float(curve.loc[curve["heads"] == "needle removed", "copy_accuracy"].iloc[0])
    text = (
        f"Copy accuracy is {number(base)}; {number(top)} with the top {k} heads ablated, "
        f"{number(random)} with as many random ones, {number(floor)} with the needle cut out."
    )
    if top < base:
        few = at["top"]
        half = int(few.index[(base - few >= (base - top) / 2).to_numpy()].min())
        text += f" Half of that loss is there with the first {half}: 5 % is a choice, not a border."
    drawn = curve.loc[(curve["heads"] == "random") & (curve["k"] == k), "copy_accuracy"]
    by_draw = mean_of((drawn - top).to_numpy())
    # On the probes that there are: the curve has means over them, so only draws are sampled.
    gap = Estimate(by_draw.value, by_draw.sources, LEAST_CLUSTERS, len(drawn))
    text += f" On these probes the top heads cost {_span(gap)} more, over {len(drawn)} draws."
    return _tested(gap, text)


def table_text(data: PaperData) -> str:
    """On how many measures the retrieval heads cost more than every random draw."""
    table = masking_table(data)
    summary = mirror_summary(table).set_index("measure")
    up = table.drop_duplicates("measure").set_index("measure")["higher_is_better"]
    worst = np.where(up[summary.index], summary["random_lo"], summary["random_hi"])
    gap = np.where(up[summary.index], worst - summary["top"], summary["top"] - worst)
    fails = list(summary.index[gap <= 0])
    draws = int(table.loc[table["condition"] == "random", "draw"].max()) + 1
    text = (
        f"On {len(gap) - len(fails)} of {len(gap)} measures the top heads cost more than every "
        f"random draw (at most {draws})"
    )
    text += f"; not on {', '.join(fails)}. " if fails else ". "
    return (
        f"**Ours.** {text}Accuracy on the paper's tasks is out of reach of so small a model: "
        "losses stand for it. For these the random heads are of the same layers, in the first two "
        "rows of any."
    )


def needle_text(data: PaperData) -> str:
    """Needle recall of the base model, and with heads masked."""
    needles = data.needles
    means = needles.groupby("condition")["recall"].mean()
    n = int((needles["condition"] == "base").sum())
    grids = {
        str(name): grid_of(part["recall"], part["expected"], part["draw"]).to_numpy()
        for name, part in needles.groupby("condition")
    }
    gap = mean_of(grids["random"] - grids["top"], random_draws=True)
    text = (
        f"Mean recall over {n} probes of {gap.clusters} needles: {number(means['base'])} as it is, "
        f"{number(means['top'])} with the top heads masked, {number(means['random'])} with random "
        f"ones; the top heads cost {_span(gap)} more than random ones, over needles and "
        f"{gap.draws} draws."
    )
    if means["base"] < 0.5:
        text += " The model finds less than half of the needles even unmasked, so there is little "
        text += "to lose."
    return _tested(gap, text)


def steps_text(data: PaperData) -> str:
    """How much the steps of a trace differ, beside random heads."""
    steps = data.demo.influence.steps
    known = steps.dropna(subset=["ais", "ais_control"])
    wide, control = (
        known.groupby("id")[name].agg(lambda v: float(v.max() - v.min()))
        for name in ("ais", "ais_control")
    )
    gap = mean_of((wide - control).to_numpy())
    rho = spearman(known["ais"].to_numpy(float), known["ais_control"].to_numpy(float))
    return _tested(
        gap,
        f"Within a trace the highest and the lowest step differ by {number(wide.median())} in AIS "
        f"(median of {known['id'].nunique()} traces), with {CONTROL_WORDS['same_layers']} (their "
        f"mean over draws) by {number(control.median())}; mean difference of the two {_span(gap)}, "
        f"over traces. The two rank the steps alike with ρ = {number(rho, 2)}.",
    )


def labels_text(data: PaperData) -> str:
    """Which labelled steps score highest."""
    steps = data.demo.influence.steps.dropna(subset=["label", "ais"])
    if steps.empty:
        return "No step of these traces has a label."
    median = steps.groupby("label")["ais"].median().sort_values(ascending=False)
    order = ", ".join(f"{name} {number(value)}" for name, value in median.items())
    return (
        f"**Ours.** Median AIS by what a step does: {order}. The score measures copying: a step "
        "that says again what stands in the prompt is high whatever it is worth."
    )


def domains_text(data: PaperData) -> str:
    """How much domains differ."""
    median = data.demo.influence.samples.groupby("domain")["ais"].median().sort_values()
    low, high = float(median.iloc[0]), float(median.iloc[-1])
    return (
        f"**Ours.** Median AIS goes from {number(low)} ({median.index[0]}) to {number(high)} "
        f"({median.index[-1]}); ranked over all, the choice would follow the domain."
    )


def lengths_text(data: PaperData) -> str:
    """Whether what AIS selects is longer."""
    ratios = data.lengths[data.lengths["domain"] == "all"].set_index("selector")["ratio"]
    samples = data.demo.influence.samples
    rho = spearman(samples["n_tokens"].to_numpy(float), samples["ais"].to_numpy(float))
    return (
        f"**Ours.** What AIS takes is {number(ratios['ais'])} times as long as what it leaves, "
        f"what a choice by length takes {number(ratios['length'])} times, a random choice "
        f"{number(ratios['random'])} times. Over all samples AIS goes with length at "
        f"ρ = {number(rho, 2)}"
        + (
            ", so length explains part of it."
            if abs(rho) >= 0.3
            else ", so that it is not length in disguise here."
        )
    )


def overlap_text(data: PaperData) -> str:
    """Which selector that needs no ablation overlaps most with AIS."""
    mine = data.overlap[(data.overlap["a"] == "ais") & (data.overlap["b"] != "ais")]
    at = mine[np.isclose(mine["top"], 0.2)].set_index("b")["jaccard"].sort_values()
    free = at.drop("ais_control")
    return (
        f"**Ours.** At the top 20 % AIS shares most with {free.index[-1]} (Jaccard "
        f"{number(free.iloc[-1])}) of the selectors that need no ablation, {number(at['random'])} "
        f"with a random choice, and {number(at['ais_control'])} with AIS from random heads. Near "
        "1, the score could be had for free, or from any heads."
    )


def words_text(data: PaperData) -> str:
    """How many top words selections share."""
    at = data.words[np.isclose(data.words["top"], 0.2)].set_index("other")
    best = str(at.drop("random")["tf_idf"].idxmax())
    return (
        f"**Ours.** At the top 20 % AIS shares {number(at.loc['random', 'tf'])} of its top words "
        f"by TF with a random choice, {number(at.loc['random', 'tf_idf'])} by TF-IDF; most with "
        f"{best}: {number(at.loc[best, 'tf'])} and {number(at.loc[best, 'tf_idf'])}. Only what is "
        "above the random choice says something of a selector."
    )


def clusters_text(data: PaperData) -> str:
    """How much the clusters of the chosen samples differ from those of all."""
    moved = float((data.clusters["selected"] - data.clusters["all"]).abs().sum() / 2)
    missing = int((data.clusters["selected"] == 0).sum())
    chosen = int(data.map["selected"].sum())
    return (
        f"**Ours.** {percent(moved)} of the {chosen} chosen would have to lie in other clusters to "
        f"be spread like all {len(data.map)}; {missing} of {len(data.clusters)} clusters hold none "
        "of them. With so few chosen, part of that is chance."
    )


def study_text(runs: pd.DataFrame | None) -> str:
    """Whether training on what AIR selects, or with its weights, helps, in the largest setting."""
    if runs is None or runs.empty:
        return "The study was not run: `python benchmarks/selection_study.py`."
    runs = largest_setting(runs)
    gaps = differences_table(runs[runs["budget"] == "tokens"], "nll", part=None)
    gaps = gaps[gaps["against"] == REFERENCE] if len(gaps) else gaps
    air = gaps[gaps["arm"] == "AIR"] if len(gaps) else gaps
    if air.empty:
        return "AIR, or a random selection beside it, was not run yet."
    row = air.iloc[0]
    text = (
        "Held-out NLL after training on AIR's selection minus that after a random one, at equal "
        f"tokens: {number(row['difference'])}"
    )
    if np.isfinite(row["lo"]):
        text += f" [{number(row['lo'])}, {number(row['hi'])}]"
    text += " nats a token, over problems and runs. "
    if not np.isfinite(row["p"]):
        return f"**Not decided** ({row['n_seeds']} seeds). {text}" + _weights_text(runs)
    better, worse = (gaps[gaps["decided"] & (side * gaps["difference"] > 0)] for side in (-1, 1))
    text += f"Of {len(gaps)} selections and weightings, decided better than random (Holm): "
    text += f"{_names(better)}. Worse: {_names(worse)}. The others are not told apart. "
    text += _weights_text(runs)
    if not row["decided"]:
        return f"**Not decided.** {text}"
    return _verdict(bool(row["difference"] < 0), text)


def _names(rows: pd.DataFrame) -> str:
    return "; ".join(rows["arm"]) or "none"


def _weights_text(runs: pd.DataFrame) -> str:
    weights = weights_table(runs)
    if weights.empty:
        return ""
    better, worse = (
        int((weights["decided"] & (side * weights["difference"] > 0)).sum()) for side in (-1, 1)
    )
    return (
        "Step weights, against the same data without them or with the weights shuffled: decided "
        f"better in {better} of {len(weights)} comparisons, worse in {worse}. The scale is another "
        "by far: it neither confirms nor refutes the papers' accuracies."
    )
