"""azure-cli as a referee of the simulated Azure Resource Manager: the manual recipe's commands, and a VM's life.

azure-cli speaks to it as to a private cloud (`az cloud register`), logged in with a managed identity whose tokens a
small server in this process hands out, as Azure App Service does for its applications.
"""

from __future__ import annotations

import http.server
import json
import os
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.referees.conftest import World, program

pytestmark = pytest.mark.referee

GROUP = "by-hand"
REGIONS = {"eastus": "10.1", "westus": "10.2"}
RULES = {"ssh": (100, "22"), "kubernetes": (200, "6443"), "nodeports": (300, "30000-32767")}
IMAGE = "Canonical:ubuntu-24_04-lts:server:latest"
SIZE = "Standard_D2s_v5"
_COMMAND_S = 240


class AzureCli:
    """azure-cli with a configuration of its own, on the subscription of a simulated world."""

    def __init__(self, world: World, folder: Path, identity_url: str) -> None:
        self._program = program("az")
        self._environment = {
            **os.environ,
            "AZURE_CONFIG_DIR": str(folder),
            "AZURE_CORE_COLLECT_TELEMETRY": "false",
            "AZURE_CORE_OUTPUT": "json",
            "AZURE_CORE_ONLY_SHOW_ERRORS": "true",
            "IDENTITY_ENDPOINT": identity_url,
            "IDENTITY_HEADER": "referee",
            "REQUESTS_CA_BUNDLE": world.coordinates["ca_file"],
        }
        subscription = _read_subscription(world)
        self("cloud", "register", "--name", "simulated", "--endpoint-resource-manager", world.coordinates["arm_url"])
        self("cloud", "set", "--name", "simulated")
        (folder / "azureProfile.json").write_text(json.dumps(_profile(subscription)), encoding="utf-8")

    def __call__(self, *arguments: str) -> Any:
        """What a command answers, as JSON; it must succeed."""
        done = self._run(arguments)
        assert done.returncode == 0, f"az {' '.join(arguments)}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def refused(self, *arguments: str) -> str:
        """What a command says on standard error; it must fail."""
        done = self._run(arguments)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def _run(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        command = [self._program, *arguments]
        return subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=_COMMAND_S, check=False
        )


@pytest.fixture(scope="module")
def az(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureCli]:
    with _identity(world.coordinates["token"]) as url:
        cli = AzureCli(world, tmp_path_factory.mktemp("azure"), url)
        for namespace in ("Microsoft.Network", "Microsoft.Compute"):
            cli("provider", "register", "--namespace", namespace, "--wait")
        cli("group", "create", "--name", GROUP, "--location", "eastus", "--tags", "made=by-hand")
        yield cli
        cli("group", "delete", "--name", GROUP, "--yes")
        assert cli("group", "exists", "--name", GROUP) is False


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a public key for SSH."""
    path = tmp_path_factory.mktemp("key") / "id_ed25519.pub"
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    path.write_bytes(public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH))
    return str(path)


@pytest.fixture(scope="module")
def networks(az: AzureCli) -> dict[str, Any]:
    """A VNet with a subnet in each region, as the recipe makes them, by region."""
    made = {}
    for region, prefix in REGIONS.items():
        answer = az(
            "network", "vnet", "create", "--resource-group", GROUP, "--location", region, "--name", f"crdb-{region}",
            "--address-prefixes", f"{prefix}.0.0/16", "--subnet-name", f"crdb-{region}-sub1",
            "--subnet-prefixes", f"{prefix}.1.0/24",
        )  # fmt: skip
        made[region] = answer["newVNet"]
    return made


@pytest.fixture(scope="module")
def machine(az: AzureCli, networks: dict[str, Any], key: str) -> dict[str, Any]:
    """A VM with a NIC made beforehand, as the recipe makes it."""
    az("network", "public-ip", "create", "--resource-group", GROUP, "--location", "eastus", "--name", "crdb-eastus-ip1",
       "--sku", "Standard", "--allocation-method", "Static")  # fmt: skip
    az("network", "nsg", "create", "--resource-group", GROUP, "--location", "eastus", "--name", "crdb-eastus-nsg")
    for name, (priority, ports) in RULES.items():
        az("network", "nsg", "rule", "create", "--resource-group", GROUP, "--nsg-name", "crdb-eastus-nsg",
           "--name", name, "--priority", str(priority), "--access", "Allow", "--direction", "Inbound",
           "--protocol", "Tcp", "--source-address-prefixes", "*", "--destination-port-ranges", ports)  # fmt: skip
    nic = az("network", "nic", "create", "--resource-group", GROUP, "--location", "eastus",
             "--name", "crdb-eastus-nic1",
             "--vnet-name", "crdb-eastus", "--subnet", "crdb-eastus-sub1", "--network-security-group",
             "crdb-eastus-nsg", "--public-ip-address", "crdb-eastus-ip1")  # fmt: skip
    assert nic["NewNIC"]["ipConfigurations"][0]["privateIPAddress"] == "10.1.1.4"
    made = az("vm", "create", "--resource-group", GROUP, "--location", "eastus", "--name", "crdb-eastus-node1",
              "--image", IMAGE, "--size", SIZE, "--admin-username", "ubuntu", "--ssh-key-values", key,
              "--nics", "crdb-eastus-nic1")  # fmt: skip
    assert isinstance(made, dict)
    return made


def test_peers_networks_in_both_directions(az: AzureCli, networks: dict[str, Any]) -> None:
    for here, there in (("eastus", "westus"), ("westus", "eastus")):
        az("network", "vnet", "peering", "create", "--resource-group", GROUP, "--name", f"{here}-{there}",
           "--vnet-name", f"crdb-{here}", "--remote-vnet", networks[there]["id"], "--allow-vnet-access",
           "--allow-forwarded-traffic")  # fmt: skip
    (peering,) = az("network", "vnet", "peering", "list", "--resource-group", GROUP, "--vnet-name", "crdb-eastus")
    assert (peering["peeringState"], peering["peeringSyncLevel"]) == ("Connected", "FullyInSync")
    az("network", "vnet", "peering", "delete", "--resource-group", GROUP, "--vnet-name", "crdb-westus",
       "--name", "westus-eastus")  # fmt: skip
    shown = az("network", "vnet", "peering", "show", "--resource-group", GROUP, "--vnet-name", "crdb-eastus",
               "--name", "eastus-westus")  # fmt: skip
    assert shown["peeringState"] == "Disconnected"


def test_makes_a_machine_from_the_parts_of_the_recipe(az: AzureCli, machine: dict[str, Any]) -> None:
    assert machine["powerState"] == "VM running"
    assert machine["privateIpAddress"] == "10.1.1.4"
    assert machine["publicIpAddress"].startswith("127.")
    rules = az("network", "nsg", "rule", "list", "--resource-group", GROUP, "--nsg-name", "crdb-eastus-nsg")
    assert {rule["name"]: (rule["priority"], rule["destinationPortRange"]) for rule in rules} == RULES


def test_shows_and_lists_machines(az: AzureCli, machine: dict[str, Any]) -> None:
    shown = az("vm", "show", "--resource-group", GROUP, "--name", "crdb-eastus-node1", "--show-details")
    assert shown["publicIps"] == machine["publicIpAddress"]
    listed = az("vm", "list", "--resource-group", GROUP, "--show-details")
    assert "crdb-eastus-node1" in [each["name"] for each in listed]
    view = az("vm", "get-instance-view", "--resource-group", GROUP, "--name", "crdb-eastus-node1")
    assert "PowerState/running" in [status["code"] for status in view["instanceView"]["statuses"]]


def test_deallocates_and_starts_a_machine(az: AzureCli, machine: dict[str, Any]) -> None:
    named = ("--resource-group", GROUP, "--name", "crdb-eastus-node1")
    az("vm", "deallocate", *named)
    assert az("vm", "show", *named, "--show-details")["powerState"] == "VM deallocated"
    az("vm", "start", *named)
    assert az("vm", "show", *named, "--show-details")["powerState"] == "VM running"


def test_makes_a_machine_with_all_that_it_needs_and_deletes_it(az: AzureCli, key: str) -> None:
    az("group", "create", "--name", "alone", "--location", "westus")
    az("vm", "create", "--resource-group", "alone", "--location", "westus", "--name", "alone", "--image", IMAGE,
       "--size", SIZE, "--admin-username", "ubuntu", "--ssh-key-values", key, "--public-ip-sku", "Standard",
       "--os-disk-delete-option", "Delete", "--nic-delete-option", "Delete", "--data-disk-sizes-gb", "8",
       "--assign-identity")  # fmt: skip
    made = az("vm", "show", "--resource-group", "alone", "--name", "alone")
    assert made["identity"]["type"] == "SystemAssigned"
    (disk,) = made["storageProfile"]["dataDisks"]
    az("vm", "delete", "--resource-group", "alone", "--name", "alone", "--yes")
    az("disk", "delete", "--ids", disk["managedDisk"]["id"], "--yes")
    left = {each["type"] for each in az("resource", "list", "--resource-group", "alone")}
    assert left == {
        f"Microsoft.Network/{kind}" for kind in ("virtualNetworks", "networkSecurityGroups", "publicIPAddresses")
    }
    az("group", "delete", "--name", "alone", "--yes")


def test_tags_a_group_and_a_resource(az: AzureCli, networks: dict[str, Any]) -> None:
    az("group", "update", "--name", GROUP, "--set", "tags.owner=referee")
    assert az("group", "show", "--name", GROUP)["tags"] == {"made": "by-hand", "owner": "referee"}
    network = networks["eastus"]["id"]
    az("tag", "update", "--resource-id", network, "--operation", "merge", "--tags", "mesh=refereed", "kept=yes")
    az("tag", "update", "--resource-id", network, "--operation", "delete", "--tags", "kept=yes")
    assert az("tag", "list", "--resource-id", network)["properties"]["tags"] == {"mesh": "refereed"}
    az("tag", "delete", "--resource-id", network, "--yes")
    az("tag", "create", "--resource-id", network, "--tags", "mesh=refereed")
    assert [each["name"] for each in az("resource", "list", "--tag", "mesh=refereed")] == ["crdb-eastus"]


def test_a_lock_keeps_a_resource_from_deletion(az: AzureCli, networks: dict[str, Any]) -> None:
    network = networks["westus"]["id"]
    az("lock", "create", "--name", "kept", "--lock-type", "CanNotDelete", "--resource", network)
    assert [lock["name"] for lock in az("lock", "list", "--resource", network)] == ["kept"]
    assert "ScopeLocked" in az.refused("network", "vnet", "delete", "--ids", network)
    az("lock", "delete", "--name", "kept", "--resource", network)
    az("network", "vnet", "delete", "--ids", network)
    assert [each["name"] for each in az("network", "vnet", "list", "--resource-group", GROUP)
            if each["name"] == "crdb-westus"] == []  # fmt: skip


@contextmanager
def _identity(token: str) -> Iterator[str]:
    """A server that hands a token to whoever runs here, as Azure App Service does; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = {"access_token": token, "expires_on": str(int(time.time()) + 86400), "token_type": "Bearer"}
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()
        thread.join(10)


def _read_subscription(world: World) -> dict[str, Any]:
    url = f"{world.coordinates['arm_url']}/subscriptions/{world.coordinates['subscription_id']}?api-version=2022-12-01"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {world.coordinates['token']}"})
    context = ssl.create_default_context(cafile=world.coordinates["ca_file"])
    with urllib.request.urlopen(request, timeout=30, context=context) as response:
        return dict(json.load(response))


def _profile(subscription: dict[str, Any]) -> dict[str, Any]:
    """What `az login --identity` writes of a subscription."""
    entry = {
        "id": subscription["subscriptionId"],
        "name": subscription["displayName"],
        "state": subscription["state"],
        "tenantId": subscription["tenantId"],
        "homeTenantId": subscription["tenantId"],
        "environmentName": "simulated",
        "isDefault": True,
        "managedByTenants": [],
        "user": {"name": "systemAssignedIdentity", "type": "servicePrincipal", "assignedIdentityInfo": "MSI"},
    }
    return {"installationId": "00000000-0000-0000-0000-000000000000", "subscriptions": [entry]}
