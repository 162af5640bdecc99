"""QRHead (arXiv 2506.09944): heads whose attention from the question goes to the right document.

c_j is the mean attention from the question's tokens to token j, less the same with the null
question "N/A"; s(d) = Σ_{j∈d} c_j · 1[c_j > mean - 2 std] over the tokens of document d drops
outliers. The score is s of the needle's document, averaged over probes. Reads the question, not
the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tqdm.auto import tqdm

from airlens.errors import ConfigError
from airlens.heads import HeadScores
from airlens.model.heads import heads_of
from airlens.provenance import provenance

from .attention_scores import LayerView, stream
from .probes import Probe, ProbeSet

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

NULL_QUERY = "N/A"
OUTLIER = 2.0
"""Standard deviations below the document's mean at which a token is an outlier (QRHead)."""


def qrhead(model: TransformerBridge, probes: ProbeSet, *, progress: bool = True) -> HeadScores:
    """QRHead score of every head, two forward passes per probe.

    Args:
        model: the bridge.
        probes: each with ``meta["query"]``, the span of its question, and ``meta["null_query"]``,
            the tokens of the same question about "N/A".
        progress: show a progress bar.

    Raises:
        ConfigError: a probe without a question.
    """
    samples = heads_of(model).zeros(len(probes))
    for i, probe in enumerate(tqdm(probes, desc="qrhead", disable=not progress)):
        asked, null = questions(probe)
        null_attention = query_attention(model, *null)
        for layer, attention in query_attention(model, *asked).items():
            found = document_score(attention - null_attention[layer]).cpu().numpy()
            samples[i, layer, : len(found)] = found
    note = provenance(
        model, probes=probes.info(), method="question rows", null_query=NULL_QUERY, outlier=OUTLIER
    )
    return HeadScores(samples.mean(axis=0), samples, "qrhead", None, note)


def questions(probe: Probe) -> tuple[tuple[Probe, int], tuple[Probe, int]]:
    """(probe cut after its question, start of the question), also with the null question."""
    if "query" not in probe.meta or "null_query" not in probe.meta:
        raise ConfigError(
            f"probe {probe.id!r} has no question: use key_value_probes or needle_probes"
        )
    start, stop = probe.meta["query"]

    def ask(question: tuple[int, ...]) -> tuple[Probe, int]:
        tokens = probe.tokens[:start] + question
        end = (len(tokens), len(tokens))
        return Probe(probe.id, tokens, probe.needle, end, probe.removable, {}), start

    return ask(probe.tokens[start:stop]), ask(tuple(probe.meta["null_query"]))


def query_attention(model: TransformerBridge, probe: Probe, start: int) -> dict[int, torch.Tensor]:
    """[H, |d|] by layer: mean attention of the tokens from ``start`` on to each of the needle's."""
    found: dict[int, torch.Tensor] = {}
    first, last = probe.needle

    def read(view: LayerView) -> None:
        found[view.layer] = view.pattern[:, :, first:last].mean(dim=1)

    stream(model, probe, (start, len(probe.tokens)), read)
    return found


def document_score(gain: torch.Tensor) -> torch.Tensor:
    """s(d) over the last axis, the tokens of the document."""
    spread = gain.std(dim=-1, keepdim=True) if gain.shape[-1] > 1 else torch.zeros_like(gain)
    kept = gain > gain.mean(dim=-1, keepdim=True) - OUTLIER * spread
    # A document whose tokens all gain the same has no outliers, but ">" alone would drop them all.
    kept |= spread == 0
    return (gain * kept).sum(dim=-1)
