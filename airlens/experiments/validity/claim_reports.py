"""Reports on traces as they are: labelled steps, confounds, and the heads behind a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from airlens.ablation import Mode
from airlens.folders import save_tables, write_tables
from airlens.heads import HeadSet, parse_head
from airlens.provenance import provenance
from airlens.selection.confounds import confound_table
from airlens.step_influence.head_costs import (
    COSTLY,
    attention_profile,
    head_rises,
    idle_costs,
    idle_rises,
    leave_one_out_table,
    with_and_without,
    with_profile,
)
from airlens.step_influence.influence import Influence
from airlens.traces.load import first_of_each_domain
from airlens.traces.readings import how_read
from airlens.traces.trace import Trace

from .claims import confound_claims, head_claims, labelled_claims
from .heuristics import add_heuristics, add_overlap
from .labelled import (
    IMPORTANCES,
    SCORES,
    add_importance,
    by_function,
    correlation_summary,
    function_differences,
    importance_correlations,
    problems_of,
)
from .resumable_influence import resumable_influence, resumable_rivals
from .rival_steps import SCORES as RIVALS
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
        controls: draws of random heads of the same layers.
        seed: of the draws.
        folder: stores the tables and each trace's losses, so that the call can be resumed.
        progress: show a progress bar.

    Returns:
        Tables "functions" (mode and the columns of
        :func:`airlens.experiments.validity.labelled.by_function`), "differences" (from random
        heads, :func:`airlens.experiments.validity.labelled.function_differences`), and with
        importances "correlations" (a row a trace) and "importance" (means over problems), where
        the scores of rival papers stand beside AIR's.
    """
    chosen = sorted(traces, key=lambda t: (len(t.prompt) + len(t.response), t.id))[:n]
    settings = {"modes": modes, "controls": controls, "seed": seed, "progress": progress}
    found = _influence(model, chosen, heads, folder, settings)
    important = any(trace.step_meta for trace in chosen)
    options: Any = {"folder": _home(folder), "progress": progress}
    rivals = resumable_rivals(model, chosen, **options) if important else None
    measured = []
    for mode, result in found.items():
        steps = add_heuristics(result.steps, chosen)
        if rivals is not None:
            steps = add_importance(steps, chosen).merge(rivals, how="left", on=["id", "step"])
        measured.append(steps.assign(mode=mode))
    raw = {"steps": _without_text(measured, chosen)}
    raw["step_controls"] = _by_mode(found, "step_controls")
    tables = labelled_tables(**raw)
    note = _note(model, heads, chosen, modes, seed, n=n, controls=controls)
    return _kept(ClaimReport(tables, labelled_claims(tables), note, raw), folder)


def labelled_tables(steps: pd.DataFrame, step_controls: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables of :func:`labelled_report` from its measurements; no model."""
    parts: dict[str, list[pd.DataFrame]] = {"functions": [], "differences": []}
    for mode, own in steps.groupby("mode", sort=False):
        controls = step_controls[step_controls["mode"] == mode].drop(columns="mode")
        parts["functions"].append(by_function(own).assign(mode=mode))
        parts["differences"].append(function_differences(own, controls).assign(mode=mode))
        if set(IMPORTANCES) & set(own):
            scores = [*SCORES, *(name for name in RIVALS if name in own)]
            found = importance_correlations(own, scores=scores)
            parts.setdefault("correlations", []).append(found.assign(mode=mode))
            parts.setdefault("importance", []).append(correlation_summary(found).assign(mode=mode))
    return {name: pd.concat(frames, ignore_index=True) for name, frames in parts.items()}


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
        :func:`airlens.selection.confounds.confound_table`) and "changes" (mode and the columns of
        :func:`airlens.experiments.validity.selection_changes.what_changes`).
    """
    chosen = first_of_each_domain(traces, n)
    settings = {"modes": modes, "controls": controls, "seed": seed, "progress": progress}
    found = _influence(model, chosen, heads, folder, settings)
    measured = [add_overlap(r.samples, chosen).assign(mode=mode) for mode, r in found.items()]
    raw = {"samples": _without_text(measured, chosen), "controls": _by_mode(found, "controls")}
    tables = confound_tables(raw["samples"])
    note = _note(model, heads, chosen, modes, seed, n=n, controls=controls)
    return _kept(ClaimReport(tables, confound_claims(tables), note, raw), folder)


def confound_tables(samples: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables of :func:`confound_report` from its measurements; no model."""
    confounds, changes = [], []
    for mode, own in samples.groupby("mode", sort=False):
        confounds.append(confound_table(own).assign(mode=mode))
        changes += [what_changes(own, score=s).assign(mode=mode) for s in ("ais", "delta")]
    tables = {"confounds": confounds, "changes": changes}
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


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
        Tables "leave_one_out" (:func:`airlens.step_influence.head_costs.leave_one_out`, under the
        first mode) and "idle" (:func:`airlens.step_influence.head_costs.idle_heads`).
    """
    chosen = first_of_each_domain(traces, n)
    rises = head_rises(model, chosen, with_and_without(heads), modes[0])
    singles = idle_rises(model, chosen, heads, modes=modes)
    found = [parse_head(name) for name in idle_costs(singles)["name"]]
    profile = attention_profile(model, chosen, found)
    tables = head_tables(rises, singles, profile)
    note = _note(model, heads, chosen, modes, seed, n=n)
    raw = {"rises": rises, "idle_rises": singles}
    return _kept(ClaimReport(tables, head_claims(tables), note, raw), folder)


def head_tables(
    rises: pd.DataFrame, idle_rises: pd.DataFrame, profile: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """The tables of :func:`head_report` from its measurements; no model.

    Args:
        rises: of the set, without each head, and of each alone.
        idle_rises: of single heads outside the set.
        profile: attention of the costliest of them; other columns are not read.
    """
    table = leave_one_out_table(rises)
    # Ours: a head that costs half of what the whole set does is no fair control.
    limit = max([COSTLY, *(table["delta_all"] / 2)[:1]])
    return {"leave_one_out": table, "idle": with_profile(idle_costs(idle_rises, limit), profile)}


def _influence(
    model: TransformerBridge,
    traces: Sequence[Trace],
    heads: HeadSet,
    folder: str | Path | None,
    settings: Mapping[str, Any],
) -> dict[Mode, Influence]:
    """Influence in each mode; each trace's losses are stored under the report's folder."""
    return resumable_influence(model, traces, heads, folder=_home(folder), **settings)


def _home(folder: str | Path | None) -> Path | None:
    """Where a report's measurements of single traces are stored."""
    return None if folder is None else Path(folder) / "traces"


def _without_text(parts: Sequence[pd.DataFrame], traces: Sequence[Trace]) -> pd.DataFrame:
    """The rows of all modes with the column problem, which traces of one prompt share."""
    table = pd.concat(parts, ignore_index=True)
    problem = table["id"].map(problems_of(traces))
    return table.assign(problem=problem).drop(columns="text", errors="ignore")


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
