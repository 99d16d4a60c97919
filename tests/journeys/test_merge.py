"""What other people set on the mesh's resources stays when `up` repairs what is the mesh's: Azure alone, no machine."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
from tests.doors import rule

from crdbmesh.engine import plan, run
from crdbmesh.engine.step import Result
from crdbmesh.observe.firewall import find_all_wider
from crdbmesh.observe.resource import Observed
from crdbmesh.spec.mesh import Mesh
from crdbmesh.steps import catalog
from crdbmesh.steps.network import Network

NETWORK = "/resourceGroups/crdbmesh/providers/Microsoft.Network"
VNET = f"{NETWORK}/virtualNetworks/crdbmesh-eastus"
NSG = f"{NETWORK}/networkSecurityGroups/crdbmesh-eastus-nsg"
ADDRESS = f"{NETWORK}/publicIPAddresses/crdbmesh-eastus-1-ip"
NIC = f"{NETWORK}/networkInterfaces/crdbmesh-eastus-1-nic"
VM = "/resourceGroups/crdbmesh/providers/Microsoft.Compute/virtualMachines/crdbmesh-eastus-1"
PEERING = f"{VNET}/virtualNetworkPeerings/crdbmesh-eastus-to-westus"
OURS = (VNET, NSG, ADDRESS, NIC, VM, PEERING)
IN_AZURE = {"providers", "group", "network", "firewall", "address", "nic", "machine", "peerings"}
IN_AZURE |= {"availability", "data-disk", "wal-disk"}
CHANGES = {"etag", "provisioningState"}
"""Members that every write changes."""


def make(world: Any, mesh: Mesh, parts: set[str] = IN_AZURE, notify: Any = lambda _event: None) -> dict[str, Result]:
    """Make the mesh's part in Azure hold."""
    with world.open(mesh) as run_world:
        steps = [step for step in catalog.steps(run_world) if step.name.rpartition("/")[2] in parts]
        return run.run(plan.order(steps), workers=8, notify=notify)


def get(world: Any, path: str) -> dict[str, Any]:
    status, body = world.doors.arm("GET", path)
    assert status == 200, body
    return dict(body)


def view(value: Any) -> Any:
    """What an outside client shows of a resource, without what every write changes."""
    if isinstance(value, list):
        return [view(one) for one in value]
    if isinstance(value, dict):
        return {name: view(one) for name, one in value.items() if name not in CHANGES}
    return value


def change(world: Any, path: str, change: Any) -> None:
    """Read a resource, change it and write it back, as azure-cli does."""
    body = copy.deepcopy(get(world, path))
    change(body)
    world.doors.put(path, {**body, "etag": None})


def settle_others(world: Any) -> None:
    """Set what other people set on each of the mesh's resources."""
    outbound = {"direction": "Outbound", "destinationAddressPrefix": "203.0.113.0/24"}
    no_mail = {"name": "no-mail", "properties": {**rule("Deny", "25", priority=200), **outbound}}
    guard = world.doors.put(
        f"{NETWORK}/networkSecurityGroups/guard",
        {"location": "eastus", "properties": {"securityRules": [no_mail]}},
    )

    def vnet(body: dict[str, Any]) -> None:
        body["tags"] |= {"costcentre": "4711"}
        properties = body["properties"]
        properties["addressSpace"]["addressPrefixes"].append("192.168.77.0/24")
        properties["dhcpOptions"] = {"dnsServers": ["10.1.0.53"]}
        properties["flowTimeoutInMinutes"] = 8
        properties["subnets"][0]["properties"] |= {
            "networkSecurityGroup": {"id": guard},
            "serviceEndpoints": [{"service": "Microsoft.Storage", "locations": ["eastus"]}],
        }
        properties["subnets"].append({"name": "bastion", "properties": {"addressPrefix": "192.168.77.0/26"}})

    def nsg(body: dict[str, Any]) -> None:
        body["tags"] |= {"costcentre": "4711"}
        body["properties"]["securityRules"].append(no_mail)

    def address(body: dict[str, Any]) -> None:
        body["tags"] |= {"CostCentre": "4711"}
        body["properties"] |= {
            "dnsSettings": {"domainNameLabel": "shop"},
            "idleTimeoutInMinutes": 9,
            "ipTags": [{"ipTagType": "RoutingPreference", "tag": "Internet"}],
        }

    def nic(body: dict[str, Any]) -> None:
        properties = body["properties"]
        properties |= {"enableAcceleratedNetworking": True, "enableIPForwarding": True}
        properties["dnsSettings"]["dnsServers"] = ["10.1.0.53"]
        subnet = properties["ipConfigurations"][0]["properties"]["subnet"]
        properties["ipConfigurations"].append({"name": "second", "properties": {"subnet": subnet}})

    for path, more in ((VNET, vnet), (NSG, nsg), (ADDRESS, address), (NIC, nic)):
        change(world, path, more)
    identity = {"identity": {"type": "SystemAssigned"}, "tags": {**get(world, VM)["tags"], "costcentre": "4711"}}
    disks = get(world, VM)["properties"]["storageProfile"]["dataDisks"]
    disks.append({"lun": 9, "createOption": "Empty", "diskSizeGB": 8, "name": "mine"})
    identity["properties"] = {
        "storageProfile": {"dataDisks": disks},
        "securityProfile": {"encryptionAtHost": True},
    }
    status, answer = world.doors.arm("PATCH", VM, identity)
    assert status in {200, 202}, answer
    deadline = time.monotonic() + 60
    while get(world, VM)["properties"]["provisioningState"] != "Succeeded":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_outside_clients_view_is_the_same_before_and_after_every_repair(world: Any) -> None:
    mesh = world.mesh(["eastus", "westus"], machines=1)
    assert all(result.outcome.good for result in make(world, mesh).values())
    settle_others(world)
    # A range more in a VNet: its peerings take it over.
    assert make(world, mesh)["eastus-westus/peerings"].outcome.value == "changed"
    writes = world.writes()
    assert {n: (r.outcome.value, r.detail) for n, r in make(world, mesh).items() if r.outcome.value != "held"} == {}
    assert world.writes() == writes, "what others set is no reason to write"
    before = {path: view(get(world, path)) for path in OURS}
    assert before[VM]["identity"]["type"] == "SystemAssigned"

    for path in (VNET, NSG, ADDRESS, NIC, VM):
        tags = {key: value for key, value in get(world, path)["tags"].items() if not key.startswith("crdbmesh")}
        status, answer = world.doors.arm("PATCH", path, {"tags": tags})
        assert status in {200, 202}, answer
    change(world, NSG, lambda body: body["properties"]["securityRules"].pop(0))
    change(world, PEERING, lambda body: body["properties"].update(allowForwardedTraffic=False))
    results = make(world, mesh)
    assert {result.outcome.value for result in results.values()} <= {"held", "changed"}, results
    assert sum(result.outcome.value == "changed" for result in results.values()) == 6

    after = {path: view(get(world, path)) for path in OURS}
    for path in OURS:
        for rules in (one[path]["properties"].get("securityRules", []) for one in (before, after)):
            rules.sort(key=lambda rule: str(rule["name"]))
        assert after[path] == before[path], path


def test_a_write_in_between_is_read_again_and_merged_again(world: Any) -> None:
    mesh = world.mesh(["eastus"], machines=1)
    assert all(result.outcome.good for result in make(world, mesh, {"providers", "group", "network"}).values())
    world.doors.arm("PATCH", VNET, {"tags": {}})

    class Raced(Network):
        """The step of a VNet, with somebody else who writes after each of its first three reads."""

        def observe(self) -> Observed:
            seen = Network.observe(self)
            if len(told) < 3:
                told.append(f"other{len(told)}")
                tags = {**get(world, VNET).get("tags", {}), told[-1]: "yes"}
                assert world.doors.arm("PATCH", VNET, {"tags": tags})[0] == 200
            return seen

    told: list[str] = []
    with world.open(mesh) as run_world:
        step = Raced(name="eastus/network", world=run_world, region=mesh.all_regions()[0])
        results = run.run(plan.order([step]), workers=1, notify=lambda _event: None, retry_delays_s=[0.1, 0.1])
    assert results["eastus/network"].outcome.value == "changed"
    tags = get(world, VNET)["tags"]
    assert {"crdbmesh", "other0", "other1", "other2"} <= tags.keys()


def add_rule(world: Any, name: str, **more: Any) -> None:
    own = {"protocol": "Tcp", "sourceAddressPrefix": "127.0.0.1"}
    properties = {**rule("Allow", "31000", priority=100), **own}
    world.doors.put(f"{NSG}/securityRules/{name}", {"properties": {**properties, **more}})


@pytest.mark.parametrize(
    ("keeps", "late"),
    [(True, False), (False, False), (None, False), (False, True)],
    ids=["keep", "prune", "nobody said", "not of this one"],
)
def test_a_wider_rule_of_others_is_kept_or_pruned_only_when_that_is_said(
    world: Any, *, keeps: bool | None, late: bool
) -> None:
    mesh = world.mesh(["eastus"], machines=1)
    groundwork = {"providers", "group", "firewall"}
    assert all(result.outcome.good for result in make(world, mesh, groundwork).values())
    add_rule(world, "hurry", priority=110, sourceAddressPrefix="*", destinationPortRange="22-31000")
    add_rule(world, "theirs", priority=120, destinationPortRange="6443")
    world.doors.delete(f"{NSG}/securityRules/ssh")
    add_rule(world, "first", priority=100, access="Deny", destinationPortRange="9")

    layer = world.status(mesh).regions[0].layer("network")
    assert layer.level.value == "degraded"
    writes = world.writes()
    with world.open(mesh) as run_world:
        run_world.keeps_rules, run_world.prunes = bool(keeps), {} if keeps is None else find_all_wider(run_world)
        if late:
            add_rule(world, "late", priority=111, sourceAddressPrefix="*")
        steps = [step for step in catalog.steps(run_world) if step.name.rpartition("/")[2] in groundwork]
        result = run.run(plan.order(steps), workers=4, notify=lambda _event: None)["eastus/firewall"]
    rules = {rule["name"]: rule["properties"]["priority"] for rule in get(world, NSG)["properties"]["securityRules"]}
    if keeps is None or late:
        assert "hurry (Tcp 22-31000 from *)" in result.detail
        assert "--prune-rules" in str(result.hint)
        assert world.writes() == writes + late
        assert rules.keys() >= {"hurry", "theirs", "first"}
        return
    assert result.outcome.value == "changed"
    ours = {"ssh": 101, "kubernetes-api": 200, "mesh": 400, "virtual-network": 4000}
    assert rules == {**ours, "theirs": 120, "first": 100} | ({"hurry": 110} if keeps else {})
    assert ("hurry" in str(world.status(mesh).regions[0].layer("network").cause)) is keeps
