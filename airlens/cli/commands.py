"""The commands of ``airlens``, and how an error ends one."""

from __future__ import annotations

import sys
from typing import NoReturn

import click
import typer

from airlens import __version__
from airlens.errors import AirlensError

from . import app as cli_app
from . import demo as cli_demo
from . import doctor as cli_doctor
from . import evaluate as cli_evaluate
from . import export as cli_export
from . import figures as cli_figures
from . import heads as cli_heads
from . import page as cli_page
from . import report as cli_report
from . import score as cli_score
from . import select as cli_select
from . import status as cli_status
from . import train as cli_train
from . import validate as cli_validate

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
app.command("page")(cli_page.page)
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
