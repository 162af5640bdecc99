"""Help as plain text that is readable at 80 columns, and what `airlens help` shows.

Typer's own boxes leave a third of the line for the text, and show ``<bool>`` behind every switch.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

# Commands inherit it from the group.
HELP_NAMES = {"help_option_names": ["--help", "-h"]}


class PlainCommand(TyperCommand):
    """A command whose options are listed under the headings that they were declared with."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, the options without a heading, and the others by heading."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            is_argument = param.param_type_name == "argument"
            panel = getattr(param, "rich_help_panel", None)
            title = "Arguments" if is_argument else panel or "Options"
            sections.setdefault(str(title), []).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(
                        [(name.replace(" range>", ">"), text) for name, text in records]
                    )


class PlainGroup(TyperGroup):
    """The commands with their whole first sentence; ``help COMMAND`` is ``COMMAND --help``."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one entry per command, its first sentence not cut."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(10_000)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read ``help`` and ``help COMMAND`` as people type them."""
        if args[:1] == ["help"]:
            args = [*args[1:2], "--help"]
        return super().parse_args(ctx, args)
