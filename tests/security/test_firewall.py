"""Nothing but SSH and the Kubernetes API is ever open, and only to those who are named; all to the mesh itself."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from crdbmesh.errors import ConfigError
from crdbmesh.spec import load as config

pytestmark = pytest.mark.timeout(240)
RED = "\x1b[1;31m"
LOUD = "will be open to EVERYONE"


def test_at_no_moment_was_more_open_than_two_ports_of_tcp_from_the_caller(mesh: Any) -> None:
    ssh_port = str(mesh.ground.coordinates["ssh_port"])
    written = [
        rule
        for request in mesh.ground.recorder.requests
        if request.method in ("PUT", "PATCH") and "/networksecuritygroups/" in request.path.lower()
        for rule in json.loads(request.body).get("properties", {}).get("securityRules", [])
    ]
    seen = list(mesh.rules.values())
    assert len(seen) >= 8
    inner: dict[str, list[dict[str, Any]]] = {"mesh": [], "virtual-network": []}
    for rule in [*written, *seen]:
        properties = rule["properties"]
        if rule["name"] in inner:
            inner[rule["name"]].append(properties)
            continue
        assert properties["access"] == "Allow"
        assert properties["direction"] == "Inbound"
        assert properties["protocol"] == "Tcp"
        assert properties["destinationPortRange"] in (ssh_port, "6443")
        assert properties.get("sourceAddressPrefix") == "127.0.0.1/32"
        assert not properties.get("sourceAddressPrefixes")
        assert not properties.get("destinationPortRanges")
    assert {rule["properties"]["destinationPortRange"] for rule in seen} == {ssh_port, "6443", "*"}
    for properties in inner["mesh"]:
        assert properties["access"] == "Allow"
        assert all(one.startswith("10.") or one == "168.63.129.16/32" for one in properties["sourceAddressPrefixes"])
    denied = {(one["access"], one["sourceAddressPrefix"], one["protocol"]) for one in inner["virtual-network"]}
    assert denied == {("Deny", "VirtualNetwork", "*")}


def test_no_rule_comes_by_another_way(mesh: Any) -> None:
    paths = [request.path.lower() for request in mesh.ground.recorder.requests if request.method != "GET"]
    assert not any("/securityrules/" in path for path in paths)


def test_every_interface_is_behind_its_regions_firewall_and_every_address_on_one(mesh: Any) -> None:
    interfaces = mesh.ground.arm("/providers/Microsoft.Network/networkInterfaces")["value"]
    addresses = mesh.ground.arm("/providers/Microsoft.Network/publicIPAddresses")["value"]
    attached = set()
    for interface in interfaces:
        properties = interface["properties"]
        assert properties["networkSecurityGroup"]["id"].endswith(f"/crdbmesh-{interface['location']}-nsg")
        attached |= {one["properties"]["publicIPAddress"]["id"].lower() for one in properties["ipConfigurations"]}
    assert attached == {address["id"].lower() for address in addresses}
    assert len(interfaces) == 2


@pytest.mark.parametrize("sources", [["0.0.0.0/0"], ["0.0.0.0/1", "128.0.0.0/1"], ["10.0.0.0/8", "0.0.0.0/0"]])
def test_everyone_in_other_words_is_refused(sources: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        config.mesh({"regions": ["eastus"], "allow_from": sources})
    (finding,) = refused.value.findings
    assert finding.field.startswith("allow_from")
    assert "opens the firewall to everyone" in finding.reason
    assert "'*'" in finding.remedy


def on_terminal(mesh: Any, *arguments: str, **more: str) -> str:
    """What a person sees who says no to the question."""
    master, slave = pty.openpty()
    log = mesh.ground.folder / "witness-terminal"
    environ = mesh.ground.environ(log, TERM="xterm-256color", COLUMNS="120", **more)
    with subprocess.Popen(
        mesh.ground.command(*arguments), env=environ, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    ) as process:
        os.close(slave)
        shown, deadline, answered = "", time.monotonic() + 30, False
        while process.poll() is None or select.select([master], [], [], 0)[0]:
            assert time.monotonic() < deadline, shown
            if select.select([master], [], [], 0.1)[0]:
                try:
                    shown += os.read(master, 4096).decode("utf-8", "replace")
                except OSError:
                    break
            if "Create or update this mesh?" in shown and not answered:
                answered = True
                os.write(master, b"n\n")
    os.close(master)
    assert answered, shown
    assert process.returncode == 1
    return shown


def test_everyone_is_said_in_red_before_the_question(mesh: Any) -> None:
    before = len(mesh.ground.recorder.requests)
    shown = on_terminal(mesh, "up", "--name", "open", "--regions", "eastus", "--allow-from", "*")
    warned = re.search(re.escape(RED) + r"[^\x1b]*" + LOUD, shown)
    assert warned, shown
    assert warned.start() < shown.index("Create or update this mesh?")
    writes = [one for one in mesh.ground.recorder.requests[before:] if one.method != "GET"]
    assert writes == []


def test_everyone_is_said_in_plain_text_off_a_terminal(mesh: Any, tmp_path: Path) -> None:
    cloud_file = tmp_path / "wrong.json"
    # With a token that is refused, it says what it is about and goes no further.
    cloud_file.write_text(json.dumps(json.loads(mesh.ground.cloud_file.read_text()) | {"token": "none"}))
    command = ["plan", "--name", "open", "--regions", "eastus", "--allow-from", "*"]
    run = mesh.ground.run(*command, more={"CRDBMESH_CLOUD": str(cloud_file)})
    assert LOUD in run.stderr
    assert "\x1b" not in run.stderr + run.stdout


def test_the_caller_alone_is_let_in_unless_told_otherwise(mesh: Any) -> None:
    assert mesh.up.document()["allow_from"] == ["127.0.0.1/32"]
    assert "open to 127.0.0.1/32 only" in mesh.up.stderr
    assert LOUD not in mesh.up.stderr
