"""The whole method on one model: the measurements behind the demo's pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from airlens.ablation import DEFAULT_MODE
from airlens.detectors.key_value_probes import key_value_probes
from airlens.detectors.retrieval import retrieval_scores
from airlens.files import data_path
from airlens.heads import TOP_SHARE, HeadScores
from airlens.provenance import provenance
from airlens.selection.overlap import overlap
from airlens.selection.select import Selection, select
from airlens.step_influence.ablation_curves import ablation_curves
from airlens.step_influence.influence import Influence, score_traces
from airlens.step_influence.settings import ScoreSettings
from airlens.step_sources import Sources, sources
from airlens.traces.load import first_of_each_domain, load_traces
from airlens.traces.trace import Trace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from airlens.ablation import Mode

SELECTORS = ("ais", "random", "length", "loss", "entropy", "ais_control")


@dataclass(frozen=True)
class DemoSize:
    """How much the demo measures; the defaults take about five minutes on two CPU cores."""

    probes: int = 12
    probe_tokens: int = 840
    curve_probes: int = 4
    curve_tokens: int = 720
    draws: int = 5
    traces_per_domain: int = 16
    controls: int = 2
    shown_per_domain: int = 3


@dataclass(frozen=True)
class DemoResult:
    """The results that the report shows."""

    scores: HeadScores
    curve: pd.DataFrame
    traces: list[Trace]
    influence: Influence
    selection: Selection
    overlap: pd.DataFrame
    provenance: dict[str, Any]

    def summary(self) -> dict[str, float | str | int]:
        """The numbers that the command prints."""
        k = int(self.curve["k"].max())
        at_k = self.curve[self.curve["k"] == k].groupby("heads")["copy_accuracy"].mean()
        floor = self.curve.loc[self.curve["heads"] == "needle removed", "copy_accuracy"].iloc[0]
        base = self.curve.loc[self.curve["k"] == 0, "copy_accuracy"].iloc[0]
        samples = self.influence.samples
        return {
            "strongest head": str(self.scores.ranked()[0]),
            "copy accuracy": float(base),
            f"copy accuracy, top {k} ablated": float(at_k["top"]),
            f"copy accuracy, {k} random ablated": float(at_k["random"]),
            "copy accuracy, needle removed": float(floor),
            "median AIS": float(samples["ais"].median()),
            "median AIS, random heads": float(samples["ais_control"].median()),
            "samples scored": len(samples),
            "samples selected": len(self.selection.ids),
        }


def run_demo(
    model: TransformerBridge,
    *,
    size: DemoSize | None = None,
    mode: Mode = DEFAULT_MODE,
    seed: int = 0,
    progress: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> DemoResult:
    """Find the heads, ablate them, score the bundled traces, select.

    Args:
        model: the bridge.
        size: how much to measure.
        mode: ablation mode.
        seed: of probes, controls and the random selector.
        progress: show progress bars.
        say: called with a line of text at each stage.
    """
    size = size or DemoSize()
    tokenizer = model.tokenizer
    say(f"1/5 scoring every head on {size.probes} key-value probes")
    probes = key_value_probes(tokenizer, size.probes, size.probe_tokens, seed)
    scores = retrieval_scores(model, probes, progress=progress)
    top = scores.top(TOP_SHARE)
    say("2/5 ablating the top heads, and random ones, on fresh probes")
    fresh = key_value_probes(tokenizer, size.curve_probes, size.curve_tokens, seed + 1)
    ks = sorted({1, 2, 4, 8, len(top)} & set(range(1, len(top) + 1)))
    curve = ablation_curves(
        model, scores, fresh, shares=ks, control_shares=[len(top)], modes=[mode], draws=size.draws,
        seed=seed, groups=("top", "random"), progress=progress,
    )  # fmt: skip
    traces = first_of_each_domain(load_traces(data_path("traces.jsonl")), size.traces_per_domain)
    say(f"3/5 scoring every token, step and sample of {len(traces)} traces")
    settings = ScoreSettings(mode=mode, controls=size.controls, seed=seed)
    result = score_traces(model, traces, top, settings, progress=progress)
    say("4/5 selecting, and writing the report")
    chosen = select(result.samples, "ais", 0.2, within="domain", seed=seed)
    shared = overlap(result.samples, SELECTORS, (0.2,), within="domain", seed=seed)
    note = provenance(model, mode=mode, seed=seed, size=vars(size), heads=top.names())
    return DemoResult(scores, curve, traces, result, chosen, shared, note)


def demo_sources(
    model: TransformerBridge,
    result: DemoResult,
    *,
    seed: int = 0,
    progress: bool = True,
) -> tuple[list[Trace], Sources]:
    """The first traces of each domain, and the sources of their steps.

    Copies and attention only: one pass for both.
    """
    shown = first_of_each_domain(result.traces, DemoSize.shown_per_domain)
    heads = result.scores.top(TOP_SHARE)
    return shown, sources(
        model, shown, heads, controls=DemoSize.controls, seed=seed, progress=progress
    )
