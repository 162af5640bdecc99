"""``airlens app``: the workspace in a browser, without code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import checks
from .model_options import model_option
from .options import traces_option


def app(
    model: Annotated[str | None, model_option()] = None,
    traces: Annotated[
        str | None,
        traces_option("Your traces: a file, a folder or a hub name; default: the bundled ones."),
    ] = None,
    beside: Annotated[
        str | None,
        typer.Option(
            parser=checks.model_name, metavar="MODEL", help="Another model, to compare with as A."
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="If it is in use, the next free one is taken.")
    ] = 8866,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
    dark: Annotated[bool, typer.Option("--dark", help="Light text on a dark page.")] = False,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="NAME=VALUE of the notebook; may be repeated."),
    ] = None,
) -> None:
    """Serve the workspace as an app, on this machine only. Ctrl+C ends it."""
    from airlens.views.explorers.notebook_files import parse_values
    from airlens.views.explorers.served_app import serve

    values: dict[str, Any] = parse_values(parameter or [])
    values |= {"model": model} if model is not None else {}
    values |= {"beside": beside} if beside is not None else {}
    if traces:
        path = Path(traces).expanduser()
        values["traces_from"] = str(path.resolve()) if path.exists() else traces
    serve(values, port=port, open_browser=browser, theme="dark" if dark else "light")
