"""Wu et al.'s retrieval score as in their code: during greedy decoding, of answered probes only.

A head scores at a step if it copies the token being generated out of the needle. Hits, repeats
included, over the length of the answer; only probes that the model answers count.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from airlens.errors import DataError
from airlens.heads import HeadScores
from airlens.model.heads import heads_of
from airlens.provenance import provenance

from .attention_scores import LayerView, stream
from .copying import copied
from .greedy_decoding import MAX_STEPS, MIN_RECALL, greedy
from .probes import Probe, ProbeSet

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def retrieval_greedy(
    model: TransformerBridge,
    probes: ProbeSet,
    *,
    max_steps: int = MAX_STEPS,
    min_recall: float = MIN_RECALL,
    progress: bool = True,
) -> HeadScores:
    """Retrieval score of every head over greedily decoded answers.

    The answer is generated with a key-value cache; one more pass over prompt and answer then gives
    the same attention rows as the decoding steps.

    Args:
        model: the bridge.
        probes: the probes.
        max_steps: most decoding steps.
        min_recall: a probe counts if its ROUGE-1 recall is above this.
        progress: show a progress bar.

    Returns:
        Scores over the probes that counted; the provenance has the recall of each probe.

    Raises:
        DataError: the model answered none of the probes.
    """
    samples, recalls = [], {}
    for probe in tqdm(probes, desc="greedy decoding", disable=not progress):
        said = greedy(model, probe, max_steps)
        recalls[probe.id] = round(said.recall, 4)
        if said.recall > min_recall and said.tokens:
            samples.append(_copied_share(model, probe, said.tokens))
    if not samples:
        raise DataError(
            f"the model answers none of the {len(probes)} probes with a ROUGE-1 recall above "
            f"{min_recall}: use shorter probes, or the teacher-forced detector 'retrieval'"
        )
    note = provenance(
        model, probes=probes.info(), method="greedy", min_recall=min_recall, recall=recalls
    )
    found = np.stack(samples)
    return HeadScores(found.mean(axis=0), found, "retrieval_greedy", None, note)


def _copied_share(model: TransformerBridge, probe: Probe, said: tuple[int, ...]) -> np.ndarray:
    """Steps at which each head copied the generated token, over the answer's length: [L, H]."""
    start, stop = probe.answer
    full = replace(probe, tokens=(*probe.tokens[:start], *said), answer=(start, start + len(said)))
    shares = heads_of(model).zeros()

    def read(view: LayerView) -> None:
        hits = copied(view.pattern, view.tokens, view.target, probe.needle)
        shares[view.layer, : len(hits)] = hits.sum(dim=-1).cpu().numpy() / (stop - start)

    stream(model, full, (start - 1, start + len(said) - 1), read)
    return shares
