"""BACKUP, RESTORE and their schedules, for the whole cluster, into Azure's containers by implicit authentication.

After `pkg/backup` of v26.2 and the docs of `BACKUP`, `RESTORE`, `SHOW BACKUP` and `CREATE SCHEDULE FOR BACKUP`. Every
live node writes, so each one's machine must have the identity. An incremental backup holds all there is here.
"""

from __future__ import annotations

import copy
import datetime as dt
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.azure import storage
from crdbmesh_simulator.workloads import paths
from crdbmesh_simulator.workloads.cockroachdb.sql import Kept, Result, Row, Session, SqlError

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.cockroachdb.node import CockroachNode
    from crdbmesh_simulator.workloads.cockroachdb.stores import Database

_METADATA, _AZURE = "169.254.169.254", "20.60.0.1"
_EVERY_S = {"@hourly": 3600.0, "@daily": 86400.0, "@weekly": 604800.0}
_URI = re.compile(r"azure-blob://([\w-]+)(/[^?]*)?\?AUTH=implicit&AZURE_ACCOUNT_NAME=(\w+)")


@dataclass
class Schedule:
    """A schedule of backups: full ones, or incremental ones."""

    id: int
    label: str
    uri: str
    recurrence: str
    incremental: bool
    next_at: float

    def shown(self) -> Row:
        """Return its row in `SHOW SCHEDULES`."""
        command = f"BACKUP INTO {'LATEST IN ' if self.incremental else ''}'{self.uri}' WITH OPTIONS (detached)"
        return self.id, self.label, "ACTIVE", self.recurrence, command


@dataclass
class Backup:
    """A full backup with what has changed since: the databases at the last one's end, each with its script."""

    layers: list[tuple[str, dt.datetime]] = field(default_factory=list)
    databases: dict[str, tuple[Kept, str]] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=dict)
    grants: set[tuple[str, str, str]] = field(default_factory=set)


def _open(node: CockroachNode, uri: str) -> dict[str, Backup]:
    """Return the backups in a collection by path. Raises SqlError: a node may not read or write it."""
    if not (found := _URI.fullmatch(uri)):
        raise SqlError(f"unsupported storage scheme or parameters: {uri}", "XXUUU")
    opened: Any = {}
    for process in [one.process for one in _database(node).nodes.values() if one.process is not None and one.beats]:
        client_id, machine = process.container.env.get("AZURE_CLIENT_ID", ""), process.container.node.machine
        start, subscription = paths.origin(node.container.world, process.container), node.container.world.subscription
        closed = paths.leaves(start, _METADATA, 80, "TCP") or paths.leaves(start, _AZURE, 443, "TCP")
        opened = closed or storage.open_container(machine, subscription, found[3], found[1], client_id)
        if isinstance(opened, str):
            raise SqlError(f"failed to open azure container {found[1]}: {opened}", "XXUUU")
    collection: dict[str, Backup] = opened.setdefault(found[2] or "/", {})
    return collection


def _database(node: CockroachNode) -> Database:
    assert node.database is not None
    return node.database


def _find(session: Session, found: re.Match[str]) -> Backup:
    kept, path = _open(session.node, found["uri"]), found["path"].strip("'")
    if (chosen := max(kept, default="") if path == "LATEST" else path) in kept:
        return kept[chosen]
    why = "path does not contain a completed latest backup" if path == "LATEST" else f"no backup found in {path}"
    raise SqlError(why, "58030")


def _perform(node: CockroachNode, uri: str, *, incremental: bool = False) -> None:
    kept, now, catalog = _open(node, uri), node.container.world.clock.utc(), _database(node).catalog
    path = max(kept) if incremental and kept else f"/{now:%Y/%m/%d-%H%M%S}.{now.microsecond // 10000:02}"
    made = kept.setdefault(path, Backup())
    made.layers.append(("incremental" if made.layers else "full", now))
    made.members, made.grants = copy.deepcopy(catalog.members), set(catalog.grants)
    made.databases = {
        name: (replace(one, owners={**one.owners}, regions=[*one.regions]), "\n".join(one.tables.iterdump()))
        for name, one in catalog.databases.items()
        if name != "system"
    }


def backup(session: Session, found: re.Match[str]) -> Result:
    """Make a full backup."""
    _perform(session.node, found["uri"])
    return Result(("job_id", "status", "fraction_completed"), [(1, "succeeded", 1)])


def list_all(session: Session, found: re.Match[str]) -> Result:
    """List the full backups of a collection."""
    return Result(("path",), [(path,) for path in sorted(_open(session.node, found["uri"]))])


def show(session: Session, found: re.Match[str]) -> Result:
    """Show the databases and tables in a backup, for each of its layers."""
    made = _find(session, found)
    layers = [(kind, at.strftime("%Y-%m-%d %H:%M:%S.%f+00")) for kind, at in made.layers]
    held: list[Row] = [(None, name, "database", None) for name in made.databases]
    for name, (kept, script) in made.databases.items():
        held += [(name, one, "table", script.count(f'INSERT INTO "{one}"')) for one in kept.owners]
    columns = ("database_name", "object_name", "object_type", "rows", "backup_type", "end_time")
    return Result(columns, [(*one, *layer) for layer in layers for one in held])


def restore(session: Session, found: re.Match[str]) -> Result:
    """Bring a backup back into a cluster without databases of users."""
    made, catalog = _find(session, found), session.catalog
    databases = {name: kept for name, kept in catalog.databases.items() if name != "system"}
    if there := [name for name, one in databases.items() if name not in ("defaultdb", "postgres") or one.owners]:
        said = "full cluster restore can only be run on a cluster with no tables or databases but found"
        raise SqlError(f"{said} {len(there)} descriptors: {', '.join(there)}", "42710")
    for name, (was, script) in made.databases.items():
        catalog.databases.pop(name, None)
        now = catalog.create(name, was.owner)
        now.owners, now.regions, now.survives = {**was.owners}, [*was.regions], was.survives
        now.tables.executescript(script)
    catalog.members, catalog.grants = copy.deepcopy(made.members), set(made.grants)
    return Result(("job_id", "status", "fraction_completed"), [(1, "succeeded", 1)])


def create_schedule(session: Session, found: re.Match[str]) -> Result:
    """Make the two schedules of full and incremental backups."""
    kept, world = _database(session.node).schedules, session.node.container.world
    for incremental, recurrence in ((True, found["often"]), (False, found["full"])):
        if recurrence not in _EVERY_S:
            raise SqlError(f"error parsing schedule expression: {recurrence}", "22023")
        due = world.clock.now() + (_EVERY_S[recurrence] if incremental else 0.0)
        kept.append(Schedule(len(kept) + 1, found["label"], found["uri"], recurrence, incremental, due))
    return Result(("schedule_id", "label", "status", "schedule", "backup_stmt"), [one.shown() for one in kept[-2:]])


def show_schedules(session: Session, _found: re.Match[str]) -> Result:
    """List the schedules."""
    columns = ("id", "label", "schedule_status", "recurrence", "command")
    return Result(columns, [one.shown() for one in _database(session.node).schedules])


def drop_schedule(session: Session, found: re.Match[str]) -> Result:
    """Drop a schedule."""
    kept = _database(session.node).schedules
    kept[:] = [one for one in kept if one.id != int(found["id"])]
    return Result(tag="DROP SCHEDULES 1")


def run_due(node: CockroachNode, now: float) -> None:
    """Make the backups that are due; one that fails is tried again when it is due next."""
    for one in _database(node).schedules:
        if now >= one.next_at:
            one.next_at = now + _EVERY_S[one.recurrence]
            try:
                _perform(node, one.uri, incremental=one.incremental)
            except SqlError as error:
                node.say(f"E backup of schedule {one.label} failed: {error}")
