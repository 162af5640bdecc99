"""Attention heads, sets of heads, and scores over all heads of a model.

The critical heads are the top 5 % by mean score over the probes, ties by (layer, head) (AIR;
AttentionInfluence app. C). The control is as many heads drawn at random from the others.

>>> import numpy as np
>>> scores = HeadScores(np.array([[0.1, 0.9], [0.4, 0.0]]), np.zeros((1, 2, 2)))
>>> str(scores.top(2))
'L0H1, L1H0'
>>> [control.names() for control in random_heads((2, 2), scores.top(1), draws=1)]
[['L0H0']]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import index
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from .arguments import checked, expected, reader
from .errors import ConfigError, DataError, HeadError, need_count, short
from .files import read_json, write_json
from .shares import Share, how_many

if TYPE_CHECKING:
    import pandas as pd

HeadArray: TypeAlias = Float[np.ndarray, "L H"]
"""A number for every query head: L layers of H heads."""
ProbeHeadArray: TypeAlias = Float[np.ndarray, "P L H"]
"""The same for each of P probes."""

TOP_SHARE = 0.05  # of the heads are the critical ones (AIR; AttentionInfluence app. C)
MISSING = "no such file; make one with `airlens heads --out`"


class Head(NamedTuple):
    """One query head. ``str(Head(18, 6)) == "L18H6"``."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"


def parse_head(text: str) -> Head:
    """``"L18H6"`` or ``"18.6"`` as a :class:`Head`; :class:`HeadError` where it names none.

    >>> parse_head("L18H6")
    Head(layer=18, head=6)
    """
    match = re.fullmatch(r"\s*[Ll](\d+)\s*[Hh](\d+)\s*|\s*(\d+)[.\-](\d+)\s*", text)
    if match is None:
        raise HeadError(f"cannot read a head from {short(text)}; write it as L18H6")
    layer, head, layer2, head2 = match.groups()
    return Head(int(layer or layer2), int(head or head2))


def as_head(item: Any) -> Head:
    """A name (``"L18H6"``) or a pair of whole numbers as a :class:`Head`, else `HeadError`.

    >>> as_head([18, 6])
    Head(layer=18, head=6)
    """
    if isinstance(item, str):
        return parse_head(item)
    try:
        layer, head = item
        if isinstance(layer, bool) or isinstance(head, bool):
            raise TypeError
        return Head(index(layer), index(head))
    except (TypeError, ValueError) as error:
        raise HeadError(
            f"cannot read a head from {short(item)}; write L18H6, or the pair (18, 6)"
        ) from error


@dataclass(frozen=True)
class HeadSet:
    """A set of heads in a stable order (best first where they were ranked).

    Attributes:
        heads: the heads, without repetition.
        name: what the set is, as shown in figures ("top 14", "random 0").
        provenance: how it came about.
    """

    heads: tuple[Head, ...]
    name: str = "heads"
    provenance: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        given: Any = self.heads
        unique = dict.fromkeys(map(as_head, given if isinstance(given, Iterable) else (given,)))
        object.__setattr__(self, "heads", tuple(unique))

    @classmethod
    def parse(cls, text: str | Iterable[Any], name: str = "heads") -> HeadSet:
        """Read ``"L18H6, L17H3"`` or an iterable of names or pairs, else :class:`HeadError`.

        >>> HeadSet.parse("L18H6, L17H3").by_layer()
        {17: [3], 18: [6]}
        """
        if isinstance(text, str):
            items: list[Any] = [item for item in re.split(r"[\s,;]+", text) if item]
        else:
            given: Any = text
            many = isinstance(given, Iterable) and not isinstance(given, Head)
            items = list(given) if many else [given]
        return cls(tuple(map(as_head, items)), name)

    def __iter__(self) -> Iterator[Head]:
        return iter(self.heads)

    def __len__(self) -> int:
        return len(self.heads)

    def __str__(self) -> str:
        return ", ".join(map(str, self.heads))

    def names(self) -> list[str]:
        """``["L18H6", …]``."""
        return [str(head) for head in self.heads]

    def by_layer(self) -> dict[int, list[int]]:
        """Head indices of each layer, layers ascending."""
        layers: dict[int, list[int]] = {}
        for layer, head in sorted(self.heads):
            layers.setdefault(layer, []).append(head)
        return layers

    def check(self, n_layers: int, n_heads: int) -> None:
        """Raise :class:`HeadError` if a head lies outside a model of that shape."""
        bad = [str(h) for h in self if not (0 <= h[0] < n_layers and 0 <= h[1] < n_heads)]
        if bad:
            raise HeadError(
                f"{', '.join(bad)}: no such head; the model has {n_layers} layers (L0 to "
                f"L{n_layers - 1}) of {n_heads} query heads (H0 to H{n_heads - 1})"
            )


Heads: TypeAlias = "HeadSet | Iterable[Any] | str"
"""What names heads: a head set, ``"L18H6, L17H3"``, or an iterable of names or pairs."""


@reader("Heads", "HeadSet")
def as_head_set(heads: Any, name: str = "heads") -> HeadSet:
    """A head set from what names one, or a :class:`HeadError` that says how to get one."""
    if isinstance(heads, HeadSet):
        return heads
    if isinstance(heads, HeadScores):
        raise HeadError("these are scores of all heads: scores.top(0.05) gives the best of them")
    if isinstance(heads, PathLike) or (isinstance(heads, str) and heads.endswith(".json")):
        raise HeadError(f"al.load_heads({short(str(heads))}) reads the heads of a file")
    return HeadSet.parse(heads)


@dataclass(frozen=True)
class HeadScores:
    """A score for every head of a model, with the scores per probe behind it.

    Attributes:
        scores: mean over probes, fp32, shape [L, H].
        samples: score per probe, fp32, shape [P, L, H].
        detector: which definition ("retrieval", "induction", …).
        copy_accuracy: share of answer tokens the model predicts, None where not measured.
        provenance: model, probes, method, versions.
    """

    scores: HeadArray
    samples: ProbeHeadArray
    detector: str = "retrieval"
    copy_accuracy: float | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return int(self.scores.shape[0])

    @property
    def n_heads(self) -> int:
        """Query heads per layer."""
        return int(self.scores.shape[1])

    def ranked(self) -> list[Head]:
        """All heads, best first; ties by (layer, head). NaN (not measured) comes last."""
        flat = np.nan_to_num(self.scores.reshape(-1), nan=-np.inf)
        order = np.argsort(-flat, kind="stable")
        return [Head(int(i) // self.n_heads, int(i) % self.n_heads) for i in order]

    def top(self, k: Share = TOP_SHARE) -> HeadSet:
        """The best heads: a share (0.05, "5%") or a count (5), else :class:`HeadError`."""
        count = count_heads(k, self.scores.size)
        note = {**self.provenance, "detector": self.detector, "top": k}
        return HeadSet(tuple(self.ranked()[:count]), f"top {count}", note)

    def interval(self, n_boot: int = 1000, seed: int = 0) -> tuple[HeadArray, HeadArray]:
        """95 % bootstrap interval of each mean over probes: two arrays [L, H]."""
        n = len(self.samples)
        if n < 2:
            return self.scores, self.scores
        # Resampling as weights: one [n_boot, P] @ [P, L*H] product instead of a loop.
        weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_boot) / n
        means = weights @ self.samples.reshape(n, -1)
        lo, hi = np.nanquantile(means, [0.025, 0.975], axis=0).reshape(2, *self.scores.shape)
        return lo.astype(np.float32), hi.astype(np.float32)

    def to_frame(self, top: Share = TOP_SHARE) -> pd.DataFrame:
        """One row a head, best first: layer, head, name, score, lo, hi, rank, top."""
        import pandas as pd

        (lo, hi), chosen = self.interval(), self.top(top)
        rows = [
            (*h, str(h), self.scores[h], lo[h], hi[h], rank, h in chosen)
            for rank, h in enumerate(self.ranked(), start=1)
        ]
        columns = ["layer", "head", "name", "score", "lo", "hi", "rank", "top"]
        return pd.DataFrame(rows, columns=columns)

    def save(self, path: str | Path, top: Share = TOP_SHARE) -> Path:
        """Write JSON: "heads" (all, best first), "top", "copy_accuracy", samples, provenance."""
        record = {
            "detector": self.detector,
            "copy_accuracy": self.copy_accuracy,
            "top": [_row(h, self.scores) for h in self.top(top)],
            "heads": [_row(h, self.scores) for h in self.ranked()],
            "shape": list(self.scores.shape),
            "samples": np.round(self.samples.astype(float), 6).tolist(),
            "provenance": self.provenance,
        }
        return write_json(path, record)

    @classmethod
    def load(cls, path: str | Path) -> HeadScores:
        """Read what :meth:`save` wrote; :class:`DataError` where it is no such file."""
        record = read_json(path, MISSING)
        try:
            scores = np.full(record["shape"], np.nan, dtype=np.float32)
            for row in record["heads"]:
                scores[row["layer"], row["head"]] = np.nan if row["score"] is None else row["score"]
            samples = np.asarray(record.get("samples") or scores[None], dtype=np.float32)
            detector = str(record.get("detector", "retrieval"))
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise DataError(f"not a file of head scores ({error})", file=str(path)) from error
        accuracy = record.get("copy_accuracy")
        return cls(scores, samples, detector, accuracy, record.get("provenance", {}))


@reader("HeadScores")
def as_scores(value: Any, name: str = "scores") -> HeadScores:
    """Head scores, or a :class:`ConfigError` that says where they come from."""
    if isinstance(value, HeadScores):
        return value
    how = "al.retrieval_scores, al.detect or al.HeadScores.load"
    raise expected(f"head scores ({how})", value, name)


@reader("Mapping[str, HeadScores]")
def as_score_sets(value: Any, name: str = "scores") -> Any:
    """Head scores by name."""
    if isinstance(value, HeadScores):
        raise ConfigError(f"{name}: give these scores a name, {{'mine': scores}}")
    if not isinstance(value, Mapping) or not value:
        raise expected("head scores by name, {'mine': scores}", value, name)
    for key, item in value.items():
        as_scores(item, f"{name}[{key!r}]")
    return value


@reader("HeadScores | Mapping[str, HeadScores]", "HeadScores | Mapping[int, HeadScores]")
def _scores_or_sets(value: Any, name: str) -> Any:
    return value if isinstance(value, HeadScores) else as_score_sets(value, name)


@reader("tuple[int, int]")
def _shape(value: Any, name: str) -> tuple[int, int]:
    """The layers of a model, and its heads in each."""
    try:
        n_layers, n_heads = value
        return need_count(n_layers, name), need_count(n_heads, name)
    except (TypeError, ValueError):  # ConfigError is a ValueError too
        raise expected("(n_layers, n_heads)", value, name) from None


def count_heads(k: Share, total: int) -> int:
    """How many heads a share (0.05) or a count (3) means; :class:`HeadError` out of range.

    >>> count_heads(0.05, 270), count_heads(3, 270)
    (14, 3)
    """
    may = f"give a share in (0, 1], such as 0.05 or 5%, or a count from 1 to {total}"
    try:
        count = how_many(k, total)
    except ConfigError as error:
        raise HeadError(may, argument="top", value=k) from error
    if count > total:
        raise HeadError(f"the model has {total} heads; {may}", argument="top", value=k)
    return count


@checked
def load_heads(path: str | Path) -> HeadSet:
    """The critical heads ("top") of a file of :meth:`HeadScores.save`, else :class:`DataError`."""
    record = read_json(path, MISSING)
    try:
        heads = tuple(Head(int(row["layer"]), int(row["head"])) for row in record["top"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f'no list of heads under "top" ({error})', file=str(path)) from error
    return HeadSet(heads, f"top {len(heads)}", dict(record.get("provenance", {})))


@checked
def random_heads(
    shape: tuple[int, int],
    heads: HeadSet,
    *,
    draws: int = 5,
    seed: int = 0,
    same_layers: bool = True,
) -> list[HeadSet]:
    """Control sets: as many heads as ``heads``, disjoint from it.

    Args:
        shape: (n_layers, n_heads) of the model.
        heads: the critical heads that the controls must avoid.
        draws: number of control sets.
        seed: of the generator; the same seed gives the same sets.
        same_layers: draw from the layers of ``heads`` first, as many of each as it has; where a
            layer has too few other heads, from the nearest layers.

    Raises:
        HeadError: the model has too few other heads.
    """
    heads.check(*shape)
    everything = (Head(layer, head) for layer in range(shape[0]) for head in range(shape[1]))
    others = [h for h in everything if h not in heads]
    if len(others) < len(heads):
        few = f"the model has only {len(others)} others"
        raise HeadError(f"no disjoint control of {len(heads)} heads: {few}")
    rng = np.random.default_rng(seed)
    kind = "same-layer random" if same_layers else "random"
    sets = []
    for draw in range(draws):
        if same_layers:
            chosen = _draw_same_layers(others, heads, rng)
        else:
            chosen = [others[i] for i in rng.choice(len(others), size=len(heads), replace=False)]
        sets.append(HeadSet(tuple(chosen), f"{kind} {draw}", {"control": kind, "seed": seed}))
    return sets


def _draw_same_layers(others: list[Head], heads: HeadSet, rng: np.random.Generator) -> list[Head]:
    chosen: list[Head] = []
    for layer, wanted in heads.by_layer().items():
        for _ in wanted:
            free = [h for h in others if h not in chosen]
            nearest = min(abs(h.layer - layer) for h in free)
            pool = [h for h in free if abs(h.layer - layer) == nearest]
            chosen.append(pool[rng.integers(len(pool))])
    return chosen


def _row(head: Head, scores: HeadArray) -> dict[str, Any]:
    score = float(scores[head])
    return {"layer": head.layer, "head": head.head, "score": None if np.isnan(score) else score}
