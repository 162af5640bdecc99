"""Options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="smollm2-135m, gemma3-270m, a hub id, a local folder or a .gguf file.",
        rich_help_panel="Model",
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda, … (default: CUDA if there)", rich_help_panel="Model"),
]
Dtype = Annotated[
    str,
    typer.Option("--dtype", help="Dtype of the weights; losses are fp32.", rich_help_panel="Model"),
]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same result.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout, for machines.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the result.")]


def echo_json(record: dict[str, Any]) -> None:
    """Print ``record`` as one line of JSON on stdout."""
    typer.echo(json.dumps(record, ensure_ascii=False, default=str))
