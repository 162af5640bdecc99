"""What each step of a trace does for its answer: early answers (Lanham et al. 2307.13702).

A trace is cut after every step, a forcing text asks for the answer, and two things are read: the
answer that the model would give now, and A_k = log p(a | x, s_1 … s_k, f), the log-probability of
the trace's own answer a, summed over its tokens. What step k adds is its gain A_k - A_(k-1); the
same is read with the critical heads ablated, and with as many random ones. The answer depends on a
step as far as its log-probability falls when the heads may not attend to the step: from the rows
behind the cut alone (direct), or from every row after the step (total, the knockout of
`airlens.step_sources`). Thought Anchors (2506.19143) call an answer read so a forced one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from airlens.ablation import DEFAULT_MODE, MeanZ, Mode, mean_z
from airlens.arguments import checked, each, named, reader
from airlens.control_kinds import Control
from airlens.errors import NumbersError, need_columns
from airlens.folders import load_tables, save_tables
from airlens.heads import HeadGrid, Heads, HeadSet
from airlens.losses import knockout
from airlens.losses.choice import Engine, choose_engine
from airlens.losses.fast import knockout as fast_knockout
from airlens.losses.fast.slices import Told
from airlens.model.heads import heads_in
from airlens.model.load import need_bridge
from airlens.model.state import not_finite, running
from airlens.provenance import provenance
from airlens.traces.answers import AnswerFrom, says, without_ending
from airlens.traces.chat_template import Template, Think, resolve_template, template_note
from airlens.traces.model_encoding import encode_for
from airlens.traces.readings import how_read
from airlens.traces.trace import Trace, as_traces, check_ids

from .cut_losses import CutLosses, Said, cut_window, looped, steps_before
from .cut_passes import forked
from .forcing import (
    FORCING,
    AnswerOf,
    Contrast,
    CutTrace,
    check_answers,
    check_contrast,
    cut_trace,
    ended,
    forcing_text,
)
from .settings import CONTROLS, ScoreSettings

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

log = logging.getLogger(__name__)

Depends: TypeAlias = Literal["direct", "total"]
reader("Sequence[Depends]")(each(named(get_args(Depends))))

STEP_COLUMNS = [
    *("id", "step", "answer_now", "p_now", "logp_base", "logp_ref", "logp_control"),
    *("logp_contrast", "gain", "gain_ref", "gain_control", "right_base", "right_ref"),
    "states_answer",
]
DEPEND_COLUMNS = [
    *("id", "step", "states_answer", "direct", "direct_control", "direct_all"),
    *("total", "total_control", "total_all"),
]
SAMPLE_COLUMNS = [
    *("id", "domain", "answer", "answer_from", "missing", "contrast", "n_steps", "n_left_out"),
    *("n_answer_tokens", "asked_after", "decided_at", "decided_at_ref", "area", "area_ref"),
    *("area_control", "gain", "gain_ref", "gain_control", "depends"),
]
CONTROL_COLUMNS = ["id", "step", "draw", "logp_control"]
TABLES = {
    "steps": STEP_COLUMNS,
    "depends": DEPEND_COLUMNS,
    "samples": SAMPLE_COLUMNS,
    "controls": CONTROL_COLUMNS,
}


@dataclass(frozen=True)
class EarlyAnswers:
    """The answers of traces cut after each step, as tidy tables.

    Log-probabilities are in nats, summed over the tokens of the answer; ``ref`` is the ablated
    model, ``control`` the mean over draws of random heads (NaN without).

    Attributes:
        steps: one row a cut: id, step (the last one before the cut; -1 before the first step),
            answer_now (what the model would answer there), p_now (its probability), logp_base,
            logp_ref, logp_control (of the trace's answer), logp_contrast (of a wrong answer,
            under the model; NaN without one), gain, gain_ref, gain_control (what the step adds to
            each; NaN in the row before the first step), right_base, right_ref (whether the answer
            given there is the trace's), states_answer (whether the step writes the answer: its
            gain is trivial).
        depends: one row a step before the answer is written: id, step, states_answer, and the fall
            of the answer's log-probability when the step is hidden from the critical heads
            (direct, total), from random ones (``_control``), and from all heads (``_all``); NaN
            for what was not asked for.
        samples: one row a trace, also one without an answer: id, domain, answer, answer_from
            (field, hashes, boxed, option, function), missing (why nothing was measured, or ""),
            contrast (the wrong answer, "" where there is none or each cut has its own), n_steps,
            n_left_out (cuts that the context does not hold), n_answer_tokens, asked_after (the
            step after which ``depends`` is asked; -1 before the first), decided_at,
            decided_at_ref (the first step from which on the answer given is right; NA where the
            last one is not), area, area_ref, area_control (mean over the cuts of the answer's
            probability, 0 to 1), gain, gain_ref, gain_control (what all steps up to ``asked_after``
            add), depends (sum of the direct falls, of the critical heads).
        controls: one row a cut and draw: id, step, draw, logp_control.
        provenance: model, heads, forcing text, settings, versions.
    """

    steps: pd.DataFrame
    depends: pd.DataFrame
    samples: pd.DataFrame
    controls: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)

    def on_steps(self, steps: pd.DataFrame) -> pd.DataFrame:
        """``Influence.steps`` with what is known here of each step: gain, depends, and the like.

        For ``al.step_weights(early.on_steps(result.steps), by="gain")``, or a selection of steps.
        ``depends`` is ``direct``, and 0 for the steps that come once the answer is written: it
        cannot depend on them. Steps of a trace without an answer have no value.
        """
        need_columns(steps, ["id", "step"], "EarlyAnswers.on_steps")
        known = self.steps.drop(columns="answer_now")
        falls = self.depends[["id", "step", "direct", "direct_control", "direct_all"]]
        joined = steps.merge(known, how="left", on=["id", "step"], suffixes=("", "_early"))
        joined = joined.merge(falls, how="left", on=["id", "step"])
        # The same types whether or not any trace has an answer.
        flags = {"right_base", "right_ref", "states_answer"}
        for name in [*known.columns.drop(["id", "step"]), *falls.columns.drop(["id", "step"])]:
            joined[name] = joined[name].astype("boolean" if name in flags else "float64")
        after = joined["gain"].notna() & joined["direct"].isna()
        return joined.assign(depends=joined["direct"].mask(after, 0.0))

    def save(self, folder: str | Path) -> Path:
        """Write the tables as Parquet and the provenance as JSON into ``folder``."""
        return save_tables(folder, {name: getattr(self, name) for name in TABLES}, self.provenance)

    @classmethod
    def load(cls, folder: str | Path) -> EarlyAnswers:
        """Read what :meth:`save` wrote; :class:`DataError` where that is not there whole."""
        tables, note = load_tables(folder, TABLES, "saved early answers")
        return cls(**tables, provenance=note)


@checked
def early_answers(
    model: TransformerBridge,
    traces: Iterable[Trace] | Trace,
    heads: Heads,
    *,
    mode: Mode = DEFAULT_MODE,
    controls: int = CONTROLS,
    control: Control = "same_layers",
    seed: int = 0,
    answers: AnswerFrom | AnswerOf = "auto",
    forcing: str = FORCING,
    contrast: Contrast | AnswerOf = "near",
    depends: Sequence[Depends] = ("direct",),
    template: Template = "auto",
    think: Think = "auto",
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    engine: Engine = "auto",
    progress: bool = True,
) -> EarlyAnswers:
    r"""What each step adds to the probability of the answer, and how much of that the heads carry.

    Args:
        model: the bridge.
        traces: with steps; a trace without counts as one step. One without an answer has a row in
            ``samples`` that says so.
        heads: the critical heads, e.g. ``scores.top(0.05)``; without any, ref is base.
        mode: ablation mode, see :mod:`airlens.ablation`.
        controls: draws of as many random heads, disjoint from ``heads``; 0 for none.
        control: where the random heads come from: the layers of ``heads`` first, or anywhere.
        seed: of the draws.
        answers: where the answer is named: ``field`` (`Trace.answer`), ``hashes`` (after
            ``####``), ``boxed``, ``option``, the first of them (``auto``); or a function from a
            trace to its answer, or None.
        forcing: what asks for the answer behind a cut: ``sentence`` ("The final answer is"),
            ``question``, ``hashes``, ``boxed``, or a text of your own. A thought that is open at
            the cut is closed first, as the chat template does it.
        contrast: a wrong answer beside the right one: ``near`` (another last digit or letter, as
            many tokens), ``last`` (the last number before the cut that is not the answer),
            ``none``, or a function of a trace.
        depends: how steps are hidden: ``direct`` (cheap), ``total`` (a pass of the rest of the
            trace for each step and head set); none for an empty list.
        template: how a prompt is put before its response: ``chat``, ``plain``, or ``auto``.
        think: how a thought in a response is written, see :func:`airlens.influence`.
        means: for ``mode="mean"``, from :func:`~airlens.ablation.mean_z`.
        max_tokens_per_batch: bounds tokens times head sets that are computed at once, and so
            memory: a longer pass runs in slices.
        engine: ``hooks`` (a loop over the cuts), ``fast`` (one pass for all), or ``auto``.
        progress: show a progress bar.

    Raises:
        ConfigError, HeadError, DataError: bad arguments; see the message.
        NumbersError: the model gave NaN or infinity for a trace.
        AblationError: steps cannot be hidden in this kind of attention with ``engine="hooks"``.
    """
    settings = ScoreSettings(mode, controls, control, seed, template=template, think=think)
    text = forcing_text(forcing)
    check_contrast(contrast)
    check_answers(answers)
    items = as_traces(traces)
    check_ids(items)
    need_bridge(model)
    with running(model) as state:
        heads = heads_in(model, heads)
        grid = HeadGrid(state.heads_per_layer)
        draws = settings.control_sets(grid, heads)
        template = resolve_template(model.tokenizer, template)
        encoded = encode_for(model, items, template, think)
        n_ctx = int(model.cfg.n_ctx)
        cut = [
            cut_trace(
                model.tokenizer,
                e,
                n_ctx,
                answers=answers,
                forcing=forcing,
                contrast=contrast,
                template=template,
                think=think,
            )
            for e in encoded
        ]
        _say_missing(cut)
        if mode == "mean" and means is None and len(heads):
            means = mean_z(model)
        longest = max((c.length for one in cut for c in one.cuts), default=0)
        chosen = choose_engine(model, engine, mode=mode, longest=longest)
        every = grid.all_heads()
        ask = _Ask([heads, *draws], [*([heads] if len(heads) else []), *draws, every], depends)
        run = _run(model, cut, ask, mode, means, chosen, max_tokens_per_batch, progress)
        note = provenance(
            model,
            heads=heads.names(),
            head_set=heads.name,
            heads_from=heads.provenance.get("probes"),
            mode=mode,
            seed=seed,
            controls=[d.names() for d in draws],
            control=control,
            answers=_name(answers),
            forcing=forcing,
            forcing_text=text,
            contrast=_name(contrast),
            depends=list(depends),
            **template_note(model.tokenizer, template, think),
            n_traces=len(items),
            reading=how_read(items),
            engine=chosen,
        )
    return EarlyAnswers(**run, provenance=note)


def _name(value: str | AnswerOf) -> str:
    return value if isinstance(value, str) else getattr(value, "__qualname__", repr(value))


def _say_missing(cut: Sequence[CutTrace]) -> None:
    for reason in dict.fromkeys(one.missing for one in cut if one.missing):
        ids = [one.encoded.trace.id for one in cut if one.missing == reason]
        names = ", ".join(map(repr, ids[:3])) + (", …" if len(ids) > 3 else "")
        log.warning("%d of %d traces left out: %s (%s)", len(ids), len(cut), reason, names)


@dataclass(frozen=True)
class _Ask:
    """Head sets that are ablated (the critical ones first), those that steps are hidden from (the
    critical ones first, if any, all heads last), and in which ways.
    """

    ablated: Sequence[HeadSet]
    hidden_from: Sequence[HeadSet]
    depends: Sequence[str]


def _run(
    model: TransformerBridge,
    cut: Sequence[CutTrace],
    ask: _Ask,
    mode: Mode,
    means: MeanZ | None,
    engine: str,
    max_tokens_per_batch: int | None,
    progress: bool,
) -> dict[str, pd.DataFrame]:
    """The tables, by name."""
    knocked_out = (fast_knockout if engine == "fast" else knockout).knocked_out
    direct = ask.hidden_from if "direct" in ask.depends else []
    found: dict[str, list[Any]] = {name: [] for name in TABLES}
    total = sum(len(one.encoded.tokens) for one in cut)
    with tqdm(total=total, unit="tok", desc="early answers", disable=not progress) as bar:
        for one in cut:
            if one.missing:
                found["samples"].append(_sample(one))
                continue
            told = Told(len(one.encoded.tokens), bar.update)
            read = partial(forked, on_share=told.up_to) if engine == "fast" else looped
            losses = read(model, one, ask.ablated, direct, mode, means, max_tokens_per_batch)
            known = [losses.answer, losses.direct]
            window, spans = None, steps_before(one)
            falls = np.full((len(ask.hidden_from), len(spans)), np.nan)
            if "total" in ask.depends and spans:
                at = one.cuts[one.written]
                window = cut_window(one, at, at.answer)
                hidden = knocked_out(
                    model, window, spans, ask.hidden_from, max_tokens_per_batch=max_tokens_per_batch
                )
                # The base pass of the knockouts themselves: to the bit 0 where nothing changes.
                falls = (hidden.nll - hidden.base).sum(axis=-1, dtype="f8")
                known.append(falls)
            if not all(np.isfinite(values).all() for values in known):
                place = f"trace {one.encoded.trace.id!r}"
                raise NumbersError(not_finite(model, "NaN or infinity"), place=place)
            steps = _steps(model, one, losses)
            found["steps"].append(steps)
            found["controls"].append(_controls(one, losses))
            depends = _depends(one, losses, falls, ask)
            found["depends"].append(depends)
            found["samples"].append(_sample(one, steps, depends))
            told.up_to(1)
    samples = pd.DataFrame(found.pop("samples"), columns=SAMPLE_COLUMNS)
    for name in ("n_answer_tokens", "asked_after", "decided_at", "decided_at_ref"):
        samples[name] = samples[name].astype("Int64")
    tables = {
        name: pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=TABLES[name])
        for name, parts in found.items()
    }
    return {**tables, "samples": samples}


def _steps(model: TransformerBridge, cut: CutTrace, losses: CutLosses) -> pd.DataFrame:
    base, ref, control = losses.answer[0], losses.answer[1], _mean(losses.answer[2:])
    now = [_answer_now(model, said) for said in losses.said]
    ref_now = [_answer_now(model, said) for said in losses.said_ref]
    table = {
        "id": cut.encoded.trace.id,
        "step": [c.step for c in cut.cuts],
        "answer_now": [text for text, _ in now],
        "p_now": [p for _, p in now],
        "logp_base": base,
        "logp_ref": ref,
        "logp_control": control,
        "logp_contrast": losses.contrast,
        "gain": _gains(base),
        "gain_ref": _gains(ref),
        "gain_control": _gains(control),
        "right_base": [says(text, cut.answer) for text, _ in now],
        "right_ref": [says(text, cut.answer) for text, _ in ref_now],
        "states_answer": [c.step >= 0 and cut.states[c.step] for c in cut.cuts],
    }
    return pd.DataFrame(table, columns=STEP_COLUMNS)


def _answer_now(model: TransformerBridge, said: Said) -> tuple[str, float]:
    """Text and probability of a greedy answer, without what only ends it."""
    n = ended(model.tokenizer, said.tokens)
    n = len(said.tokens) if n is None else n
    texts = [str(model.tokenizer.decode(list(said.tokens[:k]))) for k in range(n + 1)]
    answer = without_ending(texts[n])
    # A token that adds nothing but a full stop or a brace is not the answer's.
    while n and without_ending(texts[n - 1]) == answer:
        n -= 1
    return answer, float(np.exp(sum(said.logp[:n])))


def _gains(logp: np.ndarray) -> np.ndarray:
    return np.diff(logp, prepend=np.nan)


def _mean(rows: np.ndarray) -> np.ndarray:
    """Mean over draws of [draws, n]; NaN without draws."""
    return rows.mean(axis=0) if len(rows) else np.full(rows.shape[1:], np.nan)


def _controls(cut: CutTrace, losses: CutLosses) -> pd.DataFrame:
    draws, n = losses.answer[2:], len(cut.cuts)
    table = {
        "id": cut.encoded.trace.id,
        "step": np.tile([c.step for c in cut.cuts], len(draws)),
        "draw": np.repeat(np.arange(len(draws)), n),
        "logp_control": draws.ravel(),
    }
    return pd.DataFrame(table, columns=CONTROL_COLUMNS)


def _depends(cut: CutTrace, losses: CutLosses, total: np.ndarray, ask: _Ask) -> pd.DataFrame:
    """Falls when a step is hidden; ``total``: those of the knockouts, [H, J], NaN without them."""
    n = total.shape[1]
    falls = {"direct": np.full_like(total, np.nan), "total": total}
    if "direct" in ask.depends:
        falls["direct"] = losses.answer[0, cut.written] - losses.direct
    table: dict[str, Any] = {
        "id": cut.encoded.trace.id,
        "step": np.arange(n),
        "states_answer": np.array(cut.states[:n], bool),
    }
    for name, rows in falls.items():
        some = rows[:-1]
        table[name] = some[0] if len(some) else 0 * rows[-1]  # hidden from no heads: nothing
        table[f"{name}_control"] = _mean(some[1:])
        table[f"{name}_all"] = rows[-1]
    return pd.DataFrame(table, columns=DEPEND_COLUMNS)


def _sample(
    cut: CutTrace, steps: pd.DataFrame | None = None, depends: pd.DataFrame | None = None
) -> dict[str, Any]:
    trace = cut.encoded.trace
    row: dict[str, Any] = {
        "id": trace.id,
        "domain": trace.domain,
        "answer": cut.answer,
        "answer_from": cut.answer_from,
        "missing": cut.missing,
        "contrast": cut.contrast,
        "n_steps": len(trace.whole_steps()),
        "n_left_out": cut.n_left_out,
    }
    if steps is None or depends is None:
        return row
    asked = cut.cuts[cut.written]
    row |= {"n_answer_tokens": len(asked.answer), "asked_after": asked.step}
    whole = not cut.n_left_out
    for kind in ("base", "ref", "control"):
        suffix = kind.replace("base", "") and f"_{kind}"
        logp = steps[f"logp_{kind}"].to_numpy("f8")
        row[f"area{suffix}"] = float(np.exp(logp).mean())
        row[f"gain{suffix}"] = float(logp[cut.written] - logp[0])
        if kind != "control" and whole:
            row[f"decided_at{suffix}"] = _decided(steps, f"right_{kind}")
    row["depends"] = float(depends["direct"].sum(skipna=False)) if len(depends) else np.nan
    return row


def _decided(steps: pd.DataFrame, column: str) -> int | None:
    """The first step from which on the answer given is right."""
    wrong = np.flatnonzero(~steps[column].to_numpy(bool))
    first = int(wrong[-1]) + 1 if len(wrong) else 0
    return int(steps["step"].iloc[first]) if first < len(steps) else None
