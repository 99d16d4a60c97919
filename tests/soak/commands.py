"""The command line in processes of its own, which can be killed at any moment.

A process is forked from this one, which has imported everything already: a second saved for each of a thousand runs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crdbmesh.__main__ import main

KILLED = -signal.SIGKILL
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code (negative: by which signal), its JSON (empty when none), all it printed."""

    code: int
    document: dict[str, Any]
    printed: str
    seconds: float


def preload() -> None:
    """Import what the commands import. Call it in a process without threads, before the first `run`."""
    import azure.identity
    import azure.mgmt.compute
    import azure.mgmt.network
    import azure.mgmt.resource.resources
    import azure.mgmt.resource.subscriptions  # noqa: F401

    import crdbmesh.clients.azure.pipeline
    import crdbmesh.commands.down
    import crdbmesh.commands.plan
    import crdbmesh.commands.status
    import crdbmesh.commands.up
    import crdbmesh.steps.catalog  # noqa: F401


def run(
    arguments: list[str],
    environment: dict[str, str],
    folder: Path,
    *,
    deadline_s: float,
    end_after_s: float | None = None,
    end_by: signal.Signals = signal.SIGKILL,
) -> Ended:
    """Run a command line.

    Args:
        arguments: of `crdbmesh`.
        environment: added to this process's own.
        folder: where what it prints is kept.
        deadline_s: at which it is killed, whatever it does.
        end_after_s: when to send it `end_by`; never when None.
        end_by: the signal.
    """
    started = time.monotonic()
    stdout, stderr = folder / "stdout", folder / "stderr"
    process_id = os.fork()
    if process_id == 0:
        _become(arguments, environment, stdout, stderr)
    sent = False
    while True:
        done, status = os.waitpid(process_id, os.WNOHANG)
        if done:
            break
        elapsed_s = time.monotonic() - started
        if elapsed_s > deadline_s:
            os.kill(process_id, signal.SIGKILL)
        elif end_after_s is not None and elapsed_s > end_after_s and not sent:
            os.kill(process_id, end_by)
            sent = True
        time.sleep(_POLL_S)
    text = stdout.read_text(errors="replace")
    printed = text + stderr.read_text(errors="replace")
    return Ended(os.waitstatus_to_exitcode(status), _document(text), printed, time.monotonic() - started)


def _become(arguments: list[str], environment: dict[str, str], stdout: Path, stderr: Path) -> None:
    code = 1
    try:
        os.setsid()
        os.environ.update(environment)
        for number, path in ((1, stdout), (2, stderr)):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(descriptor, number)
            os.close(descriptor)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - what the interpreter would print; the parent looks for it
        import traceback

        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _document(text: str) -> dict[str, Any]:
    for line in reversed(text.strip().splitlines()):
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            return document
    return {}
