"""All that crdbmesh 0.1 sent for a mesh, recorded: a later release sends the same for a mesh of 0.1.

`release-0.1.yaml` is the spec that 0.1 kept; `release-0.1.json` is what it sent for that spec. Neither ever changes.
"""

import json
from pathlib import Path
from typing import Any

from crdbmesh.desired import azure, cilium, cockroach, dns, machine
from crdbmesh.spec import load
from crdbmesh.spec.mesh import Mesh

HERE = Path(__file__).parent
SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"


def sent(mesh: Mesh) -> dict[str, Any]:
    """Return everything that is sent for a mesh: Azure's bodies, Kubernetes objects, and files on machines."""
    found: dict[str, Any] = {"seeds": cockroach.seeds(mesh), "tags": azure.tags(mesh)}
    for region in mesh.all_regions():
        one = region.machines[0]
        found[region.name] = {
            "firewall": azure.firewall(mesh, region),
            "network": azure.network(mesh, region),
            "peerings": [azure.peering(mesh, other, SUBSCRIPTION) for other in mesh.others(region)],
            "address": azure.public_address(mesh, one),
            "nic": azure.nic(mesh, one, SUBSCRIPTION),
            "machine": azure.virtual_machine(
                mesh, one, SUBSCRIPTION, zone="1", login_key="ssh-ed25519 AAAA x", cloud_init="#cloud-config\n"
            ),
            "cloud_init": machine.cloud_init(mesh, host_key="KEY\n", host_key_public="ssh-ed25519 BBBB y"),
            "k3s": {
                each.node: machine.k3s_config(
                    region,
                    each,
                    token="TOKEN",
                    public_addresses=["203.0.113.20"],
                    zone=machine.zone_label(region.name, each.zone),
                    through=None if each == one else one,
                )
                for each in region.machines
            },
            "units": {each.node: machine.k3s_unit(region, each) for each in region.machines},
            "cilium": cilium.values(mesh, region),
            "chart": cilium.chart(mesh, region),
            "namespace": cockroach.namespace(region),
            "services": cockroach.services(region),
            "database": cockroach.statefulset(mesh, region),
            "client": cockroach.client(mesh, region),
            "dns": [dns.service(region), dns.forwarders(mesh, region), dns.coredns(mesh, region, None)],
        }
    found["tags"].pop("crdbmesh-version")
    plain: dict[str, Any] = json.loads(json.dumps(found), object_hook=_without_version)
    return plain


def test_a_mesh_of_release_0_1_is_sent_what_that_release_sent() -> None:
    mesh = load.mesh(load.read_kept(HERE / "release-0.1.yaml"))
    recorded = json.loads((HERE / "release-0.1.json").read_text())
    now = sent(mesh)
    assert now.keys() == recorded.keys()
    for part, content in recorded.items():
        assert now[part] == content, part


def _without_version(value: dict[str, Any]) -> dict[str, Any]:
    return {key: one for key, one in value.items() if key != "crdbmesh-version"}
