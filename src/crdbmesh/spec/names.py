"""Every name that crdbmesh gives: Azure resources, tags, nodes, contexts, Kubernetes objects.

Steps find everything by these names, so that two runs, from two machines, agree without a state file.
"""

TAG = "crdbmesh"
"""Azure tag whose value is the mesh's name; it proves nothing, see `observe.belongings`."""
TAG_REGION = "crdbmesh-region"
TAG_ID = "crdbmesh-id"
"""Tag of the mesh's own resource group: the id that its local folder has recorded since its birth."""
TAG_VERSION = "crdbmesh-version"
TAG_LAYOUT = "crdbmesh-layout"
"""Tag of everything of a mesh whose layout is a later one than that of crdbmesh 0.1."""
TAG_DRILL = "crdbmesh-drill"
"""Tag of the security group of a region that a drill cut off, and how: `firewall` or `stop`."""
TAG_LEASE_ID = "crdbmesh-lease-id"
TAG_LEASE_HOLDER = "crdbmesh-lease-holder"
TAG_LEASE_ORIGIN = "crdbmesh-lease-origin"
TAG_LEASE_SINCE = "crdbmesh-lease-since"
TAG_LEASE_UNTIL = "crdbmesh-lease-until"
"""Tags of the mesh's lease; times are ISO 8601 in UTC."""

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
COCKROACH_PRIORITY = "crdbmesh-database"
COCKROACH_CLIENT = "cockroachdb-client"
DATA_CLASS, WAL_CLASS = "crdbmesh-data", "crdbmesh-wal"
"""The StorageClasses of the database's volumes, and of what their log of writes fails over to."""
NODE_SECRET = "cockroachdb.node"
CLIENT_SECRET = "cockroachdb.client.root"
CERTIFICATE_LOADED = "crdbmesh/certificate-loaded"
"""The annotation of a database pod with the version of the certificate that its node was told to read."""
ZONES_CONFIGMAP = "cockroachdb-zones"
INIT_MARKER = "cockroachdb-init"

CLUSTER_DOMAIN = "cluster.local"
CLUSTERMESH_PORT = 32379
COCKROACH_PORT = 26257
COCKROACH_HTTP_PORT = 8080
DNS_PORT_BASE = 30053


def network(mesh: str, region: str) -> str:
    """Return the name of the region's VNet."""
    return f"{mesh}-{region}"


def firewall(mesh: str, region: str) -> str:
    """Return the name of the region's network security group."""
    return f"{mesh}-{region}-nsg"


def lease(mesh: str) -> str:
    """Return the name of the lease: a network security group without rules whose tags name the run at work."""
    return f"{mesh}-lease"


def peering(mesh: str, region: str, remote: str) -> str:
    """Return the name of the peering from `region`'s VNet to `remote`'s."""
    return f"{mesh}-{region}-to-{remote}"


def availability_set(mesh: str, region: str) -> str:
    """Return the name of the availability set of a region's machines that are in no zone."""
    return f"{mesh}-{region}-set"


def node(region: str, number: int) -> str:
    """Return the Kubernetes node name of machine `number` (from 1), which is also its host name."""
    return f"{region}-{number}"


def machine(mesh: str, region: str, number: int) -> str:
    """Return the name of the VM of machine `number` (from 1)."""
    return f"{mesh}-{region}-{number}"


def nic(mesh: str, region: str, number: int) -> str:
    """Return the name of the network interface of a machine."""
    return f"{machine(mesh, region, number)}-nic"


def address(mesh: str, region: str, number: int) -> str:
    """Return the name of the public IP of a machine."""
    return f"{machine(mesh, region, number)}-ip"


def disk(mesh: str, region: str, number: int, role: str) -> str:
    """Return the name of a disk of a machine, by what it is for: `os`, `data`."""
    return f"{machine(mesh, region, number)}-{role}"


def context(region: str) -> str:
    """Return the name of the kubeconfig context of a region's cluster."""
    return f"crdb-k3s-{region}"


def zone(region: str) -> str:
    """Return the DNS zone of a region's CockroachDB pods, which is its namespace's."""
    return f"{region}.svc.{CLUSTER_DOMAIN}"


def cockroach_pod(region: str, ordinal: int) -> str:
    """Return the full DNS name of a CockroachDB pod, the same from every cluster."""
    return f"{COCKROACH}-{ordinal}.{COCKROACH}.{zone(region)}"


def dns_port(cluster_id: int) -> int:
    """Return the NodePort of a region's DNS.

    It differs from region to region, so that a packet meant for a remote node can never be answered by a local one
    (cilium/cilium#24692).
    """
    return DNS_PORT_BASE + cluster_id
