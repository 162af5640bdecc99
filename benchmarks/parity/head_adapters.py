"""Adapters of code that scores or ablates heads."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

import airlens as al
from airlens.detectors.greedy_decoding import greedy, rouge1_recall
from airlens.detectors.induction import repeated_probes
from airlens.detectors.probes import Probe
from airlens.detectors.qrhead import questions
from airlens.traces.model_encoding import encode_for

from .borrowed import borrow
from .models import Models, Row, traces, two_probes


def heads_apart(theirs: np.ndarray, ours: np.ndarray, probe: str) -> Iterator[Row]:
    """Of scores [L, H]: the head that differs most, and the one that they put first."""
    places = {
        "the head that differs most": np.abs(theirs - ours).argmax(),
        "its best head": theirs.argmax(),
    }
    for what, place in places.items():
        layer, head = (int(x) for x in np.unravel_index(place, theirs.shape))
        name = f"L{layer}H{head}, {what}, on probe {probe}"
        yield name, float(theirs[layer, head]), float(ours[layer, head])


def counted(count: Callable[..., Any], probe: Probe, models: Models) -> np.ndarray:
    """Scores [L, H] by Retrieval_Head's ``retrieval_calculate``, or by what HeadKV made of it.

    It is called once a token of the answer, and adds up.
    """
    attention = models.attention(list(probe.tokens))
    layers, heads = len(attention), attention[0].shape[1]
    score = [[[0, ""] for _ in range(heads)] for _ in range(layers)]
    here = SimpleNamespace(
        layer_num=layers,
        head_num=heads,
        needle_start=probe.needle[0],
        needle_end=probe.needle[1],
        prompt_ids=torch.tensor(probe.tokens),
    )
    for t in range(*probe.answer):
        rows = [layer[:, :, :t, :t] for layer in attention]
        count(here, rows, score, torch.tensor(probe.tokens[t]), "")
    return np.array([[cell[0] for cell in layer] for layer in score])


def retrieval_head(checkout: Path, models: Models) -> Iterator[Row]:
    """Retrieval score (2404.15574), retrieval_head_detection.py, teacher-forced on our probes.

    Theirs decodes greedily and stops at a newline; its counting is given the answer's tokens here.
    """
    own = borrow(
        checkout / "retrieval_head_detection.py", "LLMNeedleHaystackTester.retrieval_calculate"
    )
    probes = two_probes(models)
    ours = al.retrieval_scores(models.ours, probes, progress=False)
    for i, probe in enumerate(probes):
        theirs = counted(own["retrieval_calculate"], probe, models)
        yield from heads_apart(theirs, ours.samples[i], probe.id)


def qrhead(checkout: Path, models: Models) -> Iterator[Row]:
    """QRHead (2506.09944), attn_retriever.py: calibration, outliers and sum for one document."""
    own = borrow(
        checkout / "src" / "qrretriever" / "attn_retriever.py",
        "AttnBasedRetriever.score_docs_per_head_for_detection",
        torch=torch,
    )
    probes = two_probes(models)
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
        yield from heads_apart(theirs, ours.samples[i], probe.id)


def head_kv(checkout: Path, models: Models) -> Iterator[Row]:
    """Retrieval-reasoning heads (2410.19258), retrieval_head_detection_r2.py, and its F1 gate.

    Its counting is given the answer's tokens, as in Retrieval_Head. A probe counts there where the
    word F1 of what the model says is above 50 %, in ours (Wu et al.) where ROUGE-1 recall is.
    """
    home = checkout / "Important_Head"
    own = borrow(
        home / "retrieval_head_detection_r2.py", "LLMNeedleHaystackTester.retrieval_calculate"
    )
    gate = borrow(
        home / "metrics.py",
        *("normalize_answer", "f1_score", "qa_f1_score"),
        re=re,
        string=string,
        Counter=Counter,
    )["qa_f1_score"]
    probes = two_probes(models)
    ours = al.detect(models.ours, probes, "retrieval_reasoning", progress=False)
    for i, probe in enumerate(probes):
        theirs = counted(own["retrieval_calculate"], probe, models)
        yield from heads_apart(theirs, ours.samples[i], probe.id)
        said = greedy(models.ours, probe)
        wanted = str(models.tokenizer.decode(probe.answer_tokens))
        what = f"gate: F1, and recall, of what is said on probe {probe.id}"
        yield what, gate(said.text, wanted), said.recall
    wordy = f"As far as I can tell from the book I was given, it says {wanted} That is all I know."
    what = "gate: F1, and recall, of the same answer in a long sentence"
    yield what, gate(wordy, wanted), rouge1_recall(wanted, wordy)


def locos(checkout: Path, models: Models) -> Iterator[Row]:
    """LOCOS (2607.01002): contributions to the logit of detectors/logit_contrib.py, and the "zero
    ablation" of analysis/nolima_ablation.py.
    """
    score = borrow(
        checkout / "locos" / "detectors" / "logit_contrib.py",
        *("get_o_proj_weights", "get_unembedding_matrix", "compute_logit_contribution_per_step"),
        torch=torch,
        np=np,
        get_decoder_layers=lambda model: model.model.layers,
    )
    zero = borrow(checkout / "locos" / "analysis" / "nolima_ablation.py", "make_zero_hook")
    config, model = models.theirs.config, models.theirs
    n_layers, n_heads = int(config.num_hidden_layers), int(config.num_attention_heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // n_heads)
    weights, _ = score["get_o_proj_weights"](model, n_layers, n_heads, size)
    unembed = score["get_unembedding_matrix"](model)
    probes = two_probes(models)
    ours = al.detect(models.ours, probes, "locos", progress=False)
    for i, probe in enumerate(probes):
        attention, values = models.attention(list(probe.tokens)), _values(models, probe.tokens)
        theirs = np.zeros((n_layers, n_heads))
        steps = range(*probe.answer)
        for t in steps:
            for layer in range(n_layers):
                needle, off = score["compute_logit_contribution_per_step"](
                    attn_weights=attention[layer][0, :, t - 1, :t],
                    value_cache=values[layer][:, :t],
                    o_proj_weight=weights[layer],
                    u_y=unembed[probe.tokens[t]],
                    num_heads=n_heads,
                    num_kv_heads=values[layer].shape[0],
                    needle_start=probe.needle[0],
                    needle_end=probe.needle[1],
                    context_len=t,
                )
                theirs[layer] += (needle - off) / len(steps)
        yield from heads_apart(theirs, ours.samples[i], probe.id)
    heads = ours.top(5)
    handles = [
        model.model.layers[layer].self_attn.q_proj.register_forward_hook(
            zero["make_zero_hook"](some, n_heads, size)
        )
        for layer, some in heads.by_layer().items()
    ]
    try:
        theirs_off = [mean_loss(models, trace, models.logits) for trace in traces()]
    finally:
        for handle in handles:
            handle.remove()
    off = al.influence(models.ours, traces(), heads, mode="uniform", controls=0, progress=False)
    for trace, loss, mine in zip(traces(), theirs_off, off.samples["loss_ref"], strict=True):
        yield f"loss of {trace.id}, five heads with zero queries (ours: uniform)", loss, float(mine)


def transformer_lens(checkout: Path, models: Models) -> Iterator[Row]:
    """TransformerLens as it is installed: ``head_detector``, and ablation by hooks of one's own."""
    from transformer_lens.head_detector import detect_head

    half = 50
    probe = repeated_probes(models.tokenizer, n=1, half=half).probes[0]
    ours = al.detect(models.ours, al.ProbeSet((probe,), "repeated"), "induction", progress=False)
    # Its rows are those of every token, of which the last ones of the repetition are induction: the
    # last of all, which predicts nothing here, is left out.
    tokens = torch.tensor([probe.tokens[:-1]])
    model = SimpleNamespace(
        cfg=models.ours.cfg,
        to_tokens=lambda _: tokens,
        run_with_cache=models.ours.run_with_cache,
    )
    with torch.no_grad():
        share = detect_head(model, "", "induction_head").numpy()  # type: ignore[arg-type]
    yield from heads_apart(share * tokens.shape[1] / (half - 1), ours.samples[0], probe.id)
    heads = ours.top(5)
    hooks: dict[str, tuple[str, Callable[..., torch.Tensor]]] = {
        "zero": ("hook_z", _zeroed),
        "uniform": ("hook_pattern", _even),
    }
    for mode, (point, edit) in hooks.items():
        edits = [
            (f"blocks.{layer}.attn.{point}", partial(edit, heads=some))
            for layer, some in heads.by_layer().items()
        ]

        def logits(tokens: list[int], edits: Any = edits) -> torch.Tensor:
            with torch.no_grad():
                found = models.ours.run_with_hooks(torch.tensor([tokens]), fwd_hooks=edits)
            return found[0].float()

        off = al.influence(models.ours, traces(), heads, mode=mode, controls=0, progress=False)
        for trace, mine in zip(traces(), off.samples["loss_ref"], strict=True):
            what = f"loss of {trace.id}, five heads {mode} by {point}"
            yield what, mean_loss(models, trace, logits), float(mine)


def _zeroed(z: torch.Tensor, hook: Any, heads: list[int]) -> torch.Tensor:
    z[:, :, heads] = 0  # [B, T, H, D]
    return z


def _even(pattern: torch.Tensor, hook: Any, heads: list[int]) -> torch.Tensor:
    seen = torch.ones_like(pattern[0, 0]).tril()
    pattern[:, heads] = seen / seen.sum(dim=-1, keepdim=True)  # [B, H, T, T]
    return pattern


def mean_loss(
    models: Models, trace: al.Trace, logits: Callable[[list[int]], torch.Tensor]
) -> float:
    """Mean NLL of the tokens of a response, from the logits [T, V] of all tokens."""
    encoded = encode_for(models.ours, [trace])[0]
    tokens, begin = list(encoded.tokens), encoded.response_start
    losses = torch.nn.functional.cross_entropy(
        logits(tokens)[begin - 1 : -1], torch.tensor(tokens[begin:])
    )
    return float(losses)


def _values(models: Models, tokens: Any) -> list[torch.Tensor]:
    """Values of each layer, [K, T, D], as the cache has them."""
    with torch.no_grad():
        cache = models.theirs(torch.tensor([list(tokens)]), use_cache=True).past_key_values
    return [layer.values[0] for layer in cache.layers]
