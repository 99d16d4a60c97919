"""Checks that existing resources do not contradict the spec in a way that cannot be changed in place.

They compare the spec with the mesh's resources in Azure, and with the spec that the last `up` kept. These cannot
change: in Azure the range of a VNet with machines in it, and a resource's location and group; in k3s `cluster-cidr` and
`service-cidr`; in Cilium a cluster's id and name, which are in every identity and every peer. For machines, see
`machines.py`.
"""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from crdbmesh.checks import machines
from crdbmesh.checks.facts import Facts
from crdbmesh.checks.machines import AGAIN, Comparison, other_sizes
from crdbmesh.desired import cockroach
from crdbmesh.errors import CloudError, ConfigError, CredentialError, Finding
from crdbmesh.local.folder import SPEC
from crdbmesh.observe import belongings, gate, inventory, network, serving
from crdbmesh.observe.serving import Running
from crdbmesh.run.world import World
from crdbmesh.spec import addressing, names
from crdbmesh.spec import load as config
from crdbmesh.spec.mesh import Mesh, Region
from crdbmesh.spec.versions import why_not

_GATE = "wait until `crdbmesh status` is healthy and the DB Console shows no under-replicated range"
BY_HAND = {
    "k3s": f"as its release notes say: install its binary on one machine, restart k3s there, {_GATE}, then the next",
    "cilium": f"as its release notes say: upgrade the chart in one region, {_GATE}, then the next",
    "cockroachdb": f"as its release notes say: set the image of one region's StatefulSet, {_GATE}, then the next",
}
"""The procedure by hand for another version of a program, by its name in the spec."""


def existing(facts: Facts) -> Iterator[Finding]:
    """Yield every contradiction between the spec and existing resources, with its reason and remedy.

    A read that fails is a finding too: to continue without it could lose data; but a bad login or file is raised.
    """
    try:
        yield from _contradictions(facts)
    except CredentialError:
        raise
    except CloudError as error:
        reason = f"cannot tell whether existing resources fit the spec: {error}"
        yield Finding("existing", facts.mesh.name, reason, error.hint or "run it again a little later")


def _contradictions(facts: Facts) -> Iterator[Finding]:
    mesh = facts.mesh
    yield from _strangers(facts)
    found = inventory.find(facts.session, belongings.of(facts.world), vnets=facts.vnets(), vms=facts.vms())
    if not found.resources and not found.machines:
        return
    compared = Comparison(facts.world, mesh, found, _kept(facts.world))
    yield from _folder(compared)
    elsewhere = list(_group(compared))
    yield from elsewhere
    if elsewhere:
        # In the wrong group nothing would be found, and everything would seem to be new.
        return
    for check in (_first_region, _gone_regions, _plans, _encryption, machines.changed, _disturbing):
        yield from check(compared)


def _strangers(facts: Facts) -> Iterator[Finding]:
    """Find resources in a shared group that have our names and are not ours: `down` would delete them."""
    mesh = facts.mesh
    if mesh.group is None:
        return
    wanted = set(_named(mesh))
    ownership = belongings.of(facts.world)
    for resource in facts.content():
        place = (str(resource.get("type", "")).rpartition("/")[2].lower(), str(resource.get("name", "")).lower())
        if place in wanted and not (ownership.is_proven and ownership.owns(resource)):
            what = f"{resource['name']} ({resource['type']})"
            yield Finding("group", mesh.group_name, *ownership.foreign(what, resource))


def _named(mesh: Mesh) -> Iterator[tuple[str, str]]:
    """Yield the type and name of every resource of a mesh."""
    yield "networksecuritygroups", names.lease(mesh.name)
    for region in mesh.all_regions():
        yield "virtualnetworks", names.network(mesh.name, region.name)
        yield "networksecuritygroups", names.firewall(mesh.name, region.name)
        for machine in region.machines:
            yield "virtualmachines", names.machine(mesh.name, region.name, machine.number)
            yield "networkinterfaces", names.nic(mesh.name, region.name, machine.number)
            yield "publicipaddresses", names.address(mesh.name, region.name, machine.number)


def _folder(compared: Comparison) -> Iterator[Finding]:
    folder, machines_there = compared.world.folder, compared.found.machines.keys()
    if lost := inventory.describe_lost_secrets(compared.mesh, folder, machines_there):
        reason, remedy = lost
        there = f"{len(machines_there)} of the mesh's machines are in Azure, made with secrets that are missing here"
        yield Finding("folder", str(folder.path), f"{there}: {reason}", remedy)


def _group(compared: Comparison) -> Iterator[Finding]:
    bodies = [*compared.found.vnets.values(), *compared.found.machines.values()]
    groups = sorted({belongings.group_of(body) for body in bodies})
    wanted = compared.mesh.group_name
    if not groups or wanted.lower() in {group.lower() for group in groups}:
        return
    reason = f"the mesh's resources are in {', '.join(groups)}, and crdbmesh does not move them"
    yield Finding("group", wanted, reason, f"put `group: {groups[0]}` into the spec, or run `crdbmesh down` first")


def _first_region(compared: Comparison) -> Iterator[Finding]:
    first = _first(compared)
    listed = [region.name for region in compared.mesh.regions]
    if first is None or first == listed[0] or first not in listed:
        return
    order = ",".join([first, *(name for name in listed if name != first)])
    there = "its lease and its database's client pod are there, and the database is initialised there"
    remedy = f"list it first, and new regions at the end: {_suggested(compared) or order}"
    yield Finding("regions[0]", listed[0], f"the mesh's first region is {first}: {there}", remedy)


def _gone_regions(compared: Comparison) -> Iterator[Finding]:
    listed = [region.name for region in compared.mesh.regions]
    new = [name for name in listed if name not in compared.found.regions]
    for name in compared.found.regions:
        if name in listed:
            continue
        there = [names.machine(compared.mesh.name, name, number) for number in compared.found.numbers(name)]
        if not there:
            reason = "the mesh has resources in this region, but no machines, and the spec does not list it"
            remedy = f"list it again, or delete {_network(compared.mesh, name)} (they hold no data)"
            yield Finding("regions", name, reason, remedy)
            continue
        renamed = f"; {', '.join(new)} is new, and a region cannot be renamed or moved" if new else ""
        reason = f"the mesh has machines there ({', '.join(there)}), and the spec does not list it{renamed}"
        yield Finding("regions", name, reason, _leaving(compared.mesh, name, _first(compared)))


def _leaving(mesh: Mesh, name: str, first: str | None) -> str:
    if name == first:
        return f"list it again. To remove the first region: {AGAIN}"
    decommission = cockroach.decommission(mesh, first)
    return (
        "list it again. To remove it: add its successor at the end of the list, run `up`; take it out of multi-region "
        f"databases (ALTER DATABASE … DROP REGION); decommission its nodes (`{decommission}`), wait until they hold no "
        f"replica; delete its VMs, then {_network(mesh, name)}; then remove it from the spec, with vnet, pods, "
        "services and cluster_id of the regions after it written out"
    )


def _network(mesh: Mesh, region: str) -> str:
    group = f"resource group {mesh.group_name}"
    return f"VNet {names.network(mesh.name, region)} and {names.firewall(mesh.name, region)} in {group}"


def _encryption(compared: Comparison) -> Iterator[Finding]:
    """Find a change of how pods' traffic is encrypted: agents that have it and agents that have not do not meet."""
    kept, wanted = compared.kept, compared.mesh.network.encryption
    if kept is not None and compared.found.machines and kept.network.encryption != wanted:
        reason = f"the mesh was made with {kept.network.encryption}, and while agents change, regions would not meet"
        yield Finding("network.encryption", wanted, reason, f"put {kept.network.encryption} back, or {AGAIN}")


def _plans(compared: Comparison) -> Iterator[Finding]:
    """Find changes of existing regions' address plan and Cilium ids, which follow from their place in the list."""
    for index, region in enumerate(compared.mesh.all_regions()):
        if not (changes := list(_changes(compared, region))):
            continue
        order = _suggested(compared)
        back = f"put new regions at the end of the list: {order}" if order else "put its part of the spec back"
        reason = f"it exists already, and would change: {'; '.join(changes)}"
        yield Finding(f"regions[{index}]", region.name, reason, f"{back}. To change it on purpose: {AGAIN}")


def _changes(compared: Comparison, region: Region) -> Iterator[str]:
    if vnet := compared.found.vnets.get(region.name):
        yield from (f"{what} {found} to {wanted}" for what, found, wanted in network.find_moved_ranges(vnet, region))
    before = compared.before(region.name)
    if before is None or not compared.found.numbers(region.name):
        return
    pairs = {
        "pods": (before.ranges.pods, region.ranges.pods),
        "services": (before.ranges.services, region.ranges.services),
        "Cilium cluster id": (before.cluster_id, region.cluster_id),
    }
    yield from (f"{what} {found} to {wanted}" for what, (found, wanted) in pairs.items() if found != wanted)


def _first(compared: Comparison) -> str | None:
    """Return the mesh's first region, which holds its lease, or None."""
    return compared.found.first_region or (compared.kept.regions[0].name if compared.kept else None)


def _kept(world: World) -> Mesh | None:
    if world.folder.read(SPEC) is None:
        return None
    try:
        return config.mesh(config.read_kept(world.folder.path / SPEC))
    except ConfigError:
        return None


def _suggested(compared: Comparison) -> str | None:
    """Return an order of regions in which existing ones keep their ranges; None if no other order does that."""
    mesh, places = compared.mesh, {}
    derived = [
        str(addressing.derive(mesh.network.base, at).vnet) for at in range(addressing.capacity(mesh.network.base))
    ]
    for name, vnet in compared.found.vnets.items():
        if at := [derived.index(prefix) for prefix in network.prefixes_of(vnet) if prefix in derived]:
            places[name] = at[0]
    listed = [region.name for region in mesh.regions]
    if sorted(places.values()) != list(range(len(compared.found.vnets))) or not set(places) <= set(listed):
        return None
    there = sorted(places, key=lambda name: places[name])
    order = [*there, *(name for name in listed if name not in places)]
    return ",".join(order) if order != listed else None


def _disturbing(compared: Comparison) -> Iterator[Finding]:
    """Yield every change under a serving database that is no rollout, and every rollout that it cannot bear."""
    world = compared.world
    regions = [region for region in compared.mesh.all_regions() if compared.found.numbers(region.name)]
    if not regions or not serving.is_initialised(world):
        return
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="serving") as pool:
        read = list(pool.map(lambda region: serving.read(world, region, compared.kept), regions))
    found = [running for running in read if running is not None]
    yield from _versions(compared, found)
    yield from _outages(compared, found, sum(region.replicas for region in regions))


def _outages(compared: Comparison, found: list[Running], nodes: int) -> Iterator[Finding]:
    """Find what restarts a database of too few nodes to go on without one."""
    if nodes >= gate.LEAST or compared.world.allows_outage:
        return
    image = compared.mesh.versions.cockroachdb
    changes = [f"{name} is resized" for _, name, _ in other_sizes(compared)]
    changes += [
        f"the database pods of {running.region} are replaced"
        for running in found
        if running.replaced or running.versions.get("cockroachdb", {image}) != {image}
    ]
    if changes:
        of = "a single node" if nodes == 1 else f"{nodes} nodes"
        reason = f"the database has {of}, and does not serve while {'; '.join(changes)}"
        yield Finding("cockroach", "a restart", reason, "pass --allow-outage at a time when that does no harm")


def _versions(compared: Comparison, found: list[Running]) -> Iterator[Finding]:
    for program, wanted in compared.mesh.versions.named().items():
        others: dict[str, list[str]] = defaultdict(list)
        for running in found:
            for version in running.versions.get(program, set()) - {wanted, ""}:
                others[version].append(running.region)
        for version, regions in others.items():
            if (why := why_not(program, version, wanted)) is None:
                continue
            reason = f"{', '.join(regions)} runs {version}, and {why}"
            remedy = f"put {version} into the spec; or, {BY_HAND[program]}; then `up`"
            yield Finding(f"versions.{program}", wanted, reason, remedy)
