"""The simulator as a process of its own, which serves a simulated Azure on this machine.

It is another distribution, known by its doors only: the command `python -m crdbmesh_simulator`, the JSON line that it
prints once it serves, and the URL of its report.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crdbmesh.clients import cloud_file
from crdbmesh.clients.cloud import Cloud
from crdbmesh.errors import CrdbmeshError
from crdbmesh.local import files

SCALE = 45.0
"""Simulated seconds per second."""

_MODULE = "crdbmesh_simulator"
_START_DEADLINE_S = 60.0
_STOP_DEADLINE_S = 30.0


class DemoError(CrdbmeshError):
    """The simulator cannot run, or the demo did not show what it claims."""


class SimulatedAzure:
    """A running simulator; reading anything of it waits until it serves.

    Attributes:
        process: the simulator.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    @functools.cached_property
    def coordinates(self) -> dict[str, Any]:
        """Return the JSON object that the simulator prints once it serves.

        Raises:
            DemoError: it does not start.
        """
        watchdog = threading.Timer(_START_DEADLINE_S, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline() if self.process.stdout else ""
        watchdog.cancel()
        if not line:
            raise DemoError(
                "the simulator did not start",
                hint="its own message is above; it needs Linux's loopback addresses 127.x.y.z",
            )
        found: dict[str, Any] = json.loads(line)
        return found

    @property
    def cloud_file(self) -> Path:
        """Return the path for `CRDBMESH_CLOUD`."""
        return Path(self.coordinates["cloud_file"])

    @property
    def home(self) -> Path:
        """Return the root of the demo's meshes, which goes with the simulator however it or this process ends."""
        return self.cloud_file.parent / "home"

    def cloud(self) -> Cloud:
        """Return the cloud that its cloud file describes."""
        return cloud_file.read(self.cloud_file)

    def report(self) -> dict[str, Any]:
        """Return its report: what exists in it, and what it was asked so far."""
        request = urllib.request.Request(  # noqa: S310 - an https address of our own
            self.coordinates["report_url"], headers={"Authorization": f"Bearer {self.coordinates['token']}"}
        )
        trust = ssl.create_default_context(cafile=self.coordinates["ca_file"])
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        with opener.open(request, timeout=30) as answer:
            report: dict[str, Any] = json.load(answer)
        return report

    def writes(self) -> int:
        """Return the number of writes so far."""
        return sum(self.report()["writes"].values())


@contextlib.contextmanager
def serve(*, scale: float = SCALE, seed: int = 0, folder: Path | None = None) -> Iterator[SimulatedAzure]:
    """Start a simulated Azure, which ends with the block, or with this process: the simulator watches our pipe.

    Its files, and the folders of the meshes in it, are below `folder`, by default where temporary files are.

    Raises:
        DemoError: the simulator is not installed.
    """
    if importlib.util.find_spec(_MODULE) is None:
        raise DemoError("the simulator is not installed", hint="install it: pip install 'crdbmesh[demo]'")
    command = [sys.executable, "-m", _MODULE, "--attached", "--scale", str(scale), "--seed", str(seed)]
    environment = dict(os.environ)
    if folder is not None:
        files.make_folder(folder)
        environment["TMPDIR"] = str(folder)
    # A session of its own, so that Ctrl-C at the terminal reaches this process only, which then stops the simulator.
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment
    ) as process:
        try:
            yield SimulatedAzure(process)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
