"""THE LIST: every step of a mesh, in reading order. Newcomers start here.

For each region: network, machines, k3s, Cilium, CockroachDB; for each pair of regions: peerings; for the mesh as a
whole: what there is one of. `after` follows the critical path rather than the file: a region's k3s starts when its
first machine is up, Cilium when its first server answers, whatever the other regions do. Only what needs all regions
(links, names, initialisation, proof) waits for them.
"""

from __future__ import annotations

from collections.abc import Iterator

from crdbmesh.engine.step import Step
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Machine, Region
from crdbmesh.steps import cilium, clustermesh, cockroach, dns, initialise, k3s, machines, network, software

STAGES = ("network", "machines", "k3s", "cilium", "dns", "cockroachdb")
"""Columns of the progress display, in order."""

_STAGE_OF = {
    "providers": "network",
    "group": "network",
    "firewall": "network",
    "network": "network",
    "peerings": "network",
    "address": "machines",
    "nic": "machines",
    "machine": "machines",
    "host": "machines",
    "software": "k3s",
    "k3s": "k3s",
    "kubeconfig": "k3s",
    "cilium": "cilium",
    "nodes": "cilium",
    "clustermesh": "cilium",
    "dns": "dns",
    "reach": "dns",
    "namespace": "cockroachdb",
    "certificates": "cockroachdb",
    "services": "cockroachdb",
    "cockroachdb": "cockroachdb",
    "client": "cockroachdb",
    "init": "cockroachdb",
    "proof": "cockroachdb",
}


def steps(world: World) -> list[Step]:
    """Every step of the mesh."""
    return [
        *_groundwork(world),
        *(step for region in world.mesh.all_regions() for step in _region(world, region)),
        *_peerings(world),
        *(step for region in world.mesh.all_regions() for step in _between(world, region)),
        *_database(world),
    ]


def place(step_name: str) -> tuple[str, str]:
    """Return the row and column of a step: its region (or `mesh`) and its stage.

    A pair's step (`eastus-westus/peerings`) is shown with the mesh.
    """
    head, _, tail = step_name.partition("/")
    return ("mesh" if "-" in head else head), _STAGE_OF[tail.rpartition("/")[2]]


def _groundwork(world: World) -> Iterator[Step]:
    yield network.Providers(name="mesh/providers", world=world)
    yield network.Group(name="mesh/group", after=frozenset({"mesh/providers"}), world=world)


def _region(world: World, region: Region) -> Iterator[Step]:
    at = region.name
    grounded = frozenset({"mesh/group"})
    yield network.Firewall(name=f"{at}/firewall", after=grounded, world=world, region=region)
    yield network.Network(name=f"{at}/network", after=grounded, world=world, region=region)
    for machine in region.machines:
        yield from _machine(world, region, machine)
    yield k3s.Kubeconfig(name=f"{at}/kubeconfig", after=frozenset({f"{at}/node1/k3s"}), world=world, region=region)
    yield cilium.Cilium(name=f"{at}/cilium", after=frozenset({f"{at}/kubeconfig"}), world=world, region=region)
    joined = frozenset(f"{at}/node{machine.number}/k3s" for machine in region.machines)
    yield cilium.Nodes(name=f"{at}/nodes", after=joined | {f"{at}/cilium"}, world=world, region=region)
    yield cockroach.Namespace(name=f"{at}/namespace", after=frozenset({f"{at}/kubeconfig"}), world=world, region=region)
    yield cockroach.Certificates(
        name=f"{at}/certificates", after=frozenset({f"{at}/namespace"}), world=world, region=region
    )
    yield cockroach.Services(name=f"{at}/services", after=frozenset({f"{at}/namespace"}), world=world, region=region)
    yield dns.Forwarders(name=f"{at}/dns", after=frozenset({f"{at}/nodes"}), world=world, region=region)
    yield cockroach.Pods(
        name=f"{at}/cockroachdb",
        after=frozenset({f"{at}/nodes", f"{at}/certificates", f"{at}/services"}),
        world=world,
        region=region,
    )


def _machine(world: World, region: Region, machine: Machine) -> Iterator[Step]:
    at = f"{region.name}/node{machine.number}"
    yield machines.Address(
        name=f"{at}/address", after=frozenset({"mesh/group"}), world=world, region=region, machine=machine
    )
    yield machines.Nic(
        name=f"{at}/nic",
        after=frozenset({f"{region.name}/firewall", f"{region.name}/network", f"{at}/address"}),
        world=world,
        region=region,
        machine=machine,
    )
    yield machines.VirtualMachine(
        name=f"{at}/machine", after=frozenset({f"{at}/nic"}), world=world, region=region, machine=machine
    )
    yield machines.HostReady(
        name=f"{at}/host", after=frozenset({f"{at}/machine"}), world=world, region=region, machine=machine
    )
    yield software.Software(
        name=f"{at}/software", after=frozenset({f"{at}/host"}), world=world, region=region, machine=machine
    )
    yield k3s.Member(
        name=f"{at}/k3s",
        after=frozenset({f"{at}/software"}) | _joins_after(region, machine),
        world=world,
        region=region,
        machine=machine,
    )


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
    """A step per pair. Azure wants one writer per VNet at a time, so a pair holds both of its VNets."""
    for one, other in world.mesh.pairs():
        networks = frozenset({f"{one.name}/network", f"{other.name}/network"})
        yield network.Peerings(
            name=f"{one.name}-{other.name}/peerings",
            after=networks,
            exclusive=networks,
            world=world,
            pair=(one, other),
        )


def _between(world: World, region: Region) -> Iterator[Step]:
    everyone = world.mesh.all_regions()
    resolving = {f"{other.name}/{thing}" for other in everyone for thing in ("dns", "cockroachdb")}
    if len(everyone) > 1:
        peered = {f"{one.name}-{other.name}/peerings" for one, other in world.mesh.pairs() if region in (one, other)}
        nodes = {f"{other.name}/nodes" for other in everyone}
        links = f"{region.name}/clustermesh"
        yield clustermesh.Links(name=links, after=frozenset(peered | nodes), world=world, region=region)
        resolving.add(links)
    yield cockroach.Reach(name=f"{region.name}/reach", after=frozenset(resolving), world=world, region=region)


def _database(world: World) -> Iterator[Step]:
    everyone = world.mesh.all_regions()
    first = everyone[0]
    yield cockroach.Client(
        name=f"{first.name}/client",
        after=frozenset({f"{first.name}/nodes", f"{first.name}/certificates", f"{first.name}/services"}),
        world=world,
        region=first,
    )
    safe = {f"{region.name}/cockroachdb" for region in everyone} | {f"{first.name}/client"}
    safe |= {f"{region.name}/reach" for region in everyone}
    yield initialise.Initialised(name="mesh/init", after=frozenset(safe), world=world)
    yield initialise.Proof(name="mesh/proof", after=frozenset({"mesh/init"}), world=world)
