"""The statements that are not SQLite's: databases and their regions, users, privileges, SHOW, SET; after `pkg/sql`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from crdbmesh_simulator.workloads.cockroachdb import backups, licenses, metrics, ranges, zones
from crdbmesh_simulator.workloads.cockroachdb.sql import Kept, Query, Result, Row, Session, SqlError, unknown

_TABLES = r"(select|insert|upsert|update|delete|create table|drop table|with|values)\b"
_INTERNAL = re.compile(r"\b(crdb_internal|system)\.\w", re.IGNORECASE)
_UNSAFE = "These interfaces are unsupported. To proceed, set the session variable allow_unsafe_internals = true."
"""Since v26.1 (`pkg/sql/unsafesql`)."""
_SETTINGS = {"server.shutdown.initial_wait": "0s", "sql.log.admin_audit.enabled": "false"}
_NAMED = "|".join(map(re.escape, _SETTINGS))
_REMARK, _SOURCE = r"--[^\n]*", r"\[(show [^\]]+)\]"


def run(session: Session, statement: str) -> Result:
    """Run one statement. Raises SqlError: it is refused, or this world does not know it."""
    bare = re.sub(_REMARK, "", statement).strip()
    text = " ".join(bare.split())
    if re.search(_INTERNAL, text) and session.variables.get("allow_unsafe_internals") not in ("true", "on"):
        raise SqlError("Access to crdb_internal and system is restricted.", "42501", _UNSAFE)
    for pattern, answer, admin in _STATEMENTS:
        if found := re.fullmatch(pattern, text, re.IGNORECASE):
            if admin and not session.catalog.is_admin(session.user):
                raise SqlError(f"user {session.user} does not have the privilege for this statement", "42501")
            return answer(session, found)
    if re.match(_TABLES, text, re.IGNORECASE):
        shown = [run(session, source) for source in re.findall(_SOURCE, bare, re.IGNORECASE)]
        return Query(session, bare, shown).run()
    raise unknown(session.node, text)


def _names(text: str | None) -> list[str]:
    """The names in a list, without their quotes."""
    return re.findall(r"[\w.\-]+", text or "")


def _array(names: Iterable[str]) -> str:
    return "{" + ",".join(names) + "}"


def _create_database(session: Session, found: re.Match[str]) -> Result:
    name = found["name"].lower()
    if name not in session.catalog.databases:
        regions = [session.require_region(one) for one in (*_names(found["primary"]), *_names(found["more"]))]
        made = session.catalog.create(name, session.user)
        made.regions = list(dict.fromkeys(regions))
        if found["goal"]:
            _survive(made, found["goal"])
    elif not found["lax"]:
        raise SqlError(f'database "{name}" already exists', "42P04")
    return Result(tag="CREATE DATABASE")


def _drop_database(session: Session, found: re.Match[str]) -> Result:
    name = found["name"].lower()
    if name in session.catalog.databases or not found["lax"]:
        if session.find(name).owners and not found["all"]:
            raise SqlError(f'database "{name}" is not empty and RESTRICT was specified', "2BP01")
        session.catalog.databases.pop(name).tables.close()
    return Result(tag="DROP DATABASE")


def _alter_region(session: Session, found: re.Match[str]) -> Result:
    database, region = session.find(found["name"].lower()), session.require_region(_names(found["region"])[0])
    if found["how"].lower() == "add region":
        if not database.regions:
            raise SqlError(f"cannot add region {region} to {found['name']}", "42P12", "set a PRIMARY REGION first")
        if region in database.regions and not found["lax"]:
            raise SqlError(f'region "{region}" already added to database', "42710")
        database.regions = list(dict.fromkeys([*database.regions, region]))
        return Result(tag="ALTER DATABASE ADD REGION")
    if database.regions and region not in database.regions:
        raise SqlError(f'region "{region}" has not been added to the database', "42602", "add it with ADD REGION")
    database.regions = list(dict.fromkeys([region, *database.regions]))
    return Result(tag="ALTER DATABASE PRIMARY REGION")


def _alter_survival(session: Session, found: re.Match[str]) -> Result:
    _survive(session.find(found["name"].lower()), found["goal"])
    return Result(tag="ALTER DATABASE SURVIVE")


def _survive(database: Kept, goal: str) -> None:
    if not database.regions:
        raise SqlError("database must have associated regions before a survival goal can be set", "42P12")
    if goal.lower() == "region" and len(database.regions) < 3:
        hint = f"you must add additional regions to the database; it has only {len(database.regions)}"
        raise SqlError("at least 3 regions are required for surviving a region failure", "22023", hint)
    database.survives = goal.lower()


def _user(session: Session, found: re.Match[str]) -> Result:
    verb, name, members = found["verb"].upper(), found["name"].lower(), session.catalog.members
    there = name in members
    if not found["lax"] and there == (verb == "CREATE"):
        said = f'a role/user named "{name}" already exists' if there else f"role/user {name} does not exist"
        raise SqlError(said, "42710" if there else "42704")
    if verb == "DROP":
        members.pop(name, None)
    else:
        members.setdefault(name, set())
    return Result(tag=f"{verb} ROLE")


def _require_users(session: Session, written: str) -> list[str]:
    names = [name.lower() for name in _names(written)]
    for name in names:
        if name not in session.catalog.members and name != "public":
            raise SqlError(f"role/user {name} does not exist", "42704")
    return names


def _grant(session: Session, found: re.Match[str]) -> Result:
    tag, catalog, users = found["verb"].upper(), session.catalog, _require_users(session, found["users"])
    if not found["on"]:
        change = set[str].update if tag == "GRANT" else set[str].difference_update
        for user in users:
            change(catalog.members[user], _require_users(session, found["what"]))
        return Result(tag=tag)
    _, kind, named = found["on"].lower().replace("public.", "").removeprefix("table ").rpartition("database ")
    objects = [one if kind or "." in one else f"{session.database}.{one}" for one in re.findall(r"[\w.*]+", named)]
    for one in objects:
        session.find(one.partition(".")[0])
    privileges = [one.strip().upper().removesuffix(" PRIVILEGES") for one in found["what"].split(",")]
    given = {(user, one, on.removesuffix(".*")) for user in users for one in privileges for on in objects}
    catalog.grants = catalog.grants | given if tag == "GRANT" else catalog.grants - given
    return Result(tag=tag)


def _show_databases(session: Session, _found: re.Match[str]) -> Result:
    columns = ("database_name", "owner", "primary_region", "secondary_region", "regions", "survival_goal")
    rows: list[Row] = []
    for name, kept in session.catalog.databases.items():
        primary, goal = (kept.regions[0], kept.survives) if kept.regions else (None, None)
        rows.append((name, kept.owner, primary, None, _array(sorted(kept.regions)), goal))
    return Result(columns, sorted(rows))


def _show_tables(session: Session, found: re.Match[str]) -> Result:
    columns = ("schema_name", "table_name", "type", "owner", "estimated_row_count", "locality")
    database, rows = session.find((found["name"] or session.database).lower()), []
    for name, owner in sorted(database.owners.items()):
        (count,) = database.tables.execute(f'SELECT count(*) FROM "{name}"').fetchone()  # noqa: S608 - a table's name
        rows.append(("public", name, "table", owner, count, None))
    return Result(columns, rows)


def _set_setting(session: Session, found: re.Match[str]) -> Result:
    session.catalog.settings[found["name"].lower()] = found["value"].strip("'")
    return Result(tag="SET CLUSTER SETTING")


def _show_setting(session: Session, found: re.Match[str]) -> Result:
    name = found["name"].lower()
    return Result((name,), [(session.catalog.settings.get(name, _SETTINGS[name]),)])


def _show_users(session: Session, _found: re.Match[str]) -> Result:
    rows = [(name, "", _array(sorted(roles))) for name, roles in sorted(session.catalog.members.items())]
    return Result(("username", "options", "member_of"), rows)


def _show_regions(session: Session, found: re.Match[str]) -> Result:
    zones = session.regions()
    if found["cluster"]:
        return Result(("region", "zones"), [(region, _array(of)) for region, of in zones.items()])
    if found["database"]:
        name = (found["name"] or session.database).lower()
        regions = session.find(name).regions
        rows = [(name, one, "t" if one == regions[0] else "f", "f", _array(zones.get(one, []))) for one in regions]
        return Result(("database", "region", "primary", "secondary", "zones"), rows)
    kept = session.catalog.databases.items()
    using = {region: _array(name for name, each in kept if region in each.regions) for region in zones}
    primary = {region: _array(name for name, each in kept if region in each.regions[:1]) for region in zones}
    columns = ("region", "zones", "database_names", "primary_region_of", "secondary_region_of")
    return Result(columns, [(one, _array(of), using[one], primary[one], "{}") for one, of in zones.items()])


def _set_license(session: Session, found: re.Match[str]) -> Result:
    licenses.ends_at(found["key"])
    session.catalog.license = found["key"]
    return Result(tag="SET CLUSTER SETTING")


def _show_license(session: Session, _found: re.Match[str]) -> Result:
    return Result(("enterprise.license",), [(session.catalog.license,)])


def _metric(session: Session, found: re.Match[str]) -> Result:
    """Answer from `crdb_internal.node_metrics`, in which names have dots (`pkg/util/metric`)."""
    assert session.node.database is not None
    known = metrics.values(session.node, session.node.database)
    name = re.sub(r"\W", "_", found["metric"])
    return Result(("value",), [(known[name],)] if name in known else [])


def _spread(session: Session, found: re.Match[str]) -> Result:
    """Split a table, which is spread over all ranges as it is, or scatter it, which spreads the leases again."""
    database, _, table = found["name"].lower().rpartition(".")
    if table not in session.find(database or session.database).owners:
        raise SqlError(f'relation "{found["name"]}" does not exist', "42P01")
    if found["values"] is None and session.node.database is not None:
        session.node.database.spread()
    splits = re.findall(r"\((\d+)\)", found["values"] or "")
    return Result(("key", "pretty"), [(f"\\x{split}", f"/Table/{table}/1/{split}") for split in splits or [""]])


def _configure_zone(session: Session, found: re.Match[str]) -> Result:
    assert session.node.database is not None
    kept, target = session.node.database.zones, f"{found['kind'].upper()} {found['name']}"
    if target.startswith("DATABASE"):
        session.find(found["name"])
    kept[target] = zones.changed(kept.get(target, zones.Zone(None, None)), found["values"], session.regions())
    return Result(tag="CONFIGURE ZONE 1")


def _show_zones(session: Session, _found: re.Match[str]) -> Result:
    assert session.node.database is not None
    shown = [(target, zone.shown(target)) for target, zone in session.node.database.zones.items()]
    return Result(("target", "raw_config_sql"), shown)


def _show_ranges(session: Session, _found: re.Match[str]) -> Result:
    """Show every range, as often as tables are in it (`pkg/sql/delegate/show_ranges.go`)."""
    assert session.node.database is not None
    nodes, rows = session.node.database.nodes, []
    databases = {name: kept for name, kept in session.catalog.databases.items() if name != "system"}
    tables = [(name, table) for name, kept in databases.items() for table in kept.owners]
    for each in session.node.database.ranges:
        replicas = sorted(each.replicas)
        shown = _array(map(str, replicas)), _array(f'"{nodes[one].locality}"' for one in replicas)
        held: list[tuple[str | None, str | None]] = [*tables] or [("defaultdb", None)]
        if each.zone in ranges.SYSTEM:
            kind, _, name = each.zone.partition(" ")
            held = [(None, None) if kind == "RANGE" else ("system", name.rpartition(".")[2])]
        rows += [(each.start, each.number + 1, *one, *shown, shown[0]) for one in held]
    columns = ("start_key", "range_id", "database_name", "table_name")
    return Result((*columns, "replicas", "replica_localities", "voting_replicas"), rows)


def _set(session: Session, found: re.Match[str]) -> Result:
    name, value = (found["name"] or "database").lower(), (found["use"] or found["value"]).strip("'\" ")
    if name == "database":
        session.find(value)
        session.database = value
    session.variables[name] = value
    return Result(tag="SET")


_NAME, _IF_NOT, _IF = r'"?(?P<name>[\w.\-]+)"?', r"(?P<lax>if not exists )?", r"(?P<lax>if exists )?"
_REGION, _GOAL = r"(?P<region>[\w\"'\-]+)", r"(?P<goal>zone|region) failure"
_MORE = rf"(?: regions (?P<more>[\w\"'\-, ]+?))?(?: survive {_GOAL})?"
_PRIMARY = rf"(?: (?:with )?primary region (?P<primary>[\w\"'\-]+){_MORE})?"
_OPTIONS = r"(?: (?:with )?(?:password|login|nologin)\b.*)?"
_HOW = rf"(?:set )?(?P<how>primary region|add region) {_IF_NOT}"
_AT, _FROM = r"'(?P<uri>[^']+)'", r"(?P<path>LATEST|'[^']+')"
_OPTION = r"(?:first_run = 'now'|ignore_existing_backups)"
_OFTEN = rf"'(?P<often>[^']+)' full backup '(?P<full>[^']+)'(?: with schedule options {_OPTION}(?:, {_OPTION})*)?"
_STATEMENTS: tuple[tuple[str, Callable[[Session, re.Match[str]], Result], bool], ...] = (
    (rf"create database {_IF_NOT}{_NAME}{_PRIMARY}", _create_database, True),
    (rf"drop database {_IF}{_NAME}(?P<all> cascade)?", _drop_database, True),
    (rf"alter database {_NAME} {_HOW}{_REGION}", _alter_region, True),
    (rf"alter database {_NAME} survive {_GOAL}", _alter_survival, True),
    (rf"(?P<verb>create|alter|drop) (?:user|role) (?P<lax>if (?:not )?exists )?{_NAME}{_OPTIONS}", _user, True),
    (r"(?P<verb>grant|revoke) (?P<what>.+?)(?: on (?P<on>.+?))? (?:to|from) (?P<users>[\w\", .\-]+)", _grant, True),
    (r"set cluster setting enterprise\.license ?= ?'(?P<key>[^']*)'", _set_license, True),
    (r"show cluster setting enterprise\.license", _show_license, True),
    (rf"set cluster setting (?P<name>{_NAMED}) ?= ?(?P<value>'[^']*'|true|false)", _set_setting, True),
    (rf"show cluster setting (?P<name>{_NAMED})", _show_setting, True),
    (r"select value from crdb_internal\.node_metrics where name = '(?P<metric>[\w.\-]+)'", _metric, True),
    (rf"alter table {_NAME} (?:split at values (?P<values>[\d(), ]+)|scatter)", _spread, True),
    (rf"alter (?P<kind>range|database|table) {_NAME} configure zone using (?P<values>.+)", _configure_zone, True),
    (r"show (?:all )?zone configurations", _show_zones, False),
    (r"show cluster ranges with tables", _show_ranges, True),
    (rf"backup into {_AT}", backups.backup, True),
    (rf"show backups in {_AT}", backups.list_all, True),
    (rf"show backup from {_FROM} in {_AT}", backups.show, True),
    (rf"restore from {_FROM} in {_AT}", backups.restore, True),
    (rf"create schedule (?P<label>\w+) for backup into {_AT} recurring {_OFTEN}", backups.create_schedule, True),
    (r"show schedules for backup", backups.show_schedules, True),
    (r"drop schedule (?P<id>\d+)", backups.drop_schedule, True),
    (r"show databases", _show_databases, False),
    (rf"show tables(?: from {_NAME})?", _show_tables, False),
    (r"show (?:users|roles)", _show_users, False),
    (rf"show regions(?: from (?:(?P<cluster>cluster)|(?P<database>database)(?: {_NAME})?))?", _show_regions, False),
    (r"set (?:session )?(?P<name>\w+) ?(?:=|to) ?(?P<value>.+)|use (?P<use>\w+)", _set, False),
)
"""Patterns of statements whose white space is single spaces, who answers, and whether only an admin may."""
