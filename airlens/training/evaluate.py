"""How good a model is on held-out problems: NLL of reference solutions, accuracy of its answers.

NLL is the sensitive measure at small scale: it moves long before an answer changes. Intervals are
percentile bootstraps over problems, because the tokens of one problem are not independent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from airlens.analysis.statistics import bootstrap_counts, interval
from airlens.errors import AirlensError, ConfigError, DataError
from airlens.trace import Template, Trace, encode_trace, prompt_text, resolve_template

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DRAWS = 2000  # of a bootstrap


def held_out_nll(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    traces: Iterable[Trace],
    *,
    template: Template = "auto",
    max_tokens_per_batch: int = 4096,
    progress: bool = True,
) -> pd.DataFrame:
    """NLL of the reference responses, given their prompts.

    Args:
        model: a Hugging Face causal model.
        tokenizer: its own.
        traces: the problems with their reference solutions.
        template: as in :func:`~airlens.influence`.
        max_tokens_per_batch: bounds memory.
        progress: show a progress bar.

    Returns:
        One row per problem, in the order given: id, n_tokens, nll (nats, summed over the response).

    Raises:
        DataError: no trace has a response.
    """
    encoded = [encode_trace(tokenizer, trace, template) for trace in traces]
    if not any(e.n_response for e in encoded):
        raise DataError("nothing to evaluate: no trace with a response")
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].tokens))
    sums: dict[int, tuple[int, float]] = {}
    with tqdm(total=len(order), desc="held-out NLL", disable=not progress) as bar:
        for batch in _batches(order, [len(e.tokens) for e in encoded], max_tokens_per_batch):
            rows = [(encoded[i].tokens, encoded[i].response_start) for i in batch]
            sums.update(zip(batch, _nll(model, rows), strict=True))
            bar.update(len(batch))
    rows_out = [(e.trace.id, *sums[i]) for i, e in enumerate(encoded)]
    return pd.DataFrame(rows_out, columns=["id", "n_tokens", "nll"])


def per_token(problems: pd.DataFrame, seed: int = 0) -> dict[str, float]:
    """Mean NLL a token over all problems with its 95 % interval: nll, lo, hi."""
    nll, tokens = problems["nll"].to_numpy(float), problems["n_tokens"].to_numpy(float)
    drawn = bootstrap_counts(len(problems), DRAWS, seed)
    means = (drawn @ nll) / np.maximum(drawn @ tokens, 1)
    return _summary("nll", float(nll.sum() / tokens.sum()), means)


def paired_difference(ours: pd.DataFrame, theirs: pd.DataFrame, seed: int = 0) -> dict[str, float]:
    """NLL a token of ``ours`` minus ``theirs`` on the same problems, with its 95 % interval.

    Pairing takes out that some problems are harder than others. Below 0: ours is better.

    Raises:
        DataError: the problems are not the same.
    """
    if list(ours["id"]) != list(theirs["id"]):
        raise DataError("a paired difference needs the same problems in the same order")
    gap = ours["nll"].to_numpy(float) - theirs["nll"].to_numpy(float)
    tokens = ours["n_tokens"].to_numpy(float)
    drawn = bootstrap_counts(len(gap), DRAWS, seed)
    means = (drawn @ gap) / np.maximum(drawn @ tokens, 1)
    return _summary("difference", float(gap.sum() / tokens.sum()), means)


def generate_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    traces: Sequence[Trace],
    *,
    samples: int = 0,
    temperature: float = 0.7,
    max_new_tokens: int = 320,
    batch_size: int = 16,
    template: Template = "auto",
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Solutions that the model writes.

    Args:
        model: a Hugging Face causal model.
        tokenizer: its own.
        traces: the problems.
        samples: 0: one greedy solution a problem; k: as many drawn at ``temperature``.
        temperature: of the draws.
        max_new_tokens: longest solution.
        batch_size: solutions at a time. Prompts are padded on the left under an attention mask, so
            that each has the positions it would have alone.
        template: as in :func:`~airlens.influence`.
        seed: of the draws.
        progress: show a progress bar.

    Returns:
        One row per solution: id, draw, text.
    """
    import torch
    from transformers import set_seed

    if samples < 0 or max_new_tokens < 1 or batch_size < 1 or not temperature > 0:
        raise ConfigError("samples >= 0, max_new_tokens and batch_size >= 1, temperature > 0")
    chat = resolve_template(tokenizer, template) == "chat"
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "pad_token_id": pad}
    options |= (
        {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
        if samples
        else {"do_sample": False}
    )
    set_seed(seed)
    # Prompts of one length together: less padding to compute.
    jobs = [
        (
            trace.id,
            draw,
            tokenizer(prompt_text(tokenizer, trace, template), add_special_tokens=not chat)[
                "input_ids"
            ],
        )
        for trace in traces
        for draw in range(max(samples, 1))
    ]
    jobs.sort(key=lambda job: len(job[2]))
    found = []
    for first in tqdm(range(0, len(jobs), batch_size), desc="generate", disable=not progress):
        batch = jobs[first : first + batch_size]
        width = max(len(ids) for *_, ids in batch)
        ids = torch.tensor([[pad] * (width - len(i)) + i for *_, i in batch])
        mask = torch.tensor([[0] * (width - len(i)) + [1] * len(i) for *_, i in batch])
        with torch.inference_mode():
            made = model.generate(
                input_ids=ids.to(model.device), attention_mask=mask.to(model.device), **options
            )
        texts = tokenizer.batch_decode(made[:, width:], skip_special_tokens=True)
        found += [(name, draw, text) for (name, draw, _), text in zip(batch, texts, strict=True)]
    frame = pd.DataFrame(found, columns=["id", "draw", "text"])
    place = {trace.id: i for i, trace in enumerate(traces)}
    order = frame.assign(place=frame["id"].map(place)).sort_values(["place", "draw"])
    return order.drop(columns="place").reset_index(drop=True)


def score_answers(solutions: pd.DataFrame, traces: Iterable[Trace]) -> pd.DataFrame:
    """``solutions`` with the columns answer (the reference) and correct (bool).

    Raises:
        DataError: a trace has no reference answer.
        AirlensError: math-verify is not installed.
    """
    gold = {trace.id: reference_answer(trace) for trace in traces}
    answers = [gold[name] for name in solutions["id"]]
    correct = [is_correct(t, a) for t, a in zip(solutions["text"], answers, strict=True)]
    return solutions.assign(answer=answers, correct=correct)


def accuracy(scored: pd.DataFrame, seed: int = 0) -> dict[str, float]:
    """Share of correct solutions, mean over problems, with its 95 % interval: accuracy, lo, hi."""
    shares = scored.groupby("id", sort=False)["correct"].mean().to_numpy(float)
    means = (bootstrap_counts(len(shares), DRAWS, seed) @ shares) / len(shares)
    return _summary("accuracy", float(shares.mean()), means)


def reference_answer(trace: Trace) -> str:
    r"""The reference answer: ``meta["answer"]``, after ``####`` (GSM8K), or ``\boxed{…}`` (MATH).

    Raises:
        DataError: there is none.
    """
    for name in ("final_answer", "answer", "gt_answer"):
        value = trace.meta.get(name)
        if value not in (None, "") and "####" not in str(value):
            return str(value)
    found = final_answer(trace.response)
    if found is None:
        reason = f"trace {trace.id!r} has no reference answer (#### 72, or \\boxed{{72}})"
        raise DataError(reason, field="response")
    return found


def final_answer(text: str) -> str | None:
    r"""The text after the first ``####``, or inside the last ``\boxed{…}``, or None."""
    match = re.search(r"####[ \t]*([^\n]+)", text)
    if match:
        return match.group(1).strip()
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for i in range(start + len("\\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start : i + 1]
    return None


def check_math_verify() -> None:
    """Raise AirlensError if math-verify is missing; before anything that takes long."""
    try:
        import math_verify  # noqa: F401
    except ImportError as error:
        raise AirlensError(
            f"comparing answers needs math-verify ({error}): pip install 'airlens[train]'"
        ) from error


def is_correct(solution: str, answer: str) -> bool:
    """Whether a solution ends in the reference answer, compared as mathematics (math-verify).

    The final answer that a solution marks is compared, otherwise what math-verify finds in it.

    Raises:
        AirlensError: math-verify is not installed.
    """
    check_math_verify()
    from math_verify import parse, verify

    # Without their timeouts, which need the main thread.
    gold = parse(_as_maths(answer), parsing_timeout=None)
    found = parse(_as_maths(final_answer(solution) or solution), parsing_timeout=None)
    return bool(verify(gold, found, timeout_seconds=None))


def _as_maths(text: str) -> str:
    r"""A bare answer (``1,234``, ``\frac12``) as LaTeX that math-verify reads whole."""
    text = text.strip()
    bare = len(text) < 200 and "\\boxed" not in text and "\n" not in text and " " not in text
    return f"${text.replace('$', '').rstrip('.')}$" if bare else text


def _nll(
    model: PreTrainedModel, rows: Sequence[tuple[list[int], int]]
) -> Iterator[tuple[int, float]]:
    """(count, summed NLL) of the response tokens of each row, in one forward pass."""
    import torch
    from torch.nn.functional import cross_entropy

    width = max(len(tokens) for tokens, _ in rows)
    # Padded on the right with anything: a causal model does not look there, and no label is there.
    ids = torch.tensor([t + [0] * (width - len(t)) for t, _ in rows], device=model.device)
    mask = torch.tensor([[1] * len(t) + [0] * (width - len(t)) for t, _ in rows])
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask.to(ids.device)).logits
        nll = cross_entropy(logits[:, :-1].float().transpose(1, 2), ids[:, 1:], reduction="none")
    for row, (tokens, start) in zip(nll.cpu().double(), rows, strict=True):
        part = row[max(start, 1) - 1 : len(tokens) - 1]
        yield len(part), float(part.sum())


def _batches(order: Sequence[int], lengths: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Indices, shortest first, in groups whose padded size is at most ``limit`` tokens."""
    batch: list[int] = []
    for i in order:
        if not lengths[i]:
            batch.append(i)
            continue
        if batch and lengths[i] * (len(batch) + 1) > limit:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _summary(name: str, value: float, draws: np.ndarray) -> dict[str, float]:
    lo, hi = interval(draws)
    return {name: value, "lo": lo, "hi": hi}
