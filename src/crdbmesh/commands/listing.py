"""`crdbmesh list`: the meshes of a subscription, by tags and names; it only reads, and proves nothing of ownership."""

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crdbmesh.clients.azure import kinds
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.cloud import Cloud
from crdbmesh.commands import cost
from crdbmesh.local.birth import Aim
from crdbmesh.local.folder import list_meshes
from crdbmesh.observe import belongings
from crdbmesh.observe.resource import location_of
from crdbmesh.spec import names


@dataclass(frozen=True, slots=True)
class Listed:
    """A mesh of the subscription; it is `known` when the local root has its folder.

    `age_s` is the age of its oldest machine by Azure's clock, in seconds; None when it has no machine.
    """

    name: str
    regions: tuple[str, ...]
    machines: int
    age_s: float | None
    cost: cost.Cost
    known: bool

    def document(self) -> dict[str, Any]:
        """Return it as `--output json` prints it."""
        return {
            "mesh": self.name,
            "regions": list(self.regions),
            "machines": self.machines,
            "age_s": round(self.age_s) if self.age_s is not None else None,
            "cost": self.cost.document(),
            "known": self.known,
        }


def run_list(cloud: Cloud, root: Path, *, prices: bool = False) -> tuple[Aim, list[Listed], list[str]]:
    """Return what was listed, its meshes, and those known here of which nothing is there."""
    known = list_meshes(root)
    with Session(cloud) as session:
        aim = arm.aim_of(session, arm.find_subscription(session) or {})
        vnets, vms = kinds.VNET.list(session), kinds.VM.list(session)
        now = time.time() + (session.ahead_s or 0.0)
    regions: dict[str, set[str]] = {}
    machines: dict[str, list[Mapping[str, Any]]] = {}
    for body in [*vnets, *vms]:
        if name := _mesh_of(body, known):
            regions.setdefault(name, set()).add(location_of(body))
            machines.setdefault(name, []).extend([body] if body in vms else [])
    listed = [
        Listed(
            name,
            tuple(sorted(regions[name])),
            len(machines[name]),
            max((max(now - made, 0.0) for vm in machines[name] if (made := _made(vm))), default=None),
            cost.total(map(cost.billed, machines[name]), cloud if prices else None),
            name in known,
        )
        for name in sorted(regions)
    ]
    return aim, listed, [name for name in known if name not in regions]


def _mesh_of(body: Mapping[str, Any], known: list[str]) -> str | None:
    if tagged := (body.get("tags") or {}).get(names.TAG):
        return str(tagged)
    return next((one for one in known if belongings.place_of(body, one) or belongings.region_of(body, one)), None)


def _made(vm: Mapping[str, Any]) -> float | None:
    try:
        return dt.datetime.fromisoformat(str((vm.get("properties") or {}).get("timeCreated"))).timestamp()
    except ValueError:
        return None
