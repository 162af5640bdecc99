"""AUROC of real over planted steps for every score, with intervals, also at equal base loss.

AUROC is the probability that a real step has the higher value of two steps drawn at random, one
real and one planted, ties half. 0.5 is no signal; under 0.5 planted steps are ranked higher.
Intervals are over source traces, both steps of a trace together, and for random heads over draws
of them too (:mod:`airlens.statistics.auroc`); every trace counts the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from airlens.errors import DataError
from airlens.statistics.auroc import auroc_difference, auroc_of, wins_of
from airlens.statistics.estimates import Proportion
from airlens.step_influence.settings import FLOOR

from .benchmark import Measured
from .heuristics import HEURISTICS
from .rival_steps import LOW_IS_KEPT
from .rival_steps import SCORES as RIVALS

KEY = ["score", "mode", "heads"]
# Ours, nats per token: steps whose base losses differ by less count as matched. The first of these
# at which the loss alone no longer tells real steps from planted ones.
CALIPERS = (0.25, 0.2, 0.15, 0.1, 0.075, 0.05, 0.025)
COLUMNS = ["kind", *KEY, "auroc", "lo", "hi", "p", "n", "paired", "draws", "pairs", "caliper"]


class Cell(NamedTuple):
    """The values of one score on one kind: real and planted fp64 [draws, S], loss of both [S]."""

    real: np.ndarray
    planted: np.ndarray
    real_loss: np.ndarray
    planted_loss: np.ndarray
    sources: list[str]

    def wins(self) -> np.ndarray:
        """[draws, S, S]: 1 where a real step is higher than a planted one."""
        return np.stack([wins_of(*both) for both in zip(self.real, self.planted, strict=True)])

    def allowed(self, caliper: float | None) -> np.ndarray | None:
        """[S, S]: 1 for the pairs of steps whose losses differ by at most ``caliper``."""
        if caliper is None:
            return None
        gap = self.real_loss[:, None] - self.planted_loss[None, :]
        return np.asarray(np.abs(gap) <= caliper, np.float64)


def score_values(measured: Measured, floor: float = FLOOR) -> pd.DataFrame:
    """All scores in one long table: source, kind, score, mode, heads, draw, value.

    AIR has the scores "ais" (relative) and "delta" (nats per token); where tokens that are no copy
    were told apart, "ais_novel", AIS of these, and "ais_novel_share", that times their share too. A
    heuristic has its name as score, "" as mode and heads, and so has "novel", the share of those
    tokens, and so have the scores of rival papers, turned round where they keep the lowest ("rsr").
    AIS is NaN where the base loss (of the tokens that it is of) is under ``floor``.
    """
    air = measured.scores()
    air["ais"] = air["ais"].where(air["loss"] >= floor)
    scores = ["ais", "delta"]
    if "ais_novel" in air:
        known = (air["loss_novel"] >= floor) | (air["novel"] == 0)
        for name in ("ais_novel", "ais_novel_share"):
            air[name] = air[name].where(known)
            scores.append(name)
    keys = ["source", "kind", "mode", "heads", "draw"]
    long = air.melt(id_vars=keys, value_vars=scores, var_name="score")
    own = [name for name in (*HEURISTICS, "novel", *RIVALS) if name in measured.items]
    free = measured.items.melt(id_vars=["source", "kind"], value_vars=own, var_name="score")
    free["value"] = free["value"].where(~free["score"].isin(LOW_IS_KEPT), -free["value"])
    free = free.assign(mode="", heads="", draw=0)
    columns = ["source", "kind", *KEY, "draw", "value"]
    return pd.concat([long[columns], free[columns]], ignore_index=True)


def auroc_table(
    values: pd.DataFrame, losses: pd.DataFrame, *, equal_loss: bool = False
) -> pd.DataFrame:
    """AUROC of real over planted steps for every kind and score.

    Args:
        values: from :func:`score_values`, or any such table with scores of your own.
        losses: ``Measured.items``: source, kind, loss.
        equal_loss: compare only steps whose base losses differ by at most a caliper, within and
            across traces: the widest of `CALIPERS` at which the interval of the loss alone holds
            0.5.

    Returns:
        One row per kind and score: kind, score, mode, heads, auroc, lo, hi, p (of 0.5, two-sided),
        n (traces), paired (share of traces whose own real step is ranked higher, ties half), draws
        (of random heads that the AUROC is a mean over; 0: no random heads), pairs (comparisons
        made), caliper (NaN: all steps).
    """
    rows = []
    calipers = equal_loss_calipers(values, losses) if equal_loss else {}
    for kind, key, cell in cells(values, losses):
        wins, allowed = cell.wins(), cell.allowed(calipers.get(kind))
        found = auroc_of(wins, allowed, random_draws=is_control(key[2]))
        lo, hi = found.interval()
        row: dict[str, Any] = {"kind": kind, **dict(zip(KEY, key, strict=True))}
        row |= {"auroc": found.value, "lo": lo, "hi": hi, "p": found.p(0.5), "n": found.clusters}
        row |= {"paired": float(np.diagonal(wins, axis1=1, axis2=2).mean()), "draws": found.draws}
        row["pairs"] = int(wins[0].size if allowed is None else allowed.sum())
        rows.append({**row, "caliper": calipers.get(kind, np.nan)})
    return pd.DataFrame(rows, columns=COLUMNS)


def is_control(heads: str) -> bool:
    """Whether a set of heads was drawn at random: neither the critical ones nor none at all."""
    return heads not in ("", "top")


def equal_loss_calipers(values: pd.DataFrame, losses: pd.DataFrame) -> dict[str, float]:
    """For each kind the widest of `CALIPERS` at which the loss alone no longer separates."""
    own = losses.assign(score="loss", mode="", heads="", draw=0, value=losses["loss"])
    chosen = {kind: caliper_of(cell) for kind, _, cell in cells(own, losses)}
    return {str(kind): chosen.get(str(kind), CALIPERS[-1]) for kind in values["kind"].unique()}


def caliper_of(cell: Cell) -> float:
    """The widest of `CALIPERS` at which the loss alone no longer separates, else the narrowest."""
    for caliper in CALIPERS:
        lo, hi = loss_alone(cell, caliper).interval()
        if lo <= 0.5 <= hi:
            return caliper
    return CALIPERS[-1]


def loss_alone(cell: Cell, caliper: float | None) -> Proportion:
    """AUROC of the base loss among the pairs within a caliper."""
    return auroc_of(wins_of(cell.real_loss, cell.planted_loss), cell.allowed(caliper))


def difference_table(values: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    """AUROC of the critical heads minus that of random heads, on the same traces.

    Returns:
        kind, score, mode, against (the kind of random heads), auroc, auroc_control, difference, lo,
        hi, p, n (traces), draws, above (share of the draws that the critical heads are above).
    """
    rows = []
    by_kind: dict[str, dict[tuple[str, str, str], Cell]] = {}
    for kind, key, cell in cells(values, losses):
        by_kind.setdefault(kind, {})[key] = cell
    for kind, by_key in by_kind.items():
        for (score, mode, heads), cell in by_key.items():
            own = by_key.get((score, mode, "top"))
            if own is None or not is_control(heads):
                continue
            top, control = common(own, cell)
            found = auroc_difference(top.wins(), control.wins(), random_draws=True)
            lo, hi = found.interval()
            each = control.wins().mean(axis=(1, 2))
            place = {"kind": kind, "score": score, "mode": mode, "against": heads}
            numbers = {"auroc": found.first.value, "auroc_control": found.second.value}
            numbers |= {"difference": found.value, "lo": lo, "hi": hi, "p": found.p()}
            counts = {"n": found.clusters, "draws": found.draws}
            above = float((found.first.value > each).mean())
            rows.append({**place, **numbers, **counts, "above": above})
    columns = ["kind", "score", "mode", "against", "auroc", "auroc_control", "difference"]
    return pd.DataFrame(rows, columns=[*columns, "lo", "hi", "p", "n", "draws", "above"])


def common(one: Cell, other: Cell) -> tuple[Cell, Cell]:
    """Two cells with the sources that both have."""
    both = [source for source in one.sources if source in set(other.sources)]
    return one_of(one, both), one_of(other, both)


def one_of(cell: Cell, sources: list[str]) -> Cell:
    """A cell with some of its sources, in the order given."""
    place = {source: i for i, source in enumerate(cell.sources)}
    at = [place[source] for source in sources]
    losses = (cell.real_loss[at], cell.planted_loss[at])
    return Cell(cell.real[:, at], cell.planted[:, at], *losses, sources)


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
