"""Scores of rival papers beside AIR's, for comparison and selection: LALP, FAI, WAAD, CircuitSeer.

RSR, the rank-surprisal ratio, comes from the logits of the base pass and stands in the tables of
:func:`airlens.influence` itself. The others need passes of their own: LALP reads each sentence with
a short context (:mod:`.local_likelihood`), the rest read attention, in one pass of the unchanged
model together (:mod:`.attention_flow`). IFD is in :mod:`.ifd`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from airlens.ablation import Mode
from airlens.arguments import checked, each, named, reader
from airlens.folders import load_tables, save_tables
from airlens.heads import TOP_SHARE, Heads, HeadSet
from airlens.losses.choice import Engine, choose_engine
from airlens.losses.windows import Long
from airlens.model.heads import heads_in, heads_of
from airlens.model.load import need_bridge
from airlens.model.state import running
from airlens.provenance import provenance
from airlens.shares import Share, how_many
from airlens.traces.chat_template import Template, Think, resolve_template, template_note
from airlens.traces.model_encoding import encode_for
from airlens.traces.readings import how_read
from airlens.traces.trace import Trace, as_traces, check_ids

from .attention_flow import LEAST, MOST, SHARE, WINDOW, attention_flow
from .head_influence import Method, head_influence
from .local_likelihood import BEFORE, local_likelihoods
from .settings import Scope

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Rival: TypeAlias = Literal["lalp", "fai", "waad"]
RIVALS: tuple[Rival, ...] = get_args(Rival)
reader("Sequence[Rival]")(each(named(RIVALS)))
TABLES = ("samples", "steps")
OF_A_CIRCUIT = ("n_traces", "method", "mode", "template")


@dataclass(frozen=True)
class RivalScores:
    """Scores of rival papers, as tidy tables; NaN where there is nothing to score.

    Attributes:
        samples: one row a trace: id, and of lalp (nats a token), fai, waad (tokens) and circuit
            those that were asked for.
        steps: one row a step: id, step, the same without circuit, which is of a whole text.
        provenance: model, settings, versions.
    """

    samples: pd.DataFrame
    steps: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)

    def on(self, table: pd.DataFrame) -> pd.DataFrame:
        """``Influence.samples`` or ``Influence.steps`` with these scores as further columns."""
        if "step" in table:
            return table.merge(self.steps, how="left", on=["id", "step"])
        return table.merge(self.samples, how="left", on="id")

    def save(self, folder: str | Path) -> Path:
        """Write the tables as Parquet and the provenance as JSON into ``folder``."""
        return save_tables(folder, {name: getattr(self, name) for name in TABLES}, self.provenance)

    @classmethod
    def load(cls, folder: str | Path) -> RivalScores:
        """Read what :meth:`save` wrote; :class:`DataError` where that is not there whole."""
        tables, note = load_tables(folder, TABLES, "saved scores of rivals")
        return cls(**tables, provenance=note)


@checked
def rival_scores(
    model: TransformerBridge,
    traces: Iterable[Trace] | Trace,
    scores: Sequence[Rival] = RIVALS,
    *,
    circuit: Heads | None = None,
    scope: Scope = "response",
    template: Template = "auto",
    think: Think = "auto",
    long: Long = "stride",
    max_tokens_per_batch: int | None = None,
    engine: Engine = "auto",
    progress: bool = True,
) -> RivalScores:
    """Score traces by what rival papers select by; for RSR see :func:`airlens.influence`.

    Args:
        model: the bridge.
        traces: what is scored; a trace without steps counts as one step.
        scores: ``lalp`` costs about five passes of the response; ``fai`` and ``waad`` one pass of
            the whole text together.
        circuit: heads of a reasoning circuit (:func:`airlens.circuit_heads`), for CircuitSeer's
            score, ``circuit``, in the same pass; None: without it.
        scope: ``response``, with the prompt as context, or ``document``, as for
            :func:`airlens.influence`.
        template: how a prompt is put before its response.
        think: how a thought in a response is written, see :func:`airlens.influence`.
        long: what is longer than the context is scored in strides or cut.
        max_tokens_per_batch: bounds memory.
        engine: ``hooks``, ``fast``, or ``auto`` (:mod:`airlens.losses.fast`).
        progress: show progress bars.

    Raises:
        ConfigError, HeadError, DataError: bad arguments; see the message.
        AblationError: the attention of the model cannot be read.
        NumbersError: the model gave NaN or infinity for a token to be scored.
    """
    items = as_traces(traces)
    check_ids(items)
    if scope == "document":
        items = [trace.as_document() for trace in items]
    need_bridge(model)
    heads = None if circuit is None else heads_in(model, circuit)
    asked: Template = "plain" if scope == "document" else template
    template = resolve_template(model.tokenizer, asked)
    encoded = encode_for(model, items, template, think)
    longest = min(max((len(e.tokens) for e in encoded), default=0), int(model.cfg.n_ctx))
    options: dict[str, Any] = {"max_tokens_per_batch": max_tokens_per_batch, "progress": progress}
    with running(model):
        chosen = choose_engine(model, engine, longest=longest)
        options |= {"long": long, "engine": chosen}
        local = local_likelihoods(model, encoded, **options) if "lalp" in scores else None
        reads = heads is not None or "fai" in scores or "waad" in scores
        flows = attention_flow(model, encoded, heads, **options) if reads else None
    samples = pd.DataFrame({"id": [e.trace.id for e in encoded]})
    counts = [len(e.trace.whole_steps()) for e in encoded]
    steps = pd.DataFrame({"id": samples["id"].repeat(counts).to_numpy()})
    steps["step"] = np.concatenate([np.arange(n) for n in counts]) if counts else []
    if local is not None:
        samples["lalp"] = [mean_of_known(values) for values, _ in local]
        parts = [_by_step(*each, n) for each, n in zip(local, counts, strict=True)]
        steps["lalp"] = _joined(parts)
    for name in ("fai", "waad"):
        if flows is not None and name in scores:
            values = [getattr(flow, name) for flow in flows]
            samples[name] = [mean_of_known(row) for row in values]
            by = zip(values, encoded, counts, strict=True)
            steps[name] = _joined([_by_step(row, e.step, n) for row, e, n in by])
    if flows is not None and heads is not None:
        samples["circuit"] = [flow.circuit for flow in flows]
    note = provenance(
        model,
        scores=list(scores),
        circuit=None if heads is None else heads.names(),
        circuit_from=None if heads is None else {k: heads.provenance.get(k) for k in OF_A_CIRCUIT},
        local_steps=BEFORE,
        waad_window=WINDOW,
        fai_horizon=[LEAST, MOST],
        local_and_global_share=SHARE,
        scope=scope,
        **template_note(model.tokenizer, template, think),
        long=long,
        engine=chosen,
        n_traces=len(items),
        reading=how_read(items),
    )
    return RivalScores(samples, steps, note)


@checked
def circuit_heads(
    model: TransformerBridge,
    traces: Iterable[Trace] | Trace,
    top: Share = TOP_SHARE,
    *,
    method: Method = "screened",
    mode: Mode = "uniform",
    template: Template = "auto",
    think: Think = "auto",
    progress: bool = True,
) -> HeadSet:
    """CircuitSeer's reasoning circuit: heads whose ablation alone raises the loss on texts most.

    Args:
        model: the bridge.
        traces: reasoning texts, some dozen.
        top: a share of all heads, or how many. 5 % is ours.
        method: ``exact`` runs each head, as the paper does; ``screened`` those that an estimate
            puts first, see :func:`airlens.head_influence`.
        mode: the paper's is ``uniform``.
        template: how a prompt is put before its response.
        think: how a thought in a response is written, see :func:`airlens.influence`.
        progress: show a progress bar.
    """
    count = how_many(top, len(heads_of(model)))
    how: dict[str, Any] = {"mode": mode, "template": template, "think": think}
    found = head_influence(model, traces, method, **how, progress=progress).top(count)
    return HeadSet(found.heads, f"reasoning circuit, {count} heads", found.provenance)


def mean_of_known(values: np.ndarray) -> float:
    """Mean in float64 of what is known; NaN of nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else float("nan")


def _by_step(values: np.ndarray, step: np.ndarray, n: int) -> np.ndarray:
    """The mean of the known values of each of n steps."""
    return np.asarray([mean_of_known(values[step == k]) for k in range(n)], np.float64)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0)
