"""``airlens doctor``: check the installation."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .model_options import ModelOptions, loads_model
from .options import AsJson, echo_json


@loads_model()
def doctor(
    *,
    model_options: ModelOptions,
    skip_model: Annotated[bool, typer.Option(help="Versions and cache only.")] = False,
    json: AsJson = False,
) -> None:
    """Print versions, device and cache, and check the model against Hugging Face's own logits.

    Exit status 1 when the logits disagree.
    """
    from .install_checks import check_model, environment

    record: dict[str, Any] = environment()
    if not skip_model:
        record.update(check_model(model_options.load()))
    if json:
        echo_json(record)
    else:
        _print(record)
    if record.get("parity") is False:
        raise typer.Exit(1)


def _print(record: dict[str, Any]) -> None:
    for name, value in record.items():
        if isinstance(value, dict):
            typer.echo(f"{name}:")
            for key, item in value.items():
                typer.echo(f"  {key:<18} {item}")
        else:
            shown = f"{value:.3g}" if isinstance(value, float) else value
            typer.echo(f"{name:<20} {shown}")
    if "parity" in record:
        typer.echo("sound" if record["parity"] else "NOT SOUND: logits differ from Hugging Face's")
