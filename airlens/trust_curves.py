"""What ablating heads does: curves over the share of heads, and the mirror table.

Every curve has its controls beside it, because random heads, and random heads of the same layers,
can do the same damage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .ablation import ablated, mean_z
from .decode import greedy
from .errors import HeadError
from .heads import HeadScores, HeadSet, count_heads, random_heads, rename
from .measure import influence
from .probes import ProbeSet
from .retrieval import copy_accuracy
from .trace import Trace
from .types import MeanZ, Mode

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

SHARES = (0.01, 0.02, 0.05, 0.10, 0.20, 0.30)
DRAWS = 5
"""Random draws of each share: fewer give no interval worth showing (ours)."""


def curve_sets(
    scores: HeadScores, share: float, *, draws: int = DRAWS, seed: int = 0
) -> list[tuple[str, int, HeadSet]]:
    """(group, draw, heads) of one share: top, bottom, random, and random of the top's layers.

    A group of which the model has too few heads is left out.
    """
    shape = (scores.n_layers, scores.n_heads)
    top = scores.top(share)
    bottom = HeadSet(tuple(scores.ranked()[::-1][: len(top)]), f"bottom {len(top)}")
    found = [("top", 0, top), ("bottom", 0, bottom)]
    for group, same in (("random", False), ("same-layer random", True)):
        try:
            drawn = random_heads(shape, top, draws=draws, seed=seed, same_layers=same)
        except HeadError:
            continue
        found += [(group, i, rename(heads, group)) for i, heads in enumerate(drawn)]
    return found


def ablation_curves(
    model: TransformerBridge,
    scores: HeadScores,
    probes: ProbeSet,
    *,
    traces: Sequence[Trace] = (),
    shares: Sequence[float] = SHARES,
    modes: Sequence[Mode] = ("uniform", "zero", "mean"),
    draws: int = DRAWS,
    seed: int = 0,
    groups: Sequence[str] = ("top", "bottom", "random", "same-layer random"),
    progress: bool = True,
) -> pd.DataFrame:
    """Copy accuracy and losses as more heads are ablated.

    Args:
        model: the bridge.
        scores: which heads come first.
        probes: probes the heads were not chosen on.
        traces: whose response NLL is measured too; none: NaN.
        shares: of all heads.
        modes: ablation modes.
        draws: of each random group.
        seed: of the draws.
        groups: which of them to measure.
        progress: show a progress bar.

    Returns:
        One row a measurement: heads (the group; also ``base`` and ``needle removed``), mode, k,
        share, draw, copy_accuracy, nll (answer, nats per token), trace_nll.
    """
    total = scores.scores.size
    jobs = [
        (mode, share, *one)
        for mode in modes
        for share in shares
        for one in curve_sets(scores, share, draws=draws, seed=seed)
        if one[0] in groups
    ]
    means = mean_z(model) if "mean" in modes else None
    base, removed = copy_accuracy(model, probes), copy_accuracy(model, probes, needle_removed=True)
    plain = trace_nll(model, traces)
    rows = []
    for mode in modes:
        rows.append(_row("base", mode, 0, total, 0, base.accuracy, base.nll, plain))
        values = (removed.accuracy, removed.nll, np.nan)
        rows.append(_row("needle removed", mode, 0, total, 0, *values))
        # Every curve starts at the same point: nothing ablated.
        rows += [_row(g, mode, 0, total, 0, base.accuracy, base.nll, plain) for g in groups]
    for mode, share, group, draw, heads in tqdm(jobs, desc="ablation", disable=not progress):
        with ablated(model, heads, mode, means=means):
            found = copy_accuracy(model, probes)
            loss = trace_nll(model, traces)
        k = count_heads(share, total)
        rows.append(_row(group, mode, k, total, draw, found.accuracy, found.nll, loss))
    return pd.DataFrame(rows)


def _row(
    group: str, mode: str, k: int, total: int, draw: int, accuracy: float, nll: float, trace: float
) -> dict[str, Any]:
    place = {"heads": group, "mode": mode, "k": k, "share": k / total, "draw": draw}
    return place | {"copy_accuracy": accuracy, "nll": nll, "trace_nll": trace}


def trace_nll(model: TransformerBridge, traces: Sequence[Trace]) -> float:
    """Mean NLL (nats) of all response tokens, of the model as it is now; NaN without traces."""
    if not traces:
        return float("nan")
    table = influence(model, traces, "", controls=0, progress=False).samples
    weight = table["n_tokens"].to_numpy(float)
    return float(np.average(table["loss_base"].to_numpy(float), weights=weight))


def needle_recall(model: TransformerBridge, probes: ProbeSet) -> pd.DataFrame:
    """Greedy answers to needle probes: id, length, depth, expected, said, recall (ROUGE-1)."""
    rows = []
    for probe in probes:
        answer = greedy(model, probe)
        place = {key: probe.meta.get(key) for key in ("length", "depth")}
        said = {"expected": probe.meta.get("answer"), "said": answer.text, "recall": answer.recall}
        rows.append({"id": probe.id, **place, **said})
    return pd.DataFrame(rows)


def needle_grid(
    model: TransformerBridge,
    heads: HeadSet,
    probes: ProbeSet,
    *,
    mode: Mode = "uniform",
    draws: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """:func:`needle_recall` of the model as it is, without ``heads``, and without random ones.

    Returns:
        The columns of :func:`needle_recall`, after condition (base, top, random) and draw.
    """
    frames = []
    sets = conditions(model, heads, draws, seed)
    means = mean_z(model) if mode == "mean" else None
    for condition, draw, ablate in tqdm(sets, desc="needles", disable=not progress):
        with ablated(model, ablate, mode, means=means):
            found = needle_recall(model, probes)
        found.insert(0, "condition", condition)
        found.insert(1, "draw", draw)
        frames.append(found)
    return pd.concat(frames, ignore_index=True)


def conditions(
    model: TransformerBridge, heads: HeadSet, draws: int, seed: int
) -> list[tuple[str, int, HeadSet]]:
    """(condition, draw, heads to ablate): base, top, and disjoint random draws from any layer."""
    shape = (int(model.cfg.n_layers), int(model.cfg.n_heads))
    drawn = random_heads(shape, heads, draws=draws, seed=seed, same_layers=False)
    plain = [("base", 0, HeadSet(())), ("top", 0, heads)]
    return plain + [("random", i, control) for i, control in enumerate(drawn)]


def mirror_table(
    model: TransformerBridge,
    heads: HeadSet,
    probes: ProbeSet,
    needles: ProbeSet,
    texts: Mapping[str, Sequence[Trace]],
    *,
    mode: Mode = "uniform",
    draws: int = DRAWS,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """AttentionInfluence's Table 6 at any scale: what masking top and random heads costs.

    Args:
        model: the bridge.
        heads: the critical heads.
        probes: for copy accuracy; not those the heads were found on.
        needles: for needle recall, from :func:`~airlens.probes_needle.needle_probes`.
        texts: name of a measure ("GSM8K answer NLL") and the traces whose response NLL it is.
        mode: ablation mode.
        draws: of random heads.
        seed: of the draws.
        progress: show a progress bar.

    Returns:
        One row a measurement: measure, condition (base, random, top), draw, value,
        higher_is_better.
    """
    means: MeanZ | None = mean_z(model) if mode == "mean" else None
    rows: list[dict[str, Any]] = []
    sets = conditions(model, heads, draws, seed)
    for condition, draw, ablate in tqdm(sets, desc="mirror table", disable=not progress):
        with ablated(model, ablate, mode, means=means):
            copied = copy_accuracy(model, probes).accuracy
            values = {"copy accuracy": (copied, True)}
            recall = float(needle_recall(model, needles)["recall"].mean())
            values["needle recall"] = (recall, True)
            values |= {name: (trace_nll(model, items), False) for name, items in texts.items()}
        for measure, (value, higher) in values.items():
            place = {"measure": measure, "condition": condition, "draw": draw}
            rows.append(place | {"value": value, "higher_is_better": higher})
    return pd.DataFrame(rows)


def mirror_summary(table: pd.DataFrame) -> pd.DataFrame:
    """A :func:`mirror_table` with a row a measure: base, random, random_lo, random_hi, top.

    ``random`` is the mean over draws, ``random_lo`` and ``random_hi`` the lowest and the highest.
    """
    rows = []
    for measure, part in table.groupby("measure", sort=False):
        by = {str(name): group["value"] for name, group in part.groupby("condition")}
        rows.append(
            {
                "measure": measure,
                "base": float(by["base"].iloc[0]),
                "random": float(by["random"].mean()),
                "random_lo": float(by["random"].min()),
                "random_hi": float(by["random"].max()),
                "top": float(by["top"].iloc[0]),
            }
        )
    return pd.DataFrame(rows)


def say(
    model: TransformerBridge,
    prompt: str,
    heads: HeadSet,
    *,
    mode: Mode = "uniform",
    max_tokens: int = 60,
    seed: int = 0,
) -> pd.DataFrame:
    """What the model says by itself: base, without ``heads``, and without random ones.

    Greedy decoding of the prompt as it is (put a chat template round it before).

    Returns:
        condition, pos, token (text of the generated token).
    """
    import torch

    tokenizer = model.tokenizer
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"].to(model.cfg.device)
    rows = []
    for condition, _, ablate in conditions(model, heads, 1, seed):
        with torch.inference_mode(), ablated(model, ablate, mode):
            said = model.generate(
                ids,
                max_new_tokens=max_tokens,
                do_sample=False,
                verbose=False,
                return_type="tokens",
            )[0, ids.shape[1] :].tolist()
        if tokenizer.eos_token_id in said:
            said = said[: said.index(tokenizer.eos_token_id)]
        rows += [(condition, i, str(tokenizer.decode([t]))) for i, t in enumerate(said)]
    return pd.DataFrame(rows, columns=["condition", "pos", "token"])
