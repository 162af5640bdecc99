"""What ablating retrieval heads costs, compared with ablating as many random heads.

The mirror table (measures of the base model, and with top or random heads ablated), and greedy
continuations under the same ablations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm.auto import tqdm

from airlens.ablation import MeanZ, Mode, ablated, mean_z
from airlens.arguments import checked, expected
from airlens.detectors.greedy_decoding import greedy_tokens
from airlens.detectors.probes import ProbeSet
from airlens.detectors.retrieval import copy_accuracy
from airlens.heads import HeadSet
from airlens.step_influence.ablation_curves import DRAWS, trace_nll
from airlens.traces.trace import Trace, as_traces

from .needles import conditions, needle_recall

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@checked
def mirror_table(
    model: TransformerBridge,
    heads: HeadSet,
    probes: ProbeSet,
    needles: ProbeSet,
    texts: Mapping[str, Sequence[Trace]],
    *,
    mode: Mode = "uniform",
    draws: int = DRAWS,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """AttentionInfluence's Table 6 at any scale: what masking top and random heads costs.

    Args:
        model: the bridge.
        heads: the critical heads.
        probes: for copy accuracy; other probes than those the heads were found on.
        needles: for needle recall, from :func:`~airlens.detectors.needle_probes.needle_probes`.
        texts: name of a measure ("GSM8K answer NLL") → the traces whose mean response NLL it is.
        mode: ablation mode.
        draws: of random heads.
        seed: of the draws.
        progress: show a progress bar.

    Returns:
        One row per measurement: measure, condition (base, random, top), draw, value,
        higher_is_better.
    """
    if not isinstance(texts, Mapping):
        raise expected("traces by name, {'mine': traces}", texts, "texts")
    texts = {name: as_traces(items, f"texts[{name!r}]") for name, items in texts.items()}
    means: MeanZ | None = mean_z(model) if mode == "mean" else None
    rows: list[dict[str, Any]] = []
    sets = conditions(model, heads, draws, seed)
    for condition, draw, ablate in tqdm(sets, desc="mirror table", disable=not progress):
        with ablated(model, ablate, mode, means=means):
            copied = copy_accuracy(model, probes).accuracy
            values = {"copy accuracy": (copied, True)}
            recall = float(needle_recall(model, needles)["recall"].mean())
            values["needle recall"] = (recall, True)
            values |= {name: (trace_nll(model, items), False) for name, items in texts.items()}
        for measure, (value, higher) in values.items():
            place = {"measure": measure, "condition": condition, "draw": draw}
            rows.append(place | {"value": value, "higher_is_better": higher})
    return pd.DataFrame(rows)


def mirror_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Summary of a :func:`mirror_table`, by measure: base, random, random_lo, random_hi, top.

    ``random`` is the mean over draws, ``random_lo`` and ``random_hi`` the lowest and the highest.
    """
    rows = []
    for measure, part in table.groupby("measure", sort=False):
        by = {str(name): group["value"] for name, group in part.groupby("condition")}
        rows.append(
            {
                "measure": measure,
                "base": float(by["base"].iloc[0]),
                "random": float(by["random"].mean()),
                "random_lo": float(by["random"].min()),
                "random_hi": float(by["random"].max()),
                "top": float(by["top"].iloc[0]),
            }
        )
    return pd.DataFrame(rows)


def say(
    model: TransformerBridge,
    prompt: str,
    heads: HeadSet,
    *,
    mode: Mode = "uniform",
    max_tokens: int = 60,
    seed: int = 0,
) -> pd.DataFrame:
    """Greedy continuations: base model, ``heads`` ablated, and random heads ablated.

    The prompt is used as given: apply a chat template before, if one is wanted.

    Returns:
        condition, pos, token (text of the generated token).
    """
    tokenizer = model.tokenizer
    ids = tokenizer(prompt)["input_ids"]
    rows = []
    for condition, _, ablate in conditions(model, heads, 1, seed):
        with ablated(model, ablate, mode):
            said = greedy_tokens(model, ids, max_tokens)
        if tokenizer.eos_token_id in said:
            said = said[: said.index(tokenizer.eos_token_id)]
        rows += [(condition, i, str(tokenizer.decode([t]))) for i, t in enumerate(said)]
    return pd.DataFrame(rows, columns=["condition", "pos", "token"])
