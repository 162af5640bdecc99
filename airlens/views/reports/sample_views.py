"""Samples of a scored folder as points of a map, and as texts with coloured steps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from airlens.corpus.embedding_map import embed_map, embeddings
from airlens.errors import DataError
from airlens.selection.select import Selection
from airlens.views.figures.coloured_text import trace_html

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MAP_SAMPLES = 300  # ours: embedded for the map; of a larger corpus a seeded random sample


def map_frame(
    chosen: Selection,
    texts: pd.Series,
    model: TransformerBridge,
    *,
    n: int = MAP_SAMPLES,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Samples with map coordinates, cluster and text; at most ``n``, drawn at random."""
    samples = chosen.samples
    if len(samples) > n:
        samples = samples.sample(n, random_state=np.random.default_rng(seed)).sort_index()
    words = texts.loc[samples["id"]].astype(str).tolist()
    vectors = embeddings(model, words, progress=progress)
    frame = embed_map(list(samples["id"]), vectors, seed=seed)
    explained = frame.attrs.get("explained", [])
    columns = samples.set_index("id").loc[frame["id"]]
    for name in ("selected", "ais", "domain"):
        if name in columns:
            frame[name] = columns[name].to_numpy()
    frame["text"] = words
    frame.attrs["explained"] = explained
    return frame


def step_html(text: pd.Series, steps: pd.DataFrame | None, name: str) -> str:
    """A response with its steps coloured by AIS, each step's value in the margin.

    Args:
        text: response and steps (JSON) of the row.
        steps: the step table; without it the text is shown uncoloured.
        name: the row's id.

    Raises:
        DataError: the row's steps do not fit the table.
    """
    response = str(text["response"])
    spans = json.loads(text["steps"]) or [[0, len(response), None]]
    pieces = pd.DataFrame(
        [
            {"id": name, "step": i, "pos": i, "token": response[a:b], "start": a, "end": b}
            for i, (a, b, _) in enumerate(spans)
        ]
    )
    mine = None if steps is None else steps[steps["id"] == name]
    if mine is not None and len(mine) not in (len(pieces), len(pieces) + 1):
        raise DataError(f"row {name!r} has {len(pieces)} steps, {len(mine)} were scored")
    if mine is not None and len(mine) == len(pieces) + 1:  # a document: its prompt is a step too
        mine = mine.assign(step=mine["step"] - 1)
    return trace_html(pieces, mine, name, value="ais", response=response)
