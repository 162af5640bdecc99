"""Copy accuracy and loss as a growing share of heads is ablated, with random heads as controls.

Random heads, and random heads of the same layers, can do as much damage as the top ones.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from airlens.ablation import Mode, ablated, mean_z
from airlens.arguments import checked, each, named
from airlens.control_kinds import CONTROL_KINDS
from airlens.detectors.probes import ProbeSet
from airlens.detectors.retrieval import copy_accuracy
from airlens.errors import HeadError
from airlens.heads import HeadScores, HeadSet, control_sets
from airlens.traces.trace import Trace

from .influence import influence

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

log = logging.getLogger(__name__)

SHARES = (0.01, 0.02, 0.05, 0.10, 0.20, 0.30)
DRAWS = 5
"""Random draws of each share: fewer give no interval worth showing (ours)."""
GROUPS = ("top", "bottom", *CONTROL_KINDS)


def curve_sets(
    scores: HeadScores, share: float | int, *, draws: int = DRAWS, seed: int = 0
) -> list[tuple[str, int, HeadSet]]:
    """(group, draw, heads) of one share: top, bottom, random, and random of the top's layers.

    A group is left out where the model has too few heads for it.
    """
    top = scores.top(share)
    scored = [head for head in scores.ranked() if not np.isnan(scores.scores[head])]
    bottom = HeadSet(tuple(scored[::-1][: len(top)]), f"bottom {len(top)}")
    found = [("top", 0, top), ("bottom", 0, bottom)]
    for group in CONTROL_KINDS:
        try:
            drawn = control_sets(scores.grid, top, group, draws=draws, seed=seed)
        except HeadError as error:
            log.warning("no heads of the group %r: %s", group, error)
            continue
        found += [(group, i, replace(heads, name=group)) for i, heads in enumerate(drawn)]
    return found


@checked
def ablation_curves(
    model: TransformerBridge,
    scores: HeadScores,
    probes: ProbeSet,
    *,
    traces: Sequence[Trace] = (),
    shares: Sequence[float | int] = SHARES,
    control_shares: Sequence[float | int] | None = None,
    modes: Sequence[Mode] = ("uniform", "zero", "mean"),
    draws: int = DRAWS,
    seed: int = 0,
    groups: Sequence[str] = GROUPS,
    progress: bool = True,
) -> pd.DataFrame:
    """Copy accuracy and losses as more heads are ablated.

    Args:
        model: the bridge.
        scores: which heads come first.
        probes: other probes than those the heads were chosen on.
        traces: their response NLL is measured too; NaN without any.
        shares: of all heads (float), or numbers of heads (int).
        control_shares: the same for the groups other than ``top``, which take most of the time;
            default: ``shares``.
        modes: ablation modes.
        draws: of each random group.
        seed: of the draws.
        groups: which groups of heads to measure.
        progress: show a progress bar.

    Returns:
        One row per measurement: heads (the group; also ``base`` and ``needle removed``), mode, k,
        share, draw, copy_accuracy, nll (answer, nats per token), trace_nll, and trace_nll_DOMAIN
        for each domain where the traces have several.
    """
    groups = each(named(GROUPS))(groups, "groups")
    total = len(scores.grid)
    others = shares if control_shares is None else control_shares
    jobs = [
        (mode, *one)
        for mode in modes
        for share in dict.fromkeys([*shares, *others])
        for one in curve_sets(scores, share, draws=draws, seed=seed)
        if one[0] in groups and share in (shares if one[0] == "top" else others)
    ]
    means = mean_z(model) if "mean" in modes else None
    base, removed = copy_accuracy(model, probes), copy_accuracy(model, probes, needle_removed=True)
    plain = _trace_losses(model, traces)
    rows = []
    for mode in modes:
        rows.append(_row("base", mode, 0, total, 0, base.accuracy, base.nll, plain))
        lost = dict.fromkeys(plain, np.nan)
        rows.append(_row("needle removed", mode, 0, total, 0, removed.accuracy, removed.nll, lost))
        # Every curve starts at the same point: nothing ablated.
        rows += [_row(g, mode, 0, total, 0, base.accuracy, base.nll, plain) for g in groups]
    for mode, group, draw, heads in tqdm(jobs, desc="ablation", disable=not progress):
        with ablated(model, heads, mode, means=means):
            found = copy_accuracy(model, probes)
            losses = _trace_losses(model, traces)
        k = len(heads)
        rows.append(_row(group, mode, k, total, draw, found.accuracy, found.nll, losses))
    return pd.DataFrame(rows)


def _row(
    group: str,
    mode: str,
    k: int,
    total: int,
    draw: int,
    accuracy: float,
    nll: float,
    traces: dict[str, float],
) -> dict[str, Any]:
    place = {"heads": group, "mode": mode, "k": k, "share": k / total, "draw": draw}
    return {**place, "copy_accuracy": accuracy, "nll": nll, **traces}


def trace_nll(model: TransformerBridge, traces: Sequence[Trace]) -> float:
    """Mean NLL (nats) of all response tokens, under any ablation in effect; NaN without traces."""
    return _trace_losses(model, traces)["trace_nll"]


def _trace_losses(model: TransformerBridge, traces: Sequence[Trace]) -> dict[str, float]:
    """``trace_nll`` of all traces and, where they have several domains, of each."""
    if not traces:
        return {"trace_nll": float("nan")}
    table = influence(model, traces, "", controls=0, progress=False).samples
    parts = {"trace_nll": table}
    if table["domain"].nunique() > 1:
        parts |= {f"trace_nll_{domain}": part for domain, part in table.groupby("domain")}
    return {
        name: float(np.average(part["loss_base"].astype(float), weights=part["n_tokens"]))
        for name, part in parts.items()
    }
