"""Checks of the installation: versions, device, cache, and logits against Hugging Face's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from airlens.detectors.key_value_probes import key_value_probes
from airlens.detectors.retrieval import copy_accuracy
from airlens.errors import ConfigError
from airlens.folders import cache_dir
from airlens.losses.hooks import score_windows
from airlens.losses.windows import Window, windows
from airlens.model.given import stays_as_it_is
from airlens.provenance import model_info, versions
from airlens.traces.encoding import encode_trace
from airlens.traces.trace import Trace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TEXT = (
    "The lighthouse keeper counted the ships twice. There were seven in the morning and nine in "
    "the evening, so two had arrived while he slept. He wrote the number in the log and went up "
    "to light the lamp."
)
# TransformerLens documents about 1e-3 of fp32 drift between kernels; eager against eager is 1e-5.
TOLERANCE = 1e-3
PROBES = 4
PROBE_TOKENS = 720


def environment() -> dict[str, Any]:
    """Versions, device and cache folder."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        "versions": versions(),
        "device": device,
        "threads": torch.get_num_threads(),
        "cache": str(cache_dir()),
    }


def check_model(
    model: TransformerBridge, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Bridge logits against Hugging Face's, base NLL on a plain text, copy accuracy on 4 probes.

    ``say`` is called with a line of text as each check ends.

    A model that is quantised, offloaded or spread over devices has no second copy to compare with:
    :func:`~airlens.load_model` has compared its logits, on a few tokens, before it was wrapped.

    Returns:
        A JSON-able record; ``"parity"`` is False when logits differ by more than
        :data:`TOLERANCE` (float32) or 2 % of their range (lower precision).
    """
    encoded = encode_trace(model.tokenizer, Trace("doctor", "", TEXT), "plain")
    n_ctx = int(model.cfg.n_ctx)
    items: list[Window] = windows(encoded, n_ctx)
    loss = score_windows(model, items, [], "uniform")[0]
    record: dict[str, Any] = {"base_nll": float(loss.base.mean())}
    say(f"base NLL of a plain text: {record['base_nll']:.3g} nats per token")
    alone = not stays_as_it_is(model.original_model)
    same = _compared(model, encoded.tokens[:n_ctx]) if alone else {"parity": True}
    say(f"logits {'as' if same['parity'] else 'NOT as'} Hugging Face's")
    copies = _copying(model, min(PROBE_TOKENS, n_ctx))
    accuracy = copies["copy_accuracy"]
    say(
        f"copy accuracy {copies['copy_accuracy_note']}"
        if accuracy is None
        else f"copy accuracy: {accuracy:.3g} on {PROBES} probes"
    )
    return {"model": model_info(model), **same, **record, **copies}


def _copying(model: TransformerBridge, longest: int) -> dict[str, Any]:
    """Copy accuracy; None where no probe fits into the context, and why."""
    try:
        probes = key_value_probes(model.tokenizer, n=PROBES, max_tokens=longest)
        return {"copy_accuracy": copy_accuracy(model, probes).accuracy}
    except ConfigError as error:
        note = f"not measured: {longest} tokens are {error.reason.partition(':')[0]}"
        return {"copy_accuracy": None, "copy_accuracy_note": note}


def _compared(model: TransformerBridge, ids: list[int]) -> dict[str, Any]:
    tokens = torch.tensor([ids], device=model.cfg.device)
    with torch.inference_mode():
        ours = model(tokens).float()
        theirs = hugging_face_logits(model, tokens).float()
    difference = float((ours - theirs).abs().max())
    exact = next(model.original_model.parameters()).dtype == torch.float32
    allowed = TOLERANCE if exact else 0.02 * float(theirs.abs().max())
    return {
        "max_logit_difference": difference,
        "allowed_difference": allowed,
        "parity": difference <= allowed,
    }


def hugging_face_logits(model: TransformerBridge, tokens: torch.Tensor) -> torch.Tensor:
    """Logits [B, T, V] of a Hugging Face model with the same weights and none of our hooks.

    The bridge replaces submodules of the model it wraps, so a plain model is built and given the
    weights under their own names.
    """
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(model.original_model.config)
    with torch.device(tokens.device):
        plain = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    plain.to(next(model.original_model.parameters()).dtype)
    weights = plain_weights(model)
    missing = plain.load_state_dict(weights, strict=False).missing_keys
    tied = {"lm_head.weight"} if getattr(config, "tie_word_embeddings", False) else set()
    if set(missing) - tied:
        raise RuntimeError(f"weights not found in the bridge: {sorted(set(missing) - tied)[:5]}")
    with torch.inference_mode():
        return plain.eval()(tokens).logits


def plain_weights(model: TransformerBridge) -> dict[str, torch.Tensor]:
    """The wrapped model's weights under Hugging Face's own names."""
    found = {}
    for name, tensor in model.original_model.state_dict().items():
        found[name.replace("._original_component", "")] = tensor
    return found
