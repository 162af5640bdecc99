"""Attention Influence Score of tokens, steps and samples (AIR; AttentionInfluence eq. 5).

    AIS = (L_ref - L_base) / L_base

L is the mean token NLL, in nats, of the base model and of the reference model, which is the base
model with its retrieval heads ablated. Beside each AIS stands the same for random heads. Of single
tokens only the difference is given: their ratio explodes where the base model is certain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from airlens.ablation import DEFAULT_MODE, MeanZ, Mode, mean_z
from airlens.arguments import checked
from airlens.control_kinds import Control
from airlens.folders import load_tables, save_tables
from airlens.heads import HeadGrid, Heads
from airlens.losses.choice import Engine, choose_engine
from airlens.losses.fast.low_precision import Precision, precision_on
from airlens.losses.token_losses import trace_losses
from airlens.losses.windows import Long, WindowLoss
from airlens.model.heads import heads_in
from airlens.model.load import need_bridge
from airlens.model.state import running
from airlens.provenance import provenance
from airlens.traces.chat_template import Template, Think, resolve_template, template_note
from airlens.traces.encoding import EncodedTrace
from airlens.traces.model_encoding import encode_for
from airlens.traces.novel_tokens import novel_tokens
from airlens.traces.readings import how_read
from airlens.traces.trace import Trace, as_traces, check_ids

from .settings import CONTROLS, FLOOR, Scope, ScoreSettings

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


TOKEN_COLUMNS = [
    *("id", "step", "pos", "token_id", "token", "start", "end"),
    *("nll_base", "nll_ref", "delta", "entropy", "rank", "nll_control", "delta_control"),
]
_MORE = ("novel", "ais_novel", "ais_novel_control", "rsr")
_LOSSES = [
    *("loss_base", "loss_ref", "delta", "ais", "entropy"),
    *("loss_control", "delta_control", "ais_control", "ais_control_std", "below_floor"),
]
STEP_COLUMNS = ["id", "domain", "step", "label", "text", "n_tokens", *_LOSSES, *_MORE]
_COUNTS = ("n_tokens", "n_prompt_tokens", "n_left_out", "n_steps")
SAMPLE_COLUMNS = ["id", "domain", *_COUNTS, *_LOSSES, *_MORE]
CONTROL_COLUMNS = ["id", "draw", "loss_control", "ais_control"]
STEP_CONTROL_COLUMNS = ["id", "step", "draw", "loss_control"]
TABLES = ("tokens", "steps", "samples", "controls", "step_controls")
# RSR (2601.14249, and the authors' code): a rank counts as no more than this, a sum of NLLs as no
# less than that.
RANKS, TINY = 100, 1e-12


@dataclass(frozen=True)
class Influence:
    """The effect of ablating the heads on every token, step and sample, as tidy tables.

    All losses are mean token NLL in nats; ``ref`` is the ablated model, ``control`` the mean over
    draws of random heads (NaN without), ``delta`` is ref - base, ``ais`` is delta / base.

    Attributes:
        tokens: one row a response token: id, step, pos, token_id, token, start, end, nll_base,
            nll_ref, delta, entropy, rank (of the token by the base model's logits, 1 the highest),
            nll_control, delta_control.
        steps: one row a step: id, domain, step, label, text, n_tokens, and loss_base, loss_ref,
            delta, ais, entropy, loss_control, delta_control, ais_control, ais_control_std (over
            draws), below_floor; novel (share of the tokens that are no copy,
            :mod:`airlens.traces.novel_tokens`), ais_novel and ais_novel_control (AIS over those
            alone; 0 without any); rsr (:func:`rank_surprisal`).
        samples: one row a trace: id, domain, n_tokens, n_prompt_tokens, n_left_out, n_steps, and
            the losses of ``steps``, down to rsr.
        controls: one row a trace and draw: id, draw, loss_control, ais_control.
        provenance: model, heads, mode, settings, versions.
        step_controls: one row a step and draw: id, step, draw, loss_control. A comparison with
            random heads needs them one by one: their mean hides how much they differ.
    """

    tokens: pd.DataFrame
    steps: pd.DataFrame
    samples: pd.DataFrame
    controls: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)
    step_controls: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=STEP_CONTROL_COLUMNS)
    )

    def save(self, folder: str | Path) -> Path:
        """Write the tables as Parquet and the provenance as JSON into ``folder``."""
        tables = {name: getattr(self, name) for name in TABLES}
        return save_tables(folder, tables, self.provenance)

    @classmethod
    def load(cls, folder: str | Path) -> Influence:
        """Read what :meth:`save` wrote; :class:`DataError` where that is not there whole."""
        # Folders saved before steps had their controls one by one lack that table.
        kept = (Path(folder) / "step_controls.parquet").is_file()
        names = TABLES if kept else [name for name in TABLES if name != "step_controls"]
        tables, note = load_tables(folder, names, "a saved influence")
        return cls(**tables, provenance=note)


@checked
def influence(
    model: TransformerBridge,
    traces: Iterable[Trace] | Trace,
    heads: Heads,
    *,
    mode: Mode = DEFAULT_MODE,
    controls: int = CONTROLS,
    control: Control = "same_layers",
    seed: int = 0,
    scope: Scope = "response",
    template: Template = "auto",
    think: Think = "auto",
    long: Long = "stride",
    floor: float = FLOOR,
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    engine: Engine = "auto",
    precision: Precision = "full",
    progress: bool = True,
) -> Influence:
    """Measure what ablating ``heads`` costs each token, step and sample of the traces.

    Args:
        model: the bridge.
        traces: what is scored; a trace without steps counts as one step.
        heads: the critical heads, e.g. ``scores.top(0.05)``.
        mode: ablation mode, see :mod:`airlens.ablation`.
        controls: draws of as many random heads, disjoint from ``heads``; 0 for none.
        control: where the random heads come from: the layers of ``heads`` first, or anywhere.
        seed: of the draws.
        scope: ``response``: response tokens only, the prompt is context (AIR). ``document``: every
            token of prompt and response, as plain text (AttentionInfluence).
        template: how a prompt is put before its response: ``chat``, ``plain``, or ``auto``.
        think: how a thought in a response is written: ``auto``, once and as the chat template
            writes it; ``text``, as it stands behind the template's opening
            (:func:`airlens.traces.chat_template.write`).
        long: a trace longer than the context is scored in strides or cut.
        floor: where L_base is under this many nats, AIS is NaN and ``below_floor`` is set.
        means: for ``mode="mean"``, from :func:`~airlens.ablation.mean_z`.
        max_tokens_per_batch: bounds memory.
        engine: ``hooks``, ``fast``, or ``auto``: the fast one where it can run
            (:mod:`airlens.losses.fast`).
        precision: ``bf16`` multiplies matrices in bf16: faster, and single tokens move by some
            hundredths of a nat. Where it would not be faster it is said and ``full`` is noted.
        progress: show a progress bar.

    Raises:
        ConfigError, HeadError, DataError: bad arguments; see the message.
        NumbersError: the model gave NaN or infinity for a token to be scored.
    """
    settings = ScoreSettings(mode, controls, control, seed, scope, template, think, long, floor)
    return score_traces(
        model,
        as_traces(traces),
        heads,
        settings,
        means=means,
        max_tokens_per_batch=max_tokens_per_batch,
        engine=engine,
        precision=precision,
        progress=progress,
    )


def score_traces(
    model: TransformerBridge,
    traces: Sequence[Trace],
    heads: Heads,
    settings: ScoreSettings,
    *,
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    engine: Engine = "auto",
    precision: Precision = "full",
    progress: bool = True,
) -> Influence:
    """:func:`influence` with its settings in one object; a corpus run scores its parts so."""
    check_ids(traces)
    items = list(traces)
    if settings.scope == "document":
        items = [trace.as_document() for trace in items]
    need_bridge(model)
    with running(model) as state:
        heads = heads_in(model, heads)
        draws = settings.control_sets(HeadGrid(state.heads_per_layer), heads)
        asked, think = settings.written
        template = resolve_template(model.tokenizer, asked)
        encoded = encode_for(model, items, template, think)
        longest = min(max((len(e.tokens) for e in encoded), default=0), int(model.cfg.n_ctx))
        mode = settings.mode
        if mode == "mean" and means is None and len(heads):
            means = mean_z(model)
        chosen = choose_engine(model, engine, mode=mode, longest=longest)
        if chosen == "fast" and precision == "bf16":
            precision = precision_on(model.W_E.device, precision)
        losses = trace_losses(
            model,
            encoded,
            [heads, *draws],
            mode,
            long=settings.long,
            engine=chosen,
            precision=precision,
            means=means,
            max_tokens_per_batch=max_tokens_per_batch,
            progress=progress,
        )
        note = provenance(
            model,
            heads=heads.names(),
            head_set=heads.name,
            heads_from=heads.provenance.get("probes"),
            mode=mode,
            seed=settings.seed,
            controls=[d.names() for d in draws],
            control=settings.control,
            scope=settings.scope,
            **template_note(model.tokenizer, template, think),
            floor=settings.floor,
            n_traces=len(items),
            reading=how_read(items),
            long=settings.long,
            engine=chosen,
            precision=precision,
        )
    made = dict(zip(TABLES, tables(encoded, losses, settings.floor), strict=True))
    return Influence(**made, provenance=note)


def tables(
    encoded: Sequence[EncodedTrace], losses: Sequence[WindowLoss], floor: float = FLOOR
) -> tuple[pd.DataFrame, ...]:
    """(tokens, steps, samples, controls, step_controls) of all traces, in the order given.

    ``losses``: of each trace, the first row of ``ablated`` from the critical heads, the others from
    the draws of random heads.
    """
    both = list(zip(encoded, losses, strict=True))
    steps = [row for e, loss in both for row in _step_rows(e, loss, floor)]
    samples = [_sample_row(e, loss, floor) for e, loss in both]
    controls = [row for e, loss in both for row in _control_rows(e, loss, floor)]
    return (
        _token_table(encoded, losses),
        pd.DataFrame(steps, columns=STEP_COLUMNS),
        pd.DataFrame(samples, columns=SAMPLE_COLUMNS),
        pd.DataFrame(controls, columns=CONTROL_COLUMNS),
        _step_control_table(both),
    )


def _token_table(encoded: Sequence[EncodedTrace], losses: Sequence[WindowLoss]) -> pd.DataFrame:
    """All tokens in one table, built at once: a DataFrame per trace would cost more time."""
    if not encoded:
        return pd.DataFrame(columns=TOKEN_COLUMNS)
    counts = [e.n_response for e in encoded]
    texts = [e.trace.response[a:b] for e in encoded for a, b in e.offsets.tolist()]
    base = np.concatenate([loss.base for loss in losses])
    ref = np.concatenate([loss.ablated[0] for loss in losses])
    control = np.concatenate([_mean(loss.ablated[1:]) for loss in losses])
    offsets = np.concatenate([e.offsets for e in encoded])
    ids = [e.tokens[e.response_start :] for e in encoded]
    return pd.DataFrame(
        {
            "id": pd.Series([e.trace.id for e in encoded]).repeat(counts).to_numpy(),
            "step": np.concatenate([e.step for e in encoded]),
            "pos": np.concatenate([np.arange(n) for n in counts]),
            "token_id": np.concatenate([np.asarray(row, dtype=np.int64) for row in ids]),
            "token": pd.Series(texts, dtype=object),
            "start": offsets[:, 0],
            "end": offsets[:, 1],
            "nll_base": base,
            "nll_ref": ref,
            "delta": ref - base,
            "entropy": np.concatenate([loss.entropy for loss in losses]),
            "rank": np.concatenate([_ranks(loss) for loss in losses]),
            "nll_control": control,
            "delta_control": control - base,
        },
        columns=TOKEN_COLUMNS,
    )


def _step_rows(e: EncodedTrace, loss: WindowLoss, floor: float) -> Iterable[dict[str, Any]]:
    novel = novel_tokens(e.tokens, e.response_start)
    for index, step in enumerate(e.trace.whole_steps()):
        row = {"id": e.trace.id, "domain": e.trace.domain, "step": index, "label": step.label}
        row |= novel_summary(loss, e.step == index, novel, floor)
        row["rsr"] = rank_surprisal(loss, e.step == index)
        yield {**row, "text": step.text, **summary(loss, e.step == index, floor)}


def _sample_row(e: EncodedTrace, loss: WindowLoss, floor: float) -> dict[str, Any]:
    whole = np.ones(e.n_response, dtype=bool)
    return {
        "id": e.trace.id,
        "domain": e.trace.domain,
        "n_prompt_tokens": e.response_start,
        "n_left_out": int(np.isnan(loss.base).sum()),
        "n_steps": len(e.trace.whole_steps()),
        **summary(loss, whole, floor),
        **novel_summary(loss, whole, novel_tokens(e.tokens, e.response_start), floor),
        "rsr": rank_surprisal(loss, whole),
    }


def _control_rows(e: EncodedTrace, loss: WindowLoss, floor: float) -> Iterable[dict[str, Any]]:
    scored = ~np.isnan(loss.base)
    base = _mean_of(loss.base[scored])
    for draw, value in enumerate(_mean_of(row[scored]) for row in loss.ablated[1:]):
        ais = (value - base) / base if base >= floor else np.nan
        yield {"id": e.trace.id, "draw": draw, "loss_control": value, "ais_control": ais}


def _step_control_table(both: Sequence[tuple[EncodedTrace, WindowLoss]]) -> pd.DataFrame:
    """Mean loss of each step under each draw of random heads; NaN where no token was scored."""
    parts = []
    for e, loss in both:
        draws, n = len(loss.ablated) - 1, len(e.trace.whole_steps())
        if draws < 1 or not n:
            continue
        known = ~np.isnan(loss.base) & (e.step >= 0)
        size = np.bincount(e.step[known], minlength=n)
        sums = [np.bincount(e.step[known], row[known], minlength=n) for row in loss.ablated[1:]]
        means = np.divide(sums, size, out=np.full((draws, n), np.nan), where=size > 0)
        step, draw = np.tile(np.arange(n), draws), np.repeat(np.arange(draws), n)
        part = {"id": e.trace.id, "step": step, "draw": draw, "loss_control": means.ravel()}
        parts.append(pd.DataFrame(part))
    if not parts:
        return pd.DataFrame(columns=STEP_CONTROL_COLUMNS)
    return pd.concat(parts, ignore_index=True)


def summary(loss: WindowLoss, where: np.ndarray, floor: float) -> dict[str, Any]:
    """Token count and losses of the tokens in the mask ``where`` (bool [n]).

    Means are taken in float64, so that step sums add up to the sample's.

    >>> loss = WindowLoss(*map(np.array, ([1.0, 3.0], [0.5, 0.5], [[1.5, 3.5], [1.0, 4.0]])))
    >>> found = summary(loss, np.array([True, True]), FLOOR)
    >>> found["ais"], found["ais_control"]  # (2.5 - 2) / 2, for random heads too
    (0.25, 0.25)
    """
    where = where & ~np.isnan(loss.base)  # the same tokens for base, ablated and controls
    base = _mean_of(loss.base[where])
    ref = _mean_of(loss.ablated[0][where])
    draws = np.asarray([_mean_of(row[where]) for row in loss.ablated[1:]])
    usable = base >= floor
    ratios = (draws - base) / base if usable else np.full(len(draws), np.nan)
    return {
        "n_tokens": int(where.sum()),
        "loss_base": base,
        "loss_ref": ref,
        "delta": ref - base,
        "ais": (ref - base) / base if usable else np.nan,
        "entropy": _mean_of(loss.entropy[where]),
        "loss_control": _mean_of(draws),
        "delta_control": _mean_of(draws) - base,
        "ais_control": _mean_of(ratios),
        "ais_control_std": float(np.std(ratios)) if len(ratios) else np.nan,
        "below_floor": bool(base < floor),
    }


def novel_summary(
    loss: WindowLoss, where: np.ndarray, novel: np.ndarray, floor: float
) -> dict[str, float]:
    """AIS of what is no copy, of the tokens in the mask ``where`` (ours).

    Every token of a restatement is fetched by the heads that are ablated, so AIS puts restatements
    above reasoning. Over the novel tokens alone (bool [n] ``novel``) it does not; text without one
    scores 0.

    Returns:
        novel (share of the scored tokens), ais_novel, ais_novel_control; NaN where none is scored.
    """
    scored = where & ~np.isnan(loss.base)
    share = float(novel[scored].mean()) if scored.any() else np.nan
    found = summary(loss, scored & novel, floor)
    ais, control = found["ais"], found["ais_control"]
    if share == 0:
        ais, control = 0.0, 0.0 if len(loss.ablated) > 1 else np.nan
    return {"novel": share, "ais_novel": ais, "ais_novel_control": control}


def rank_surprisal(loss: WindowLoss, where: np.ndarray) -> float:
    """Rank-surprisal ratio, RSR, of the tokens in the mask ``where`` (2601.14249; low is better).

    The sum of the ranks, each cut to `RANKS`, over the sum of the NLLs, in nats: large where tokens
    stand far down in what the model expects, small where it finds them improbable all the same. The
    ratio of sums, the clip and that ties count in the token's favour are those of the authors'
    code. The paper has it of a trajectory; of a step it is ours.

    Returns:
        NaN where no token was scored, or no rank was taken.

    >>> loss = WindowLoss(*map(np.array, ([1.0, 3.0], [0.5, 0.5], [], [1.0, 500.0])))
    >>> rank_surprisal(loss, np.array([True, True]))
    25.25
    """
    ranks = _ranks(loss)
    where = where & ~np.isnan(loss.base) & ~np.isnan(ranks)
    if not where.any():
        return float("nan")
    total = float(loss.base[where].sum(dtype=np.float64))
    return float(np.minimum(ranks[where], RANKS).sum(dtype=np.float64)) / max(total, TINY)


def _ranks(loss: WindowLoss) -> np.ndarray:
    """Ranks of all tokens; NaN where none were taken."""
    return loss.rank if len(loss.rank) else np.full_like(loss.base, np.nan)


def _mean_of(values: np.ndarray) -> float:
    """Mean in float64; NaN of nothing."""
    known = values.astype(np.float64)
    return float(np.add.reduce(known) / len(known)) if len(known) else float("nan")


def _mean(rows: np.ndarray) -> np.ndarray:
    """Mean over draws of [draws, n]; NaN [n] without draws."""
    if not len(rows):
        return np.full(rows.shape[1], np.nan, np.float32)
    return np.asarray(rows.mean(axis=0, dtype=np.float64), dtype=np.float32)
