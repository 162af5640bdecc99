"""Evaluation on held-out problems: NLL of reference solutions, accuracy of a model's answers.

NLL is the more sensitive measure at small scale: it changes long before an answer does. Intervals
are over problems, because the tokens of one problem are not independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from airlens.arguments import checked
from airlens.errors import DataError, NumbersError
from airlens.losses.batches import groups
from airlens.losses.hooks import nll_and_entropy
from airlens.model.checks import embedding_rows
from airlens.model.weights import moving_rotary
from airlens.statistics.estimates import Estimate
from airlens.statistics.grids import grid_of, mean_of, proportion_of, ratio_grid
from airlens.traces.answers import final_answer as final_answer
from airlens.traces.answers import reference_answer as reference_answer
from airlens.traces.chat_template import Template, Think
from airlens.traces.encoding import EncodedTrace, encode_trace, encode_traces
from airlens.traces.model_encoding import need_embedded
from airlens.traces.skipped import OnError, Skipped, usable
from airlens.traces.trace import Trace

from .answers import check_math_verify as check_math_verify
from .answers import is_correct as is_correct
from .generation import generate_answers as generate_answers
from .generation import prompt_ids
from .packing_check import positions_limit

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def usable_problems(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    traces: Iterable[Trace],
    *,
    answers: bool = False,
    template: Template = "auto",
    think: Think = "auto",
    on_error: OnError = "raise",
) -> tuple[list[Trace], list[Skipped]]:
    """The problems that can be evaluated, and the others with the reason.

    Args:
        model: a Hugging Face causal model.
        tokenizer: its own.
        traces: problems with reference solutions.
        answers: solutions will be generated too, and compared with reference answers.
        template: as in :func:`~airlens.influence`.
        think: as in :func:`~airlens.influence`.
        on_error: ``raise`` or ``skip`` those others.

    Raises:
        DataError: a problem that cannot be evaluated (unless skipped), or none that can be.
    """
    limit, rows = positions_limit(model), embedding_rows(model)

    def check(trace: Trace) -> None:
        encoded = encode_trace(tokenizer, trace, template, think)
        _check_problem(encoded, limit)
        need_embedded(encoded, rows, tokenizer)
        if answers:
            reference_answer(trace)
            if not prompt_ids(tokenizer, trace, template, think):
                raise DataError(f"trace {trace.id!r} has no prompt to answer", field="prompt")

    return usable(traces, check, on_error)


def _check_problem(encoded: EncodedTrace, limit: int | None) -> None:
    name = encoded.trace.id
    if not encoded.n_response:
        raise DataError(f"trace {name!r} has no response", field="response")
    if len(encoded.tokens) < 2:
        raise DataError(f"trace {name!r} has one token, which nothing predicts", field="response")
    _check_length(encoded, limit)


def _check_length(encoded: EncodedTrace, limit: int | None) -> None:
    if limit is not None and len(encoded.tokens) > limit:
        reason = f"{len(encoded.tokens)} tokens; the model has positions for {limit}"
        raise DataError(f"trace {encoded.trace.id!r} has {reason}", field="response")


@checked
def held_out_nll(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    traces: Iterable[Trace],
    *,
    template: Template = "auto",
    think: Think = "auto",
    max_tokens_per_batch: int = 4096,
    progress: bool = True,
) -> pd.DataFrame:
    """NLL of the reference responses, given their prompts.

    Args:
        model: a Hugging Face causal model.
        tokenizer: its own.
        traces: the problems with their reference solutions.
        template: as in :func:`~airlens.influence`.
        think: as in :func:`~airlens.influence`.
        max_tokens_per_batch: bounds memory.
        progress: show a progress bar.

    Returns:
        One row per problem, in the order given: id, n_tokens, nll (nats, summed over the response).

    Raises:
        DataError: no trace has a response, or one is longer than the model's positions, or has a
            token without an embedding.
        NumbersError: the model gives NaN or infinity.
    """
    encoded = encode_traces(tokenizer, list(traces), template, think)
    if not any(e.n_response for e in encoded):
        raise DataError("nothing to evaluate: no trace with a response")
    for e in encoded:
        _check_length(e, positions_limit(model))
        need_embedded(e, embedding_rows(model), tokenizer)
    lengths = [len(e.tokens) for e in encoded]
    order = sorted(range(len(encoded)), key=lambda i: lengths[i])
    sums: dict[int, tuple[int, float]] = {}
    together = not _follows_longest(model)

    def fits(batch: Sequence[int], i: int) -> bool:
        alike = together or lengths[batch[0]] == lengths[i]
        return not lengths[i] or (alike and lengths[i] * (len(batch) + 1) <= max_tokens_per_batch)

    with (
        evaluating(model),
        tqdm(total=len(order), desc="held-out NLL", disable=not progress) as bar,
    ):
        for batch in groups(order, fits):
            rows = [(encoded[i].tokens, encoded[i].response_start) for i in batch]
            sums.update(zip(batch, _nll(model, rows), strict=True))
            bar.update(len(batch))
    rows_out = [(e.trace.id, *sums[i]) for i, e in enumerate(encoded)]
    frame = pd.DataFrame(rows_out, columns=["id", "n_tokens", "nll"])
    odd = frame[~np.isfinite(frame["nll"])]
    if len(odd):
        raise NumbersError(
            f"the model gives {odd['nll'].iloc[0]} as loss, in {str(model.dtype)[6:]}: load it "
            "as float32",
            place=f"trace {odd['id'].iloc[0]!r}",
        )
    return frame


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block dropout and whatever else belongs to training is off."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _follows_longest(model: PreTrainedModel) -> bool:
    """Whether a sequence's numbers depend on the longest one of its batch."""
    return any(moving_rotary(module) for module in model.modules())


def per_token(problems: pd.DataFrame) -> dict[str, float]:
    """Mean NLL a token over all problems with its 95 % interval: nll, lo, hi."""
    nll, tokens = problems["nll"].to_numpy(float), problems["n_tokens"].to_numpy(float)
    return _summary("nll", mean_of(ratio_grid(nll[:, None], tokens)))


def paired_difference(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, float]:
    """NLL a token of ``ours`` minus ``theirs`` on the same problems, with its 95 % interval.

    Pairing removes differences of difficulty between problems. Below 0: ours is better. It is
    about these two models; other runs of the same training would differ more.

    Raises:
        DataError: the problems are not the same.
    """
    if list(ours["id"]) != list(theirs["id"]):
        raise DataError("a paired difference needs the same problems in the same order")
    gap = ours["nll"].to_numpy(float) - theirs["nll"].to_numpy(float)
    grid = ratio_grid(gap[:, None], ours["n_tokens"].to_numpy(float))
    return _summary("difference", mean_of(grid))


def score_answers(solutions: pd.DataFrame, traces: Iterable[Trace]) -> pd.DataFrame:
    """``solutions`` with the columns answer (the reference) and correct (bool).

    Raises:
        DataError: a trace has no reference answer.
        AirlensError: math-verify is not installed.
    """
    gold = {trace.id: reference_answer(trace) for trace in traces}
    answers = [gold[name] for name in solutions["id"]]
    cut = solutions["truncated"] if "truncated" in solutions else [False] * len(solutions)
    rows = zip(solutions["text"], answers, cut, strict=True)
    correct = [is_correct(text, answer, truncated=bool(t)) for text, answer, t in rows]
    return solutions.assign(answer=answers, correct=correct)


def accuracy(scored: pd.DataFrame) -> dict[str, float]:
    """Share of correct solutions, mean over problems, with its 95 % interval: accuracy, lo, hi."""
    grid = grid_of(scored["correct"].astype(float), scored["id"])
    return _summary("accuracy", proportion_of(grid, most=len(scored)))


def _nll(model: PreTrainedModel, rows: Sequence[tuple[list[int], int]]) -> list[tuple[int, float]]:
    """(count, summed NLL) of the response tokens of each row, in one forward pass."""
    import torch

    width = max(len(tokens) for tokens, _ in rows)
    # Padded on the right with any id: a causal model does not see the padding, and it has no
    # labels.
    ids = torch.tensor([t + [0] * (width - len(t)) for t, _ in rows], device=model.device)
    mask = torch.tensor([[1] * len(t) + [0] * (width - len(t)) for t, _ in rows])
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask.to(ids.device)).logits
        found = []
        for row, (tokens, start) in enumerate(rows):
            first = max(start, 1)
            scored = logits[row, first - 1 : len(tokens) - 1]
            nll, _ = nll_and_entropy(scored, ids[row, first : len(tokens)], entropy=False)
            found.append((len(nll), float(torch.from_numpy(nll).double().sum())))
    return found


def _summary(name: str, found: Estimate) -> dict[str, float]:
    lo, hi = found.interval()
    return {name: found.value, "lo": lo, "hi": hi}
