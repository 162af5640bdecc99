"""How retrieval heads come about: a tiny transformer trained here, its head map over checkpoints.

AttentionInfluence's figure 2 at a scale anybody can repeat. The training data are random tokens in
which a span is said twice, so that the only thing to learn is to copy it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from airlens.detectors.detect import detect
from airlens.detectors.induction import repeated_ids
from airlens.detectors.probes import ProbeSet
from airlens.errors import ConfigError
from airlens.provenance import provenance

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Emergence:
    """Heads and losses over training.

    Attributes:
        heads: step, layer, head, name, score; one row a checkpoint and head.
        losses: step, loss, loss_repeated (nats per token: all tokens; those of the repetition).
        provenance: settings and versions.
    """

    heads: pd.DataFrame
    losses: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)


def head_history(
    checkpoints: Iterable[tuple[int, TransformerBridge]],
    probes: ProbeSet,
    detector: str = "retrieval",
) -> pd.DataFrame:
    """Head scores at each checkpoint: step, layer, head, name, score.

    Args:
        checkpoints: training step and model, e.g. from :func:`train_tiny` or
            :func:`pythia_checkpoints`; each is scored before the next is asked for.
        probes: the same for all.
        detector: see :data:`~airlens.detectors.detect.DETECTORS`.
    """
    frames = []
    for step, model in checkpoints:
        frame = detect(model, probes, detector, progress=False).to_frame()
        frame.insert(0, "step", step)
        frames.append(frame[["step", "layer", "head", "name", "score"]])
    if not frames:
        raise ConfigError("no checkpoints to score")
    return pd.concat(frames, ignore_index=True)


def pythia_checkpoints(
    name: str = "EleutherAI/pythia-70m", indices: Iterable[int] = (0, 8, 11, 13, 20, 60, 153)
) -> Iterator[tuple[int, TransformerBridge]]:
    """Published training checkpoints, by TransformerLens' ``checkpoint_index``; needs the hub.

    The hub keeps Pythia's checkpoints as revisions ``step0`` … ``step143000``; the index counts
    them as TransformerLens does.

    Raises:
        ModelError: not reachable.
    """
    from airlens.model.load import load_model

    steps = [0, *(2**i for i in range(10)), *range(1000, 143_001, 1000)]
    for index in indices:
        if not 0 <= index < len(steps):
            raise ConfigError(f"checkpoint_index={index}: Pythia has 0 to {len(steps) - 1}")
        yield steps[index], load_model(name, revision=f"step{steps[index]}")


@dataclass(frozen=True)
class TinySettings:
    """The tiny transformer and its training (ours): a Llama of 2 layers, 4 heads.

    A sequence is ``length`` random tokens of ``vocab``; from a random place on, a span of ``span``
    tokens seen before is said again, so copying is learned and not a fixed distance.
    """

    steps: int = 1500
    checkpoints: int = 31
    batch: int = 16
    length: int = 48
    span: int = 16
    vocab: int = 32
    width: int = 64
    layers: int = 2
    heads: int = 4
    rate: float = 3e-3
    seed: int = 0


def emergence(
    settings: TinySettings | None = None,
    *,
    detector: str = "induction",
    probes: int = 8,
    progress: bool = True,
) -> Emergence:
    """Train the tiny transformer (one to two minutes on a CPU) and score its heads on the way.

    Args:
        settings: of model, data and training; the same settings give the same run.
        detector: scored at every checkpoint.
        probes: repeated-token probes, not seen in training.
        progress: show a progress bar.
    """
    settings = settings or TinySettings()
    half = settings.length // 2
    watched = repeated_ids(list(range(settings.vocab)), probes, half, seed=settings.seed + 1)
    losses: list[dict[str, float]] = []
    heads = head_history(train_tiny(settings, losses, progress=progress), watched, detector)
    note = provenance(
        training=vars(settings), detector=detector, probes=watched.info(), data="repeated spans"
    )
    return Emergence(heads, pd.DataFrame(losses), note)


def train_tiny(
    settings: TinySettings, losses: list[dict[str, float]], *, progress: bool = True
) -> Iterator[tuple[int, TransformerBridge]]:
    """Train, giving (step, model) at checkpoints; ``losses`` fills on the way.

    The random generators are the settings' own: the global one is left alone.
    """
    from tqdm.auto import tqdm
    from transformers import LlamaForCausalLM

    from airlens.model.load import load_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = LlamaForCausalLM(_config(settings))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=0.01)
    rng = np.random.default_rng(settings.seed)
    kept = checkpoint_steps(settings.steps, settings.checkpoints)
    for step in tqdm(range(settings.steps + 1), desc="training", disable=not progress):
        tokens, repeated = repeated_spans(settings, rng)
        loss, nll = _loss(model, tokens)
        mean = float(nll.mean())
        losses.append({"step": step, "loss": mean, "loss_repeated": float(nll[repeated].mean())})
        if step in kept:
            yield step, load_model(_copy(model), tokenizer=_no_tokenizer(settings), device="cpu")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * min(1.0, (step + 1) / 100)
        optimizer.step()


def checkpoint_steps(steps: int, count: int) -> set[int]:
    """About ``count`` steps from 0 to ``steps``, evenly spaced."""
    return {round(steps * i / max(count - 1, 1)) for i in range(count)} | {steps}


def repeated_spans(
    settings: TinySettings, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [B, T], and which targets [B, T-1] can be copied (the repetition but its first)."""
    size, span = settings.length, settings.span
    if size < 2 * span:
        raise ConfigError(f"length={size} has no room for a span of {span} said twice")
    tokens = rng.integers(settings.vocab, size=(settings.batch, size))
    repeated = np.zeros((settings.batch, size), dtype=bool)
    for row, marks in zip(tokens, repeated, strict=True):
        again = int(rng.integers(span, size - span + 1))
        source = int(rng.integers(0, again - span + 1))
        row[again : again + span] = row[source : source + span]
        marks[again + 1 : again + span] = True
    return torch.from_numpy(tokens), torch.from_numpy(repeated[:, 1:])


def _loss(model: Any, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean loss with its graph, NLL [B, T-1] without), nats."""
    logits = model(tokens).logits[:, :-1]
    flat = logits.reshape(-1, logits.shape[-1])
    nll = torch.nn.functional.cross_entropy(flat, tokens[:, 1:].reshape(-1), reduction="none")
    return nll.mean(), nll.detach().reshape(tokens.shape[0], -1)


def _config(settings: TinySettings) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=settings.vocab,
        hidden_size=settings.width,
        intermediate_size=2 * settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=4 * settings.length,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )


def _copy(model: Any) -> Any:
    """The bridge takes a model over, so training goes on with another."""
    import copy

    return copy.deepcopy(model).eval()


def _no_tokenizer(settings: TinySettings) -> Any:
    """A word-level tokenizer of "0" … "31": the bridge asks for one."""
    from tokenizers import Tokenizer, models
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({str(i): i for i in range(settings.vocab)}, unk_token="0"))
    inner.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="0", pad_token="0", bos_token="0", eos_token="0"
    )
