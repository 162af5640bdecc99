"""Needle grid at real n: what `data/results/needles/` is made by.

First the model as it is, at every length, with and (up to 1,024 tokens) without its chat template:
where does recall collapse, and is it the template? Then with heads ablated, at the lengths at which
the needle is found at all, up to 512 tokens. About 90 CPU-minutes; a stopped run goes on where it
stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

import airlens as al
from airlens.experiments.needles import needle_costs, needle_grid, needle_summary
from airlens.folders import write_tables
from airlens.heads import TOP_SHARE, HeadSet
from airlens.provenance import provenance
from airlens.traces.chat_template import resolve_template

ROOT = Path(__file__).resolve().parents[1]
LENGTHS = (128, 192, 256, 384, 512, 1024, 2048)
DEPTHS = (0.0, 0.5, 1.0)  # rather more needles than depths: only needles are independent
PLAIN = 1024  # ours: without the template, no further; a longer text costs more than all others
USABLE = 0.2  # ours: of the needles found; at lengths under this there is nothing to lose


def templates(model: object) -> list[str]:
    """The chat template, if there is one, and plain text."""
    return list(dict.fromkeys([resolve_template(model.tokenizer, "auto"), "plain"]))  # type: ignore[attr-defined]


def main() -> None:
    """Ask, and write tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--heads", help="file of `airlens heads --out`; default: found here")
    parser.add_argument("--needles", type=int, default=10, help="of each cell")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument(
        "--ablate-up-to", type=int, default=512, help="longest at which heads are ablated, tokens"
    )
    parser.add_argument("--draws", type=int, default=3, help="of each kind of random heads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "needles")
    parser.add_argument("--resume", type=Path, default=ROOT / "runs" / "needles")
    args = parser.parse_args()
    model = al.load_model(args.model)
    if args.heads:
        heads = al.load_heads(args.heads)
    else:
        probes = al.key_value_probes(model.tokenizer, seed=args.seed)
        heads = al.retrieval_scores(model, probes, progress=False).top(TOP_SHARE)
    print("heads:", heads, flush=True)
    lengths = [n for n in args.lengths if n <= int(model.cfg.n_ctx)]
    frames = []
    for length in lengths:  # one length after the other: the short ones are there first
        asked = templates(model)
        for template in asked if length <= PLAIN else asked[:1]:
            probes = al.needle_probes(
                model.tokenizer, args.needles, (length,), DEPTHS, args.seed, template=template
            )
            frame = needle_grid(model, HeadSet(()), probes, resume=args.resume, progress=False)
            frame.insert(0, "template", template)
            frames.append(frame)
            print(template, length, f"base finds {frame['found'].mean():.2f}", flush=True)
    base = pd.concat(frames, ignore_index=True)
    share = base.groupby(["template", "length"])["found"].mean()
    best = str(share.groupby("template").mean().idxmax())
    usable = [n for n in lengths if share[best, n] >= USABLE and n <= args.ablate_up_to]
    print(f"best template: {best}; heads are ablated at lengths {usable}", flush=True)
    for length in usable:
        probes = al.needle_probes(
            model.tokenizer, args.needles, (length,), DEPTHS, args.seed, template=best
        )
        frame = needle_grid(
            model, heads, probes, draws=args.draws, same_layers=args.draws, seed=args.seed,
            resume=args.resume, progress=False,
        )  # fmt: skip
        frame.insert(0, "template", best)
        frames.append(frame[frame["condition"] != "base"])
        print(length, frame.groupby("condition")["found"].mean().round(2).to_dict(), flush=True)
    grid = pd.concat(frames, ignore_index=True)
    note = provenance(
        model, heads=heads.names(), needles=args.needles, lengths=lengths, depths=DEPTHS,
        draws=args.draws, seed=args.seed, mode="uniform", template=best, usable=usable,
    )  # fmt: skip
    tables = {"answers": grid, "summary": needle_summary(grid), "costs": needle_costs(grid)}
    print(write_tables(args.out, tables, note))


if __name__ == "__main__":
    main()
