"""Faults of machines: connections that break, hosts that reboot, joins that fail at first."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import paramiko
import pytest

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.inodes import Inode

if TYPE_CHECKING:
    from simulator.tests.machines.conftest import Town

PORT = 2222
BROKEN = (EOFError, OSError, paramiko.SSHException)


def strike(town: Town, **rates: float) -> None:
    """From now on these faults of the SSH door happen, and no others."""
    town.world.faults.set({f"ssh.{name}": rate for name, rate in rates.items()})


def knock(town: Town, name: str) -> str:
    """What a bare TCP connection to a machine's sshd meets."""
    try:
        with socket.create_connection((town.address(name), PORT), timeout=5) as sock:
            banner = sock.recv(64)
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        return "closed"
    return "banner" if banner.startswith(b"SSH-2.0-") else "closed"


def attempt(town: Town, command: str, *, terminal: bool = False, stdin: bytes = b"") -> tuple[bytes, int]:
    """A command on a connection of its own: its output, and its exit status, -1 when that never came."""
    client = town.connect("a")
    transport = client.get_transport()
    assert transport is not None
    output = bytearray()
    with contextlib.suppress(*BROKEN), transport.open_session(timeout=10) as channel:
        channel.settimeout(20)
        if terminal:
            channel.get_pty()
        channel.exec_command(command)
        if stdin:
            channel.sendall(stdin)
        channel.shutdown_write()
        while piece := channel.recv(4096):
            output += piece
        status = channel.recv_exit_status()
        if status == -1:
            town.until(lambda: not transport.is_active(), "the transport to end")
        return bytes(output), status
    town.until(lambda: not transport.is_active(), "the transport to end")
    return bytes(output), -1


def inode(town: Town, path: str) -> Inode | None:
    machine = next(machine for machine in town.wiring.machines if machine.name == "a")
    assert machine.os is not None
    return machine.os.files.find(path, Actor())


def has(town: Town, path: str) -> bool:
    return inode(town, path) is not None


def size(town: Town, path: str) -> int | None:
    found = inode(town, path)
    return None if found is None else found.size


def boots(town: Town) -> int:
    (machine,) = town.wiring.machines
    assert machine.os is not None
    return machine.os.boots


def ready(town: Town) -> None:
    town.add("a")
    town.settle("a")


def test_connections_are_closed_before_the_banner_or_refused_for_a_while(town: Town) -> None:
    ready(town)
    strike(town, refused=1)
    seen: list[str] = []
    until = time.monotonic() + 20
    while not {"closed", "refused", "banner"} <= set(seen):
        assert time.monotonic() < until, seen
        seen.append(knock(town, "a"))
        time.sleep(0.002)
    assert seen[0] == "closed"
    town.world.faults.clear()
    town.until(lambda: knock(town, "a") == "banner", "sshd to listen again")
    assert town.run("a", "true").status == 0


def test_a_fourth_connection_in_a_row_is_let_in(town: Town) -> None:
    ready(town)
    strike(town, refused=1)
    seen: list[str] = []
    while seen.count("banner") < 2:
        seen.append(knock(town, "a"))
    # One that was on its way when nobody listened any more is closed as well, without being counted.
    assert seen.count("closed") >= 6
    assert town.world.faults.counts == {"ssh.refused": 6}


def test_a_command_without_a_terminal_goes_on_after_a_reset(town: Town) -> None:
    ready(town)
    strike(town, reset=1)
    for number in range(9):
        output, status = attempt(town, f"sleep 3; touch /var/tmp/done{number}")
        assert (output, status) == (b"", -1 if number % 4 < 3 else 0)
    town.world.faults.clear()
    expected = [f"/var/tmp/done{number}" for number in range(9)]
    town.until(lambda: town.run("a", "ls /var/tmp/done*").stdout.split() == expected, "all commands to end")
    assert town.world.faults.counts == {"ssh.reset": 7}


def test_a_command_that_writes_after_a_reset_is_killed(town: Town) -> None:
    ready(town)
    strike(town, reset=1)
    outcomes = set()
    for number in range(16):
        output, status = attempt(town, f"echo one; sleep 1; echo two; touch /var/tmp/end{number}")
        outcomes.add((output.decode(), status, has(town, f"/var/tmp/end{number}")))
    # Reset at the start, at the first output, before the exit status; and every fourth time not at all.
    assert outcomes <= {("", -1, False), ("one\n", -1, False), ("one\ntwo\n", -1, True), ("one\ntwo\n", 0, True)}
    assert len(outcomes) == 4


def test_a_command_with_a_terminal_is_hung_up(town: Town) -> None:
    ready(town)
    strike(town, reset=1)
    ended = {attempt(town, f"sleep 30; touch /var/tmp/tty{number}", terminal=True)[1] for number in range(6)}
    assert ended == {-1, 0}
    early = [number for number in range(6) if not has(town, f"/var/tmp/tty{number}")]
    assert early, "those that were reset at the start never got to the end"


def test_a_reset_cuts_what_a_command_reads(town: Town) -> None:
    ready(town)
    strike(town, reset=1)
    for number in range(4):
        attempt(town, f"cat > /var/tmp/in{number}", stdin=b"whole\n")
    town.world.faults.clear()
    sizes = town.run("a", "stat -c %s /var/tmp/in*").stdout.split()
    assert set(sizes) <= {"0", "6"}
    assert "6" in sizes


def test_openssh_says_that_the_connection_was_reset(town: Town, identity: list[str]) -> None:
    ready(town)
    strike(town, reset=1)
    command = ["ssh", *identity, "-p", str(PORT), f"azureuser@{town.address('a')}", "sleep 2; true"]
    ended = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert ended.returncode == 255


def test_a_transfer_breaks_in_the_middle(town: Town) -> None:
    ready(town)
    strike(town, reset_sftp=1)
    seen = set()
    for number in range(8):
        sftp = town.connect("a").open_sftp()
        # Until the last buffer is flushed paramiko does not say that the connection is gone.
        with contextlib.suppress(*BROKEN):
            sftp.putfo(io.BytesIO(b"x" * 100_000), f"/var/tmp/file{number}", confirm=True)
        seen.add(size(town, f"/var/tmp/file{number}"))
        with contextlib.suppress(*BROKEN):
            sftp.close()
    assert 100_000 in seen, "every fourth transfer gets through"
    assert 0 in seen
    assert any(size is not None and 0 < size < 100_000 for size in seen)
    assert town.world.faults.counts == {"ssh.reset_sftp": 6}


def test_a_download_breaks_too(town: Town) -> None:
    ready(town)
    town.run("a", "echo text > /var/tmp/file")
    strike(town, reset_sftp=1)
    sftp = town.connect("a").open_sftp()
    with pytest.raises(BROKEN):
        sftp.open("/var/tmp/file").read()
    town.world.faults.clear()
    with town.connect("a").open_sftp() as again:
        assert again.open("/var/tmp/file").read() == b"text\n"


def test_a_host_reboots_in_the_middle_of_a_command(town: Town) -> None:
    town.add("a")
    town.settle("a")
    unit = "[Service]\nExecStart=/bin/sleep 100000\n[Install]\nWantedBy=multi-user.target\n"
    town.put("a", "/etc/systemd/system/keep.service", unit)
    town.put("a", "/etc/systemd/system/loose.service", unit)
    started = town.run("a", "systemctl enable --now keep; systemctl start loose", sudo=True)
    assert started.status == 0
    town.run("a", "touch /tmp/gone /var/tmp/kept; mkdir -p /run/gone; touch /run/gone/x", sudo=True)
    strike(town, reboot=1)
    assert attempt(town, "sleep 600; touch /var/tmp/never") == (b"", -1)
    town.world.faults.clear()
    town.until(lambda: boots(town) == 2, "the second boot")
    look = "ls -d /tmp/* /run/gone /var/tmp/kept /var/tmp/never 2>/dev/null; systemctl is-active keep loose"
    town.until(lambda: "\nactive\n" in f"\n{town.run('a', look).stdout}", "the enabled service to run again")
    assert town.run("a", look).stdout.split() == ["/var/tmp/kept", "active", "inactive"]
    assert town.run("a", "cloud-init status --wait").stdout.endswith("status: done\n")
    assert town.run("a", "cat /etc/resolv.conf").stdout.startswith("nameserver")


def test_a_host_that_reboots_during_its_first_boot_is_set_up_in_the_end(town: Town) -> None:
    town.add("a", user_data=town.cloud_config("runcmd:\n- [sleep, '900']\n- [touch, /var/tmp/set-up]\n"))
    town.connect("a")
    strike(town, reboot=1)
    assert attempt(town, "cloud-init status --wait")[1] == -1
    town.world.faults.clear()
    town.until(lambda: boots(town) == 2, "the second boot")
    assert town.run("a", "cloud-init status --wait").stdout.endswith("status: done\n")
    assert town.run("a", "ls /var/tmp/set-up").status == 0


def test_one_machine_alone_may_be_struck(town: Town) -> None:
    for name in ("a", "b"):
        town.add(name)
        town.settle(name)
    town.world.faults.set({"ssh.refused@a": 1})
    assert knock(town, "b") == "banner"
    assert knock(town, "a") == "closed"


FIRST: dict[str, Any] = {
    "cluster-init": True, "token": "secret", "flannel-backend": "none", "disable-network-policy": True,
    "cluster-cidr": "10.101.0.0/16", "service-cidr": "10.201.0.0/16", "cluster-dns": "10.201.0.10",
}  # fmt: skip


def test_a_server_joins_once_etcd_has_no_other_learner(fast_town: Town) -> None:
    town = fast_town
    for name in ("s1", "s2"):
        town.add(name)
    assert town.start_k3s("s1", FIRST).status == 0
    town.settle("s2")
    town.world.faults.set({"k3s.learners": 1})
    join = {key: value for key, value in FIRST.items() if key != "cluster-init"} | {"server": "https://10.1.0.4:6443"}
    town.install_k3s("s2", join)
    assert town.run("s2", "sudo systemctl start k3s").status == 1
    town.until(lambda: town.run("s2", "systemctl is-active k3s").stdout == "active\n", "s2 to join")
    journal = town.journal("s2")
    refusals = re.findall(r"joining etcd cluster: etcdserver: too many learner members in cluster", journal)
    assert len(refusals) == 3
    assert "Scheduled restart job, restart counter is at 3." in journal
    (cluster,) = town.world.clusters
    assert [member.voter_at is not None for member in cluster.servers()] == [True, True]
    assert town.world.faults.counts == {"k3s.learners": 3}
