"""Captions: our results beside the papers', in sentences filled from the tables.

Where a paper makes a claim, the caption begins with whether our result agrees, by a rule in the
code beside it, so that no sentence can contradict its numbers. Elsewhere it only describes our
result.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from airlens.analysis.mirror import mirror_summary
from airlens.analysis.statistics import spearman
from airlens.figures.labels import number, percent
from airlens.heads import TOP_SHARE
from airlens.training.arm_differences import REFERENCE, differences_table
from airlens.training.study import largest_setting, study_table, weights_table

from .measurements import PaperData, masking_table

STANDS_OUT = 0.1  # Wu et al. §3: a retrieval head has a score of at least 0.1


def _verdict(agrees: bool, text: str) -> str:
    return f"**{'Agrees' if agrees else 'Does not agree'}.** {text}"


def heads_text(data: PaperData) -> str:
    """How many heads score high, and in which layers the top ones lie."""
    scores = data.demo.scores
    frame = scores.to_frame(TOP_SHARE)
    share = float((frame["score"] >= STANDS_OUT).mean())
    top = frame[frame["top"]]
    best = frame.iloc[int(frame["score"].to_numpy().argmax())]
    return _verdict(
        0 < share < 0.1,
        f"{percent(share)} of {len(frame)} heads score {STANDS_OUT} or more; the top {len(top)} "
        f"lie in layers {top['layer'].min()} to {top['layer'].max()} of {scores.n_layers}. "
        f"{best['name']} leads with {number(best['score'])}, and the last of the top has "
        f"{number(top['score'].min())}.",
    )


def emergence_text(data: PaperData) -> str:
    """When the strongest head of the tiny transformer emerged."""
    heads, losses = data.emergence.heads, data.emergence.losses
    last = heads[heads["step"] == heads["step"].max()]
    best = last.iloc[int(last["score"].to_numpy().argmax())]
    track = heads[heads["name"] == best["name"]].set_index("step")["score"]
    half = int(track.index[(track >= best["score"] / 2).to_numpy()].min())
    first = float(heads.loc[heads["step"] == heads["step"].min(), "score"].max())
    ends = losses["loss_repeated"].iloc[[0, -1]]
    return _verdict(
        bool(best["score"] > 2 * max(first, 0.05)),
        f"In a transformer of {heads['name'].nunique()} heads trained here, no head is above "
        f"{number(first)} at first; {best['name']} ends at {number(best['score'])} and has half of "
        f"that by step {half} of {heads['step'].max()}, while the loss on what can be copied goes "
        f"from {number(ends.iloc[0])} to {number(ends.iloc[1])} nats. This is a toy that can only "
        "learn to copy: it shows how such heads come about, not that those of a language model do.",
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
    return _verdict(base - top > 2 * abs(base - random), text)


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
    return _verdict(
        len(fails) < len(gap) / 2,
        f"{text}Accuracy on the paper's tasks is out of reach of so small a model: losses stand "
        "for it. For these the random heads are of the same layers, in the first two rows of any.",
    )


def needle_text(data: PaperData) -> str:
    """Needle recall of the base model, and with heads masked."""
    means = data.needles.groupby("condition")["recall"].mean()
    n = int((data.needles["condition"] == "base").sum())
    drop, control = means["base"] - means["top"], means["base"] - means["random"]
    text = (
        f"Mean recall over {n} probes: {number(means['base'])} as it is, {number(means['top'])} "
        f"with the top heads masked, {number(means['random'])} with random ones."
    )
    if means["base"] < 0.5:
        text += " The model finds less than half of the needles even unmasked, so there is little "
        text += "to lose."
    return _verdict(bool(drop > 2 * abs(control) and drop > 0.1), text)


def steps_text(data: PaperData) -> str:
    """How much the steps of a trace differ, beside random heads."""
    steps = data.demo.influence.steps
    known = steps.dropna(subset=["ais", "ais_control"])
    wide = known.groupby("id")["ais"].agg(lambda v: float(v.max() - v.min())).median()
    control = known.groupby("id")["ais_control"].agg(lambda v: float(v.max() - v.min())).median()
    rho = spearman(known["ais"].to_numpy(float), known["ais_control"].to_numpy(float))
    return _verdict(
        bool(wide > control),
        f"Within a trace the highest and the lowest step differ by {number(wide)} in AIS (median "
        f"of {known['id'].nunique()} traces), with random heads of the same layers by "
        f"{number(control)}. The two rank the steps alike with ρ = {number(rho, 2)}.",
    )


def labels_text(data: PaperData) -> str:
    """Which labelled steps score highest."""
    steps = data.demo.influence.steps.dropna(subset=["label", "ais"])
    if steps.empty:
        return "No step of these traces has a label."
    median = steps.groupby("label")["ais"].median().sort_values(ascending=False)
    order = ", ".join(f"{name} {number(value)}" for name, value in median.items())
    return _verdict(
        median.index[0] in ("compute", "conclude", "infer"),
        f"Median AIS by what a step does: {order}. The score measures copying: a step that says "
        "again what stands in the prompt is high whatever it is worth.",
    )


def domains_text(data: PaperData) -> str:
    """How much domains differ."""
    median = data.demo.influence.samples.groupby("domain")["ais"].median().sort_values()
    low, high = float(median.iloc[0]), float(median.iloc[-1])
    return _verdict(
        high > 2 * abs(low),
        f"Median AIS goes from {number(low)} ({median.index[0]}) to {number(high)} "
        f"({median.index[-1]}); ranked over all, the choice would follow the domain.",
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
    table = study_table(runs)
    equal = table[(table["budget"] == "tokens") & (table["arm"] != "random")]
    air = equal[equal["arm"] == "AIR"]
    if air.empty or not np.isfinite(air["difference"].iloc[0]):
        return "AIR, or a random selection beside it, was not run yet."
    row = air.iloc[0]
    interval = f"[{number(row['difference_lo'])}, {number(row['difference_hi'])}]"
    text = (
        "Held-out NLL after training on AIR's selection minus that after a random one, at equal "
        f"tokens: {number(row['difference'])} {interval} nats a token. "
    )
    text += f"Of {len(equal)} selections and weightings, better than random: "
    text += f"{_names(equal[equal['difference_hi'] < 0])}. Worse: "
    text += f"{_names(equal[equal['difference_lo'] > 0])}. The others are not told apart. "
    text += _over_seeds_text(runs)
    return _verdict(bool(row["difference_hi"] < 0), text + _weights_text(runs))


def _names(rows: pd.DataFrame) -> str:
    return "; ".join(rows["arm"]) or "none"


def _over_seeds_text(runs: pd.DataFrame) -> str:
    gaps = differences_table(runs[runs["budget"] == "tokens"], "nll", part=None)
    tested = gaps[(gaps["against"] == REFERENCE) & gaps["p"].notna()] if len(gaps) else gaps
    if tested.empty:
        return ""
    return (
        "Those intervals are over problems. With the spread over seeds in them too and Holm's "
        f"correction, of {len(tested)} tested told apart from random: "
        f"{_names(tested[tested['decided']])}. "
    )


def _weights_text(runs: pd.DataFrame) -> str:
    weights = weights_table(runs)
    if weights.empty:
        return ""
    better, worse = int((weights["hi"] < 0).sum()), int((weights["lo"] > 0).sum())
    return (
        "Step weights, against the same data without them or with the weights shuffled: better in "
        f"{better} of {len(weights)} comparisons, worse in {worse}. The scale is another by far: "
        "it neither confirms nor refutes the papers' accuracies."
    )
