"""Scores of rival papers for one step of a trace, as the planted benchmark compares them.

RSR, LALP, FAI and WAAD are those of :func:`airlens.influence` and :func:`airlens.rival_scores`. IFD
of a step (ours: Cherry LLM has it of a response) is its loss where it stands over its loss with
nothing before it. CircuitSeer scores whole texts only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from airlens.ablation import DEFAULT_MODE
from airlens.losses.choice import choose_engine
from airlens.losses.shared_beginnings import score_all
from airlens.losses.windows import Window, WindowLoss
from airlens.step_influence.attention_flow import MOST, attention_flow
from airlens.step_influence.ifd import head_of
from airlens.step_influence.influence import rank_surprisal
from airlens.step_influence.local_likelihood import local_likelihoods
from airlens.step_influence.rival_scores import mean_of_known
from airlens.traces.chat_template import Template
from airlens.traces.encoding import EncodedTrace
from airlens.traces.model_encoding import encode_for
from airlens.traces.trace import Trace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

SCORES = ("rsr", "ifd", "lalp", "fai", "waad")
LOW_IS_KEPT = ("rsr",)


def rival_steps(
    model: TransformerBridge,
    traces: Sequence[Trace],
    steps: Sequence[int],
    windows: Sequence[Window],
    losses: Sequence[WindowLoss],
    template: Template = "auto",
) -> list[dict[str, float]]:
    """`SCORES` of one step of each trace; NaN where there is nothing to score.

    Args:
        model: the bridge.
        traces: the texts.
        steps: which step of each.
        windows: each text up to the end of that step, whose tokens are the scored ones.
        losses: of these windows.
        template: how the prompt is put before the response.
    """
    encoded = encode_for(model, traces, template)
    longest = min(max(len(e.tokens) for e in encoded), int(model.cfg.n_ctx))
    engine = choose_engine(model, "auto", longest=longest)
    local = local_likelihoods(model, encoded, only=steps, engine=engine, progress=False)
    short = [_some_after(e, step) for e, step in zip(encoded, steps, strict=True)]
    flows = attention_flow(model, short, engine=engine)
    alone = _alone(model, windows)
    rows = []
    for k, (loss, bare) in enumerate(zip(losses, alone, strict=True)):
        both = ~np.isnan(bare)
        inside = short[k].step == steps[k]
        rows.append(
            {
                "rsr": rank_surprisal(loss, np.ones(len(loss.base), bool)),
                "ifd": mean_of_known(loss.base[both]) / mean_of_known(bare[both]),
                "lalp": mean_of_known(local[k][0]),
                "fai": mean_of_known(flows[k].fai[inside]),
                "waad": mean_of_known(flows[k].waad[inside]),
            }
        )
    return rows


def _some_after(encoded: EncodedTrace, step: int) -> EncodedTrace:
    """A text up to so many tokens after a step as FAI looks at."""
    n = int(np.flatnonzero(encoded.step == step)[-1]) + 1 + MOST
    tokens = encoded.tokens[: encoded.response_start + n]
    return replace(encoded, tokens=tokens, offsets=encoded.offsets[:n], step=encoded.step[:n])


def _alone(model: TransformerBridge, windows: Sequence[Window]) -> list[np.ndarray]:
    """NLL of the scored tokens of each window with nothing before them; NaN where unpredicted."""
    head = head_of(model.tokenizer)
    first = max(1, len(head))
    bare = [Window([*head, *w.tokens[w.first :]], first, 0) for w in windows]
    usable = [w for w in bare if w.n_scored > 0]
    found = iter(score_all(model, usable, [], DEFAULT_MODE))
    rows = []
    for window, own in zip(windows, bare, strict=True):
        nll = np.full(window.n_scored, np.nan, np.float32)
        if own.n_scored > 0:
            nll[first - len(head) :] = next(found).base
        rows.append(nll)
    return rows
