"""AUROC of real over planted steps for every score, with intervals, also at equal base loss.

AUROC is the probability that a real step has the higher value of two steps drawn at random, one
real and one planted, ties half. Its interval is the 2.5 and 97.5 % quantile over bootstrap samples
of the source traces, both steps of a trace drawn together. 0.5 is no signal; under 0.5 planted
steps are ranked higher.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from airlens.analysis.statistics import N_BOOT, bootstrap_counts, interval
from airlens.errors import DataError
from airlens.step_influence import FLOOR

from .benchmark import Measured
from .heuristics import HEURISTICS

KEY = ["score", "mode", "heads"]
CALIPER = 0.25  # ours, nats per token: steps whose base losses differ by less count as matched


class Cell(NamedTuple):
    """The values of one score on one kind: real and planted fp64 [draws, S], loss of both [S]."""

    real: np.ndarray
    planted: np.ndarray
    real_loss: np.ndarray
    planted_loss: np.ndarray
    sources: list[str]


def score_values(measured: Measured, floor: float = FLOOR) -> pd.DataFrame:
    """All scores in one long table: source, kind, score, mode, heads, draw, value.

    AIR has the scores "ais" (relative) and "delta" (nats per token); a heuristic has its name as
    score, "" as mode and heads. AIS is NaN where the base loss is under ``floor``.
    """
    air = measured.scores()
    air["ais"] = air["ais"].where(air["loss"] >= floor)
    keys = ["source", "kind", "mode", "heads", "draw"]
    long = air.melt(id_vars=keys, value_vars=["ais", "delta"], var_name="score")
    own = [name for name in HEURISTICS if name in measured.items]
    free = measured.items.melt(id_vars=["source", "kind"], value_vars=own, var_name="score")
    free = free.assign(mode="", heads="", draw=0)
    columns = ["source", "kind", *KEY, "draw", "value"]
    return pd.concat([long[columns], free[columns]], ignore_index=True)


def auroc(real: np.ndarray, planted: np.ndarray) -> float:
    """P(a real value is higher than a planted one), ties half; NaN where either is empty."""
    return float(wins_of(real, planted).mean()) if len(real) and len(planted) else float("nan")


def wins_of(real: np.ndarray, planted: np.ndarray) -> np.ndarray:
    """[R, P]: 1 where the real value is higher, 0.5 where equal."""
    difference = np.asarray(real)[:, None] - np.asarray(planted)[None, :]
    return np.asarray((np.sign(difference) + 1) / 2)


def auroc_table(
    values: pd.DataFrame,
    losses: pd.DataFrame,
    *,
    caliper: float | None = None,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> pd.DataFrame:
    """AUROC of real over planted steps for every kind and score.

    Args:
        values: from :func:`score_values`, or any such table with scores of your own.
        losses: ``Measured.items``: source, kind, loss.
        caliper: compare only steps whose base losses differ by at most this many nats per token,
            within and across traces: AUROC at equal loss.
        n_boot: bootstrap samples.
        seed: of the bootstrap.

    Returns:
        One row per kind and score: kind, score, mode, heads, auroc, lo, hi, n (traces), paired
        (share of traces whose own real step is ranked higher, ties half), draws (head sets that
        the AUROC is a mean over), pairs (comparisons made).
    """
    rows = []
    for kind, key, cell in cells(values, losses):
        by_draw = zip(cell.real, cell.planted, strict=True)
        wins = np.mean([wins_of(real, planted) for real, planted in by_draw], axis=0)
        allowed = np.ones_like(wins)
        if caliper is not None:
            gap = cell.real_loss[:, None] - cell.planted_loss[None, :]
            allowed = (np.abs(gap) <= caliper).astype(float)
        used = (allowed.any(axis=0) | allowed.any(axis=1)).sum()
        lo, hi = interval(bootstrap_auroc(wins, allowed, n_boot, seed))
        pairs = allowed.sum()
        rows.append(
            {
                "kind": kind,
                **dict(zip(KEY, key, strict=True)),
                "auroc": float((wins * allowed).sum() / pairs) if pairs else np.nan,
                "lo": lo,
                "hi": hi,
                "n": int(used),
                "paired": float(np.diag(wins).mean()),
                "draws": len(cell.real),
                "pairs": int(pairs),
            }
        )
    columns = ["kind", *KEY, "auroc", "lo", "hi", "n", "paired", "draws", "pairs"]
    return pd.DataFrame(rows, columns=columns)


def cells(
    values: pd.DataFrame, losses: pd.DataFrame
) -> Iterator[tuple[str, tuple[str, str, str], Cell]]:
    """(kind, (score, mode, heads), values) of every kind and score; sources with NaN left out.

    Raises:
        DataError: a column is missing.
    """
    need = {"source", "kind", *KEY, "draw", "value"}
    if missing := sorted(need - set(values.columns)):
        raise DataError("a table of score values needs this column", field=missing[0])
    known = losses.set_index(["kind", "source"])["loss"]
    kinds = [kind for kind in dict.fromkeys(values["kind"]) if kind != "real"]
    grids: dict[Any, pd.DataFrame] = {
        key: part.pivot(index="source", columns=["kind", "draw"], values="value")
        for key, part in values.groupby(KEY, sort=False)
    }
    for kind in kinds:
        for key, grid in grids.items():
            if kind not in grid or "real" not in grid:
                continue
            real, planted = grid["real"], grid[kind]
            ok = pd.notna(real.to_numpy()).all(axis=1) & pd.notna(planted.to_numpy()).all(axis=1)
            sources = sorted(grid.index[ok])
            if not sources:
                continue
            sides = [side.loc[sources].to_numpy(np.float64).T for side in (real, planted)]
            loss = [known[name].reindex(sources).to_numpy(np.float64) for name in ("real", kind)]
            yield kind, key, Cell(sides[0], sides[1], loss[0], loss[1], sources)


def bootstrap_auroc(wins: np.ndarray, allowed: np.ndarray, n_boot: int, seed: int) -> np.ndarray:
    """AUROC of each bootstrap sample, as matrix products with how often each trace was drawn."""
    n = len(wins)
    drawn = bootstrap_counts(n, n_boot, seed)
    hits: np.ndarray = np.einsum("bi,ij,bj->b", drawn, wins * allowed, drawn, optimize=True)
    pairs = np.einsum("bi,ij,bj->b", drawn, allowed, drawn, optimize=True)
    return np.asarray(np.divide(hits, pairs, out=np.full(n_boot, np.nan), where=pairs > 0))


def matching_table(measured: Measured) -> pd.DataFrame:
    """How well the planted steps match the real ones in tokens and loss.

    Returns:
        One row per kind: kind, n, tokens_real and tokens_planted (means), tokens_gap and loss_gap
        (medians of the absolute difference), loss_real and loss_planted (means, nats per token).
    """
    items = measured.items.set_index(["kind", "source"])
    real = items.loc["real"]
    rows = []
    for kind in dict.fromkeys(measured.items["kind"]):
        if kind == "real":
            continue
        planted = items.loc[kind]
        other = real.loc[planted.index]
        rows.append(
            {
                "kind": kind,
                "n": len(planted),
                "tokens_real": other["n_tokens"].mean(),
                "tokens_planted": planted["n_tokens"].mean(),
                "tokens_gap": (planted["n_tokens"] - other["n_tokens"]).abs().median(),
                "loss_real": other["loss"].mean(),
                "loss_planted": planted["loss"].mean(),
                "loss_gap": (planted["loss"] - other["loss"]).abs().median(),
            }
        )
    return pd.DataFrame(rows)
