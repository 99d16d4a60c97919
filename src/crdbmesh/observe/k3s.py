"""Judges the nodes of a region's k3s cluster: joined, and ready for pods."""

from collections.abc import Sequence

from crdbmesh.clients.kube.client import Kube
from crdbmesh.observe import rollouts
from crdbmesh.observe.health import Layer
from crdbmesh.observe.rollouts import Body
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Region


def read_nodes(world: World, region: Region) -> Layer:
    """Read how many of the region's nodes are ready."""
    kube = world.kube(region.name)
    unready = unready_nodes(kube, region, kube.list("v1", "Node"))
    total = len(region.machines)
    return Layer.of("nodes", total - len(unready), total, unready)


def unready_nodes(kube: Kube, region: Region, nodes: Sequence[Body]) -> list[str]:
    """Say which of the region's machines are no node of its cluster, or not ready, and why.

    The kubelet of a node whose agent does not come up says that there is no CNI plugin; the agent's pod says why.
    """
    by_name = {node["metadata"]["name"]: node for node in nodes}
    wanted = [machine.node for machine in region.machines]
    reasons = {name: _not_ready(by_name[name]) for name in wanted if name in by_name}
    agents = kube.list("v1", "Pod", names.KUBE_SYSTEM, labels=names.CILIUM_AGENTS) if any(reasons.values()) else []
    parts = []
    for name in wanted:
        if name not in by_name:
            parts.append(f"node {name} is absent")
        elif reason := reasons[name]:
            own = [pod for pod in agents if pod.get("spec", {}).get("nodeName") == name]
            parts.append(f"node {name} is not ready ({rollouts.stuck_at(own) or reason})")
    return parts


def not_joined(node: Body | None, *, server: bool) -> str | None:
    """Say why a machine is not a member of its cluster yet, a server an etcd voter; None when it is."""
    if node is None:
        return "is not a node of its cluster"
    if not server:
        return None
    if not (voter := rollouts.condition(node, "EtcdIsVoter")):
        return "its etcd member is not known yet"
    not_yet = f"its etcd member is not a voter yet ({voter.get('reason', 'no reason given')})"
    return None if voter.get("status") == "True" else not_yet


def _not_ready(node: Body) -> str | None:
    if not (ready := rollouts.condition(node, "Ready")):
        return "no Ready condition yet"
    return None if rollouts.is_ready(node) else str(ready.get("message") or ready.get("reason") or "no reason given")
