"""`crdbmesh backup` and `restore`: backups of the whole database, made, listed, and brought into an empty mesh."""

from typing import Any

from crdbmesh.clients.waiting import Say
from crdbmesh.desired import backup
from crdbmesh.errors import CrdbmeshError, PreflightError
from crdbmesh.observe import backups
from crdbmesh.run.world import World

_LONGEST_S = 24 * 3600.0


def run_now(world: World, say: Say) -> dict[str, Any]:
    """Make a full backup and wait for it; return what `run_list` does."""
    say("backing up the whole database")
    backups.query(world, f"BACKUP INTO '{_uri(world)}'", timeout_s=_LONGEST_S)
    return {**run_list(world), "command": "backup now"}


def run_list(world: World) -> dict[str, Any]:
    """Return the full backups, the newest first, and when the last backup of all ended, as JSON has it."""
    found, last = _list(world), backups.read_last(world)
    ended = last.ended.isoformat() if last and last.ended else None
    stale = last is None or last.is_stale
    return {"command": "backup list", "mesh": world.mesh.name, "backups": found, "ended": ended, "stale": stale}


def run_restore(world: World, chosen: str | None, say: Say) -> dict[str, Any]:
    """Restore a backup into an empty mesh: the one that is chosen, or the newest in which there is data.

    A database that is in the way is a PreflightError, unless it is the spec's and empty.
    """
    at, there, own = _uri(world), backups.find_data(world), world.mesh.database
    empty = [own.name] if own and own.name in there and not backups.query(world, f"SHOW TABLES FROM {own.name}") else []
    if data := [name for name in there if name not in empty]:
        reason, remedy = "in the mesh already, and a restore would replace all", "restore after a `down` and an `up`"
        raise PreflightError.of("databases", ", ".join(data), reason, remedy)
    listed = _list(world)
    source = chosen or next((one for one in listed if _holds_data(world, one)), None)
    if source not in listed:
        raise PreflightError.of("FROM", chosen or "none", "is no backup with data", f"choose of {', '.join(listed)}")
    say(f"restoring {source}")
    drops = [f"DROP DATABASE {name}" for name in empty]
    backups.query(world, *drops, f"RESTORE FROM '{source}' IN '{at}'", timeout_s=_LONGEST_S)
    return {"command": "restore", "mesh": world.mesh.name, "from": source, "databases": backups.find_data(world)}


def describe_loss(world: World) -> str | None:
    """Say what a `down` would lose for good; None when there is a recent backup, no data, or no answer."""
    try:
        data, last = backups.find_data(world), backups.read_last(world)
    except CrdbmeshError:
        return None
    is_lost = data and (last is None or last.is_stale)
    return f"{last or 'There is no backup.'} Databases: {', '.join(data)}." if is_lost else None


def _holds_data(world: World, source: str) -> bool:
    rows = backups.query(world, f"SHOW BACKUP FROM '{source}' IN '{_uri(world)}'")
    tables = [row for row in rows if row["object_type"] == "table" and row["rows"] not in ("0", "NULL")]
    return any(row["database_name"] != "system" for row in tables)


def _list(world: World) -> list[str]:
    return sorted((row["path"] for row in backups.query(world, f"SHOW BACKUPS IN '{_uri(world)}'")), reverse=True)


def _uri(world: World) -> str:
    if world.mesh.backup is None:
        reason, remedy = "the mesh has no backups", "set `backup: {}` in the spec, and run `up`"
        raise PreflightError.of("backup", "none", reason, remedy)
    return backup.uri(world.mesh, world.session.subscription_id)
