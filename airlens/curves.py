"""Copy accuracy as more and more heads are ablated, beside random heads and the floor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
from tqdm.auto import tqdm

from .ablation import ablated
from .heads import HeadScores, HeadSet, random_heads
from .probes import ProbeSet
from .retrieval import CopyResult, copy_accuracy

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from .types import Mode

COLUMNS = ["heads", "mode", "k", "share", "draw", "copy_accuracy", "nll"]


def copy_curve(
    model: TransformerBridge,
    probes: ProbeSet,
    scores: HeadScores,
    ks: Sequence[int],
    *,
    modes: Iterable[Mode] = ("uniform",),
    draws: int = 5,
    seed: int = 0,
    random_ks: Sequence[int] | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Copy accuracy with the top k heads ablated, with k random ones, and with the needle removed.

    Args:
        model: the bridge.
        probes: to copy from; best not those that the scores come from.
        scores: rank the heads.
        ks: numbers of heads to ablate; 0 is added, the model as it is.
        modes: ablation modes.
        draws: of random heads, disjoint from the top k, from any layer.
        seed: of the draws.
        random_ks: numbers of random heads; default: ``ks``.
        progress: show a progress bar.

    Returns:
        One row a measurement: heads ("top", "random", "needle removed"), mode, k, share of all
        heads, draw, copy_accuracy, nll (nats an answer token).
    """
    shape = (scores.n_layers, scores.n_heads)
    total = scores.scores.size
    jobs: list[tuple[str, int, int, HeadSet]] = []
    for k in ks:
        jobs += [("top", k, 0, scores.top(k))] if k else []
    for k in ks if random_ks is None else random_ks:
        sets = random_heads(shape, scores.top(k), draws=draws, seed=seed, same_layers=False)
        jobs += [("random", k, draw, heads) for draw, heads in enumerate(sets)]
    rows: list[tuple[object, ...]] = []

    def note(heads: str, mode: str, k: int, draw: int, result: CopyResult) -> None:
        rows.append((heads, mode, k, k / total, draw, result.accuracy, result.nll))

    modes = list(modes)
    with tqdm(total=len(jobs) * len(modes) + 2, desc="ablation curve", disable=not progress) as bar:
        base = copy_accuracy(model, probes)
        bar.update()
        floor = copy_accuracy(model, probes, needle_removed=True)
        bar.update()
        for mode in modes:
            note("top", mode, 0, 0, base)
            note("random", mode, 0, 0, base)
            note("needle removed", mode, 0, 0, floor)
            for kind, k, draw, heads in jobs:
                with ablated(model, heads, mode):
                    note(kind, mode, k, draw, copy_accuracy(model, probes))
                bar.update()
    return pd.DataFrame(rows, columns=COLUMNS)
