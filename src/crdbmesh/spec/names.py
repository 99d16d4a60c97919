"""Every name that crdbmesh gives: Azure resources, tags, nodes, contexts, Kubernetes objects.

A step finds what it needs in the world by these names, so two runs, from two machines, agree without a state file.
"""

from __future__ import annotations

TAG = "crdbmesh"
"""Azure tag whose value is the mesh's name: what carries it belongs to the mesh, and nothing else does."""
TAG_REGION = "crdbmesh-region"
TAG_VERSION = "crdbmesh-version"
TAG_LEASE_ID = "crdbmesh-lease-id"
TAG_LEASE_HOLDER = "crdbmesh-lease-holder"
TAG_LEASE_ORIGIN = "crdbmesh-lease-origin"
TAG_LEASE_SINCE = "crdbmesh-lease-since"
TAG_LEASE_UNTIL = "crdbmesh-lease-until"
"""Who is at work on the mesh; times are ISO 8601 in UTC."""

SUBNET = "nodes"
IP_CONFIGURATION = "primary"

KUBE_SYSTEM = "kube-system"
CILIUM = "cilium"
CILIUM_VALUES_SECRET = "crdbmesh-cilium-values"
CILIUM_CA_SECRET = "cilium-ca"
CILIUM_CONFIG = "cilium-config"
CILIUM_AGENTS = "k8s-app=cilium"
"""Label selector of the agents' pods."""
CILIUM_OPERATOR = "cilium-operator"
CLUSTERMESH_APISERVER = "clustermesh-apiserver"
CLUSTERMESH_SECRET = "cilium-clustermesh"
COREDNS = "coredns"
COREDNS_CUSTOM = "coredns-custom"
DNS_SERVICE = "crdbmesh-dns"

COCKROACH = "cockroachdb"
COCKROACH_PUBLIC = "cockroachdb-public"
COCKROACH_BUDGET = "cockroachdb-budget"
COCKROACH_CLIENT = "cockroachdb-client"
NODE_SECRET = "cockroachdb.node"
CLIENT_SECRET = "cockroachdb.client.root"
ZONES_CONFIGMAP = "cockroachdb-zones"
INIT_MARKER = "cockroachdb-init"

CLUSTER_DOMAIN = "cluster.local"
CLUSTERMESH_PORT = 32379
COCKROACH_PORT = 26257
COCKROACH_HTTP_PORT = 8080
DNS_PORT_BASE = 30053


def network(mesh: str, region: str) -> str:
    """The region's VNet."""
    return f"{mesh}-{region}"


def firewall(mesh: str, region: str) -> str:
    """The region's network security group."""
    return f"{mesh}-{region}-nsg"


def lease(mesh: str) -> str:
    """The network security group, with no rules and on no network, whose tags say who is at work on the mesh."""
    return f"{mesh}-lease"


def peering(mesh: str, region: str, remote: str) -> str:
    """The peering from `region`'s VNet to `remote`'s."""
    return f"{mesh}-{region}-to-{remote}"


def node(region: str, number: int) -> str:
    """Machine `number` (from 1) as a Kubernetes node; also its host name."""
    return f"{region}-{number}"


def machine(mesh: str, region: str, number: int) -> str:
    """The VM of machine `number` (from 1)."""
    return f"{mesh}-{region}-{number}"


def nic(mesh: str, region: str, number: int) -> str:
    """The network interface of a machine."""
    return f"{machine(mesh, region, number)}-nic"


def address(mesh: str, region: str, number: int) -> str:
    """The public IP of a machine."""
    return f"{machine(mesh, region, number)}-ip"


def os_disk(mesh: str, region: str, number: int) -> str:
    """The OS disk of a machine."""
    return f"{machine(mesh, region, number)}-os"


def context(region: str) -> str:
    """The kubeconfig context of a region's cluster."""
    return f"crdb-k3s-{region}"


def zone(region: str) -> str:
    """The DNS zone in which a region's CockroachDB pods are named: its namespace's."""
    return f"{region}.svc.{CLUSTER_DOMAIN}"


def cockroach_pod(region: str, ordinal: int) -> str:
    """The full DNS name of a CockroachDB pod, the same from every cluster."""
    return f"{COCKROACH}-{ordinal}.{COCKROACH}.{zone(region)}"


def dns_port(cluster_id: int) -> int:
    """The NodePort of a region's DNS.

    It differs from region to region, so that a packet meant for a remote node can never be answered by a local one
    (cilium/cilium#24692).
    """
    return DNS_PORT_BASE + cluster_id
