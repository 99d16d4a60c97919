"""A mesh's spec from its tags, for when the local folder is lost: enough to say how it is doing, not to go on with it.

Regions, machines, ranges, sizes and who is let in are read from Azure. What is only inside the machines (the ranges of
pods and services, Cilium's ids) is not: free blocks and places in the list stand for it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.cloud import Cloud
from crdbmesh.commands import specs
from crdbmesh.errors import ConfigError, CrdbmeshError
from crdbmesh.local.folder import LocalFolder, list_meshes
from crdbmesh.observe import firewall, inventory, network
from crdbmesh.observe.belongings import Ownership
from crdbmesh.observe.inventory import Inventory
from crdbmesh.spec import addressing, birth, names
from crdbmesh.spec import load as config
from crdbmesh.spec.mesh import Mesh

_SPARE = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")


def known(name: str | None, cloud: Cloud, root: Path) -> tuple[Mesh, bool]:
    """Return the mesh meant, as the last `up` kept its spec or reconstructed from its tags, and whether it was that.

    It is a ConfigError if none is named and several are known here, if neither here nor in Azure is any (those found by
    their tags are listed), and if Azure cannot be asked.
    """
    kept = list_meshes(root)
    meant = specs.name_of(name, root) if name is not None or kept else None
    if meant in kept:
        return specs.kept(meant, root), False
    unknown = f"no {'such ' if meant else ''}mesh is known here ({root})"
    try:
        return _from_azure(meant, cloud, root, unknown), True
    except ConfigError:
        raise
    except CrdbmeshError as error:
        reason = f"{unknown}, and Azure cannot be asked: {error}"
        raise ConfigError.of("name", meant or "(absent)", reason, error.hint or "try again later") from error


def _from_azure(meant: str | None, cloud: Cloud, root: Path, unknown: str) -> Mesh:
    with Session(cloud) as session:
        ownership = Ownership(session, LocalFolder(root / meant), meant) if meant else None
        found = inventory.find(session, ownership) if ownership else None
        if found is not None and found.regions:
            return reconstruct(session, found)
        reason = f"{unknown}, and no region of it is in the subscription" if meant else unknown
        remedy = _listed(session) or "give the name of one, or make one: crdbmesh up"
        raise ConfigError.of("name", meant or "(absent)", reason, remedy)


def reconstruct(session: Session, found: Inventory) -> Mesh:
    """Return the spec of what was found; raise CloudError when Azure cannot be read."""
    group = found.groups[0] if found.groups else found.mesh
    regions = sorted(found.regions, key=lambda region: _order(found, region))
    free = _free(IPv4Network(prefix) for vnet in found.vnets.values() for prefix in network.prefixes_of(vnet))
    sizes = Counter(str(vm["properties"]["hardwareProfile"]["vmSize"]) for vm in found.machines.values())
    size = sizes.most_common(1)[0][0] if sizes else None
    document: dict[str, Any] = {
        "name": found.mesh,
        "regions": [_region(found, region, free) for region in regions],
        "network": {"gateway_transit": any(_transits(found))},
        "machines": {"size": size} if size else {},
    }
    if group.lower() != found.mesh.lower():
        document["group"] = group
    for region in regions:
        rule = firewall.find_ssh_rule(session, group, found.mesh, region)
        if rule is not None:
            document["ssh"] = {"port": rule.port}
            document["network"]["node_ports"] = rule.node_ports
            document["allow_from"] = [source for source in rule.sources if _is_source(source)] or ["own"]
            break
    bodies = (*found.vnets.values(), *found.machines.values())
    layouts = {(one.get("tags") or {}).get(names.TAG_LAYOUT) for one in bodies}
    document["layout"] = next((int(tag) for tag in layouts if tag and re.fullmatch(r"[1-9]", tag)), 1)
    return config.mesh(birth.fill(document, birth.BEFORE) if document["layout"] == 1 else document)


def _is_source(text: str) -> bool:
    """Return True when a spec may have the source: it is no service tag, such as `Internet`, nor an IPv6 range."""
    try:
        return text == "*" or bool(IPv4Network(text))
    except ValueError:
        return False


def _region(found: Inventory, region: str, free: Iterator[IPv4Network]) -> dict[str, Any]:
    numbers = [number for at, number in found.places if at == region]
    document: dict[str, Any] = {
        "name": region,
        "machines": max(numbers, default=1),
        "pods": str(next(free)),
        "services": str(next(free)),
    }
    sizes = {
        str(vm["properties"]["hardwareProfile"]["vmSize"]) for (at, _), vm in found.machines.items() if at == region
    }
    if len(sizes) == 1:
        document["size"] = sizes.pop()
    vnet = found.vnets.get(region)
    subnet = network.subnet_of(vnet) if vnet is not None else None
    prefixes = [IPv4Network(prefix) for prefix in network.prefixes_of(vnet)] if vnet is not None else []
    if not prefixes:
        return {**document, "vnet": str(next(free))}
    holding = [prefix for prefix in prefixes if subnet and IPv4Network(subnet).subnet_of(prefix)]
    document["vnet"] = str((holding or prefixes)[0])
    return {**document, "subnet": subnet} if holding else document


def _order(found: Inventory, region: str) -> tuple[int, int, str]:
    """The first region is where the lease is; the others follow by their addresses, as the address plan gives them."""
    vnet = found.vnets.get(region)
    prefixes = [IPv4Network(prefix) for prefix in network.prefixes_of(vnet)] if vnet is not None else []
    first = int(min(prefixes).network_address) if prefixes else 2**32
    return (int(region != found.first_region), first, region)


def _transits(found: Inventory) -> Iterator[bool]:
    for vnet in found.vnets.values():
        for peering in vnet.get("properties", {}).get("virtualNetworkPeerings") or []:
            yield bool(peering.get("properties", {}).get("allowGatewayTransit"))


def _free(taken: Iterable[IPv4Network]) -> Iterator[IPv4Network]:
    """Blocks that no VNet overlaps."""
    networks = list(taken)
    for base in map(IPv4Network, _SPARE):
        for block in base.subnets(new_prefix=addressing.BLOCK):
            if not any(block.overlaps(network) for network in networks):
                yield block


def _listed(session: Session) -> str | None:
    meshes = inventory.list_meshes(session)
    listed = ", ".join(f"{name} ({', '.join(regions)})" for name, regions in meshes.items())
    return f"by their tags there are in the subscription: {listed}; name one" if listed else None
