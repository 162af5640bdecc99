"""airlens: find retrieval heads, ablate them, and measure which steps of a trace need them.

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
    from .ablation import ablation_hooks as ablation_hooks
    from .ablation import mean_z as mean_z
    from .analysis.ablation_curves import ablation_curves as ablation_curves
    from .analysis.agreement import agreement as agreement
    from .analysis.agreement import rank_table as rank_table
    from .analysis.agreement import stability as stability
    from .analysis.confounds import confound_table as confound_table
    from .analysis.head_influence import HeadInfluence as HeadInfluence
    from .analysis.head_influence import head_influence as head_influence
    from .analysis.mirror import mirror_table as mirror_table
    from .analysis.residuals import residualise as residualise
    from .analysis.selection_overlap import overlap as overlap
    from .corpus import Corpus as Corpus
    from .corpus.near_duplicates import near_duplicates as near_duplicates
    from .corpus.run import score_corpus as score_corpus
    from .corpus.run_folder import RunFolder as RunFolder
    from .corpus.score_part import Settings as Settings
    from .detectors import detect as detect
    from .detectors import detect_all as detect_all
    from .detectors.key_value_probes import key_value_probes as key_value_probes
    from .detectors.needle_probes import needle_probes as needle_probes
    from .detectors.published_scores import load_published_scores as load_published_scores
    from .engine.process_settings import fast_allocator as fast_allocator
    from .errors import AirlensError as AirlensError
    from .errors import DataError as DataError
    from .explorers.ablation_lab import AblationLab as AblationLab
    from .explorers.head_explorer import HeadExplorer as HeadExplorer
    from .explorers.selection_explorer import SelectionExplorer as SelectionExplorer
    from .explorers.trace_explorer import TraceExplorer as TraceExplorer
    from .files import data_path as data_path
    from .heads import Head as Head
    from .heads import HeadScores as HeadScores
    from .heads import HeadSet as HeadSet
    from .heads import load_heads as load_heads
    from .heads import random_heads as random_heads
    from .model import load_model as load_model
    from .paper.compare_models import Comparison as Comparison
    from .paper.compare_models import compare_models as compare_models
    from .plugins import register as register
    from .plugins import registered as registered
    from .plugins import unregister as unregister
    from .probes import ProbeSet as ProbeSet
    from .reading.load import load_traces as load_traces
    from .reading.model_files import load_hf as load_hf
    from .retrieval import copy_accuracy as copy_accuracy
    from .retrieval import retrieval_scores as retrieval_scores
    from .selection import Selection as Selection
    from .selection import select as select
    from .step_influence import Influence as Influence
    from .step_influence import influence as influence
    from .step_sources import Sources as Sources
    from .step_sources import sources as sources
    from .steps import split_steps as split_steps
    from .trace import Step as Step
    from .trace import Trace as Trace
    from .training.evaluate import generate_answers as generate_answers
    from .training.evaluate import held_out_nll as held_out_nll
    from .training.step_weights import StepWeights as StepWeights
    from .training.step_weights import step_weights as step_weights
    from .training.study import study_table as study_table
    from .training.train import TrainSettings as TrainSettings
    from .training.train import fine_tune as fine_tune
    from .validity.head_costs import idle_heads as idle_heads
    from .validity.head_costs import leave_one_out as leave_one_out
    from .validity.planted import validate as validate
    from .validity.planting import plant as plant
    from .webpage import page as page

_HOME = {
    "ablated": "ablation",
    "ablation_hooks": "ablation",
    "mean_z": "ablation",
    "AblationLab": "explorers.ablation_lab",
    "data_path": "files",
    "fast_allocator": "engine.process_settings",
    "compare_models": "paper.compare_models",
    "Comparison": "paper.compare_models",
    "confound_table": "analysis.confounds",
    "Corpus": "corpus",
    "residualise": "analysis.residuals",
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
    "load_traces": "reading.load",
    "Influence": "step_influence",
    "influence": "step_influence",
    "load_hf": "reading.model_files",
    "load_model": "model",
    "near_duplicates": "corpus.near_duplicates",
    "Settings": "corpus.score_part",
    "RunFolder": "corpus.run_folder",
    "head_influence": "analysis.head_influence",
    "HeadInfluence": "analysis.head_influence",
    "plant": "validity.planting",
    "page": "webpage",
    "key_value_probes": "detectors.key_value_probes",
    "ProbeSet": "probes",
    "needle_probes": "detectors.needle_probes",
    "load_published_scores": "detectors.published_scores",
    "register": "plugins",
    "registered": "plugins",
    "unregister": "plugins",
    "copy_accuracy": "retrieval",
    "retrieval_scores": "retrieval",
    "score_corpus": "corpus.run",
    "overlap": "analysis.selection_overlap",
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
    "agreement": "analysis.agreement",
    "stability": "analysis.agreement",
    "rank_table": "analysis.agreement",
    "ablation_curves": "analysis.ablation_curves",
    "mirror_table": "analysis.mirror",
    "validate": "validity.planted",
    "step_weights": "training.step_weights",
    "StepWeights": "training.step_weights",
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
