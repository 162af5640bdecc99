"""Cost of ``airlens.sources`` beside a loop over pattern hooks and beside full hooked passes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from timing import interleaved, table

import airlens as al
from airlens.heads import HeadSet
from airlens.losses.fast.knockout import knocked_out as fast_knocked_out
from airlens.losses.knockout import knocked_out
from airlens.losses.windows import windows
from airlens.step_sources.source_units import span_of, stretch_of, units_of
from airlens.traces.encoding import encode_trace

SOURCES = 30  # steps knocked out


def long_trace(model: Any, traces: Sequence[Any], tokens: int) -> al.Trace:
    """Responses of several traces, one after the other, as one of about so many tokens."""
    lines: list[str] = []
    for trace in traces * 8:
        lines += [line for line in trace.response.split("\n") if line.strip()]
        text = "\n".join(lines)
        if len(model.tokenizer(text)["input_ids"]) >= tokens:
            break
    return al.Trace("long", traces[0].prompt, text).with_steps("line")


def reading(b: Any) -> None:
    """Copies and attention at 2k tokens: one pass with a hook on every pattern, or ours."""
    trace = long_trace(b.model, b.traces, 400 if b.small else 2048)
    options = {"controls": 1, "progress": False}
    run = partial(al.sources, b.model, trace, b.heads, **options)
    slow, quick = "TransformerLens pattern hooks", "airlens"
    run(engine="fast")
    times, out = interleaved(
        {slow: partial(run, engine="hooks"), quick: partial(run, engine="fast")}, b.rounds
    )
    table("Sources: copies and attention", times, len(out[quick].tokens), slow)
    b.ratio("sources_vs_pattern", times, slow, quick)
    gap = (out[slow].pairs["attention"] - out[quick].pairs["attention"]).abs().max()
    b.found["sources_max_abs_attention_diff"] = float(f"{gap:.2g}")


def knockout(b: Any) -> None:
    """Thirty source steps knocked out, critical heads only: full hooked passes, or ours."""
    trace = long_trace(b.model, b.traces, 200 if b.small else 1024)
    encoded = encode_trace(b.model.tokenizer, trace, "auto")
    units = units_of(encoded)
    window = windows(encoded, int(b.model.cfg.n_ctx))[0]
    group = stretch_of(units, window).group
    own = 2 + len(units.prompt)
    n = 4 if b.small else SOURCES
    chosen = [own + round(i * (units.n_steps - 2) / (n - 1)) for i in range(n)]
    spans = [span for g in chosen if (span := span_of(group, g))]
    sets = [HeadSet(tuple(b.heads))]
    slow, quick = f"{n} hooked passes", "airlens"
    times, out = interleaved(
        {
            slow: partial(knocked_out, b.model, window, spans, sets),
            quick: partial(fast_knocked_out, b.model, window, spans, sets),
        },
        1,
    )
    table(f"Sources: knockout of {n} steps", times, len(window.tokens) * n, slow)
    b.ratio("knockout_vs_hooks", times, slow, quick)
    b.agree(out[slow][1], out[quick][1])


def extra_memory(model: Any, heads: str, size: int) -> None:
    """What the child process measures: all three measures on a trace of so many tokens."""
    traces = list(al.load_traces(al.data_path("traces.jsonl"), limit=40))
    trace = long_trace(model, traces, size)
    measures: Any = ("copies", "attention", "knockout")
    al.sources(
        model, trace, heads, measures=measures, controls=1, screen=2, progress=False, engine="fast"
    )
