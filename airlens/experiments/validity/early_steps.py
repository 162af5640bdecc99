"""Steps that an answer needs beside steps that it does not, with what early answers say of each.

In a trace whose maker knows which steps compute what the answer needs, one such step stands beside
one that adds nothing: planted after it (restated, repeated, of another problem, irrelevant), or one
of the trace's own that its maker labelled as filler. The answer stays right, and both steps are
read in one trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from airlens.ablation import Mode
from airlens.errors import DataError
from airlens.folders import kept
from airlens.heads import HeadSet
from airlens.step_influence.early_answers import Depends, EarlyAnswers, early_answers
from airlens.traces.trace import Trace

from .heuristics import add_heuristics
from .planting import plant, planted_info
from .resumable_influence import resumable_influence
from .trace_store import TraceStore

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

PLANTED = ("restated", "repeated", "other", "irrelevant")
FILLER = "filler"
KINDS = (FILLER, *PLANTED)
NEEDED = "compute"  # the label of a step that computes something
# Of early answers, then of influence, then what needs no ablation.
EARLY = (
    *("gain", "gain_margin", "gain_heads", "gain_random_heads"),
    *("direct", "direct_control", "direct_all", "total", "total_control", "total_all"),
)
SCORES = (*EARLY, "ais", "ais_control", "delta")
FREE = ("loss", "entropy", "length", "position", "overlap")
FORCINGS = ("sentence", "question", "boxed")


def needed_and_not(
    traces: Sequence[Trace],
    model: TransformerBridge,
    *,
    n: int,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
) -> tuple[list[Trace], pd.DataFrame]:
    """Traces to measure, and which of their steps are compared.

    Args:
        traces: with steps whose labels say what they do.
        model: whose tokenizer counts tokens.
        n: how many traces to plant in.
        kinds: of `KINDS`.
        seed: of planting.

    Returns:
        The traces, and one row a step: id, source, kind, step, needed.

    Raises:
        DataError: no trace has a step to plant beside.
    """
    fit = [t for t in traces if NEEDED in {step.label for step in t.steps}]
    names = [kind for kind in kinds if kind != FILLER] or list(PLANTED[:1])
    planted = plant(fit, model.tokenizer, kinds=names, n=n, seed=seed, place="after")
    chosen: list[Trace] = []
    rows: list[tuple[str, str, str, int, bool]] = []
    for trace in planted:
        info = planted_info(trace)
        if info["kind"] in kinds:
            chosen.append(trace)
            at, of = int(info["step"]), (trace.id, str(info["source"]), str(info["kind"]))
            rows += [(*of, at - 1, True), (*of, at, False)]
    sources = list(dict.fromkeys(str(planted_info(trace)["source"]) for trace in planted))
    for trace in fit if FILLER in kinds else ():
        labels = [step.label for step in trace.steps]
        if trace.id in sources and FILLER in labels:
            chosen.append(trace)
            rows += [
                (trace.id, trace.id, FILLER, i, label == NEEDED)
                for i, label in enumerate(labels)
                if label in (NEEDED, FILLER)
            ]
    # Traces of one source stand together, so that the first traces are of every kind.
    source = {id: sources.index(of) for id, of, *_ in rows}
    chosen.sort(key=lambda trace: source[trace.id])
    return chosen, pd.DataFrame(rows, columns=["id", "source", "kind", "step", "needed"])


def measured_steps(
    model: TransformerBridge,
    traces: Sequence[Trace],
    heads: HeadSet,
    *,
    mode: Mode,
    controls: int,
    forcings: Sequence[str],
    total: int,
    seed: int,
    folder: Path | None,
    progress: bool,
) -> pd.DataFrame:
    """Early answers, influence and heuristics of every step, for each forcing text.

    Args:
        model: the bridge.
        traces: with steps.
        heads: the critical heads.
        mode: of the ablation.
        controls: draws of random heads of the same layers.
        forcings: forcing texts, see :func:`airlens.early_answers`.
        total: in this many traces, from the first on, steps are also hidden from all that follows,
            for the first forcing text.
        seed: of the draws.
        folder: stores each trace's tables; what is stored is not measured again.
        progress: show a progress bar.

    Returns:
        One row a step and forcing text: id, step, label, forcing, states_answer, `SCORES`, `FREE`;
        NaN where something was not measured. A trace without an answer is left out.
    """
    scored = resumable_influence(
        model,
        traces,
        heads,
        modes=[mode],
        controls=controls,
        seed=seed,
        folder=folder,
        progress=progress,
    )[mode]
    own = add_heuristics(scored.steps, traces)
    parts = []
    how: dict[str, Any] = {"mode": mode, "controls": controls, "seed": seed}
    store = TraceStore(model, folder, heads=heads.names(), **how)
    work = [(i, forcing) for i in range(len(traces)) for forcing in forcings]
    for i, forcing in tqdm(work, desc="early answers", unit="trace", disable=not progress):
        hidden = i < total and forcing == forcings[0]
        depends: tuple[Depends, ...] = ("direct", "total") if hidden else ("direct",)
        asked: dict[str, Any] = {"forcing": forcing, "depends": list(depends)}
        make = partial(early_answers, model, traces[i], heads, **how, **asked, progress=False)
        path = store.path("early", traces[i], {"answer": traces[i].answer}, **asked)
        found = kept(path, make, EarlyAnswers.load, EarlyAnswers.save, whole="provenance.json")
        if not found.samples["missing"].iloc[0]:
            steps = own[own["id"] == traces[i].id]
            parts.append(step_scores(found, steps).assign(forcing=forcing))
    if not parts:
        raise DataError("no trace has an answer: Trace.answer, ####, \\boxed{} or an option")
    return pd.concat(parts, ignore_index=True)


def step_scores(early: EarlyAnswers, steps: pd.DataFrame) -> pd.DataFrame:
    """The scores of the steps of one trace, from its early answers and ``Influence.steps``."""
    joined = early.on_steps(steps)
    falls = early.depends[["id", "step", "total", "total_control", "total_all"]]
    joined = joined.merge(falls, how="left", on=["id", "step"])
    rows = early.steps.assign(margin=early.steps["logp_base"] - early.steps["logp_contrast"])
    rows["gain_margin"] = rows["margin"].diff()
    joined = joined.merge(rows[["id", "step", "gain_margin"]], how="left", on=["id", "step"])
    joined["gain_heads"] = joined["gain"] - joined["gain_ref"]
    joined["gain_random_heads"] = joined["gain"] - joined["gain_control"]
    columns = ["id", "step", "label", "states_answer", *SCORES, *FREE]
    return joined.reindex(columns=columns).replace([np.inf, -np.inf], np.nan)
