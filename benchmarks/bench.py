"""Speed and memory of airlens beside other ways to the same numbers: ``make bench``.

Every comparison is interleaved in this process; the ratios are of median CPU-seconds (``_wall``: of
median wall seconds). ``--out FILE`` writes them as one flat JSON object; what it holds of parts
that were not run (``--only``) stays, and ``measured`` says when and how each part was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import bench_early
import bench_long
import bench_sources
import bench_training
import numpy as np
import torch
from scipy.stats import spearmanr
from timing import Timing, fresh_process, gemm_peak, interleaved, peak_mb, reset_peak, table
from variants import OutputAttentions, TwoModels, hooks_passes

import airlens as al
from airlens.files import read_json
from airlens.heads import HeadSet, random_heads
from airlens.losses.choice import choose_engine
from airlens.losses.fast.fast_losses import score_fast
from airlens.losses.windows import Window, windows
from airlens.model.heads import heads_of
from airlens.provenance import provenance
from airlens.traces.encoding import encode_trace

# The critical heads of the default model; `airlens heads` finds them.
HEADS = (
    "L18H6 L17H3 L20H6 L18H7 L17H4 L23H2 L23H7 L23H8 L21H8 L22H7 L23H1 L17H5 L20H8 L24H4"  # top 14
)


class Bench:
    """The model, the traces and what was found so far."""

    def __init__(self, rounds: int, share: float, small: bool) -> None:
        self.rounds, self.share, self.small = rounds, share, small
        self.model = al.load_model(device="cpu")
        choose_engine(self.model, "fast")  # its check is not what is measured
        self.heads = HeadSet.parse(HEADS, "top 14")
        self.controls = random_heads(heads_of(self.model), self.heads, draws=3, seed=0)
        self.found: dict[str, Any] = {}
        self.worst: float | None = None  # of the part; None where it compares no losses
        self.sets = trace_sets()
        self.traces = next(iter(self.sets.values()))

    def windows(self, n: int) -> list[Window]:
        """The first ``n`` traces (times the share) as windows."""
        chosen = self.traces[: max(1, round(n * self.share))]
        encoded = [encode_trace(self.model.tokenizer, t, "auto") for t in chosen]
        return [w for e in encoded for w in windows(e, int(self.model.cfg.n_ctx))]

    def fast(self, items: list[Window], sets: list[HeadSet], **options: Any) -> np.ndarray:
        """Our NLL, [1 + S, n]."""
        found = score_fast(self.model, items, sets, "uniform", **options)
        return np.concatenate([np.vstack([x.base, x.ablated]) for x in found], axis=1)

    def ratio(self, key: str, times: dict[str, Timing], slow: str, fast: str) -> None:
        """Keep how many times faster ``fast`` is, by CPU and by wall clock."""
        for clock, suffix in (("cpu", ""), ("wall", "_wall")):
            value = times[slow].median(clock) / times[fast].median(clock)
            self.found[key + suffix] = round(value, 3)
        pairs = [a / b for a, b in zip(times[slow].cpu, times[fast].cpu, strict=False)]
        self.found[f"{key}_range"] = [round(min(pairs), 3), round(max(pairs), 3)]

    def agree(self, a: np.ndarray, b: np.ndarray) -> None:
        """Keep the largest difference, nats."""
        self.worst = max(self.worst or 0.0, float(np.abs(a - b).max()))


def trace_sets() -> dict[str, list[Any]]:
    """GSM8K where AIRLENS_DATA names it, and the bundled traces."""
    files = {"bundled traces": Path(al.data_path("traces.jsonl"))}
    folder = os.environ.get("AIRLENS_DATA")
    path = Path(folder or "") / "gsm8k" / "train.jsonl"
    if folder and path.exists():
        files = {"GSM8K train": path, **files}
    return {name: list(al.load_traces(file, limit=40)) for name, file in files.items()}


def influence(b: Bench) -> None:
    """Base and ablated NLL, one head set."""
    items = b.windows(12)
    two = TwoModels(b.model, b.heads)

    low = partial(b.fast, items, [b.heads], precision="bf16")
    variants: dict[str, Callable[[], Any]] = {
        "TransformerLens hooks": partial(hooks_passes, b.model, items, [b.heads]),
        "two Hugging Face models": partial(two, items),
        "airlens": partial(b.fast, items, [b.heads]),
        "airlens, bf16 products": low,
    }
    b.fast(items[:2], [b.heads])
    times, out = interleaved(variants, b.rounds)
    tokens = sum(len(w.tokens) for w in items)
    table("Influence of 14 heads", times, tokens, "TransformerLens hooks")
    b.ratio("influence_vs_hooks", times, "TransformerLens hooks", "airlens")
    b.ratio("influence_vs_two_hf", times, "two Hugging Face models", "airlens")
    b.ratio("influence_lowp_vs_hooks", times, "TransformerLens hooks", "airlens, bf16 products")
    b.ratio("influence_lowp_vs_full", times, "airlens", "airlens, bf16 products")
    for name in ("TransformerLens hooks", "two Hugging Face models"):
        b.agree(out[name], out["airlens"])
    full, rough = out["airlens"], out["airlens, bf16 products"]
    b.found["influence_lowp_max_abs_nll_diff"] = round(float(np.abs(full - rough).max()), 4)
    b.found["influence_lowp_step_spearman"] = round(_step_spearman(b, len(items), full, rough), 5)
    _floor(b, items, times["airlens"].median())


def _step_spearman(b: Bench, n: int, full: np.ndarray, low: np.ndarray) -> float:
    """Rank correlation of the AIS of all steps in full and in low precision."""
    first, ais = 0, []
    for trace in b.traces[:n]:
        steps = encode_trace(b.model.tokenizer, trace, "auto").step
        for step in np.unique(steps):
            where = first + np.flatnonzero(steps == step)
            means = [
                (x[1, where].mean() - x[0, where].mean()) / x[0, where].mean() for x in (full, low)
            ]
            ais.append(means)
        first += len(steps)
    return float(spearmanr(*np.asarray(ais).T)[0])


def _floor(b: Bench, items: list[Window], seconds: float) -> None:
    """FLOPs of a forked pass without sharing or packing, over the peak of a matrix product."""
    cfg = b.model.cfg
    fork = min(h.layer for h in b.heads) / cfg.n_layers
    layers = sum(p.numel() for n, p in b.model.original_model.named_parameters() if "layers" in n)
    tokens = sum(len(w.tokens) for w in items)
    scored = sum(w.n_scored for w in items)
    length = sum(len(w.tokens) ** 2 for w in items) / tokens
    attention = 2 * cfg.n_heads * cfg.d_head * length * cfg.n_layers  # causal: half of q·k and a·v
    per_pass = tokens * (2 * layers + attention)
    logits = 2 * scored * 2 * cfg.d_vocab * cfg.d_model
    flop = per_pass * (2 - fork) + logits
    peak = gemm_peak()
    naive = 2 * (per_pass + tokens * 2 * cfg.d_vocab * cfg.d_model)
    b.found["gemm_gflop_per_cpu_second"] = round(peak, 1)
    b.found["influence_share_of_floor"] = round(flop / 1e9 / peak / seconds, 3)
    b.found["influence_flop_ratio"] = round(naive / flop, 3)
    print(f"  floor: {flop / 1e9 / peak:.2f} CPU s at {peak:.0f} GFLOP a CPU s", flush=True)


def controls(b: Bench) -> None:
    """The same with three random-head controls."""
    items = b.windows(5)
    sets = [b.heads, *b.controls]
    times, out = interleaved(
        {
            "TransformerLens hooks": partial(hooks_passes, b.model, items, sets),
            "airlens": partial(b.fast, items, sets),
        },
        b.rounds,
    )
    tokens = sum(len(w.tokens) for w in items)
    table("Influence with 3 controls", times, tokens, "TransformerLens hooks")
    b.ratio("influence_controls_vs_hooks", times, "TransformerLens hooks", "airlens")
    b.agree(*out.values())


def detection(b: Bench, size: int, rounds: int) -> None:
    """Retrieval scores of one probe."""
    length = 400 if b.small else size
    probes = al.key_value_probes(b.model.tokenizer, n=1, max_tokens=length, seed=3, shots=1)
    scores = partial(al.retrieval_scores, b.model, probes, progress=False)
    variants: dict[str, Callable[[], Any]] = {
        "TransformerLens pattern hook": lambda: scores(engine="hooks").samples,
        "airlens": lambda: scores(engine="fast").samples,
    }
    if size <= 2048:
        variants["output_attentions"] = partial(OutputAttentions(b.model), probes.probes)
    times, out = interleaved(variants, rounds)
    tokens = len(probes[0].tokens)
    table(f"Detection, {size} tokens", times, tokens, "TransformerLens pattern hook")
    key = f"detect_{size // 1024}k"
    b.ratio(f"{key}_vs_pattern", times, "TransformerLens pattern hook", "airlens")
    if "output_attentions" in out:
        b.ratio(f"{key}_vs_output_attentions", times, "output_attentions", "airlens")
    b.found[f"{key}_equal"] = all(np.array_equal(x, out["airlens"]) for x in out.values())


def memory(b: Bench) -> None:
    """Extra memory of detection and of sources at 4k, each in a process of its own."""
    size = "400" if b.small else "4096"
    for what, key in (("detection", "detect_4k_extra_mb"), ("sources", "sources_4k_extra_mb")):
        found = fresh_process("--size", size, "--what", what)
        b.found[key] = round(found["extra_mb"])
        print(f"\nExtra memory of {what} at 4k: {found['extra_mb']:.0f} MB", flush=True)


def all_heads(b: Bench) -> None:
    """Every head's influence; of the naive passes a sample stands for all, as each costs alike."""
    from airlens.heads import Head

    items = b.windows(4)
    chosen = b.traces[: len(items)]
    options = {"progress": False, "template": "auto"}
    cells = [Head(layer, layer % 9) for layer in range(0, 30, 10 if b.small else 3)]
    naive = {"sample": partial(hooks_passes, b.model, items, [HeadSet((h,)) for h in cells])}
    screened = {"screened": partial(al.head_influence, b.model, chosen, "screened", **options)}
    before, out = interleaved(naive, 1)
    times, screen = interleaved(screened, 1)
    exact, full = interleaved(
        {"exact": partial(al.head_influence, b.model, chosen, "exact", **options)}, 1
    )
    after, _ = interleaved(screened, 1)
    times["screened"].add(after["screened"].cpu[0], after["screened"].wall[0])
    last, _ = interleaved(naive, 1)
    passes = Timing()
    total = (1 + b.model.cfg.n_layers * b.model.cfg.n_heads) / (1 + len(cells))
    for t in (before["sample"], last["sample"]):
        passes.add(t.cpu[0] * total, t.wall[0] * total)
    times = {"one hooked pass for each head": passes, **exact, **times}
    tokens = sum(len(w.tokens) for w in items)
    table("All 270 heads", times, tokens, "one hooked pass for each head")
    b.ratio("all_heads_exact_vs_naive", times, "one hooked pass for each head", "exact")
    b.ratio("all_heads_screened_vs_naive", times, "one hooked pass for each head", "screened")
    top = {
        name: set(r.top(14)) for name, r in (("exact", full["exact"]), ("s", screen["screened"]))
    }
    b.found["all_heads_screened_overlap"] = len(top["exact"] & top["s"])
    n_run = int(screen["screened"].exact.sum())
    b.found["all_heads_screened_run"] = n_run
    # What the sum over positions would have chosen, in which opposite signs cancel.
    by_sum = np.argsort(-np.abs(screen["screened"].estimate), axis=None, kind="stable")[:n_run]
    n_heads = int(b.model.cfg.n_heads)
    b.found["all_heads_by_sum_overlap"] = len(
        top["exact"] & {Head(*divmod(int(i), n_heads)) for i in by_sum}
    )
    rank = spearmanr(full["exact"].scores.ravel(), screen["screened"].estimate.ravel())
    b.found["all_heads_attribution_spearman"] = round(float(rank[0]), 3)
    rise = (out["sample"][1:] - out["sample"][0]).mean(axis=1)
    b.agree(rise, np.asarray([full["exact"].scores[h] for h in cells]))


def growth(b: Bench) -> None:
    """How cost grows with tokens, context, heads and controls; CPU seconds, once each."""
    items = b.windows(8)

    def cost(run: Callable[[], Any]) -> float:
        cpu = time.process_time()
        run()
        return round(time.process_time() - cpu, 2)

    print("\nHow cost grows (CPU s)")
    rows: dict[str, float] = {}
    for n in (2, 4, 8):
        part = b.windows(n)
        tokens = sum(len(w.tokens) for w in part)
        rows[f"influence, {tokens} tokens"] = cost(partial(b.fast, part, [b.heads]))
    for k in (0, 1, 3):
        sets = [b.heads, *b.controls[:k]]
        rows[f"influence, {k} controls"] = cost(partial(b.fast, items[:4], sets))
    for k in (1, 4, 14):
        few = HeadSet(tuple(b.heads)[:k])
        rows[f"influence, {k} heads"] = cost(partial(b.fast, items[:4], [few]))
    for name in ("L29H0", "L15H0", "L0H0"):
        rows[f"influence, first head {name}"] = cost(
            partial(b.fast, items[:4], [HeadSet.parse(name)])
        )
    for size in (512, 1024, 2048):
        probes = al.key_value_probes(b.model.tokenizer, n=1, max_tokens=size, seed=3, shots=1)
        rows[f"detection, {size} tokens"] = cost(
            partial(al.retrieval_scores, b.model, probes, progress=False)
        )
    for name, seconds in rows.items():
        print(f"  {name:34} {seconds:8.2f}", flush=True)
    b.found["growth_cpu_seconds"] = rows


def allocator(b: Bench) -> None:
    """Last, as it cannot be undone: the same influence with the allocator told to keep memory."""
    items = b.windows(12)
    run = {"airlens": partial(b.fast, items, [b.heads])}
    before, _ = interleaved(run, b.rounds)
    if al.fast_allocator():
        b.fast(items, [b.heads])
        after, _ = interleaved(run, b.rounds)
        times = {**before, "airlens, fast_allocator()": after["airlens"]}
        table("Allocator", times, sum(len(w.tokens) for w in items), "airlens")
        b.ratio("influence_allocator", times, "airlens", "airlens, fast_allocator()")


def child(size: int, what: str) -> None:
    """Print the memory that detection of a probe, or sources of a trace, takes beyond before."""
    if " " in what:
        measure, shape = what.split()
        print(json.dumps({"extra_mb": bench_long.extra_memory(shape, measure, size)}))
        return
    model = al.load_model(device="cpu")

    def run(tokens: int) -> None:
        if what == "sources":
            bench_sources.extra_memory(model, HEADS, tokens)
            return
        probes = al.key_value_probes(model.tokenizer, n=1, max_tokens=tokens, seed=3, shots=1)
        al.retrieval_scores(model, probes, engine="fast", progress=False)

    run(300)
    reset_peak()
    before = peak_mb()
    run(size)
    print(json.dumps({"extra_mb": peak_mb() - before}))


NEED_GRADIENTS = ("heads", "training")
PARTS: dict[str, Callable[[Bench], None]] = {
    "influence": influence,
    "controls": controls,
    "detect2k": lambda b: detection(b, 2048, b.rounds),
    "detect4k": lambda b: detection(b, 4096, min(b.rounds, 2)),
    "sources": bench_sources.reading,
    "knockout": bench_sources.knockout,
    "early": bench_early.early,
    "training": bench_training.training,
    "memory": memory,
    "long": bench_long.time_a_token,
    "longmemory": partial(bench_long.memory, fresh=fresh_process),
    "heads": all_heads,
    "growth": growth,
    "allocator": allocator,
}

ON_ALL_DATA = ("influence", "controls", "heads")
"""Parts that are run on the bundled traces too where GSM8K is there; their keys say so."""


def rename(key: str, suffix: str) -> str:
    """The key with the suffix before ``_wall`` or ``_range``.

    >>> rename("all_heads_wall", "_bundled")
    'all_heads_bundled_wall'
    """
    for end in ("_wall", "_range"):
        if key.endswith(end):
            return key.removesuffix(end) + suffix + end
    return key + suffix


def main() -> None:
    """Run the parts asked for and print, and perhaps write, what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the ratios as JSON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--share", type=float, default=1, help="of the traces: less is quicker")
    parser.add_argument("--small", action="store_true", help="short contexts: does it run at all?")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=4096, help=argparse.SUPPRESS)
    parser.add_argument("--what", default="detection", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.size, args.what)
        return
    began = time.perf_counter()
    b = Bench(args.rounds, args.share, args.small)
    how = {"data": ", ".join(b.sets), "small": args.small, "share": args.share}
    before = kept(args.out, how)
    print(f"{_processor()}, {torch.get_num_threads()} threads, {how['data']}")
    how |= {"threads": torch.get_num_threads(), "rounds": args.rounds, "processor": _processor()}
    found: dict[str, Any] = {}
    measured: dict[str, Any] = {}
    for name in args.only:
        b.worst, mine = None, {}
        for i, (data, traces) in enumerate(b.sets.items()):
            if i and name not in ON_ALL_DATA:
                continue
            print(f"\n== {name}, {data}")
            b.found, b.traces = {}, traces
            with torch.inference_mode(name not in NEED_GRADIENTS):
                PARTS[name](b)
            suffix = f"_{data.split()[0].lower()}" if i else ""
            mine |= {rename(key, suffix): value for key, value in b.found.items()}
        worst = {} if b.worst is None else {"max_abs_nll_diff": float(f"{b.worst:.2g}")}
        measured[name] = {"keys": list(mine), **provenance(b.model, **how), **worst}
        found |= mine
    whole = merged(before, found, measured)
    print()
    for key, value in found.items():
        if key != "growth_cpu_seconds":
            print(f"{key:36} {value}")
    print(f"{'minutes':36} {(time.perf_counter() - began) / 60:.1f}")
    if args.out:
        args.out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def kept(out: Path | None, how: dict[str, Any]) -> dict[str, Any]:
    """What the file holds; parts of other data or sizes do not stand beside those of this run."""
    if out is None or not out.exists():
        return {}
    found = read_json(out)
    for name, note in found.get("measured", {}).items():
        if other := [key for key, value in how.items() if note[key] != value]:
            raise SystemExit(f"{out}: {name} is of other {', '.join(other)}: name another file")
    return found


def merged(
    before: dict[str, Any], found: dict[str, Any], measured: dict[str, Any]
) -> dict[str, Any]:
    """The file's content with the parts that were measured in place of what they were."""
    notes = before.get("measured", {})
    old = {key for name in measured if name in notes for key in notes[name]["keys"]}
    worst = [n["max_abs_nll_diff"] for n in (notes | measured).values() if "max_abs_nll_diff" in n]
    return {
        **{key: value for key, value in before.items() if key not in old},
        **found,
        "max_abs_nll_diff": max(worst, default=None),
        "measured": notes | measured,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
