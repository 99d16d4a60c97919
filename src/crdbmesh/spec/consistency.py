"""The consistency of a spec: values that are valid alone, but do not fit each other or cannot work on a machine."""

from collections.abc import Iterator
from ipaddress import IPv4Network, collapse_addresses

from crdbmesh.errors import Finding
from crdbmesh.spec import addressing, names
from crdbmesh.spec.fields import OWN
from crdbmesh.spec.mesh import Mesh

_WORDS = ("*", OWN)
_RESERVED = tuple(
    IPv4Network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32", "224.0.0.0/4", "240.0.0.0/4")
)

_TAKEN_PORTS = (
    (2379, 2382),
    (4240, 4245),
    (6443, 6444),
    (9234, 9234),
    (9878, 9893),
    (9962, 9964),
    (10010, 10010),
    (10248, 10259),
    (30000, 32767),
)
"""TCP ports of etcd, k3s and Cilium on a machine, and NodePorts, as first and last of each range (docs.k3s.io and
docs.cilium.io, "Requirements")."""


def find_problems(mesh: Mesh) -> Iterator[Finding]:
    """Yield every inconsistency of a spec."""
    yield from _duplicates(mesh)
    derived_all = all(spec.vnet and spec.pods and spec.services for spec in mesh.regions)
    room = addressing.capacity(mesh.network.base)
    if not derived_all and len(mesh.regions) > room:
        remedy = "give a wider base such as 10.0.0.0/8, or vnet, pods and services for each region"
        reason = f"has room for {room} regions, the spec has {len(mesh.regions)}"
        yield Finding("network.base", str(mesh.network.base), reason, remedy)
        return
    yield from _range_problems(mesh)
    port, reason = mesh.ssh.port, "k3s or Cilium listens there on every machine"
    if any(first <= port <= last for first, last in _TAKEN_PORTS):
        yield Finding("ssh.port", str(port), reason, "choose another, such as 22")
    if mesh.layout > 1:
        yield from _disk_problems(mesh)
    yield from _database_problems(mesh)
    yield from _source_problems(mesh)
    yield from _tag_problems(mesh)


def _disk_problems(mesh: Mesh) -> Iterator[Finding]:
    gib, wal, database = mesh.machines.data_disk.size_gib, mesh.cockroach.wal_failover_gib, mesh.cockroach
    counts = [spec.machines or mesh.machines.per_region for spec in mesh.regions]
    pods = max(-(-(database.replicas or min(count, 3)) // count) for count in counts)
    if gib is not None and gib * 85 // 100 < (need := pods * database.storage_gib):
        reason = (
            f"does not fit: the volumes of a machine take {need} GiB, and a disk of {gib} GiB holds {gib * 85 // 100}"
        )
        remedy = f"set `machines.data_disk: {{size_gib: {need * 5 // 4}}}`"
        yield Finding("cockroach.storage_gib", str(database.storage_gib), reason, remedy)
    if 0 < wal < 25 or (wal and pods > 1):
        reason = "needs 25 GiB at least, and is one for each machine, which must not have two pods"
        yield Finding("cockroach.wal_failover_gib", str(wal), reason, "choose 32, or 0 for none")


def _database_problems(mesh: Mesh) -> Iterator[Finding]:
    if factor := mesh.cockroach.replication_factor:
        most = (factor - 1) // 2 if len(mesh.regions) > 2 else factor
        room = sum(min(region.replicas, most) for region in mesh.all_regions())
        if room < factor:
            reason = f"takes {factor} nodes, no majority of them in one region, and the regions have room for {room}"
            yield Finding("cockroach.replication_factor", str(factor), reason, "choose less, or add regions or pods")
    if mesh.database is None:
        return
    regions, primary = [spec.name for spec in mesh.regions], mesh.database.primary
    if mesh.database.survive == "region" and len(regions) < 3:
        reason = f"takes three regions, and the spec has {len(regions)}"
        yield Finding("database.survive", "region", reason, "add regions, or choose zone")
    if primary is not None and primary not in regions:
        yield Finding("database.primary", primary, "is not a region of the spec", f"choose of {', '.join(regions)}")


def _duplicates(mesh: Mesh) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, spec in enumerate(mesh.regions):
        if spec.name in seen:
            yield Finding(f"regions[{index}].name", spec.name, "is listed twice", "list each region once")
        seen.add(spec.name)
    ids: dict[int, str] = {}
    for index, (spec, cluster_id) in enumerate(zip(mesh.regions, mesh.cluster_ids(), strict=True)):
        field, remedy = f"regions[{index}].cluster_id", "give every region its own cluster_id, 1 to 255"
        if cluster_id > 255:
            yield Finding(field, str(cluster_id), "Cilium allows 1 to 255", "use fewer regions")
        elif cluster_id in ids:
            yield Finding(field, str(cluster_id), f"is also the id of {ids[cluster_id]}", remedy)
        ids.setdefault(cluster_id, spec.name)


def _range_problems(mesh: Mesh) -> Iterator[Finding]:
    used: list[tuple[str, IPv4Network]] = []
    for index, spec in enumerate(mesh.regions):
        ranges = mesh.ranges(index)
        count = spec.machines or mesh.machines.per_region
        at = f"regions[{index}]"
        subnet, pods = ranges.subnet, ranges.pods
        if not subnet.subnet_of(ranges.vnet):
            reason = f"is not inside the VNet {ranges.vnet}"
            yield Finding(f"{at}.subnet", str(subnet), reason, "choose one inside it")
        elif subnet.num_addresses - 5 < count:
            reason = f"has no room for {count} machines (Azure keeps 5 addresses)"
            yield Finding(f"{at}.subnet", str(subnet), reason, "choose a wider subnet")
        if pods.prefixlen > 24 or 2 ** (24 - pods.prefixlen) < count:
            yield Finding(f"{at}.pods", str(pods), f"has no /24 for each of {count} nodes", "choose a wider range")
        if not 12 <= ranges.services.prefixlen <= 24:
            yield Finding(f"{at}.services", str(ranges.services), "must be a /12 to /24", "choose such a range")
        for field, block in ranges.named().items():
            for reserved in filter(block.overlaps, _RESERVED):
                reason = f"overlaps {reserved}, which is reserved"
                yield Finding(f"{at}.{field}", str(block), reason, "choose another")
            for other, taken in used:
                if block.overlaps(taken):
                    yield Finding(f"{at}.{field}", str(block), f"overlaps {other} = {taken}", "choose disjoint ranges")
            used.append((f"{at}.{field}", block))


def _source_problems(mesh: Mesh) -> Iterator[Finding]:
    reason, remedy = "opens the firewall to everyone", "write '*' if you mean that"
    for index, source in enumerate(mesh.allow_from):
        if source not in _WORDS and IPv4Network(source).prefixlen == 0:
            yield Finding(f"allow_from[{index}]", source, reason, remedy)
    ranges = [IPv4Network(source) for source in mesh.allow_from if source not in _WORDS]
    if [block.prefixlen for block in collapse_addresses(ranges)] == [0] and all(block.prefixlen for block in ranges):
        yield Finding("allow_from", ", ".join(mesh.allow_from), f"{reason}, taken together", remedy)


def _tag_problems(mesh: Mesh) -> Iterator[Finding]:
    for tag in mesh.tags:
        if tag.lower().startswith(names.TAG):
            reason = "tags starting with 'crdbmesh' are crdbmesh's own"
            yield Finding(f"tags.{tag}", mesh.tags[tag], reason, "rename the tag")
        elif not 1 <= len(tag) <= 512 or len(mesh.tags[tag]) > 256 or set(tag) & set("<>%&\\?/"):
            reason = "Azure allows names of 1 to 512 characters without < > % & \\ ? / and values of up to 256"
            yield Finding(f"tags.{tag}"[:80], mesh.tags[tag][:80], reason, "rename or shorten the tag")
    if len(mesh.tags) > 40:
        yield Finding("tags", str(len(mesh.tags)), "Azure allows 50 tags, of which crdbmesh keeps 10", "remove some")
