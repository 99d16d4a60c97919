"""A simulated world in a process of its own, and a small mesh in it, for programs that nobody of this project wrote.

Those programs (azure-cli, kubectl, OpenSSH, a resolver) come from the environment that `make referees` makes and from
the machine. Nothing here is run by the default suite: each file carries the marker `referee`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REGIONS = ("eastus", "westus")
NAME = "refereed"
_READY_S = 300


@dataclass(frozen=True)
class World:
    """A simulated world: where its doors are (`coordinates`), and a folder that is its own."""

    coordinates: dict[str, Any]
    folder: Path


@dataclass(frozen=True)
class BuiltMesh:
    """A mesh that `crdbmesh up` made: a machine in each of two regions, both in one CockroachDB.

    Attributes:
        home: crdbmesh's folder, with the login key and, in `kubeconfigs/REGION.yaml`, the clusters' kubeconfigs.
        status: what `crdbmesh status --output json` says of it.
    """

    home: Path
    status: dict[str, Any]


def program(name: str) -> str:
    """The path of a program; the test is skipped, with the reason, when this machine does not have it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: `make referees` installs azure-cli and kubectl, the system the rest")
    return found


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world at two hundred times the pace of time, without faults."""
    folder = tmp_path_factory.mktemp("world")
    command = [sys.executable, "-m", "crdbmesh_simulator", "--scale", "200", "--seed", "7", "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield World(json.loads(line), folder)
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="session")
def mesh(world: World) -> BuiltMesh:
    """A small mesh, built by the product."""
    home = world.folder / "home"
    environment = {**os.environ, "CRDBMESH_CLOUD": world.coordinates["cloud_file"], "CRDBMESH_HOME": str(home)}
    crdbmesh = [sys.executable, "-m", "crdbmesh"]
    regions = ["--regions", ",".join(REGIONS), "--machines-per-region", "1", "--allow-from", "127.0.0.1"]
    made = subprocess.run(
        [*crdbmesh, "up", "--name", NAME, *regions, "--yes"],
        env=environment, capture_output=True, text=True, timeout=_READY_S, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    seen = subprocess.run(
        [*crdbmesh, "status", NAME, "--output", "json"],
        env=environment, capture_output=True, text=True, timeout=_READY_S, check=False,
    )  # fmt: skip
    assert seen.returncode == 0, seen.stdout + seen.stderr
    return BuiltMesh(home, json.loads(seen.stdout))
