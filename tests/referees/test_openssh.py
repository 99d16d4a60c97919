"""OpenSSH's own `ssh`, `scp` and `sftp` log in to the simulated machines."""

from __future__ import annotations

import subprocess
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.referees.conftest import REGIONS, BuiltMesh, World, program

pytestmark = pytest.mark.referee

SCRIPT = b"""\
set -eu
name=machine.tar.gz
if test -d /etc/ssh && ! test -e /absent; then echo "${name%%.*} ${name#*.} ${unset:-default}"; fi
for each in one "two words"; do echo "[$each]"; done
count=
while [ "$count" != xx ]; do count=x$count; done
case $count in a*) echo no ;; x? | y) echo "$count" ;; esac
( exit 3 ) || echo "$?"
echo "a machine" | grep -c machine
read -r first rest
read first and rest
echo "$rest"
exit 4
"""


@dataclass(frozen=True)
class Machine:
    """A machine of the mesh, as OpenSSH's programs are told of it."""

    place: str
    port: int
    options: list[str]

    def ssh(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run `ssh` with these options and commands."""
        command = [program("ssh"), *self.options, "-p", str(self.port), *words]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)

    def copy(self, *words: str, stdin: bytes = b"") -> None:
        """Run `scp` or `sftp`, which have to succeed."""
        command = [program(words[0]), *self.options, "-P", str(self.port), *words[1:]]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def machine(world: World, mesh: BuiltMesh, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The machine of the first region, known by the host key that it has made itself."""
    folder, region = tmp_path_factory.mktemp("openssh"), REGIONS[0]
    (host_key,) = mesh.home.rglob(f"{region}-1.pub")
    (login_key,) = mesh.home.rglob("login.key")
    known = folder / "known_hosts"
    known.write_text(f"* {host_key.read_text()}")
    (kubeconfig,) = mesh.home.rglob(f"kubeconfigs/{region}.yaml")
    config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    address = urllib.parse.urlsplit(config["clusters"][0]["cluster"]["server"]).hostname
    options = ["-F", "/dev/null", "-i", str(login_key), "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes",
               "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"]  # fmt: skip
    return Machine(f"crdbmesh@{address}", world.coordinates["ssh_port"], options)


def test_a_commands_outputs_come_apart_with_its_status(machine: Machine) -> None:
    done = machine.ssh(machine.place, "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)


def test_a_script_runs_as_root_in_the_shell_of_the_machine(machine: Machine) -> None:
    done = machine.ssh(machine.place, "sudo -n sh -s", stdin=SCRIPT)
    said = b"machine tar.gz default\n[one]\n[two words]\nxx\n3\n1\n"
    assert (done.stdout, done.stderr, done.returncode) == (said + b"first and rest\n", b"", 4)


def test_a_shell_runs_what_it_reads_with_a_terminal_and_without(machine: Machine) -> None:
    plain = machine.ssh("-T", machine.place, stdin=b"hostname\nexit 5\n")
    assert (plain.stdout.splitlines()[-1].endswith(b"eastus-1"), plain.returncode) == (True, 5)
    terminal = machine.ssh("-tt", machine.place, "hostname")
    assert (terminal.stdout.endswith(b"eastus-1\r\n"), terminal.returncode) == (True, 0)


def test_variables_that_sshd_accepts_arrive_and_others_do_not(machine: Machine) -> None:
    given = ["-o", "SetEnv=LC_CLAIM=yes OTHER=no"]
    done = machine.ssh(*given, machine.place, 'echo "${LC_CLAIM:-none} ${OTHER:-none} $USER"')
    assert done.stdout == b"yes none crdbmesh\n"


def test_a_command_that_a_signal_ends_is_no_success(machine: Machine) -> None:
    done = machine.ssh(machine.place, "echo begun; kill -TERM $$; echo never")
    assert (done.stdout, done.returncode) == (b"begun\n", 255)


def test_root_and_forwarding_are_refused(machine: Machine) -> None:
    root = machine.ssh(machine.place.replace("crdbmesh@", "root@"), "true")
    assert (root.returncode, b"Permission denied (publickey)" in root.stderr) == (255, True)
    assert machine.ssh("-W", "127.0.0.1:6443", machine.place).returncode == 255


@pytest.mark.parametrize("protocol", [[], ["-O"]], ids=["sftp", "the old protocol"])
def test_scp_copies_both_ways(machine: Machine, tmp_path: Path, protocol: list[str]) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(bytes(range(256)) * 1000)
    machine.copy("scp", *protocol, str(source), f"{machine.place}:copy")
    assert machine.ssh(machine.place, "stat -c '%s' copy; wc -c copy").stdout == b"256000\n256000 copy\n"
    machine.copy("scp", *protocol, f"{machine.place}:copy", str(back))
    assert back.read_bytes() == source.read_bytes()


def test_sftp_makes_moves_links_and_removes(machine: Machine, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(b"text\n")
    batch = f"mkdir box\nput {source} box/one\nrename box/one box/two\nchmod 640 box/two\nln -s two box/three\n"
    batch += f"ls -l box\nget box/three {back}\nrm box/three\nrm box/two\nrmdir box\n"
    machine.copy("sftp", "-b", "-", machine.place, stdin=batch.encode())
    assert back.read_bytes() == source.read_bytes()
    assert machine.ssh(machine.place, "test -e box").returncode == 1
