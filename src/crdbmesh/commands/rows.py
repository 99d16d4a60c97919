"""A database of crdbmesh's own, for a proof or a drill: rows that one region writes and the others read.

It is dropped in the end. What a killed run has left, the next one takes over and drops.
"""

import contextlib
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from crdbmesh.clients import database
from crdbmesh.clients.database import Row
from crdbmesh.errors import CrdbmeshError
from crdbmesh.observe import database as observed
from crdbmesh.observe.proof import Claim, Readings
from crdbmesh.run.world import World

DATABASE = "crdbmesh_verify"
_TABLE = f"{DATABASE}.rows"


def query(world: World, region: str, *statements: str) -> list[Row]:
    """Run statements at a region's first node, through the first client pod that can; return the last one's rows."""
    host = observed.address_of(region, 0)
    return observed.through_client(world, lambda kube, at: database.query(kube, at, *statements, host=host))


@contextlib.contextmanager
def prepared(world: World, *statements: str) -> Iterator[None]:
    """Create the database and what the statements create in it; drop it at the end, however that comes."""
    regions = [region.name for region in world.mesh.client_regions()]
    try:
        query(world, regions[0], f"CREATE DATABASE IF NOT EXISTS {DATABASE}", *statements)
        yield
    finally:
        for region in regions:
            with contextlib.suppress(CrdbmeshError):
                query(world, region, f"DROP DATABASE IF EXISTS {DATABASE} CASCADE")
                break


def read(world: World, _readings: Readings) -> Iterator[Claim]:
    """Let each region write a row, and every other one read it."""
    regions, mark = [region.name for region in world.mesh.all_regions()], secrets.token_hex(8)
    failed: dict[str, str] = {}

    def write(region: str) -> None:
        try:
            query(world, region, f"UPSERT INTO {_TABLE} (region, mark) VALUES ('{region}', '{mark}')")
        except CrdbmeshError as error:
            failed[region] = f"{region} could not write: {error}"

    def seen(region: str) -> Claim:
        others = [other for other in regions if other != region] or [region]
        try:
            rows = query(world, region, f"SELECT region, mark FROM {_TABLE}")  # noqa: S608 - a table of our own
        except CrdbmeshError as error:
            return Claim("row", region, "", 0, len(others), str(error))
        found = {row["region"] for row in rows if row["mark"] == mark}
        lost = [failed.get(other, f"the row of {other} is not seen") for other in others if other not in found]
        return Claim.of("row", region, "", len(others), lost)

    create = f"CREATE TABLE IF NOT EXISTS {_TABLE} (region STRING PRIMARY KEY, mark STRING)"
    with prepared(world, create), ThreadPoolExecutor(max_workers=8, thread_name_prefix="rows") as pool:
        list(pool.map(write, regions))
        yield from list(pool.map(seen, regions))
