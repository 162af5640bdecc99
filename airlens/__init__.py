"""airlens: find retrieval heads, ablate them, and measure what each step of a trace owes them.

>>> import airlens as al
>>> model = al.load_model("smollm2-135m")                     # doctest: +SKIP
>>> scores = al.retrieval_scores(model, al.key_value_probes(model.tokenizer))  # doctest: +SKIP
>>> result = al.influence(model, al.load_traces("traces.jsonl"), scores.top(0.05))  # doctest: +SKIP

Names are imported when first used: ``import airlens`` itself loads neither torch nor a model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import figures as figures
    from .ablation import ablated as ablated
    from .ablation import mean_z as mean_z
    from .bundled import data_path as data_path
    from .compute import fast_allocator as fast_allocator
    from .confounds import confound_table as confound_table
    from .corpus import Corpus as Corpus
    from .corpus.neardup import near_duplicates as near_duplicates
    from .corpus.part_score import Settings as Settings
    from .corpus.parts import RunFolder as RunFolder
    from .corpus.run import score_corpus as score_corpus
    from .curves import ablation_curves as ablation_curves
    from .derived import residualise as residualise
    from .detectors import detect as detect
    from .detectors import detect_all as detect_all
    from .errors import AirlensError as AirlensError
    from .errors import DataError as DataError
    from .explorers.ablation_lab import AblationLab as AblationLab
    from .explorers.head_explorer import HeadExplorer as HeadExplorer
    from .explorers.selection_explorer import SelectionExplorer as SelectionExplorer
    from .explorers.trace_explorer import TraceExplorer as TraceExplorer
    from .heads import Head as Head
    from .heads import HeadScores as HeadScores
    from .heads import HeadSet as HeadSet
    from .heads import load_heads as load_heads
    from .heads import random_heads as random_heads
    from .load import load_traces as load_traces
    from .measure import Influence as Influence
    from .measure import influence as influence
    from .mirror import mirror_table as mirror_table
    from .model import load_model as load_model
    from .per_head import HeadInfluence as HeadInfluence
    from .per_head import head_influence as head_influence
    from .probes import ProbeSet as ProbeSet
    from .probes import key_value_probes as key_value_probes
    from .probes_needle import needle_probes as needle_probes
    from .published import load_published_scores as load_published_scores
    from .retrieval import copy_accuracy as copy_accuracy
    from .retrieval import retrieval_scores as retrieval_scores
    from .selection import Selection as Selection
    from .selection import overlap as overlap
    from .selection import select as select
    from .step_sources import Sources as Sources
    from .step_sources import sources as sources
    from .steps import split_steps as split_steps
    from .trace import Step as Step
    from .trace import Trace as Trace
    from .training.evaluate import generate_answers as generate_answers
    from .training.evaluate import held_out_nll as held_out_nll
    from .training.study import study_table as study_table
    from .training.train import TrainSettings as TrainSettings
    from .training.train import fine_tune as fine_tune
    from .training.weights import StepWeights as StepWeights
    from .training.weights import step_weights as step_weights
    from .trust import agreement as agreement
    from .trust import stability as stability
    from .validity.head_costs import idle_heads as idle_heads
    from .validity.head_costs import leave_one_out as leave_one_out
    from .validity.planted import validate as validate
    from .validity.planting import plant as plant

_HOME = {
    "ablated": "ablation",
    "mean_z": "ablation",
    "AblationLab": "explorers.ablation_lab",
    "data_path": "bundled",
    "fast_allocator": "compute",
    "confound_table": "confounds",
    "Corpus": "corpus",
    "residualise": "derived",
    "detect": "detectors",
    "detect_all": "detectors",
    "AirlensError": "errors",
    "DataError": "errors",
    "generate_answers": "training.evaluate",
    "held_out_nll": "training.evaluate",
    "figures": "figures",
    "idle_heads": "validity.head_costs",
    "leave_one_out": "validity.head_costs",
    "HeadExplorer": "explorers.head_explorer",
    "Head": "heads",
    "HeadScores": "heads",
    "HeadSet": "heads",
    "load_heads": "heads",
    "random_heads": "heads",
    "load_traces": "load",
    "Influence": "measure",
    "influence": "measure",
    "load_model": "model",
    "near_duplicates": "corpus.neardup",
    "Settings": "corpus.part_score",
    "RunFolder": "corpus.parts",
    "head_influence": "per_head",
    "HeadInfluence": "per_head",
    "plant": "validity.planting",
    "key_value_probes": "probes",
    "ProbeSet": "probes",
    "needle_probes": "probes_needle",
    "load_published_scores": "published",
    "copy_accuracy": "retrieval",
    "retrieval_scores": "retrieval",
    "score_corpus": "corpus.run",
    "overlap": "selection",
    "select": "selection",
    "Selection": "selection",
    "SelectionExplorer": "explorers.selection_explorer",
    "sources": "step_sources",
    "Sources": "step_sources",
    "split_steps": "steps",
    "study_table": "training.study",
    "Step": "trace",
    "Trace": "trace",
    "TraceExplorer": "explorers.trace_explorer",
    "fine_tune": "training.train",
    "TrainSettings": "training.train",
    "agreement": "trust",
    "stability": "trust",
    "ablation_curves": "curves",
    "mirror_table": "mirror",
    "validate": "validity.planted",
    "step_weights": "training.weights",
    "StepWeights": "training.weights",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'airlens' has no attribute {name!r}")
    module = importlib.import_module(f".{_HOME[name]}", __name__)
    value = module if _HOME[name] == name else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
