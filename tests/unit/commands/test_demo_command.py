"""The demo's world: it starts, it is read, and it ends whatever happens to us."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests import forks

from crdbmesh.commands import demo
from crdbmesh.engine.step import Notify, Outcome
from crdbmesh.errors import ConfigError
from crdbmesh.local.contents import LOGIN_KEY
from crdbmesh.local.folder import SPEC, LocalFolder


@contextmanager
def silent(_steps: Sequence[str]) -> Iterator[Notify]:
    yield lambda _event: None


def keep(folder: Path, *, stop: threading.Event) -> None:
    with demo.serve(folder=folder) as azure:
        assert azure.cloud_file.is_relative_to(folder)
        assert azure.home.is_relative_to(folder)
        demo.keep(
            demo.spec(["eastus"], 1, name="kept"),
            azure,
            tell=lambda _text: None,
            watch=silent,
            ready=lambda: None,
            stop=stop,
        )


def test_a_simulated_azure_is_read_through_its_doors_and_ends_with_its_block() -> None:
    with demo.serve(scale=300) as azure:
        assert azure.cloud().ssh_port == azure.coordinates["ssh_port"]
        assert azure.report()["resources"] == 0
        assert azure.writes() == 0
        folder = azure.cloud_file.parent
    assert azure.process.returncode is not None
    assert not folder.exists()


def test_the_simulated_azure_of_a_process_that_is_killed_ends_too() -> None:
    script = (
        "import os; from crdbmesh.commands import demo\n"
        "with demo.serve() as azure:\n"
        "    print(azure.process.pid, azure.cloud_file, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    pid, cloud_file = done.stdout.split()
    # Its parent is gone, so somebody else reaps it: wait until it does not exist, or is only a zombie.
    for _ in range(200):
        if not _runs(int(pid)) and not Path(cloud_file).exists():
            return
        threading.Event().wait(0.05)
    pytest.fail("the simulator outlived its process")


def test_without_the_simulator_it_says_what_to_install() -> None:
    script = (
        "import sys; sys.path[:] = [one for one in sys.path if not one.endswith('simulator/src')]\n"
        "from crdbmesh.terminal import app; app.main(['demo', '--output', 'json'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "pip install 'crdbmesh[demo]'" in done.stderr
    assert json.loads(done.stdout)["error"]["remedy"] == "install it: pip install 'crdbmesh[demo]'"


def test_the_document_is_the_one_that_is_promised() -> None:
    figures = {
        "regions": 3,
        "machines": 9,
        "peerings_connected": 6,
        "nodes_ready": 9,
        "clustermesh_links_ready": 6,
        "zones_resolved": 6,
        "cockroach_nodes_live": 9,
        "cluster_ids": 1,
    }
    drill = {"region": "northeurope", "error_window_s": 4.2, "recovered_s": 9.0}
    counts = {"answering": 3, "unproved": 0, "changed_again": 0, "writes_again": 0, "left": 0, "unknown": 0}
    result = demo.DemoResult(figures, **counts, drill=drill, seconds=9)
    assert result.clean
    assert list(result.document()) == [
        "schema",
        "simulated",
        *figures,
        "sql_regions_answering",
        "verify_failed",
        "drill",
        "second_up",
        "left_after_down",
        "unknown_requests",
    ]
    assert result.document()["second_up"] == {"changed": 0, "writes": 0}


@pytest.mark.parametrize("field", ["unproved", "changed_again", "writes_again", "left", "unknown"])
def test_anything_that_should_be_nothing_makes_it_unclean(field: str) -> None:
    counts = {"unproved": 0, "changed_again": 0, "writes_again": 0, "left": 0, "unknown": 0, field: 1}
    assert not demo.DemoResult({"regions": 3}, **counts, answering=3, drill=None, seconds=1).clean


def test_a_region_that_does_not_answer_sql_makes_it_unclean() -> None:
    counts = {"unproved": 0, "changed_again": 0, "writes_again": 0, "left": 0, "unknown": 0}
    assert not demo.DemoResult({"regions": 3}, **counts, answering=2, drill=None, seconds=1).clean


def test_a_demo_leaves_nothing_below_its_root(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path / ".demo", stop=stop)
    assert list((tmp_path / ".demo").iterdir()) == []


def test_a_demo_whose_terminal_is_closed_leaves_the_keys_of_other_meshes_and_nothing_of_its_own(tmp_path: Path) -> None:
    """The terminal's end is a hang-up: SIGHUP, and errors at every later write to it."""
    other = LocalFolder(tmp_path / "demo")
    other.write(SPEC, "regions: [eastus]\n")
    other.write(LOGIN_KEY, "a key")
    other.write("simulated-world", str(tmp_path / "gone" / "cloud.json"))
    terminal, theirs = os.openpty()
    command = [sys.executable, "-m", "crdbmesh", "demo", "--keep", "--regions", "eastus", "--machines-per-region", "1"]
    environ = {**os.environ, "CRDBMESH_HOME": str(tmp_path)}
    with forks.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ) as process:
        os.close(theirs)
        shown = b""
        while b"Then, for example" not in shown:
            shown += os.read(terminal, 4096)
        os.close(terminal)
        assert process.wait(60) == 0
    plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]|\s", b"", shown).decode()
    assert f"exportCRDBMESH_CLOUD={tmp_path}/.demo/" in plain
    assert f"CRDBMESH_HOME={tmp_path}/.demo/" in plain
    assert list((tmp_path / ".demo").iterdir()) == []
    assert other.read(LOGIN_KEY) == "a key"


def test_a_spec_that_cannot_be_is_refused_before_anything_starts() -> None:
    with pytest.raises(ConfigError):
        demo.spec(["eastus", "eastus"], 3)


def test_one_region_of_one_machine_is_a_whole_demo() -> None:
    told: list[str] = []
    shown: list[Any] = []
    with demo.serve(scale=300, seed=3) as azure:
        result = demo.run_demo(
            demo.spec(["eastus"], 1),
            azure,
            tell=told.append,
            watch=silent,
            show=shown.append,
            stop=threading.Event(),
        )
    assert result.clean
    assert result.figures["cockroach_nodes_live"] == 1
    assert result.figures["clustermesh_links_ready"] == 0
    assert (result.answering, result.unproved, result.drill) == (1, 0, None)
    health, proof = shown
    assert not health.degraded
    assert proof.failures == []
    assert any("no drill" in text for text in told)
    assert any(f"  0 steps {Outcome.CHANGED.value}" in text for text in told)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
