"""A real one-node k3s on this machine, installed from exactly what crdbmesh sends: `sudo python -m tests.real.k3s`.

The binary and the Cilium chart are the pinned ones, config.yaml, the unit, the Secret and the HelmChart come from
`crdbmesh.desired`. The machine's private address is given to a dummy interface. At the end the node is Ready by
Cilium's network, and the path of a kubeconfig is printed, for CRDBMESH_TEST_KUBECONFIG. Made for a machine that is
thrown away afterwards, such as a hosted runner: nothing is removed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import os
import platform
import secrets
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from crdbmesh.desired import cilium, machine
from crdbmesh.local import pki
from crdbmesh.spec import load
from crdbmesh.spec.mesh import Machine, Mesh, Region
from crdbmesh.spec.versions import NEWEST, Artifact

READY_DEADLINE_S = 900.0
KUBECONFIG = Path("/etc/rancher/k3s/k3s.yaml")
KUBECTL = (machine.K3S_BINARY, "kubectl")


def main() -> int:
    """Install, wait until the node is Ready, print the kubeconfig's path; 1 when it does not become Ready."""
    argparse.ArgumentParser(prog="python -m tests.real.k3s", description=__doc__).parse_args()
    if os.geteuid() != 0:
        sys.exit("tests.real.k3s: run it as root, on a machine that is thrown away afterwards")
    mesh = load.mesh({"name": "real", "regions": ["eastus"], "machines": {"per_region": 1}})
    region = mesh.all_regions()[0]
    (node,) = region.machines
    give_address(node)
    install(mesh, region, node)
    apply_cilium(mesh, region)
    seen = wait_ready(node.node)
    if seen is not None:
        run("journalctl", "-u", "k3s", "-n", "60", "--no-pager", "-o", "cat")
        run(*KUBECTL, "get", "pods,helmcharts,events", "-A")
        sys.stderr.write(f"{node.node} is not Ready after {READY_DEADLINE_S:.0f} s: {seen}\n")
        return 1
    print(KUBECONFIG)  # noqa: T201 - the result
    return 0


def give_address(node: Machine) -> None:
    """Put the machine's private address on a dummy interface."""
    run("ip", "link", "add", "crdbmesh0", "type", "dummy")
    run("ip", "address", "add", f"{node.address}/24", "dev", "crdbmesh0")
    run("ip", "link", "set", "crdbmesh0", "up")


def install(mesh: Mesh, region: Region, node: Machine) -> None:
    """Download what is pinned, write what crdbmesh writes, and start k3s."""
    download(NEWEST.k3s.binary(platform.machine()), Path(machine.K3S_BINARY), mode=0o755)
    download(NEWEST.cilium.chart, Path(machine.chart_path(mesh)), mode=0o644)
    settings = machine.k3s_config(
        region,
        node,
        token=secrets.token_hex(16),
        public_addresses=["127.0.0.1"],
        zone=machine.zone_label(region.name, None),
        through=None,
    )
    write(Path(machine.K3S_CONFIG), machine.k3s_config_text(settings), mode=0o600)
    write(Path(machine.unit_path(region, node)), machine.k3s_unit(region, node), mode=0o644)
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--now", machine.k3s_service(region, node))


def apply_cilium(mesh: Mesh, region: Region) -> None:
    """Apply the CA's Secret and the HelmChart, server-side, as crdbmesh does."""
    authority = pki.make_ca("Cilium CA", None, now=dt.datetime.now(dt.UTC))
    secret = cilium.secret(ca_cert=authority.cert_pem, ca_key=authority.key_pem)
    documents = {"apiVersion": "v1", "kind": "List", "items": [secret, cilium.chart(mesh, region)]}
    deadline = time.monotonic() + 300
    while True:
        # The CRD of HelmChart comes a moment after the API.
        applied = subprocess.run(
            [*KUBECTL, "apply", "--server-side", "--field-manager=crdbmesh", "-f", "-"],
            input=json.dumps(documents),
            text=True,
            check=False,
        )
        if applied.returncode == 0:
            return
        if time.monotonic() > deadline:
            sys.exit("the HelmChart could not be applied in 300 s; kubectl's message is above")
        time.sleep(3)


def wait_ready(name: str) -> str | None:
    """Wait until the node is Ready; what was last seen when it does not become so."""
    deadline, seen = time.monotonic() + READY_DEADLINE_S, "not looked yet"
    while time.monotonic() < deadline:
        answer = subprocess.run(
            [*KUBECTL, "get", "node", name, "-o", "json"], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0:
            conditions: list[dict[str, Any]] = json.loads(answer.stdout)["status"]["conditions"]
            ready = next((one for one in conditions if one["type"] == "Ready"), {})
            if ready.get("status") == "True":
                return None
            seen = str(ready.get("message", "no Ready condition"))
        else:
            seen = answer.stderr.strip()
        time.sleep(3)
    return seen


def download(artifact: Artifact | None, path: Path, *, mode: int) -> None:
    """Download a pinned file; exit when its SHA-256 is not the pinned one."""
    if artifact is None:
        sys.exit(f"k3s is not pinned for {platform.machine()}")
    with urllib.request.urlopen(artifact.url, timeout=300) as answer:
        content: bytes = answer.read()
    if hashlib.sha256(content).hexdigest() != artifact.sha256:
        sys.exit(f"{artifact.url} does not have the pinned SHA-256")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def write(path: Path, text: str, *, mode: int) -> None:
    """Write a file, private from its first byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=mode)
    path.write_text(text)


def run(*command: str) -> None:
    """Run a command; exit when it fails."""
    subprocess.run(command, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
