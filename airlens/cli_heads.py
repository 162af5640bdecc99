"""``airlens heads``: score every head and save the critical ones."""

from __future__ import annotations

from typing import Annotated

import typer

from .cli_options import AsJson, Device, Dtype, Model, Out, Quiet, Seed, echo_json


def heads(
    model: Model = "smollm2-135m",
    probes: Annotated[int, typer.Option("--probes", "-n", min=1, help="Number of probes.")] = 12,
    max_tokens: Annotated[int, typer.Option(help="Longest probe, in tokens.")] = 840,
    top: Annotated[float, typer.Option(help="Share of heads that are critical.")] = 0.05,
    out: Out = None,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = "float32",
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score every head on key-value probes; the top 5 % are the retrieval heads.

    The file written with --out is what `airlens score --heads` reads.
    """
    from .model import load_model
    from .probes import key_value_probes
    from .retrieval import retrieval_scores

    bridge = load_model(model, device=device, dtype=dtype)
    longest = min(max_tokens, int(bridge.cfg.n_ctx))
    probe_set = key_value_probes(bridge.tokenizer, n=probes, max_tokens=longest, seed=seed)
    scores = retrieval_scores(bridge, probe_set, progress=not quiet)
    critical = scores.top(top)
    if out is not None:
        scores.save(out, top)
    if json:
        rows = [
            {"layer": h.layer, "head": h.head, "score": float(scores.scores[h])} for h in critical
        ]
        echo_json(
            {
                "top": rows,
                "copy_accuracy": scores.copy_accuracy,
                "out": str(out) if out else None,
                "provenance": scores.provenance,
            }
        )
        return
    typer.echo(f"copy accuracy {scores.copy_accuracy:.3f} (token level, {len(probe_set)} probes)")
    frame = scores.to_frame(top)
    typer.echo(f"{len(critical)} of {len(frame)} heads, retrieval score with 95 % interval:")
    for row in frame[frame["top"]].itertuples():
        typer.echo(f"  {row.name:<7} {row.score:.3f}  [{row.lo:.3f}, {row.hi:.3f}]")
    if out is not None:
        typer.echo(f"written to {out}")
