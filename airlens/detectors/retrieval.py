"""Retrieval heads: which heads attend to a token of the needle just when it is to be copied.

Wu et al. (arXiv 2404.15574 §2), AttentionInfluence eq. 1-4, AIR. A head copies token x_t of the
answer when the position it attends to most, from the query position t-1 that predicts x_t, lies in
the needle and holds x_t. R_h is the share of answer tokens that it copies. The first answer token
(lookup) and the later ones (continuation) are also scored apart (ours): nothing in the answer tells
what the first one is, the later ones an induction head can copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm.auto import tqdm

from airlens.ablation import active_ablation
from airlens.arguments import checked
from airlens.detectors.fast_probes import read_probes as fast_probes
from airlens.errors import ConfigError, NumbersError
from airlens.heads import HeadScores
from airlens.losses.choice import Engine, choose_engine
from airlens.model.heads import heads_of, need_all_read
from airlens.model.load import learnt_positions
from airlens.model.state import forward, not_finite, running
from airlens.provenance import provenance

from .copying import CopyShares, Predicted, copied, hits_and_nll
from .probes import Probe, ProbeSet

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class CopyResult:
    """How well a model copies.

    Attributes:
        accuracy: share of answer tokens that are the model's most likely token, over all probes.
        nll: mean NLL of the answer tokens, nats.
        samples: accuracy per probe, fp32 [P].
    """

    accuracy: float
    nll: float
    samples: np.ndarray


@checked
def retrieval_scores(
    model: TransformerBridge, probes: ProbeSet, *, engine: Engine = "auto", progress: bool = True
) -> HeadScores:
    """Retrieval score of every head, teacher-forced: one forward pass a probe.

    Keeps the answer rows of one layer's pattern at a time, never all layers' [T, T].

    Args:
        model: the bridge, without ablation.
        probes: e.g. from :func:`~airlens.detectors.key_value_probes.key_value_probes`.
        engine: ``hooks``, ``fast``, or ``auto``: the fast one where it can run
            (:mod:`airlens.losses.fast`).
        progress: show a progress bar.

    Returns:
        Scores in [0, 1], NaN in layers without attention, and the copy accuracy of the same passes;
        both again in its ``parts``, for "lookup" and "continuation".

    Raises:
        AblationError: the model has no heads, or their attention cannot be read.
        NumbersError: the model gave NaN or infinity for an answer.
    """
    need_readable(model, probes)
    shares = CopyShares(heads_of(model), len(probes))
    bar = tqdm(total=len(probes), desc="retrieval scores", disable=not progress)
    with bar, running(model):
        chosen = choose_engine(model, engine, longest=longest_of(probes))
        if chosen == "fast":
            predicted = fast_probes(model, probes.probes, shares=shares, on_progress=bar.update)
        else:
            predicted = []
            for i, probe in enumerate(probes):
                predicted.append(_score_probe(model, probe, i, shares))
                bar.update(1)
        check_predictions(model, predicted)
    method = {"method": "teacher-forced", "query_position": "t-1", "engine": chosen}
    note = provenance(model, probes=probes.info(), **method)
    right = [correct for correct, _ in predicted]
    later = [correct[1:] for correct in right]
    longer = np.array([len(correct) > 0 for correct in later], dtype=bool)
    parts = {"lookup": _scores(shares.lookup, [correct[:1] for correct in right], note)}
    if longer.any():
        parts["continuation"] = _scores(shares.continuation[longer], later, note)
    return replace(_scores(shares.whole, right, note), parts=parts)


def _scores(samples: np.ndarray, right: Sequence[torch.Tensor], note: dict[str, Any]) -> HeadScores:
    """Scores from shares [P, L, H], and from whether the model was right at each token."""
    hits, total = (sum(int(f(c)) for c in right) for f in (torch.sum, torch.numel))
    return HeadScores(samples.mean(axis=0), samples, "retrieval", hits / max(total, 1), note)


def need_readable(model: TransformerBridge, probes: Sequence[Probe] | ProbeSet) -> None:
    """Raise unless the model can read the probes.

    Raises:
        ConfigError: they were made with another model's tokenizer, or are too long.
    """
    known, longest = int(model.cfg.d_vocab), int(model.cfg.n_ctx)
    for probe in probes:
        if max(probe.tokens) >= known:
            raise ConfigError(
                f"probe {probe.id!r} has the token {max(probe.tokens)}, the model knows {known}: "
                "make the probes with this model's tokenizer"
            )
        if len(probe.tokens) > longest and learnt_positions(model):
            raise ConfigError(
                f"probe {probe.id!r} has {len(probe.tokens)} tokens, the model reads {longest} at "
                "most: make shorter probes"
            )


def _score_probe(
    model: TransformerBridge, probe: Probe, index: int, shares: CopyShares
) -> Predicted:
    """Fill ``shares`` with what each head copies of the probe of that index."""
    start, stop = probe.answer
    tokens = torch.tensor([probe.tokens], device=model.cfg.device)

    def read(pattern: torch.Tensor, hook: Any, layer: int) -> None:
        rows = pattern[0, :, start - 1 : stop - 1]
        here = tokens[0].to(rows.device)  # where layers lie on several devices
        shares.fill(index, layer, copied(rows, here, here[start:stop], probe.needle))
        seen.add(layer)

    seen: set[int] = set()
    layers = heads_of(model).layers
    hooks = [(f"blocks.{i}.attn.hook_pattern", partial(read, layer=i)) for i in layers]
    with model.hooks(fwd_hooks=hooks):
        predicted = answer_predictions(model, probe)
    need_all_read(model, seen)
    return predicted


def answer_predictions(model: TransformerBridge, probe: Probe) -> Predicted:
    """Whether each answer token is the most likely one (bool [n]), and its NLL (fp32 [n], nats)."""
    start, stop = probe.answer
    tokens = torch.tensor([probe.tokens], device=model.cfg.device)
    logits = forward(model, tokens, check=False)[0, start - 1 : stop - 1].float()
    target = tokens[0, start:stop].to(logits.device)
    return hits_and_nll(logits, target)


def all_predictions(
    model: TransformerBridge, probes: Sequence[Probe], engine: Engine = "auto"
) -> list[Predicted]:
    """:func:`answer_predictions` of each probe, by the engine that can."""
    with running(model):
        ablation = active_ablation(model)
        longest = longest_of(probes)
        if choose_engine(model, engine, ablation=ablation, longest=longest) == "fast":
            found = list(fast_probes(model, probes, ablation=ablation))
        else:
            found = [answer_predictions(model, probe) for probe in probes]
        check_predictions(model, found)
    return found


def longest_of(probes: Iterable[Probe]) -> int:
    """Tokens of the longest probe."""
    return max((len(probe.tokens) for probe in probes), default=0)


def check_predictions(model: TransformerBridge, predicted: Sequence[Predicted]) -> None:
    """Raise :class:`NumbersError` where the NLL of a probe's answer is NaN or infinite."""
    for item, (_, nll) in enumerate(predicted):
        wrong = ~torch.isfinite(nll)
        if wrong.any():
            token = int(wrong.nonzero()[0])
            place = f"probe {item}, token {token} of its answer"
            kind = "NaN" if nll[token].isnan() else "infinity"
            raise NumbersError(not_finite(model, kind), place=place, item=item, token=token)


@checked
def copy_accuracy(
    model: TransformerBridge,
    probes: ProbeSet,
    *,
    needle_removed: bool = False,
    engine: Engine = "auto",
) -> CopyResult:
    """Token-level copy accuracy, teacher-forced; inside ``ablated(...)`` that of the ablated model.

    ``needle_removed`` cuts the needle from the context: what is left is guessing, the floor. The
    other arguments are those of :func:`retrieval_scores`.
    """
    need_readable(model, probes)
    asked = [p.without_needle() if needle_removed else p for p in probes]
    predicted = all_predictions(model, asked, engine)
    samples = np.asarray([float(hit.float().mean()) for hit, _ in predicted], np.float32)
    accuracy = float(torch.cat([hit.float() for hit, _ in predicted]).mean())
    return CopyResult(accuracy, float(torch.cat([nll for _, nll in predicted]).mean()), samples)
