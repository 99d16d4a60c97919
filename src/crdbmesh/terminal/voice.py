"""The options of every command, which say how much is printed and whether in colour; before or after its name."""

import logging
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer

_TRACE = logging.getLogger("crdbmesh.trace")
"""Takes each request and command that the clients send."""
_TRACE.propagate = False


@dataclass
class Voice:
    """The choices for this command line: each request shown, only errors and results, no colour."""

    verbose: bool = False
    quiet: bool = False
    no_color: bool = False


VOICE = Voice()


class _Tell(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        from crdbmesh import redaction
        from crdbmesh.terminal.visible import CONTINUED, visible

        # Not to the stream as such: a live table stands in for it, and stays below what is written.
        sys.stderr.write(f"{visible(redaction.hide(record.getMessage())).replace(chr(10), CONTINUED)}\n")


_TRACE.handlers = [_Tell()]


def _choose(context: Any, parameter: Any, value: bool) -> None:
    above = context.parent is not None and getattr(VOICE, parameter.name)
    setattr(VOICE, parameter.name, value or above)
    _TRACE.setLevel(logging.DEBUG if VOICE.verbose else logging.CRITICAL)


_app = typer.Typer(add_completion=False)


def _option(*names: str, variable: str, text: str) -> Any:
    return typer.Option(*names, envvar=variable, expose_value=False, callback=_choose, help=text)


@_app.command()
def _options(
    verbose: Annotated[
        bool,
        _option(
            "--verbose",
            "-v",
            variable="CRDBMESH_VERBOSE",
            text="Print each request to Azure and Kubernetes, and each command on a machine.",
        ),
    ] = False,
    quiet: Annotated[
        bool, _option("--quiet", "-q", variable="CRDBMESH_QUIET", text="Print errors and results only.")
    ] = False,
    no_color: Annotated[
        bool, _option("--no-color", variable="CRDBMESH_NO_COLOR", text="Print without colour, as with NO_COLOR.")
    ] = False,
) -> None:
    """Hold the options."""


OPTIONS = [one for one in typer.main.get_command(_app).params if one.name != "help"]
