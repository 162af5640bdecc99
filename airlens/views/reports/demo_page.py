"""The demo's page: figure by figure, in the order of the method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from airlens.control_kinds import CONTROL_WORDS
from airlens.heads import TOP_SHARE, HeadGrid
from airlens.views.figures.coloured_text import trace_html
from airlens.views.figures.copying_curve import ablation_curve
from airlens.views.figures.head_maps import head_map, score_ranking
from airlens.views.figures.selected_samples import selection_scatter, selector_overlap
from airlens.views.figures.single_trace import step_bars
from airlens.views.figures.step_maps import ais_by_label
from airlens.views.figures.strongest_step import said_of, strongest_step

from .demo_results import DemoResult
from .html_page import Report

if TYPE_CHECKING:
    from airlens.step_influence.influence import Influence


def demo_report(result: DemoResult, page: str = "") -> Report:
    """Build the page; ``.write(path)`` saves it.

    Args:
        result: of :func:`~airlens.views.reports.demo_results.run_demo`.
        page: the interactive page of the same results to link to: its address, relative to this.
    """
    model = result.provenance["model"]
    report = Report(
        "Retrieval heads and what they carry",
        f"{model['name']}: {HeadGrid.of_model(model).words()}, "
        f"ablation mode “{result.provenance['mode']}”",
        result.provenance,
    )
    best = strongest_step(result.influence.steps)
    n_heads = len(result.influence.provenance.get("heads", []))
    sentence = said_of(best, n_heads, f"these {len(result.traces)} traces")
    report.add_text(f"{sentence}.")
    if page:
        link = Markup('<p><a href="{}">Read the traces step by step</a></p>').format(page)
        report.add_html(link)
    report.add_facts(result.summary())
    _heads(report, result)
    _ablation(report, result)
    _trace(report, result)
    _labels(report, result)
    _selection(report, result)
    return report


def _heads(report: Report, result: DemoResult) -> None:
    frame = result.scores.to_frame(TOP_SHARE)
    report.add_section("Which heads copy")
    report.add_text(
        "Each probe is a JSON object from which one value has to be copied. A head copies a token "
        "when the position it attends to most, just when that token is to be predicted, lies in "
        "the value and holds that token. The score is the share of answer tokens it copies "
        "(Wu et al. 2024); the top 5 % are the **retrieval heads**."
    )
    report.add_figure(
        head_map(frame), "Retrieval score of every head; the top 5 % are outlined.", width=760
    )
    report.add_figure(
        score_ranking(frame), "The same scores sorted, with 95 % intervals over probes."
    )


def _ablation(report: Report, result: DemoResult) -> None:
    report.add_section("What happens without them")
    report.add_text(
        "The heads are ablated on fresh probes, beside as many random heads, disjoint from them. "
        "With the needle cut from the context a model can only guess: that is the floor."
    )
    report.add_figure(
        ablation_curve(result.curve),
        "Token-level copy accuracy as heads are ablated; the band spans the random draws.",
    )


def _trace(report: Report, result: DemoResult) -> None:
    shown = _shown_trace(result.influence)
    trace = next(t for t in result.traces if t.id == shown)
    tokens, steps = result.influence.tokens, result.influence.steps
    report.add_section("One trace, token by token")
    report.add_quote(trace.prompt, "Prompt")
    report.add_html(
        trace_html(tokens, steps, trace.id, response=trace.response, code=trace.domain == "code"),
        "The response, coloured by ΔNLL: orange tokens are harder to predict without the retrieval "
        "heads, blue ones easier. Point at a token for its numbers.",
    )
    report.add_figure(
        step_bars(steps, trace.id),
        f"AIS of each step, (L_ref − L_base) / L_base, beside {CONTROL_WORDS['same_layers']}.",
    )


def _shown_trace(influence: Influence) -> str:
    """The trace of the strongest step above its control; where there is none, of the median AIS."""
    best = strongest_step(influence.steps)
    rows = influence.samples.sort_values("ais")
    return best.id if best else str(rows["id"].iloc[len(rows) // 2])


def _labels(report: Report, result: DemoResult) -> None:
    report.add_section("What the score reacts to")
    report.add_text(
        "The bundled traces say what each of their steps does. A score of *reasoning* would put "
        "computing and concluding above restating; a score of *copying* does the opposite."
    )
    report.add_figure(ais_by_label(result.influence.steps), "AIS of steps by what the step does.")


def _selection(report: Report, result: DemoResult) -> None:
    frame = result.selection.samples
    report.add_section("What would be selected")
    report.add_text(
        "The top 20 % of each domain by AIS. A score that follows length or loss could be had for "
        "free: the correlation stands in each title, and the overlap with each baseline below."
    )
    report.add_figure(selection_scatter(frame, x="n_tokens"), "AIS against length.")
    report.add_figure(selection_scatter(frame, x="loss_base"), "AIS against base loss.")
    report.add_figure(
        selector_overlap(result.overlap), "Jaccard overlap of what the selectors choose."
    )
    columns = ["id", "domain", "n_tokens", "loss_base", "loss_ref", "ais", "ais_control"]
    chosen = result.selection.chosen[columns].reset_index(drop=True)
    report.add_table(chosen, "The selected samples.", bars=["ais"])
