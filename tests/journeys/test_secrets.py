"""What `up` prints and keeps: no secret in it, and nothing that others can read."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any


def secrets_in(home: Path) -> list[str]:
    """Every token, and a line from the middle of every private key, in a mesh's folder."""
    found = [path.read_text().strip() for path in (home / "tokens").iterdir()]
    for path in [home / "login.key", *(home / "host-keys").iterdir(), *(home / "ca").iterdir()]:
        lines = path.read_text().splitlines()
        start = next(number for number, line in enumerate(lines) if "PRIVATE KEY" in line)
        found.append(lines[start + 2])
    return found


def test_up_shows_and_keeps_no_secret_where_others_could_read_it(world: Any, tmp_path: Path) -> None:
    homes = tmp_path / "homes"
    environ = {**os.environ, "CRDBMESH_CLOUD": world.coordinates["cloud_file"], "CRDBMESH_HOME": str(homes)}
    command = [sys.executable, "-m", "crdbmesh", "up", "--regions", "eastus", "--machines-per-region", "1", "--yes"]
    done = subprocess.run(
        [*command, "--output", "json"], env=environ, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr

    home = homes / "crdbmesh"
    secrets = secrets_in(home)
    assert len(secrets) == 5
    journals = "".join(path.read_text() for path in (home / "journals").iterdir())
    assert journals
    for secret in [*secrets, world.coordinates["token"]]:
        assert len(secret) > 16
        assert secret not in done.stdout
        assert secret not in done.stderr
        assert secret not in journals

    for path in [home, *home.rglob("*")]:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
