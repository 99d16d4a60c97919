"""Cilium's network policies: who reaches the database, what it reaches, and that no pod reaches Azure's metadata.

They name clusters, since a policy that names none is about its own cluster only, and pods rather than addresses, since
ranges of addresses do not match pods (docs.cilium.io, "Network Policy" of Cluster Mesh, and "Layer 3 Policies"). A
policy that only denies says `enableDefaultDeny`, or all else would be denied too. Exec and port-forward enter a pod by
its kubelet and are not asked.
"""

from typing import Any

from crdbmesh.desired import LABELS, Object, kube_object
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh, Region

CLIENT_LABEL = "crdbmesh/client"
"""The label, `true`, of a namespace whose pods may use the database, in any of the mesh's clusters."""

_CLUSTER = "io.cilium.k8s.policy.cluster"
_NAMESPACE = "io.kubernetes.pod.namespace"
_METADATA = "169.254.169.254/32"
_WIRE_SERVER = "168.63.129.16/32"
_EVERYTHING = {"ingress": False, "egress": False}


def objects(mesh: Mesh, region: Region) -> list[Object]:
    """Return a region's policies; none in a mesh of layout 1."""
    if mesh.layout < 2:
        return []
    database = (names.COCKROACH_PORT, names.COCKROACH_HTTP_PORT)
    pods = {"toEndpoints": _pods(mesh, names.COCKROACH), **_ports("TCP", *database)}
    dns = {
        "toEndpoints": [{"matchLabels": {_NAMESPACE: names.KUBE_SYSTEM, "k8s-app": "kube-dns"}}],
        **_ports("ANY", 53),
    }
    clients = [
        {"matchLabels": {_CLUSTER: other.name, f"io.cilium.k8s.namespace.labels.{CLIENT_LABEL}": "true"}}
        for other in mesh.all_regions()
    ]
    ingress = [
        {
            "fromEndpoints": [*_pods(mesh, names.COCKROACH, names.COCKROACH_CLIENT), *clients],
            **_ports("TCP", *database),
        },
        {"fromEntities": ["host"], **_ports("TCP", names.COCKROACH_HTTP_PORT)},
    ]
    return [
        _policy(region, "default-deny", {}, ingress=[{}], egress=[{}]),
        _policy(region, names.COCKROACH, names.COCKROACH, ingress=ingress, egress=[pods, dns, *_outside(mesh)]),
        _policy(region, names.COCKROACH_CLIENT, names.COCKROACH_CLIENT, ingress=[{}], egress=[pods, dns]),
        _metadata(mesh, region),
    ]


def _outside(mesh: Mesh) -> list[dict[str, Any]]:
    """Return what the database reaches outside: Azure's storage and its identity for backups, its maker for a license.

    A free license ends without telemetry (CockroachDB docs, "Licensing FAQs").
    """
    needed = [{"toEntities": ["world"], **_ports("TCP", 443)}] if mesh.license_file or mesh.backup else []
    return [*needed, *([{"toCIDR": [_METADATA], **_ports("TCP", 80)}] if mesh.backup else [])]


def _metadata(mesh: Mesh, region: Region) -> Object:
    """Return the denial of Azure's metadata and of its agents' service to every pod with an address of its own.

    Azure's DNS, at the address of the latter, stays: CoreDNS asks it.
    """
    wire = {"toCIDR": [_WIRE_SERVER], **_ports("TCP", 80, 32526)}
    everyone: list[dict[str, Any]] = [{}]
    if mesh.backup:
        at, app = {"key": _NAMESPACE, "values": [region.name]}, {"key": "app", "values": [names.COCKROACH]}
        elsewhere, others = {**at, "operator": "NotIn"}, [{**at, "operator": "In"}, {**app, "operator": "NotIn"}]
        everyone = [{"matchExpressions": [elsewhere]}, {"matchExpressions": others}]
    denials = [({}, wire), *((who, {"toCIDR": [_METADATA]}) for who in everyone)]
    specs = [
        {"endpointSelector": who, "enableDefaultDeny": _EVERYTHING, "egressDeny": [denied]} for who, denied in denials
    ]
    return kube_object("cilium.io/v2", "CiliumClusterwideNetworkPolicy", "crdbmesh-metadata", None, specs=specs)


def _policy(region: Region, name: str, app: str | dict[str, Any], **rules: Any) -> Object:
    selector = {"matchLabels": {"app": app}} if isinstance(app, str) else app
    spec = {"endpointSelector": selector, **rules}
    return kube_object("cilium.io/v2", "CiliumNetworkPolicy", name, region.name, labels=LABELS, spec=spec)


def _pods(mesh: Mesh, *apps: str) -> list[dict[str, Any]]:
    """Select the mesh's own pods of all regions: each region's are in the namespace of its name in its own cluster."""
    return [
        {"matchLabels": {_CLUSTER: other.name, _NAMESPACE: other.name, "app": app}}
        for other in mesh.all_regions()
        for app in apps
    ]


def _ports(protocol: str, *ports: int) -> dict[str, Any]:
    return {"toPorts": [{"ports": [{"port": str(port), "protocol": protocol} for port in ports]}]}
