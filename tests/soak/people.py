"""What other people do where a mesh lives, as the portal and azure-cli let them, and what of theirs must stay."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.doors import Doors, rule

_REGISTERED_S = 60
THEIRS = "strangers"
"""The resource group of other people."""


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that somebody else has set.

    Attributes:
        path: of the resource.
        holds: a part of its body, which must stay in it.
        own: it is a resource of theirs, which outlives the mesh; else it is a property of one of the mesh's.
    """

    path: str
    holds: dict[str, Any]
    own: bool = False


@dataclass
class People:
    """Other people with rights in the mesh's group, and all that they have set.

    Attributes:
        group: the mesh's resource group.
        name: the mesh's name.
        regions: the mesh's regions.
    """

    doors: Doors
    group: str
    name: str
    regions: list[str]
    things: list[Thing] = field(default_factory=list)
    in_the_way: str | None = None
    """The network interface that somebody has put into one of the mesh's subnets."""

    def lost(self, *, after_down: bool = False) -> list[str]:
        """Which of their things are not there as they set them; after `down` only resources of their own count."""
        lost = []
        for thing in self.things:
            if after_down and not thing.own:
                continue
            status, body = self.doors.arm("GET", thing.path)
            if status != 200 or not _contains(body, thing.holds):
                lost.append(f"{thing.path}: {thing.holds}" + ("" if status == 200 else f" ({status})"))
        return lost

    def settle(self) -> None:
        """Register the network provider, and make the group of their own, with a VNet in it."""
        self.doors.arm("POST", "/providers/Microsoft.Network/register")
        deadline = time.monotonic() + _REGISTERED_S
        while self.doors.arm("GET", "/providers/Microsoft.Network")[1]["registrationState"] != "Registered":
            assert time.monotonic() < deadline, "the provider is never registered"
            time.sleep(0.05)
        self.doors.arm("PUT", f"/resourcegroups/{THEIRS}", {"location": "eastus"})
        self.have(THEIRS, "Microsoft.Network/virtualNetworks/theirs", _vnet("172.30.0.0/16"))

    def have(self, group: str, name: str, body: dict[str, Any], *, holds: dict[str, Any] | None = None) -> str:
        """Make a resource of their own; its id."""
        path = f"/resourceGroups/{group}/providers/{name}"
        made = self.doors.put(path, {"location": "eastus", **body})
        self.things.append(Thing(path, holds or {"name": name.rpartition("/")[2]}, own=True))
        return made

    def change(self, path: str, edit: Callable[[dict[str, Any]], None], holds: dict[str, Any]) -> None:
        """Read one of the mesh's resources, change it and write it back, as the portal does, if it is there."""
        status, body = self.doors.arm("GET", path)
        if status != 200 or body["properties"].get("provisioningState") != "Succeeded":
            return
        edit(body)
        status, _ = self.doors.arm("PUT", path, body)
        if status in {200, 201}:
            self.things.append(Thing(path, holds))

    def patch(self, path: str, body: dict[str, Any], holds: dict[str, Any]) -> None:
        """Change one of the mesh's resources by PATCH; nothing if it is absent."""
        if self.doors.arm("GET", path)[0] != 200:
            return
        status, _ = self.doors.arm("PATCH", path, body)
        if status in {200, 202}:
            self.things.append(Thing(path, holds))

    def path(self, kind: str, name: str) -> str:
        """The path of one of the mesh's resources."""
        return f"/resourceGroups/{self.group}/providers/{kind}/{self.name}-{name}"


def tag(people: People, chance: random.Random) -> None:
    """Put a cost centre on something, beside our tags."""
    region = chance.choice(people.regions)
    path = chance.choice(_resources(people, region))
    status, body = people.doors.arm("GET", path)
    if status == 200:
        people.patch(
            path, {"tags": {**(body.get("tags") or {}), "costcentre": "4711"}}, {"tags": {"costcentre": "4711"}}
        )


def untag(people: People, chance: random.Random) -> None:
    """Take our tags off something, and leave a tag of one's own."""
    path = chance.choice(_resources(people, chance.choice(people.regions)))
    people.things = [thing for thing in people.things if thing.path != path or "tags" not in thing.holds]
    people.patch(path, {"tags": {"tidy": "yes"}}, {"tags": {"tidy": "yes"}})


def widen(people: People, chance: random.Random) -> None:
    """Give a VNet a further range with a subnet."""

    def edit(body: dict[str, Any]) -> None:
        body["properties"]["addressSpace"]["addressPrefixes"].append("172.20.0.0/16")
        subnet = {"name": "theirs", "properties": {"addressPrefix": "172.20.1.0/24"}}
        body["properties"]["subnets"].append(subnet)

    path = people.path("Microsoft.Network/virtualNetworks", chance.choice(people.regions))
    holds = {"properties": {"addressSpace": {"addressPrefixes": ["172.20.0.0/16"]}, "subnets": [{"name": "theirs"}]}}
    if not any(thing.path == path and thing.holds == holds for thing in people.things):
        people.change(path, edit, holds)


def guard(people: People, chance: random.Random) -> None:
    """Put a security group and a service endpoint on the machines' subnet."""
    rules = [{"name": "all", "properties": rule("Allow", "*", priority=100)}]
    region = chance.choice(people.regions)
    group = people.have(
        THEIRS,
        f"Microsoft.Network/networkSecurityGroups/corporate-{region}",
        {"location": region, "properties": {"securityRules": rules}},
    )
    endpoint = {"service": "Microsoft.Storage"}

    def edit(body: dict[str, Any]) -> None:
        body["properties"] |= {"networkSecurityGroup": {"id": group}, "serviceEndpoints": [endpoint]}

    path = f"{people.path('Microsoft.Network/virtualNetworks', region)}/subnets/nodes"
    people.change(path, edit, {"properties": {"networkSecurityGroup": {"id": group}, "serviceEndpoints": [endpoint]}})


def forbid(people: People, chance: random.Random) -> None:
    """Add a rule of the company's to a firewall, which opens nothing."""
    group = people.path("Microsoft.Network/networkSecurityGroups", f"{chance.choice(people.regions)}-nsg")
    if people.doors.arm("GET", group)[0] == 200:
        body = {"properties": rule("Deny", "3389", priority=3000)}
        status, _ = people.doors.arm("PUT", f"{group}/securityRules/no-rdp", body)
        if status in {200, 201}:
            holds = {"properties": {"securityRules": [{"name": "no-rdp", "properties": {"access": "Deny"}}]}}
            people.things.append(Thing(group, holds))


def label(people: People, chance: random.Random) -> None:
    """Give a public address a DNS label."""
    region = chance.choice(people.regions)
    settings = {"domainNameLabel": f"db-{chance.randrange(10**6)}-{region}"}

    def edit(body: dict[str, Any]) -> None:
        body["properties"]["dnsSettings"] = dict(settings)

    path = people.path("Microsoft.Network/publicIPAddresses", f"{region}-1-ip")
    if not any(thing.path == path and "dnsSettings" in thing.holds.get("properties", {}) for thing in people.things):
        people.change(path, edit, {"properties": {"dnsSettings": settings}})


def identify(people: People, chance: random.Random) -> None:
    """Give a machine a managed identity."""
    path = people.path("Microsoft.Compute/virtualMachines", f"{chance.choice(people.regions)}-1")
    people.patch(path, {"identity": {"type": "SystemAssigned"}}, {"identity": {"type": "SystemAssigned"}})


def attach(people: People, chance: random.Random) -> None:
    """Give a machine a disk."""
    path = people.path("Microsoft.Compute/virtualMachines", f"{chance.choice(people.regions)}-1")
    disk = {"lun": 7, "name": f"backup-{chance.randrange(10**6)}", "createOption": "Empty", "diskSizeGB": 32}
    status, body = people.doors.arm("GET", path)
    if status == 200 and not body["properties"]["storageProfile"].get("dataDisks"):
        profile = {"properties": {"storageProfile": {"dataDisks": [disk]}}}
        people.patch(path, profile, {"properties": {"storageProfile": {"dataDisks": [{"name": disk["name"]}]}}})


def forge(people: People, chance: random.Random) -> None:
    """Put our tag on things of one's own, in a group of one's own."""
    number = chance.randrange(10**6)
    tags = {"crdbmesh": people.name, "crdbmesh-region": chance.choice(people.regions)}
    name = f"Microsoft.Network/virtualNetworks/forged-{number}"
    people.have(THEIRS, name, {**_vnet("172.31.0.0/16"), "tags": tags}, holds={"tags": tags})


def block(people: People, chance: random.Random) -> None:
    """Put a network interface into one of the mesh's subnets, from another group."""
    if people.in_the_way is not None:
        return
    region = chance.choice(people.regions)
    subnet = f"{people.path('Microsoft.Network/virtualNetworks', region)}/subnets/nodes"
    status, body = people.doors.arm("GET", subnet)
    if status == 200:
        configuration = {"name": "one", "properties": {"subnet": {"id": body["id"]}}}
        people.in_the_way = f"/resourceGroups/{THEIRS}/providers/Microsoft.Network/networkInterfaces/theirs"
        people.doors.put(people.in_the_way, {"location": region, "properties": {"ipConfigurations": [configuration]}})
        people.things.append(Thing(people.in_the_way, {"name": "theirs"}, own=True))


def make_way(people: People) -> None:
    """Take that network interface out again."""
    if people.in_the_way is not None:
        people.doors.delete(people.in_the_way)
        people.things = [thing for thing in people.things if thing.path != people.in_the_way]
        people.in_the_way = None


EVERY: dict[str, Callable[[People, random.Random], None]] = {
    "a tag of theirs": tag,
    "our tags taken off": untag,
    "a further range": widen,
    "a security group on the subnet": guard,
    "a rule of theirs": forbid,
    "a DNS label": label,
    "an identity": identify,
    "a data disk": attach,
    "our tag on theirs": forge,
    "an interface in our subnet": block,
}


def _resources(people: People, region: str) -> list[str]:
    network = "Microsoft.Network"
    return [
        people.path(f"{network}/virtualNetworks", region),
        people.path(f"{network}/networkSecurityGroups", f"{region}-nsg"),
        people.path(f"{network}/publicIPAddresses", f"{region}-1-ip"),
        people.path(f"{network}/networkInterfaces", f"{region}-1-nic"),
        people.path("Microsoft.Compute/virtualMachines", f"{region}-1"),
    ]


def _vnet(prefix: str) -> dict[str, Any]:
    return {"properties": {"addressSpace": {"addressPrefixes": [prefix]}}}


def _contains(body: Any, part: Any) -> bool:
    """Whether a body holds a part: members of mappings, and each entry of a list in some entry."""
    if isinstance(part, dict):
        return isinstance(body, dict) and all(key in body and _contains(body[key], part[key]) for key in part)
    if isinstance(part, list):
        return isinstance(body, list) and all(any(_contains(one, wanted) for one in body) for wanted in part)
    return bool(body == part)
