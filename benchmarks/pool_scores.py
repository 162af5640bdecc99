"""Every score of a pool that a study's arms may rank by, computed once and kept in a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

import airlens as al
from airlens.ablation import Mode
from airlens.folders import kept, kept_table
from airlens.heads import HeadScores, HeadSet
from airlens.losses.choice import choose_engine
from airlens.step_influence.head_influence import Method
from airlens.step_influence.ifd import ifd
from airlens.step_influence.influence import Influence
from airlens.step_influence.rival_scores import RIVALS, RivalScores
from airlens.traces.chat_template import Template
from airlens.traces.trace import Trace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

CIRCUIT_TRACES = 12  # of the pool, that find the heads of CircuitSeer's circuit
# What :meth:`PoolScores.together` knows beside the losses; scores of before lack some.
SCORES = ("ais_mean", "ais_novel", "ais_novel_control", "ifd", "rsr", *RIVALS, "circuit")


@dataclass(frozen=True)
class PoolScores:
    """The scores of a pool: what a stopped call had finished is not computed again.

    Attributes:
        model_name: the scorer.
        pool: the traces.
        folder: where finished parts are kept.
        probes: of the retrieval heads.
        probe_tokens: longest probe.
        controls: draws of random heads of the same layers.
        template: of prompts.
        tokens_per_batch: bounds memory of passes; the search for a circuit has its own bound.
    """

    model_name: str
    pool: Sequence[Trace]
    folder: Path
    probes: int
    probe_tokens: int
    controls: int = 1
    template: Template = "plain"
    tokens_per_batch: int = 2048

    @cached_property
    def model(self) -> TransformerBridge:
        """Loaded when something has to be computed."""
        return al.load_model(self.model_name)

    @cached_property
    def heads(self) -> HeadScores:
        """Retrieval scores."""

        def scored() -> HeadScores:
            probes = al.key_value_probes(self.model.tokenizer, self.probes, self.probe_tokens)
            return al.retrieval_scores(self.model, probes)

        return kept(self.folder / "heads.json", scored, HeadScores.load, HeadScores.save)

    @property
    def critical(self) -> HeadSet:
        """The top 5 %."""
        return self.heads.top(0.05)

    def influence(self, name: str, heads: HeadSet, **options: Any) -> Influence:
        """Influence of heads on the pool, kept under a name."""

        def measured() -> Influence:
            how = {"template": self.template, "max_tokens_per_batch": self.tokens_per_batch}
            return al.influence(self.model, self.pool, heads, **how, **options)

        path = self.folder / name
        return kept(path, measured, Influence.load, Influence.save, whole="provenance.json")

    def rivals(self) -> RivalScores:
        """Scores of rival papers that need passes of their own."""

        def measured() -> RivalScores:
            fast = choose_engine(self.model, "auto") == "fast"
            method: Method = "screened" if fast else "exact"
            circuit = al.circuit_heads(
                self.model, self.pool[:CIRCUIT_TRACES], method=method, template=self.template
            )
            return al.rival_scores(
                self.model, self.pool, circuit=circuit, template=self.template,
                max_tokens_per_batch=self.tokens_per_batch,
            )  # fmt: skip

        path = self.folder / "rivals"
        return kept(path, measured, RivalScores.load, RivalScores.save, whole="provenance.json")

    def ais(self, name: str, heads: HeadSet, mode: Mode) -> pd.Series:
        """AIS of heads by id, without controls, kept under a name."""
        found = self.influence(name, heads, mode=mode, controls=0)
        return found.samples.set_index("id")["ais"]

    def table(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """A table with a row a trace, kept under a name."""
        return kept_table(self.folder / f"{name}.parquet", make)

    def together(self) -> Influence:
        """Influence in uniform mode, its samples with every other score as a column.

        Added: ``ais_mean`` (mean mode), ``ifd``, ``lalp``, ``fai``, ``waad`` and ``circuit``.
        """
        uniform = self.influence("uniform", self.critical, mode="uniform", controls=self.controls)
        rivals = self.rivals()
        samples = rivals.on(uniform.samples)
        samples["ais_mean"] = samples["id"].map(self.ais("mean", self.critical, "mean"))
        found = self.table("ifd", lambda: self._ifd(uniform))
        samples["ifd"] = samples["id"].map(found.set_index("id")["ifd"])
        note = uniform.provenance | {"rivals": rivals.provenance}
        return replace(uniform, samples=samples, provenance=note)

    def _ifd(self, scored: Influence) -> pd.DataFrame:
        return ifd(self.model, self.pool, scored, max_tokens_per_batch=self.tokens_per_batch)
