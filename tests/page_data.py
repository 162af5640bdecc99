"""Results to put on a page: of a tiny model, with hostile text everywhere, and long ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from explore_tiny import HOSTILE, tiny_model, tiny_probes
from fake_sources import HEADS, fake_sources, long_trace

import airlens as al

HEADS_USED = "L0H1, L1H2, L2H0"
ENDINGS = "--> <!-- ]]> </style></title></textarea> \u2028 \u2029 &lt; &amp; \x00 \u202e"
PLAIN = "Anna has 7 pears.\nBen has 7 pears too.\nSo Anna and Ben have 7 + 7 = 14 pears."


def hostile_traces() -> list[al.Trace]:
    """Three traces; all texts of the last two, names and labels included, are markup."""
    plain = al.Trace("plain", "Anna has 7 pears. How many pears?", PLAIN, "sums").with_steps("line")
    bad = al.Trace(HOSTILE, f"{HOSTILE} 7?", f"{HOSTILE}\n{ENDINGS}\n{HOSTILE}", HOSTILE)
    bad = bad.with_steps("line")
    bad = replace(bad, steps=tuple(replace(step, label=HOSTILE) for step in bad.steps))
    return [plain, bad, al.Trace(f"{HOSTILE}2", "", "one step only", ENDINGS.replace("\x00", ""))]


def measured(**options: Any) -> dict[str, Any]:
    """What :func:`airlens.page` takes, of a tiny model."""
    model, traces = tiny_model(), hostile_traces()
    shared = {"controls": 1, "progress": False, **options}
    result = al.influence(model, traces, HEADS_USED, **shared)
    measures = ("copies", "attention", "knockout")
    found = al.sources(model, traces, HEADS_USED, measures=measures, kl=True, **shared)
    scores = al.retrieval_scores(model, tiny_probes(model.tokenizer, 2), progress=False)
    return {"result": result, "sources": found, "traces": traces, "scores": scores}


def long_results(n: int = 1, steps: int = 150, words: int = 26) -> dict[str, Any]:
    """The same for made-up traces of so many tokens a step, all of whose numbers are noise."""
    rng = np.random.default_rng(0)
    traces, tokens, rows, samples = [], [], [], []
    tables: dict[str, list[pd.DataFrame]] = {
        name: [] for name in ("units", "tokens", "pairs", "events")
    }
    for i in range(n):
        trace, prompt = long_trace(steps, words, seed=i)
        trace = replace(trace, id=f"long-{i}")
        fake = fake_sources(trace, prompt, seed=i)
        noise = ("delta", "nll_base", "nll_ref", "nll_control", "delta_control", "entropy")
        columns = {name: rng.normal(0, 1, len(fake.influence)) for name in noise}
        tokens.append(fake.influence.assign(**columns))
        rows.append(fake.steps)
        traces.append(trace)
        size = {"n_tokens": len(fake.influence), "n_steps": steps}
        scores = {"ais": 0.4, "ais_control": 0.1, "loss_base": 1.0, "loss_ref": 1.4}
        samples.append({"id": trace.id, "domain": "made up", **size, **scores})
        for name, parts in tables.items():
            parts.append(getattr(fake, name).assign(id=trace.id))
    whole = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
    note = {"heads": list(HEADS), "controls": [[]], "measures": ["copies", "attention"]}
    steps_table = pd.concat(rows, ignore_index=True)
    shares = {"copied": 0.3, "copied_control": 0.1, "n_tokens": 26}
    result = al.Influence(
        pd.concat(tokens, ignore_index=True),
        steps_table,
        pd.DataFrame(samples),
        pd.DataFrame(),
        note,
    )
    found = al.Sources(**whole, steps=steps_table.assign(**shares), provenance=note)
    return {"result": result, "sources": found, "traces": traces}


def made_up_answers(steps: pd.DataFrame, heads: list[str], seed: int = 0) -> al.EarlyAnswers:
    """Early answers, all of whose numbers are made up: right from two thirds of a trace on."""
    rng = np.random.default_rng(seed)
    cuts, falls, samples = [], [], []
    for id, rows in steps.groupby("id", sort=False):
        n = len(rows)
        share = np.arange(n + 1) / n
        right = share >= 2 / 3
        base = -4 + 3.9 * share + rng.normal(0, 0.1, n + 1)
        ref = base - 2 * share
        control = base - 0.2 * share
        cuts.append(
            pd.DataFrame(
                {
                    "id": id,
                    "step": range(-1, n),
                    "answer_now": np.where(
                        right, "72", [f"{7 * (k // 9)} clips" for k in range(n + 1)]
                    ),
                    "p_now": rng.random(n + 1),
                    "logp_base": base,
                    "logp_ref": ref,
                    "logp_control": control,
                    "logp_contrast": base - 1,
                    "gain": np.diff(base, prepend=np.nan),
                    "gain_ref": np.diff(ref, prepend=np.nan),
                    "gain_control": np.diff(control, prepend=np.nan),
                    "right_base": right,
                    "right_ref": share >= 0.9,
                    "states_answer": share >= 1,
                }
            )
        )
        names = [
            f"{way}{whose}" for way in ("direct", "total") for whose in ("", "_control", "_all")
        ]
        falls.append(
            pd.DataFrame({"id": id, "step": range(n - 1), "states_answer": False}).assign(
                **{name: rng.normal(0, 0.3, n - 1) for name in names}
            )
        )
        decided = int(np.argmax(right)) - 1
        samples.append({"id": id, "answer": "72", "missing": "", "decided_at": decided})
    tables = [pd.concat(parts, ignore_index=True) for parts in (cuts, falls)]
    note = {"heads": heads, "forcing_text": "The final answer is"}
    return al.EarlyAnswers(*tables, pd.DataFrame(samples), pd.DataFrame(), note)


def made_up_subsets(result: al.Influence, heads: list[str]) -> al.HeadSubsets:
    """What fewer heads do, as shares of what all of them do."""
    sets = {name: [name] for name in heads}
    sets |= {f"top {m}": heads[:m] for m in (2, 4, 8, 16) if m < len(heads)}
    tokens, steps = [], []
    for share, name in enumerate(sets, start=1):
        of = result.tokens[["id", "step", "pos"]].assign(set=name, delta_control=0.01 * share)
        tokens.append(of.assign(delta=result.tokens["delta"] * share / 10))
        scores = result.steps[["id", "step"]].assign(set=name, ais_control=0.02 * share)
        steps.append(scores.assign(ais=result.steps["ais"] * share / 10))
    tables = [pd.concat(parts, ignore_index=True) for parts in (tokens, steps)]
    return al.HeadSubsets(sets, *tables, {"heads": heads})
