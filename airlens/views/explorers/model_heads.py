"""What a view says of a model, and the short probes on which it looks for the heads that copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airlens.detectors.key_value_probes import key_value_probes
from airlens.detectors.probes import ProbeSet
from airlens.errors import ConfigError

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
