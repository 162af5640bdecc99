"""Needle-in-a-haystack recall of the base model, and with some of its heads ablated."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from tqdm.auto import tqdm

from airlens.ablation import Mode, ablated, mean_z
from airlens.control_kinds import Control
from airlens.detectors.greedy_decoding import MIN_RECALL, Answered, greedy_batch
from airlens.detectors.probes import Probe, ProbeSet
from airlens.folders import kept_table
from airlens.heads import HeadSet, control_sets
from airlens.model.heads import heads_of
from airlens.provenance import fingerprint, model_info
from airlens.statistics.grids import grid_of, mean_of, proportion_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

BATCH = 5
"""Probes decoded together (ours): those of one needle at its depths often have one length."""


def needle_recall(model: TransformerBridge, probes: ProbeSet) -> pd.DataFrame:
    """Greedy answers to needle probes: id, length, depth, expected, said, recall (ROUGE-1), found.

    ``found``: the recall is above Wu et al.'s gate, `MIN_RECALL`.
    """
    answers: dict[str, Answered] = {}
    alike: dict[int, list[Probe]] = defaultdict(list)
    for probe in probes:
        alike[probe.answer[0]].append(probe)
    for same in alike.values():
        for start in range(0, len(same), BATCH):
            batch = same[start : start + BATCH]
            found = greedy_batch(model, batch)
            answers |= {probe.id: answer for probe, answer in zip(batch, found, strict=True)}
    rows = []
    for probe in probes:
        answer = answers[probe.id]
        place = {key: probe.meta.get(key) for key in ("length", "depth")}
        said = {"expected": probe.meta.get("answer"), "said": answer.text, "recall": answer.recall}
        rows.append({"id": probe.id, **place, **said, "found": answer.recall > MIN_RECALL})
    return pd.DataFrame(rows)


def needle_grid(
    model: TransformerBridge,
    heads: HeadSet,
    probes: ProbeSet,
    *,
    mode: Mode = "uniform",
    draws: int = 1,
    same_layers: int = 0,
    seed: int = 0,
    resume: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """:func:`needle_recall` of the base model, and with ``heads`` or random heads ablated.

    Args:
        model: the bridge.
        heads: the critical heads; an empty set measures only the base model.
        probes: from :func:`~airlens.detectors.needle_probes.needle_probes`.
        mode: ablation mode.
        draws: of random heads from any layer.
        same_layers: draws of random heads from the layers of ``heads``.
        seed: of the draws.
        resume: a folder that stores each finished condition, so that an interrupted run continues.
        progress: show a progress bar.

    Returns:
        The columns of :func:`needle_recall`, after condition (base, top, random, same_layers)
        and draw.
    """
    frames = []
    sets = conditions(model, heads, draws, seed, same_layers=same_layers)
    means = mean_z(model) if mode == "mean" else None
    for condition, draw, ablate in tqdm(sets, desc="needles", disable=not progress):
        asked = {"model": model_info(model), "heads": ablate.names(), "probes": probes.hash}
        key = fingerprint({**asked, "mode": mode if len(ablate) else None})
        path = None if resume is None else Path(resume) / f"{condition}-{draw}-{key}.parquet"
        with ablated(model, ablate, mode, means=means):
            found = kept_table(path, partial(needle_recall, model, probes))
        found.insert(0, "condition", condition)
        found.insert(1, "draw", draw)
        frames.append(found)
    return pd.concat(frames, ignore_index=True)


def conditions(
    model: TransformerBridge, heads: HeadSet, draws: int, seed: int, *, same_layers: int = 0
) -> list[tuple[str, int, HeadSet]]:
    """(condition, draw, heads to ablate): base, top, random draws, those of the same layers.

    Without heads there is only base.
    """
    if not len(heads):
        return [("base", 0, heads)]
    found = [("base", 0, HeadSet(())), ("top", 0, heads)]
    counts: dict[Control, int] = {"random": draws, "same_layers": same_layers}
    for name, count in counts.items():
        drawn = control_sets(heads_of(model), heads, name, draws=count, seed=seed)
        found += [(name, i, control) for i, control in enumerate(drawn)]
    return found


def needle_summary(grid: pd.DataFrame) -> pd.DataFrame:
    """Share of needles found in each cell, and over all depths, with 95 % intervals.

    The answers to one needle, at several depths or under several draws of heads, are alike: only
    other needles are independent. The interval is over needles and draws.

    Args:
        grid: from :func:`needle_grid`; further columns to group by, such as ``template``, must
            stand before ``condition``.

    Returns:
        condition, length, depth (NaN: over all depths), found (share), lo, hi, n (answers),
        needles, draws (of random heads; 0 for the others).
    """
    own = [*grid.columns[: grid.columns.get_loc("condition")], "condition", "length"]
    rows = []
    for keys in ([*own, "depth"], own):
        for cell, part in grid.groupby(keys, sort=False):
            place = dict(zip(keys, cell, strict=True))
            drawn = place["condition"] not in ("base", "top")
            answers = grid_of(part["found"].astype(float), part["expected"], part["draw"])
            found = proportion_of(answers, most=len(part), random_draws=drawn)
            lo, hi = found.interval()
            numbers = {"found": found.value, "lo": lo, "hi": hi, "n": len(part)}
            rows.append({**place, **numbers, "needles": found.clusters, "draws": found.draws})
    columns = [*own, "depth", "found", "lo", "hi", "n", "needles", "draws"]
    return pd.DataFrame(rows, columns=columns)


def needle_costs(grid: pd.DataFrame) -> pd.DataFrame:
    """How much less is found with the top heads ablated than with random heads, needle by needle.

    Args:
        grid: as for :func:`needle_summary`.

    Returns:
        The columns before ``condition``, length (NaN: over all lengths), against (the kind of
        random heads, or base), difference, lo, hi, p, needles, draws.
    """
    own = list(grid.columns[: grid.columns.get_loc("condition")])
    grid = grid.reset_index(drop=True)
    rows = []
    tested = grid[grid["length"].isin(grid.loc[grid["condition"] == "top", "length"])]
    for keys in ([*own, "length"], own):
        parts = tested.groupby(keys, sort=False) if keys else [((), tested)]
        for cell, part in parts:
            found = part["found"].astype(float)
            grids = {
                str(name): grid_of(found[of.index], of["expected"], of["draw"])
                for name, of in part.groupby("condition", sort=False)
            }
            top = grids.pop("top", pd.DataFrame())
            for name, control in grids.items() if len(top) else ():
                both = control.index.intersection(top.index)
                gap = top.loc[both].to_numpy() - control.loc[both].to_numpy()
                cost = mean_of(gap, random_draws=name != "base")
                lo, hi = cost.interval()
                row = {**dict(zip(keys, cell, strict=True)), "against": name}
                row |= {"difference": cost.value, "lo": lo, "hi": hi, "p": cost.p()}
                rows.append({**row, "needles": cost.clusters, "draws": cost.draws})
    columns = [*own, "length", "against", "difference", "lo", "hi", "p", "needles", "draws"]
    return pd.DataFrame(rows, columns=columns)
