"""A mesh on a terminal: what `up` ends with, what it does not ask, and what looks at it without a write."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests import forks

from crdbmesh.local.contents import OWN_ADDRESS
from crdbmesh.local.folder import LocalFolder

UP = ("up", "--regions", "eastus", "--machines-per-region", "1")


def environment(world: Any, home: Path) -> dict[str, str]:
    return {**os.environ, "CRDBMESH_CLOUD": world.coordinates["cloud_file"], "CRDBMESH_HOME": str(home)}


def on_terminal(world: Any, home: Path, *arguments: str, until: str = "") -> tuple[int, str]:
    """Run a command on a terminal, without an answer to anything; once it has shown `until` twice, press Ctrl-C."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "crdbmesh", *arguments]
    with forks.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(world, home)) as process:
        os.close(theirs)
        shown, deadline = b"", time.monotonic() + 120
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    shown += os.read(ours, 65536)
                except OSError:
                    break
            if until and shown.count(until.encode()) > 1:
                process.send_signal(signal.SIGINT)
                until = ""
        os.close(ours)
        code = process.wait(20)
    return code, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r", "")


def read(world: Any, home: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "crdbmesh", *arguments, "--output", "json"]
    done = forks.run(command, env=environment(world, home), timeout=60)
    return done.returncode, json.loads(done.stdout)


def test_up_ends_with_a_card_asks_nothing_when_nothing_is_to_be_done_and_others_look(
    world: Any, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    code, shown = on_terminal(world, home, *UP, "--yes")
    assert code == 0, shown
    assert "depend on it and are looked at again" in " ".join(shown.split())
    assert re.search(r"\d+ of \d+ steps done in .*, about \d+ (s|min) to go", shown)
    assert "crdbmesh is up in eastus." in shown
    card = shown.rpartition("crdbmesh is up in eastus.")[2]
    assert re.search(r"where +subscription Simulated subscription", card)
    assert "healthy: 1 region, 1 machine, 1 live CockroachDB node" in card
    assert re.findall(r"costs +about (\S+) USD an hour", card) == ["0.44"]
    assert str(home / "crdbmesh") in card.replace("\n", "")
    assert "crdbmesh kubeconfig --merge" in card
    assert "crdbmesh status" in card

    before = world.writes()
    code, shown = on_terminal(world, home, "up")
    assert code == 0, shown
    assert "Create or update" not in shown
    assert re.search(r"nothing to do, all \d+ steps hold", shown)

    code, shown = on_terminal(world, home, "status", "--watch", "1", until="Ctrl-C ends it")
    assert code == 130
    assert shown.count("healthy") > 1

    code, document = read(world, home, "list")
    assert code == 0
    (mesh,) = document["meshes"]
    assert (mesh["mesh"], mesh["regions"], mesh["machines"], mesh["known"]) == ("crdbmesh", ["eastus"], 1, True)
    assert 0 <= mesh["age_s"] < 24 * 3600
    assert mesh["cost"]["hour"] > 0.2

    LocalFolder(home / "crdbmesh").write(OWN_ADDRESS, "203.0.113.9")
    code, document = read(world, home, "status")
    assert code == 10, "the firewalls let in another address than the spec"
    assert (
        "your address is 127.0.0.1 now, and the firewalls let in 203.0.113.9: `crdbmesh up` follows it"
        in (document["remarks"])
    )
    assert world.writes() == before
