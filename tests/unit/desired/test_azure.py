"""The Azure bodies, checked against Microsoft's published types."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crdbmesh.desired import azure as resources
from crdbmesh.desired import disks
from crdbmesh.spec import load as config
from crdbmesh.spec.mesh import Mesh

SCHEMAS = Path(__file__).parents[3] / "simulator/src/crdbmesh_simulator/azure/schemas"
SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def mesh() -> Mesh:
    return config.mesh({"regions": ["eastus", "westus"], "allow_from": ["203.0.113.7"], "tags": {"team": "data"}})


def bodies(mesh: Mesh) -> list[tuple[str, dict[str, Any]]]:
    region, remote = mesh.all_regions()
    machine = region.machines[0]
    return [
        ("Microsoft.Network.networkSecurityGroups", resources.firewall(mesh, region)),
        ("Microsoft.Network.virtualNetworks", resources.network(mesh, region)),
        (
            "Microsoft.Network.virtualNetworks.virtualNetworkPeerings",
            resources.peering(mesh, remote, SUBSCRIPTION),
        ),
        (
            "Microsoft.Compute.disks",
            disks.data_disk(mesh, machine, disks.DATA, None, zone="1", kind=disks.V2, fair=disks.Speed(4000, 240)),
        ),
        ("Microsoft.Compute.availabilitySets", resources.availability_set(mesh, "westus", 2)),
        ("Microsoft.Network.publicIPAddresses", resources.public_address(mesh, machine)),
        ("Microsoft.Network.networkInterfaces", resources.nic(mesh, machine, SUBSCRIPTION)),
        (
            "Microsoft.Compute.virtualMachines",
            resources.virtual_machine(
                mesh,
                machine,
                SUBSCRIPTION,
                zone="1",
                login_key="ssh-ed25519 AAAA x",
                cloud_init="#cloud-config\n",
                disks=disks.attached(mesh, machine, SUBSCRIPTION),
                trusted=True,
            ),
        ),
    ]


def test_every_body_is_valid_under_the_published_types(mesh: Mesh) -> None:
    for kind, body in bodies(mesh):
        schema = json.loads((SCHEMAS / f"{kind}.json").read_text())
        named = {"name": "x", **body} if "name" in schema.get("required", []) else body
        jsonschema.Draft202012Validator(schema).validate(named)


def test_everything_carries_the_mesh_tag_and_the_users_tags(mesh: Mesh) -> None:
    for kind, body in bodies(mesh):
        if not kind.endswith("Peerings"):
            assert body["tags"]["crdbmesh"] == "crdbmesh"
            assert body["tags"]["team"] == "data"


def rules_of(mesh: Mesh, taken: tuple[int, ...] = ()) -> dict[str, dict[str, Any]]:
    rules = resources.firewall(mesh, mesh.all_regions()[0], taken)["properties"]["securityRules"]
    return {rule["name"]: rule["properties"] for rule in rules}


@pytest.mark.parametrize("node_ports", [False, True])
def test_the_firewall_opens_what_is_named_to_the_given_sources_only(mesh: Mesh, *, node_ports: bool) -> None:
    mesh = mesh.model_copy(update={"network": mesh.network.model_copy(update={"node_ports": node_ports})})
    opened = [one for name, one in rules_of(mesh).items() if name not in ("mesh", "virtual-network")]
    assert {one["destinationPortRange"] for one in opened} == {"22", "6443", *(["30000-32767"] if node_ports else [])}
    for properties in opened:
        assert properties["sourceAddressPrefix"] == "203.0.113.7/32"
        assert properties["protocol"] == "Tcp"
    assert ("NodePorts" in resources.opened(mesh)) is node_ports


def test_within_vnets_only_the_meshs_subnets_reach_its_machines(mesh: Mesh) -> None:
    rules = rules_of(mesh, taken=(400, 4000))
    own, rest = rules["mesh"], rules["virtual-network"]
    subnets = [str(region.ranges.subnet) for region in mesh.all_regions()]
    assert own["sourceAddressPrefixes"] == [*subnets, "168.63.129.16/32"]
    assert (own["access"], own["protocol"], own["destinationPortRange"], own["priority"]) == ("Allow", "*", "*", 401)
    assert (rest["sourceAddressPrefix"], rest["access"], rest["protocol"]) == ("VirtualNetwork", "Deny", "*")
    assert (rest["destinationPortRange"], rest["priority"]) == ("*", 4001)
    older = mesh.model_copy(update={"layout": 1})
    assert rules_of(older).keys() == {"ssh", "kubernetes-api"}


def test_a_drills_cut_comes_before_what_lets_the_mesh_in(mesh: Mesh) -> None:
    region = mesh.all_regions()[0]
    there = resources.firewall(mesh, region)["properties"]["securityRules"]
    assert all(rule["properties"]["priority"] < 400 for rule in resources.cut(mesh, region, there))


def test_disk_nic_and_address_go_with_the_machine(mesh: Mesh) -> None:
    made = dict(bodies(mesh))
    vm = made["Microsoft.Compute.virtualMachines"]["properties"]
    assert vm["storageProfile"]["osDisk"]["deleteOption"] == "Delete"
    assert vm["networkProfile"]["networkInterfaces"][0]["properties"]["deleteOption"] == "Delete"
    configuration = made["Microsoft.Network.networkInterfaces"]["properties"]["ipConfigurations"][0]
    assert configuration["properties"]["publicIPAddress"]["properties"]["deleteOption"] == "Delete"


def test_a_machine_takes_no_password_and_gets_our_user_data(mesh: Mesh) -> None:
    profile = dict(bodies(mesh))["Microsoft.Compute.virtualMachines"]["properties"]["osProfile"]
    assert profile["linuxConfiguration"]["disablePasswordAuthentication"] is True
    assert base64.b64decode(profile["customData"]).decode() == "#cloud-config\n"
    assert "adminPassword" not in profile


@pytest.mark.parametrize(
    ("sku", "zones"),
    [
        ({"locationInfo": [{"location": "EastUS", "zones": ["2", "1", "3"]}]}, ("1", "2", "3")),
        (
            {
                "locationInfo": [{"location": "eastus", "zones": ["1", "2"]}],
                "restrictions": [{"type": "Zone", "restrictionInfo": {"zones": ["2"]}}],
            },
            ("1",),
        ),
        ({"locationInfo": [{"location": "eastus"}]}, ()),
        ({"locationInfo": [{"location": "westus", "zones": ["1"]}]}, ()),
    ],
)
def test_usable_zones_are_those_offered_less_those_restricted(sku: dict[str, Any], zones: tuple[str, ...]) -> None:
    assert resources.usable_zones(sku, "eastus") == zones


def test_a_machine_without_a_zone_is_in_its_regions_availability_set_since_layout_2(mesh: Mesh) -> None:
    old = mesh.model_copy(update={"layout": 1})
    for made, zone, wanted in ((mesh, None, True), (mesh, "1", False), (old, None, False)):
        machine = made.all_regions()[1].machines[0]
        vm = resources.virtual_machine(made, machine, SUBSCRIPTION, zone=zone, login_key="k x", cloud_init="c")
        there = vm["properties"].get("availabilitySet", {}).get("id", "")
        assert there.endswith("/availabilitySets/crdbmesh-westus-set") is wanted


@pytest.mark.parametrize(
    ("image", "size", "trusted"),
    [
        (None, {"HyperVGenerations": "V1,V2"}, True),
        (None, {"HyperVGenerations": "V1"}, False),
        (None, {}, False),
        (None, {"HyperVGenerations": "V2", "TrustedLaunchDisabled": "True"}, False),
        (None, {"HyperVGenerations": "V2", "CpuArchitectureType": "Arm64"}, False),
        ("Canonical:ubuntu-24_04-lts:server-gen1:latest", {"HyperVGenerations": "V1,V2"}, False),
    ],
)
def test_trusted_launch_is_for_images_and_sizes_that_have_it(
    image: str | None, size: dict[str, str], trusted: bool
) -> None:
    document: dict[str, Any] = {"regions": ["eastus"], **({"machines": {"image": image}} if image else {})}
    assert resources.can_be_trusted(config.mesh(document), size) is trusted
    assert not resources.can_be_trusted(config.mesh({**document, "layout": 1}), size)
