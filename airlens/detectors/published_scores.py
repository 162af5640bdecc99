"""Head scores published by others, as the object that our detectors return."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from airlens.arguments import checked
from airlens.errors import DataError
from airlens.heads import HeadScores


@checked
def load_published_scores(path: str | Path) -> HeadScores:
    """Read Wu et al.'s JSON: ``{"layer-head": [score of each detection, …], …}``.

    The number of probes (P) is the length of the longest list. A head with fewer detections has NaN
    for the rest, and the mean over those it has. The files carry no probes, template or versions:
    the provenance says so.

    Raises:
        DataError: not such a file.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        lists = {_place(key): [float(x) for x in values] for key, values in record.items()}
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise DataError(f"not published head scores ({error})", file=str(path)) from error
    if not lists or not any(lists.values()):
        raise DataError("no scores in it", file=str(path))
    shape = tuple(1 + max(place[i] for place in lists) for i in (0, 1))
    longest = max(map(len, lists.values()))
    samples = np.full((longest, *shape), np.nan, dtype=np.float32)
    scores = np.full(shape, np.nan, dtype=np.float32)
    for (layer, head), values in lists.items():
        samples[: len(values), layer, head] = values
        if values:
            scores[layer, head] = np.mean(values)
    note = {
        "model": {"name": path.stem},
        "probes": {"kind": "needle (Wu et al.)", "n": longest, "hash": None, "template": None},
        "method": "greedy",
        "source": "published with Wu et al. (arXiv 2404.15574); probes and versions not given",
    }
    return HeadScores(scores, samples, "retrieval", None, note)


def _place(key: str) -> tuple[int, int]:
    layer, head = key.split("-")
    if int(layer) < 0 or int(head) < 0:
        raise ValueError(f"{key!r} is not layer-head")
    return int(layer), int(head)
