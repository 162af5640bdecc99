"""Reports on traces as they are: labelled steps, confounds, and the heads behind a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from airlens.ablation import Mode
from airlens.analysis.confounds import confound_table
from airlens.heads import HeadSet
from airlens.provenance import fingerprint, provenance
from airlens.reading.load import first_of_each_domain
from airlens.readings import how_read
from airlens.step_influence import Influence
from airlens.storage import save_tables, write_tables
from airlens.trace import Trace

from .claims import confound_claims, head_claims, labelled_claims
from .head_costs import head_rises, idle_heads, leave_one_out_table, with_and_without
from .heuristics import add_heuristics, add_overlap
from .labelled import add_importance, by_function, correlation_summary, importance_correlations
from .resumable_influence import resumable_influence
from .selection_changes import what_changes

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MODES: tuple[Mode, ...] = ("uniform", "mean")


@dataclass(frozen=True)
class ClaimReport:
    """Named tables, what may be claimed from them, and the measurements behind them.

    Attributes:
        tables: by name.
        claims: claim, holds, evidence.
        provenance: model, heads, settings, versions.
        measured: the numbers that tables and claims are computed from, without any text of the
            traces, so that other statistics need no model.
    """

    tables: dict[str, pd.DataFrame]
    claims: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, pd.DataFrame] = field(default_factory=dict)

    def save(self, folder: str | Path) -> Path:
        """Write tables as CSV, measurements as ``measured_<name>.parquet``, provenance as JSON."""
        raw = {f"measured_{name}": table for name, table in self.measured.items()}
        save_tables(folder, raw, self.provenance)
        return write_tables(folder, {**self.tables, "claims": self.claims}, self.provenance)


def labelled_report(
    model: TransformerBridge,
    traces: Sequence[Trace],
    heads: HeadSet,
    *,
    n: int | None = None,
    modes: Sequence[Mode] = MODES,
    controls: int = 1,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> ClaimReport:
    """Step influence on traces with labelled steps, compared with importances where known.

    Args:
        model: the bridge.
        traces: with labelled steps; scored uncut.
        heads: the critical heads.
        n: only the ``n`` shortest; None: all.
        modes: ablation modes.
        controls: draws of layer-matched random heads.
        seed: of draws and bootstrap.
        folder: stores the tables and each trace's losses, so that the call can be resumed.
        progress: show a progress bar.

    Returns:
        Tables "functions" (mode and the columns of
        :func:`airlens.validity.labelled.by_function`), and with importances "correlations" (a row a
        trace) and "importance" (means over traces).
    """
    chosen = sorted(traces, key=lambda t: (len(t.prompt) + len(t.response), t.id))[:n]
    settings = {"modes": modes, "controls": controls, "seed": seed, "progress": progress}
    found = _influence(model, chosen, heads, folder, settings)
    functions, correlations, summaries, measured = [], [], [], []
    important = any(trace.step_meta for trace in chosen)
    for mode, result in found.items():
        functions.append(by_function(result.steps, seed=seed).assign(mode=mode))
        steps = add_heuristics(result.steps, chosen)
        if important:
            steps = add_importance(steps, chosen)
        measured.append(steps.assign(mode=mode))
        if important:
            own = importance_correlations(steps)
            correlations.append(own.assign(mode=mode))
            summaries.append(correlation_summary(own, seed=seed).assign(mode=mode))
    tables = {"functions": pd.concat(functions, ignore_index=True)}
    if correlations:
        tables["correlations"] = pd.concat(correlations, ignore_index=True)
        tables["importance"] = pd.concat(summaries, ignore_index=True)
    note = _note(model, heads, chosen, modes, seed, n=n, controls=controls)
    raw = {"steps": _without_text(measured, chosen)}
    raw["step_controls"] = _by_mode(found, "step_controls")
    return _kept(ClaimReport(tables, labelled_claims(tables), note, raw), folder)


def confound_report(
    model: TransformerBridge,
    traces: Sequence[Trace],
    heads: HeadSet,
    *,
    n: int | None = None,
    modes: Sequence[Mode] = MODES,
    controls: int = 1,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> ClaimReport:
    """What the sample score correlates with, and the effect of removing loss or length from it.

    Arguments as for :func:`labelled_report`; ``n`` takes the first ``n`` traces of each domain.

    Returns:
        Tables "confounds" (mode and the columns of
        :func:`airlens.analysis.confounds.confound_table`) and "changes" (mode and the columns of
        :func:`airlens.validity.selection_changes.what_changes`).
    """
    chosen = first_of_each_domain(traces, n)
    settings = {"modes": modes, "controls": controls, "seed": seed, "progress": progress}
    found = _influence(model, chosen, heads, folder, settings)
    confounds, changes, measured = [], [], []
    for mode, result in found.items():
        samples = add_overlap(result.samples, chosen)
        measured.append(samples.assign(mode=mode))
        confounds.append(confound_table(samples, seed=seed).assign(mode=mode))
        changes += [what_changes(samples, score=s).assign(mode=mode) for s in ("ais", "delta")]
    tables = {"confounds": pd.concat(confounds, ignore_index=True)}
    tables["changes"] = pd.concat(changes, ignore_index=True)
    note = _note(model, heads, chosen, modes, seed, n=n, controls=controls)
    raw = {"samples": _without_text(measured, chosen), "controls": _by_mode(found, "controls")}
    return _kept(ClaimReport(tables, confound_claims(tables), note, raw), folder)


def head_report(
    model: TransformerBridge,
    traces: Sequence[Trace],
    heads: HeadSet,
    *,
    n: int | None = 4,
    modes: Sequence[Mode] = ("uniform", "zero", "mean"),
    seed: int = 0,
    folder: str | Path | None = None,
) -> ClaimReport:
    """Which single heads cause the rise in loss, inside the set and outside it.

    Arguments as for :func:`confound_report`; a few traces are enough.

    Returns:
        Tables "leave_one_out" (:func:`airlens.validity.head_costs.leave_one_out`, under the first
        mode) and "idle" (:func:`airlens.validity.head_costs.idle_heads`).
    """
    chosen = first_of_each_domain(traces, n)
    rises = head_rises(model, chosen, with_and_without(heads), modes[0])
    tables = {
        "leave_one_out": leave_one_out_table(rises),
        "idle": idle_heads(model, chosen, heads, modes=modes),
    }
    note = _note(model, heads, chosen, modes, seed, n=n)
    return _kept(ClaimReport(tables, head_claims(tables), note, {"rises": rises}), folder)


def _influence(
    model: TransformerBridge,
    traces: Sequence[Trace],
    heads: HeadSet,
    folder: str | Path | None,
    settings: Mapping[str, Any],
) -> dict[Mode, Influence]:
    """Influence in each mode; each trace's losses are stored under the report's folder."""
    kept = None if folder is None else Path(folder) / "traces"
    return resumable_influence(model, traces, heads, folder=kept, **settings)


def _without_text(parts: Sequence[pd.DataFrame], traces: Sequence[Trace]) -> pd.DataFrame:
    """The rows of all modes with the column problem, which traces of one prompt share."""
    problem = {trace.id: fingerprint({"prompt": trace.prompt})[:12] for trace in traces}
    table = pd.concat(parts, ignore_index=True)
    return table.assign(problem=table["id"].map(problem)).drop(columns="text", errors="ignore")


def _by_mode(found: Mapping[Mode, Influence], name: str) -> pd.DataFrame:
    parts = {mode: getattr(result, name) for mode, result in found.items()}
    frames: list[pd.DataFrame] = [part.assign(mode=mode) for mode, part in parts.items()]
    return pd.concat(frames, ignore_index=True)


def _note(
    model: TransformerBridge,
    heads: HeadSet,
    traces: Sequence[Trace],
    modes: Sequence[Mode],
    seed: int,
    **settings: Any,
) -> dict[str, Any]:
    return provenance(
        model,
        heads=heads.names(),
        modes=list(modes),
        seed=seed,
        traces=[trace.id for trace in traces],
        reading=how_read(traces),
        **settings,
    )


def _kept(report: ClaimReport, folder: str | Path | None) -> ClaimReport:
    if folder is not None:
        report.save(folder)
    return report
