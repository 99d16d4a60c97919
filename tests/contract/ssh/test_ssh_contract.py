"""What the SSH client promises, against every kind of server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Protocol

import pytest

from crdbmesh.clients.ssh import host as ssh
from crdbmesh.errors import CommandError, HostError, UnreachableError, WaitError
from crdbmesh.local import pki


class Relay(Protocol):
    """What stands between client and server."""

    port: int

    def cut(self) -> None: ...
    def refuse(self) -> None: ...
    def listen(self) -> None: ...


class Door(Protocol):
    """The server under test; see conftest."""

    relay: Relay
    user: str
    elsewhere: str
    scale: int
    restart: Callable[[], None] | None

    def host(
        self, *, login_key: str | None = None, host_key: str | None = None, user: str | None = None
    ) -> ssh.Host: ...


def test_a_command_gives_its_outputs_apart_and_its_status(host: ssh.Host) -> None:
    result = host.run("echo out; echo err >&2; exit 3", check=False)
    assert (result.stdout, result.stderr, result.status) == ("out\n", "err\n", 3)


def test_a_status_other_than_0_is_an_error_with_the_end_of_the_output(host: ssh.Host) -> None:
    with pytest.raises(CommandError, match=r"eastus-1: `.*` exited 4: no such thing") as caught:
        host.run("echo something; echo no such thing >&2; exit 4")
    assert caught.value.status == 4
    assert caught.value.tail == "no such thing"


def test_a_description_stands_for_the_command_in_errors(host: ssh.Host) -> None:
    with pytest.raises(CommandError) as caught:
        host.run("exit 1", describe="install k3s")
    assert "`install k3s` exited 1" in str(caught.value)
    assert "exit 1`" not in str(caught.value)


def test_a_command_that_is_not_there_exits_127(host: ssh.Host) -> None:
    assert host.run("crdbmesh-has-no-such-command", check=False).status == 127


def test_a_command_reads_its_standard_input_to_the_end(host: ssh.Host) -> None:
    assert host.run("cat", stdin=b"one\ntwo\n").stdout == "one\ntwo\n"
    assert host.run("cat").stdout == ""


def test_root_runs_what_is_asked_with_sudo(host: ssh.Host) -> None:
    assert host.run("id -u", sudo=True).stdout == "0\n"
    assert host.run("cat", sudo=True, stdin=b"secret").stdout == "secret"


def test_a_command_that_takes_too_long_is_given_up(door: Door, host: ssh.Host) -> None:
    started = time.monotonic()
    with pytest.raises(WaitError, match=r"waited 2 s for `slow` on eastus-1 to end; last seen: begun"):
        host.run(f"echo begun; sleep {20 * door.scale}", timeout_s=2, describe="slow")
    assert time.monotonic() - started < 15
    assert host.run("echo still here").stdout == "still here\n"


def test_a_file_is_written_with_its_mode_and_owner_and_only_once(door: Door, host: ssh.Host) -> None:
    path = f"{door.elsewhere}/deep/er/a file"
    assert host.write_file(path, b"\x00one\xff", mode=0o600) is True
    assert host.read_file(path) == b"\x00one\xff"
    look = f"stat -c '%a %U:%G' '{path}'"
    assert host.run(look, sudo=True).stdout == "600 root:root\n"
    assert host.write_file(path, b"\x00one\xff", mode=0o600) is False
    assert host.write_file(path, b"\x00one\xff", mode=0o644) is True
    assert host.run(look, sudo=True).stdout == "644 root:root\n"
    assert host.write_file(path, b"two", mode=0o644) is True
    assert host.read_file(path) == b"two"


def test_an_empty_file_is_a_file(door: Door, host: ssh.Host) -> None:
    path = f"{door.elsewhere}/empty"
    assert host.write_file(path, b"", mode=0o640) is True
    assert host.write_file(path, b"", mode=0o640) is False
    assert host.read_file(path) == b""


def test_writing_leaves_nothing_else_behind(door: Door, host: ssh.Host) -> None:
    path = f"{door.elsewhere}/alone/file"
    host.write_file(path, b"x", mode=0o600)
    assert host.run(f"ls -A {door.elsewhere}/alone", sudo=True).stdout == "file\n"


def test_a_file_that_is_not_there_is_none(door: Door, host: ssh.Host) -> None:
    assert host.read_file(f"{door.elsewhere}/absent") is None


def test_a_relative_path_is_refused(host: ssh.Host) -> None:
    with pytest.raises(HostError, match="absolute"):
        host.write_file("etc/passwd", b"", mode=0o600)


def test_another_host_key_is_refused_before_logging_in(door: Door) -> None:
    stranger = door.host(host_key=pki.make_host_key("stranger").public)
    with pytest.raises(UnreachableError, match="the host key is not the one we know"):
        stranger.run("true")
    with pytest.raises(UnreachableError, match="the host key is not the one we know"):
        stranger.wait_ready(30)


def test_a_host_without_a_key_of_the_given_kind_is_refused(door: Door) -> None:
    key = (
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5"
        "YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg="
    )
    with pytest.raises(UnreachableError, match="the host key is not the one we know: it has no ecdsa-sha2-nistp256"):
        door.host(host_key=key).run("true")


def test_another_login_key_is_refused(door: Door) -> None:
    stranger = door.host(login_key=pki.make_login_key("stranger").private)
    with pytest.raises(UnreachableError, match=f"refuses the login key for user {door.user}"):
        stranger.run("true")


def test_waiting_for_a_login_goes_on_while_the_key_is_refused(door: Door) -> None:
    said: list[str] = []
    stranger = door.host(login_key=pki.make_login_key("stranger").private)
    with pytest.raises(WaitError, match=r"SSH login to eastus-1; last seen: .* refuses the login key"):
        stranger.wait_ready(1, said.append)
    assert "refuses the login key" in said[0]


def test_waiting_ends_when_the_server_comes_up(door: Door) -> None:
    said: list[str] = []
    door.relay.refuse()
    timer = threading.Timer(0.6, door.relay.listen)
    timer.start()
    door.host().wait_ready(20, said.append)
    timer.join()
    assert "connection refused" in said[0]


def test_no_server_is_told_from_a_silent_one(door: Door) -> None:
    door.relay.refuse()
    try:
        with pytest.raises(UnreachableError, match="does not answer: connection refused"):
            door.host().run("true")
    finally:
        door.relay.listen()


def test_a_connection_that_breaks_during_a_command_is_an_error_not_a_second_run(door: Door, host: ssh.Host) -> None:
    path = f"{door.elsewhere}/runs"
    timer = threading.Timer(2.0, door.relay.cut)
    timer.start()
    with pytest.raises(CommandError, match="lost its connection: begun") as caught:
        host.run(f"echo begun; echo run >> {path}; sleep {6 * door.scale}", sudo=True, timeout_s=15)
    timer.join()
    assert caught.value.status is None
    assert host.run(f"cat {path}", sudo=True).stdout == "run\n"


def test_a_connection_that_broke_between_commands_is_replaced(door: Door, host: ssh.Host) -> None:
    assert host.run("echo 1").stdout == "1\n"
    door.relay.cut()
    assert host.run("echo 2").stdout == "2\n"
    door.relay.cut()
    assert host.write_file(f"{door.elsewhere}/after", b"x", mode=0o600) is True


def test_a_restarted_server_is_reached_again(door: Door, host: ssh.Host) -> None:
    if door.restart is None:
        pytest.skip("this server cannot be restarted alone")
    assert host.run("echo 1").stdout == "1\n"
    door.restart()
    assert host.run("echo 2").stdout == "2\n"


def test_two_commands_may_run_at_a_time(host: ssh.Host) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda number=number: found.append(host.run(f"echo {number}").stdout))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["0\n", "1\n", "2\n", "3\n"]


def test_a_used_host_can_be_closed_and_used_again(host: ssh.Host) -> None:
    with host:
        assert host.run("echo 1").stdout == "1\n"
    assert host.run("echo 2").stdout == "2\n"


def test_what_is_no_ssh_server_is_named_so() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    key = pki.make_login_key("crdbmesh")

    def answer() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    host = ssh.Host(
        "127.0.0.1",
        port=listener.getsockname()[1],
        user="crdbmesh",
        login_key=key.private,
        host_keys=[key.public],
        name="eastus-1",
        connect_timeout_s=5,
    )
    with listener, pytest.raises(WaitError, match="not as an SSH server"):
        host.wait_ready(0)
    thread.join()


def test_a_silent_address_is_named_so() -> None:
    key = pki.make_login_key("crdbmesh")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = ssh.Host(
            "127.0.0.1",
            port=listener.getsockname()[1],
            user="crdbmesh",
            login_key=key.private,
            host_keys=[key.public],
            name="eastus-1",
            connect_timeout_s=0.5,
        )
        with pytest.raises(WaitError, match="SSH login to eastus-1"):
            host.wait_ready(0.2)


@pytest.mark.parametrize(
    ("login_key", "host_key"),
    [("hunter2", None), (None, "hunter2"), (None, "ssh-ed25519 hunter2"), (None, "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA")],
)
def test_wrong_keys_are_refused_without_being_shown(login_key: str | None, host_key: str | None) -> None:
    key = pki.make_login_key("crdbmesh")
    with pytest.raises(HostError) as caught:
        ssh.Host(
            "127.0.0.1",
            port=1,
            user="crdbmesh",
            login_key=login_key or key.private,
            host_keys=[host_key or key.public],
            name="eastus-1",
        )
    assert "hunter2" not in str(caught.value)


def test_the_login_key_is_not_shown(door: Door, host: ssh.Host) -> None:
    assert "PRIVATE" not in repr(host)
    assert "PRIVATE" not in repr(vars(host))
