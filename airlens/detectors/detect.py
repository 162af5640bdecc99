"""All detectors by name, and how one or several of them are run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from airlens.arguments import checked
from airlens.errors import ConfigError
from airlens.heads import HeadScores
from airlens.registry import Registry

from .attention_scores import LayerView, Reader, attention_scores
from .attribution import attribution
from .causal import causal
from .copying import copied
from .greedy import retrieval_greedy
from .induction import induction, repeated_probes
from .locos import locos
from .probes import ProbeSet
from .qrhead import qrhead
from .reasoning import retrieval_reasoning
from .retrieval import need_readable, retrieval_scores

if TYPE_CHECKING:
    import torch
    from transformer_lens.model_bridge import TransformerBridge

# (model, probes, *, progress, …) -> HeadScores
Detector = Callable[..., HeadScores]


def copying(view: LayerView) -> torch.Tensor:
    """The retrieval score of :func:`~airlens.detectors.retrieval.retrieval_scores`, as a reader."""
    hits = copied(view.pattern, view.tokens, view.target, view.probe.needle)
    return hits.float().mean(dim=-1)


READERS: dict[str, Reader] = {
    "retrieval": copying,
    "locos": locos,
    "retrieval_reasoning": retrieval_reasoning,
}
"""Detectors that read the rows which predict the answer, and can share a pass."""


def _read(
    name: str, model: TransformerBridge, probes: ProbeSet, *, progress: bool = True
) -> HeadScores:
    return attention_scores(model, probes, {name: READERS[name]}, progress=progress)[name]


def induction_scores(
    model: TransformerBridge, probes: ProbeSet, *, progress: bool = True
) -> HeadScores:
    """Induction score on repeated random tokens.

    Args:
        model: the bridge.
        probes: from :func:`~airlens.detectors.induction.repeated_probes`; for probes of another
            kind, as many repeated ones are made with the same seed.
        progress: show a progress bar.
    """
    if probes.kind != "repeated":
        seed = int(probes.settings.get("seed", 0))
        probes = repeated_probes(model.tokenizer, n=len(probes), seed=seed)
    return attention_scores(model, probes, {"induction": induction}, progress=progress)["induction"]


_OWN: dict[str, Detector] = {
    "retrieval": retrieval_scores,
    "retrieval_greedy": retrieval_greedy,
    "qrhead": qrhead,
    "locos": partial(_read, "locos"),
    "retrieval_reasoning": partial(_read, "retrieval_reasoning"),
    "induction": induction_scores,
    "attribution": attribution,
    "causal": causal,
}

DETECTORS: Registry[Detector] = Registry("detector", "airlens.detectors", _OWN)
"""Name and function of each, with those that were registered (:mod:`airlens.plugins`)."""

DESCRIPTIONS: dict[str, str] = {
    "retrieval": "copies answer tokens out of the needle, teacher-forced (Wu et al., AIR)",
    "retrieval_greedy": "the same during greedy decoding, answered probes only (Wu et al.'s code)",
    "qrhead": "the question attends to the needle (QRHead)",
    "locos": "writes towards the answer's logit from the needle (LOCOS)",
    "retrieval_reasoning": "attention mass that reaches the needle (HeadKV-R2)",
    "induction": "attends to what came after this token last time (TransformerLens)",
    "attribution": "gradient estimate of the answer NLL's rise when ablated",
    "causal": "rise of the answer NLL when ablated alone; a pass per head",
}


@checked
def detect(
    model: TransformerBridge,
    probes: ProbeSet,
    detector: str = "retrieval",
    *,
    progress: bool = True,
    **options: Any,
) -> HeadScores:
    """Score every head by the detector of that name.

    Args:
        model: the bridge.
        probes: what the heads are scored on.
        detector: a key of :data:`DETECTORS`: built in, or registered.
        progress: show a progress bar.
        options: the detector's own, such as ``mode`` of ``causal``.

    Raises:
        ConfigError: no detector has that name.
    """
    score = DETECTORS.find(detector)
    need_readable(model, probes)
    found = score(model, probes, progress=progress, **options)
    if not isinstance(found, HeadScores):
        raise ConfigError(f"detector {detector!r} returned a {type(found).__name__}, no HeadScores")
    return found if found.detector == detector else replace(found, detector=detector)


@checked
def detect_all(
    model: TransformerBridge,
    probes: ProbeSet,
    detectors: Iterable[str],
    *,
    progress: bool = True,
) -> dict[str, HeadScores]:
    """Scores of several detectors on the same probes; those that read attention share a pass."""
    names = list(dict.fromkeys(detectors))
    for name in names:
        DETECTORS.find(name)
    need_readable(model, probes)
    shared = {name: READERS[name] for name in names if name in READERS}
    found = attention_scores(model, probes, shared, progress=progress) if shared else {}
    for name in names:
        if name not in shared:
            found[name] = detect(model, probes, name, progress=progress)
    return {name: found[name] for name in names}
