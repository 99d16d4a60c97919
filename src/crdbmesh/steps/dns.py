"""DNS between the clusters: each region's CoreDNS on a NodePort, and forwarders to it in every other cluster."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from crdbmesh.clients.waiting import Say
from crdbmesh.desired import Object, dns
from crdbmesh.observe import rollouts
from crdbmesh.spec import names
from crdbmesh.steps.base import ObjectsStep

READY_DEADLINE_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarders(ObjectsStep):
    """The region's DNS can be asked by the others, and asks them for their zones."""

    def objects(self) -> list[Object]:
        """Return the NodePort Service, the server blocks, and CoreDNS's replicas and restart."""
        mesh = self.world.mesh
        blocks = dns.forwarders(mesh, self.region)
        wanted = [dns.service(self.region)]
        if blocks is not None:
            wanted.append(blocks)
        return [*wanted, dns.coredns(mesh, self.region)]

    def missing(self) -> str | None:
        """Say why CoreDNS does not run with our blocks yet; None when it does."""
        kube = self.world.kube(self.region.name)
        missing = rollouts.read_missing(kube, "Deployment", names.COREDNS, names.KUBE_SYSTEM)
        return f"{self.region.name}: {missing}" if missing else None

    def settle(self, say: Say) -> None:
        """Wait for CoreDNS to be up again; with blocks that it cannot read it never is."""
        kube = self.world.kube(self.region.name)
        kube.wait(
            "apps/v1",
            "Deployment",
            names.COREDNS,
            names.KUBE_SYSTEM,
            functools.partial(rollouts.explain, kube),
            awaited=f"CoreDNS of {self.region.name}",
            deadline_s=self.world.deadline(READY_DEADLINE_S),
            say=say,
        )
