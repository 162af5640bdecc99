"""Whether early answers tell steps that the answer needs from steps that it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from airlens.ablation import DEFAULT_MODE, Mode
from airlens.errors import DataError
from airlens.provenance import provenance
from airlens.statistics.auroc import auroc_of, wins_of
from airlens.statistics.verdicts import Claim, claims_table, greater
from airlens.traces.readings import how_read
from airlens.traces.trace import Trace

from .claim_reports import ClaimReport
from .claims import HALF, number
from .early_steps import EARLY, FORCINGS, FREE, KINDS, SCORES, measured_steps, needed_and_not
from .labelled import (
    IMPORTANCES,
    add_importance,
    correlation_summary,
    importance_correlations,
    problems_of,
)

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from airlens.heads import HeadSet

N = 48
# What is claimed about; the others stand beside them.
CLAIMED = ("gain", "gain_margin", "direct", "direct_all", "total", "total_all")
WORDS = {
    "gain": "gain",
    "gain_margin": "gain over the contrast",
    "direct": "direct dependence by the critical heads",
    "direct_all": "direct dependence by all heads",
    "total": "total dependence by the critical heads",
    "total_all": "total dependence by all heads",
}


def early_report(
    model: TransformerBridge,
    traces: Sequence[Trace],
    heads: HeadSet,
    labelled: Sequence[Trace] = (),
    *,
    n: int = N,
    kinds: Sequence[str] = KINDS,
    forcings: Sequence[str] = FORCINGS,
    mode: Mode = DEFAULT_MODE,
    controls: int = 3,
    total: int = 0,
    total_labelled: int = 0,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> ClaimReport:
    """Measure early answers where it is known which steps the answer needs, and beside importances.

    Args:
        model: the bridge.
        traces: with labelled steps, to plant in; none for labelled importances only.
        heads: the critical heads.
        labelled: traces whose ``step_meta`` has importances (Thought Anchors); none is fine.
        n: traces to plant in.
        kinds: what a needed step is compared with, see
            :data:`airlens.experiments.validity.early_steps.KINDS`.
        forcings: forcing texts.
        mode: of the ablation.
        controls: draws of random heads of the same layers.
        total: of the traces that are measured, sorted by the trace planted in, the first so many
            in which steps are also hidden from all that follows, for the first forcing text.
        total_labelled: the same for labelled traces, the shortest first.
        seed: of planting and draws.
        folder: stores the tables and each trace's measurements, so that the call can be resumed.
        progress: show progress bars.

    Returns:
        Tables "needed" (:func:`needed_table`) and, with labelled traces, "correlations" (a row a
        trace) and "importance" (means over problems), each with the column forcing.

    Raises:
        DataError: no trace has a suitable step, an answer, or, of ``labelled``, an importance.
    """
    home = None if folder is None else Path(folder) / "measured"
    measured: dict[str, pd.DataFrame] = {}
    known = [name for trace in labelled for step in trace.step_meta for name in step]
    if labelled and not set(IMPORTANCES) & set(known):
        raise DataError("no trace has importances", field="step_meta")
    shortest = sorted(labelled, key=lambda t: (len(t.prompt) + len(t.response), t.id))
    chosen: list[Trace] = []
    if traces:
        chosen, pairs = needed_and_not(traces, model, n=n, kinds=kinds, seed=seed)
    for name, some, count in (("needed", chosen, total), ("labelled", shortest, total_labelled)):
        if not some:
            continue
        steps = measured_steps(
            model,
            some,
            heads,
            mode=mode,
            controls=controls,
            forcings=forcings,
            total=count,
            seed=seed,
            folder=home,
            progress=progress,
        )
        if name == "needed":
            measured[name] = pairs.merge(steps, on=["id", "step"])
        else:
            problem = steps["id"].map(problems_of(some))
            measured[name] = add_importance(steps.assign(problem=problem), some)
    tables = early_tables(measured)
    note = provenance(
        model,
        heads=heads.names(),
        mode=mode,
        controls=controls,
        forcings=list(forcings),
        kinds=list(kinds),
        n=n,
        total=total,
        total_labelled=total_labelled,
        seed=seed,
        traces=[trace.id for trace in [*chosen, *shortest]],
        reading=how_read([*traces, *shortest]),
    )
    report = ClaimReport(tables, early_claims(tables), note, measured)
    if folder is not None:
        report.save(folder)
    return report


def early_tables(measured: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of :func:`early_report` from its measurements; no model."""
    tables = {}
    if "needed" in measured:
        tables["needed"] = needed_table(measured["needed"])
    if "labelled" in measured:
        found = [
            importance_correlations(part, scores=SCORES, free=FREE).assign(forcing=forcing)
            for forcing, part in measured["labelled"].groupby("forcing", sort=False)
        ]
        means = [correlation_summary(t).assign(forcing=t["forcing"].iloc[0]) for t in found]
        tables["correlations"] = pd.concat(found, ignore_index=True)
        tables["importance"] = pd.concat(means, ignore_index=True)
    return tables


def needed_table(steps: pd.DataFrame) -> pd.DataFrame:
    """AUROC of needed steps over the others, for each kind, forcing text and score.

    Args:
        steps: source, kind, needed, forcing, states_answer and the scores; of several steps of one
            side of a source the mean counts. A needed step that writes the answer is left out.

    Returns:
        kind, forcing ("" for what does not depend on it), score, auroc, lo, hi, p (of 0.5), n
        (sources).
    """
    writes = steps["states_answer"].astype("boolean").fillna(False).astype(bool)
    usable = steps[~(steps["needed"] & writes)]
    rows = []
    for (kind, forcing), part in usable.groupby(["kind", "forcing"], sort=False):
        first = forcing == usable["forcing"].iloc[0]
        for score in (*SCORES, *FREE):
            own = score in EARLY
            if not (own or first):
                continue
            grid = part.pivot_table(index="source", columns="needed", values=score, aggfunc="mean")
            grid = grid.dropna() if {True, False} <= set(grid) else grid.iloc[:0]
            if grid.empty:
                continue
            found = auroc_of(wins_of(grid[True].to_numpy(), grid[False].to_numpy())[None])
            place = {"kind": kind, "forcing": forcing if own else "", "score": score}
            lo, hi = found.interval()
            numbers = {"auroc": found.value, "lo": lo, "hi": hi, "p": found.p(HALF)}
            rows.append({**place, **numbers, "n": found.clusters})
    columns = ["kind", "forcing", "score", "auroc", "lo", "hi", "p", "n"]
    return pd.DataFrame(rows, columns=columns)


def early_claims(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Claims from the tables of :func:`early_report`, as `statistics.verdicts.claims_table`."""
    return claims_table(_claims(tables))


def _claims(tables: Mapping[str, pd.DataFrame]) -> Iterator[Claim]:
    for row in tables.get("needed", pd.DataFrame()).to_dict("records"):
        if row["score"] in CLAIMED:
            said = (
                f"{WORDS[row['score']]} ({row['forcing']}) ranks needed steps above {row['kind']}"
            )
            evidence = f"AUROC {number(row)}, n = {row['n']}"
            yield greater(said, row, evidence, value="auroc", null=HALF)
    for row in tables.get("importance", pd.DataFrame()).to_dict("records"):
        if row["score"] not in CLAIMED or not np.isfinite(row["rho"]):
            continue
        said = f"{WORDS[row['score']]} ({row['forcing']}) goes along with {row['importance']}"
        of = f"{row['n_problems']} problems, {row['n_traces']} traces"
        yield greater(said, row, f"mean ρ {number(row, 'rho')}, {of}", value="rho", n="n_problems")
        evidence = f"mean partial ρ {number(row, 'partial', 'partial_')}, {of}"
        said += " beyond length, position, loss, entropy and overlap"
        yield greater(said, row, evidence, value="partial", p="partial_p", n="n_problems")
