"""Judges backups: what they need in Azure, their schedule in the database, and the age of the last one."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from crdbmesh.clients import database as client
from crdbmesh.clients.azure import compare
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.database import Row
from crdbmesh.desired import Body, backup
from crdbmesh.desired.backup import Part
from crdbmesh.errors import CrdbmeshError, RefusedError
from crdbmesh.observe import database
from crdbmesh.run.world import World

OWN_DATABASES = ("system", "defaultdb", "postgres")
NONE = "Nothing is backed up: set `backup: {}` in the spec."
_NO_BACKUP = "latest backup"
"""A part of CockroachDB's refusal to read a collection of backups that is empty (pkg/backup/backupdest)."""
_INTERVALS = {"@hourly": dt.timedelta(hours=1), "@daily": dt.timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class LastBackup:
    """The last backup of a mesh: when it ended; None when there is none, or when it cannot be read, with the reason."""

    ended: dt.datetime | None
    interval: dt.timedelta
    unread: str | None = None

    @property
    def is_stale(self) -> bool:
        """Return True unless it is younger than twice the interval."""
        return self.ended is None or dt.datetime.now(dt.UTC) - self.ended > 2 * self.interval

    def __str__(self) -> str:
        """Return it as a sentence for people."""
        if self.ended is None:
            return f"The last backup cannot be read: {self.unread}." if self.unread else "There is no backup yet."
        hours, seconds = divmod(max(0, int((dt.datetime.now(dt.UTC) - self.ended).total_seconds())), 3600)
        told = f"{hours // 24} days" if hours >= 48 else f"{hours} h" if hours else f"{seconds // 60} min"
        return f"The last backup is {told} old{', which is too old' if self.is_stale else ''}."


def read_last(world: World) -> LastBackup | None:
    """Read when the last backup ended, from the backups themselves; None for a mesh without."""
    if (spec := world.mesh.backup) is None:
        return None
    interval = _INTERVALS[spec.incremental]
    try:
        rows = query(world, f"SHOW BACKUP FROM LATEST IN '{backup.uri(world.mesh, world.session.subscription_id)}'")
    except CrdbmeshError as error:
        return LastBackup(None, interval, None if _NO_BACKUP in str(error) else str(error))
    ended = max(dt.datetime.fromisoformat(row["end_time"]) for row in rows)
    return LastBackup(ended if ended.tzinfo else ended.replace(tzinfo=dt.UTC), interval)


def find_data(world: World) -> list[str]:
    """Find the databases of users."""
    rows = query(world, "SHOW DATABASES")
    return [row["database_name"] for row in rows if row["database_name"] not in OWN_DATABASES]


def query(world: World, *statements: str, timeout_s: float = 60) -> list[Row]:
    """Run statements through a client pod; see `clients.database.query`."""
    return database.through_client(world, lambda kube, at: client.query(kube, at, *statements, timeout_s=timeout_s))


def find_identity(world: World) -> Body | None:
    """Return the properties of the managed identity, `principalId` and `clientId`, or None when it is absent.

    A resource group of its name that is somebody else's is a RefusedError.
    """
    name = backup.group(world.mesh)
    found = arm.find_group(world.session, name)
    if found is not None and (found.get("tags") or {}).get(backup.TAG) != world.mesh.name:
        hint = f"if it is this mesh's, give it the tag {backup.TAG}={world.mesh.name}; else choose another name"
        raise RefusedError(f"resource group {name} exists and is not of this mesh's backups", hint=hint)
    part = backup.identity(world.mesh, world.session.subscription_id)
    identity = arm.find_by_id(world.session, part.id, part.api_version) if found else None
    return identity["properties"] if identity else None


def find_gaps(world: World) -> Iterator[tuple[str, Part, Body | None]]:
    """Find what is missing of the storage, and then of the role on it, each with what makes it right."""
    session, mesh = world.session, world.mesh
    for part in backup.storage(mesh, session.subscription_id):
        name, found = part.id.rpartition("/providers/")[2], arm.find_by_id(session, part.id, part.api_version)
        if differences := compare.differences(part.body, found):
            yield f"{name}: {differences[0]}" if found else f"{name} is absent", part, found
    scope = _find_container(world)
    principal = str((find_identity(world) or {}).get("principalId"))
    path = f"{scope.split('/', 3)[3]}/providers/Microsoft.Authorization/roleAssignments"
    has = [one["properties"] for one in session.read_pages(path, backup.ROLES_API)]
    mine = [str(one["roleDefinitionId"]).lower() for one in has if one.get("principalId") == principal]
    if not any(role.endswith(backup.ROLE) for role in mine):
        assigned = backup.assignment(scope, session.subscription_id, principal)
        yield "the identity of backups lacks its role", assigned, None


def _find_container(world: World) -> str:
    """Return the container's id; a RefusedError when the user's storage account is not in this subscription."""
    name, container = backup.account(world.mesh, world.session.subscription_id)
    own = [part.id for part in backup.storage(world.mesh, world.session.subscription_id)]
    listed = [] if own else world.session.read_pages("providers/Microsoft.Storage/storageAccounts", backup.STORAGE_API)
    for at in own or [str(one["id"]) for one in listed if one["name"] == name]:
        return f"{at}/blobServices/default/containers/{container}"
    hint = "name one of this subscription, or leave `backup.container` out"
    raise RefusedError(f"backup.container: there is no storage account {name} in this subscription", hint=hint)
