"""DNS between the clusters: each region's CoreDNS on a NodePort, and forwarders to it in every other cluster."""

from dataclasses import dataclass

from crdbmesh.desired import Object, dns
from crdbmesh.spec import names
from crdbmesh.steps.base import DeploymentStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarders(DeploymentStep):
    """The region's DNS can be asked by the others, and asks them for their zones."""

    deadline_s = 600.0

    def objects(self) -> list[Object]:
        """Return the NodePort Service, the server blocks, and CoreDNS's replicas."""
        mesh = self.world.mesh
        blocks = dns.forwarders(mesh, self.region)
        found = self.kube.find("apps/v1", "Deployment", names.COREDNS, names.KUBE_SYSTEM)
        return [dns.service(self.region), *([blocks] if blocks else []), dns.coredns(mesh, self.region, found)]

    def awaited(self) -> str:
        """Name CoreDNS, for messages."""
        return f"CoreDNS of {self.region.name}"
