"""`crdbmesh maintain`: patch the machines and reboot them where that is due, one at a time, while they serve."""

import threading
from typing import Any

from crdbmesh.clients.cloud import Cloud
from crdbmesh.commands import aim as aims
from crdbmesh.commands import specs
from crdbmesh.commands.ssh import find_machine
from crdbmesh.commands.up import UpResult, Watch, lease_of, run_steps
from crdbmesh.local.folder import LocalFolder
from crdbmesh.run import lease as leases
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Machine, Mesh
from crdbmesh.steps.maintenance import Patched


def choose(mesh: Mesh, where: str | None) -> list[Machine]:
    """Return the machines of a mesh, or of a region, or the one that is called so; raise ConfigError for others."""
    if where is None:
        return list(mesh.all_machines())
    if where in {region.name for region in mesh.regions}:
        return list(specs.find_region(mesh, where).machines)
    return [find_machine(mesh, where)]


def run_maintain(
    mesh: Mesh,
    cloud: Cloud,
    folder: LocalFolder,
    machines: list[Machine],
    *,
    watch: Watch,
    reboots: bool = False,
    allow_outage: bool = False,
    told: aims.Told = aims.untold,
    stop: threading.Event | None = None,
    **lease: Any,
) -> UpResult:
    """Patch machines, and reboot those for which that is due, or with `reboots` all of them.

    The options are those of `run_up`, and of the lease.
    """
    stop = stop or threading.Event()
    with folder.locked(leases.name_of("maintain")), World.open(mesh, cloud, folder, stop=stop) as world:
        world.allows_outage = allow_outage
        aim = aims.require(world.session, folder, mesh.name, told)
        held = lease_of(world, "maintain", lost=stop.set, **lease)
        held.look()
        steps = [
            Patched(
                name=f"{one.region}/node{one.number}/patches",
                world=world,
                region=mesh.region(one.region),
                machine=one,
                reboots=reboots,
            )
            for one in machines
        ]
        return run_steps(world, aim, steps, held, watch, stop, command="maintain")
