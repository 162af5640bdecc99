"""The commands of ``airlens``."""

from __future__ import annotations

from collections.abc import Callable

import typer

from airlens.version import __version__

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
from .ending import Group, run
from .plain_help import HELP_NAMES, PlainCommand

app = typer.Typer(
    name="airlens",
    help="Find retrieval heads, ablate them, and measure what each step of a trace owes them.",
    cls=Group,
    context_settings=HELP_NAMES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# In the order of the method; it is that of `airlens --help`.
_COMMANDS: dict[str, Callable[..., None]] = {
    "doctor": cli_doctor.doctor,
    "heads": cli_heads.heads,
    "demo": cli_demo.demo,
    "score": cli_score.score,
    "status": cli_status.status,
    "select": cli_select.select,
    "export": cli_export.export,
    "report": cli_report.report,
    "page": cli_page.page,
    "train": cli_train.train,
    "evaluate": cli_evaluate.evaluate,
    "app": cli_app.app,
    "figures": cli_figures.figures,
    "validate": cli_validate.validate,
}
for _name, _function in _COMMANDS.items():
    app.command(_name, cls=PlainCommand)(_function)


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


def main() -> None:
    """Run the command line."""
    run(app)
