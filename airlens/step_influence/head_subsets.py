"""What fewer heads do: each critical head ablated alone, and the strongest 2, 4, 8, … of them.

For a page on which a reader chooses the heads that are off (`airlens.page`). A set of m heads is
compared with the first m of each draw of random heads that the influence of all of them is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from airlens.ablation import DEFAULT_MODE, MeanZ, Mode, mean_z
from airlens.arguments import checked
from airlens.control_kinds import Control
from airlens.heads import HeadGrid, Heads, HeadSet
from airlens.losses.choice import Engine
from airlens.losses.token_losses import trace_losses
from airlens.losses.windows import WindowLoss
from airlens.model.heads import heads_in
from airlens.model.load import need_bridge
from airlens.model.state import running
from airlens.provenance import provenance
from airlens.traces.chat_template import Template, Think, resolve_template, template_note
from airlens.traces.encoding import EncodedTrace
from airlens.traces.model_encoding import encode_for
from airlens.traces.trace import Trace, as_traces, check_ids

from .influence import summary
from .settings import CONTROLS, ScoreSettings

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOKEN_COLUMNS = ["id", "set", "step", "pos", "delta", "delta_control"]
STEP_COLUMNS = ["id", "set", "step", "ais", "ais_control"]


@dataclass(frozen=True)
class HeadSubsets:
    """The influence of subsets of the critical heads.

    Attributes:
        sets: of each subset its heads: ``L18H6`` (that head alone), ``top 4`` (the first four).
        tokens: one row a subset and response token: id, set, step, pos, delta (nats),
            delta_control (mean over draws of as many random heads; NaN without).
        steps: one row a subset and step: id, set, step, ais, ais_control, as in
            :func:`airlens.influence`.
        provenance: model, heads, settings.
    """

    sets: dict[str, list[str]]
    tokens: pd.DataFrame
    steps: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)


def subsets_of(heads: HeadSet) -> dict[str, HeadSet]:
    """Each head alone, and the first 2, 4, 8, … of more than so many."""
    found = {str(head): HeadSet((head,), str(head)) for head in heads}
    m = 2
    while m < len(heads):
        found[f"top {m}"] = HeadSet(heads.heads[:m], f"top {m}")
        m *= 2
    return found


@checked
def head_subsets(
    model: TransformerBridge,
    traces: Iterable[Trace] | Trace,
    heads: Heads,
    *,
    mode: Mode = DEFAULT_MODE,
    controls: int = CONTROLS,
    control: Control = "same_layers",
    seed: int = 0,
    template: Template = "auto",
    think: Think = "auto",
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    engine: Engine = "auto",
    progress: bool = True,
) -> HeadSubsets:
    """Score traces with each critical head ablated alone, and with the strongest 2, 4, 8 and so on.

    Args:
        model: the bridge.
        traces: with steps.
        heads: the critical heads, the strongest first, as of ``scores.top(0.05)``.
        mode: ablation mode.
        controls: draws of random heads, those of :func:`airlens.influence` with the same seed.
        control: where the random heads come from.
        seed: of the draws.
        template: how a prompt is put before its response.
        think: how a thought in a response is written.
        means: for ``mode="mean"``, from :func:`~airlens.ablation.mean_z`.
        max_tokens_per_batch: bounds memory.
        engine: ``hooks``, ``fast``, or ``auto``.
        progress: show a progress bar.

    Raises:
        ConfigError, HeadError, DataError: bad arguments; see the message.
        NumbersError: the model gave NaN or infinity for a token to be scored.
    """
    settings = ScoreSettings(mode, controls, control, seed, template=template, think=think)
    items = as_traces(traces)
    check_ids(items)
    need_bridge(model)
    with running(model) as state:
        heads = heads_in(model, heads)
        draws = settings.control_sets(HeadGrid(state.heads_per_layer), heads)
        template = resolve_template(model.tokenizer, template)
        encoded = encode_for(model, items, template, think)
        if mode == "mean" and means is None and len(heads):
            means = mean_z(model)
        sets = subsets_of(heads)
        sizes = sorted({len(one) for one in sets.values()})
        random = {(m, d): HeadSet(draw.heads[:m]) for m in sizes for d, draw in enumerate(draws)}
        losses = trace_losses(
            model,
            encoded,
            [*sets.values(), *random.values()],
            mode,
            engine=engine,
            means=means,
            max_tokens_per_batch=max_tokens_per_batch,
            progress=progress,
        )
        note = provenance(
            model,
            heads=heads.names(),
            mode=mode,
            seed=seed,
            controls=[d.names() for d in draws],
            control=control,
            **template_note(model.tokenizer, template, think),
        )
    rows = {key: len(sets) + i for i, key in enumerate(random)}
    tokens: list[pd.DataFrame] = []
    steps: list[dict[str, Any]] = []
    for e, loss in zip(encoded, losses, strict=True):
        for row, (name, one) in enumerate(sets.items()):
            some = [row, *(at for (m, _), at in rows.items() if m == len(one))]
            mine = WindowLoss(loss.base, loss.entropy, loss.ablated[some], loss.rank)
            tokens.append(_tokens(e, name, mine))
            steps += _steps(e, name, mine, settings.floor)
    return HeadSubsets(
        {name: one.names() for name, one in sets.items()},
        pd.concat(tokens, ignore_index=True) if tokens else pd.DataFrame(columns=TOKEN_COLUMNS),
        pd.DataFrame(steps, columns=STEP_COLUMNS),
        note,
    )


def _tokens(e: EncodedTrace, name: str, loss: WindowLoss) -> pd.DataFrame:
    random = loss.ablated[1:]
    control = np.mean(random, axis=0) if len(random) else np.full_like(loss.base, np.nan)
    table = {
        "id": e.trace.id,
        "set": name,
        "step": e.step,
        "pos": np.arange(e.n_response),
        "delta": loss.ablated[0] - loss.base,
        "delta_control": control - loss.base,
    }
    return pd.DataFrame(table, columns=TOKEN_COLUMNS)


def _steps(e: EncodedTrace, name: str, loss: WindowLoss, floor: float) -> Iterator[dict[str, Any]]:
    for step in range(len(e.trace.whole_steps())):
        found = summary(loss, e.step == step, floor)
        scores = {column: found[column] for column in ("ais", "ais_control")}
        yield {"id": e.trace.id, "set": name, "step": step, **scores}
