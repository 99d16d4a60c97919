"""The product's clock: pauses and deadlines in the cloud's time, and no other clock beside it."""

from __future__ import annotations

import ast
import threading
import time
from pathlib import Path

import pytest

import crdbmesh
from crdbmesh.clients.clock import Clock
from crdbmesh.clients.waiting import wait_until
from crdbmesh.errors import WaitError

SOURCE = Path(crdbmesh.__file__).parent
THE_CLOCK = "clients/clock.py"
REAL_TIME = {
    "clients/kube/endpoint.py": "limits of one connection, given in real seconds",
    "clients/ssh/exec.py": "limits of one connection, given in real seconds",
    "clients/kube/exec.py": "limits of one connection, given in real seconds",
    "clients/kube/stream.py": "limits of one connection, given in real seconds",
    "commands/demo.py": "how long it took the person in front of it",
    "commands/drill.py": "how long it took the person in front of it",
    "commands/down.py": "how long it took the person in front of it",
    "commands/estimate.py": "how long it takes the person in front of it",
    "commands/up.py": "how long it took the person in front of it",
    "engine/run.py": "how long it took the person in front of it",
    "run/world.py": "which of two threads failed first",
    "terminal/look.py": "how often a person wants to see the status anew",
    "terminal/progress.py": "how long it took the person in front of it",
}


def test_a_pause_is_as_many_times_shorter_as_the_cloud_is_faster() -> None:
    clock = Clock(50)
    started = time.monotonic()
    clock.sleep(5)
    assert clock.wait(threading.Event(), 5) is False
    assert 0.2 <= time.monotonic() - started < 2


def test_a_pause_ends_at_once_when_the_event_is_set() -> None:
    stop = threading.Event()
    stop.set()
    assert Clock(0.001).wait(stop, 60) is True


def test_time_passes_as_much_faster() -> None:
    clock = Clock(100)
    started = clock.now()
    time.sleep(0.05)
    assert 5 <= clock.now() - started < 100


@pytest.mark.parametrize(
    ("scale", "seconds", "real_s"),
    [(1, 600, 600), (1, 2, 2), (60, 12000, 200), (60, 600, 120), (60, 12, 12), (0.5, 10, 20)],
)
def test_a_deadline_is_scaled_but_leaves_time_for_the_work_of_this_computer(
    scale: float, seconds: float, real_s: float
) -> None:
    clock = Clock(scale)
    assert clock.real_s(seconds) == real_s
    assert (clock.after(seconds) - clock.now()) / scale == pytest.approx(real_s, abs=0.1)


def test_a_wait_that_ends_in_vain_tells_the_time_of_the_cloud() -> None:
    with pytest.raises(WaitError, match=r"^waited [1-9]\d{2,3} s for it; last seen: no"):
        wait_until(lambda: (None, "no"), awaited="it", deadline_s=0.1, interval_s=1000, clock=Clock(1000))


def test_nothing_of_the_product_pauses_by_another_clock() -> None:
    for file in sorted(SOURCE.rglob("*.py")):
        name = str(file.relative_to(SOURCE))
        used = {
            node.attr
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time"
        }
        if name != THE_CLOCK:
            assert "sleep" not in used or name in REAL_TIME, f"{name} sleeps by itself: use the cloud's clock"
            assert "monotonic" not in used or name in REAL_TIME, f"{name} measures by itself: use the cloud's clock"
