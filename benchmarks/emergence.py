"""Heads that come about in training: what `data/results/emergence/` is made by.

Trains a transformer of 6 layers and 8 heads on text in which copying pays (`emergence_text.py`),
and scores its heads and losses at every checkpoint (`emergence_scores.py`). Training takes
half an hour of one core, the scores a few minutes; a stopped training goes on from the last
checkpoint and ends with the same weights.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from emergence_scores import HALF, ablations, head_rows, held_out, scored
from emergence_text import COPYING, KINDS, copied_targets, rows, split_sentences, train_tokenizer

import airlens as al
from airlens.errors import ConfigError
from airlens.files import atomic_file, read_json, write_json
from airlens.folders import write_tables
from airlens.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
COUNTS = (2, 4, 8)  # heads ablated in the last checkpoint: 4, 8 and 17 % of 48


@dataclass(frozen=True)
class Settings:
    """Model and training (ours): a Llama of 5.2M parameters, of which the embedding is 3 %.

    The first ``copying`` steps are on shuffled words said three times, the others on all kinds.
    """

    steps: int = 6656
    copying: int = 4608
    batch: int = 2
    length: int = 256
    vocab: int = 512
    width: int = 256
    hidden: int = 768
    layers: int = 6
    heads: int = 8
    rate: float = 1e-3
    warmup: int = 200
    bf16: bool = False
    seed: int = 0


def checkpoint_steps(last: int) -> list[int]:
    """0, then powers of two and the middle between two of them, at most 512 apart.

    >>> checkpoint_steps(1024)
    [0, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
    """
    steps, step = [0], 16
    while step < last:
        steps.append(step)
        power = 1 << (step.bit_length() - 1)
        step += min(power // 2 if step > 16 else 16, 512)
    return [*steps, last]


def train(folder: Path, settings: Settings) -> None:
    """Train from where ``folder`` stands; checkpoints go to ``folder/step-…``.

    Raises:
        ConfigError: the folder holds a run of other settings.
    """
    _check_settings(folder, settings)
    tokenizer = _tokenizer(folder, settings)
    model, optimizer, first, log = _start(folder, settings)
    kept, started, tokens = checkpoint_steps(settings.steps), time.time(), 0
    for step in range(first, settings.steps + 1):
        if step in kept:
            _save(folder, model, optimizer, step, log, tokenizer)
        if step == settings.steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * min(1.0, (step + 1) / settings.warmup)
        log.append({"step": step, **_train_step(model, optimizer, tokenizer, settings, step)})
        tokens += settings.batch * settings.length
        if step % 20 == 0:
            line = "  ".join(f"{name} {value:.3f}" for name, value in log[-1].items())
            print(f"{line}  tokens/s {tokens / (time.time() - started):.0f}", flush=True)


def _train_step(
    model: Any, optimizer: Any, tokenizer: Any, settings: Settings, step: int
) -> dict[str, float]:
    # A generator of its own for each step, so that a resumed run reads on where it stopped.
    rng = random.Random(f"train {settings.seed} {step}")
    kinds = COPYING if step < settings.copying else KINDS
    batch = rows(tokenizer, settings.batch, settings.length, rng, split_sentences()[0], kinds)
    marks = torch.from_numpy(copied_targets(batch))
    ids = torch.from_numpy(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.bf16):
        logits = model(ids).logits[:, :-1]
    nll = torch.nn.functional.cross_entropy(
        logits.float().reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1), reduction="none"
    )
    optimizer.zero_grad()
    nll.mean().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    each = nll.detach().reshape(marks.shape)
    return {
        "tokens": (step + 1) * settings.batch * settings.length,
        "loss": float(each.mean()),
        "loss_copied": float(each[marks].mean()),
        "loss_new": float(each[~marks].mean()),
    }


def _check_settings(folder: Path, settings: Settings) -> None:
    path = folder / "settings.json"
    folder.mkdir(parents=True, exist_ok=True)
    # More steps are the same run, longer.
    asked = {k: v for k, v in asdict(settings).items() if k != "steps"}
    if path.is_file() and read_json(path) != asked:
        raise ConfigError(f"{folder} holds a run of other settings: name another folder")
    write_json(path, asked)


def _tokenizer(folder: Path, settings: Settings) -> Any:
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    path = folder / "tokenizer"
    if not path.is_dir():
        train_tokenizer(settings.vocab, settings.seed).save_pretrained(path)
    found = PreTrainedTokenizerFast.from_pretrained(path)
    # A probe begins as a row of training does.
    bos = found.bos_token
    found.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, found.bos_token_id)]
    )
    return found


def _start(
    folder: Path, settings: Settings
) -> tuple[Any, torch.optim.Optimizer, int, list[dict[str, float]]]:
    """Model, optimizer, next step and losses so far."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(settings.seed)
    model = LlamaForCausalLM(_config(settings))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.rate, betas=(0.9, 0.95), weight_decay=0.01
    )
    state = folder / "state.pt"
    if not state.is_file():
        return model, optimizer, 0, []
    kept = torch.load(state, weights_only=True)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    log = pd.read_csv(folder / "training.csv").to_dict("records") if kept["step"] else []
    return model, optimizer, kept["step"], [row for row in log if row["step"] < kept["step"]]


def _save(
    folder: Path, model: Any, optimizer: Any, step: int, log: list[Any], tokenizer: Any
) -> None:
    model.save_pretrained(folder / f"step-{step:06d}")
    tokenizer.save_pretrained(folder / f"step-{step:06d}")
    pd.DataFrame(log).to_csv(folder / "training.csv", index=False)
    with atomic_file(folder / "state.pt") as part:
        record = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(record, part)


def _config(settings: Settings) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=settings.vocab,
        hidden_size=settings.width,
        intermediate_size=settings.hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=2 * settings.length,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
    )


def report(
    folder: Path,
    settings: Settings,
    out: Path,
    *,
    probes: int = 16,
    draws: int = 5,
    half: int = HALF,
) -> Path:
    """Score the checkpoints in ``folder`` and write the tables into ``out``.

    Raises:
        ConfigError: a checkpoint is missing: training has not ended.
    """
    tokenizer = _tokenizer(folder, settings)
    asked = held_out(tokenizer, probes, settings.length, settings.seed, half)
    heads, losses, model, scores = [], [], None, {}
    for step in checkpoint_steps(settings.steps):
        path = folder / f"step-{step:06d}"
        if not path.is_dir():
            raise ConfigError(f"no checkpoint of step {step} in {folder}: train first")
        model = al.load_model(path, tokenizer=tokenizer, device="cpu")
        scores, found = scored(model, asked)
        heads.append(head_rows(step, scores))
        losses.append({"step": step, "tokens": step * settings.batch * settings.length, **found})
        print("scored:", losses[-1], flush=True)
    fresh = held_out(tokenizer, probes, settings.length, settings.seed + 1, half)
    counts = [k for k in COUNTS if 2 * k <= settings.layers * settings.heads]
    tables = {
        "heads": pd.concat(heads, ignore_index=True),
        "losses": pd.DataFrame(losses),
        "ablation": ablations(model, scores, fresh, counts, draws=draws, seed=settings.seed),
    }
    note = provenance(
        model, training=asdict(settings), documents=KINDS, probes=asked.pairs.info(),
        repeated=asked.repeated.info(), fresh=[fresh.pairs.info(), fresh.repeated.info()],
        parameters=sum(p.numel() for p in model.original_model.parameters()),
    )  # fmt: skip
    return write_tables(out, tables, note)


def main() -> None:
    """Train, score, and write tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "emergence")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "emergence")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument(
        "--bf16", action="store_true", help="autocast: faster where the processor has such products"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(steps=args.steps, bf16=args.bf16)
    train(args.folder, settings)
    print(report(args.folder, settings, args.out))


if __name__ == "__main__":
    main()
