"""The SSH door: who gets in, through what, and what a session is."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
import pytest

if TYPE_CHECKING:
    from simulator.tests.machines.conftest import Town


def test_the_host_key_of_cloud_init_is_the_only_one_shown(town: Town) -> None:
    town.add("a")
    client = town.connect("a")
    transport = client.get_transport()
    assert transport is not None
    shown = transport.get_remote_server_key()
    assert f"{shown.get_name()} {shown.get_base64()}" == town.host_key[1]
    town.settle("a")
    assert town.run("a", "ls /etc/ssh").stdout.split() == [
        "ssh_host_ed25519_key", "ssh_host_ed25519_key.pub", "sshd_config", "sshd_config.d"
    ]  # fmt: skip


def test_ssh_answers_before_cloud_init_is_done(town: Town) -> None:
    town.add("a", user_data=town.cloud_config("runcmd:\n- [sleep, '600']\n"))
    assert town.run("a", "cloud-init status").stdout == "status: running\n"
    assert town.run("a", "cloud-init status --wait").stdout.endswith("\nstatus: done\n")


def test_only_the_admin_with_its_key_gets_in(town: Town) -> None:
    town.add("a")
    town.connect("a")
    for more in ({"user": "root"}, {"user": "nobody"}, {"pkey": paramiko.ECDSAKey.generate()}):
        with pytest.raises(paramiko.AuthenticationException):
            town.connect("a", **more)
    with pytest.raises(paramiko.BadAuthenticationType):
        town.connect("a", pkey=None, password="secret")


def test_a_denied_connection_stays_silent_until_the_rule_allows(town: Town) -> None:
    town.add("a")
    town.connect("a")
    town.wiring.denied.add(2222)
    with socket.create_connection((town.address("a"), 2222), timeout=0.3) as sock, pytest.raises(TimeoutError):
        sock.recv(1)
    town.wiring.denied.clear()
    assert town.connect("a").get_transport() is not None


def test_ssh_follows_the_public_address(town: Town) -> None:
    town.add("a")
    client = town.connect("a")
    old = town.address("a")
    del town.wiring.public["a"]
    transport = client.get_transport()
    assert transport is not None
    town.until(lambda: not transport.is_active(), "the connection to end")
    with pytest.raises(ConnectionRefusedError), socket.create_connection((old, 2222), timeout=1):
        pass
    town.wiring.public["a"] = f"{town.block}.77"
    assert town.run("a", "hostname").stdout == "a\n"


def test_sshd_moves_to_another_port_when_its_socket_is_restarted(town: Town) -> None:
    town.add("a")
    town.settle("a")
    town.run("a", "echo Port 2223 > /etc/ssh/sshd_config.d/port.conf; systemctl restart ssh", sudo=True)
    assert town.connect("a").get_transport() is not None
    town.run("a", "systemctl daemon-reload; systemctl restart ssh.socket", sudo=True)
    assert town.connect("a", port=2223).get_transport() is not None


def test_sshd_shows_another_host_key_from_its_next_start_on(town: Town) -> None:
    town.add("a")
    town.settle("a")

    def shown() -> str:
        with paramiko.Transport((town.address("a"), 2222)) as transport:
            transport.start_client(timeout=10)
            key = transport.get_remote_server_key()
        return f"{key.get_name()} {key.get_base64()}"

    make = "cd /etc/ssh && rm ssh_host_ed25519_key && ssh-keygen -q -t ed25519 -N '' -C me -f ssh_host_ed25519_key"
    assert (done := town.run("a", make, sudo=True)).status == 0, done.stderr
    public = town.run("a", "cat /etc/ssh/ssh_host_ed25519_key.pub").stdout
    assert public.endswith(" me\n")
    assert shown() == town.host_key[1]
    again = town.run("a", make.replace("rm ", ": "), sudo=True)
    assert (again.status, "already exists" in again.stdout) == (1, True)
    assert town.run("a", "systemctl restart ssh; echo still here", sudo=True).stdout == "still here\n"
    assert shown() == public.removesuffix(" me\n")


def test_a_reboot_cuts_connections_and_enabled_services_come_back(town: Town) -> None:
    machine = town.add("a")
    town.settle("a")
    unit = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
    town.put("a", "/etc/systemd/system/mine.service", unit)
    town.run("a", "systemctl enable --now mine; touch /root/kept", sudo=True)
    transport = town.client("a").get_transport()
    assert transport is not None
    assert town.run("a", "sudo systemctl reboot").status == 0
    town.until(lambda: not transport.is_active(), "the connection to end")
    assert town.run("a", "systemctl is-active mine; sudo ls /root/kept").stdout == "active\n/root/kept\n"
    assert machine.os is not None
    assert machine.os.boots == 2


def test_a_halted_machine_refuses_connections_and_keeps_its_disk(town: Town) -> None:
    machine = town.add("a")
    town.run("a", "cloud-init status --wait > /dev/null; echo kept > note")
    transport = town.client("a").get_transport()
    assert transport is not None
    town.hosts.halt(machine)
    town.until(lambda: not transport.is_active(), "the connection to end")
    with pytest.raises((OSError, paramiko.SSHException, EOFError)):
        town.connect("a", deadline_s=0.3)
    town.hosts.boot(machine)
    assert town.run("a", "cat note").stdout == "kept\n"


def test_standard_input_reaches_commands_and_scripts(inn: Town) -> None:
    assert inn.run("inn", "cat | cat", stdin=b"abc\n").stdout == "abc\n"
    assert inn.run("inn", "bash -s", stdin=b"x=1\nif true; then\n  echo $x\nfi\nexit 5\n").status == 5
    assert inn.run("inn", "bash -s", stdin=b"read line\nhello\necho got $line\n").stdout == "got hello\n"


def test_a_shell_without_a_terminal_runs_what_it_reads(inn: Town) -> None:
    channel = inn.client("inn").invoke_shell  # a terminal is asked for separately
    assert callable(channel)
    transport = inn.client("inn").get_transport()
    assert transport is not None
    session = transport.open_session()
    session.invoke_shell()
    session.sendall(b"echo from $USER\nexit 4\n")
    session.shutdown_write()
    out = b""
    while data := session.recv(1000):
        out += data
    assert out.endswith(b"from azureuser\n")
    assert session.recv_exit_status() == 4
    session.close()


def test_a_terminal_ends_lines_as_terminals_do(inn: Town) -> None:
    session = inn.client("inn").invoke_shell()
    session.settimeout(5)
    session.sendall(b"echo hello there\r")
    out = b""
    while b"\r\nhello there\r\n" not in out:
        out += session.recv(1000)
    session.sendall(b"exit\r")
    assert session.recv_exit_status() == 0
    session.close()


def test_a_signal_ends_a_session_with_its_name_and_errors_go_to_standard_error(inn: Town) -> None:
    done = inn.run("inn", "echo out; echo err >&2; kill -TERM $$; echo never")
    assert (done.stdout, done.stderr, done.status) == ("out\n", "err\n", -1)


def test_only_accepted_variables_are_taken_over(inn: Town) -> None:
    _, out, _ = inn.client("inn").exec_command("echo $LC_X", environment={"LC_X": "yes"})
    assert out.read() == b"yes\n"
    _, out, _ = inn.client("inn").exec_command("echo $OTHER $HOME $SSH_CONNECTION", environment={"OTHER": "no"})
    assert out.read().decode().split()[:2] == ["/home/azureuser", "127.0.0.1"]


def test_forwarding_is_refused(inn: Town) -> None:
    transport = inn.client("inn").get_transport()
    assert transport is not None
    with pytest.raises(paramiko.ChannelException):
        transport.open_channel("direct-tcpip", ("127.0.0.1", 6443), ("127.0.0.1", 1))


def test_an_unknown_command_is_127_and_recorded(town: Town) -> None:
    town.add("a")
    done = town.run("a", "frobnicate --now")
    assert (done.stderr, done.status) == ("bash: line 1: frobnicate: command not found\n", 127)
    assert town.run("a", "command -v frobnicate || echo absent").stdout == "absent\n"
    assert town.run("a", "tar -x").status == 127
    assert town.run("a", "ls --frob").status == 2
    assert town.run("a", "sleep 1 &").status == 2
    assert [unknown.door for unknown in town.world.unknown] == ["ssh"] * 4
    assert "frobnicate --now" in town.world.unknown[0].what


READS = [
    "cat /etc/hostname; id; systemctl is-active ssh; sudo true; ls -l /; uname -m",
    "mkdir -p /tmp; touch /etc/hostname; echo x > /tmp/scratch; rm /tmp/scratch; sudo chmod 644 /etc/hostname",
    "f=$(mktemp); echo x > $f; sudo sh -c 'cat /etc/hostname > /etc/copy'; sudo rm /etc/copy",
    "sudo systemctl start ssh.socket; sudo systemctl enable chrony; sudo systemctl daemon-reload",
    "cat /etc/hostname | sudo tee /etc/hostname",
]


@pytest.mark.parametrize("command", READS)
def test_a_command_without_effect_is_not_a_write(inn: Town, command: str) -> None:
    before = inn.world.writes["ssh"]
    inn.run("inn", command)
    assert inn.world.writes["ssh"] == before


WRITES = [
    "echo x > ~/new; echo y > ~/newer",
    "sudo chmod 600 /etc/hosts",
    "sudo systemctl stop cron",
    "sudo systemctl disable cron",
    "sudo systemctl reboot",
]


@pytest.mark.parametrize("command", WRITES)
def test_a_command_with_an_effect_is_one_write(town: Town, command: str) -> None:
    town.add("a")
    town.settle("a")
    before = town.world.writes["ssh"]
    town.run("a", command)
    assert town.world.writes["ssh"] == before + 1


def test_many_connections_and_sessions_work_at_once(inn: Town) -> None:
    client = inn.connect("inn")
    streams = [client.exec_command(f"sleep 2; echo {number}")[1] for number in range(8)]
    assert [stream.read() for stream in streams] == [f"{number}\n".encode() for number in range(8)]
    assert len({id(inn.connect("inn")) for _ in range(5)}) == 5


def test_openssh_logs_in_runs_commands_and_scripts(town: Town, identity: list[str]) -> None:
    town.add("a")
    town.settle("a")
    ssh = ["ssh", *identity, "-p", "2222", f"azureuser@{town.address('a')}"]
    done = subprocess.run([*ssh, "echo hi; echo err >&2; exit 3"], capture_output=True, timeout=20, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"hi\n", b"err\n", 3)
    done = subprocess.run(
        [*ssh, "sudo bash -s -- one"], input=b"echo $1 $(id -u)", capture_output=True, timeout=20, check=False
    )
    assert (done.stdout, done.returncode) == (b"one 0\n", 0)
    done = subprocess.run(ssh, input=b"hostname\n", capture_output=True, timeout=20, check=False)
    assert (done.stdout.endswith(b"\na\n"), done.returncode) == (True, 0)


def test_openssh_refuses_another_host_key(town: Town, identity: list[str], tmp_path: Path) -> None:
    town.add("a")
    town.settle("a")
    known = tmp_path / "known_hosts"
    known.write_text(f"* {town.login[1]}\n")
    done = subprocess.run(["ssh", *identity, "-p", "2222", f"azureuser@{town.address('a')}", "true"],
                          capture_output=True, timeout=20, check=False)  # fmt: skip
    assert done.returncode == 255
    assert b"Host key verification failed" in done.stderr


def test_stopping_leaves_no_thread_and_no_listener(town: Town) -> None:
    others = set(threading.enumerate())
    town.add("lodge", user_data=town.cloud_config("runcmd:\n- [sleep, '100000']\n"))
    town.run("lodge", "hostname")
    town.client("lodge").exec_command("sleep 100000")
    for client in town.clients:
        client.close()
    town.hosts.stop()
    town.until(lambda: set(threading.enumerate()) <= others, "all threads to end")
    with pytest.raises(ConnectionRefusedError), socket.create_connection((town.address("lodge"), 2222), timeout=1):
        pass
