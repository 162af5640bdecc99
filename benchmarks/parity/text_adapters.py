"""Adapters of code that scores whole texts: RSR, Cherry LLM."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import airlens as al
from airlens.step_influence.ifd import ifd

from .borrowed import borrow
from .models import Models, Row, traces


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
