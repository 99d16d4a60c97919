"""THE LIST: every step of a mesh, in reading order. Newcomers start here.

For each region: network, machines, k3s, Cilium, CockroachDB; for each pair of regions: peerings; for the mesh as a
whole: what there is one of. `after` follows the critical path rather than the file: a region's k3s starts when its
first machine is up, Cilium when its first server answers, whatever the other regions do. Only what needs all regions
(links, names, initialisation, proof) waits for them.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from crdbmesh.desired.disks import roles
from crdbmesh.desired.placement import is_placed
from crdbmesh.engine.step import Step
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Machine, Region
from crdbmesh.steps import cilium, cockroach, database, disks, initialise, k3s, machines, network, placement
from crdbmesh.steps.backup import Identity, Schedule, Storage

_STEPS = {
    "network": {"providers": 26, "group": 4, "firewall": 10, "network": 16, "peerings": 20},
    "machines": {
        "identity": 10,
        "storage": 40,
        "address": 6,
        "nic": 4,
        "availability": 2,
        "data-disk": 5,
        "wal-disk": 5,
        "machine": 66,
        "host": 4,
        "disk": 6,
    },
    "k3s": {"software": 27, "k3s": 26, "kubeconfig": 1},
    "cilium": {"cilium": 58, "nodes": 19, "clustermesh": 33},
    "dns": {"dns": 5, "reach": 4},
    "cockroachdb": {
        "namespace": 1,
        "policies": 2,
        "certificates": 1,
        "services": 1,
        "cockroachdb": 30,
        "client": 15,
        "init": 8,
        "proof": 8,
        "placement": 60,
        "license": 2,
        "backup": 3,
        "database": 4,
    },
}
_STAGE_OF = {step: stage for stage, named in _STEPS.items() for step in named}
USUAL_S = {step: float(seconds) for named in _STEPS.values() for step, seconds in named.items()}
"""The time, in seconds, that a step usually takes on Azure to make something new, by the last word of its name."""

_ROLLOUT_S = {"machine": 300.0, "k3s": 90.0, "cockroachdb": 150.0}
"""The time, in seconds, that a step usually takes for each thing that it restarts, the health gate included."""
STAGES = tuple(_STEPS)
"""Columns of the progress display, in order."""


def steps(world: World) -> list[Step]:
    """Every step of the mesh."""
    return [
        _step(network.Providers, "mesh/providers", world=world),
        _step(network.Group, "mesh/group", "mesh/providers", world=world),
        *_backing(world),
        *(step for region in world.mesh.all_regions() for step in _region(world, region)),
        *_peerings(world),
        *(step for region in world.mesh.all_regions() for step in _between(world, region)),
        *_database(world),
    ]


def rollout_s(step_name: str) -> float:
    """Return the seconds that a step usually takes for each thing that it restarts."""
    return _ROLLOUT_S.get(step_name.rpartition("/")[2], 0.0)


def place(step_name: str) -> tuple[str, str]:
    """Return the row and column of a step: its region (or `mesh`) and its stage.

    A pair's step (`eastus-westus/peerings`) is shown with the mesh.
    """
    head, _, tail = step_name.partition("/")
    return ("mesh" if "-" in head else head), _STAGE_OF[tail.rpartition("/")[2]]


def _step(kind: Callable[..., Step], name: str, *after: str, **more: Any) -> Step:
    return kind(name=name, after=frozenset(after), **more)


def _region(world: World, region: Region) -> Iterator[Step]:
    at, step = region.name, functools.partial(_step, world=world, region=region)
    yield step(network.Firewall, f"{at}/firewall", "mesh/group")
    yield step(network.Network, f"{at}/network", "mesh/group")
    if roles(world.mesh):
        yield step(machines.AvailabilitySet, f"{at}/availability", "mesh/group")
    for machine in region.machines:
        yield from _machine(world, region, machine)
    yield step(k3s.Kubeconfig, f"{at}/kubeconfig", f"{at}/node1/k3s")
    yield step(cilium.Cilium, f"{at}/cilium", f"{at}/kubeconfig")
    joined = [f"{at}/node{machine.number}/k3s" for machine in region.machines]
    yield step(cilium.Nodes, f"{at}/nodes", f"{at}/cilium", *joined)
    yield step(cockroach.Namespace, f"{at}/namespace", f"{at}/kubeconfig")
    yield step(cockroach.Certificates, f"{at}/certificates", f"{at}/namespace")
    placed = [f"{at}/node{machine.number}/machine" for machine in region.machines] if roles(world.mesh) else []
    yield step(cockroach.Services, f"{at}/services", f"{at}/namespace", *placed, *_identity(world))
    yield step(k3s.Forwarders, f"{at}/dns", f"{at}/nodes")
    before = [f"{at}/{thing}" for thing in ("nodes", "certificates", "services")]
    if world.mesh.layout > 1:
        yield step(cilium.Policies, f"{at}/policies", f"{at}/nodes", f"{at}/namespace")
        before.append(f"{at}/policies")
    yield step(cockroach.Pods, f"{at}/cockroachdb", *before)


def _backing(world: World) -> Iterator[Step]:
    for identity in _identity(world):
        yield _step(Identity, identity, "mesh/group", world=world)
        yield _step(Storage, "mesh/storage", identity, world=world)


def _identity(world: World) -> tuple[str, ...]:
    return ("mesh/identity",) if world.mesh.backup is not None else ()


def _machine(world: World, region: Region, machine: Machine) -> Iterator[Step]:
    at = f"{region.name}/node{machine.number}"
    step = functools.partial(_step, world=world, region=region, machine=machine)
    yield step(machines.Address, f"{at}/address", "mesh/group")
    yield step(machines.Nic, f"{at}/nic", f"{region.name}/firewall", f"{region.name}/network", f"{at}/address")
    kept = {role: f"{at}/{role.name}-disk" for role in roles(world.mesh)}
    apart = [f"{region.name}/availability"] if kept else []
    for role, name in kept.items():
        yield step(disks.DataDisk, name, "mesh/group", role=role)
    yield step(machines.VirtualMachine, f"{at}/machine", f"{at}/nic", *kept.values(), *apart, *_identity(world))
    yield step(machines.HostReady, f"{at}/host", f"{at}/machine")
    yield step(machines.Software, f"{at}/software", f"{at}/host")
    ready = [f"{at}/software", *([f"{at}/disk"] if kept else [])]
    if kept:
        yield step(disks.Mounted, f"{at}/disk", f"{at}/host")
    yield step(k3s.Member, f"{at}/k3s", *ready, *_joins_after(region, machine))


def _joins_after(region: Region, machine: Machine) -> frozenset[str]:
    """Servers join one after the other (etcd takes one learner at a time); agents as soon as there is an API.

    Every server's certificate names all servers' public addresses, so those come first.
    """
    addresses = {f"{region.name}/node{server.number}/address" for server in region.servers}
    if machine == region.servers[0]:
        return frozenset(addresses)
    before = machine.number - 1 if machine in region.servers else region.servers[0].number
    return frozenset({*addresses, f"{region.name}/kubeconfig", f"{region.name}/node{before}/k3s"})


def _peerings(world: World) -> Iterator[Step]:
    """A step per pair. Azure wants one writer per VNet at a time, so a pair holds both of its VNets.

    Each region's firewall lets in the other's subnet before anything needs it.
    """
    for one, other in world.mesh.pairs():
        nets = frozenset({f"{one.name}/network", f"{other.name}/network"})
        name = f"{one.name}-{other.name}/peerings"
        walls = (f"{one.name}/firewall", f"{other.name}/firewall")
        yield _step(network.Peerings, name, *nets, *walls, exclusive=nets, world=world, pair=(one, other))


def _between(world: World, region: Region) -> Iterator[Step]:
    everyone = world.mesh.all_regions()
    step = functools.partial(_step, world=world, region=region)
    resolving = {f"{other.name}/{thing}" for other in everyone for thing in ("dns", "cockroachdb")}
    if len(everyone) > 1:
        peered = {f"{one.name}-{other.name}/peerings" for one, other in world.mesh.pairs() if region in (one, other)}
        nodes = {f"{other.name}/nodes" for other in everyone}
        yield step(cilium.Links, f"{region.name}/clustermesh", *peered, *nodes)
        resolving.add(f"{region.name}/clustermesh")
    yield step(cockroach.Reach, f"{region.name}/reach", *resolving)


def _database(world: World) -> Iterator[Step]:
    everyone = world.mesh.all_regions()
    clients = world.mesh.client_regions()
    for region in clients:
        needed = (f"{region.name}/{thing}" for thing in ("nodes", "certificates", "services"))
        yield _step(cockroach.Client, f"{region.name}/client", *needed, world=world, region=region)
    safe = [f"{region.name}/{thing}" for region in everyone for thing in ("cockroachdb", "reach")]
    safe += [f"{region.name}/client" for region in clients]
    yield _step(initialise.Initialised, "mesh/init", *safe, world=world)
    yield _step(initialise.Proof, "mesh/proof", "mesh/init", world=world)
    if is_placed(world.mesh):
        yield _step(placement.Placement, "mesh/placement", "mesh/proof", world=world)
    if world.mesh.license_file is not None:
        yield _step(database.License, "mesh/license", "mesh/proof", world=world)
    if world.mesh.backup is not None:
        yield _step(Schedule, "mesh/backup", "mesh/proof", "mesh/storage", world=world)
    if world.mesh.database is not None:
        yield _step(database.Database, "mesh/database", "mesh/proof", world=world, wanted=world.mesh.database)
