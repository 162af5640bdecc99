"""From token losses to tidy tables of tokens, steps, samples and controls.

Columns (losses in nats a token):

- tokens: id, step, pos, token_id, token, start, end, nll_base, nll_ref, delta, entropy,
  nll_control, delta_control
- steps: id, domain, step, label, text, n_tokens, loss_base, loss_ref, delta, ais, entropy,
  loss_control, delta_control, ais_control, ais_control_std, below_floor
- samples: id, domain, n_tokens, n_prompt_tokens, n_left_out, n_steps, then as steps
- controls: id, draw, loss_control, ais_control

``delta`` is ref - base, ``ais`` is delta / base; the columns with ``control`` are means over draws
(``ais_control_std`` their standard deviation), NaN without controls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .encode import EncodedTrace
from .trace import Step, Trace

# Ours: under this base loss (nats a token) the text is as good as known to the model, and a ratio
# to it says nothing.
FLOOR = 0.01

TOKEN_COLUMNS = [
    *("id", "step", "pos", "token_id", "token", "start", "end"),
    *("nll_base", "nll_ref", "delta", "entropy", "nll_control", "delta_control"),
]
_LOSSES = [
    *("loss_base", "loss_ref", "delta", "ais", "entropy"),
    *("loss_control", "delta_control", "ais_control", "ais_control_std", "below_floor"),
]
STEP_COLUMNS = ["id", "domain", "step", "label", "text", "n_tokens", *_LOSSES]
SAMPLE_COLUMNS = [
    *("id", "domain", "n_tokens", "n_prompt_tokens", "n_left_out", "n_steps"),
    *_LOSSES,
]
CONTROL_COLUMNS = ["id", "draw", "loss_control", "ais_control"]


@dataclass(frozen=True)
class TraceLoss:
    """NLL in nats of the n response tokens of one trace; NaN where a token was not scored.

    Attributes:
        base: fp32 [n].
        entropy: fp32 [n], of the base model.
        ref: fp32 [n], critical heads ablated.
        controls: fp32 [draws, n], random heads ablated.
    """

    base: np.ndarray
    entropy: np.ndarray
    ref: np.ndarray
    controls: np.ndarray


Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]


def tables(
    encoded: Sequence[EncodedTrace], losses: Sequence[TraceLoss], floor: float = FLOOR
) -> Tables:
    """(tokens, steps, samples, controls) of all traces, in the order given."""
    steps: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    controls: list[dict[str, Any]] = []
    for e, loss in zip(encoded, losses, strict=True):
        steps += _step_rows(e, loss, floor)
        samples.append(_sample_row(e, loss, floor))
        controls += _control_rows(e, loss, floor)
    return (
        _token_table(encoded, losses),
        pd.DataFrame(steps, columns=STEP_COLUMNS),
        pd.DataFrame(samples, columns=SAMPLE_COLUMNS),
        pd.DataFrame(controls, columns=CONTROL_COLUMNS),
    )


def steps_of(trace: Trace) -> tuple[Step, ...]:
    """The steps of a trace; a response that was not split is one step, an empty one has none."""
    text = trace.response
    return trace.steps or ((Step(text, 0, len(text)),) if text else ())


def _token_table(encoded: Sequence[EncodedTrace], losses: Sequence[TraceLoss]) -> pd.DataFrame:
    """All tokens in one table, made at once: a frame a trace costs more than a small model."""
    if not encoded:
        return pd.DataFrame(columns=TOKEN_COLUMNS)
    counts = [e.n_response for e in encoded]
    texts = [e.trace.response[a:b] for e in encoded for a, b in e.offsets.tolist()]
    base, ref, entropy = (
        np.concatenate([getattr(loss, name) for loss in losses])
        for name in ("base", "ref", "entropy")
    )
    control = np.concatenate([_mean(loss.controls) for loss in losses])
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
            "entropy": entropy,
            "nll_control": control,
            "delta_control": control - base,
        },
        columns=TOKEN_COLUMNS,
    )


def _step_rows(e: EncodedTrace, loss: TraceLoss, floor: float) -> Iterable[dict[str, Any]]:
    for index, step in enumerate(steps_of(e.trace)):
        row = {"id": e.trace.id, "domain": e.trace.domain, "step": index, "label": step.label}
        yield {**row, "text": step.text, **summary(loss, e.step == index, floor)}


def _sample_row(e: EncodedTrace, loss: TraceLoss, floor: float) -> dict[str, Any]:
    everything = np.ones(e.n_response, dtype=bool)
    return {
        "id": e.trace.id,
        "domain": e.trace.domain,
        "n_prompt_tokens": e.response_start,
        "n_left_out": int(np.isnan(loss.base).sum()),
        "n_steps": len(steps_of(e.trace)),
        **summary(loss, everything, floor),
    }


def _control_rows(e: EncodedTrace, loss: TraceLoss, floor: float) -> Iterable[dict[str, Any]]:
    base = _mean_of(loss.base)
    for draw, control in enumerate(loss.controls):
        value = _mean_of(control)
        ais = (value - base) / base if base >= floor else np.nan
        yield {"id": e.trace.id, "draw": draw, "loss_control": value, "ais_control": ais}


def summary(loss: TraceLoss, where: np.ndarray, floor: float) -> dict[str, Any]:
    """Token count and losses of the tokens in the mask ``where`` (bool [n]).

    Means are taken in float64, so that step sums add up to the sample's.
    """
    base = _mean_of(loss.base[where])
    ref = _mean_of(loss.ref[where])
    draws = np.asarray([_mean_of(row[where]) for row in loss.controls])
    usable = base >= floor
    ratios = (draws - base) / base if usable else np.full(len(draws), np.nan)
    return {
        "n_tokens": int((~np.isnan(loss.base[where])).sum()),
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


def _mean_of(values: np.ndarray) -> float:
    """Mean in float64 of what is not NaN; NaN if nothing is."""
    known = values[values == values].astype(np.float64)
    return float(np.add.reduce(known) / len(known)) if len(known) else float("nan")


def _mean(rows: np.ndarray) -> np.ndarray:
    """Mean over draws of [draws, n]; NaN [n] without draws."""
    if not len(rows):
        return np.full(rows.shape[1], np.nan, np.float32)
    return np.asarray(rows.mean(axis=0, dtype=np.float64), dtype=np.float32)
