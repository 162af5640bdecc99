"""All cuts of a trace in one forked pass of the fast engine.

The trace stands in the row once, and behind it the tails: forcing text and answer of every cut,
which read the keys and values of the trace up to their cut. Greedy answers, and the answer with a
step hidden from its tail, continue from the keys and values that this pass leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from airlens.ablation import MeanZ, Mode
from airlens.heads import HeadSet
from airlens.losses.fast.fast_losses import logit_rows, row_budget, row_losses
from airlens.losses.fast.fast_model import FastModel, fast_model, order, plan_of
from airlens.losses.fast.packed_attention import Call, Plan
from airlens.losses.fast.packing import Branches, Pack, Segment, common_prefix, to_device
from airlens.losses.fast.past import Past
from airlens.model.state import running

from .cut_losses import CutLosses, Said, steps_before
from .forcing import Cut, CutTrace, ended

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# Cuts whose tails share one attention: each reads the keys of the last of them.
TOGETHER = 16
ONE_EACH = 64  # the same, where a cut has one row
# Rows of one pass when a step is hidden from the tail; the mask of each has the keys of all.
ROWS = 256


def forked(
    model: TransformerBridge,
    trace: CutTrace,
    head_sets: Sequence[HeadSet],
    hidden_from: Sequence[HeadSet],
    mode: Mode,
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    on_share: Callable[[float], None] | None = None,
) -> CutLosses:
    """Same as :func:`airlens.step_influence.cut_losses.looped`, in one pass and its continuations.

    Beside the pass it holds the keys and values of the model and of the first head set in all
    layers: 8 bytes times layers, key-value heads and head dimension a token, for each of the two.
    ``on_share`` is called with the share of the pass that is done, where it runs in slices.
    """
    with running(model), torch.inference_mode():
        fast = fast_model(model)
        means = None if means is None else means.to(fast.device)
        tails = [_Tail.of(cut) for cut in trace.cuts]
        row = _row(trace, tails)
        indices, forks = order(head_sets)
        line = {index: k for k, index in enumerate(indices, start=1)}
        lines = [0, *(line.get(i, 0) for i in range(len(head_sets)))]
        ref = lines[1] if len(lines) > 1 else 0
        room = max(ROWS, sum(cut.most for cut in trace.cuts))
        base_past, ref_past = Past(room), Past(room)

        def keep(call: Call) -> None:
            base_past.keep(call.layer, call.key[:1], call.value[:1])
            if 0 < ref < call.key.shape[0]:
                own = slice(ref, ref + 1)
                ref_past.keep(call.layer, call.key[own], call.value[own])
            else:  # it is still the base model, whose greedy answers are read first
                ref_past.share(call.layer, base_past)

        plan = plan_of(row.pack, head_sets, indices, mode, means)
        plan.on_layer, plan.on_share = keep, on_share
        plan.unread = min(row.start)
        begins = [min((h.layer for h in heads), default=0) for heads in hidden_from]
        rows = max(1, row_budget(max_tokens_per_batch, fast.device) // (1 + len(forks)))
        kept, hidden = fast.residuals(row.pack, plan, sorted(set(begins)), forks, rows=rows)
        answer = np.stack([row.answers(fast, hidden[i]) for i in range(len(hidden))])[lines]
        contrast = row.contrasts(fast, hidden[0])
        said = _greedy(model, fast, trace, row, hidden[0], Plan([]), base_past)
        said_ref = said
        if ref:
            ablation = plan_of(row.pack, head_sets[:1], [0], mode, means)
            # The critical heads are ablated in batch row 0: there is no other one.
            edits = {layer: [(0, heads) for _, heads in at] for layer, at in ablation.edits.items()}
            alone = Plan([], edits, ablation.modes[:1], means)
            said_ref = _greedy(model, fast, trace, row, hidden[ref], alone, ref_past)
        spans = steps_before(trace)
        base_past.cut(len(row.pack.tokens))
        direct = np.zeros((len(hidden_from), len(spans)))
        for i, (heads, layer) in enumerate(zip(hidden_from, begins, strict=True)):
            direct[i] = _direct(fast, trace, row, heads, spans, layer, kept[layer], base_past)
    return CutLosses(answer, contrast, said, said_ref, direct)


@dataclass(frozen=True)
class _Tail:
    """Tokens behind a cut, the last of each answer left out: it predicts nothing that is scored.

    Attributes:
        tokens: [n] forcing text, answer, contrast.
        place: [n] how far each is behind the cut.
        sees: bool [n, n], which of the tail's rows each sees.
        answer: rows that predict the answer.
        contrast: rows that predict the contrast.
    """

    tokens: np.ndarray
    place: np.ndarray
    sees: np.ndarray
    answer: np.ndarray
    contrast: np.ndarray

    @staticmethod
    def of(cut: Cut) -> _Tail:
        """The tail of a cut; what answer and contrast begin with in common is there once."""
        n, a = len(cut.forcing), len(cut.answer) - 1
        own = cut.contrast[:-1]
        both = common_prefix(cut.answer[:-1], own)
        c = len(own) - both
        tokens = np.array([*cut.forcing, *cut.answer[:-1], *own[both:]], np.int64)
        place = np.concatenate([np.arange(n + a), n + both + np.arange(c)])
        sees = np.tril(np.ones((n + a + c,) * 2, bool))
        sees[n + a :, n + both : n + a] = False  # the contrast does not see the answer
        rows = np.arange(n - 1, n + a)
        other = np.array([*range(n - 1, n + both), *range(n + a, n + a + c)], int)
        return _Tail(tokens, place, sees, rows, other if cut.contrast else other[:0])


@dataclass(frozen=True)
class _Row:
    """A trace and the tails of its cuts in one row.

    Attributes:
        pack: of them.
        cuts: the cuts.
        tails: their tails.
        start: row at which each tail begins.
    """

    pack: Pack
    cuts: Sequence[Cut]
    tails: Sequence[_Tail]
    start: Sequence[int]

    def answers(self, fast: FastModel, hidden: torch.Tensor) -> np.ndarray:
        """Log-probability of the answer behind each cut, [C], from hidden states [N, d]."""
        rows = [at + tail.answer for at, tail in zip(self.start, self.tails, strict=True)]
        return _sums(fast, hidden, rows, [cut.answer for cut in self.cuts])

    def row_of(self, i: int, tokens: Sequence[int]) -> int | None:
        """The row of the last of some tokens behind cut ``i``, where its tail has them."""
        answer, n = self.cuts[i].answer[:-1], len(tokens)
        same = tuple(tokens) == tuple(answer[:n])
        return self.start[i] + len(self.cuts[i].forcing) + n - 1 if same else None

    def contrasts(self, fast: FastModel, hidden: torch.Tensor) -> np.ndarray:
        """The same of the contrast; NaN without one."""
        rows = [at + tail.contrast for at, tail in zip(self.start, self.tails, strict=True)]
        found = _sums(fast, hidden, rows, [cut.contrast for cut in self.cuts])
        return np.where([bool(cut.contrast) for cut in self.cuts], found, np.nan)


def _sums(
    fast: FastModel,
    hidden: torch.Tensor,
    rows: Sequence[np.ndarray],
    texts: Sequence[Sequence[int]],
) -> np.ndarray:
    """Log-probability of each text, whose tokens are predicted from its rows; fp64 [texts]."""
    which = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    total = np.zeros(len(texts))
    if len(which):
        where = to_device(np.concatenate(rows), fast.device)
        target = to_device(np.concatenate([np.asarray(t, np.int64) for t in texts]), fast.device)
        nll = row_losses(fast, hidden, where, target, base=False)[0]
        np.add.at(total, which, -nll.double().cpu().numpy())
    return total


def _row(trace: CutTrace, tails: Sequence[_Tail]) -> _Row:
    """The trace up to its last cut, then the tails."""
    n = max(cut.at for cut in trace.cuts)
    segments = [Segment(0, n, np.arange(n))] if n else []
    tokens = [np.asarray(trace.encoded.tokens[:n], np.int64)]
    places, start, begin = [np.arange(n)], [], n
    for first in range(0, len(tails), TOGETHER):
        some = range(first, min(first + TOGETHER, len(tails)))
        chosen = [tails[i] for i in some]
        at = np.concatenate([np.full(len(tails[i].tokens), trace.cuts[i].at) for i in some])
        place = at + np.concatenate([tail.place for tail in chosen])
        branches = Branches(at, _blocks([tail.sees for tail in chosen]), place)
        own = np.arange(begin, begin + len(at))
        path = np.concatenate([np.arange(int(at.max())), own])
        segments.append(Segment(begin, begin + len(at), path, branches))
        for tail in chosen:
            start.append(begin)
            begin += len(tail.tokens)
            tokens.append(tail.tokens)
        places.append(place)
    whole = Pack((), tuple(segments), np.concatenate(tokens), np.concatenate(places))
    return _Row(whole, trace.cuts, tails, start)


def _blocks(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Matrices bool [n_i, m_i] along the diagonal of one."""
    rows, columns = (np.cumsum([0, *(part.shape[k] for part in parts)]) for k in (0, 1))
    whole = np.zeros((rows[-1], columns[-1]), bool)
    for part, i, j in zip(parts, rows, columns, strict=False):
        whole[i : i + part.shape[0], j : j + part.shape[1]] = part
    return whole


def _greedy(
    model: TransformerBridge,
    fast: FastModel,
    trace: CutTrace,
    row: _Row,
    hidden: torch.Tensor,
    plan: Plan,
    past: Past,
) -> tuple[Said, ...]:
    """Greedy tokens behind the forcing text of each cut, one a pass for all cuts that go on.

    Args:
        model: the bridge, for its tokenizer.
        fast: its fast model.
        trace: the cuts.
        row: of the pass that left ``hidden`` and ``past``.
        hidden: [N, d].
        plan: what is ablated in batch row 0.
        past: what the pass left; it grows.
    """
    cuts = trace.cuts
    tokens: list[list[int]] = [[] for _ in cuts]
    logps: list[list[float]] = [[] for _ in cuts]
    # Rows of forcing text and answer so far, among those of the past.
    lines = [list(range(at, at + len(c.forcing))) for at, c in zip(row.start, cuts, strict=True)]
    size = len(row.pack.tokens)
    going = list(range(len(cuts)))
    states = hidden[to_device(np.array([line[-1] for line in lines]), fast.device)]
    while going:
        for i, token, logp in zip(going, *_most_likely(fast, states), strict=True):
            tokens[i].append(token)
            logps[i].append(logp)
        going = [
            i
            for i in going
            if len(tokens[i]) < cuts[i].most and ended(model.tokenizer, tokens[i]) is None
        ]
        # As long as it says the answer, its rows are those of the tail.
        rows = {i: at for i in going if (at := row.row_of(i, tokens[i])) is not None}
        state_of = {i: hidden[at] for i, at in rows.items()}
        if new := [i for i in going if i not in rows]:
            pack = _next_row([cuts[i] for i in new], [lines[i] for i in new], tokens, new, size)
            step = Plan(pack.segments, plan.edits, plan.modes, plan.means, before=past)
            state_of |= zip(new, fast.hidden(pack, step)[0], strict=True)
            past.grow(len(new))
            rows |= {i: size + k for k, i in enumerate(new)}
            size += len(new)
        for i in going:
            lines[i].append(rows[i])
        states = torch.stack([state_of[i] for i in going]) if going else states[:0]
    return tuple(Said(tuple(t), tuple(p)) for t, p in zip(tokens, logps, strict=True))


def _next_row(
    cuts: Sequence[Cut],
    lines: Sequence[Sequence[int]],
    tokens: Sequence[Sequence[int]],
    going: Sequence[int],
    size: int,
) -> Pack:
    """One more token behind each cut that goes on; ``size`` rows precede it."""
    segments, places = [], []
    for first in range(0, len(cuts), ONE_EACH):
        some = range(first, min(first + ONE_EACH, len(cuts)))
        earlier = [len(lines[k]) for k in some]
        at = np.array([cuts[k].at for k in some])
        own = np.concatenate(
            [_blocks([np.ones((1, n), bool) for n in earlier]), np.eye(len(at), dtype=bool)], axis=1
        )
        place = np.concatenate(
            [*(a + np.arange(n) for a, n in zip(at, earlier, strict=True)), at + earlier]
        )
        path = [np.arange(int(at.max())), *(np.asarray(lines[k]) for k in some)]
        path.append(np.arange(size + first, size + first + len(at)))
        branches = Branches(at, own, place)
        segments.append(Segment(first, first + len(at), np.concatenate(path), branches))
        places.append(at + earlier)
    last = np.array([tokens[i][-1] for i in going], np.int64)
    return Pack((), tuple(segments), last, np.concatenate(places))


def _most_likely(fast: FastModel, hidden: torch.Tensor) -> tuple[list[int], list[float]]:
    """The most likely next token of each row [n, d], and its log-probability."""
    tokens: list[int] = []
    logps: list[float] = []
    size = logit_rows(int(fast.head.weight.shape[0]), hidden.device)
    for rows in hidden.split(size):
        best = torch.log_softmax(fast.logits(rows), dim=-1).max(dim=-1)
        tokens += best.indices.tolist()
        logps += best.values.tolist()
    return tokens, logps


def _direct(
    fast: FastModel,
    trace: CutTrace,
    row: _Row,
    heads: HeadSet,
    spans: Sequence[tuple[int, int]],
    layer: int,
    residual: torch.Tensor,
    past: Past,
) -> np.ndarray:
    """Log-probability of the answer when its tail's rows may not see a step with these heads, [J].

    Args:
        fast: the fast model.
        trace: with the cut at which this is asked.
        row: of the pass that left ``residual`` and ``past``.
        heads: that may not.
        spans: of the J steps.
        layer: the first one of the heads.
        residual: input of that layer in the base model, [1, N, d].
        past: of the base model.
    """
    at = trace.written
    cut, tail, start = row.cuts[at], row.tails[at], row.start[at]
    n, size = len(cut.forcing) + len(cut.answer) - 1, len(row.pack.tokens)
    found = np.zeros(len(spans))
    for first in range(0, len(spans), max(1, ROWS // n)):
        some = spans[first : first + max(1, ROWS // n)]
        m = len(some) * n
        place = np.tile(cut.at + np.arange(n), len(some))
        own = _blocks([tail.sees[:n, :n]] * len(some))
        path = np.concatenate([np.arange(cut.at), size + np.arange(m)])
        segment = Segment(0, m, path, Branches(np.full(m, cut.at), own, place))
        pack = Pack((), (segment,), np.tile(tail.tokens[:n], len(some)), place)
        hidden_spans = np.repeat(np.asarray(some, np.int64), n, axis=0)
        blocked = {i: [(0, which, hidden_spans)] for i, which in heads.by_layer().items()}
        begin = residual[:, start : start + n].repeat(1, len(some), 1)
        plan = Plan(pack.segments, hidden=blocked, before=past)
        hidden = fast.resume(pack, plan, layer, begin, 1)[0]
        rows = [k * n + tail.answer for k in range(len(some))]
        found[first : first + len(some)] = _sums(fast, hidden, rows, [cut.answer] * len(some))
    return found
