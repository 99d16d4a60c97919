"""The world's clock: its pace when idle, and what holds it up."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from crdbmesh_simulator.clock import Clock

SCALE = 1000.0
BUSY = """
import socket, sys, time
door = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
door.recv(1)
while True:
    pass
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long another process computed")


def passes(clock: Clock, real_s: float) -> float:
    """The part of the full pace at which the clock goes for so many real seconds, while this process sleeps."""
    before, started = clock.now(), time.monotonic()
    time.sleep(real_s)
    after = clock.now()
    return (after - before) / ((time.monotonic() - started) * clock.scale)


def spin(real_s: float) -> None:
    until = time.monotonic() + real_s
    while time.monotonic() < until:
        pass


@pytest.fixture
def door() -> Iterator[tuple[subprocess.Popen[bytes], socket.socket, tuple[str, int]]]:
    """A process that computes without end once it is told to through its connection, our side of that, and its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", BUSY, str(server.getsockname()[1])]
        with subprocess.Popen(command) as process:
            connection, peer = server.accept()
            with connection:
                yield process, connection, peer
                process.kill()


def test_it_goes_at_its_pace_when_idle_and_never_faster() -> None:
    clock = Clock(SCALE)
    assert 0.5 < max(passes(clock, 0.2) for _ in range(5)) <= 1.01


def test_computing_in_the_world_holds_it_up() -> None:
    clock = Clock(SCALE)
    before = clock.now()
    spin(0.4)
    assert clock.now() - before < 0.5 * 0.4 * SCALE


@linux
def test_a_client_that_computes_holds_it_up_and_any_other_process_does_not(
    door: tuple[subprocess.Popen[bytes], socket.socket, tuple[str, int]],
) -> None:
    process, connection, peer = door
    clock = Clock(SCALE)
    connection.send(b"!")
    time.sleep(0.1)
    assert max(passes(clock, 0.2) for _ in range(5)) > 0.5
    clock.meet(peer)
    assert clock.observed() == {os.getpid(), process.pid}
    assert min(passes(clock, 0.2) for _ in range(5)) < 0.5


@linux
def test_a_client_that_is_gone_is_forgotten(
    door: tuple[subprocess.Popen[bytes], socket.socket, tuple[str, int]],
) -> None:
    process, _, peer = door
    clock = Clock(SCALE)
    clock.meet(peer)
    process.kill()
    process.wait()
    time.sleep(0.01)
    clock.now()
    assert clock.observed() == {os.getpid()}


def test_a_world_that_nobody_asks_goes_slowly_until_somebody_does() -> None:
    clock = Clock(SCALE, alone_after_s=0.05)
    time.sleep(0.1)
    clock.now()
    assert passes(clock, 0.2) < 0.1
    clock.meet(("192.0.2.1", 1))
    assert passes(clock, 0.04) > 0.2


def test_a_wait_takes_as_long_in_the_world_as_it_says() -> None:
    clock = Clock(SCALE)
    before = clock.now()
    assert clock.wait(threading.Event(), 50) is False
    clock.sleep(50)
    asyncio.run(clock.pause(50))
    assert 150 <= clock.now() - before < 600


def test_a_wait_ends_when_its_event_is_set() -> None:
    clock, event = Clock(0.001), threading.Event()
    threading.Timer(0.05, event.set).start()
    assert clock.wait(event, 1000) is True

    async def wait() -> bool:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, event.set)
        return await clock.wait_in_loop(event, 1000)

    assert asyncio.run(wait()) is True


def test_a_pace_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="scale must be above 0"):
        Clock(0)
