"""``airlens doctor``: check the installation, a model, and data for it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import checks
from .data_options import DataOptions, reads_data
from .model_options import ModelOptions, loads_model
from .options import AsJson, Template, Think, echo_json

LIMIT = 20  # rows


@loads_model()
@reads_data(limit=LIMIT, on_error="skip")
def doctor(
    data: Annotated[
        str,
        typer.Option(
            "--data",
            parser=checks.traces_source,
            metavar="FILE|FOLDER|NAME",
            help="Also hold rows of these data against the model, and run it on a few.",
        ),
    ] = "",
    *,
    data_options: DataOptions,
    template: Template = "auto",
    think: Think = "auto",
    model_options: ModelOptions,
    skip_model: Annotated[bool, typer.Option(help="Versions and cache only.")] = False,
    json: AsJson = False,
) -> None:
    """Print versions, device and cache, and check the model against Hugging Face's own logits.

    A line is printed as each check ends, to the error output; not with --json.

    With --data rows are read as every command reads them: what was taken from which column, what
    the template makes of each, whether each token has an embedding, how many are longer than the
    context, and what a few of them give, by both engines.

    Exit status 1 when the logits disagree, or a row cannot be scored.
    """
    from airlens.errors import ConfigError
    from airlens.traces.columns import Columns

    if not data and data_options != DataOptions(Columns(), None, None, "auto", LIMIT, "skip"):
        raise ConfigError("options of the data are for --data FILE")
    if data and skip_model:
        raise ConfigError("--data is held against a model: leave out --skip-model")
    traces = data_options.traces(data) if data else None

    from .install_checks import check_model, environment

    def say(line: str) -> None:
        if not json:
            typer.echo(line, err=True)

    record: dict[str, Any] = environment()
    model = None
    if not skip_model:
        say(f"loading {model_options.name}, and checking its logits on a few words")
        model = model_options.load()
        say(f"{model_options.name} loaded")
        record.update(check_model(model, say))
    found = None
    if model is not None and traces is not None:
        from airlens.corpus.data_check import check_data

        say(f"holding rows of {data} against the model")
        how: Any = {"template": template, "think": think}
        found = check_data(model, traces, **how)
        record["data"] = {"source": traces.source, "reading": traces.reading, **found.to_json()}
    if json:
        echo_json(record)
    else:
        _print({name: value for name, value in record.items() if name != "data"})
    if found is not None and not json:
        typer.echo(f"data: {data}\n{found}")
        typer.echo("data sound" if found.sound else "DATA NOT SOUND: see above")
    if record.get("parity") is False or (found is not None and not found.sound):
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
