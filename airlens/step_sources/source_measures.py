"""The sources of a step: earlier steps and sentences of the prompt that retrieval heads read from.

Three measures, each of the critical heads and of as many random heads beside it. For a step s of n
tokens, each predicted from position t-1, a set of heads, and a source u before s:

- **copies**: the share of tokens x_t for which a head's largest weight from t-1 lies on a position
  of u that holds x_t. The retrieval rule of Wu et al. (2404.15574, section 2), over the whole trace
  in place of a needle.
- **attention**: the mean over tokens and heads of the attention from t-1 to all positions of u;
  ``attention_per_token`` divides it by the number of u's tokens.
- **knockout**: the rise of the step's mean NLL, in nats per token, when the heads may not attend to
  u from any position after it: their scores there are -inf, and the softmax shares the weight among
  the rest. With ``hidden_from="inside"`` the positions inside u may not attend to it either; with
  all heads that is the attention suppression of Thought Anchors (2506.19143).
- **knockout_kl**, with ``kl=True``: beside that rise of what was written, how far the predictions
  move, as Thought Anchors measures it: the mean over the step's tokens x_t of KL(p || q), p the
  whole model's distribution from t-1 and q that under the knockout, over all tokens of the
  vocabulary, in nats. (They read p and q at temperature .6 from the 100 likeliest tokens, from the
  positions of the step's own tokens rather than from those before them, and average the logarithm.)

What counts as a source, and the separate attention sink, is ours: see
:mod:`airlens.step_sources.source_units`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from airlens.arguments import checked, each, named, reader
from airlens.control_kinds import Control
from airlens.errors import ConfigError, NumbersError
from airlens.folders import load_tables, save_tables
from airlens.heads import Heads, HeadSet, control_sets
from airlens.losses import knockout
from airlens.losses.choice import Engine, choose_engine
from airlens.losses.fast import knockout as fast_knockout
from airlens.losses.windows import Long, windows
from airlens.model.heads import heads_in, heads_of
from airlens.model.state import not_finite, running
from airlens.provenance import provenance
from airlens.step_influence.settings import CONTROLS
from airlens.traces.chat_template import Template, Think, resolve_template, template_note
from airlens.traces.model_encoding import encode_for
from airlens.traces.readings import how_read
from airlens.traces.trace import Trace, as_traces, check_ids

from . import fast_reading, hook_reading
from .source_tables import (
    COLUMNS,
    Read,
    control_event_rows,
    event_rows,
    pair_columns,
    pair_rows,
    step_rows,
)
from .source_units import Stretch, Units, span_of, stretch_of, token_table, unit_table, units_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Measure: TypeAlias = Literal["copies", "attention", "knockout"]
MEASURES: tuple[str, ...] = get_args(Measure)
reader("Sequence[Measure]")(each(named(MEASURES)))
HiddenFrom: TypeAlias = Literal["after", "inside"]
reader("HiddenFrom")(named(get_args(HiddenFrom)))
SCREEN = 32  # ours: most sources of a trace that are knocked out
TABLES = ("units", "tokens", "pairs", "steps", "events")
CONTROL_EVENTS = "control_events"


@dataclass(frozen=True)
class Sources:
    """The sources of the steps of traces, as tidy tables.

    A unit is a possible source: the S steps, numbered 0 to S-1, and the P sentences of the
    prompt, numbered -P to -1. ``_control`` columns are means over draws of as many random heads.

    Attributes:
        units: one row per unit: id, unit, kind ("prompt" or "step"), label, text, start and end (of
            a step in the response; of the prompt in the text before the response, chat template
            included), n_tokens, first and last (index of its tokens in the whole sequence).
        tokens: one row per token of the whole sequence: id, index, part ("template", "prompt" or
            "response"), unit (NA for the template and the first token), pos (index in the response,
            as in ``Influence.tokens``; NA before), token_id, token, start, end.
        pairs: one row per step and a unit before it: id, step, source, kind, distance (in steps;
            NaN for the prompt), n_tokens (of the step, those scored), n_source_tokens, copies,
            attention, attention_per_token, knockout (nats per token), the same with ``_control``,
            visible (share of tokens and heads from which any of the source can be seen: 1 without
            sliding windows), measured (whether the source was knocked out); with ``kl=True`` also
            knockout_kl (nats per token) and knockout_kl_control.
        steps: one row per step: id, step, label, n_tokens, and where the heads' attention goes:
            sources (all units before it), self, template, sink (the first token, learned sinks),
            which add up to 1; copied (share of tokens copied from any source), copied_self; the
            same with ``_control``.
        events: one row per copied token and critical head: id, head, pos (index in the response),
            step, token, source_index (index in the whole sequence), source (a unit, the step itself
            too), source_token, weight (attention there).
        provenance: model, heads, settings, versions.
        control_events: one row per token and draw of random heads that copies it, by the head with
            the largest weight: id, draw, head, pos, source_index, weight. None where the sources
            were saved before these were kept.
    """

    units: pd.DataFrame
    tokens: pd.DataFrame
    pairs: pd.DataFrame
    steps: pd.DataFrame
    events: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)
    control_events: pd.DataFrame | None = None

    def save(self, folder: str | Path) -> Path:
        """Write the tables as Parquet and the provenance as JSON into ``folder``."""
        tables = {name: getattr(self, name) for name in TABLES}
        if self.control_events is not None:
            tables[CONTROL_EVENTS] = self.control_events
        return save_tables(folder, tables, self.provenance)

    @classmethod
    def load(cls, folder: str | Path) -> Sources:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: a file is missing or unreadable.
        """
        kept = (Path(folder) / f"{CONTROL_EVENTS}.parquet").is_file()
        names = (*TABLES, CONTROL_EVENTS) if kept else TABLES
        tables, note = load_tables(folder, names, "saved sources")
        return cls(**tables, provenance=note)


class SourceQuery(NamedTuple):
    """What to measure in each trace.

    Attributes:
        sets: sets of heads whose attention is read, the critical ones first.
        blocked: sets of heads that sources are hidden from; empty without knockout.
        screen: as in :func:`sources`.
        budget: tokens of a pass, None for the engine's own choice.
        kl: whether knockouts give the KL divergence too.
        inside: whether sources are hidden from rows inside them too.
    """

    sets: list[HeadSet]
    blocked: list[HeadSet]
    screen: int | None
    budget: int | None
    kl: bool = False
    inside: bool = False


@checked
def sources(
    model: TransformerBridge,
    traces: Iterable[Trace] | Trace,
    heads: Heads,
    *,
    measures: Sequence[Measure] = ("copies", "attention"),
    controls: int = CONTROLS,
    control: Control = "same_layers",
    seed: int = 0,
    template: Template = "auto",
    think: Think = "auto",
    long: Long = "stride",
    screen: int | None = SCREEN,
    all_heads: bool = False,
    kl: bool = False,
    hidden_from: HiddenFrom = "after",
    max_tokens_per_batch: int | None = None,
    engine: Engine = "auto",
    progress: bool = True,
) -> Sources:
    """Measure which earlier steps and prompt sentences each step of the traces draws on.

    Args:
        model: the bridge.
        traces: with steps; a trace without counts as one step.
        heads: the critical heads, e.g. ``scores.top(0.05)``.
        measures: of "copies", "attention" (one pass for both) and "knockout" (a partial pass for
            each source and set of heads).
        controls: draws of as many random heads, disjoint from ``heads``; 0 for none.
        control: where the random heads come from: the layers of ``heads`` first, or anywhere.
        seed: of the draws.
        template: how a prompt is put before its response: ``chat``, ``plain``, or ``auto``.
        think: how a thought in a response is written, see :func:`airlens.influence`.
        long: a trace longer than the context is read in strides, in each of which a source outside
            counts as not visible; or cut.
        screen: knock out at most this many sources of each trace: those that a step copies from
            most, or attends to most per token. None for all.
        all_heads: knock sources out for all heads of the model instead of ``heads``; without a
            control.
        kl: with "knockout", measure too how far the predictions move, in the columns knockout_kl
            and knockout_kl_control of the pairs. The passes are the same; logits take longer.
        hidden_from: which positions may not attend to a source that is knocked out: those ``after``
            it, or those ``inside`` it too, as in Thought Anchors. With ``all_heads`` only the first
            token of the step after the source can tell the two apart: it is predicted from the
            source's last position.
        max_tokens_per_batch: bounds memory.
        engine: ``hooks``, ``fast``, or ``auto`` (:mod:`airlens.losses.fast`).
        progress: show a progress bar.

    Raises:
        ConfigError, HeadError, DataError: bad arguments; see the message.
        NumbersError: the model gave NaN or infinity for a trace.
        AblationError: knockout is not possible for this kind of attention with ``engine="hooks"``.
    """
    heads = heads_in(model, heads)
    grid = heads_of(model)
    if not len(heads):
        raise ConfigError("sources needs at least one head: use e.g. scores.top(0.05)")
    if kl and "knockout" not in measures:
        raise ConfigError('kl=True measures knockouts: add "knockout" to measures')
    items = as_traces(traces)
    check_ids(items)
    draws = control_sets(grid, heads, control, draws=controls, seed=seed)
    sets = [heads, *draws]
    blocked = sets
    if all_heads:
        blocked = [grid.all_heads()]
    template = resolve_template(model.tokenizer, template)
    units = [units_of(e) for e in encode_for(model, items, template, think)]
    blocked = blocked if "knockout" in measures else []
    query = SourceQuery(sets, blocked, screen, max_tokens_per_batch, kl, hidden_from == "inside")
    longest = max((len(u.encoded.tokens) for u in units), default=0)
    with running(model):
        chosen = choose_engine(model, engine, longest=min(longest, int(model.cfg.n_ctx)))
        tables = _tables(read_traces(model, units, query, chosen, long, progress), measures, kl)
    note = provenance(
        model,
        heads=heads.names(),
        head_set=heads.name,
        heads_from=heads.provenance.get("probes"),
        measures=list(measures),
        reading=how_read(items),
        seed=seed,
        controls=[d.names() for d in draws],
        control=control,
        **template_note(model.tokenizer, template, think),
        long=long,
        screen=screen,
        all_heads=all_heads,
        kl=kl,
        hidden_from=hidden_from,
        engine=chosen,
        n_traces=len(items),
    )
    return Sources(**tables, provenance=note)


def read_traces(
    model: TransformerBridge,
    units: Sequence[Units],
    query: SourceQuery,
    engine: str,
    long: Long,
    progress: bool,
) -> Iterator[Read]:
    """Measurements of each trace: attention of each set of heads, and losses under knockout."""
    read_attention = (fast_reading if engine == "fast" else hook_reading).read_attention
    knocked_out = (fast_knockout if engine == "fast" else knockout).knocked_out
    limit = int(model.cfg.n_ctx)
    parts = [[stretch_of(u, w) for w in windows(u.encoded, limit, long)] for u in units]
    flat = [stretch for part in parts for stretch in part]
    heads = sorted({head for heads in query.sets for head in heads})
    options: dict[str, Any] = {"max_tokens_per_batch": query.budget}
    how = {"inside": query.inside, "kl": query.kl}
    total = sum(len(s.window.tokens) for s in flat)
    with tqdm(total=total, unit="tok", desc="attention", disable=not progress) as bar:
        readings = iter(read_attention(model, flat, heads, on_progress=bar.update, **options))
    reads = [
        Read(u, tuple(part), tuple(next(readings) for _ in part), tuple(query.sets))
        for u, part in zip(units, parts, strict=True)
    ]
    for read in reads:
        _need_finite(model, read.units, [reading.mass for reading in read.readings])
    if not query.blocked:
        yield from reads
        return
    plans = [read.candidates(query.screen) for read in reads]
    total = sum(
        len(s.window.tokens) * len(query.blocked) * len(plan)
        for read, plan in zip(reads, plans, strict=True)
        for s in read.stretches
    )
    with tqdm(total=total, unit="tok", desc="knockout", disable=not progress) as bar:
        for read, groups in zip(reads, plans, strict=True):
            losses = []
            for stretch in read.stretches:
                spans = [_span(stretch, group) for group in groups]
                losses.append(
                    knocked_out(
                        model,
                        stretch.window,
                        spans,
                        query.blocked,
                        on_progress=bar.update,
                        **how,
                        **options,
                    )
                )
            _need_finite(model, read.units, [x for out in losses for x in (out.base, out.nll)])
            _need_finite(model, read.units, [out.kl for out in losses if out.kl is not None])
            yield read.with_losses(groups, losses)


def _need_finite(model: TransformerBridge, units: Units, values: Iterable[np.ndarray]) -> None:
    if not all(np.isfinite(array).all() for array in values):
        place = f"trace {units.encoded.trace.id!r}"
        raise NumbersError(not_finite(model, "NaN or infinity"), place=place)


def _span(stretch: Stretch, group: int) -> tuple[int, int]:
    """Positions of a group in a window; an empty span where it has none there."""
    return span_of(stretch.group, group) or (len(stretch.group),) * 2


def _tables(reads: Iterable[Read], measures: Sequence[str], kl: bool) -> dict[str, pd.DataFrame]:
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in COLUMNS}
    for read in reads:
        found["units"].append(unit_table(read.units))
        found["tokens"].append(token_table(read.units))
        found["pairs"].append(pair_rows(read, measures, kl))
        found["steps"].append(step_rows(read, measures))
        found["events"].append(event_rows(read))
        found[CONTROL_EVENTS].append(control_event_rows(read))
    columns = {**COLUMNS, "pairs": pair_columns(kl)}
    return {
        name: pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns[name])
        for name, parts in found.items()
    }
