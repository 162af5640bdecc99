"""Accuracy with heads off: the papers' main table (AttentionInfluence, Table 6).

Problems are answered greedily by the model as it is and by the model without a set of heads; the
answers are compared with the reference. A solution that comes to no answer is counted apart from
one that comes to a wrong one: a model without its retrieval heads often only repeats itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd
from tqdm.auto import tqdm

from airlens.ablation import DEFAULT_MODE, MODES, Mode, mean_z
from airlens.arguments import checked, expected, reader
from airlens.errors import ConfigError, need_count
from airlens.folders import kept_table
from airlens.heads import HeadSet, as_head_set
from airlens.losses.choice import Engine
from airlens.losses.writing import writing
from airlens.model.heads import heads_of
from airlens.provenance import fingerprint, model_info
from airlens.traces.answers import final_answer
from airlens.traces.chat_template import Template, Think
from airlens.traces.skipped import OnError
from airlens.traces.trace import Trace

from .answers import check_math_verify
from .evaluate import score_answers, usable_problems
from .generation import generate_answers, prompt_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Conditions: TypeAlias = "Mapping[str, HeadSet | Sequence[HeadSet]]"
"""What is ablated, by name: a set of heads, or several draws of random ones."""

# Ours: a solution runs in a circle where one run of so many tokens occurs so often.
REPEATED_TOKENS, REPEATED_TIMES = 8, 4
OUTCOMES = ("correct", "wrong", "no answer", "repeats")
COLUMNS = ["condition", "mode", "draw", "id", "text", "n_new", "truncated", "answer", "outcome"]


@reader("Conditions")
def _conditions(value: Any, name: str) -> dict[str, HeadSet | list[HeadSet]]:
    if not isinstance(value, Mapping) or not value:
        raise expected("heads by name, {'base': '', 'top': heads}", value, name)
    return {str(key): _sets(item) for key, item in value.items()}


def _sets(item: Any) -> HeadSet | list[HeadSet]:
    if isinstance(item, list | tuple) and item and all(isinstance(one, HeadSet) for one in item):
        return list(item)
    return as_head_set(item)


@checked
def accuracy_under_ablation(
    model: TransformerBridge,
    traces: Iterable[Trace],
    conditions: Conditions,
    *,
    mode: Mode | Mapping[str, Mode] = DEFAULT_MODE,
    max_new_tokens: int = 320,
    batch_size: int = 20,
    block: int = 20,
    template: Template = "auto",
    think: Think = "auto",
    on_error: OnError = "raise",
    resume: str | Path | None = None,
    engine: Engine = "auto",
    progress: bool = True,
) -> pd.DataFrame:
    """Greedy answers to problems under each ablation.

    Args:
        model: the bridge, without ablation.
        traces: the problems, each with its reference answer.
        conditions: what to ablate, by name: a set of heads (an empty one is the model as it is), or
            a list of them, which are draws of random heads (:func:`~airlens.random_heads`).
        mode: ablation mode, or one for each condition by name.
        max_new_tokens: most tokens of a solution.
        batch_size: solutions written at once, see :func:`~airlens.generate_answers`.
        block: problems that all conditions answer before the next ones are begun, so that a run
            that was stopped has every condition on the same problems.
        template: as in :func:`~airlens.influence`.
        think: as in :func:`~airlens.influence`.
        on_error: ``raise``, or ``skip`` problems that cannot be asked or have no answer.
        resume: a folder that keeps each finished block of a condition; another run with the same
            model, problems and settings goes on from there.
        engine: ``hooks``, ``fast``, which writes what the hooks write up to rounding, or ``auto``.
        progress: show a progress bar.

    Returns:
        One row per condition, draw and problem: condition, mode, draw (missing where the condition
        is a single set), id, text, n_new (tokens), truncated (it had not ended by then), answer
        (the reference), outcome: "correct"; "repeats", it ran in a circle until it was cut; "no
        answer", it was cut, or ended, without one; or "wrong". :func:`accuracy_table` and
        :func:`accuracy_differences` sum it up.

    Raises:
        ConfigError: no condition, one without a mode, or a number out of range.
        HeadError: a head that the model does not have.
        DataError: a problem without a prompt or reference answer.
        EngineError: ``engine="fast"`` where it cannot run.
        AirlensError: math-verify is not installed.
    """
    if not isinstance(mode, Mapping):
        mode = dict.fromkeys(conditions, mode)
    if missing := [name for name in conditions if name not in mode]:
        raise ConfigError(f"mode: name one for {', '.join(map(repr, missing))} too")
    need_count(block, "block")
    check_math_verify()
    grid = heads_of(model)
    work = [
        (name, draw, heads) for name, item in conditions.items() for draw, heads in _drawn(item)
    ]
    for name, _, heads in work:
        MODES.find(mode[name])
        grid.check(heads)
    network, tokenizer = model.original_model, model.tokenizer
    how: dict[str, Any] = {"template": template, "think": think}
    asked, _ = usable_problems(network, tokenizer, traces, answers=True, on_error=on_error, **how)
    blocks = [asked[i : i + block] for i in range(0, len(asked), block)]
    means = mean_z(model) if "mean" in (mode[name] for name, _, _ in work) else None
    size = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
    who = model_info(model)
    frames = []
    with tqdm(total=len(blocks) * len(work), unit="block", disable=not progress) as bar:
        for some in blocks:
            ids = [(t.id, prompt_ids(tokenizer, t, template, think)) for t in some]
            longest = max(len(prompt) for _, prompt in ids) + max_new_tokens
            for name, draw, heads in work:
                bar.set_description(name if draw is None else f"{name} {draw}")
                key = {"model": who, "problems": ids, "heads": sorted(heads.names()), **size}
                key |= {"mode": mode[name] if len(heads) else None}
                kept = None if resume is None else Path(resume) / f"{fingerprint(key)}.parquet"
                use = writing(model, heads, mode[name], means=means, longest=longest, engine=engine)
                make = partial(_solutions, use, tokenizer, some, **size, **how)
                found = score_answers(kept_table(kept, make), some)
                frames.append(found.assign(condition=name, mode=mode[name], draw=draw))
                bar.update()
    answers = pd.concat(frames, ignore_index=True)
    answers["draw"] = answers["draw"].astype("Int64")
    answers["outcome"] = [_outcome(tokenizer, row) for row in answers.itertuples()]
    return answers[COLUMNS]


def _drawn(item: HeadSet | Sequence[HeadSet]) -> list[tuple[int | None, HeadSet]]:
    """The sets of a condition, with the number of the draw where they are draws."""
    return [(None, item)] if isinstance(item, HeadSet) else list(enumerate(item))


def _solutions(
    use: AbstractContextManager[PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    traces: Sequence[Trace],
    **how: Any,
) -> pd.DataFrame:
    """Greedy solutions of the model that ``use`` gives."""
    with use as network:
        return generate_answers(network, tokenizer, traces, progress=False, **how)


def _outcome(tokenizer: PreTrainedTokenizerBase, row: Any) -> str:
    """One of `OUTCOMES`."""
    if row.correct:
        return "correct"
    tokens = tokenizer(row.text, add_special_tokens=False)["input_ids"]
    if row.truncated and runs_in_circles(tokens):
        return "repeats"
    ended_in_number = not row.truncated and any(char.isdigit() for char in row.text)
    return "wrong" if ended_in_number or final_answer(row.text) is not None else "no answer"


def runs_in_circles(tokens: Sequence[int]) -> bool:
    """Whether some run of `REPEATED_TOKENS` tokens occurs `REPEATED_TIMES` times or more.

    >>> runs_in_circles([1, 2, 3] * 9), runs_in_circles(range(99))
    (True, False)
    """
    runs = zip(*(tokens[start:] for start in range(REPEATED_TOKENS)), strict=False)
    return max(Counter(runs).values(), default=0) >= REPEATED_TIMES
