"""The page of the command line: what `--help` says, command by command."""

from __future__ import annotations

from pathlib import Path

import typer

from airlens.cli import app

from . import write_if_new


def write(folder: Path) -> None:
    """Write `cli.md`."""
    root = typer.main.get_command(app)
    parts = [
        "# Command line\n\n`airlens COMMAND --help` says the same. Every command that a script may "
        "read takes `--json`.\n"
    ]
    for name, command in root.commands.items():
        if not command.help:
            raise ValueError(f"airlens {name} has no help")
        parts.append(_page(root, name, command))
    write_if_new(folder / "cli.md", "\n".join(parts))


def _page(root, name: str, command) -> str:
    context = typer.Context(command, info_name=f"airlens {name}")
    lines = [f"## `airlens {name}`\n", " ".join(command.help.split()) + "\n"]
    usage = " ".join(command.collect_usage_pieces(context))
    lines.append(f"```bash\nairlens {name} {usage}\n```\n")
    for option in command.params:
        record = option.get_help_record(context)
        text = record[1] if record else getattr(option, "help", None)
        label = record[0] if record else option.human_readable_name
        if label.startswith("--help"):
            continue
        lines += [f"`{label}`", f": {_plain(text or '')}\n"]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Help as Markdown: what would be read as markup is escaped."""
    for mark in "\\*_[]<>":
        text = text.replace(mark, "\\" + mark)
    return text
