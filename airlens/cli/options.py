"""Options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from airlens.heads import HeadSet

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
Mode = Annotated[str, typer.Option("--mode", help="uniform, zero or mean.")]
Template = Annotated[str, typer.Option("--template", help="auto, chat or plain.")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Longest probe, in tokens.")]
TracesPerDomain = Annotated[
    int, typer.Option("--traces", min=1, help="Traces scored in each domain.")
]
Within = Annotated[str, typer.Option("--within", help="Rank within: domain, or none.")]
ScoredFolder = Annotated[Path, typer.Argument(help="A folder written by `airlens score`.")]


def read_heads(text: str) -> HeadSet:
    """The critical heads of a file that `airlens heads` wrote, or heads by name."""
    from airlens.heads import HeadSet, load_heads

    if text.endswith(".json") or Path(text).exists():
        return load_heads(text)
    return HeadSet.parse(text)


def echo_json(record: dict[str, Any]) -> None:
    """Print ``record`` as one line of JSON on stdout."""
    typer.echo(json.dumps(record, ensure_ascii=False, default=str))
