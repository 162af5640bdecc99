"""``airlens heads``: score every head and save the critical ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import checks
from .model_options import ModelOptions, loads_model
from .options import AsJson, MaxTokens, Quiet, Seed, echo_json, out_file, top_option


@loads_model()
def heads(
    *,
    model_options: ModelOptions,
    probes: Annotated[int, typer.Option("--probes", "-n", min=1, help="Number of probes.")] = 12,
    max_tokens: MaxTokens = 840,
    top: Annotated[
        Any, top_option("Heads that are critical: a share (0.05, 5%) or how many (5).")
    ] = "5%",
    detector: Annotated[
        str,
        typer.Option(
            parser=checks.offered("airlens.detectors", *checks.DETECTORS),
            metavar="NAME",
            help="retrieval, retrieval_greedy, qrhead, locos, retrieval_reasoning, induction, "
            "attribution or causal.",
        ),
    ] = "retrieval",
    part: Annotated[
        str | None,
        typer.Option(
            parser=checks.choice(*checks.PARTS),
            metavar="NAME",
            help="Choose the heads by how they copy the first token of an answer (lookup) or the "
            "later ones (continuation); detector retrieval only.",
        ),
    ] = None,
    out: Annotated[Path | None, out_file("Where to write scores and heads.")] = None,
    seed: Seed = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score every head on key-value probes; the top 5 % are the retrieval heads.

    The file written with --out is what `airlens score --heads` reads.
    """
    from airlens.detectors.detect import DESCRIPTIONS, detect
    from airlens.detectors.key_value_probes import key_value_probes
    from airlens.errors import ConfigError
    from airlens.model.files import read_tokenizer

    if part and detector != "retrieval":
        raise ConfigError(f"--part goes with --detector retrieval, not with {detector}")
    # The tokenizer alone decides whether a probe can be so short: before the weights are loaded.
    tokenizer = read_tokenizer(str(model_options.name))
    probe_set = key_value_probes(tokenizer, n=probes, max_tokens=max_tokens, seed=seed)
    bridge = model_options.load()
    longest = min(max_tokens, int(bridge.cfg.n_ctx))
    try:
        if longest < max_tokens:
            probe_set = key_value_probes(bridge.tokenizer, probes, longest, seed)
    except ConfigError as error:
        few = f"{model_options.name} reads no more than {longest} tokens, {error.reason}"
        raise ConfigError(few) from error
    scores = detect(bridge, probe_set, detector, progress=not (quiet or json))
    chosen: Any = part
    critical, shown = scores.top(top, chosen), scores.of_part(chosen)
    if out is not None:
        scores.save(out, top, chosen)
    if json:
        rows = [
            {"layer": h.layer, "head": h.head, "score": float(shown.scores[h])} for h in critical
        ]
        echo_json(
            {
                "detector": detector,
                **({"part": part} if part else {}),
                "top": rows,
                "copy_accuracy": shown.copy_accuracy,
                "out": str(out) if out else None,
                "provenance": scores.provenance,
            }
        )
        return
    if shown.copy_accuracy is not None:
        accuracy = f"{shown.copy_accuracy:.3f} (token level, {len(shown.samples)} probes)"
        typer.echo(f"copy accuracy {accuracy}")
    frame = shown.to_frame(top)
    what = (
        f"{part or 'retrieval'} score"
        if detector == "retrieval"
        else f"score ({DESCRIPTIONS[detector]})"
    )
    typer.echo(f"{len(critical)} of {len(frame)} heads, {what} with 95 % interval:")
    for row in frame[frame["top"]].itertuples():
        typer.echo(f"  {row.name:<7} {row.score:.3f}  [{row.lo:.3f}, {row.hi:.3f}]")
    if out is not None:
        typer.echo(f"written to {out}")
