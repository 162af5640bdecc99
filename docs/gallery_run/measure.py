"""The small runs behind the figures of the gallery that no notebook draws.

`python docs/gallery_run/measure.py` measures them again (the default model, some minutes of CPU).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import airlens as al

HERE = Path(__file__).parent
N_PROBES, MAX_TOKENS, PER_DOMAIN, CONTROLS, SEED = 4, 512, 6, 2, 0
TOLD = "lookup-0000"  # the trace whose sources are shown
ASKED = "arithmetic-0000"  # the trace that is asked for its answer after each step


def main() -> None:
    """Score heads and some bundled traces, one for its sources, one for early answers; save all."""
    model = al.load_model()
    probes = al.key_value_probes(model.tokenizer, n=N_PROBES, max_tokens=MAX_TOKENS, seed=SEED)
    scores = al.retrieval_scores(model, probes)
    scores.save(HERE / "heads.json")
    heads = scores.top(0.05)
    traces = pd.Series(list(al.load_traces(al.data_path("traces.jsonl"))))
    told = next(trace for trace in traces if trace.id == TOLD)
    al.sources(model, told, heads, controls=CONTROLS, seed=SEED).save(HERE / "sources")
    asked = next(trace for trace in traces if trace.id == ASKED)
    al.early_answers(model, asked, heads, controls=CONTROLS, seed=SEED).save(HERE / "early")
    chosen = list(traces.groupby(traces.map(lambda trace: trace.domain)).head(PER_DOMAIN))
    al.influence(model, chosen, heads, controls=CONTROLS, seed=SEED).save(HERE)


if __name__ == "__main__":
    main()
