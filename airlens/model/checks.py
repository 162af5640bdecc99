"""What a model must be for its numbers to mean anything, checked when it is loaded.

A few tokens decide: the bridge gives the model's own logits, they are numbers, a later token
changes nothing before it, every id of the tokenizer has an embedding, and its chat template renders
a question and an answer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from airlens.errors import ModelError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

log = logging.getLogger(__name__)

TEXT = "Seven ships lay in the harbour, and two more came in the night."
CHAT = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "Nine."}]
PROBE_TOKENS = 8
# Largest difference between logits, as a share of the largest of them, that is rounding (ours):
# between two kernels of attention, and between rows of the same pass.
ROUNDING = {True: 1e-3, False: 0.05}  # by whether arithmetic is fp32
SAME_PASS = {True: 1e-5, False: 0.02}


@dataclass(frozen=True)
class Reference:
    """What a Hugging Face model does before it is wrapped.

    Attributes:
        kind: the architecture's name.
        tokens: two texts [2, 8] that differ in their last four ids.
        logits: of the first text [8, V], on the CPU.
        rows: how many ids have an embedding; None where that is not known.
    """

    kind: str
    tokens: torch.Tensor
    logits: torch.Tensor
    rows: int | None


def reference(model: Any, tokenizer: Any) -> Reference:
    """Run a Hugging Face model on a few tokens.

    Raises:
        ModelError: it does not run on plain text.
    """
    kind, rows = architecture(model), embedding_rows(model)
    tokens = _two_texts(tokenizer, rows)
    device = run_device(model)
    model.eval()
    try:
        with torch.no_grad():
            out = model(input_ids=tokens[:1].to(device), use_cache=False)
            logits = out.logits[0].float().cpu()
    except Exception as error:  # whatever a model's own code raises
        raise ModelError(
            f"a {kind!r} model does not run on a text of {PROBE_TOKENS} tokens "
            f"({type(error).__name__}: {error})"
        ) from error
    return Reference(kind, tokens, logits, rows)


def check_bridge(bridge: TransformerBridge, known: Reference) -> None:
    """Hold the bridge's logits against the model's own, and look whether they are causal.

    Raises:
        ModelError: the logits differ, are no numbers, or depend on what comes later.
    """
    try:
        with torch.no_grad():
            logits = bridge(known.tokens.to(bridge.cfg.device)).float().cpu()
    except Exception as error:  # whatever TransformerLens raises where it rebuilds attention
        raise ModelError(
            f"TransformerLens wraps a {known.kind!r} model like this one, but cannot run it "
            f"({type(error).__name__}: {error})"
        ) from error
    dtype = str(bridge.cfg.dtype).removeprefix("torch.")
    if bool(torch.isnan(logits).any() | torch.isposinf(logits).any()):
        raise ModelError(
            f"the model's logits are not finite in {dtype}: load it with dtype='float32' or "
            "'bfloat16'; where they are not finite in float32 either, the weights are damaged"
        )
    exact = _is_exact(bridge.cfg.dtype)
    scale = float(logits[torch.isfinite(logits)].abs().max())
    if _differ(logits[0], known.logits) > ROUNDING[exact] * scale:
        worst = _differ(logits[0], known.logits)
        text = (
            f"TransformerLens gives a {known.kind!r} model logits that differ from its own by "
            f"{worst:.2g} in {dtype}"
        )
        if exact:
            raise ModelError(f"{text}: it cannot be scored")
        log.warning("%s: more than rounding; compare with dtype='float32'", text)
    same = PROBE_TOKENS // 2
    if _differ(logits[0, :same], logits[1, :same]) > SAME_PASS[exact] * scale:
        raise ModelError(
            f"this {known.kind!r} model is not causal: its logits change with later tokens "
            "(an encoder, a diffusion or a prefix model), and it gives no NLL of a text"
        )


def check_tokenizer(tokenizer: Any, rows: int | None) -> None:
    """See that every id has an embedding, and that the chat template renders.

    Args:
        tokenizer: the model's.
        rows: rows of the embedding.

    Raises:
        ModelError: ids of the chat template have no embedding.
    """
    rendered = _rendered(tokenizer)
    if rows is None or len(tokenizer) <= rows:
        return
    names = {i: text for text, i in tokenizer.get_vocab().items() if i >= rows}
    lacking = ", ".join(f"{text!r} ({i})" for i, text in sorted(names.items())[:5])
    lacking += ", …" if len(names) > 5 else ""
    text = (
        f"the model has embeddings for {rows} ids, and the tokenizer {len(names)} more: {lacking}"
    )
    used = sorted(set(rendered) & set(names))
    if used:
        raise ModelError(
            f"{text}; the chat template needs {', '.join(repr(names[i]) for i in used)}: train "
            "embeddings for them (resize_token_embeddings), or give the model's own tokenizer"
        )
    log.warning("%s; is it this model's? A text that holds one of them cannot be scored", text)


def architecture(model: Any) -> str:
    """The name that Hugging Face gives an architecture, such as "llama"."""
    config = getattr(model, "config", None)
    return str(getattr(config, "model_type", "") or type(model).__name__)


def embedding_rows(model: Any) -> int | None:
    """How many token ids have an embedding; None where a model does not say."""
    embedding = _embedding(model)
    weight = getattr(embedding, "weight", None)
    rows = getattr(embedding, "num_embeddings", None) or (len(weight) if weight is not None else 0)
    return int(rows) or None


def _embedding(model: Any) -> Any:
    find = getattr(model, "get_input_embeddings", None)
    try:
        return find() if find is not None else None
    except NotImplementedError:
        return None


def run_device(model: Any) -> torch.device:
    """Where a Hugging Face model takes its input ids, also where accelerate placed its parts."""
    weight = getattr(_embedding(model), "weight", None)
    device = torch.device(model.device) if weight is None else weight.device
    if device.type != "meta":
        return device
    for module in model.modules():  # offloaded: accelerate's hooks say where it runs
        where = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
        if where is not None:
            return torch.device(where)
    raise ModelError("the model's weights are on the meta device: it has none to run with")


def _two_texts(tokenizer: Any, rows: int | None) -> torch.Tensor:
    ids = [int(i) for i in tokenizer(TEXT, add_special_tokens=False)["input_ids"]]
    ids = [i for i in ids if rows is None or i < rows] or [0]
    first = (ids * PROBE_TOKENS)[:PROBE_TOKENS]
    half = PROBE_TOKENS // 2
    other = [i for i in range(rows or max(first) + 1) if i not in first[half:]][:half]
    other = (other * half)[:half] or first[:half]
    return torch.tensor([first, first[:half] + other])


def _is_exact(dtype: torch.dtype) -> bool:
    return dtype in (torch.float32, torch.float64)


def _differ(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference; equal infinities (ids that a model never predicts) do not differ."""
    return float((one - other).masked_fill(one == other, 0).abs().max())


def _rendered(tokenizer: Any) -> list[int]:
    """Ids of a question and an answer in the chat template; none where there is no template."""
    if not getattr(tokenizer, "chat_template", None):
        return []
    try:
        text = tokenizer.apply_chat_template(CHAT, tokenize=False)
        return [int(i) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
    except Exception as error:  # a template is a program of its author's
        log.warning(
            "the tokenizer's chat template fails on a plain question and answer (%s: %s): rows "
            "that need it are rejected; template='plain' does without",
            type(error).__name__,
            error,
        )
        return []
