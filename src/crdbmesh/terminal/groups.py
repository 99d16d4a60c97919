"""Help pages: commands in groups, and a command's examples before its description."""

import itertools
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from crdbmesh.terminal import exits, voice

BUILD, LOOK, USE, KEEP = "Build a mesh", "Look at it", "Use it", "Keep it"
_ORDER = (BUILD, LOOK, USE, KEEP)


def add(app: typer.Typer, group: str, function: Callable[..., Any], short_help: str, *examples: str) -> None:
    """Register a command in a group; each example is a command line, with a remark after two spaces if it needs one."""

    class _Command(TyperCommand):
        def __init__(self, *arguments: Any, params: Any = None, **more: Any) -> None:
            super().__init__(*arguments, params=[*(params or ()), *voice.OPTIONS], **more)

        def parse_args(self, ctx: Any, args: list[str]) -> Any:
            """Parse as Typer does; `--watch` takes the seconds that follow it, or else 5."""
            for at, one in enumerate(args):
                if one == "--watch" and not "".join(args[at + 1 : at + 2]).replace(".", "").isdigit():
                    args[at] = "--watch=5"
            return super().parse_args(ctx, args)

        def format_help_text(self, ctx: Any, formatter: Any) -> None:
            formatter.write_paragraph()
            with formatter.indentation():
                for example in examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")
            super().format_help_text(ctx, formatter)

    called = function.__name__.rstrip("_").replace("_", "-")
    app.command(called, cls=_Command, epilog=exits.EPILOG, short_help=short_help, rich_help_panel=group)(function)


class Group(TyperGroup):
    """The root command, whose help lists its commands by group, in the order in which they were added."""

    def __init__(self, *arguments: Any, params: Any = None, **more: Any) -> None:
        super().__init__(*arguments, params=[*(params or ()), *voice.OPTIONS], **more)

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        """Write a section for each group."""
        width = max(map(len, self.commands))
        items: Any = self.commands.items()
        listed = sorted(items, key=lambda item: _ORDER.index(item[1].rich_help_panel))
        for group, commands in itertools.groupby(listed, lambda item: item[1].rich_help_panel):
            with formatter.section(group):
                formatter.write_dl([(f"{name:{width}}", command.short_help or "") for name, command in commands])
