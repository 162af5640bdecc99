"""Influence and scores of rivals, trace by trace, stored so that a long run can be resumed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from tqdm.auto import tqdm

from airlens.ablation import Mode
from airlens.errors import DataError
from airlens.folders import kept
from airlens.heads import HeadSet
from airlens.step_influence.influence import TABLES, Influence, influence
from airlens.step_influence.rival_scores import RivalScores, rival_scores
from airlens.traces.chat_template import Template
from airlens.traces.trace import Trace

from .trace_store import TraceStore

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def resumable_influence(
    model: TransformerBridge,
    traces: Sequence[Trace],
    heads: HeadSet,
    *,
    modes: Sequence[Mode] = ("uniform", "mean"),
    controls: int = 1,
    seed: int = 0,
    template: Template = "auto",
    folder: str | Path | None = None,
    progress: bool = True,
) -> dict[Mode, Influence]:
    """:func:`airlens.influence` of the same traces in each mode.

    Args:
        model: the bridge.
        traces: the traces to score, uncut.
        heads: the critical heads.
        modes: ablation modes.
        controls: draws of random heads of the same layers.
        seed: of the draws.
        template: how the prompt is put before the response.
        folder: stores each trace's tables; traces stored with the same model, heads and settings
            are not scored again.
        progress: show a progress bar over traces and modes.
    """
    store = TraceStore(model, folder, template, heads=heads.names(), controls=controls, seed=seed)
    parts: dict[Mode, list[Influence]] = {mode: [] for mode in modes}
    work = [(trace, mode) for trace in traces for mode in modes]
    for trace, mode in tqdm(work, desc="influence", unit="trace", disable=not progress):
        labels = [step.label for step in trace.steps]
        home = store.path(mode, trace, {"domain": trace.domain, "labels": labels})
        make = partial(
            influence,
            model,
            [trace],
            heads,
            mode=mode,
            controls=controls,
            seed=seed,
            template=template,
            progress=False,
        )
        # The provenance is written last: without it the tables are incomplete.
        found = kept(home, make, _load, Influence.save, whole="provenance.json")
        parts[mode].append(found)
    return {mode: _joined(found) for mode, found in parts.items()}


def resumable_rivals(
    model: TransformerBridge,
    traces: Sequence[Trace],
    *,
    template: Template = "auto",
    folder: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """``RivalScores.steps`` of the traces; arguments as for :func:`resumable_influence`."""
    store = TraceStore(model, folder, template)
    parts = []
    for trace in tqdm(traces, desc="rivals", unit="trace", disable=not progress):
        make = partial(rival_scores, model, [trace], template=template, progress=False)
        home = store.path("rivals", trace, {})
        found = kept(home, make, RivalScores.load, RivalScores.save, whole="provenance.json")
        parts.append(found.steps)
    return pd.concat(parts, ignore_index=True)


def _load(home: Path) -> Influence | None:
    """What is stored of a trace; None where it cannot be used, and is measured again."""
    try:
        found = Influence.load(home)
    except DataError:
        return None
    # Stored before steps had their controls one by one.
    return None if len(found.controls) and not len(found.step_controls) else found


def _joined(parts: Sequence[Influence]) -> Influence:
    tables = {
        name: pd.concat([getattr(part, name) for part in parts], ignore_index=True)
        for name in TABLES
    }
    note = {**parts[0].provenance, "n_traces": len(parts)} if parts else {}
    return Influence(**tables, provenance=note)
