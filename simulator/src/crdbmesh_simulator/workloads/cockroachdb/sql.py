"""What SQL keeps in a CockroachDB cluster, one store for all nodes: databases, users, privileges; tables by SQLite.

Each database is one of SQLite's in memory. What it does not understand is refused, and says that it is the simulator
that does not know it.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.cockroachdb.node import CockroachNode

KNOWN = (
    "CREATE, ALTER and DROP of DATABASE and USER, CREATE and DROP TABLE, GRANT, REVOKE, INSERT, UPSERT, UPDATE, "
    "DELETE, SELECT, SHOW DATABASES, TABLES, USERS and REGIONS, SET, USE"
)
Row = tuple[Any, ...]
_NUMBERS = itertools.count()
"""Tell one world's databases from another's in the same process."""
_LOCATIONS = (
    'CREATE TABLE locations ("localityKey" TEXT, "localityValue" TEXT, latitude REAL, longitude REAL, '
    'PRIMARY KEY ("localityKey", "localityValue"))'
)
"""`system.locations`, after `pkg/sql/catalog/systemschema/system.go`."""


class SqlError(Exception):
    """A statement is refused: the server's message, its SQLSTATE, and a hint."""

    def __init__(self, message: str, state: str, hint: str = "") -> None:
        super().__init__(f"{message}\nSQLSTATE: {state}" + (f"\nHINT: {hint}" if hint else ""))
        self.state = state


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a statement: columns with rows, or a tag such as `SET` when it returns none."""

    columns: tuple[str, ...] = ()
    rows: Sequence[Row] = ()
    tag: str = ""


@dataclass
class Kept:
    """A database: its tables' owners, its regions (the primary one first), and what it survives."""

    owner: str
    tables: sqlite3.Connection
    url: str
    owners: dict[str, str] = field(default_factory=dict)
    regions: list[str] = field(default_factory=list)
    survives: str = "zone"


@dataclass
class Catalog:
    """All that the cluster keeps.

    Attributes:
        members: each user's roles.
        grants: user, privilege, and what it is on: a database, or a table as `database.table`.
    """

    identity: str
    license: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    databases: dict[str, Kept] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=lambda: {"root": {"admin"}, "admin": set()})
    grants: set[tuple[str, str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        for name in ("defaultdb", "postgres"):
            self.create(name, "root")
        system = self.create("system", "node")
        system.owners["locations"] = "node"
        system.tables.execute(_LOCATIONS)

    def create(self, name: str, owner: str) -> Kept:
        """Create a database."""
        url = f"file:{self.identity}-{name}-{next(_NUMBERS)}?mode=memory&cache=shared"
        tables = sqlite3.connect(url, uri=True, check_same_thread=False, isolation_level=None)
        made = self.databases[name] = Kept(owner, tables, url)
        return made

    def is_admin(self, user: str) -> bool:
        """Return whether a user is a member of the role `admin`."""
        return "admin" in self.members.get(user, ())

    def may(self, user: str, privilege: str, database: str, table: str) -> bool:
        """Return whether a user has a privilege on a table."""
        mine = {user, "public", *self.members.get(user, ())}
        if self.is_admin(user) or self.databases[database].owners.get(table) in mine:
            return True
        objects = (database, f"{database}.{table}")
        return any((who, one, on) in self.grants for who in mine for one in (privilege, "ALL") for on in objects)


@dataclass
class Session:
    """A client's session at one node."""

    node: CockroachNode
    user: str
    database: str = "defaultdb"
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def catalog(self) -> Catalog:
        """What the cluster keeps."""
        assert self.node.database is not None
        return self.node.database.catalog

    def regions(self) -> dict[str, list[str]]:
        """Return the zones of each region of the cluster, as its nodes' localities say."""
        assert self.node.database is not None
        found: dict[str, set[str]] = {}
        for node in self.node.database.voters():
            tiers = dict(tier.partition("=")[::2] for tier in node.locality.split(",") if tier)
            if "region" in tiers:
                found.setdefault(tiers["region"], set()).update({tiers["zone"]} if "zone" in tiers else ())
        return {region: sorted(zones) for region, zones in sorted(found.items())}

    def find(self, name: str) -> Kept:
        """Return a database. Raises SqlError: there is none."""
        if name not in self.catalog.databases:
            raise SqlError(f'database "{name}" does not exist', "3D000")
        return self.catalog.databases[name]

    def require_region(self, name: str) -> str:
        """Return a region of the cluster. Raises SqlError: there is none."""
        if name not in (known := self.regions()):
            raise SqlError(f'region "{name}" does not exist', "42602", f"valid regions: {', '.join(known)}")
        return name


def unknown(node: CockroachNode, text: str, why: str = "") -> SqlError:
    """Record and return the refusal of what this world does not know."""
    node.container.world.not_known("sql", text)
    return SqlError(f"the simulated CockroachDB does not know this statement{why}", "0A000", f"it knows {KNOWN}")


# Tables, by SQLite.

_READS = {
    sqlite3.SQLITE_READ: "SELECT",
    sqlite3.SQLITE_INSERT: "INSERT",
    sqlite3.SQLITE_UPDATE: "UPDATE",
    sqlite3.SQLITE_DELETE: "DELETE",
}
_SAID: tuple[tuple[str, str, str], ...] = (
    (r"no such table: (?:\w+\.)?(\S+)", 'relation "{}" does not exist', "42P01"),
    (r"table (\S+) already exists", 'relation "{}" already exists', "42P07"),
    (r"no such column: (\S+)", 'column "{}" does not exist', "42703"),
    (r"table \S+ has no column named (\S+)", 'column "{}" does not exist', "42703"),
    (r"UNIQUE constraint failed: (\w+)\..*", 'duplicate key value violates unique constraint "{}_pkey"', "23505"),
    (r"NOT NULL constraint failed: \w+\.(\w+)", 'null value in column "{}" violates not-null constraint', "23502"),
    (r'near "(.*)": syntax error', 'at or near "{}": syntax error', "42601"),
    (r"no such function: (\S+)", "unknown function: {}()", "42883"),
)


_TABLE = r"(?:create|drop)\s+table\s+(?:if\s+(?:not\s+)?exists\s+)?(?:(\w+)\.)?(?:public\.)?\"?(\w+)"


class Query:
    """A statement on tables, in SQLite's words, on the session's database and those that it names."""

    def __init__(self, session: Session, text: str, shown: Sequence[Result] = ()) -> None:
        self.session, self.text, self.shown = session, text, shown
        self.name = session.database
        self.main = session.find(self.name)
        self.denied: SqlError | None = None
        self.verb = text.split()[0].upper()

    def run(self) -> Result:
        """Run it. Raises SqlError: it is refused."""
        text = re.sub(r"\b(\w+)\.public\.(\w+)", r"\1.\2", self.text)
        text = re.sub(r"^upsert\b", "INSERT OR REPLACE", text, flags=re.IGNORECASE)
        text = re.sub(r"::\w+(\(\d+\))?|\bcrdb_internal\.(?=\w+\()|\bpublic\.", "", text, flags=re.IGNORECASE)
        text = re.sub(r"\bdefault (\w+\([^()]*\))", r"DEFAULT (\1)", text, flags=re.IGNORECASE)
        text = re.sub(rf"\b{self.name}\.", "main.", text)
        others = [name for name in self.session.catalog.databases if re.search(rf"\b{name}\.", text)]
        tables = self.main.tables
        for name, function in self._functions().items():
            tables.create_function(name, 0, function)
        text = self._with_sources(text)
        try:
            for name in others:
                tables.execute(f'ATTACH "{self.session.catalog.databases[name].url}" AS "{name}"')
            tables.set_authorizer(self._authorize)
            return self._result(tables.execute(text))
        except sqlite3.Error as error:
            raise self._refusal(str(error)) from None
        finally:
            tables.set_authorizer(None)
            for name in others:
                tables.execute(f'DETACH "{name}"')

    def _with_sources(self, text: str) -> str:
        """Return the text with a table in the place of each `[SHOW ...]`."""
        for number, source in enumerate(self.shown):
            name = f"temp.shown_{number}"
            columns = ", ".join(source.columns)
            self.main.tables.execute(f"DROP TABLE IF EXISTS {name}")
            self.main.tables.execute(f"CREATE TABLE {name} ({columns})")
            marks = ", ".join("?" * len(source.columns))
            self.main.tables.executemany(f"INSERT INTO {name} VALUES ({marks})", source.rows)  # noqa: S608 - columns
            text = re.sub(r"\[show [^\]]+\]", name, text, count=1, flags=re.IGNORECASE)
        return text

    def _result(self, cursor: sqlite3.Cursor) -> Result:
        if cursor.description is not None:
            columns = tuple(re.sub(r"\(.*\)$", "", str(each[0])) for each in cursor.description)
            return Result(columns, cursor.fetchall())
        if self.verb in ("CREATE", "DROP"):
            found = re.match(_TABLE, self.text, re.IGNORECASE)
            owners = self.session.find(found[1] or self.name).owners if found else {}
            if found and self.verb == "CREATE":
                owners.setdefault(found[2], self.session.user)
            elif found:
                owners.pop(found[2], None)
            return Result(tag=f"{self.verb} TABLE")
        count = max(cursor.rowcount, 0)
        return Result(tag=f"INSERT 0 {count}" if self.verb in ("INSERT", "UPSERT") else f"{self.verb} {count}")

    def _authorize(self, action: int, one: str | None, _two: str | None, where: str | None, _by: str | None) -> int:
        if action in (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA):
            return sqlite3.SQLITE_DENY
        privilege = _READS.get(action)
        table, name = str(one), self.name if where in ("main", None) else str(where)
        if privilege is None or table.startswith("sqlite_") or name == "temp":
            return sqlite3.SQLITE_OK
        if self.session.catalog.may(self.session.user, privilege, name, table):
            return sqlite3.SQLITE_OK
        said = f"user {self.session.user} does not have {privilege} privilege on relation {table}"
        self.denied = self.denied or SqlError(said, "42501")
        return sqlite3.SQLITE_DENY

    def _refusal(self, reason: str) -> SqlError:
        if self.denied is not None:
            return self.denied
        for pattern, said, state in _SAID:
            if found := re.fullmatch(pattern, reason):
                return SqlError(said.format(found[1]), state)
        return unknown(self.session.node, self.text, f" (SQLite says: {reason})")

    def _functions(self) -> dict[str, Callable[[], Any]]:
        node, now = self.session.node, self.session.node.container.world.clock.utc
        assert node.database is not None
        identity, locality = node.database.cluster_id, node.database.nodes[node.store.node_id].locality
        found = re.search(r"region=([^,]+)", locality)
        build = f"CockroachDB CCL {node.build} (x86_64-pc-linux-gnu, built 2026/08/10 14:02:30, go1.25.7)"
        return {
            "cluster_id": lambda: identity,
            "gateway_region": lambda: found[1] if found else None,
            "version": lambda: build,
            "now": lambda: now().strftime("%Y-%m-%d %H:%M:%S.%f+00"),
            "gen_random_uuid": lambda: str(uuid.UUID(int=node.container.world.random.getrandbits(128), version=4)),
            "current_user": lambda: self.session.user,
            "current_database": lambda: self.session.database,
        }
