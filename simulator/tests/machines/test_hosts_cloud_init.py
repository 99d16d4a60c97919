"""cloud-init: what user data does to a machine, and what `cloud-init status` says after."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from crdbmesh_simulator.filesystem import Actor

if TYPE_CHECKING:
    from simulator.tests.machines.conftest import Town


def test_files_commands_and_names_are_as_configured(town: Town) -> None:
    town.add("a", user_data=town.cloud_config(
        "write_files:\n"
        "- {path: /opt/x/plain, content: 'hi', permissions: '0640', owner: 'root:adm'}\n"
        "- {path: /opt/x/plain, content: ' there', append: true, permissions: '0640'}\n"
        "- {path: /opt/x/other, content: mine}\n"
        "runcmd:\n- echo first > /root/ran\n- [sh, -c, 'echo \"$0 two\" >> /root/ran', 'a b']\n"
    ))  # fmt: skip
    town.settle("a")
    assert town.run("a", "sudo cat /opt/x/plain /opt/x/other").stdout == "hi theremine"
    assert town.run("a", "sudo stat -c '%a %U:%G' /opt/x/plain /opt/x/other").stdout == "640 root:root\n644 root:root\n"
    assert town.run("a", "sudo cat /root/ran").stdout == "first\na b two\n"


def test_without_host_keys_three_are_made(town: Town) -> None:
    machine = town.add("a", user_data=b"#cloud-config\n{}\n")
    town.until(lambda: machine.os is not None and machine.os.cloud_init.finished, "cloud-init to end")
    assert machine.os is not None
    kinds = {key.get_algorithm() for key in machine.os.sshd.host_keys()}
    assert kinds == {"ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519"}
    assert machine.os.sshd.ports == (22,)


STATUS = [
    ("", "done", "done", 0),
    ("frobnicate: true\n", "done", "degraded done", 2),
    ("timezone: UTC\n", "done", "degraded done", 2),
    ("ssh_keys_typo: {}\n", "done", "degraded done", 2),
    ("runcmd:\n- echo fine\n- 'false'\n", "error", "error - done", 1),
    ("runcmd:\n- 'false'\n- echo fine\n", "done", "done", 0),
    ("write_files:\n- {path: /x, owner: 'ghost:root'}\n", "error", "error - done", 1),
]


@pytest.mark.parametrize(("extra", "status", "extended", "code"), STATUS)
def test_the_status_tells_errors_from_warnings(town: Town, extra: str, status: str, extended: str, code: int) -> None:
    town.add("a", user_data=town.cloud_config(extra))
    done = town.run("a", "cloud-init status --wait --format json")
    document = json.loads(done.stdout)
    assert (document["status"], document["extended_status"], done.status) == (status, extended, code)
    assert bool(document["errors"]) == (code == 1)
    assert bool(document["recoverable_errors"]) == (code == 2)
    again = town.run("a", "cloud-init status")
    assert (again.status, again.stdout) == (code, f"status: {status}\n")


def test_broken_yaml_is_a_warning_and_the_admin_still_gets_in(town: Town) -> None:
    machine = town.add("a", user_data=b"#cloud-config\nwrite_files: [unclosed\n")
    town.until(lambda: machine.os is not None and machine.os.cloud_init.finished, "cloud-init to end")
    assert machine.os is not None
    assert machine.os.cloud_init.exit_code == 2
    assert "azureuser" in machine.os.users


def test_a_public_key_is_derived_from_a_private_one(town: Town) -> None:
    private = town.host_key[0].strip().replace("\n", "\n    ")
    machine = town.add("a", user_data=f"#cloud-config\nssh_keys:\n  ed25519_private: |\n    {private}\n".encode())
    town.until(lambda: machine.os is not None and machine.os.sshd.ports, "sshd")
    assert machine.os is not None
    public = machine.os.files.read("/etc/ssh/ssh_host_ed25519_key.pub", Actor()).decode()
    assert public.split()[:2] == town.host_key[1].split()[:2]
