"""The small run behind two figures of the gallery that no notebook draws.

`python docs/gallery_run/measure.py` measures it again (the default model, about a minute of CPU).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import airlens as al

N_PROBES, MAX_TOKENS, PER_DOMAIN, CONTROLS, SEED = 4, 512, 6, 2, 0


def main() -> None:
    """Score some of the bundled traces and save the tables here."""
    model = al.load_model()
    probes = al.key_value_probes(model.tokenizer, n=N_PROBES, max_tokens=MAX_TOKENS, seed=SEED)
    heads = al.retrieval_scores(model, probes).top(0.05)
    traces = pd.Series(list(al.load_traces(al.data_path("traces.jsonl"))))
    chosen = list(traces.groupby(traces.map(lambda trace: trace.domain)).head(PER_DOMAIN))
    result = al.influence(model, chosen, heads, controls=CONTROLS, seed=SEED)
    result.save(Path(__file__).parent)


if __name__ == "__main__":
    main()
