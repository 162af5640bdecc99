"""Whether the measures of :func:`airlens.sources` find true sources: from traces to claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from airlens.experiments.validity.benchmark import head_groups
from airlens.experiments.validity.claim_reports import ClaimReport
from airlens.experiments.validity.labelled import problems_of
from airlens.heads import HeadSet
from airlens.provenance import provenance
from airlens.traces.chat_template import Template
from airlens.traces.readings import how_read
from airlens.traces.trace import Trace

from .head_contrasts import contrast_table
from .labelled_tables import gain_table, labelled_table, trace_gains, trace_scores
from .measured_pairs import measured_pairs
from .planted_tables import distractor_table, planted_table, use_scores
from .planted_traces import N, plant_sources
from .source_claims import source_claims
from .true_pairs import add_controls, add_truth, alignment_table

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

VALUES = ("auroc", "p1")


def source_report(
    model: TransformerBridge,
    heads: HeadSet,
    labelled: Sequence[Trace] = (),
    *,
    n: int = N,
    knockout: int = 0,
    knockout_labelled: int = 0,
    knockout_draws: int = 1,
    draws: Mapping[str, int] | int = 3,
    seed: int = 0,
    template: Template = "auto",
    folder: str | Path | None = None,
    progress: bool = True,
) -> ClaimReport:
    """Measure sources in planted traces, and in labelled ones, beside random heads and controls.

    Args:
        model: the bridge.
        heads: the critical heads.
        labelled: traces whose ``step_meta`` say what a step ``depends_on``; none for planted
            traces only.
        n: planted traces; 0 for labelled ones only.
        knockout: number of planted traces in which each source is also knocked out.
        knockout_labelled: the same for labelled traces, the shortest first.
        knockout_draws: of how many sets of random heads of each kind sources are knocked out too,
            of those that ``draws`` gives.
        draws: sets of random heads of each kind, see
            :func:`airlens.experiments.validity.benchmark.head_groups`.
        seed: of planting, draws and cross-validation.
        template: how the prompt is put before the response.
        folder: stores the tables and each trace's measurements, so that the call can be resumed.
        progress: show progress bars.

    Returns:
        Tables "planted" (:func:`.planted_tables.planted_table`),
        "distractors", "planted_contrasts"; "labelled"
        (:func:`.labelled_tables.labelled_table`),
        "labelled_contrasts", "gain" and "alignment".

    Raises:
        DataError: labelled traces without labels.
    """
    groups = head_groups(model, heads, draws, seed)
    tables: dict[str, pd.DataFrame] = {}
    measured: dict[str, pd.DataFrame] = {}
    shortest = sorted(labelled, key=lambda t: (len(t.prompt) + len(t.response), t.id))
    for kind, traces, count in (
        ("planted", plant_sources(n, seed=seed) if n else [], knockout),
        ("labelled", shortest, knockout_labelled),
    ):
        if traces:
            pairs = measured_pairs(
                model,
                traces,
                groups,
                knocked_out=count,
                knockout_draws=knockout_draws,
                template=template,
                folder=None if folder is None else Path(folder) / "measured",
                progress=progress,
            )
            pairs = add_controls(add_truth(pairs, traces), traces)
            if kind == "planted":
                measured["uses"] = use_scores(pairs, traces)
                continue
            problem = problems_of(traces)
            for name, table in (
                ("trace_scores", trace_scores(pairs)),
                ("trace_gains", trace_gains(pairs, seed=seed)),
            ):
                measured[name] = table.assign(problem=table["id"].map(problem))
            tables["alignment"] = alignment_table(traces)
    tables = {**source_tables(measured), **tables}
    draws_of = [name for name, _, draw in groups[1:] if draw < knockout_draws]
    knocked_out = dict(Counter(draws_of)) if knockout or knockout_labelled else {}
    note = provenance(
        model,
        heads=heads.names(),
        controls={f"{name} {draw}": chosen.names() for name, chosen, draw in groups[1:]},
        seed=seed,
        template=template,
        n=n,
        knockout=knockout,
        knockout_labelled=knockout_labelled,
        knockout_draws=knocked_out,
        traces=[trace.id for trace in shortest],
        reading=how_read(shortest),
    )
    report = ClaimReport(tables, source_claims(tables), note, measured)
    if folder is not None:
        report.save(folder)
    return report


def source_tables(measured: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of :func:`source_report`, but the alignment, from its measurements; no model."""
    tables: dict[str, pd.DataFrame] = {}
    if "uses" in measured:
        uses = measured["uses"]
        in_steps = uses[uses["distance"] != "prompt"]
        ranges = pd.concat([in_steps.assign(distance="all"), uses])
        by_value = [contrast_table(ranges, ["distance"], ["id", "step"], v) for v in VALUES]
        tables |= {"planted": planted_table(uses), "distractors": distractor_table(uses)}
        tables["planted_contrasts"] = pd.concat(by_value, ignore_index=True)
    if "trace_scores" in measured:
        scores = measured["trace_scores"]
        tables["labelled"] = labelled_table(scores)
        tables["labelled_contrasts"] = contrast_table(scores, ["beyond", "compared"], ["id"])
        tables["gain"] = gain_table(measured["trace_gains"])
    return tables
