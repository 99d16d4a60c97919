"""Judges a region's firewall: the mesh's own rules, and what other people's rules let in beyond them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import Any

from crdbmesh.clients.azure import kinds
from crdbmesh.clients.azure.session import Session
from crdbmesh.desired import Body
from crdbmesh.desired import azure as desired
from crdbmesh.errors import RefusedError
from crdbmesh.observe import resource
from crdbmesh.observe.resource import Observed
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh, Region

KEEP_OR_PRUNE = "`crdbmesh up --prune-rules` removes these rules, `crdbmesh up --keep-rules` keeps them"
_SOURCES = ("sourceAddressPrefix", "sourceAddressPrefixes")
_TARGETS = ("destinationAddressPrefix", "destinationAddressPrefixes")
_PORTS = ("destinationPortRange", "destinationPortRanges")
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")


def firewall(world: World, region: Region) -> Observed:
    """Judge a region's network security group: our rules, and none that lets in more.

    Other rules of other people stay. One that lets in more is missing nothing when the run keeps such rules; one that
    it prunes is left out of what was found, if it still lets in what it did when that was decided.
    """
    name = names.firewall(world.mesh.name, region.name)
    read = kinds.NSG.find(world.session, world.group, name)
    found = without_cut(read)
    wanted = desired.firewall(world.mesh, region, _taken(world.mesh, found))
    seen = resource.judge(world, kinds.NSG, name, found, wanted)
    if found is not read:
        seen = seen.with_missing(f"{seen.title}: a drill has the region cut off (by {cut_by(read)})")
    wider = find_wider(world.mesh, found)
    if not wider or world.keeps_rules or seen.refusal is not None:
        return seen
    said = f"{seen.title} lets in more than the spec: {'; '.join(wider.values())}"
    decided = {(rule.lower(), let_in) for rule, let_in in world.prunes.items()}
    if not {(rule.lower(), let_in) for rule, let_in in _by_id(found, wider).items()} <= decided:
        return replace(seen.with_missing(said), undecided=RefusedError(said, hint=KEEP_OR_PRUNE))
    rules = [rule for rule in _rules(found) if rule["name"] not in wider]
    pruned = {**(found or {}), "properties": {**(found or {})["properties"], "securityRules": rules}}
    return replace(seen.with_missing(said), found=pruned, removes=True)


def find_all_wider(world: World) -> dict[str, str]:
    """Find the rules that let in more than the spec in all of the mesh's firewalls: what each lets in, by its id."""
    ours = {names.firewall(world.mesh.name, region.name).lower() for region in world.mesh.all_regions()}
    found: dict[str, str] = {}
    for nsg in kinds.NSG.list(world.session, world.group):
        if str(nsg["name"]).lower() in ours:
            found |= _by_id(nsg, find_wider(world.mesh, nsg))
    return found


def find_wider(mesh: Mesh, nsg: Mapping[str, Any] | None) -> dict[str, str]:
    """Find other people's rules of a firewall that let in more than the spec: what each lets in, by its name."""
    found = {}
    for rule in _rules(nsg):
        properties = rule["properties"]
        if rule["name"] not in desired.rules(mesh) and _is_wider(mesh, properties):
            sources = ", ".join(both(properties, *_SOURCES)) or "a security group"
            ports = ", ".join(both(properties, *_PORTS))
            found[str(rule["name"])] = f"{rule['name']} ({properties.get('protocol')} {ports} from {sources})"
    return found


def _by_id(nsg: Mapping[str, Any] | None, wider: Mapping[str, str]) -> dict[str, str]:
    return {f"{(nsg or {})['id']}/securityRules/{name}": said for name, said in wider.items()}


def cut_by(nsg: Mapping[str, Any] | None) -> str | None:
    """Return how a drill has cut off the region of a security group; None when none has."""
    tag = ((nsg or {}).get("tags") or {}).get(names.TAG_DRILL)
    return tag or ("firewall" if any(rule["name"] in desired.CUT for rule in _rules(nsg)) else None)


def without_cut(nsg: Body | None) -> Body | None:
    """Return a security group without what a drill left on it."""
    if nsg is None or cut_by(nsg) is None:
        return nsg
    properties, tags = nsg["properties"], nsg.get("tags") or {}
    rules = [rule for rule in _rules(nsg) if rule["name"] not in desired.CUT]
    kept = {name: value for name, value in tags.items() if name != names.TAG_DRILL}
    return {**nsg, "tags": kept, "properties": {**properties, "securityRules": rules}}


def match(nsg: Mapping[str, Any], direction: str, source: str, target: str, protocol: str, port: int) -> Body | None:
    """Return the rule by which Azure judges a packet between two machines of the mesh; None for its default rules."""
    for rule in sorted(_rules(nsg), key=lambda rule: int(rule["properties"]["priority"])):
        properties = rule["properties"]
        ends = ((source, both(properties, *_SOURCES)), (target, both(properties, *_TARGETS)))
        if (
            properties["direction"].lower() == direction
            and properties["protocol"].lower() in ("*", protocol)
            and all(any(_names(prefix, address) for prefix in prefixes) for address, prefixes in ends)
            and any(ports == "*" or _covers(ports, str(port)) for ports in both(properties, *_PORTS))
        ):
            return rule
    return None


def _names(prefix: str, address: str) -> bool:
    return prefix.lower() in ("*", "virtualnetwork") or _is_in(address, [prefix])


def _is_wider(mesh: Mesh, properties: Mapping[str, Any]) -> bool:
    if (properties["access"].lower(), properties["direction"].lower()) != ("allow", "inbound"):
        return False
    sources, ports = both(properties, *_SOURCES), both(properties, *_PORTS)
    let_in_anyway = {"azureloadbalancer"} if mesh.layout > 1 else {"azureloadbalancer", "virtualnetwork"}
    networks = [region.ranges.subnet if mesh.layout > 1 else region.ranges.vnet for region in mesh.all_regions()]
    if all(source.lower() in let_in_anyway or _is_in(source, [*networks, desired.PLATFORM]) for source in sources):
        # Also when there are none: members of application security groups are in the VNet.
        return False
    is_named = "*" in mesh.sources or all(_is_in(source, mesh.sources) for source in sources)
    is_open = all(any(_covers(ours, port) for ours in desired.ports(mesh).values()) for port in ports)
    # An application in a peered network is let in to a Service, and to no machine.
    is_application = all(_is_in(source, _PRIVATE) for source in sources)
    is_application = is_application and all(_covers(desired.NODE_PORTS, port) for port in ports)
    return not (((is_named and is_open) or is_application) and properties["protocol"].lower() == "tcp")


def _is_in(source: str, networks: Iterable[Any]) -> bool:
    try:
        return any(IPv4Network(source).subnet_of(IPv4Network(network)) for network in networks)
    except ValueError:
        return False


def _covers(ours: str, theirs: str) -> bool:
    first, _, last = ours.partition("-")
    low, _, high = theirs.partition("-")
    return low.isdigit() and int(first) <= int(low) and int(high or low) <= int(last or first)


def _rules(nsg: Mapping[str, Any] | None) -> list[Body]:
    return (nsg or {}).get("properties", {}).get("securityRules") or []


def _taken(mesh: Mesh, nsg: Mapping[str, Any] | None) -> set[int]:
    others = [rule["properties"] for rule in _rules(nsg) if rule["name"] not in desired.rules(mesh)]
    return {int(properties["priority"]) for properties in others if properties["direction"].lower() == "inbound"}


@dataclass(frozen=True, slots=True)
class SSHRule:
    """The SSH rule of a region's firewall, and whether one for NodePorts is beside it."""

    port: int
    sources: tuple[str, ...]
    node_ports: bool


def find_ssh_rule(session: Session, group: str, mesh: str, region: str) -> SSHRule | None:
    """Read the rule for SSH of a region's firewall; None when there is no such rule or firewall."""
    return ssh_rule(kinds.NSG.find(session, group, names.firewall(mesh, region)))


def ssh_rule(nsg: Body | None) -> SSHRule | None:
    """Return a firewall's rule for SSH, or None."""
    for rule in _rules(nsg):
        properties = rule.get("properties", {})
        port = next(iter(both(properties, *_PORTS)), "")
        if rule.get("name") == "ssh" and port.isdigit():
            is_beside = any(one.get("name") == "node-ports" for one in _rules(nsg))
            return SSHRule(int(port), tuple(both(properties, *_SOURCES)), is_beside)
    return None


def both(properties: Mapping[str, Any], single: str, plural: str) -> list[str]:
    """Return the values of a field that ARM may answer as one value or as a list."""
    return [str(value) for value in (properties.get(single), *(properties.get(plural) or [])) if value]
