"""The command line: ``airlens COMMAND --help``. Each command is a file of its own, ``cli_*.py``."""

from __future__ import annotations

import sys
from typing import NoReturn

import click
import typer

from . import (
    __version__,
    cli_app,
    cli_demo,
    cli_doctor,
    cli_evaluate,
    cli_export,
    cli_figures,
    cli_heads,
    cli_report,
    cli_score,
    cli_select,
    cli_status,
    cli_train,
    cli_validate,
)
from .errors import AirlensError

app = typer.Typer(
    name="airlens",
    help="Find retrieval heads, ablate them, and measure what each step of a trace owes them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command("doctor")(cli_doctor.doctor)
app.command("heads")(cli_heads.heads)
app.command("demo")(cli_demo.demo)
app.command("score")(cli_score.score)
app.command("status")(cli_status.status)
app.command("select")(cli_select.select)
app.command("export")(cli_export.export)
app.command("report")(cli_report.report)
app.command("train")(cli_train.train)
app.command("evaluate")(cli_evaluate.evaluate)
app.command("app")(cli_app.app)
app.command("figures")(cli_figures.figures)
app.command("validate")(cli_validate.validate)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"airlens {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    pass


def fail(message: str) -> NoReturn:
    """Say on stderr what went wrong, and exit with status 2."""
    typer.secho(f"airlens: {message}", err=True, fg=typer.colors.RED)
    sys.exit(2)


def main() -> None:
    """Run the command line; an error a person can act on is one line, not a traceback."""
    try:
        app()
    except AirlensError as error:
        fail(str(error))
    except (KeyboardInterrupt, click.exceptions.Abort):
        typer.secho("airlens: interrupted", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
