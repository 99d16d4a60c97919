"""The command line in processes of its own, which can be killed at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import forks

KILLED = -signal.SIGKILL
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code (negative: by which signal), its JSON (empty when none), all it printed."""

    code: int
    document: dict[str, Any]
    printed: str
    seconds: float


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
    command = [sys.executable, "-m", "crdbmesh", *arguments]
    environment = {**os.environ, **environment}
    with (
        stdout.open("w") as out,
        stderr.open("w") as err,
        forks.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err) as process,
    ):
        sent = False
        while process.poll() is None:
            elapsed_s = time.monotonic() - started
            if elapsed_s > deadline_s:
                process.kill()
            elif end_after_s is not None and elapsed_s > end_after_s and not sent:
                process.send_signal(end_by)
                sent = True
            time.sleep(_POLL_S)
    text = stdout.read_text(errors="replace")
    printed = text + stderr.read_text(errors="replace")
    return Ended(process.returncode, _document(text), printed, time.monotonic() - started)


def _document(text: str) -> dict[str, Any]:
    for line in reversed(text.strip().splitlines()):
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            return document
    return {}
