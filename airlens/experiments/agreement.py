"""How far a head set can be trusted: its stability, and its agreement with others.

Everything here works on stored scores per probe (:class:`~airlens.heads.HeadScores`), so it costs
no forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from airlens.arguments import checked
from airlens.errors import ConfigError, DataError
from airlens.heads import TOP_SHARE, HeadScores
from airlens.statistics.correlations import jaccard, pearson, ranks, spearman
from airlens.statistics.estimates import ALPHA, student
from airlens.statistics.resampling import bootstrap_counts, middle_range

N_PERMUTED = 2000
BLOCK = 256  # heads compared with all others at once


def rank_correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Spearman's ρ over all heads that both have; NaN with fewer than three.

    No head is left out for a low score: choosing heads by the very scores that are compared makes
    independent scores look opposed, since a head that is in for one of them is mostly low in the
    other.

    Args:
        a: scores, any shape; NaN where not measured.
        b: scores of the same heads.
    """
    return spearman(np.asarray(a, float).ravel(), np.asarray(b, float).ravel())


@checked
def stability(
    scores: HeadScores | Mapping[int, HeadScores],
    *,
    sizes: tuple[int, ...] = (1, 2, 4, 8, 12, 16),
    draws: int = 100,
    top: float | int = TOP_SHARE,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether other probes would give the same heads: split halves and bootstrap over probes.

    Args:
        scores: with a score per probe; or a mapping from context length (tokens) to such scores.
        sizes: numbers of probes; a size needs twice as many probes for its split halves, and is
            left out otherwise.
        draws: random splits, and bootstrap resamples, of each size.
        top: share or number of heads in the sets compared.
        seed: of the draws.

    Returns:
        One row per length, method (``split half``: two disjoint sets of ``n_probes``;
        ``bootstrap``: two resamples with replacement) and size: max_tokens (NaN where not given),
        method, n_probes, jaccard, jaccard_lo, jaccard_hi, spearman, spearman_lo, spearman_hi (2.5
        and 97.5 % of the draws), draws.

    Raises:
        DataError: fewer than two probes.
    """
    by_length = scores if isinstance(scores, Mapping) else {0: scores}
    rows = []
    for length, one in by_length.items():
        if len(one.samples) < 2:
            raise DataError("stability needs the scores of two probes at least")
        for method, n, pairs in _pairs(len(one.samples), sizes, draws, seed):
            found = [_compare(one, a, b, top) for a, b in pairs]
            row = {"max_tokens": length or np.nan, "method": method, "n_probes": n}
            rows.append(row | _summary(found) | {"draws": draws})
    return pd.DataFrame(rows)


Pair = tuple[NDArray[np.int_], NDArray[np.int_]]


def _pairs(
    total: int, sizes: tuple[int, ...], draws: int, seed: int
) -> list[tuple[str, int, list[Pair]]]:
    rng = np.random.default_rng(seed)
    found = []
    for n in sizes:
        if 2 * n <= total:
            orders = [rng.permutation(total) for _ in range(draws)]
            found.append(("split half", n, [(o[:n], o[n : 2 * n]) for o in orders]))
    for n in sizes:
        if n <= total:
            drawn = [rng.integers(total, size=(2, n)) for _ in range(draws)]
            found.append(("bootstrap", n, [(d[0], d[1]) for d in drawn]))
    return found


def _compare(
    scores: HeadScores, a: NDArray[np.int_], b: NDArray[np.int_], top: float | int
) -> tuple[float, float]:
    first, second = (_mean(scores, pick) for pick in (a, b))
    same = jaccard(first.top(top), second.top(top))
    return same, rank_correlation(first.scores, second.scores)


def _mean(scores: HeadScores, probes: NDArray[np.int_]) -> HeadScores:
    samples = scores.samples[probes]
    return HeadScores(samples.mean(axis=0), samples, scores.detector, provenance=scores.provenance)


def _summary(found: list[tuple[float, float]]) -> dict[str, float]:
    record: dict[str, float] = {}
    for name, column in zip(("jaccard", "spearman"), np.array(found).T, strict=True):
        real = column[np.isfinite(column)]
        low, high = middle_range(column)
        middle = float(real.mean()) if len(real) else float("nan")
        record |= {name: middle, f"{name}_lo": low, f"{name}_hi": high}
    return record


def recommend(frame: pd.DataFrame, target: float = 0.9) -> str:
    """A sentence naming the cheapest probes of a :func:`stability` frame whose split halves agree.

    Args:
        frame: from :func:`stability`.
        target: wanted Jaccard index of the top heads.
    """
    halves = frame[frame["method"] == "split half"]
    if halves.empty:
        return "too few probes to compare halves: score more"
    records = sorted(
        halves.to_dict("records"),
        key=lambda r: r["n_probes"] * np.nan_to_num(r["max_tokens"], nan=1),
    )
    good = [r for r in records if r["jaccard"] >= target]
    pick = good[0] if good else max(records, key=lambda r: r["jaccard"])
    tokens = "" if np.isnan(pick["max_tokens"]) else f" of {int(pick['max_tokens'])} tokens"
    said = f"{int(pick['n_probes'])} probes{tokens}: Jaccard {pick['jaccard']:.2f}"
    return said if good else f"{said}, under {target:g}: use more probes"


@checked
def rank_table(
    scores: Mapping[str, HeadScores],
    *,
    top: float | int = TOP_SHARE,
    n_boot: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Each detector's rank of each head, with intervals over its probes.

    A rank interval goes from the heads that are surely better to those that are surely worse: by
    the t test of the difference to that head over probes, at 5 %. Heads with equal scores share
    a rank and an interval.

    Args:
        scores: by detector, with a score per probe.
        top: share or number of heads that count as top.
        n_boot: bootstrap samples of the probes, for ``in_top``.
        seed: of the bootstrap.

    Returns:
        One row per detector and head, best first: detector, layer, head, name, score, rank (1 is
        best), lo, hi, in_top (share of the bootstrap samples in which the head is a top one),
        n_probes. Heads without a score are left out; with one probe lo, hi and in_top are NaN.
    """
    rows = []
    for detector, one in scores.items():
        flat = one.samples.reshape(len(one.samples), -1).astype(np.float64)
        n, count = len(flat), len(one.top(top))
        weights = bootstrap_counts(n, n_boot, seed) / n
        # NaN (a head that was not scored) ranks last, as in `HeadScores.ranked`.
        drawn = _places(np.nan_to_num(weights @ flat, nan=-np.inf)) + 1
        often = (drawn <= count).mean(axis=0)
        order = np.asarray(rankdata(-one.scores.ravel(), method="min", nan_policy="omit"))
        lo, hi = rank_limits(flat)
        for head in one.ranked():
            at = head.layer * one.n_heads + head.head
            if np.isfinite(one.scores[head]):
                sure = (lo[at], hi[at], often[at]) if n > 1 else (np.nan,) * 3
                place = (detector, head.layer, head.head, str(head), float(one.scores[head]))
                rows.append((*place, int(order[at]), *sure, n))
    columns = ["detector", "layer", "head", "name", "score", "rank", "lo", "hi", "in_top"]
    return pd.DataFrame(rows, columns=[*columns, "n_probes"])


def rank_limits(samples: NDArray[np.float64]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """95 % limits of each head's rank among the heads with scores.

    Args:
        samples: [P, H], the score of each head on each probe; NaN for a head without.

    Returns:
        [H] and [H]: one more than the heads that are surely better, and all but those surely worse.
    """
    n = len(samples)
    known = np.isfinite(samples).all(axis=0)
    better = np.zeros(samples.shape[1], dtype=int)
    worse = np.zeros(samples.shape[1], dtype=int)
    values = samples[:, known]
    if n > 1 and values.size:
        mean, away = values.mean(axis=0), values - values.mean(axis=0)
        var, limit = (away**2).sum(axis=0) / (n - 1), student(ALPHA, n - 1)
        above, below = np.zeros(len(mean), dtype=int), np.zeros(len(mean), dtype=int)
        for start in range(0, len(mean), BLOCK):
            own = slice(start, start + BLOCK)
            shared = away[:, own].T @ away / (n - 1)
            spread = np.sqrt(np.maximum(var[own, None] + var - 2 * shared, 0) / n)
            gap = mean[own, None] - mean
            sure = (np.abs(gap) > limit * spread) & (spread > 1e-9)
            above[own], below[own] = (sure & (gap > 0)).sum(axis=1), (sure & (gap < 0)).sum(axis=1)
        worse[known], better[known] = above, below
    return 1 + better, int(known.sum()) - worse


def _places(values: NDArray[np.float64]) -> NDArray[np.int_]:
    """Place of each value in its row, 0 for the largest; ties in their order."""
    order = np.argsort(-values, axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(values.shape[1])[None], axis=1)
    return places


@checked
def agreement(
    scores: Mapping[str, HeadScores], *, top: float | int = TOP_SHARE, seed: int = 0
) -> pd.DataFrame:
    """Agreement of every pair of rankings: several detectors, or one detector on several corpora.

    Args:
        scores: by name; all of one model.
        top: share or number of heads in the sets compared.
        seed: of the permutations.

    Returns:
        a, b, spearman (over all heads), null_lo and null_hi (between which 95 % of the correlations
        lie when the heads of one are permuted), jaccard, shared (heads in both sets), top (heads in
        each), chance (heads that two sets drawn at random would share on average).

    Raises:
        ConfigError: scores of models of different shape.
    """
    shapes = {one.scores.shape for one in scores.values()}
    if len(shapes) > 1:
        raise ConfigError(f"these scores are of different models: shapes {sorted(shapes)}")
    rows = []
    for a, b in combinations(scores, 2):
        first, second = scores[a].top(top), scores[b].top(top)
        null = permuted(scores[a].scores, scores[b].scores, seed=seed)
        rows.append(
            {
                "a": a,
                "b": b,
                "spearman": rank_correlation(scores[a].scores, scores[b].scores),
                **dict(zip(("null_lo", "null_hi"), middle_range(null), strict=True)),
                "jaccard": jaccard(first, second),
                "shared": len(set(first) & set(second)),
                "top": len(first),
                "chance": len(first) * len(second) / len(scores[a].grid),
            }
        )
    columns = ["a", "b", "spearman", "null_lo", "null_hi", "jaccard", "shared", "top", "chance"]
    return pd.DataFrame(rows, columns=columns)


def permuted(
    a: NDArray[np.floating], b: NDArray[np.floating], *, n: int = N_PERMUTED, seed: int = 0
) -> NDArray[np.float64]:
    """Spearman's ρ of ``a`` with ``n`` permutations of ``b`` over the heads that both have."""
    x, y = np.asarray(a, float).ravel(), np.asarray(b, float).ravel()
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 3:
        return np.full(0, np.nan)
    x, y = ranks(x[known]), ranks(y[known])
    return pearson(x, np.random.default_rng(seed).permuted(np.tile(y, (n, 1)), axis=1))
