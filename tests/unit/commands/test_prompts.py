"""Questions on a terminal, answered as a person would."""

from __future__ import annotations

import os
import re
import select
import sys
import time
from pathlib import Path
from typing import Any

from tests import forks

from crdbmesh.local.folder import SPEC, LocalFolder


def converse(azure: Any, folder: Path, *arguments: str, question: str, answer: str) -> tuple[int, str]:
    """Run a command on a terminal and answer its one question; exit code, and all that the terminal showed."""
    environment = {**os.environ, "CRDBMESH_HOME": str(folder), "CRDBMESH_CLOUD": str(azure.world.cloud_file)}
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "crdbmesh", *arguments]
    with forks.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown, answered, deadline = "", False, time.monotonic() + 30
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    shown += os.read(ours, 4096).decode()
                except OSError:
                    break
            if not answered and question in shown:
                os.write(ours, answer.encode())
                answered = True
        os.close(ours)
        code = process.wait(10)
    assert answered, shown
    return code, shown


def test_saying_no_to_up_writes_nothing_and_keeps_nothing(azure: Any, tmp_path: Path) -> None:
    before = azure.world.writes()
    code, shown = converse(
        azure, tmp_path, "up", "--regions", "eastus", question="Create or update this mesh?", answer="n\n"
    )
    assert code == 1
    subscription = azure.world.coordinates["subscription_id"]
    assert plain(shown).startswith(f"SubscriptionSimulatedsubscription({subscription})ofsimulatedcrdbmesh:")
    assert "1 region, 3 machines" in shown
    assert "+group" in plain(shown)
    assert "buys3newmachines(Standard_D8s_v5),eachwithadisk(128GiBPremium_LRS),adatadisk,awaldiskandapublicIP" in plain(
        shown
    )
    assert "open to 127.0.0.1/32 only" in shown
    assert azure.world.writes() == before
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_at_a_question_ends_with_130(azure: Any, tmp_path: Path) -> None:
    code, shown = converse(
        azure, tmp_path, "up", "--regions", "eastus", question="Create or update this mesh?", answer="\x03"
    )
    assert code == 130
    assert "Traceback" not in shown


def test_down_wants_the_name_itself(azure: Any, tmp_path: Path) -> None:
    azure.put_group("typed", crdbmesh="typed")
    LocalFolder(tmp_path / "typed").write(SPEC, "name: typed\nregions: [eastus]\n")
    question = "Type the mesh's name (typed)"
    code, shown = converse(azure, tmp_path, "down", question=question, answer="y\n")
    assert code == 2
    assert "nothing was deleted" in shown
    assert azure.group_exists("typed")
    code, shown = converse(azure, tmp_path, "down", question=question, answer="typed\n")
    assert code == 0, shown
    assert "typed is gone." in shown
    assert f"Itslocalfolderisnow{tmp_path}/removed/typed-" in plain(shown)
    assert not azure.group_exists("typed")
    assert not (tmp_path / "typed").exists()


def plain(shown: str) -> str:
    """What a terminal showed, without colours and breaks of lines."""
    return "".join(re.sub(r"\x1b\[[0-9;]*m", "", shown).split())
