"""What people and the weather do to a mesh from outside, through the doors of its world."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.doors import Doors, rule

NETWORK = "/resourceGroups/soak/providers/Microsoft.Network"
MACHINES = "/resourceGroups/soak/providers/Microsoft.Compute/virtualMachines"
SYSTEM = "/api/v1/namespaces/kube-system"

Damage = Callable[[Doors, random.Random, list[str]], None]


def delete_peering(doors: Doors, chance: random.Random, regions: list[str]) -> None:
    """Delete one half of a pair."""
    if len(regions) > 1:
        one, other = chance.sample(regions, 2)
        doors.delete(f"{NETWORK}/virtualNetworks/soak-{one}/virtualNetworkPeerings/soak-{one}-to-{other}")


def delete_rule(doors: Doors, chance: random.Random, regions: list[str]) -> None:
    """Delete a firewall rule."""
    name = chance.choice(["ssh", "kubernetes-api", "mesh", "virtual-network"])
    doors.delete(f"{NETWORK}/networkSecurityGroups/soak-{chance.choice(regions)}-nsg/securityRules/{name}")


def open_everything(doors: Doors, chance: random.Random, regions: list[str]) -> None:
    """Open the firewall."""
    properties = rule("Allow", "*", priority=110)
    group = f"{NETWORK}/networkSecurityGroups/soak-{chance.choice(regions)}-nsg"
    doors.arm("PUT", f"{group}/securityRules/hurry", {"properties": properties})


def untag(doors: Doors, chance: random.Random, regions: list[str]) -> None:
    """Take the tags off something."""
    region = chance.choice(regions)
    path = chance.choice(
        [f"{NETWORK}/virtualNetworks/soak-{region}", f"{NETWORK}/publicIPAddresses/soak-{region}-1-ip"]
    )
    doors.arm("PATCH", path, {"tags": {"tidy": "yes"}})


def restart_machine(doors: Doors, chance: random.Random, regions: list[str]) -> None:
    """Restart a machine."""
    doors.arm("POST", f"{MACHINES}/soak-{chance.choice(regions)}-1/restart")


def power_off(doors: Doors, chance: random.Random, regions: list[str]) -> None:
    """Switch a machine off."""
    doors.arm("POST", f"{MACHINES}/soak-{chance.choice(regions)}-1/powerOff")


def kube_delete(path: str) -> Damage:
    """Delete a Kubernetes object; `{region}` stands for the region's name."""

    def damage(doors: Doors, chance: random.Random, regions: list[str]) -> None:
        region = chance.choice(regions)
        if (doors.home / "kubeconfigs" / f"{region}.yaml").exists():
            doors.kube(region, "DELETE", path.format(region=region))

    return damage


def kube_patch(path: str, patch: dict[str, Any]) -> Damage:
    """Change a Kubernetes object."""

    def damage(doors: Doors, chance: random.Random, regions: list[str]) -> None:
        region = chance.choice(regions)
        if (doors.home / "kubeconfigs" / f"{region}.yaml").exists():
            doors.kube(region, "PATCH", path.format(region=region), patch)

    return damage


def lose_kubeconfig(doors: Doors, chance: random.Random, regions: list[str]) -> None:
    """Lose a kubeconfig."""
    (doors.home / "kubeconfigs" / f"{chance.choice(regions)}.yaml").unlink(missing_ok=True)


EVERY: dict[str, Damage] = {
    "a peering deleted": delete_peering,
    "a firewall rule deleted": delete_rule,
    "the firewall opened": open_everything,
    "tags taken off": untag,
    "a machine restarted": restart_machine,
    "a machine switched off": power_off,
    "a kubeconfig lost": lose_kubeconfig,
    "forwarders deleted": kube_delete(f"{SYSTEM}/configmaps/coredns-custom"),
    "CoreDNS scaled down": kube_patch(
        "/apis/apps/v1/namespaces/kube-system/deployments/coredns", {"spec": {"replicas": 0}}
    ),
    "the Cilium agents deleted": kube_delete("/apis/apps/v1/namespaces/kube-system/daemonsets/cilium"),
    "the clustermesh secret deleted": kube_delete(f"{SYSTEM}/secrets/cilium-clustermesh"),
    "the Cilium install broken off": kube_patch(
        f"{SYSTEM}/secrets/sh.helm.release.v1.cilium.v1", {"metadata": {"labels": {"status": "pending-install"}}}
    ),
    "the node certificates deleted": kube_delete("/api/v1/namespaces/{region}/secrets/cockroachdb.node"),
    "the service deleted": kube_delete("/api/v1/namespaces/{region}/services/cockroachdb"),
    "the stateful set deleted": kube_delete("/apis/apps/v1/namespaces/{region}/statefulsets/cockroachdb"),
    "a database pod deleted": kube_delete("/api/v1/namespaces/{region}/pods/cockroachdb-0"),
    "the init marker deleted": kube_delete("/api/v1/namespaces/{region}/configmaps/cockroachdb-init"),
    "the namespace's labels taken off": kube_patch(
        "/api/v1/namespaces/{region}", {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": None}}}
    ),
}
