"""What a view says of a model, and the short probes on which it looks for the heads that copy."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from airlens.detectors.key_value_probes import key_value_probes
from airlens.detectors.probes import ProbeSet
from airlens.detectors.retrieval import retrieval_scores
from airlens.errors import AirlensError, ConfigError, WriteError
from airlens.files import portable_name
from airlens.folders import cache_dir
from airlens.heads import HeadScores
from airlens.provenance import fingerprint, weights_hash
from airlens.version import __version__

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

PROBES, PROBE_TOKENS = 2, 512  # longer probes find the same leading heads, and take longer


def name_of(model: TransformerBridge) -> str:
    """What a model is called."""
    return str(model.cfg.model_name)


def short_probes(model: TransformerBridge) -> ProbeSet:
    """Probes that fit the model's context; longer ones where its tokens are short.

    Raises:
        ConfigError: none fit its context.
    """
    room = int(model.cfg.n_ctx)
    for most in (PROBE_TOKENS, 2 * PROBE_TOKENS, 4 * PROBE_TOKENS):
        try:
            return key_value_probes(model.tokenizer, n=PROBES, max_tokens=min(most, room))
        except ConfigError:
            if most >= room:
                raise
    return key_value_probes(model.tokenizer, n=PROBES, max_tokens=room)


def kept_scores(model: TransformerBridge, probes: ProbeSet) -> tuple[HeadScores, str]:
    """Retrieval scores of a model to which nothing was done since it was loaded.

    Those that this version found before, on the same weights and probes, are read from the cache
    folder. Where nothing can be written there they are found each time.

    Returns:
        The scores, and when they were found, where that was before (else "").
    """
    try:
        path = _place(model, probes)
    except ConfigError:
        return retrieval_scores(model, probes, progress=False), ""
    try:
        found = HeadScores.load(path)
        return found, str(found.provenance["time"])
    except (AirlensError, KeyError):  # not there, or damaged
        found = retrieval_scores(model, probes, progress=False)
    with suppress(WriteError):
        found.save(path)
    return found, ""


def _place(model: TransformerBridge, probes: ProbeSet) -> Path:
    about = {"weights": weights_hash(model), "probes": probes.hash, "version": __version__}
    return cache_dir() / f"heads-{portable_name(name_of(model))}-{fingerprint(about)}.json"
