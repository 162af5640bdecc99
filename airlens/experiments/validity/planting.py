"""Plant distractor steps in traces: a known truth to test a score against.

In a planted trace one step replaces a real one, or follows it (``place``); the text before it and
the prompt are unchanged. ``meta["planted"]`` describes it: kind, source, step, place, real (the
real step's text), n_tokens, n_tokens_real, n_candidates, and for the loss-matched kinds loss and
loss_real (nats per token, in place).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from airlens.arguments import checked
from airlens.errors import ConfigError, DataError
from airlens.files import sentences
from airlens.traces.step import Step
from airlens.traces.trace import Trace

from .planting_texts import (
    NUMBER,
    memorised,
    paraphrases,
    sentences_of,
    statements,
    with_wrong_numbers,
    with_wrong_result,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KINDS: dict[str, str] = {
    "irrelevant": "a fluent sentence about something else",
    "irrelevant_loss": "the same, chosen for a base loss near the real step's",
    "other": "a step of another problem",
    "other_loss": "the same, chosen for a base loss near the real step's",
    "wrong_result": "the real step with its result changed",
    "wrong_numbers": "the real step with all numbers changed",
    "restated": "a sentence of the question, word for word",
    "repeated": "an earlier step again",
    "memorised": "weekdays, months, the alphabet, counting",
    "paraphrase": "a statement of the question in other words",
}
LOSS_MATCHED = {"irrelevant_loss": "irrelevant", "other_loss": "other"}
Place = Literal["instead", "after"]

# Steps with these labels contribute no work of their own: none is chosen as the real step.
NOT_WORK = frozenset(
    {"restate", "filler", "prompt", "prose", "problem_setup", "uncertainty_management"}
)
MIN_TOKENS = 8  # ours: shorter steps ("#### 18") cannot be matched in length
CANDIDATES = 16  # ours: candidate texts, of which the one nearest in loss is planted

# Mean base NLL (nats per token) of each text at that place of that trace.
LossOf = Callable[[Trace, int, Sequence[str]], Sequence[float]]


@dataclass
class _Planter:
    """State shared by all plantings of one call."""

    traces: Sequence[Trace]
    tokenizer: PreTrainedTokenizerBase
    place: Place
    loss_of: LossOf | None
    lengths: dict[str, int] = field(default_factory=dict)

    def n_tokens(self, text: str) -> int:
        if text not in self.lengths:
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            self.lengths[text] = len(ids)
        return self.lengths[text]

    def nearest(self, texts: Iterable[str], real: str, n: int, rng: random.Random) -> list[str]:
        """The ``n`` texts nearest to ``real`` in tokens, ties in random order."""
        pool = sorted(set(texts) - {real})
        rng.shuffle(pool)
        target = self.n_tokens(real)
        return sorted(pool, key=lambda text: abs(self.n_tokens(text) - target))[:n]


@checked
def plant(
    traces: Sequence[Trace],
    tokenizer: PreTrainedTokenizerBase,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    n: int | None = None,
    seed: int = 0,
    place: Place = "instead",
    loss_of: LossOf | None = None,
) -> list[Trace]:
    """Plant one distractor of each kind in each of ``n`` traces.

    In each trace one real step is chosen: with a step before and one after it, at least two numbers
    if the trace has such a step, no label in `NOT_WORK`, and among those the one nearest in length
    to statements of the question and to earlier steps. Every distractor is matched to its length in
    tokens as closely as its kind allows.

    Args:
        traces: with steps; traces without a suitable step are skipped.
        tokenizer: counts the tokens.
        kinds: of `KINDS`; the loss-matched kinds are left out where there is no ``loss_of``.
        n: how many traces to plant in, drawn with the seed; None: all.
        seed: decides everything; the same traces, kinds and seed give the same set.
        place: the distractor is put ``instead`` of the real step or ``after`` it.
        loss_of: for the loss-matched kinds, see
            :func:`airlens.experiments.validity.alternatives.loss_in_place`.

    Returns:
        Planted traces, ids ``source/kind``, grouped by source. A kind that cannot be made from a
        trace (no number to change, no statement to restate) is absent there.

    Raises:
        ConfigError: an unknown kind or place.
        DataError: no trace has a suitable step.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ConfigError(f"kind {unknown[0]!r}: use one of {', '.join(KINDS)}")
    if place not in ("instead", "after"):
        raise ConfigError(f"place={place!r}: use 'instead' or 'after'")
    planter = _Planter(traces, tokenizer, place, loss_of)
    order = list(range(len(traces)))
    random.Random(f"{seed}").shuffle(order)
    planted: list[Trace] = []
    count = 0
    for index in order:
        found = _plant_in(planter, traces[index], kinds, seed)
        planted += found
        count += bool(found)
        if n is not None and count == n:
            break
    if not planted:
        raise DataError(
            "no trace has a step to plant beside: it needs three steps or more, and one in the "
            f"middle of at least {MIN_TOKENS} tokens",
            field="steps",
        )
    return planted


def _plant_in(planter: _Planter, trace: Trace, kinds: Sequence[str], seed: int) -> list[Trace]:
    # One generator per trace: its plantings do not depend on other traces.
    rng = random.Random(f"{seed}-{trace.id}")
    step = _real_step(planter, trace, rng)
    if step is None:
        return []
    found = (_plant_one(planter, trace, step, kind, seed) for kind in kinds)
    return [planted for planted in found if planted is not None]


def _real_step(planter: _Planter, trace: Trace, rng: random.Random) -> int | None:
    inner = [
        index
        for index, step in enumerate(trace.steps[:-1])
        if index and step.label not in NOT_WORK and planter.n_tokens(_body(step)) >= MIN_TOKENS
    ]
    if not inner:
        return None
    full = [i for i in inner if len(NUMBER.findall(trace.steps[i].text)) >= 2] or inner
    rng.shuffle(full)
    given = [planter.n_tokens(text) for text in statements(trace.prompt)] or [0]
    sizes = [planter.n_tokens(_body(step)) for step in trace.steps]

    def mismatch(i: int) -> int:
        """How much the nearest restatement and repetition differ from the step in length."""
        return sum(min(abs(sizes[i] - n) for n in lengths) for lengths in (given, sizes[:i]))

    return min(full, key=mismatch)


def _body(step: Step) -> str:
    return step.text.strip()


def _plant_one(planter: _Planter, trace: Trace, step: int, kind: str, seed: int) -> Trace | None:
    rng = random.Random(f"{seed}-{trace.id}-{kind}")
    real = _body(trace.steps[step])
    matched = kind in LOSS_MATCHED
    if matched and planter.loss_of is None:
        return None
    texts = _texts(planter, trace, step, LOSS_MATCHED.get(kind, kind), rng)
    pool = planter.nearest(texts, real, CANDIDATES if matched else 1, rng)
    if not pool:
        return None
    note: dict[str, Any] = {}
    text = pool[0]
    if matched and planter.loss_of is not None:
        real_loss, *losses = planter.loss_of(trace, step, [real, *pool])
        best = min(range(len(pool)), key=lambda i: abs(losses[i] - real_loss))
        text = pool[best]
        note = {"loss": float(losses[best]), "loss_real": float(real_loss)}
    note |= {"n_tokens": planter.n_tokens(text), "n_tokens_real": planter.n_tokens(real)}
    return put(trace, step, text, kind, planter.place, n_candidates=len(pool), **note)


def _texts(
    planter: _Planter, trace: Trace, step: int, kind: str, rng: random.Random
) -> Iterable[str]:
    """All candidate texts of a kind, before matching."""
    real = _body(trace.steps[step])
    if kind == "irrelevant":
        return _fluent(rng)
    if kind == "other":
        return _other_steps(planter.traces, trace)
    if kind == "restated":
        return sentences_of(trace.prompt)
    if kind == "repeated":
        earlier = [_body(s) for s in trace.steps[:step]]
        return [text for text in earlier if text]
    if kind == "memorised":
        return memorised()
    if kind == "paraphrase":
        return paraphrases(trace.prompt, rng)
    change = with_wrong_result if kind == "wrong_result" else with_wrong_numbers
    text = change(real, rng)
    return [text] if text else []


def _fluent(rng: random.Random, pairs: int = 600) -> list[str]:
    """The bundled sentences, and pairs of them for longer steps."""
    lines = list(sentences())
    return lines + [" ".join(rng.sample(lines, 2)) for _ in range(pairs)]


def _other_steps(traces: Sequence[Trace], trace: Trace) -> list[str]:
    same = [t for t in traces if t.id != trace.id and t.domain == trace.domain]
    others = same or [t for t in traces if t.id != trace.id]
    texts = [_body(step) for other in others for step in other.steps]
    return [text for text in texts if text and text not in trace.response + trace.prompt]


def put(
    trace: Trace, step: int, text: str, kind: str = "", place: Place = "instead", **note: Any
) -> Trace:
    """The trace with ``text`` planted at ``step``, labelled "planted"."""
    real = trace.steps[step]
    body = _body(real)
    start = real.text.find(body)
    planted = real.text[:start] + text + (real.text[start + len(body) :] or "\n")
    old = [(s.text, s.label) for s in trace.steps]
    keep = step if place == "instead" else step + 1
    texts = [*old[:keep], (planted, "planted"), *old[step + 1 :]]
    steps: list[Step] = []
    for part, label in texts:
        at = steps[-1].end if steps else 0
        steps.append(Step(part, at, at + len(part), label))
    info = {"kind": kind, "source": trace.id, "step": keep, "place": place}
    meta = {"planted": {**info, "real": real.text, "real_label": real.label, **note}}
    response = "".join(part for part, _ in texts)
    identity = f"{trace.id}/{kind}" if kind else trace.id
    thinking = _moved(trace, response, real)
    return replace(
        trace,
        id=identity,
        response=response,
        steps=tuple(steps),
        meta=meta,
        step_meta=(),
        thinking=thinking,
    )


def _moved(trace: Trace, response: str, at: Step) -> int:
    """Where the thought ends in ``response``, which differs from the trace's at one step."""
    inside = at.start < trace.thinking
    return trace.thinking + (len(response) - len(trace.response) if inside else 0)


def planted_info(trace: Trace) -> dict[str, Any]:
    """The note about what was planted in a trace.

    Raises:
        DataError: nothing was planted.
    """
    info = trace.meta.get("planted")
    if not isinstance(info, dict) or not {"kind", "source", "step", "real"} <= set(info):
        raise DataError(f"trace {trace.id!r} is no planted trace", field="meta")
    return info


def real_of(trace: Trace) -> Trace:
    """The source of a planted trace: with the real step restored and the planted one removed."""
    info = planted_info(trace)
    at = int(info["step"])
    if info.get("place") == "after":
        texts = [(s.text, s.label) for i, s in enumerate(trace.steps) if i != at]
    else:
        texts = [(s.text, s.label) for s in trace.steps]
        texts[at] = (info["real"], info.get("real_label"))
    steps: list[Step] = []
    for part, label in texts:
        start = steps[-1].end if steps else 0
        steps.append(Step(part, start, start + len(part), label))
    response = "".join(part for part, _ in texts)
    thinking = _moved(trace, response, trace.steps[at])
    return replace(
        trace, id=info["source"], response=response, steps=tuple(steps), meta={}, thinking=thinking
    )
