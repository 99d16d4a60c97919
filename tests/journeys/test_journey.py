"""The product's proof: from nothing; again without a write; each effect removed from outside; down without a trace."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from crdbmesh.commands import down
from crdbmesh.commands.plan import run_plan
from crdbmesh.desired import hardening
from crdbmesh.engine import plan
from crdbmesh.engine.step import Gap, Outcome
from crdbmesh.local import birth
from crdbmesh.local.folder import SPEC
from crdbmesh.spec import load as config
from crdbmesh.spec.mesh import Mesh
from crdbmesh.steps import catalog

REGIONS = ["eastus", "westus"]


def delete(path: str) -> Callable[[Any], None]:
    """Delete an Azure resource, as somebody with the portal open would."""

    def damage(world: Any) -> None:
        status, answer = world.resource("DELETE", path)
        assert status in {200, 202, 204}, answer

    return damage


def kube_delete(region: str, path: str) -> Callable[[Any], None]:
    """Delete a Kubernetes object, as somebody with kubectl would."""

    def damage(world: Any) -> None:
        status, answer = world.kube(region, "DELETE", path)
        assert status in {200, 202}, answer

    return damage


def kube_patch(region: str, path: str, patch: dict[str, Any]) -> Callable[[Any], None]:
    """Change a Kubernetes object."""

    def damage(world: Any) -> None:
        status, answer = world.kube(region, "PATCH", path, patch)
        assert status == 200, answer

    return damage


def untag(path: str) -> Callable[[Any], None]:
    """Take our tags off an Azure resource, as somebody tidying up would."""

    def damage(world: Any) -> None:
        status, answer = world.resource("PATCH", path, {"tags": {"tidy": "yes"}})
        assert status in {200, 202}, answer

    return damage


def power_off(world: Any) -> None:
    """Switch a machine off, as somebody saving money would."""
    path = "Microsoft.Compute/virtualMachines/crdbmesh-westus-1/powerOff"
    status, answer = world.resource("POST", path)
    assert status in {200, 202}, answer
    view = "Microsoft.Compute/virtualMachines/crdbmesh-westus-1/instanceView"
    deadline = time.monotonic() + 20
    while "PowerState/stopped" not in str(world.resource("GET", view)[1]):
        assert time.monotonic() < deadline, "it stays on"
        time.sleep(0.05)


def on_host(region: str, command: str) -> Callable[[Any], None]:
    """Run a command on a region's first machine as root."""

    def damage(world: Any) -> None:
        mesh = config.mesh(config.read_file(world.home().path / SPEC))
        with world.open(mesh) as run_world:
            run_world.host(mesh.region(region).machines[0]).run(command, sudo=True)

    return damage


def lose_kubeconfig(world: Any) -> None:
    """Lose the kubeconfig in the local folder."""
    world.home().delete("kubeconfigs/westus.yaml")


SYSTEM = "/api/v1/namespaces/kube-system"
CHART = "/var/lib/rancher/k3s/server/static/charts/cilium-1.20.0.tgz"
DAMAGE: dict[str, Callable[[Any], None]] = {
    "eastus/firewall": delete(
        "Microsoft.Network/networkSecurityGroups/crdbmesh-eastus-nsg/securityRules/virtual-network"
    ),
    "westus/firewall": delete("Microsoft.Network/networkSecurityGroups/crdbmesh-westus-nsg/securityRules/ssh"),
    "eastus-westus/peerings": delete(
        "Microsoft.Network/virtualNetworks/crdbmesh-westus/virtualNetworkPeerings/crdbmesh-westus-to-eastus"
    ),
    "westus/network": untag("Microsoft.Network/virtualNetworks/crdbmesh-westus"),
    "westus/node1/address": untag("Microsoft.Network/publicIPAddresses/crdbmesh-westus-1-ip"),
    "westus/node1/nic": untag("Microsoft.Network/networkInterfaces/crdbmesh-westus-1-nic"),
    "westus/node1/data-disk": untag("Microsoft.Compute/disks/crdbmesh-westus-1-data"),
    "westus/availability": untag("Microsoft.Compute/availabilitySets/crdbmesh-westus-set"),
    "westus/node1/machine": power_off,
    "westus/node1/disk": on_host("westus", "rm -r /etc/systemd/system/k3s.service.d"),
    "westus/node1/software": on_host("westus", f"echo older > {CHART}"),
    "eastus/node1/software": on_host("eastus", f"rm {hardening.KUBELET}; echo 1 > /proc/sys/vm/panic_on_oom"),
    "westus/node1/k3s": on_host("westus", "systemctl stop k3s"),
    "westus/kubeconfig": lose_kubeconfig,
    "westus/nodes": kube_patch(
        "westus",
        "/api/v1/nodes/westus-1?fieldManager=crdbmesh-rollout",
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "westus-1"}, "spec": {"unschedulable": True}},
    ),
    "westus/cilium": kube_delete("westus", f"{SYSTEM}/secrets/cilium-clustermesh"),
    "eastus/cilium": kube_patch(
        "eastus",
        f"{SYSTEM}/secrets/sh.helm.release.v1.cilium.v1",
        {"metadata": {"labels": {"status": "pending-install"}}},
    ),
    "westus/namespace": kube_patch(
        "westus",
        "/api/v1/namespaces/westus",
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}},
    ),
    "westus/policies": kube_delete("westus", "/apis/cilium.io/v2/namespaces/westus/ciliumnetworkpolicies/cockroachdb"),
    "mesh/init": kube_delete("eastus", "/api/v1/namespaces/eastus/configmaps/cockroachdb-init"),
    "westus/certificates": kube_delete("westus", "/api/v1/namespaces/westus/secrets/cockroachdb.node"),
    "westus/services": kube_delete("westus", "/api/v1/namespaces/westus/services/cockroachdb"),
    "westus/dns": kube_patch(
        "westus", f"{SYSTEM}/configmaps/coredns-custom", {"data": {"crdbmesh-eastus.server": None}}
    ),
    "westus/cockroachdb": kube_delete("westus", "/apis/apps/v1/namespaces/westus/statefulsets/cockroachdb"),
    "eastus/client": kube_delete("eastus", "/apis/apps/v1/namespaces/eastus/deployments/cockroachdb-client"),
}


def test_a_mesh_comes_up_is_left_alone_is_repaired_and_goes_without_a_trace(world: Any) -> None:
    mesh: Mesh = world.mesh(REGIONS)
    world.home().write(SPEC, config.dump(mesh))

    with world.open(mesh) as run_world:
        steps = catalog.steps(run_world)
        surveyed = plan.survey(plan.order(steps), workers=16)
    assert all(isinstance(found, Gap) for name, found in surveyed.items() if name != "mesh/providers")
    assert world.writes() == 0, "plan wrote something"

    first = world.up(mesh)
    assert not {name: r.detail for name, r in first.items() if not r.outcome.good}
    health = world.status(mesh)
    assert not health.degraded, health
    assert health.figures() == {
        "regions": 2,
        "machines": 2,
        "peerings_connected": 2,
        "nodes_ready": 2,
        "clustermesh_links_ready": 2,
        "zones_resolved": 2,
        "cockroach_nodes_live": 2,
        "cluster_ids": 1,
    }

    writes = world.writes()
    again = world.up(mesh)
    assert {r.outcome for r in again.values()} == {Outcome.HELD}
    assert world.writes() == writes, "a second up wrote something"

    # As the release before left it: neither the folder nor the group records the mesh's birth.
    assert birth.read(world.home()) is None
    planned = run_plan(mesh, world.cloud(), world.home())
    assert (planned.gaps(), planned.refused()) == ({}, {})
    assert world.writes() == writes
    adopted = birth.read(world.home())
    assert adopted is not None
    assert (adopted.subscription_id, adopted.mesh_id) == (world.coordinates["subscription_id"], None)

    for step, damage in DAMAGE.items():
        damage(world)
        repaired = world.up(mesh)
        bad = {name: r.detail for name, r in repaired.items() if not r.outcome.good}
        assert not bad, f"after damage to {step}"
        assert repaired[step].outcome is Outcome.CHANGED, f"{step} did not notice its damage"
        if step == "westus/node1/software":
            assert repaired[step].detail == f"westus-1 has another {CHART}"
    health = world.status(mesh)
    assert not health.degraded, health
    assert health.cluster_ids == tuple(health.cluster_ids[:1])

    ended = down.run_down(mesh.name, world.cloud(), world.home(), notify=lambda _event: None)
    assert ended.left == ()
    assert world.report()["resources"] == 0
    assert world.report()["unknown"] == []
