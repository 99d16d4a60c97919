"""Judges the machines: public addresses, network interfaces and VMs in Azure, and the nodes of k3s clusters on them."""

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from crdbmesh.clients.azure import compare, kinds
from crdbmesh.clients.kube.client import Kube
from crdbmesh.desired import azure as desired
from crdbmesh.desired import backup, disks
from crdbmesh.errors import KubeError
from crdbmesh.observe import disks as observed
from crdbmesh.observe import resource, rollouts
from crdbmesh.observe.health import Layer
from crdbmesh.observe.resource import Observed
from crdbmesh.observe.rollouts import Body
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine, Region

_FAST = "AcceleratedNetworkingEnabled"


def address(world: World, machine: Machine) -> Observed:
    """Judge a machine's public IP."""
    name = names.address(world.mesh.name, machine.region, machine.number)
    return resource.look(world, kinds.PUBLIC_IP, name, desired.public_address(world.mesh, machine))


def nic(world: World, machine: Machine) -> Observed:
    """Judge a machine's network interface."""
    name, subscription = names.nic(world.mesh.name, machine.region, machine.number), world.session.subscription_id
    found = kinds.NIC.find(world.session, world.group, name)
    # Chosen at birth: on an interface in use it would stop the machine.
    fast = found is None and world.mesh.layout > 1 and world.capabilities(machine).get(_FAST) == "True"
    wanted = desired.nic(world.mesh, machine, subscription, accelerated=fast)
    return resource.judge(world, kinds.NIC, name, found, wanted)


def availability_set(world: World, region: Region) -> Observed | None:
    """Judge the availability set of a region's machines; None where all of them are in zones."""
    if all(world.zone_of(machine) is not None for machine in region.machines):
        return None
    name = names.availability_set(world.mesh.name, region.name)
    found = kinds.AVAILABILITY_SET.find(world.session, world.group, name)
    have = ((found or {}).get("properties") or {}).get("platformFaultDomainCount")
    wanted = desired.availability_set(world.mesh, region.name, int(have or world.fault_domains(region.name)))
    return resource.judge(world, kinds.AVAILABILITY_SET, name, found, wanted)


def vm(world: World, machine: Machine) -> Observed:
    """Judge a machine's VM: there, of the spec's size, with the mesh's tags and its data disks, and running.

    What Azure cannot change of a VM (its zone, image, keys) is as it was made.
    """
    name = names.machine(world.mesh.name, machine.region, machine.number)
    found = kinds.VM.find(world.session, world.group, name, expand="instanceView")
    attached = disks.attached(world.mesh, machine, world.session.subscription_id)
    wanted = desired.changeable(world.mesh, machine, attached)
    seen = resource.presence(world, kinds.VM, name, found, wanted)
    if found is None or seen.cause is not None:
        return seen
    if differences := compare.differences(resource.judged(wanted), found):
        return seen.with_missing(f"{seen.title}: {'; '.join(differences)}")
    if backup.lacking_identity(world.mesh, world.session.subscription_id, found):
        return seen.with_missing(f"{seen.title} lacks the managed identity of backups")
    return seen.with_missing(None if is_running(found) else f"{seen.title} is {power_of(found)}, not running")


def other_size(vm: Mapping[str, Any], machine: Machine) -> str | None:
    """Return the size of a VM when it is another than its machine's."""
    size = str(vm.get("properties", {}).get("hardwareProfile", {}).get("vmSize", ""))
    return size if size and size.lower() != machine.size.lower() else None


def is_running(vm: Mapping[str, Any]) -> bool:
    """Return True when a VM, read with its instance view, runs."""
    return power_of(vm) == "running"


def power_of(vm: Mapping[str, Any]) -> str:
    """Return the power state of a VM that was read with its instance view: `running`, `deallocated`."""
    view = vm.get("properties", {}).get("instanceView") or {}
    for status in view.get("statuses") or []:
        kind, _, value = str(status.get("code", "")).lower().partition("/")
        if kind == "powerstate":
            return value
    return "in an unknown power state"


def accepts_key(vm: Mapping[str, Any], public: str) -> bool:
    """Return True when a VM was made with a login key, given as a public key line; its comment does not count."""
    profile = (vm.get("properties") or {}).get("osProfile") or {}
    keys = ((profile.get("linuxConfiguration") or {}).get("ssh") or {}).get("publicKeys") or []
    return any(str(key.get("keyData", "")).split()[:2] == public.split()[:2] for key in keys)


def read_machines(world: World, region: Region) -> Layer:
    """Read how a region's machines are doing: each with its VM, its interface, its address and its disks."""
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="machines") as pool:
        seen = list(pool.map(functools.partial(_parts, world), region.machines))
    causes = [next((part.cause for part in parts if part.cause is not None), None) for parts in seen]
    wrong = [cause for cause in causes if cause is not None]
    absent = all(parts[0].found is None for parts in seen)
    return Layer.of("machines", causes.count(None), len(seen), wrong, absent=absent)


def _parts(world: World, machine: Machine) -> list[Observed]:
    kept = [observed.disk(world, machine, role) for role in disks.roles(world.mesh)]
    return [vm(world, machine), nic(world, machine), address(world, machine), *kept]


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


def other_k3s(world: World, machine: Machine) -> str | None:
    """Return the version of k3s that a node runs when it is another than the spec's; None too when it does not tell."""
    try:
        node = world.kube(machine.region).find("v1", "Node", machine.node) or {}
    except KubeError:
        return None
    running = str(node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion") or "")
    return running if running not in {"", world.mesh.versions.k3s.version} else None


def _not_ready(node: Body) -> str | None:
    if not (ready := rollouts.condition(node, "Ready")):
        return "no Ready condition yet"
    return None if rollouts.is_ready(node) else str(ready.get("message") or ready.get("reason") or "no reason given")
