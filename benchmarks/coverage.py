"""How often the intervals hold the truth: what `data/results/coverage/` is made by.

    python benchmarks/coverage.py
    python benchmarks/coverage.py --only training

Every table is a simulation of data whose truth is known, given to the functions that make the
tables of results. Some minutes of one processor; the same seed gives the same tables. Columns that
all tables share: coverage (share of intervals that hold the truth), too_high and too_low (share
that lie wholly above or below it, 0.025 each if the interval is exact), undefined (share without an
interval; they count in none of the others), width (median). `airlens.statistics` says how each is
made.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from airlens.experiments.agreement import rank_limits
from airlens.experiments.studies.paired_runs import Difference, difference, run_variances
from airlens.experiments.validity.added_value import held_out
from airlens.experiments.validity.auroc_tables import Cell, caliper_of
from airlens.folders import write_tables
from airlens.provenance import provenance
from airlens.statistics.auroc import auroc_difference, auroc_of
from airlens.statistics.correlations import correlation_of
from airlens.statistics.estimates import Estimate
from airlens.statistics.grids import mean_of, proportion_of

ROOT = Path(__file__).resolve().parents[1]
CLUSTERS = (8, 12, 20, 48)
DRAWS = (3, 5, 10)
AUROCS = (0.5, 0.7, 0.85, 0.95, 0.98)
SHARES = (0.0, 0.3, 0.6, 0.9)
FAMILY = 60  # claims of one table, for the rate of false verdicts at the first step of Holm
Rng = np.random.Generator
Row = dict[str, Any]


def counted(estimates: Iterator[Estimate], truth: float) -> Row:
    """The shared columns, of many estimates of one truth."""
    limits = np.array([found.interval() for found in estimates])
    known = np.isfinite(limits).all(axis=1)
    low, high = limits[known].T
    return {
        "coverage": float(((low <= truth) & (truth <= high)).mean()),
        "too_high": float((low > truth).mean()),
        "too_low": float((high < truth).mean()),
        "undefined": float(1 - known.mean()),
        "width": float(np.median(high - low)),
        "reps": len(limits),
    }


def wins(real: np.ndarray, planted: np.ndarray) -> np.ndarray:
    """[..., n, n]: 1 where a real value is higher, 0.5 where equal."""
    return np.asarray((np.sign(real[..., :, None] - planted[..., None, :]) + 1) / 2)


def auroc(rng: Rng, reps: int) -> Iterator[Row]:
    """AUROC of one set of heads; real and planted values of a cluster correlate."""
    for n in CLUSTERS:
        for truth in AUROCS:
            for alike, spread in ((0.0, 1.0), (0.9, 1.0), (0.0, 2.5)):
                shift = norm.ppf(truth) * np.sqrt(1 + spread**2)

                def one(n: int, shift: float, alike: float, spread: float) -> Estimate:
                    shared = np.sqrt(alike) * rng.normal(size=n)
                    own = np.sqrt(1 - alike) * rng.normal(size=(2, n))
                    return auroc_of(wins(shift + shared + own[0], spread * (shared + own[1])))

                found = (one(n, shift, alike, spread) for _ in range(reps))
                place = {"clusters": n, "auroc": truth, "alike": alike, "spread": spread}
                yield {**place, **counted(found, truth)}


def bootstrap(rng: Rng, reps: int) -> Iterator[Row]:
    """The same by the percentile bootstrap, which earlier tables were made with."""
    for n in CLUSTERS:
        for truth in AUROCS:
            shift, inside = norm.ppf(truth) * np.sqrt(2), []
            for _ in range(reps // 4):
                table = wins(shift + rng.normal(size=n), rng.normal(size=n))
                drawn = rng.multinomial(n, np.full(n, 1 / n), size=400).astype(float)
                values = np.einsum("bi,ij,bj->b", drawn, table, drawn, optimize=True) / n**2
                low, high = np.quantile(values, [0.025, 0.975])
                inside.append((low <= truth <= high, low > truth, high < truth, high - low))
            covered, high_, low_, width = np.array(inside, float).T
            row = {"coverage": covered.mean(), "too_high": high_.mean(), "too_low": low_.mean()}
            yield {
                "clusters": n,
                "auroc": truth,
                **row,
                "width": np.median(width),
                "reps": len(width),
            }


def against_draws(rng: Rng, reps: int) -> Iterator[Row]:
    """AUROC of the critical heads minus that of random heads, whose draws differ by ``apart``."""
    for n in CLUSTERS:
        for draws in DRAWS:
            for truth in AUROCS:
                for apart in (0.0, 0.4):
                    mean = norm.ppf(truth) * np.sqrt(2)
                    # What the average draw has, the critical heads have too: no difference.
                    shift = norm.ppf(truth) * np.sqrt(2) * np.sqrt(1 + apart**2 / 2)

                    def one(n: int, draws: int, mean: float, shift: float, apart: float) -> Any:
                        shared = np.sqrt(0.5) * rng.normal(size=(2, 1, n))
                        top, control = (
                            shared + np.sqrt(0.5) * rng.normal(size=(2, k, n)) for k in (1, draws)
                        )
                        level = shift + apart * rng.normal(size=(draws, 1))
                        return auroc_difference(
                            wins(mean + top[0], top[1]),
                            wins(level + control[0], control[1]),
                            random_draws=True,
                        )

                    made = [one(n, draws, mean, shift, apart) for _ in range(reps // 2)]
                    strict = np.array([found.interval(0.05 / FAMILY) for found in made])
                    false = ((strict[:, 0] > 0) | (strict[:, 1] < 0)).mean()
                    place = {"clusters": n, "draws": draws, "auroc": truth, "apart": apart}
                    row = counted(iter(made), 0.0)
                    yield {**place, **row, "false_in_table": float(false * FAMILY)}


def equal_loss(rng: Rng, reps: int) -> Iterator[Row]:
    """Steps matched by loss, by the rule of the tables: a score that says no more than the loss.

    ``apart``: how much more loss the planted steps have; ``follows``: how much of the score is the
    loss. At equal loss nothing separates: the truth is 0.5.
    """
    for n in (12, 20, 48):
        for apart in (0.3, 0.8):
            for follows in (0.0, 0.7):

                def one(n: int, apart: float, follows: float) -> Estimate:
                    losses = 1 + 0.5 * rng.normal(size=(2, n)) + [[0.0], [apart]]
                    noise = np.sqrt(1 - follows**2) * rng.normal(size=(2, n))
                    real, planted = -2 * follows * (losses - losses.mean()) + noise
                    sources = [str(i) for i in range(n)]
                    cell = Cell(real[None], planted[None], losses[0], losses[1], sources)
                    return auroc_of(cell.wins(), cell.allowed(caliper_of(cell)))

                found = (one(n, apart, follows) for _ in range(reps // 2))
                place = {"clusters": n, "apart": apart, "follows": follows}
                yield {**place, **counted(found, 0.5)}


def gains(rng: Rng, reps: int) -> Iterator[Row]:
    """What a score without any information adds to heuristics that have some."""
    for n in (12, 20, 48):
        for strength in (0.3, 1.0):
            made = []
            for _ in range(reps // 5):
                shift = np.repeat([strength, 0.0], n)[:, None]
                free = rng.normal(size=(2 * n, 6)) + shift
                label, group = np.repeat([1, 0], n), np.tile(np.arange(n), 2)
                more = np.concatenate([free, rng.normal(size=(2 * n, 1))], axis=1)
                alone, both = (held_out(x, label, group) for x in (free, more))
                tables = [wins(value[:n], value[n:])[None] for value in (both, alone)]
                made.append(auroc_difference(*tables))
            yield {"clusters": n, "strength": strength, **counted(iter(made), 0.0)}


def means(rng: Rng, reps: int) -> Iterator[Row]:
    """A mean difference over clusters and draws; draws make a share of its variance."""
    for n in CLUSTERS:
        for draws in DRAWS:
            for share in SHARES:
                of_clusters = 1 / n + 1 / (n * draws)
                spread = np.sqrt(share / (1 - share) * of_clusters * draws)

                def one(n: int, draws: int, spread: float) -> Estimate:
                    grid = rng.normal(size=(n, 1)) + rng.normal(size=(n, draws))
                    return mean_of(grid + spread * rng.normal(size=draws), random_draws=True)

                found = (one(n, draws, spread) for _ in range(reps))
                place = {"clusters": n, "draws": draws, "share_of_draws": share}
                yield {**place, **counted(found, 0.0)}


def proportions(rng: Rng, reps: int) -> Iterator[Row]:
    """A share of answers, five to a cluster; ``alike``: correlation of those of one cluster."""
    for n in (6, *CLUSTERS):
        for truth in (0.1, 0.5, 0.9):
            for alike in (0.0, 0.5, 1.0):

                def one(n: int, truth: float, alike: float) -> Estimate:
                    same = rng.random((n, 1)) < alike
                    answers = np.where(same, rng.random((n, 1)), rng.random((n, 5))) < truth
                    return proportion_of(answers.mean(axis=1), most=5 * n)

                found = (one(n, truth, alike) for _ in range(reps))
                yield {"clusters": n, "share": truth, "alike": alike, **counted(found, truth)}


def correlations(rng: Rng, reps: int) -> Iterator[Row]:
    """Spearman's ρ of pairs, of normal values and of values with a long tail."""
    for n in (12, 48, 240):
        for truth in (0.0, 0.3, 0.8):
            for tail in (False, True):
                r = 2 * np.sin(np.pi * truth / 6)  # of normal values with this Spearman's ρ

                def one(n: int, r: float, tail: bool) -> Estimate:
                    x = rng.normal(size=n)
                    y = r * x + np.sqrt(1 - r**2) * rng.normal(size=n)
                    return correlation_of(np.exp(2 * x) if tail else x, y)

                found = (one(n, r, tail) for _ in range(reps // (8 if n > 100 else 2)))
                yield {"pairs": n, "rho": truth, "long_tail": tail, **counted(found, truth)}


def training(rng: Rng, reps: int) -> Iterator[Row]:
    """Arms that do not differ, against one of them; runs make a share of the variance.

    ``drawn``: the arm that the others are compared with draws other data with every seed, and its
    runs vary so many times as much as those of the others; 1: all arms are of one kind.
    """
    for seeds in (3, 5):
        for arms, problems in ((2, 100), (13, 100)):
            for drawn in (1.0, 3.0) if arms > 2 else (1.0,):
                for share in SHARES:
                    studies = [
                        _study(rng, arms, seeds, problems, share, drawn) for _ in range(reps // 5)
                    ]
                    rows = [gap.interval(0.05 / len(gaps)) for gaps in studies for gap in gaps]
                    first = np.array(rows).reshape(len(studies), -1, 2)
                    false = ((first[..., 0] > 0) | (first[..., 1] < 0)).any(axis=1).mean()
                    place = {"seeds": seeds, "arms": arms, "drawn": drawn, "share_of_runs": share}
                    row = counted((gap for gaps in studies for gap in gaps), 0.0)
                    yield {**place, **row, "false_in_table": float(false)}


def _study(
    rng: Rng, arms: int, seeds: int, problems: int, share: float, drawn: float
) -> list[Difference]:
    of_problems = 2 / problems + 2 / (seeds * problems)
    of_runs = share / (1 - share) * of_problems * seeds / (1 + drawn)
    hard, names = 2 * rng.normal(size=problems), [f"arm {i}" for i in range(arms)]
    values = {
        name: hard
        + rng.normal(size=problems)
        + np.sqrt(of_runs * (drawn if i == 0 else 1)) * rng.normal(size=(seeds, 1))
        + rng.normal(size=(seeds, problems))
        for i, name in enumerate(names)
    }
    known = run_variances(values, drawn=names[:1] if drawn != 1 else ())
    first = names[0]
    return [
        difference(values[name], values[first], (known[name], known[first])) for name in names[1:]
    ]


def ranks(rng: Rng, reps: int) -> Iterator[Row]:
    """Rank intervals of heads: a model of 270, of which 14 score high and 200 never."""
    score = np.concatenate([np.linspace(0.85, 0.15, 14), np.full(56, 0.03), np.zeros(200)])
    best = 1 + (score[:, None] < score).sum(axis=1)
    last = (score[:, None] <= score).sum(axis=1)
    a, b = np.maximum(12 * score, 1e-3), np.maximum(12 * (1 - score), 1e-3)
    for probes in (8, 12, 16):
        inside, wide = [], []
        for _ in range(max(20, reps // 20)):
            samples = rng.beta(a, b, size=(probes, len(score)))
            samples[:, score == 0] = 0
            low, high = rank_limits(samples)
            inside.append((low <= last) & (high >= best))
            wide.append(high - low)
        of_head = np.mean(inside, axis=0)
        for name, heads in (("top 14", slice(14)), ("the others", slice(14, None))):
            row = {"coverage": of_head[heads].mean(), "least_of_a_head": of_head[heads].min()}
            width = float(np.median(np.array(wide)[:, heads]))
            yield {"probes": probes, "heads": name, **row, "width": width, "reps": len(inside)}


TABLES: dict[str, Callable[[Rng, int], Iterator[Row]]] = {
    "auroc": auroc,
    "bootstrap": bootstrap,
    "against_draws": against_draws,
    "equal_loss": equal_loss,
    "gains": gains,
    "means": means,
    "proportions": proportions,
    "correlations": correlations,
    "training": training,
    "ranks": ranks,
}


def main() -> None:
    """Simulate, and write tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", choices=TABLES, nargs="+", default=list(TABLES))
    parser.add_argument("--reps", type=int, default=2000, help="simulated studies a row, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "coverage")
    args = parser.parse_args()
    tables = {}
    for name in args.only:
        rng = np.random.default_rng([args.seed, list(TABLES).index(name)])
        tables[name] = pd.DataFrame(TABLES[name](rng, args.reps))
        print(name, tables[name].round(3).to_string(index=False), sep="\n", flush=True)
    note = provenance(None, seed=args.seed, reps=args.reps, tables=list(TABLES))
    print(write_tables(args.out, tables, note))


if __name__ == "__main__":
    main()
