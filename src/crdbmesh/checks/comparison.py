"""A comparison of the spec with existing resources, and the remedies that its checks name."""

from collections.abc import Iterator
from dataclasses import dataclass

from crdbmesh.desired import cockroach
from crdbmesh.observe.belongings import Resource
from crdbmesh.observe.inventory import Inventory
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Machine, Mesh, Region

AGAIN = "it cannot be done in place: back up (SQL BACKUP), `crdbmesh down`, `crdbmesh up` with the new spec, restore"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The spec, the resources in Azure, and the spec that the last `up` kept, or None."""

    world: World
    mesh: Mesh
    found: Inventory
    kept: Mesh | None

    @property
    def remove(self) -> str:
        """The remedy that removes a machine for good."""
        return (
            f"decommission the CockroachDB node on it (`{cockroach.decommission(self.mesh)}`), drain and delete its "
            "Kubernetes node, delete its pod's volume claim and its VM"
        )

    @property
    def replace(self) -> str:
        """The remedy that makes machines anew."""
        return f"replace the machines, one at a time: {self.remove}, run `up`"

    def before(self, region: str) -> Region | None:
        """Return a region as the last `up` here kept it, or None."""
        kept = self.kept
        return kept.region(region) if kept and any(spec.name == region for spec in kept.regions) else None

    def machines(self) -> Iterator[tuple[Machine, Resource]]:
        """Yield the spec's machines that exist, with their VMs."""
        for machine in self.mesh.all_machines():
            vm = self.found.machines.get((machine.region, machine.number))
            if vm is not None:
                yield machine, vm
