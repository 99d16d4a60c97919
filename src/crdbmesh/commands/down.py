"""`crdbmesh down`: delete what carries the mesh's tag, and nothing else.

It needs nothing but the mesh's name: what is deleted is found in Azure. Absent is done, so it can be run again until
nothing is left; it ends by looking again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from crdbmesh.clients import cloud as clouds
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.commands import kubeconfig
from crdbmesh.commands.up import recorded, result_document
from crdbmesh.engine import plan, run
from crdbmesh.engine.step import Notify, Outcome, Result, Step
from crdbmesh.errors import CloudError
from crdbmesh.local import contents
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe import inventory
from crdbmesh.run import lease as leases
from crdbmesh.spec import names
from crdbmesh.steps import removal

WORKERS = 16
LEASE_S = 900.0
"""Longer than an `up`'s: a lease is not renewed in a group that is being deleted."""

Resource = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Belongings:
    """What belongs to a mesh in Azure.

    Attributes:
        groups: resource groups that are the mesh's own, with nothing else's in them: deleted whole, with this content.
        resources: what is deleted one by one: the mesh's resources in groups that are shared.
        kept: the mesh's own groups in which other people's resources were found, and those resources: they stay.
    """

    groups: Mapping[str, tuple[Resource, ...]]
    resources: tuple[Resource, ...]
    kept: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many things will be deleted."""
        return len(self.groups) + sum(map(len, self.groups.values())) + len(self.resources)

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions it is in, by its tags."""
        everything = [resource for content in self.groups.values() for resource in content] + [*self.resources]
        found = {(resource.get("tags") or {}).get(names.TAG_REGION) for resource in everything}
        return tuple(sorted(region for region in found if region))

    def lease(self, mesh: str) -> Resource | None:
        """What holds the mesh's lease, or None."""
        everything = [resource for content in self.groups.values() for resource in content] + [*self.resources]
        return next((resource for resource in everything if resource["name"] == names.lease(mesh)), None)

    def names(self) -> tuple[str, ...]:
        """What is deleted, for people to read."""
        return (
            *(f"resource group {group}{_summary(content)}" for group, content in self.groups.items()),
            *(_shown(resource) for resource in self.resources),
        )


@dataclass(frozen=True, slots=True)
class DownResult:
    """How a run of `down` ended.

    Attributes:
        found: how many things there were to delete.
        left: what still carries the mesh's tag; empty when all is gone.
        kept: what stays because it does not carry the mesh's tag.
        finished: False when Azure was told to delete but nobody waited.
        forgotten: the contexts that were taken out of the user's kubeconfig.
    """

    mesh: str
    results: dict[str, Result]
    found: int
    left: tuple[str, ...]
    kept: tuple[str, ...]
    finished: bool
    seconds: float
    forgotten: tuple[str, ...] = ()

    @property
    def stopped(self) -> bool:
        """Whether the run was interrupted."""
        return any(result.outcome is Outcome.STOPPED for result in self.results.values())

    @property
    def done(self) -> bool:
        """Whether everything was deleted, or ordered to be."""
        return not self.left and _all_good(self.results)

    def document(self) -> dict[str, Any]:
        """The result as `--output json` prints it."""
        return {
            "command": "down",
            "mesh": self.mesh,
            "done": self.done,
            "finished": self.finished,
            "found": self.found,
            "left": list(self.left),
            "kept": list(self.kept),
            "forgotten_contexts": list(self.forgotten),
            "seconds": round(self.seconds, 1),
            "steps": [result_document(result) for result in self.results.values()],
        }


def find(mesh: str, cloud: clouds.Cloud) -> Belongings:
    """What `down` would delete.

    Raises:
        CrdbmeshError: Azure cannot be reached.
    """
    with Session(cloud) as session:
        return _belongings(session, mesh)


def run_down(
    mesh: str,
    cloud: clouds.Cloud,
    folder: LocalFolder,
    *,
    notify: Notify,
    wait: bool = True,
    forget_in: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
) -> DownResult:
    """Delete it all, look again, and remove the local folder once nothing is left.

    Args:
        mesh: its name, which is the value of the tag.
        cloud: where Azure is.
        folder: the mesh's local folder; not needed.
        notify: told of every event.
        wait: until Azure has deleted; otherwise only until it has taken the order. Resources that go one by one are
            always waited for, since the next depends on them.
        forget_in: the environment that names the user's kubeconfig, to take the mesh's contexts out of it.
        stop: once set, nothing new is started.

    Raises:
        HeldError: another run is at work on this mesh.
        CrdbmeshError: Azure cannot be reached at all.
    """
    started = time.monotonic()
    with Session(cloud, stop=stop) as session, contextlib.ExitStack() as stack:
        has_folder = folder.path.is_dir()
        if has_folder:
            stack.enter_context(folder.locked(leases.name_of("down")))
        found = _belongings(session, mesh)
        lease = _lease(session, mesh, found.lease(mesh), origin=leases.origin_id(folder.path) if has_folder else None)
        if lease is not None:
            lease.take()
            stack.callback(lease.end)
        # Whoever is taken down is not missed: another `up` begins an empty database.
        folder.delete(contents.CLUSTER_ID)
        if folder.exists():
            journal = stack.enter_context(folder.journal("down", dt.datetime.now(dt.UTC)))
            journal.record(command="down", mesh=mesh, found=found.count)
            notify = recorded(journal, notify)
        steps: list[Step] = [
            removal.GroupGone(name=f"group/{group}", session=session, group=group, wait=wait) for group in found.groups
        ]
        steps += removal.resource_steps(session, found.resources)
        results = run.run(plan.order(steps), workers=WORKERS, notify=notify, stop=stop)
        left = _left(session, mesh) if wait else ()
        if lease is not None and (left or not _all_good(results)):
            lease.give_back()
    ended = DownResult(mesh, results, found.count, left, found.kept, wait, time.monotonic() - started)
    if not ended.done:
        return ended
    forgotten = _forget(folder, found, forget_in) if forget_in is not None else ()
    if wait:
        folder.remove()
    return DownResult(mesh, results, found.count, left, found.kept, wait, time.monotonic() - started, forgotten)


def _lease(session: Session, mesh: str, found: Resource | None, *, origin: str | None) -> leases.Lease | None:
    if found is None:
        return None
    return leases.Lease(
        session,
        group=str(found["id"]).split("/")[4],
        mesh=mesh,
        location=str(found["location"]),
        tags={names.TAG: mesh},
        command="down",
        origin=origin,
        lasts_s=LEASE_S,
    )


def _all_good(results: Mapping[str, Result]) -> bool:
    return all(result.outcome.good for result in results.values())


def _belongings(session: Session, mesh: str) -> Belongings:
    whole: dict[str, tuple[Resource, ...]] = {}
    kept: list[str] = []
    singles: dict[str, Resource] = {}
    for group in arm.list_groups(session, names.TAG, mesh):
        name = str(group["name"])
        content = arm.list_group_resources(session, name)
        tagged = {_key(resource) for resource in content if _is_tagged(resource, mesh)}
        ours = {_key(one): one for one in content if _key(one) in tagged or _is_disk_of(one, tagged, mesh)}
        foreign = [resource for resource in content if not _is_of(resource, ours)]
        if not foreign:
            whole[name] = tuple(content)
            continue
        kept += [f"resource group {name}", *(_shown(resource) for resource in foreign)]
        singles.update(ours)
    in_whole = tuple(f"/resourcegroups/{group.lower()}/" for group in whole)
    for resource in arm.list_tagged(session, names.TAG, mesh):
        if not any(group in _key(resource) for group in in_whole):
            singles[_key(resource)] = resource
    return Belongings(whole, tuple(singles.values()), tuple(kept))


def _left(session: Session, mesh: str) -> tuple[str, ...]:
    """What is still there. Azure's lists lag behind deletions, so each thing that is listed is looked for itself."""
    listed = _belongings(session, mesh)
    groups = {name: content for name, content in listed.groups.items() if arm.find_group(session, name) is not None}
    resources = tuple(resource for resource in listed.resources if _is_there(session, resource))
    return Belongings(groups, resources, ()).names()


def _is_there(session: Session, resource: Resource) -> bool:
    try:
        return arm.find_resource_by_id(session, str(resource["id"])) is not None
    except CloudError:
        # What cannot be looked at is not known to be gone.
        return True


def _forget(folder: LocalFolder, found: Belongings, environ: Mapping[str, str]) -> tuple[str, ...]:
    kept = [path.stem for path in sorted((folder.path / "kubeconfigs").glob("*.yaml"))]
    regions = dict.fromkeys([*kept, *found.regions])
    return kubeconfig.forget(regions, environ).contexts


def _is_tagged(resource: Resource, mesh: str) -> bool:
    return (resource.get("tags") or {}).get(names.TAG) == mesh


def _is_disk_of(resource: Resource, tagged: Collection[str], mesh: str) -> bool:
    """Whether it is the OS disk of a machine of ours, which may carry no tag: attached to one, or left by one."""
    if str(resource.get("type", "")).lower() != "microsoft.compute/disks":
        return False
    owner = str(resource.get("managedBy") or "").lower()
    if owner:
        return owner in tagged
    return str(resource.get("name", "")).lower().endswith("-os") and inventory.place_of(resource, mesh) is not None


def _is_of(resource: Resource, ours: Mapping[str, Resource]) -> bool:
    """Whether it is one of `ours` or a child of one, such as an extension that a policy put on a machine."""
    key = _key(resource)
    return key in ours or any(key.startswith(f"{parent}/") for parent in ours)


def _key(resource: Resource) -> str:
    return str(resource["id"]).lower()


def _shown(resource: Resource) -> str:
    return f"{resource['type']} {resource['name']}"


def _summary(content: tuple[Resource, ...]) -> str:
    counts = Counter(str(resource["type"]).rpartition("/")[2] for resource in content)
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return f" with {listed}" if listed else ""
