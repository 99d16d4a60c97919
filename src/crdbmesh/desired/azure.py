"""The Azure resources of a mesh as ARM's REST bodies: pure functions from the spec.

Shapes follow Microsoft's published types for network 2025-09-01 and compute 2026-04-01. Nothing here talks to Azure.
"""

import base64
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from crdbmesh import __version__
from crdbmesh.desired import Body
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine, Mesh, Region

NODE_PORTS = "30000-32767"
KUBE_PORT = 6443
RULES = {"ssh": 100, "kubernetes-api": 200, "node-ports": 300, "mesh": 400, "virtual-network": 4000}
"""The names and priorities of our rules in each network security group; between the last two is room for others'."""
PLATFORM = "168.63.129.16/32"
"""The address of a machine's host: probes of load balancers come from it.

Azure's tag VirtualNetwork has it too, so a rule that denies the tag has to be preceded by one that allows it; DHCP, DNS
and metadata pass whatever rules say (Microsoft Learn, "Virtual network service tags", "Network security groups",
"Azure platform considerations").
"""
CUT = {"crdbmesh-drill-in": "Inbound", "crdbmesh-drill-out": "Outbound"}
"""The names and directions of the rules by which a drill cuts a region off."""
PROVIDERS = ("Microsoft.Network", "Microsoft.Compute")
"""The resource providers that the subscription must be registered for."""


def group_id(subscription: str, group: str) -> str:
    """Return a resource group's id."""
    return f"/subscriptions/{subscription}/resourceGroups/{group}"


def resource_id(subscription: str, group: str, kind: str, *path: str) -> str:
    """Return a resource's id: `kind` like `Microsoft.Network/virtualNetworks`, `path` its and its children's names."""
    return "/".join([group_id(subscription, group), "providers", kind, *path])


def tags(mesh: Mesh, region: str | None = None) -> dict[str, str]:
    """Return the tags of everything that belongs to the mesh."""
    own = {names.TAG: mesh.name, names.TAG_VERSION: __version__}
    if mesh.layout > 1:
        own[names.TAG_LAYOUT] = str(mesh.layout)
    if region is not None:
        own[names.TAG_REGION] = region
    return {**mesh.tags, **own}


def _regional(mesh: Mesh, region: str, **fields: Any) -> Body:
    """Return a resource of the mesh in a region, with its other fields."""
    return {"location": region, "tags": tags(mesh, region), **fields}


def ports(mesh: Mesh) -> dict[str, str]:
    """Return the port, or the range of ports, that each rule opens to `allow_from`, by the rule's name."""
    opened = {"ssh": str(mesh.ssh.port), "kubernetes-api": str(KUBE_PORT)}
    return {**opened, "node-ports": NODE_PORTS} if mesh.network.node_ports else opened


def opened(mesh: Mesh) -> str:
    """Return in words what is open to `allow_from`."""
    return "SSH, the Kubernetes API and NodePorts" if mesh.network.node_ports else "SSH and the Kubernetes API"


def rules(mesh: Mesh) -> dict[str, Body]:
    """Return our rules, without their priorities, by name.

    What `ports` says is open to `allow_from`. Azure's default rules then let in its tag VirtualNetwork, which is also
    peered hubs and what is on-premises behind them: only the mesh's own subnets are allowed, and the tag is denied.
    """
    found = {name: _rule(mesh.sources, port) for name, port in ports(mesh).items()}
    if mesh.layout > 1:
        own = [*(str(region.ranges.subnet) for region in mesh.all_regions()), PLATFORM]
        found["mesh"] = _rule(own, "*", protocol="*")
        found["virtual-network"] = _rule(["VirtualNetwork"], "*", protocol="*", access="Deny")
    return found


def firewall(mesh: Mesh, region: Region, taken: Collection[int] = ()) -> Body:
    """Return the network security group with our rules.

    Priorities that other people's rules have `taken` are passed over: Azure wants each once.
    """
    found = []
    for name, properties in rules(mesh).items():
        priority = next(number for number in count(RULES[name]) if number not in taken)
        found.append({"name": name, "properties": {"priority": priority, **properties}})
    return _regional(mesh, region.name, properties={"securityRules": found})


def cut(mesh: Mesh, region: Region, there: Iterable[Body]) -> list[Body]:
    """Return the rules that deny everything between a region and the VNets of the others, beside those that are there.

    What is within the region goes on, and so do SSH and the Kubernetes API from outside.
    """
    found = []
    for name, direction in CUT.items():
        taken = {one["properties"]["priority"] for one in there if one["properties"]["direction"] == direction}
        ours, theirs = ("destination", "source") if direction == "Inbound" else ("source", "destination")
        properties = {
            "priority": next(number for number in count(100) if number not in taken),
            "direction": direction,
            "access": "Deny",
            "protocol": "*",
            "sourcePortRange": "*",
            "destinationPortRange": "*",
            f"{ours}AddressPrefix": "*",
            f"{theirs}AddressPrefixes": [str(other.ranges.vnet) for other in mesh.others(region)],
        }
        found.append({"name": name, "properties": properties})
    return found


def network(mesh: Mesh, region: Region) -> Body:
    """Return the VNet with its one subnet, a private one: machines reach out through their own public IPs."""
    private = {"addressPrefix": str(region.ranges.subnet), "defaultOutboundAccess": False}
    properties = {
        "addressSpace": {"addressPrefixes": [str(region.ranges.vnet)]},
        "subnets": [{"name": names.SUBNET, "properties": private}],
    }
    return _regional(mesh, region.name, properties=properties)


def peering(mesh: Mesh, remote: Region, subscription: str) -> Body:
    """Return one directed peering, towards `remote`'s VNet."""
    vnet = names.network(mesh.name, remote.name)
    remote_id = resource_id(subscription, mesh.group_name, "Microsoft.Network/virtualNetworks", vnet)
    return {
        "properties": {
            "remoteVirtualNetwork": {"id": remote_id},
            "allowVirtualNetworkAccess": True,
            "allowForwardedTraffic": True,
            "allowGatewayTransit": mesh.network.gateway_transit,
            "useRemoteGateways": False,
        }
    }


def public_address(mesh: Mesh, machine: Machine) -> Body:
    """Return a machine's public IP; also its way out, since the subnet has none."""
    properties = {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"}
    return _regional(mesh, machine.region, sku={"name": "Standard", "tier": "Regional"}, properties=properties)


def nic(mesh: Mesh, machine: Machine, subscription: str, *, accelerated: bool = False) -> Body:
    """Return a machine's network interface: a fixed private address, its public IP, its region's firewall."""
    group = mesh.group_name

    def network_id(kind: str, *path: str) -> dict[str, str]:
        return {"id": resource_id(subscription, group, f"Microsoft.Network/{kind}", *path)}

    public = names.address(mesh.name, machine.region, machine.number)
    configuration = {
        "name": names.IP_CONFIGURATION,
        "properties": {
            "primary": True,
            "privateIPAddress": str(machine.address),
            "privateIPAllocationMethod": "Static",
            "subnet": network_id("virtualNetworks", names.network(mesh.name, machine.region), "subnets", names.SUBNET),
            "publicIPAddress": {**network_id("publicIPAddresses", public), "properties": {"deleteOption": "Delete"}},
        },
    }
    firewall_id = network_id("networkSecurityGroups", names.firewall(mesh.name, machine.region))
    properties: Body = {"ipConfigurations": [configuration], "networkSecurityGroup": firewall_id}
    if accelerated:
        properties["enableAcceleratedNetworking"] = True
    return _regional(mesh, machine.region, properties=properties)


def virtual_machine(
    mesh: Mesh,
    machine: Machine,
    subscription: str,
    *,
    zone: str | None,
    login_key: str,
    cloud_init: str,
    disks: Sequence[Body] = (),
    trusted: bool = False,
) -> Body:
    """Return a machine's VM, with a public key line to log in with. Its OS disk and its NIC go when it goes."""
    publisher, offer, sku, version = mesh.machines.image.split(":")
    user = mesh.ssh.user
    nic_name = names.nic(mesh.name, machine.region, machine.number)
    nic_id = resource_id(subscription, mesh.group_name, "Microsoft.Network/networkInterfaces", nic_name)
    properties = {
        "hardwareProfile": {"vmSize": machine.size},
        "storageProfile": {
            "imageReference": {"publisher": publisher, "offer": offer, "sku": sku, "version": version},
            "osDisk": {
                "name": names.disk(mesh.name, machine.region, machine.number, "os"),
                "createOption": "FromImage",
                "caching": "ReadWrite",
                "diskSizeGB": mesh.machines.disk_gib,
                "deleteOption": "Delete",
                "managedDisk": {"storageAccountType": mesh.machines.disk_type},
            },
            **({"dataDisks": list(disks)} if disks else {}),
        },
        "osProfile": {
            "computerName": machine.node,
            "adminUsername": user,
            "customData": base64.b64encode(cloud_init.encode()).decode(),
            "linuxConfiguration": {
                "disablePasswordAuthentication": True,
                "ssh": {"publicKeys": [{"path": f"/home/{user}/.ssh/authorized_keys", "keyData": login_key}]},
            },
        },
        "networkProfile": {
            "networkInterfaces": [{"id": nic_id, "properties": {"primary": True, "deleteOption": "Delete"}}]
        },
        "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
    }
    if trusted:
        secure = {"secureBootEnabled": True, "vTpmEnabled": True}
        properties["securityProfile"] = {"securityType": "TrustedLaunch", "uefiSettings": secure}
    if zone is None and mesh.layout > 1:
        own = names.availability_set(mesh.name, machine.region)
        at = resource_id(subscription, mesh.group_name, "Microsoft.Compute/availabilitySets", own)
        properties["availabilitySet"] = {"id": at}
    return _regional(mesh, machine.region, properties=properties, **({"zones": [zone]} if zone is not None else {}))


def changeable(mesh: Mesh, machine: Machine, disks: Sequence[Body] = ()) -> Body:
    """Return the update of an existing VM: its tags, size and data disks; Azure changes nothing else of it."""
    properties: Body = {"hardwareProfile": {"vmSize": machine.size}}
    if disks:
        properties["storageProfile"] = {"dataDisks": list(disks)}
    return {"tags": tags(mesh, machine.region), "properties": properties}


def availability_set(mesh: Mesh, region: str, domains: int) -> Body:
    """Return the availability set of a region, aligned with managed disks, with as many fault domains as it offers."""
    properties = {"platformFaultDomainCount": domains, "platformUpdateDomainCount": 5}
    return _regional(mesh, region, sku={"name": "Aligned"}, properties=properties)


def can_be_trusted(mesh: Mesh, size: Mapping[str, str]) -> bool:
    """Return True when a VM can have Trusted Launch, by the capabilities of its size, and its image is known to.

    Microsoft Learn, "Trusted Launch for Azure virtual machines": generation 2, and a size that does not exclude it.
    """
    is_known = mesh.machines.image.startswith("Canonical:ubuntu-24_04-lts:server:")
    generation_2 = "V2" in size.get("HyperVGenerations", "").split(",")
    is_excluded = size.get("TrustedLaunchDisabled") == "True" or size.get("CpuArchitectureType", "x64") != "x64"
    return mesh.layout > 1 and is_known and generation_2 and not is_excluded


def capabilities(sku: Mapping[str, Any]) -> dict[str, str]:
    """Return what an entry of ARM's SKU list says that a size can do, by name."""
    return {str(one.get("name")): str(one.get("value")) for one in sku.get("capabilities") or []}


def usable_zones(sku: Body, location: str) -> tuple[str, ...]:
    """Return the zones for a VM size, from its entry in ARM's SKU list: those offered less those restricted."""
    offered: set[str] = set()
    for info in sku.get("locationInfo") or []:
        if str(info.get("location", "")).lower() == location.lower():
            offered.update(info.get("zones") or [])
    for restriction in sku.get("restrictions") or []:
        if str(restriction.get("type", "")).lower() == "zone":
            offered.difference_update((restriction.get("restrictionInfo") or {}).get("zones") or [])
    return tuple(sorted(offered))


def _rule(sources: Sequence[str], ports: str, protocol: str = "Tcp", access: str = "Allow") -> Body:
    source = {"sourceAddressPrefix": sources[0]} if len(sources) == 1 else {"sourceAddressPrefixes": list(sources)}
    if "*" in sources:
        source = {"sourceAddressPrefix": "*"}
    return {
        "direction": "Inbound",
        "access": access,
        "protocol": protocol,
        **source,
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": ports,
    }
