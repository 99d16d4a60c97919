"""Microsoft.Compute: virtual machines, their disks, sizes and quota."""

from __future__ import annotations

from typing import Any, cast

from crdbmesh.clients.azure.session import COMPUTE_PACE_S, Body, Session
from crdbmesh.clients.waiting import Say, unsaid

VM_DEADLINE_S = 1200.0


def find_vm(session: Session, group: str, name: str) -> Body | None:
    """A virtual machine, or None. Azure does not return its customData."""
    return session.find(f"GET virtualMachines/{name}", lambda: session.compute.virtual_machines.get(group, name))


def ensure_vm(
    session: Session, group: str, name: str, body: Body, *, say: Say = unsaid, deadline_s: float = VM_DEADLINE_S
) -> Body:
    """Create a virtual machine, or make it what `body` says as far as Azure can change a machine."""
    return session.run_operation(
        f"PUT virtualMachines/{name}",
        lambda following: session.compute.virtual_machines.begin_create_or_update(
            group, name, cast("Any", body), polling=following
        ),
        say=say,
        deadline_s=deadline_s,
        pace_s=COMPUTE_PACE_S,
    )


def start_vm(session: Session, group: str, name: str, *, say: Say = unsaid, deadline_s: float = VM_DEADLINE_S) -> None:
    """Power a virtual machine on and wait; one that runs stays as it is."""
    session.run_operation(
        f"POST virtualMachines/{name}/start",
        lambda following: session.compute.virtual_machines.begin_start(group, name, polling=following),
        say=say,
        deadline_s=deadline_s,
        pace_s=COMPUTE_PACE_S,
    )


def find_instance_view(session: Session, group: str, name: str) -> Body | None:
    """How a virtual machine is doing: `statuses` such as `PowerState/running`. None when there is none."""
    return session.find(
        f"GET virtualMachines/{name}/instanceView",
        lambda: session.compute.virtual_machines.instance_view(group, name),
    )


def list_vms(session: Session, group: str | None = None) -> list[Body]:
    """The virtual machines of a resource group, or of the whole subscription."""
    machines = session.compute.virtual_machines
    return session.list_all("GET virtualMachines", lambda: machines.list(group) if group else machines.list_all())


def list_skus(session: Session, location: str) -> list[Body]:
    """Every size, disk and host type that Azure knows in a location, the restricted ones included."""
    return session.list_all(
        f"GET skus of {location}", lambda: session.compute.resource_skus.list(filter=f"location eq '{location}'")
    )


def list_usages(session: Session, location: str) -> list[Body]:
    """How much of each compute quota a location has left: `name.value`, `currentValue`, `limit`."""
    return session.list_all(
        f"GET locations/{location}/usages of Microsoft.Compute", lambda: session.compute.usage.list(location)
    )


def find_image(
    session: Session, location: str, publisher: str, offer: str, sku: str, version: str = "latest"
) -> Body | None:
    """A platform image in a location, with `properties.architecture` and `hyperVGeneration`, or None."""
    images = session.compute.virtual_machine_images
    if version == "latest":
        listed = session.list_all(
            f"GET versions of {publisher}:{offer}:{sku} in {location}",
            lambda: images.list(location, publisher, offer, sku, top=1, orderby="name desc"),
        )
        if not listed:
            return None
        version = str(listed[0]["name"])
    return session.find(
        f"GET {publisher}:{offer}:{sku}:{version} in {location}",
        lambda: images.get(location, publisher, offer, sku, version),
    )
