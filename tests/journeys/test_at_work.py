"""A run that is interrupted, and two runs at once: as processes, like those that people start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import forks

UP = ("up", "--regions", "eastus", "--machines-per-region", "1", "--allow-from", "127.0.0.1", "--yes")


@contextmanager
def running(world: Any, home: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **os.environ,
        "CRDBMESH_CLOUD": world.coordinates["cloud_file"],
        "CRDBMESH_HOME": str(home),
    }
    command = [sys.executable, "-m", "crdbmesh", *arguments, "--output", "json"]
    with forks.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str], text: str) -> str:
    """What it says on stderr until a line with `text`."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"it never said {text}: {''.join(lines)}")


def ended(process: subprocess.Popen[str], within_s: float = 60) -> tuple[int, dict[str, Any], str]:
    stdout, stderr = process.communicate(timeout=within_s)
    return process.returncode, json.loads(stdout), stderr


def test_ctrl_c_leaves_a_wait_says_how_to_go_on_and_the_next_up_does(world: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running(world, home, *UP) as process:
        # Minutes of simulated waiting have just begun.
        said(process, "eastus/cilium: ")
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        code, document, shown = ended(process)
    assert time.monotonic() - started < 20
    assert code == 130
    assert "running steps finish, no new one starts" in shown
    assert "`crdbmesh up` will resume from there" in shown
    assert "Traceback" not in shown
    outcomes = {step["step"]: step["outcome"] for step in document["steps"]}
    assert set(outcomes.values()) <= {"held", "changed", "stopped"}
    assert outcomes["mesh/init"] == "stopped"
    (journal,) = (home / "crdbmesh" / "journals").iterdir()
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert "ended" in lines[-1]
    with running(world, home, *UP) as process:
        code, document, shown = ended(process)
    assert code == 0, shown
    assert document["done"]


def test_a_second_up_is_refused_here_and_from_elsewhere_with_who_is_at_work(world: Any, tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    with running(world, here, *UP) as first:
        said(first, "eastus/network")
        # It takes its time, and holds on to what it has.
        first.send_signal(signal.SIGSTOP)
        with running(world, here, *UP) as second:
            code, document, _ = ended(second)
        assert code == 3
        assert document["error"]["code"] == "held"
        assert f"process {first.pid}, since 20" in document["error"]["message"]
        writes = world.report()["writes"]
        with running(world, elsewhere, *UP) as third:
            code, document, _ = ended(third)
        assert code == 3
        assert f"process {first.pid}, since 20" in document["error"]["message"]
        assert "runs out at" in document["error"]["remedy"]
        assert not (elsewhere / "crdbmesh" / "mesh.yaml").exists()
        with running(world, elsewhere, "down", "crdbmesh", "--yes") as down:
            code, document, _ = ended(down)
        assert code == 3
        assert document["error"]["code"] == "held"
        assert world.report()["writes"] == writes
        first.send_signal(signal.SIGCONT)
        code, document, shown = ended(first)
        assert code == 0, shown
