"""A database of crdbmesh's own, for a proof or a drill: rows that one region writes and the others read.

Each run has its own, and drops it in the end. What a killed run has left, one drops that begins a day later.
"""

import contextlib
import re
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from crdbmesh.clients import database
from crdbmesh.clients.database import Row
from crdbmesh.errors import CrdbmeshError
from crdbmesh.observe import database as observed
from crdbmesh.observe.proof import Claim, Readings
from crdbmesh.run.world import World

_TABLES = {"rows", "drill"}
_NAME = re.compile(r"crdbmesh_verify_([0-9a-f]{8})_[0-9a-f]{16}")
"""The name of a run's database: when it was made, in seconds since 1970, and a random number."""
_LEFT_S = 24 * 60 * 60
"""No run lasts as long, so that a database that is older was left by one that was killed."""


def query(world: World, region: str, *statements: str) -> list[Row]:
    """Run statements at a region's first node, through the first client pod that can; return the last one's rows."""
    host = observed.address_of(region, 0)
    return observed.through_client(world, lambda kube, at: database.query(kube, at, *statements, host=host))


@contextlib.contextmanager
def prepared(world: World, name: str, *statements: str) -> Iterator[str]:
    """Create a database, and by statements a table in it; give the table's name, which is where they have `{}`.

    The database is dropped at the end, however that comes.
    """
    database_name = f"crdbmesh_verify_{int(time.time()):08x}_{secrets.token_hex(8)}"
    table = f"{database_name}.{name}"
    create = f"CREATE DATABASE IF NOT EXISTS {database_name}"
    try:
        with contextlib.suppress(CrdbmeshError):
            _sweep(world)
        _anywhere(world, create, *(statement.format(table) for statement in statements))
        yield table
    finally:
        with contextlib.suppress(CrdbmeshError):
            _anywhere(world, f"DROP DATABASE IF EXISTS {database_name} CASCADE")


def _sweep(world: World) -> None:
    """Drop what killed runs have left: databases with a run's name, a day old, whose tables are a run's."""
    for name in (row["database_name"] for row in _anywhere(world, "SHOW DATABASES")):
        made = _NAME.fullmatch(name)
        if made and time.time() - int(made[1], 16) > _LEFT_S:
            tables = {row["table_name"] for row in _anywhere(world, f"SHOW TABLES FROM {name}")}
            if tables <= _TABLES:
                _anywhere(world, f"DROP DATABASE IF EXISTS {name} CASCADE")


def _anywhere(world: World, *statements: str) -> list[Row]:
    """Run statements, which may be repeated, at the first region's node that can; return the last one's rows."""
    *others, last = [region.name for region in world.mesh.client_regions()]
    for region in others:
        with contextlib.suppress(CrdbmeshError):
            return query(world, region, *statements)
    return query(world, last, *statements)


def read(world: World, _readings: Readings) -> Iterator[Claim]:
    """Let each region write a row, and every other one read it."""
    regions, mark = [region.name for region in world.mesh.all_regions()], secrets.token_hex(8)
    failed: dict[str, str] = {}

    def write(region: str) -> None:
        try:
            query(world, region, f"UPSERT INTO {table} (region, mark) VALUES ('{region}', '{mark}')")
        except CrdbmeshError as error:
            failed[region] = f"{region} could not write: {error}"

    def seen(region: str) -> Claim:
        others = [other for other in regions if other != region] or [region]
        try:
            rows = query(world, region, f"SELECT region, mark FROM {table}")  # noqa: S608 - a table of our own
        except CrdbmeshError as error:
            return Claim("row", region, "", 0, len(others), str(error))
        found = {row["region"] for row in rows if row["mark"] == mark}
        lost = [failed.get(other, f"the row of {other} is not seen") for other in others if other not in found]
        return Claim.of("row", region, "", len(others), lost)

    create = "CREATE TABLE IF NOT EXISTS {} (region STRING PRIMARY KEY, mark STRING)"
    with prepared(world, "rows", create) as table, ThreadPoolExecutor(max_workers=8, thread_name_prefix="rows") as pool:
        list(pool.map(write, regions))
        yield from list(pool.map(seen, regions))
