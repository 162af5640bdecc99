"""Detectors at real n: what `data/results/detectors/` is made by.

Every detector on the same probes, the bootstrap interval of each head's rank, and what ablating
each detector's own top heads costs on fresh probes, beside draws of random heads. Then, for one
detector, copying and losses as more heads are ablated: why 5 %? About 60 CPU-minutes; a stopped
run goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

import airlens as al
from airlens.detectors.detect import DETECTORS, detect
from airlens.folders import kept_table, write_tables
from airlens.heads import HeadScores
from airlens.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
NAMES = [name for name in DETECTORS if name != "causal"]  # a pass for each probe and head
SHARES = (0.01, 0.02, 0.05, 0.1)


def main() -> None:
    """Score, ablate, and write tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--probes", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=640)
    parser.add_argument("--fresh", type=int, default=8)
    parser.add_argument("--fresh-tokens", type=int, default=640)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument(
        "--traces", type=int, default=8, help="whose loss is measured, for why 5 %%"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "detectors")
    parser.add_argument("--resume", type=Path, default=ROOT / "runs" / "detectors")
    args = parser.parse_args()
    model, seed = al.load_model(args.model), args.seed
    make = al.key_value_probes
    probes = make(model.tokenizer, args.probes, args.tokens, seed)
    fresh = make(model.tokenizer, args.fresh, args.fresh_tokens, seed + 1)
    home = args.resume / f"{args.model}-{probes.hash}-{fresh.hash}"
    found: dict[str, HeadScores] = {}
    for name in NAMES:
        path = home / f"{name}.json"
        if not path.is_file():
            print("scoring:", name, flush=True)
            detect(model, probes, name, progress=False).save(path)
        found[name] = HeadScores.load(path)  # rounded samples, whether they are made now or not
    frames = []
    for name, one in found.items():
        groups = ("top", "random", "same_layers") if name == "retrieval" else ("top",)
        frames.append(
            kept_table(
                home / f"curve-{name}.parquet",
                lambda one=one, groups=groups: al.ablation_curves(
                    model, one, fresh, shares=SHARES, modes=("uniform",), draws=args.draws,
                    seed=seed, groups=groups, progress=False,
                ),
            ).assign(detector=name)
        )  # fmt: skip
    some = list(al.load_traces(al.data_path("traces.jsonl")))[:: 240 // args.traces]
    share = kept_table(
        home / "why_5.parquet",
        lambda: al.ablation_curves(
            model, found["retrieval"], fresh, traces=some, shares=(0.01, 0.02, 0.05, 0.1, 0.2),
            modes=("uniform",), draws=args.draws, seed=seed, progress=False,
        ),
    )  # fmt: skip
    note = provenance(
        model, probes=probes.info(), fresh=fresh.info(), draws=args.draws, seed=seed,
        mode="uniform", traces=[trace.id for trace in some],
        top={name: one.top().names() for name, one in found.items()},
    )  # fmt: skip
    tables = {
        "ranks": al.rank_table(found, seed=seed),
        "agreement": al.agreement(found),
        "curves": pd.concat(frames, ignore_index=True),
        "why_5": share,
    }
    print(write_tables(args.out, tables, note))


if __name__ == "__main__":
    main()
