"""DNS between the clusters: how each resolves the others' names.

Each region's CoreDNS is exposed on a fixed NodePort, UDP and TCP, inside the VNets; every other cluster forwards the
region's zone to it from a block in ConfigMap `coredns-custom`, the one place k3s leaves to users (it rewrites
ConfigMap `coredns` at every start). A region's own zone never gets a block in its own cluster: that would loop.
Plugins: CoreDNS `forward`, `cache`, `errors`.
"""

import hashlib
import json

from crdbmesh.desired import Body, Object, kube_object
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh, Region

MAX_UPSTREAMS = 15
"""The forward plugin takes no more."""

_FORWARDERS = "crdbmesh.dev/forwarders"


def service(region: Region) -> Object:
    """Return the NodePort Service in front of the region's CoreDNS."""
    port = {"port": 53, "targetPort": 53, "nodePort": region.dns_port}
    spec = {
        "type": "NodePort",
        "externalTrafficPolicy": "Cluster",
        "selector": {"k8s-app": "kube-dns"},
        "ports": [{"name": "dns", "protocol": "UDP", **port}, {"name": "dns-tcp", "protocol": "TCP", **port}],
    }
    return kube_object("v1", "Service", names.DNS_SERVICE, names.KUBE_SYSTEM, spec=spec)


def forwarders(mesh: Mesh, region: Region) -> Object | None:
    """Return ConfigMap `coredns-custom` with a block for every other region; None when there is none.

    Applied server-side, so that keys of other owners stay.
    """
    others = mesh.others(region)
    if not others:
        return None
    data = {key(other): block(other) for other in others}
    return kube_object("v1", "ConfigMap", names.COREDNS_CUSTOM, names.KUBE_SYSTEM, labels={}, data=data)


def key(remote: Region) -> str:
    """Return the key of ConfigMap `coredns-custom` under which the block for a remote region's zone is."""
    return f"crdbmesh-{remote.name}.server"


def block(remote: Region) -> str:
    """Return the server block that forwards a remote region's zone to that region's nodes.

    The cache is short, for both kinds of answer: pods come back with other addresses.
    """
    upstreams = " ".join(f"{machine.address}:{remote.dns_port}" for machine in remote.machines[:MAX_UPSTREAMS])
    return f"""\
{names.zone(remote.name)}:53 {{
    errors
    cache 10 {{
        denial 1024 5
    }}
    forward . {upstreams} {{
        max_fails 2
        health_check 1s
    }}
}}
"""


def coredns(mesh: Mesh, region: Region, found: Body | None) -> Object:
    """Return our part of k3s's CoreDNS Deployment (`found`): a second replica, and one restart for the first blocks.

    Later blocks need none: plugin `reload` reads the Corefile and what it imports every 30 s and compares a hash of all
    of it (coredns/coredns, plugin/reload/reload.go). Before the first ones there is nothing to disturb, and a restart
    saves that time.
    """
    annotations = (found or {}).get("spec", {}).get("template", {}).get("metadata", {}).get("annotations") or {}
    if (digest := annotations.get(_FORWARDERS)) is None:
        wanted = forwarders(mesh, region)
        digest = hashlib.sha256(json.dumps(wanted and wanted["data"], sort_keys=True).encode()).hexdigest()[:16]
    template = {"metadata": {"annotations": {_FORWARDERS: digest}}}
    spec = {"replicas": min(2, len(region.machines)), "template": template}
    return kube_object("apps/v1", "Deployment", names.COREDNS, names.KUBE_SYSTEM, labels={}, spec=spec)
