"""`crdbmesh down`: delete what belongs to the mesh, and nothing else.

What is deleted is found in Azure; whose it is, is decided by `observe.belongings`, from the local folder's record where
there is one. Absent is done, so it can be run again until nothing is left; it ends by looking again.
"""

import contextlib
import datetime as dt
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crdbmesh.clients import cloud as clouds
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.commands import aim as aims
from crdbmesh.commands import kubeconfig
from crdbmesh.commands.up import recorded
from crdbmesh.engine import plan, run
from crdbmesh.engine.step import Notify, Outcome, Result, Step
from crdbmesh.errors import CloudError, ConfigError, Finding, RefusedError
from crdbmesh.local import contents
from crdbmesh.local.birth import Aim
from crdbmesh.local.folder import SPEC, LocalFolder, erase_removed
from crdbmesh.observe import belongings
from crdbmesh.observe.belongings import Belongings
from crdbmesh.run import lease as leases
from crdbmesh.spec import load as config
from crdbmesh.spec import names
from crdbmesh.steps import removal

UNPROVEN = "only its tag says that it is the mesh's: run `down` in a terminal and confirm, or restore the local folder"
LEASE_S = 840.0
"""Longer than an `up`'s: a lease is not renewed in a group that is being deleted."""


@dataclass(frozen=True, slots=True)
class DownResult:
    """The result of a run of `down`.

    Attributes:
        found: how many things there were to delete.
        left: what of the mesh is still there; empty when all is gone.
        kept: what stays because it is not the mesh's.
        finished: False when Azure was told to delete but nobody waited.
        severed: the halves of peerings on other people's VNets that are Disconnected now.
        forgotten: the contexts that were taken out of the user's kubeconfig.
        folder: where the mesh's local folder is now, or None when there is none.
    """

    mesh: str
    aim: Aim
    results: dict[str, Result]
    found: int
    left: tuple[str, ...]
    kept: tuple[str, ...]
    finished: bool
    seconds: float
    severed: tuple[str, ...]
    forgotten: tuple[str, ...] = ()
    folder: Path | None = None

    @property
    def stopped(self) -> bool:
        """Return True when the run was interrupted."""
        return any(result.outcome is Outcome.STOPPED for result in self.results.values())

    @property
    def done(self) -> bool:
        """Return True when everything was deleted, or Azure was told to."""
        return not self.left and all(result.outcome.good for result in self.results.values())

    def document(self) -> dict[str, Any]:
        """The result as `--output json` prints it."""
        return {
            "command": "down",
            "mesh": self.mesh,
            **self.aim.document(),
            "done": self.done,
            "finished": self.finished,
            "found": self.found,
            "left": list(self.left),
            "kept": list(self.kept),
            "disconnected_peerings": list(self.severed),
            "forgotten_contexts": list(self.forgotten),
            "folder": str(self.folder) if self.folder else None,
            "seconds": round(self.seconds, 1),
            "steps": [result.document() for result in self.results.values()],
        }


def find(mesh: str, cloud: clouds.Cloud, folder: LocalFolder, told: aims.Told = aims.untold) -> Belongings:
    """Find what `down` would delete."""
    with Session(cloud) as session:
        aims.require(session, folder, mesh, told)
        return _find(session, _ownership(session, folder, mesh))


def run_down(
    mesh: str,
    cloud: clouds.Cloud,
    folder: LocalFolder,
    *,
    notify: Notify,
    wait: bool = True,
    purge: bool = False,
    confirmed: Collection[str] = (),
    forget_in: Mapping[str, str] | None = None,
    break_lease: str | None = None,
    warn: Callable[[Finding], None] = lambda _finding: None,
    stop: threading.Event | None = None,
) -> DownResult:
    """Delete it all, look again, and move the local folder to the removed ones once nothing is left.

    Without the local folder, what only a tag calls the mesh's is deleted as far as its id is `confirmed`. The folder
    stays where it is when nothing of the mesh was found, now or by a `down` before. With `purge` it is erased instead
    of moved, and so are those of this mesh that were moved before.

    Without `wait` this ends once Azure has taken the order; but resources that go one by one are always waited for,
    since the next depends on them. `forget_in` is the environment that names the user's kubeconfig, to take the mesh's
    contexts out of it. `break_lease` is the id of a lease to take from whoever has it; `warn` is told who that is. Once
    `stop` is set, nothing new is started. Another run at work on this mesh is a HeldError.
    """
    started, now = time.monotonic(), dt.datetime.now(dt.UTC)
    with Session(cloud, stop=stop) as session, contextlib.ExitStack() as stack:
        origin = None
        if folder.path.is_dir():
            stack.enter_context(folder.locked(leases.name_of("down")))
            origin = leases.origin_id(folder.path)
        aim = aims.require(session, folder, mesh)
        ownership = _ownership(session, folder, mesh)
        found = _find(session, ownership).confirmed(confirmed)
        lease = _lease(session, mesh, found, origin=origin, breaks=break_lease, warn=warn)
        if lease is not None:
            lease.take()
            stack.callback(lease.end)
        if found.count and folder.path.is_dir():
            folder.write(contents.DOWN_BEGUN, "")
            # Forget the cluster id: the next `up` starts an empty database.
            folder.delete(contents.CLUSTER_ID)
        if folder.exists():
            journal = stack.enter_context(folder.journal("down", now))
            journal.record(command="down", mesh=mesh, found=found.count)
            notify = recorded(journal, notify)

        def permit(_step: Step) -> None:
            # Another run may have taken the lease; one that is gone, with its group say, stops nothing.
            with contextlib.suppress(CloudError, RefusedError):
                if lease is not None:
                    lease.look()

        steps = plan.order(removal.steps(session, mesh, found, wait=wait))
        results = run.run(steps, workers=plan.WORKERS, notify=notify, stop=stop, permit=permit)
        left = belongings.find_remaining(session, ownership, confirmed).names() if wait else ()
        left += tuple(f"{one['id']} ({UNPROVEN})" for one in found.unproven)
        seconds = time.monotonic() - started
        ended = DownResult(mesh, aim, results, found.count, left, found.kept, wait, seconds, found.severed)
        if lease is not None and not ended.done:
            lease.give_back()
        if not ended.done:
            return ended
        forgotten = kubeconfig.forget(folder, forget_in) if forget_in is not None else ()
        erase_removed(folder.path.parent, now, mesh=mesh if purge else None)
        return replace(ended, forgotten=forgotten, folder=_put_aside(folder, now, purge=purge) if wait else folder.path)


def _find(session: Session, ownership: belongings.Ownership) -> Belongings:
    found = belongings.find(session, ownership)
    return replace(found, severed=belongings.find_severed(session, found))


def _ownership(session: Session, folder: LocalFolder, mesh: str) -> belongings.Ownership:
    group = None
    if folder.exists() or folder.read(contents.CREATED):
        # Of a folder that knows the mesh, a spec that cannot be read widens nothing: a group is named like its mesh.
        group = mesh
        with contextlib.suppress(ConfigError):
            group = config.mesh(config.read_kept(folder.path / SPEC)).group_name
    return belongings.Ownership(session, folder, mesh, group)


def _put_aside(folder: LocalFolder, now: dt.datetime, *, purge: bool) -> Path | None:
    """Return where the folder of a mesh that is gone is now; a folder whose mesh was never found stays."""
    if not folder.path.is_dir():
        return None
    if folder.holds_secrets() and folder.read(contents.DOWN_BEGUN) is None:
        return folder.path
    if purge:
        folder.remove()
        return None
    return folder.put_aside(now)


def _lease(session: Session, mesh: str, found: Belongings, **options: Any) -> leases.Lease | None:
    held_in = found.lease(mesh)
    if held_in is None:
        return None
    group = arm.find_group(session, belongings.group_of(held_in))
    if group is None or group["properties"]["provisioningState"] == "Deleting":
        # An earlier run's deletion ends by itself, and nothing can be written there.
        return None
    return leases.Lease(
        session,
        group=belongings.group_of(held_in),
        mesh=mesh,
        location=str(held_in["location"]),
        tags={names.TAG: mesh},
        command="down",
        lasts_s=LEASE_S,
        **options,
    )
