"""Cost of ``airlens.early_answers`` beside ``airlens.influence``, and beside a loop over cuts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from timing import interleaved, table

import airlens as al
from airlens.step_influence.cut_losses import looped
from airlens.step_influence.forcing import cut_trace
from airlens.traces.encoding import encode_trace

STEPS = 100
CUTS = 3  # cuts that the loop runs, evenly spaced; the time of all is that times their number


def trace_of(traces: list[Any], n_steps: int) -> al.Trace:
    """The lines of several traces' responses as one trace of so many steps."""
    lines = [line for trace in traces for line in trace.response.split("\n") if line.strip()]
    text = "\n".join((lines * (1 + n_steps // len(lines)))[: n_steps - 1]) + "\n#### 72"
    return al.Trace("long", traces[0].prompt, text).with_steps("line")


def early(b: Any) -> None:
    """A trace of 100 steps: early answers, influence with the same heads, and the loop."""
    trace = trace_of(b.traces, 12 if b.small else STEPS)
    tokenizer = b.model.tokenizer
    encoded = encode_trace(tokenizer, trace, "auto")
    whole = cut_trace(tokenizer, encoded, int(b.model.cfg.n_ctx))
    n = len(whole.cuts)
    chosen = np.linspace(0, n - 1, CUTS + 2).round().astype(int)[1:-1]
    some = replace(whole, cuts=tuple(whole.cuts[i] for i in chosen), written=0)
    answers = partial(al.early_answers, b.model, trace, b.heads, progress=False)
    names = ("influence", "early answers", "without depends", f"loop over {CUTS} cuts")
    made = (
        partial(al.influence, b.model, trace, b.heads, progress=False),
        answers,
        partial(answers, depends=()),
    )
    loop = partial(looped, b.model, some, [b.heads, *b.controls], [], "uniform")
    times, out = interleaved(dict(zip(names, made, strict=False)), b.rounds)
    once = interleaved({names[3]: loop}, 1)  # it takes longer than all others together
    times, out = times | once[0], out | once[1]
    table(f"Early answers, {n - 1} steps", times, len(encoded.tokens), names[0])
    b.ratio("early_answers_over_influence", times, names[1], names[0])
    b.ratio("early_answers_without_depends_over_influence", times, names[2], names[0])
    b.ratio("early_answers_vs_some_cuts_of_the_loop", times, names[3], names[2])
    part = b.found["early_answers_vs_some_cuts_of_the_loop"]
    b.found["early_answers_vs_loop"] = round(part * n / CUTS, 1)
    fast = out[names[2]].steps["logp_base"].to_numpy()[chosen]
    b.agree(fast, out[names[3]].answer[0])
