"""GSM8K with heads off: accuracy of a model without its retrieval heads, and without others.

    python benchmarks/heads_off.py MODEL --n 250 --out runs/heads-off --table TABLES

The papers' main table (AttentionInfluence, Table 6) with what it leaves open: heads of the same
layers, several draws, lookup and continuation heads apart, intervals. Conditions answer a block of
problems before the next block is begun, and what is finished is kept in ``--out``: the same command
goes on where it was stopped. Answers in ``--table``, of the same heads, model and settings, are not
measured again: ``--only random --n 250`` adds what random heads lack. Each row of the tables says
of how many problems it is, and two conditions are compared on those that both answered.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

import airlens as al
from airlens.ablation import Mode
from airlens.errors import ConfigError
from airlens.files import read_json
from airlens.folders import kept, write_tables
from airlens.heads import PARTS, HeadScores, HeadSet
from airlens.model.heads import heads_of
from airlens.provenance import provenance

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

SEED, DRAWS, PROBES, SHARE = 0, 3, 12, 0.05
SAME = ("model", "data", "max_new_tokens", "batch_size")  # of answers that stand in one table
COLUMNS = ["condition", "mode", "draw", "id", "n_new", "truncated", "outcome"]
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
        "same_layers, mean": same,
        "random, mean": anywhere,
    }


def names(item: HeadSet | Sequence[HeadSet]) -> list:
    """The names of the heads of a set, or of each draw."""
    return item.names() if isinstance(item, HeadSet) else [one.names() for one in item]


def draws_of(item: HeadSet | Sequence[HeadSet]) -> int:
    """How many answers a condition has for each problem."""
    return 1 if isinstance(item, HeadSet) else len(item)


def mode_of(name: str) -> Mode:
    """The ablation mode of a condition."""
    return "mean" if name.endswith(", mean") else "uniform"


def earlier(table: Path | None, note: Mapping[str, Any]) -> pd.DataFrame:
    """Answers in the folder of tables, if there are any.

    Raises:
        ConfigError: they are of other heads, of another model or by other settings, and would be
            lost.
    """
    if table is None or not (table / "provenance.json").is_file():
        return pd.DataFrame(columns=COLUMNS)
    before = read_json(table / "provenance.json")
    others = [name for name in SAME if before.get(name) != note[name]]
    now = note["heads"]
    others += [
        f"heads ({name})"
        for name, heads in before["heads"].items()
        if name not in now or not _goes_on(heads, now[name])
    ]
    if others:
        raise ConfigError(
            f"{table} holds answers of other {', '.join(others)}: name another folder"
        )
    return pd.read_csv(table / "answers.csv", dtype={"id": str})[COLUMNS]


def _goes_on(before: list, now: list) -> bool:
    """Whether these are the same heads, or the same draws and more of them."""
    drawn = bool(before) and isinstance(before[0], list)
    return before == (now[: len(before)] if drawn else now)


def lacking(
    model: TransformerBridge,
    traces: Sequence[al.Trace],
    sets: Mapping[str, HeadSet | list[HeadSet]],
    known: pd.DataFrame,
    **how: Any,
) -> Iterator[pd.DataFrame]:
    """Measure what is not known; conditions that lack the same problems go together."""
    together: dict[tuple[str, ...], list[str]] = {}
    for name in sets:
        answered = known.loc[known["condition"] == name, "id"].value_counts()
        done = set(answered[answered >= draws_of(sets[name])].index)
        together.setdefault(tuple(t.id for t in traces if t.id not in done), []).append(name)
    for ids, some in together.items():
        if ids:
            yield al.accuracy_under_ablation(
                model,
                [trace for trace in traces if trace.id in ids],
                {name: sets[name] for name in some},
                mode={name: mode_of(name) for name in some},
                **how,
            )


def in_order(answers: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """By condition, in this order, and draw; problems as they were asked, the newest answer."""
    answers = answers.drop_duplicates(["condition", "draw", "id"], keep="last")
    answers = answers.astype({"draw": "Int64", "truncated": bool})
    place = answers["condition"].map(conditions.index)
    order = answers.assign(place=place).sort_values(["place", "draw"], kind="stable").index
    return answers.loc[order].reset_index(drop=True)


def main() -> None:
    """Measure, or go on measuring, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--n", type=int, default=250)
    parser.add_argument("--out", type=Path, default=Path("runs/heads-off"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--data", default=os.environ.get("AIRLENS_DATA", ""))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--block", type=int, default=100)
    parser.add_argument("--max-new-tokens", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="of the conditions")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = al.load_model(args.model, dtype=args.dtype)
    scores = scores_of(model, args.out)
    sets = conditions(model, scores)
    if unknown := set(args.only or ()) - set(sets):
        parser.error(f"--only: one of {', '.join(sets)}; not {', '.join(unknown)}")
    traces = list(al.load_traces(Path(args.data) / "gsm8k" / "test.jsonl", limit=args.n))
    began, used = time.perf_counter(), time.process_time()
    size = {"max_new_tokens": args.max_new_tokens, "batch_size": args.batch_size}
    note = provenance(
        model, **size, data="gsm8k test", seed=SEED,
        heads={name: names(item) for name, item in sets.items()},
    )  # fmt: skip
    try:
        known = earlier(args.table, note)
    except ConfigError as error:
        parser.error(str(error))
    chosen = {name: sets[name] for name in args.only or sets}
    parts = [known] if len(known) else []
    parts += lacking(model, traces, chosen, known, block=args.block, resume=args.out, **size)
    answers = in_order(pd.concat(parts, ignore_index=True), list(sets))
    seconds = {"wall": time.perf_counter() - began, "cpu": time.process_time() - used}
    shares = al.accuracy_table(answers)
    pairs = [pair for pair in PAIRS if set(pair) <= set(answers["condition"])]
    differences = al.accuracy_differences(answers, pairs)
    for table in (shares, differences):
        print(table.round(3).to_string(index=False), flush=True)
    print({name: round(value) for name, value in seconds.items()})
    if args.table:
        path, top = Path(args.model), set(scores.top(SHARE))
        sha = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        note |= {
            "file": path.name, "sha256": sha, "n": int(shares["n"].max()),
            "heads": {name: note["heads"][name] for name in shares["condition"]},
            "probes": scores.provenance["probes"], "copy_accuracy": scores.copy_accuracy,
            "first_token_accuracy": scores.parts["lookup"].copy_accuracy,
            "shared_with_top": {w: len(top & set(scores.top(SHARE, w))) for w in PARTS},
        }  # fmt: skip
        # Not the texts: they are long, and answer problems that are not ours.
        tables = {"answers": answers[COLUMNS], "accuracy": shares, "differences": differences}
        print(write_tables(args.table, tables, note))


if __name__ == "__main__":
    main()
