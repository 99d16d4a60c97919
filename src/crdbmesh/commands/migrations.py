"""The list of what a mesh has otherwise than one that is made now: how it could be changed, or why it cannot be.

`plan` lists it; `up` leaves it as it is, since defaults belong to birth (docs/decisions/0011).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from crdbmesh.checks.existing import BY_HAND
from crdbmesh.desired.placement import is_placed, zones
from crdbmesh.local import pki
from crdbmesh.spec.birth import LAYOUT
from crdbmesh.spec.mesh import CockroachSpec, Mesh
from crdbmesh.spec.versions import outdated, why_not


@dataclass(frozen=True, slots=True)
class Migration:
    """A field, or what a layout is in, with what the mesh has, what a new one has, and how to change it or why not."""

    field: str
    has: str
    newest: str
    how: str


def find(mesh: Mesh) -> Iterator[Migration]:
    """Yield each migration of a mesh."""
    for program, has, newest in outdated(mesh.versions):
        how = BY_HAND[program] if why_not(program, has, newest) else "set it in the spec: `up` rolls it out"
        yield Migration(f"versions.{program}", has, newest, how)
    clients, most = len(mesh.client_regions()), min(CockroachSpec().clients, len(mesh.regions))
    if clients < most:
        how = f"set `cockroach: {{clients: {most}}}` in the spec: losing the first region then leaves SQL"
        yield Migration("cockroach.clients", str(clients), str(most), how)
    if not is_placed(mesh):
        factor = zones(mesh)["RANGE default"].replicas
        how = f"set `cockroach: {{replication_factor: {factor}}}` in the spec: replicas move, and nothing restarts"
        yield Migration("cockroach.replication_factor", "CockroachDB's own", "by regions, none with a majority", how)
    if mesh.layout < LAYOUT and mesh.network.node_ports:
        how = "set `network: {node_ports: false}` in the spec, then `crdbmesh up --prune-rules`"
        yield Migration("network.node_ports", "true: open to `allow_from`", "false", how)
    if mesh.layout < LAYOUT:
        yield from _LAYOUT_1


_LAYOUT_1 = (
    Migration(
        "data disks and availability sets",
        "volumes on the OS disk; machines in no zone may share a rack",
        "a disk that outlives its machine, a side disk for the log of writes, a fault domain each",
        "back up, `crdbmesh down`, `crdbmesh up`, restore: a volume's class and a VM's availability set stay as made",
    ),
    Migration(
        "firewall within VNets",
        "peered hubs and on-premises networks reach SSH, the Kubernetes API, etcd and kubelets",
        "only the mesh's own subnets and 168.63.129.16 do",
        "two rules of your own in each region: allow all regions' subnets and 168.63.129.16 at priority 400, deny "
        "VirtualNetwork at 4000; a new region's subnet goes into them before the region is added",
    ),
    Migration(
        "host keys",
        "those in the machines' custom data",
        "keys that the machines make themselves",
        "a mesh keeps those of its birth: Azure shows custom data to nobody, and on a machine only root can read it",
    ),
    Migration(
        "root's certificate",
        f"{pki.LEAF_DAYS} days",
        f"{pki.ROOT_DAYS} days",
        "work as another SQL user (`crdbmesh sql` does), and keep the Secrets of the client regions to yourself",
    ),
    Migration(
        "k3s secrets-encryption",
        "Secrets in clear in etcd and its snapshots",
        "encrypted",
        "a file of yours in /etc/rancher/k3s/config.yaml.d, server by server: docs.k3s.io, k3s secrets-encrypt, "
        '"Enable Secrets Encryption on an Existing Cluster"',
    ),
    Migration(
        "cockroach --max-offset",
        "500 ms",
        "250 ms",
        "it must be the same on all nodes at all times, so it stays: only a mesh made anew has it",
    ),
    Migration(
        "cockroach logs, priority, place",
        "all to the pod's log, no priority, any node",
        "files beside the data and warnings to the pod's log, a priority of its own, agents rather than servers",
        "a change of the template replaces every pod for little: it stays",
    ),
    Migration(
        "cilium l7Proxy",
        "on, with Envoy on every node",
        "off",
        "edit the HelmChart's values by hand if Envoy is in the way: it restarts every agent",
    ),
    Migration(
        "network policies",
        "none",
        "the database is closed to all but its own and labelled namespaces, Azure's metadata to all pods",
        "apply those of docs/production.md yourself, first to a region whose database nobody uses",
    ),
    Migration(
        "k3s hardening",
        "k3s's defaults",
        "docs/production.md has each: kernel, kubelet, admission, audit, snapshots, shared images",
        "the files by hand, settings in /etc/rancher/k3s/config.yaml.d; restart k3s one machine after the other",
    ),
)
