"""The scores of the controlled pool, with what only this study asks for."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from pool_scores import PoolScores

import airlens as al
from airlens.step_influence.influence import Influence

from .pool import CLEAN
from .tasks import stated_answer


def score_pool(pool: PoolScores) -> Influence:
    """All scores of the pool's traces, which have a kind.

    Added to :meth:`PoolScores.together`: ``ais_random`` (random heads of any layer in place of the
    retrieval heads), ``gain`` (of early answers), ``kind``, ``is_clean`` (1 or 0).
    """
    found = pool.together()
    [anywhere] = al.random_heads(pool.heads.grid, pool.critical, draws=1, seed=1, same_layers=False)
    samples = found.samples.merge(pool.table("early", lambda: _early(pool)), how="left", on="id")
    samples["ais_random"] = samples["id"].map(pool.ais("random", anywhere, "uniform"))
    samples["kind"] = samples["id"].map({t.id: str(t.meta["kind"]) for t in pool.pool})
    samples["is_clean"] = (samples["kind"] == CLEAN).astype(float)
    return replace(found, samples=samples)


def _early(pool: PoolScores) -> pd.DataFrame:
    """Gain of early answers by id: the answer is the first that a trace states, right or wrong.

    Prose states none and has no gain.
    """
    found = al.early_answers(
        pool.model, pool.pool, pool.critical, controls=0, depends=(), template=pool.template,
        max_tokens_per_batch=pool.tokens_per_batch,
        answers=lambda trace: stated_answer(trace.response),
    )  # fmt: skip
    return found.samples[["id", "gain"]]
