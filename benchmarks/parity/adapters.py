"""One adapter for each published code: its number and ours, on the same tokens.

Each takes the folder of a checkout and the model, and gives rows: what, theirs, ours. Attention for
their functions comes from Hugging Face's eager model, not from us.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

import airlens as al
from airlens.detectors.qrhead import questions
from airlens.step_influence.ifd import ifd

from .borrowed import borrow

Row = tuple[str, float, float]


@dataclass(frozen=True)
class Models:
    """The same weights twice: our bridge, and Hugging Face's own model with eager attention."""

    ours: Any
    theirs: Any
    tokenizer: Any

    def attention(self, tokens: list[int]) -> tuple[torch.Tensor, ...]:
        """Of each layer, [1, H, T, T]."""
        with torch.no_grad():
            found = self.theirs(torch.tensor([tokens]), output_attentions=True).attentions
        return tuple(found)


def traces() -> list[al.Trace]:
    """Three bundled texts, one of a domain each."""
    every = al.load_traces(al.data_path("traces.jsonl"))
    return list({trace.domain: trace for trace in every}.values())[:3]


def rank_surprisal_ratio(checkout: Path, models: Models) -> Iterator[Row]:
    """RSR (2601.14249), rsr_cal.py: inference, clip and ratio of a chat of two messages."""
    utils = borrow(checkout / "rsr_utils.py", "_scan_response_positions", List=list)
    own = borrow(
        checkout / "rsr_cal.py",
        *("ASSISTANT_MARKERS", "_process_messages", "infer_dataset", "compute_sample_metrics"),
        torch=torch,
        json=json,
        sys=sys,
        tqdm=lambda items, **_: items,
        _scan_response_positions=utils["_scan_response_positions"],
        List=list,
        Dict=dict,
        Tuple=tuple,
    )
    chosen = traces()
    rows = [
        {
            "id": trace.id,
            "messages": [
                {"role": "user", "content": trace.prompt},
                {"role": "assistant", "content": trace.response},
            ],
        }
        for trace in chosen
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.json"
        path.write_text(json.dumps(rows), encoding="utf-8")
        found = own["infer_dataset"](models.theirs, models.tokenizer, path, 2)
    _, metrics = own["compute_sample_metrics"](found)
    theirs = {row["sample_id"]: row["rank_surprisal_ratio"] for row in metrics}
    ours = al.influence(models.ours, chosen, "", controls=0, progress=False).samples
    for row in ours.itertuples():
        yield f"RSR of {row.id}", theirs[row.id], float(row.rsr)


def cherry_llm(checkout: Path, models: Models) -> Iterator[Row]:
    """IFD (2308.12032), cherry_seletion/data_analysis.py: losses with and without the prompt.

    Their unconditioned text begins with "### Response:", ours with nothing.
    """
    own = borrow(
        checkout / "cherry_seletion" / "data_analysis.py",
        "get_perplexity_and_embedding_part_text",
        torch=torch,
        device="cpu",
        log_softmax=torch.nn.LogSoftmax(dim=-1),
        nll_loss=torch.nn.NLLLoss(reduction="none"),
    )
    losses = own["get_perplexity_and_embedding_part_text"]
    tokens = models.tokenizer
    for trace in traces():
        prompt = trace.prompt + "\n\n### Response:"
        mine = al.Trace(trace.id, prompt, trace.response)
        scored = al.influence(models.ours, mine, "", controls=0, template="plain", progress=False)
        row = ifd(models.ours, [mine], scored).iloc[0]
        whole, direct = f"{prompt}\n{trace.response}", "### Response:" + trace.response
        means = []
        for text in (whole, direct):
            _, _, each = losses(tokens, models.theirs, text, trace.response, 4096)
            n = len(tokens.encode(text[: text.rfind(trace.response)]))
            means.append(float(np.mean(each[n - 1 :])))
        yield f"L(y given x) of {trace.id}", means[0], float(scored.samples["loss_base"][0])
        yield f"L(y) of {trace.id}", means[1], float(row["loss_alone"])
        yield f"IFD of {trace.id}", means[0] / means[1], float(row["ifd"])


def retrieval_head(checkout: Path, models: Models) -> Iterator[Row]:
    """Retrieval score (2404.15574), retrieval_head_detection.py, teacher-forced on our probes.

    Theirs decodes greedily and stops at a newline; its counting is given the answer's tokens here.
    """
    own = borrow(
        checkout / "retrieval_head_detection.py", "LLMNeedleHaystackTester.retrieval_calculate"
    )
    probes = al.key_value_probes(models.tokenizer, n=2, max_tokens=500, seed=0)
    shape = models.ours.cfg.n_layers, models.ours.cfg.n_heads
    ours = al.retrieval_scores(models.ours, probes, progress=False)
    for i, probe in enumerate(probes):
        attention = models.attention(list(probe.tokens))
        score = [[[0, ""] for _ in range(shape[1])] for _ in range(shape[0])]
        here = SimpleNamespace(
            layer_num=shape[0],
            head_num=shape[1],
            needle_start=probe.needle[0],
            needle_end=probe.needle[1],
            prompt_ids=torch.tensor(probe.tokens),
        )
        for t in range(*probe.answer):
            rows = [layer[:, :, :t, :t] for layer in attention]
            token = torch.tensor(probe.tokens[t])
            own["retrieval_calculate"](here, rows, score, token, "")
        theirs = np.array([[cell[0] for cell in layer] for layer in score])
        worst = np.unravel_index(np.argmax(np.abs(theirs - ours.samples[i])), theirs.shape)
        name = f"L{worst[0]}H{worst[1]}, the head that differs most, on probe {probe.id}"
        yield name, float(theirs[worst]), float(ours.samples[i][worst])
        best = np.unravel_index(np.argmax(theirs), theirs.shape)
        name = f"L{best[0]}H{best[1]}, its best head, on probe {probe.id}"
        yield name, float(theirs[best]), float(ours.samples[i][best])


def qrhead(checkout: Path, models: Models) -> Iterator[Row]:
    """QRHead (2506.09944), attn_retriever.py: calibration, outliers and sum for one document."""
    own = borrow(
        checkout / "src" / "qrretriever" / "attn_retriever.py",
        "AttnBasedRetriever.score_docs_per_head_for_detection",
        torch=torch,
    )
    probes = al.key_value_probes(models.tokenizer, n=2, max_tokens=500, seed=0)
    ours = al.detect(models.ours, probes, "qrhead", progress=False)
    for i, probe in enumerate(probes):
        asked = [(list(text.tokens), start) for text, start in questions(probe)]
        cache = SimpleNamespace(key_cache=[], value_cache=[], _seen_tokens=0)
        calls = iter(asked)

        def compose(query: str, docs: Any, probe: Any = probe, asked: Any = asked) -> Any:
            tokens, start = asked[0] if query else asked[1]
            last = probe.needle[1] - 1  # the end of a span is its last token, there
            return "", tokens, (start, len(tokens) - 1), [(probe.needle[0], last)]

        def attend(*_: Any, calls: Any = calls, cache: Any = cache) -> Any:
            tokens, start = next(calls)
            layers = [layer[0, :, start:, :start].mean(dim=1) for layer in models.attention(tokens)]
            return torch.stack(layers), cache

        here = SimpleNamespace(
            compose_scoring_prompt=compose,
            score_per_token_attention_to_query=attend,
            null_query="",
        )
        found = own["score_docs_per_head_for_detection"](here, "asked", [{"idx": 0}])
        theirs = found[0].numpy()
        worst = np.unravel_index(np.argmax(np.abs(theirs - ours.samples[i])), theirs.shape)
        name = f"L{worst[0]}H{worst[1]}, the head that differs most, on probe {probe.id}"
        yield name, float(theirs[worst]), float(ours.samples[i][worst])


Adapter = Callable[[Path, Models], Iterator[Row]]

# Name, repository, revision that was seen, adapter.
ADAPTERS: dict[str, tuple[str, str, Adapter]] = {
    "rsr": ("UmeanNever/RankSurprisalRatio", "1c908ee", rank_surprisal_ratio),
    "cherry": ("tianyi-lab/Cherry_LLM", "01fac8d", cherry_llm),
    "retrieval_head": ("nightdessert/Retrieval_Head", "3ac171a", retrieval_head),
    "qrhead": ("princeton-pli/QRHead", "7a668e7", qrhead),
}
