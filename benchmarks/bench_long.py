"""Long texts: memory of influence, sources and detection, and time a token, on random weights.

The shapes are those of SmolLM2-135M and of Qwen2.5-0.5B, with a context of 32k. Memory beyond the
model is that of one layer and of the hidden states, whatever the number of layers: at 32k tokens a
few layers stand for all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from timing import interleaved, peak_mb, reset_peak, table

import airlens as al
from airlens.heads import HeadSet
from airlens.losses.choice import choose_engine
from airlens.losses.fast import packed_attention
from airlens.losses.fast.fast_losses import score_fast
from airlens.losses.windows import Window

SHAPES: dict[str, tuple[str, dict[str, int]]] = {
    "smollm2-135m": (
        "LlamaConfig",
        {
            "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
            "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49_152,
        },
    ),
    "qwen2.5-0.5b": (
        "Qwen2Config",
        {
            "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
            "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151_936,
        },
    ),
}  # fmt: skip
CONTEXT = 33_000
FEW = 4  # layers, where memory is measured
LENGTHS = (1024, 8192, 32_768)
MEASURED = ("influence", "sources", "detection")


def random_model(shape: str, layers: int | None = None) -> Any:
    """A bridge of random weights with the default model's tokenizer."""
    import torch
    import transformers

    kind, sizes = SHAPES[shape]
    more: dict[str, Any] = {"max_position_embeddings": CONTEXT, "tie_word_embeddings": True}
    more |= {"num_hidden_layers": layers} if layers else {}
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**sizes | more)
    tokenizer = al.load_model(device="cpu").tokenizer
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return al.load_model(model, tokenizer=tokenizer, n_ctx=CONTEXT)


def heads_of(model: Any) -> HeadSet:
    """Two heads of a layer in the middle, two of the last."""
    middle, last = int(model.cfg.n_layers) // 2, int(model.cfg.n_layers) - 1
    return HeadSet.parse(f"L{middle}H1 L{middle}H5 L{last}H0 L{last}H2")


def extra_memory(shape: str, what: str, size: int) -> float:
    """MB beyond what a short text took, in a process of its own."""
    model = random_model(shape, FEW)
    heads = heads_of(model)

    def run(tokens: int) -> None:
        if what == "detection":
            probes = al.key_value_probes(model.tokenizer, n=1, max_tokens=tokens, seed=3, shots=1)
            al.retrieval_scores(model, probes, engine="fast", progress=False)
            return
        trace = text_of(model, tokens)
        options: dict[str, Any] = {"controls": 1, "progress": False, "engine": "fast"}
        (al.influence if what == "influence" else al.sources)(model, trace, heads, **options)

    run(300)
    reset_peak()
    before = peak_mb()
    run(size)
    return peak_mb() - before


def text_of(model: Any, tokens: int) -> al.Trace:
    """A trace of bundled sentences, two a step, of about so many tokens.

    At 32k these are about a thousand steps; the table of their sources grows as the square of that.
    """
    single = al.data_path("sentences.txt").read_text(encoding="utf-8").splitlines() * 8
    lines = [" ".join(single[i : i + 2]) for i in range(0, len(single), 2)]
    size, n = 0, 0
    while size < tokens - 40:
        size += len(model.tokenizer(lines[n] + "\n")["input_ids"])
        n += 1
    return al.Trace("long", "Sentences.", "\n".join(lines[:n])).with_steps("line")


def time_a_token(b: Any) -> None:
    """Influence with one control at 1k and at 8k, as many tokens, attention taken out."""
    model = random_model("smollm2-135m")
    choose_engine(model, "fast")
    rng = np.random.default_rng(0)
    short, long = (256, 1024) if b.small else LENGTHS[:2]
    tokens = rng.integers(5, 40_000, long).tolist()
    sets = [heads_of(model), HeadSet.parse("L15H2 L15H7 L29H5 L29H6")]

    def run(size: int) -> None:
        pieces = [tokens[i : i + size] for i in range(0, long, size)]
        score_fast(model, [Window(p, 1, 0) for p in pieces], sets, "uniform")

    names = {f"{long // short} texts of {short} tokens": short, f"one of {long}": long}
    spent: dict[str, list[float]] = {name: [] for name in names}

    def timed(name: str) -> None:
        with attention_seconds() as seconds:
            run(names[name])
        spent[name].append(sum(seconds))

    run(short)
    times, _ = interleaved({name: partial(timed, name) for name in names}, b.rounds)
    table("Influence of a long text", times, long, next(iter(names)))
    rest = [float(np.median(np.subtract(times[n].cpu, spent[n]))) for n in names]
    b.found["long_8k_vs_1k_without_attention"] = round(rest[1] / rest[0], 3)
    b.found["long_8k_vs_1k"] = round(
        float(np.divide(*(times[n].median() for n in reversed(list(names))))), 3
    )
    print(f"Time a token, attention taken out: x {b.found['long_8k_vs_1k_without_attention']}")


class attention_seconds:
    """Inside, CPU seconds of each attention call are kept: ``with attention_seconds() as s``."""

    def __enter__(self) -> list[float]:
        self.former, seconds = packed_attention.attend_one, []

        def timed(*args: Any, **options: Any) -> Any:
            depth.append(None)
            began = time.process_time()
            found = self.former(*args, **options)
            depth.pop()
            if not depth:  # a call that goes on in turn calls itself
                seconds.append(time.process_time() - began)
            return found

        depth: list[None] = []
        packed_attention.attend_one = timed
        return seconds

    def __exit__(self, *_: object) -> None:
        packed_attention.attend_one = self.former


def memory(b: Any, fresh: Any) -> None:
    """Memory beyond the model at each length, by shape."""
    lengths: Sequence[int] = (400, 800) if b.small else LENGTHS
    for shape in SHAPES:
        for what in MEASURED:
            for size in lengths:
                extra = fresh("--size", str(size), "--what", f"{what} {shape}")["extra_mb"]
                b.found[f"long_{what}_{shape}_{size // 1024}k_extra_mb"] = round(extra)
                print(f"{shape}, {what}, {size} tokens: {extra:.0f} MB beyond", flush=True)
