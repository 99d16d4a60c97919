"""One small mesh of three regions for all tests of the commands that use a mesh: a machine and a database pod each.

It is made as crdbmesh 0.1 made one, with a client pod in the first region only, then given a second one.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from tests import forks
from tests.doors import Doors, simulated

REGIONS = ("eastus", "westus", "northeurope")
SPEC: dict[str, Any] = {
    "name": "crdbmesh",
    "regions": list(REGIONS),
    "allow_from": ["127.0.0.1"],
    "machines": {"per_region": 1},
}


@dataclass(frozen=True)
class Run:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """What it printed as JSON."""
        return json.loads(self.stdout)


@dataclass
class Mesh:
    """A mesh that is up.

    Attributes:
        runs: what was seen while it was made, by name.
    """

    coordinates: dict[str, Any]
    folder: Path
    runs: dict[str, Run] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "homes" / "crdbmesh"

    @property
    def doors(self) -> Doors:
        return Doors(self.coordinates, self.home)

    @property
    def environ(self) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        own = {"HOME": str(self.folder), "CRDBMESH_HOME": str(self.folder / "homes"), "TERM": "xterm"}
        return {**kept, **own, "CRDBMESH_CLOUD": self.coordinates["cloud_file"]}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "crdbmesh", *arguments]

    def run(self, *arguments: str, stdin: str | None = None) -> Run:
        """Run a command line to its end, off a terminal."""
        ended = forks.run(self.command(*arguments), env=self.environ, timeout=120, given=stdin)
        return Run(ended.returncode, ended.stdout, ended.stderr)

    def up(self, name: str, **cockroach: Any) -> None:
        """Bring it up with a spec, and keep what was seen."""
        file = self.folder / "mesh.yaml"
        file.write_text(yaml.safe_dump({**SPEC, "cockroach": cockroach}))
        run = self.runs[name] = self.run("up", "--config", str(file), "--yes", "--output", "json")
        assert run.code == 0, run.stderr


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("use")
    with simulated(folder, scale=120) as coordinates:
        made = Mesh(coordinates, folder)
        made.up("born", clients=1)
        kept = made.home / "mesh.yaml"
        document = yaml.safe_load(kept.read_text())
        del document["cockroach"]["clients"]
        kept.write_text(yaml.safe_dump(document))
        made.runs["plan"] = made.run("plan", "--output", "json")
        made.up("again", clients=2)
        yield made


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever looks at the one mesh does so in the process that made it."""
    for item in items:
        if "mesh" in getattr(item, "fixturenames", ()) and item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.xdist_group("the mesh in use"))


class Typed:
    """A command at a terminal of its own: what is typed, and what it has shown so far."""

    def __init__(self, mesh: Mesh, *arguments: str, more: dict[str, str] | None = None) -> None:
        self.master, slave = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(slave)
        self.slave, self.shown = slave, ""
        self.process: forks.Popen[bytes] = forks.Popen(
            mesh.command(*arguments), env={**mesh.environ, **(more or {})}, stdin=slave, stdout=slave, stderr=slave
        )

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def await_text(self, pattern: str, *, within_s: float = 40) -> re.Match[str]:
        """Read until what was shown since the last call has a pattern."""
        deadline = time.monotonic() + within_s
        while (found := re.search(pattern, self.shown)) is None:
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern} in {self.shown!r}"
            if select.select([self.master], [], [], min(left, 0.5))[0]:
                self.shown += os.read(self.master, 65536).decode(errors="replace")
        self.shown = self.shown[found.end() :]
        return found

    def end(self) -> int:
        """Return the exit status; the terminal is as it was."""
        status = self.process.wait(40)
        assert termios.tcgetattr(self.slave) == self.before
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)
