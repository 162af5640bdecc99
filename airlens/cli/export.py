"""``airlens export``: write a selection in the formats that trainers read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import checks
from .options import AsJson, echo_json, name_option


def export(
    selected: Annotated[
        Path,
        typer.Argument(
            parser=checks.in_file,
            metavar="SELECTED",
            help="JSON lines written by `airlens select`.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="A file; for datasets a folder.")],
    kind: Annotated[
        str | None,
        name_option(
            "jsonl, json, csv, tsv, parquet, arrow or datasets (default: by the name of OUT).",
            *("jsonl", "json", "csv", "tsv", "parquet", "arrow", "datasets"),
            option="--format",
        ),
    ] = None,
    messages: Annotated[
        bool, typer.Option("--messages", help="The conversation as `messages`, the format of TRL.")
    ] = False,
    columns: Annotated[
        list[str] | None, typer.Option("--column", help="Keep only these; may be repeated.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Write a selection for training: texts, ids, scores, weights, and a manifest."""
    from airlens.corpus.export import export, kind_of
    from airlens.files import need_out_file, need_out_folder

    how = kind_of(out, kind)
    out = (need_out_folder if how == "datasets" else need_out_file)(str(out))
    notes: list[str] = []
    options = {"messages": messages, "columns": columns or None, "say": notes.append}
    count = export(selected, out, kind=how, **options)  # type: ignore[arg-type]
    if json:
        echo_json({"samples": count, "out": str(out), "notes": notes})
        return
    typer.echo(f"{count} samples written to {out}")
    for note in notes:
        typer.echo(f"  note: {note}")
