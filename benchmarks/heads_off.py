"""GSM8K with heads off: accuracy of a model without its retrieval heads, and without others.

    python benchmarks/heads_off.py MODEL --n 250 --out runs/heads-off --table TABLES

The papers' main table (AttentionInfluence, Table 6) with what it leaves open: heads of the same
layers, several draws, lookup and continuation heads apart, intervals. All conditions answer a block
of problems before the next block is begun, and what is finished is kept in ``--out``: the same
command goes on where it was stopped, and a smaller ``--n`` writes the tables of what is there.
Conditions that take long may answer fewer problems (``--fewer random=100``): each row of the tables
says how many, and two conditions are compared on those that both answered.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

import airlens as al
from airlens.folders import kept, write_tables
from airlens.heads import PARTS, HeadScores, HeadSet
from airlens.model.heads import heads_of
from airlens.provenance import provenance

SEED, DRAWS, PROBES, SHARE = 0, 3, 12, 0.05
PAIRS = [
    *(("base", name) for name in ("top", "lookup", "continuation", "same_layers", "random")),
    *(("random", name) for name in ("top", "lookup", "continuation")),
    ("same_layers", "top"),  # they are of the layers of these heads, not of the others
    ("continuation", "lookup"),
    *(("base", f"{name}, mean") for name in ("top", "same_layers", "random")),
    *((f"{control}, mean", "top, mean") for control in ("same_layers", "random")),
]  # fmt: skip


def scores_of(model, folder: Path) -> HeadScores:
    """Retrieval scores, kept in the folder."""

    def made() -> HeadScores:
        probes = al.key_value_probes(model.tokenizer, n=PROBES, seed=SEED)
        return al.retrieval_scores(model, probes)

    return kept(folder / "heads.json", made, HeadScores.load, HeadScores.save)


def conditions(model, scores: HeadScores) -> dict[str, HeadSet | list[HeadSet]]:
    """The sets of heads by name."""
    top, grid = scores.top(SHARE), heads_of(model)
    same = al.random_heads(grid, top, draws=DRAWS, seed=SEED)
    anywhere = al.random_heads(grid, top, draws=DRAWS, seed=SEED, same_layers=False)
    parts = {part: scores.top(SHARE, part=part) for part in PARTS}
    return {
        "base": HeadSet(()),
        "top": top,
        "same_layers": same,
        "random": anywhere,
        # One set under two names would have its differences counted twice.
        **{part: heads for part, heads in parts.items() if set(heads) != set(top)},
        "top, mean": top,
        "same_layers, mean": same[:1],
        "random, mean": anywhere[:1],
    }


def names(item: HeadSet | Sequence[HeadSet]) -> list:
    """The names of the heads of a set, or of each draw."""
    return item.names() if isinstance(item, HeadSet) else [one.names() for one in item]


def main() -> None:
    """Measure, or go on measuring, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--n", type=int, default=250)
    parser.add_argument("--out", type=Path, default=Path("runs/heads-off"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--data", default=os.environ.get("AIRLENS_DATA", ""))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--block", type=int, default=50)
    parser.add_argument("--max-new-tokens", type=int, default=320)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="of the conditions, for a trial")
    parser.add_argument("--fewer", nargs="+", default=[], metavar="CONDITION=N")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = al.load_model(args.model, dtype=args.dtype)
    scores = scores_of(model, args.out)
    sets = conditions(model, scores)
    sets = {name: item for name, item in sets.items() if not args.only or name in args.only}
    traces = al.load_traces(Path(args.data) / "gsm8k" / "test.jsonl", limit=args.n)
    began, used = time.perf_counter(), time.process_time()
    size = {"max_new_tokens": args.max_new_tokens, "batch_size": args.batch_size}
    modes = {name: "mean" if name.endswith(", mean") else "uniform" for name in sets}
    given = dict(text.rpartition("=")[::2] for text in args.fewer)
    if wrong := [name for name, n in given.items() if name not in sets or not n.isdecimal()]:
        parser.error(f"--fewer: give CONDITION=N, of {', '.join(sets)}; not {', '.join(wrong)}")
    fewer = {name: int(n) for name, n in given.items()}
    n_of = dict.fromkeys(sets, len(traces)) | fewer
    how = {"mode": modes, "block": args.block, "resume": args.out, **size}
    parts = []
    for n in sorted(set(n_of.values()), reverse=True):
        some = {name: item for name, item in sets.items() if n_of[name] == n}
        parts.append(al.accuracy_under_ablation(model, traces[:n], some, **how))
    answers = pd.concat(parts, ignore_index=True)
    seconds = {"wall": time.perf_counter() - began, "cpu": time.process_time() - used}
    shares = al.accuracy_table(answers)
    pairs = [pair for pair in PAIRS if set(pair) <= set(sets)]
    differences = al.accuracy_differences(answers, pairs)
    for table in (shares, differences):
        print(table.round(3).to_string(index=False), flush=True)
    print({name: round(value) for name, value in seconds.items()})
    if args.table:
        path, top = Path(args.model), set(scores.top(SHARE))
        sha = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        note = provenance(
            model, file=path.name, sha256=sha, data="gsm8k test", n=len(traces), fewer=fewer,
            seed=SEED, **size, heads={name: names(item) for name, item in sets.items()},
            probes=scores.provenance["probes"], copy_accuracy=scores.copy_accuracy,
            first_token_accuracy=scores.parts["lookup"].copy_accuracy,
            shared_with_top={w: len(top & set(scores.top(SHARE, w))) for w in PARTS},
        )  # fmt: skip
        # Not the texts: they are long, and answer problems that are not ours.
        short = answers.drop(columns=["text", "answer"])
        tables = {"answers": short, "accuracy": shares, "differences": differences}
        print(write_tables(args.table, tables, note))


if __name__ == "__main__":
    main()
