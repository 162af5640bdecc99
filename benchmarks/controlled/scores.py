"""Every score of a pool that an arm may rank by, computed once and kept in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from airlens.detectors.key_value_probes import key_value_probes
from airlens.detectors.retrieval import retrieval_scores
from airlens.folders import kept, kept_table
from airlens.heads import HeadScores, HeadSet, random_heads
from airlens.model.load import load_model
from airlens.step_influence.early_answers import early_answers
from airlens.step_influence.ifd import ifd
from airlens.step_influence.influence import Influence, influence
from airlens.step_influence.rival_scores import RivalScores, circuit_heads, rival_scores
from airlens.traces.trace import Trace

from .pool import CLEAN
from .tasks import stated_answer

TOKENS_PER_BATCH = 2048
CIRCUIT_TRACES = 12


def score_pool(
    model_name: str, pool: Sequence[Trace], folder: Path, *, probes: int, probe_tokens: int
) -> Influence:
    """Influence in uniform mode, its samples with every other score as a column.

    Added: ``ais_mean`` (mean mode), ``ais_random`` (random heads of any layer in place of the
    retrieval heads), ``ifd``, ``lalp``, ``fai``, ``waad``, ``circuit`` (of a circuit found on the
    first `CIRCUIT_TRACES` traces), ``gain`` (of early answers), ``kind``, ``is_clean`` (1 or 0).
    ``ais_control`` is that of random heads in the same layers. What a stopped call had finished is
    not computed again.

    Args:
        model_name: scorer.
        pool: traces with a kind.
        folder: of the scores.
        probes: of the retrieval heads.
        probe_tokens: longest probe.
    """
    model: Any = None

    def bridge() -> Any:
        nonlocal model
        model = model if model is not None else load_model(model_name)
        return model

    def scored() -> HeadScores:
        texts = key_value_probes(bridge().tokenizer, probes, probe_tokens)
        return retrieval_scores(bridge(), texts)

    scores = kept(folder / "heads.json", scored, HeadScores.load, HeadScores.save)
    heads = scores.top(0.05)
    [anywhere] = random_heads(scores.grid, heads, draws=1, seed=1, same_layers=False)
    uniform = _influence(folder / "uniform", bridge, pool, heads, mode="uniform", controls=1)
    mean = _influence(folder / "mean", bridge, pool, heads, mode="mean", controls=0)
    control = _influence(folder / "random", bridge, pool, anywhere, mode="uniform", controls=0)
    samples = uniform.samples
    for name, other in (("ais_mean", mean), ("ais_random", control)):
        samples[name] = samples["id"].map(other.samples.set_index("id")["ais"])
    samples["ifd"] = samples["id"].map(_ifd(bridge, pool, uniform, folder / "ifd.parquet"))
    samples = _rivals(folder, bridge, pool).on(samples)
    early = kept_table(folder / "early.parquet", lambda: _early(bridge, pool, heads))
    samples = samples.merge(early, how="left", on="id")
    samples["kind"] = samples["id"].map({t.id: str(t.meta["kind"]) for t in pool})
    samples["is_clean"] = (samples["kind"] == CLEAN).astype(float)
    return replace(uniform, samples=samples)


def _influence(
    folder: Path, bridge: Any, pool: Sequence[Trace], heads: HeadSet, **options: Any
) -> Influence:
    options |= {"template": "plain", "max_tokens_per_batch": TOKENS_PER_BATCH}

    def measured() -> Influence:
        return influence(bridge(), pool, heads, **options)

    return kept(folder, measured, Influence.load, Influence.save, whole="provenance.json")


def _rivals(folder: Path, bridge: Any, pool: Sequence[Trace]) -> RivalScores:
    """Scores of rival papers that need passes of their own."""

    def measured() -> RivalScores:
        circuit = circuit_heads(bridge(), pool[:CIRCUIT_TRACES])
        return rival_scores(
            bridge(), pool, circuit=circuit, template="plain", max_tokens_per_batch=TOKENS_PER_BATCH
        )

    return kept(
        folder / "rivals", measured, RivalScores.load, RivalScores.save, whole="provenance.json"
    )


def _early(bridge: Any, pool: Sequence[Trace], heads: HeadSet) -> pd.DataFrame:
    """Gain of early answers by id: the answer is what a trace itself ends in, right or wrong."""
    found = early_answers(
        bridge(), pool, heads, controls=0, depends=(), template="plain",
        answers=lambda trace: stated_answer(trace.response),
    )  # fmt: skip
    return found.samples[["id", "gain"]]


def _ifd(bridge: Any, pool: Sequence[Trace], scored: Influence, path: Path) -> Any:
    """IFD by id."""
    found = kept_table(
        path, lambda: ifd(bridge(), pool, scored, max_tokens_per_batch=TOKENS_PER_BATCH)
    )
    return found.set_index("id")["ifd"]
