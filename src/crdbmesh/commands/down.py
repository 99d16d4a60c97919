"""`crdbmesh down`: delete what carries the mesh's tag, and nothing else.

It needs nothing but the mesh's name: what is deleted is found in Azure. Absent is done, so it can be run again until
nothing is left; it ends by looking again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crdbmesh import home as homes
from crdbmesh.clients import cloud as clouds
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.engine import plan, run
from crdbmesh.engine.step import Notify, Outcome, Result, Step
from crdbmesh.steps import removal
from crdbmesh.topology import names

WORKERS = 16


@dataclass(frozen=True, slots=True)
class Belongings:
    """What belongs to a mesh in Azure.

    Attributes:
        groups: resource groups that are the mesh's own, with nothing else's in them: deleted whole.
        resources: what is deleted one by one: the mesh's resources in groups that are shared.
        kept: names of other people's resources found in the mesh's own groups; they, and so the group, stay.
        inside: how many resources go with `groups`.
    """

    groups: tuple[str, ...]
    resources: tuple[Mapping[str, Any], ...]
    kept: tuple[str, ...]
    inside: int

    @property
    def count(self) -> int:
        """How many things will be deleted."""
        return len(self.groups) + len(self.resources) + self.inside

    def names(self) -> tuple[str, ...]:
        """What is deleted, for people to read."""
        listed = [f"resource group {group}" for group in self.groups]
        return (*listed, *(f"{resource['type']} {resource['name']}" for resource in self.resources))


@dataclass(frozen=True, slots=True)
class DownResult:
    """How a run of `down` ended.

    Attributes:
        left: what still carries the mesh's tag; empty when all is gone.
        finished: False when Azure was told to delete but nobody waited.
    """

    mesh: str
    results: dict[str, Result]
    left: tuple[str, ...]
    kept: tuple[str, ...]
    finished: bool
    seconds: float

    @property
    def stopped(self) -> bool:
        """Whether the run was interrupted."""
        return any(result.outcome is Outcome.STOPPED for result in self.results.values())

    @property
    def done(self) -> bool:
        """Whether everything was deleted, or ordered to be."""
        return not self.left and all(
            result.outcome in {Outcome.HELD, Outcome.CHANGED} for result in self.results.values()
        )


def find(mesh: str, cloud: clouds.Cloud) -> Belongings:
    """What `down` would delete."""
    session = Session(cloud)
    try:
        return _belongings(session, mesh)
    finally:
        session.close()


def run_down(
    mesh: str,
    cloud: clouds.Cloud,
    home: homes.Home,
    *,
    notify: Notify,
    wait: bool = True,
    stop: threading.Event | None = None,
) -> DownResult:
    """Delete it all, look again, and remove the local folder once nothing is left.

    Args:
        mesh: its name, which is the value of the tag.
        cloud: where Azure is.
        home: the mesh's local folder.
        notify: told of every event.
        wait: until Azure has deleted; otherwise only until it has taken the order. Resources that go one by one are
            always waited for, since the next depends on them.
        stop: once set, nothing new is started.

    Raises:
        CrdbmeshError: Azure cannot be reached at all.
    """
    started = time.monotonic()
    session = Session(cloud)
    try:
        found = _belongings(session, mesh)
        steps: list[Step] = [
            removal.GroupGone(name=f"group/{group}", session=session, group=group, wait=wait) for group in found.groups
        ]
        steps += removal.resource_steps(session, found.resources)
        results = run.run(plan.order(steps), workers=WORKERS, notify=notify, stop=stop)
        left = _belongings(session, mesh).names() if wait else ()
    finally:
        session.close()
    ended = DownResult(mesh, results, left, found.kept, wait, time.monotonic() - started)
    if ended.done and wait:
        home.remove()
    return ended


def _belongings(session: Session, mesh: str) -> Belongings:
    owned = [str(group["name"]) for group in arm.list_groups(session, names.TAG, mesh)]
    tagged = arm.list_tagged(session, names.TAG, mesh)
    whole: list[str] = []
    kept: list[str] = []
    singles: dict[str, Mapping[str, Any]] = {}
    inside = 0
    for group in owned:
        content = arm.list_group_resources(session, group)
        foreign = [resource for resource in content if not _is_ours(resource, mesh)]
        if foreign:
            kept += [f"{resource['type']} {resource['name']}" for resource in foreign]
            singles.update({str(one["id"]).lower(): one for one in content if _is_ours(one, mesh)})
        else:
            whole.append(group)
            inside += len(content)
    in_whole = tuple(f"/resourcegroups/{group.lower()}/" for group in whole)
    for resource in tagged:
        key = str(resource["id"]).lower()
        if not any(group in key for group in in_whole):
            singles[key] = resource
    return Belongings(tuple(whole), tuple(singles.values()), tuple(kept), inside)


def _is_ours(resource: Mapping[str, Any], mesh: str) -> bool:
    """Whether it carries our tag; a disk may have lost it, and goes with the machine that is named in its name."""
    if (resource.get("tags") or {}).get(names.TAG) == mesh:
        return True
    is_disk = str(resource.get("type", "")).lower() == "microsoft.compute/disks"
    return is_disk and str(resource.get("name", "")).startswith(f"{mesh}-")
