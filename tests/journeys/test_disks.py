"""A machine's data disks: formatted when blank, grown, attached again, and kept for the machine's successor."""

from __future__ import annotations

import json
from typing import Any

from tests.journeys.conftest import changed, failures, silent
from tests.journeys.test_replacement import wait

from crdbmesh.checks import machines as checks
from crdbmesh.checks.facts import Facts
from crdbmesh.checks.machines import Comparison
from crdbmesh.engine import plan, run
from crdbmesh.observe import belongings, inventory
from crdbmesh.observe import machines as observed
from crdbmesh.steps import catalog

VM = "Microsoft.Compute/virtualMachines/crdbmesh-eastus-1"
DISK = "Microsoft.Compute/disks/crdbmesh-eastus-1-data"
STORAGE = "/var/lib/rancher/k3s/storage"


def up(world: Any, mesh: Any, but: tuple[str, ...] = ()) -> Any:
    """Run the steps of the network and the machines, but for some."""
    with world.open(mesh) as run_world:
        steps = [step for step in catalog.steps(run_world) if catalog.place(step.name)[1] in {"network", "machines"}]
        steps = [step for step in steps if step.name not in but]
        return run.run(plan.order(steps), workers=16, notify=silent)


def on_host(world: Any, mesh: Any, command: str) -> str:
    with world.open(mesh) as run_world:
        return str(run_world.host(mesh.all_regions()[0].machines[0]).run(command, sudo=True).stdout)


def test_a_disk_is_formatted_when_blank_grows_in_place_and_outlives_its_machine(world: Any) -> None:
    mesh = world.mesh(["eastus"])
    assert not failures(up(world, mesh, but=("eastus/node1/disk", "eastus/node1/software")))

    # Something of somebody else's is on the disk.
    on_host(world, mesh, "mkfs.ext4 -q -L theirs /dev/sdc")
    refused = failures(up(world, mesh))
    assert list(refused) == ["eastus/node1/disk"]
    assert "not crdbmesh's (TYPE=ext4 LABEL=theirs" in refused["eastus/node1/disk"]
    assert "LABEL=theirs" in on_host(world, mesh, "blkid -p -o export /dev/sdc")
    on_host(world, mesh, "mkfs.ext4 -q -L crdbmesh-data /dev/sdc")
    assert not failures(up(world, mesh))
    on_host(world, mesh, f"echo kept > {STORAGE}/mark")
    writes = world.writes()
    assert changed(up(world, mesh)) == []
    assert world.writes() == writes

    # It grows under a machine that runs, and never shrinks.
    larger = mesh.model_copy(update={"machines": mesh.machines.model_copy(update={"data_disk": sized(mesh, 100)})})
    assert sorted(changed(up(world, larger))) == ["eastus/node1/data-disk", "eastus/node1/disk"]
    assert f"Block count:              {100 * 2**18}" in on_host(world, mesh, "dumpe2fs -h /dev/sdc")
    smaller = mesh.model_copy(update={"machines": mesh.machines.model_copy(update={"data_disk": sized(mesh, 80)})})
    writes = world.writes()
    assert "cannot make a disk smaller" in failures(up(world, smaller))["eastus/node1/data-disk"]
    with world.open(smaller) as run_world:
        facts = Facts.of(run_world)
        found = inventory.find(facts.session, belongings.of(run_world))
        reasons = [finding.reason for finding in checks.changed(Comparison(run_world, smaller, found, None))]
    assert any("cannot make a disk smaller" in reason for reason in reasons), reasons
    assert world.writes() == writes

    # Somebody makes it slow: `status` says so, and `up` mends it.
    slow = {"properties": {"diskIOPSReadWrite": 3000, "diskMBpsReadWrite": 125}}
    fast = {"diskIOPSReadWrite": 3500, "diskMBpsReadWrite": 200}
    quick = mesh.machines.data_disk.model_copy(update={"iops": 3500, "mbps": 200})
    wanted = mesh.model_copy(update={"machines": mesh.machines.model_copy(update={"data_disk": quick})})
    assert changed(up(world, wanted)) == ["eastus/node1/data-disk"]
    world.resource("PATCH", DISK, slow)
    wait("the disk", lambda: world.resource("GET", DISK)[1]["properties"]["provisioningState"] == "Succeeded")
    with world.open(wanted) as run_world:
        layer = observed.read_machines(run_world, wanted.all_regions()[0])
    assert "diskIOPSReadWrite: 3500 wanted, 3000 found" in str(layer.cause)
    assert changed(up(world, wanted)) == ["eastus/node1/data-disk"]
    _, disk = world.resource("GET", DISK)
    assert fast.items() <= disk["properties"].items()

    # Somebody detaches it, then somebody deletes the machine.
    said = world.resource("PATCH", VM, {"properties": {"storageProfile": {"dataDisks": []}}})
    assert said[0] in {200, 202}, said
    wait(
        "the disk to be detached",
        lambda: world.resource("GET", VM)[1]["properties"]["provisioningState"] == "Succeeded",
    )
    done = up(world, mesh)
    assert "eastus/node1/machine" in changed(done), failures(done)
    world.resource("DELETE", VM)
    status, disk = world.resource("GET", DISK)
    assert (status, disk["properties"]["diskState"]) == (200, "Unattached"), json.dumps(disk)
    assert not failures(up(world, mesh))
    assert on_host(world, mesh, f"cat {STORAGE}/mark") == "kept\n"
    assert world.report()["unknown"] == []


def sized(mesh: Any, gib: int) -> Any:
    return mesh.machines.data_disk.model_copy(update={"size_gib": gib})
