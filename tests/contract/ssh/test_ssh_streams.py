"""How the SSH client moves large streams; these commands need a real shell."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Protocol

import pytest

from crdbmesh.clients.ssh import host as ssh
from crdbmesh.errors import CommandError, HostError, WaitError


class Relay(Protocol):
    """What stands between client and server."""

    def cut(self) -> None: ...


class Door(Protocol):
    """The server under test; see conftest."""

    elsewhere: str
    relay: Relay


@pytest.fixture
def real(request: pytest.FixtureRequest, host: ssh.Host) -> ssh.Host:
    if "simulator" in request.node.name:
        pytest.skip("needs the commands of a whole Linux")
    return host


def test_two_large_outputs_do_not_block_each_other(real: ssh.Host) -> None:
    command = "head -c 4000000 /dev/zero | tr '\\0' e >&2; head -c 3000000 /dev/zero | tr '\\0' o; exit 9"
    result = real.run(command, check=False, timeout_s=60)
    assert result.status == 9
    assert len(result.stdout) == result.stdout.count("o") == 3_000_000
    assert len(result.stderr) == result.stderr.count("e") == 4_000_000


def test_a_large_input_comes_back_whole(real: ssh.Host) -> None:
    content = b"0123456789abcdef" * 300_000
    assert real.run("cat", stdin=content, timeout_s=60).stdout.encode() == content


def test_input_that_nobody_reads_does_not_block(real: ssh.Host) -> None:
    assert real.run("true", stdin=b"x" * 8_000_000, timeout_s=30).status == 0


def test_a_large_file_arrives_whole(door: Door, real: ssh.Host) -> None:
    content = bytes(range(256)) * 20_000
    path = f"{door.elsewhere}/large"
    assert real.write_file(path, content, mode=0o755) is True
    digest = real.run(f"sha256sum {path}", sudo=True).stdout.split()[0]
    assert digest == hashlib.sha256(content).hexdigest()
    assert real.read_file(path) == content


def test_something_left_running_does_not_hold_the_command_up(real: ssh.Host) -> None:
    started = time.monotonic()
    result = real.run("sleep 9 & echo $!", timeout_s=30)
    assert time.monotonic() - started < 8
    with contextlib.suppress(CommandError):
        real.run(f"kill {int(result.stdout)}")


def test_a_command_ended_by_a_signal_exits_255(real: ssh.Host) -> None:
    result = real.run("echo before; kill -9 $$", check=False)
    assert (result.stdout, result.status) == ("before\n", 255)


def test_what_is_not_utf_8_is_replaced_not_raised(real: ssh.Host) -> None:
    assert real.run("printf 'a\\377b'").stdout == "a\ufffdb"


def test_a_folder_that_cannot_be_written_is_an_error_and_leaves_nothing(door: Door, real: ssh.Host) -> None:
    real.write_file(f"{door.elsewhere}/plain", b"", mode=0o600)
    with pytest.raises(CommandError, match=r"write .*/plain/file"):
        real.write_file(f"{door.elsewhere}/plain/file", b"x", mode=0o600)
    assert real.run(f"ls -A {door.elsewhere}", sudo=True).stdout.split().count("plain") == 1


def test_a_file_of_which_not_all_arrives_is_not_put_in_place(door: Door, real: ssh.Host) -> None:
    path = f"{door.elsewhere}/half"
    real.write_file(path, b"old", mode=0o600)

    def cut_midway() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if any(part.stat().st_size for part in Path(door.elsewhere).glob(".half.*")):
                door.relay.cut()
                return

    thread = threading.Thread(target=cut_midway)
    thread.start()
    with pytest.raises(CommandError, match="lost its connection"):
        real.write_file(path, secrets.token_bytes(10_000_000), mode=0o600)
    thread.join()
    assert real.read_file(path) == b"old"


@pytest.mark.parametrize("command", ["cat /dev/zero", "cat /dev/zero >&2", "yes | tee /dev/stderr"])
def test_a_machine_that_prints_without_an_end_is_let_go(real: ssh.Host, command: str) -> None:
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(HostError, match=r"`.*` was ended: it printed more than 8 MiB"):
        real.run(command, timeout_s=300)
    assert time.monotonic() - started < 30
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()
    assert real.run("echo still here").stdout == "still here\n"


def test_a_machine_that_prints_a_little_for_ever_is_let_go_at_the_deadline(real: ssh.Host) -> None:
    started = time.monotonic()
    with pytest.raises(WaitError):
        real.run("while :; do echo x; sleep 0.05; done", timeout_s=2)
    assert time.monotonic() - started < 2 + 10
