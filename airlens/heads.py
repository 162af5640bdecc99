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
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import index
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from jaxtyping import Float

from .arguments import checked, expected, reader
from .control_kinds import Control
from .errors import ConfigError, DataError, HeadError, need_count, short
from .files import read_json, write_json
from .shares import Share, how_many, share_or_count
from .statistics.estimates import mean_limits, share_limits

if TYPE_CHECKING:
    import pandas as pd

HeadArray: TypeAlias = Float[np.ndarray, "L H"]
"""A number for every query head: L layers of H heads."""
ProbeHeadArray: TypeAlias = Float[np.ndarray, "P L H"]
"""A score of each head on each of P probes."""

Part: TypeAlias = Literal["lookup", "continuation"]
"""A part of an answer that heads are scored by: its first token, or the later ones."""
PARTS: tuple[Part, ...] = get_args(Part)

TOP_SHARE = 0.05  # of the heads are the critical ones (AIR; AttentionInfluence app. C)
# Detectors whose score is a share of tokens or of attention.
SHARES = ("retrieval", "retrieval_greedy", "retrieval_reasoning", "induction")
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
        HeadGrid.of((n_layers, n_heads)).check(self)


@dataclass(frozen=True)
class HeadGrid:
    """Which heads a model has: as many in every layer, or fewer or none in some (hybrid models).

    Attributes:
        per_layer: number of query heads of each layer.
    """

    per_layer: tuple[int, ...]

    @classmethod
    def of(cls, shape: Shape) -> HeadGrid:
        """The grid of a model with (n_layers, n_heads), or ``shape`` where it is a grid.

        >>> len(HeadGrid.of((2, 3))), HeadGrid((0, 2)).heads()
        (6, [Head(layer=1, head=0), Head(layer=1, head=1)])
        """
        return shape if isinstance(shape, HeadGrid) else cls((int(shape[1]),) * int(shape[0]))

    @classmethod
    def of_model(cls, about: Mapping[str, Any]) -> HeadGrid:
        """The grid of the model that a provenance tells of; an empty one where it does not say."""
        each = about.get("heads_per_layer")
        shape = (about.get("n_layers") or 0, about.get("n_heads") or 0)
        return cls(tuple(map(index, each))) if each is not None else cls.of(shape)

    @property
    def n_layers(self) -> int:
        """Number of layers, those without heads too."""
        return len(self.per_layer)

    @property
    def n_heads(self) -> int:
        """Query heads of a layer; the most, where layers differ."""
        return max(self.per_layer, default=0)

    @property
    def shape(self) -> tuple[int, int]:
        """[L, H] of an array with a place for every head: layers, and the most heads of one."""
        return self.n_layers, self.n_heads

    def __len__(self) -> int:
        return sum(self.per_layer)

    def __contains__(self, head: Head) -> bool:
        layer, own = head
        return 0 <= layer < self.n_layers and 0 <= own < self.per_layer[layer]

    @property
    def layers(self) -> list[int]:
        """The layers that have heads."""
        return [i for i, count in enumerate(self.per_layer) if count]

    def heads(self) -> list[Head]:
        """All heads, by layer and index."""
        return [Head(i, j) for i, n in enumerate(self.per_layer) for j in range(n)]

    def all_heads(self) -> HeadSet:
        """All of them as a set."""
        return HeadSet(tuple(self.heads()), "all heads")

    def zeros(self, *first: int) -> np.ndarray:
        """fp32 [*first, L, H]: 0 for every head, NaN where there is none."""
        grid = np.zeros((*first, *self.shape), np.float32)
        for layer, count in enumerate(self.per_layer):
            grid[..., layer, count:] = np.nan
        return grid

    def check(self, heads: Iterable[Head]) -> None:
        """Raise :class:`HeadError` if one of the heads is none of the grid's."""
        bad = [str(head) for head in heads if head not in self]
        if bad:
            raise HeadError(f"{', '.join(bad)}: no such head; the model has {self}")

    def words(self) -> str:
        """The grid in a few words: "30 layers of 9 heads"."""
        if len(self) == self.n_layers * self.n_heads:
            return f"{self.n_layers} layers of {self.n_heads} heads"
        return f"{len(self)} heads in {len(self.layers)} of {self.n_layers} layers"

    def __str__(self) -> str:
        n, heads = self.n_layers, self.n_heads
        query = f"{heads} query heads (H0 to H{heads - 1})"
        if set(self.per_layer) == {heads}:
            return f"{n} layers (L0 to L{n - 1}) of {query}"
        having = [f"L{i}" for i in self.layers]
        if len({count for count in self.per_layer if count}) == 1:
            return f"{query} in {len(having)} of its {n} layers ({', '.join(having)})"
        each = ", ".join(f"L{i} {count}" for i, count in enumerate(self.per_layer))
        return f"{n} layers with different numbers of query heads ({each})"


Shape: TypeAlias = "HeadGrid | tuple[int, int]"
"""Which heads a model has: a grid, or (n_layers, n_heads) where all layers are alike."""

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
        parts: scores of the parts of an answer by name, "lookup" (the first token) and
            "continuation" (the later ones), where they were measured (:func:`retrieval_scores`).
    """

    scores: HeadArray
    samples: ProbeHeadArray
    detector: str = "retrieval"
    copy_accuracy: float | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, HeadScores] = field(default_factory=dict)

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return int(self.scores.shape[0])

    @property
    def n_heads(self) -> int:
        """Query heads per layer."""
        return int(self.scores.shape[1])

    @property
    def grid(self) -> HeadGrid:
        """The heads that the model has: those of its attention layers."""
        about = self.provenance.get("model") or {}
        uneven = "heads_per_layer" in about
        return HeadGrid.of_model(about) if uneven else HeadGrid.of(self.scores.shape)

    def ranked(self) -> list[Head]:
        """All heads of the model, best first; ties by (layer, head); NaN (not measured) last."""
        return sorted(
            self.grid.heads(), key=lambda head: -np.nan_to_num(self.scores[head], nan=-np.inf)
        )

    def of_part(self, part: Part | None) -> HeadScores:
        """The scores of a part of the answer; these ones for None.

        Raises:
            HeadError: that part was not measured.
        """
        if part is None:
            return self
        if part not in self.parts:
            why = "al.retrieval_scores measures the parts, where an answer has both"
            raise HeadError(f"no scores of the part {part!r} of an answer: {why}")
        return self.parts[part]

    def top(self, k: Share = TOP_SHARE, part: Part | None = None) -> HeadSet:
        """The best heads: a share of the model's (0.05, "5%") or a count (5).

        Of heads that were not measured (NaN) none is taken: a share is at most those that were.

        Args:
            k: which share, or how many.
            part: by the score of the whole answer (None), of its first token (``lookup``), or of
                the later ones (``continuation``).

        Raises:
            HeadError: no such share or count, no score to choose by, or no such part.
        """
        if part is not None:
            found = self.of_part(part).top(k)
            name = f"{part} {found.name}"
            return HeadSet(found.heads, name, {**found.provenance, "part": part})
        scored = [head for head in self.ranked() if not np.isnan(self.scores[head])]
        count = count_heads(k, len(self.grid))
        if not scored or (count > len(scored) and isinstance(share_or_count(k), int)):
            raise HeadError(f"only {len(scored)} heads have a score", argument="top", value=k)
        chosen = tuple(scored[:count])
        note = {**self.provenance, "detector": self.detector, "top": k}
        return HeadSet(chosen, f"top {len(chosen)}", note)

    def interval(self) -> tuple[HeadArray, HeadArray]:
        """95 % interval of each mean over probes: two arrays [L, H].

        Wilson's where the scores are shares (`SHARES`), so that it stays in [0, 1]; else Student's.
        NaN with one probe, and where a head has the same score on every probe.
        """
        known = self.samples[np.isfinite(self.samples)]
        shares = self.detector in SHARES and bool(((known >= 0) & (known <= 1)).all())
        lo, hi = (share_limits if shares else mean_limits)(self.samples)
        return lo.astype(np.float32), hi.astype(np.float32)

    def to_frame(self, top: Share = TOP_SHARE) -> pd.DataFrame:
        """One row a head, best first: layer, head, name, score, lo, hi, rank, top.

        Heads with the same score share the best rank of them.
        Its ``attrs["shape"]`` is (n_layers, n_heads): more than the rows where layers have no head.
        With ``parts``, their scores are further columns: lookup, continuation.
        """
        import pandas as pd

        (lo, hi), chosen = self.interval(), self.top(top)
        ranked = self.ranked()
        values = np.nan_to_num([self.scores[h] for h in ranked], nan=-np.inf)
        ranks = np.searchsorted(-values, -values) + 1
        rows = [
            (*h, str(h), self.scores[h], lo[h], hi[h], int(rank), h in chosen)
            for rank, h in zip(ranks, ranked, strict=True)
        ]
        columns = ["layer", "head", "name", "score", "lo", "hi", "rank", "top"]
        frame = pd.DataFrame(rows, columns=columns)
        frame.attrs["shape"] = (self.n_layers, self.n_heads)
        for name, part in self.parts.items():
            frame[name] = [part.scores[h] for h in ranked]
        return frame

    def save(self, path: str | Path, top: Share = TOP_SHARE, part: Part | None = None) -> Path:
        """Write JSON: "heads" (all, best first), "top", "copy_accuracy", samples, provenance.

        Args:
            path: of the file.
            top: which heads are "top".
            part: by which part of the answer they are, see :meth:`top`.
        """
        record = {
            "detector": self.detector,
            "copy_accuracy": self.copy_accuracy,
            "top": [_row(h, self.of_part(part).scores) for h in self.top(top, part)],
            "heads": [_row(h, self.scores) for h in self.ranked()],
            "shape": list(self.scores.shape),
            "samples": _rounded(self.samples),
            "provenance": self.provenance,
        }
        parts = {
            name: {
                "copy_accuracy": of.copy_accuracy,
                "heads": [_row(h, of.scores) for h in of.ranked()],
                "samples": _rounded(of.samples),
            }
            for name, of in self.parts.items()
        }
        more: dict[str, Any] = {"parts": parts} if parts else {}
        return write_json(path, record | more | ({} if part is None else {"part": part}))

    @classmethod
    def load(cls, path: str | Path) -> HeadScores:
        """Read what :meth:`save` wrote; :class:`DataError` where it is no such file."""
        record = read_json(path, MISSING)
        try:
            parts = dict(record.get("parts") or {})
            own = {name: _scores_of({**record, **part}) for name, part in parts.items()}
            return replace(_scores_of(record), parts=own)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise DataError(f"not a file of head scores ({error})", file=str(path)) from error


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


@reader("Shape")
def _shape(value: Any, name: str) -> HeadGrid:
    """The heads of a model: a grid, or its layers and the heads of each."""
    if isinstance(value, HeadGrid):
        return value
    try:
        n_layers, n_heads = value
        return HeadGrid.of((need_count(n_layers, name), need_count(n_heads, name)))
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
        heads = _heads_of(record, "top", _grid_of(record))
        note = dict(record.get("provenance") or {})
        note |= {"part": record["part"]} if record.get("part") else {}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f'no list of heads under "top" ({error})', file=str(path)) from error
    return HeadSet(heads, f"top {len(heads)}", note)


def _scores_of(record: Mapping[str, Any]) -> HeadScores:
    """The scores in a record, else an error of Python's own."""
    grid = _grid_of(record)
    if grid is None:
        raise KeyError("shape")
    scores = np.full(grid.shape, np.nan, dtype=np.float32)
    for head, row in zip(_heads_of(record, "heads", grid), record["heads"], strict=True):
        scores[head] = np.nan if row["score"] is None else row["score"]
    samples = np.asarray(record.get("samples") or scores[None], dtype=np.float32)
    if samples.shape[1:] != scores.shape:
        raise ValueError(f"samples of shape {samples.shape[1:]}, not {scores.shape}")
    detector = str(record.get("detector", "retrieval"))
    accuracy, note = record.get("copy_accuracy"), dict(record.get("provenance") or {})
    return HeadScores(scores, samples, detector, accuracy, note)


def _grid_of(record: Mapping[str, Any]) -> HeadGrid | None:
    """The heads of the model that a file of scores is about; None where it does not say."""
    note = record.get("provenance") or {}
    about = (note.get("model") if isinstance(note, Mapping) else note) or {}
    if not isinstance(about, Mapping):
        raise ValueError(f"provenance {about!r}")
    if "heads_per_layer" in about:
        return HeadGrid.of_model(about)
    shape = record.get("shape")
    if shape is None:
        return None
    n_layers, n_heads = map(index, shape)
    if n_layers < 1 or n_heads < 1:
        raise ValueError(f"shape {shape}")
    return HeadGrid.of((n_layers, n_heads))


def _heads_of(record: Mapping[str, Any], key: str, grid: HeadGrid | None) -> tuple[Head, ...]:
    """The heads of a list of rows, each once and inside the grid; else an error of Python's own."""
    heads = tuple(as_head((row["layer"], row["head"])) for row in record[key])
    twice = [str(head) for head, count in Counter(heads).items() if count > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)} more than once")
    if grid is not None:
        grid.check(heads)
    elif any(min(head) < 0 for head in heads):
        raise ValueError("a negative number")
    return heads


@checked
def random_heads(
    shape: Shape,
    heads: HeadSet,
    *,
    draws: int = 5,
    seed: int = 0,
    same_layers: bool = True,
) -> list[HeadSet]:
    """Control sets: as many heads as ``heads``, disjoint from it.

    Args:
        shape: the model's heads: (n_layers, n_heads), or a grid where layers differ.
        heads: the critical heads that the controls must avoid.
        draws: number of control sets.
        seed: of the generator; the same seed gives the same sets.
        same_layers: draw from the layers of ``heads`` first, as many of each as it has; where a
            layer has too few other heads, from the nearest layers.

    Raises:
        HeadError: the model has too few other heads.
    """
    grid = HeadGrid.of(shape)
    grid.check(heads)
    others = [h for h in grid.heads() if h not in heads]
    if len(others) < len(heads):
        few = f"the model has only {len(others)} others"
        raise HeadError(f"no disjoint control of {len(heads)} heads: {few}")
    rng = np.random.default_rng(seed)
    kind: Control = "same_layers" if same_layers else "random"
    sets = []
    for draw in range(draws):
        if same_layers:
            chosen = _draw_same_layers(others, heads, rng)
        else:
            chosen = [others[i] for i in rng.choice(len(others), size=len(heads), replace=False)]
        sets.append(HeadSet(tuple(chosen), f"{kind} {draw}", {"control": kind, "seed": seed}))
    return sets


def control_sets(
    shape: Shape, heads: HeadSet, control: Control, *, draws: int, seed: int
) -> list[HeadSet]:
    """The control sets of that name (:data:`Control`); none for no heads, or no draws."""
    if not len(heads) or not draws:
        return []
    same = control == "same_layers"
    return random_heads(shape, heads, draws=draws, seed=seed, same_layers=same)


def _draw_same_layers(others: list[Head], heads: HeadSet, rng: np.random.Generator) -> list[Head]:
    chosen: list[Head] = []
    for layer, wanted in heads.by_layer().items():
        for _ in wanted:
            free = [h for h in others if h not in chosen]
            nearest = min(abs(h.layer - layer) for h in free)
            pool = [h for h in free if abs(h.layer - layer) == nearest]
            chosen.append(pool[rng.integers(len(pool))])
    return chosen


def _rounded(samples: ProbeHeadArray) -> list[Any]:
    return list(np.round(samples.astype(float), 6).tolist())


def _row(head: Head, scores: HeadArray) -> dict[str, Any]:
    score = float(scores[head])
    return {"layer": head.layer, "head": head.head, "score": None if np.isnan(score) else score}
