"""Reports errors and maps them to exit codes; prints JSON documents. Nothing else knows exit codes."""

import itertools
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import typer

from crdbmesh import redaction
from crdbmesh.errors import ConfigError, CrdbmeshError, HeldError, PreflightError
from crdbmesh.terminal import interrupts
from crdbmesh.terminal.interrupts import Interrupts
from crdbmesh.terminal.options import Output

DONE, FAILED, USAGE, PREFLIGHT, DEGRADED, INTERRUPTED = 0, 1, 2, 3, 10, 130

EPILOG = (
    "Exit codes: 0 done · 1 a step failed or is blocked, or you said no · 2 usage or config · 3 preflight · "
    "10 degraded · 130 interrupted."
)


@contextmanager
def mapped(output: Output, *, refused: str | None = None) -> Iterator[Interrupts]:
    """Run a command's body and report its errors, each of which becomes a typer.Exit with its exit code.

    `refused` is the title of findings that would make `up` fail.
    """
    with interrupts.handled(lambda: _leave(output)) as interrupted:
        try:
            yield interrupted
        except CrdbmeshError as error:
            _fail(error, output, INTERRUPTED if interrupted.stop.is_set() else _code(error), refused=refused)
        except KeyboardInterrupt:
            _say_interrupted(output)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader has closed the pipe: `crdbmesh status | head`.
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            _fail(CrdbmeshError(f"{where}{error.strerror or error}", code="file"), output, FAILED)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - it is reported as a bug
            _fail(_bug(error), output, FAILED)


def print_json(document: dict[str, Any]) -> None:
    """Print a command's result with the schema's version, secrets hidden."""
    typer.echo(redaction.hide(json.dumps({"schema": 1, **document})))


def print_usage_error(error: typer.TyperException, arguments: Sequence[str]) -> None:
    """Print the error of a command line that cannot be parsed, and again as JSON if the command line asks for it."""
    from crdbmesh.terminal.visible import visible

    # Typer exports the base class only; all that it raises for a command line can show itself.
    shown = cast("typer.BadParameter", error)
    shown.message = visible(shown.message)
    shown.show()
    if _asks_for_json(arguments):
        print_json({"error": CrdbmeshError(error.format_message(), code="usage").document()})


def _code(error: CrdbmeshError) -> int:
    if isinstance(error, ConfigError):
        return USAGE
    if isinstance(error, PreflightError | HeldError):
        return PREFLIGHT
    return FAILED


def _fail(error: CrdbmeshError, output: Output, code: int, *, refused: str | None = None) -> NoReturn:
    from crdbmesh.terminal import console

    console.show_error(console.make(stderr=True), error, **({"refused": refused} if refused else {}))
    if output == "json":
        print_json({"error": error.document()})
    raise typer.Exit(code)


def _bug(error: Exception) -> CrdbmeshError:
    from crdbmesh.terminal.visible import visible

    account, path = redaction.hide("".join(traceback.format_exception(error))), "above"
    if os.environ.get("CRDBMESH_DEBUG"):
        sys.stderr.write(visible(account))
    else:
        descriptor, path = tempfile.mkstemp(prefix="crdbmesh-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(account)
    hint = f"this is a bug in crdbmesh; its traceback is {path if path == 'above' else f'in {path}'}"
    return CrdbmeshError(f"unexpected {type(error).__name__}", hint=hint, code="bug")


def _leave(output: Output) -> None:
    """End the process at once, whatever its threads wait for."""
    from crdbmesh.terminal import console

    try:
        console.show_cursor()
        _say_interrupted(output)
        sys.stdout.flush()
    finally:
        os._exit(INTERRUPTED)


def _say_interrupted(output: Output) -> None:
    if output == "json":
        print_json({"error": CrdbmeshError("interrupted", code="interrupted").document()})


def _asks_for_json(arguments: Sequence[str]) -> bool:
    said = None
    for option, following in itertools.zip_longest(arguments, arguments[1:]):
        value = following if option in {"--output", "-o"} else option.removeprefix("--output=").removeprefix("-o")
        # A value that there is none of is the mistake that is reported, and takes nothing back.
        if value != option and value in {"json", "text"}:
            said = value == "json"
    if said is not None:
        return said
    return os.environ.get("CRDBMESH_OUTPUT") == "json"
