"""The few statements that a node of this world answers; there is no SQL engine behind it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.cockroachdb.node import CockroachNode

NO_ENGINE = "SQL engine is not part of this simulated world"


@dataclass(frozen=True, slots=True)
class Result:
    """Columns with rows, or a tag such as `SET` when a statement returns none."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    tag: str = ""


class SqlError(Exception):
    """A statement that is refused: text, SQLSTATE, hint."""

    def __init__(self, message: str, code: str = "0A000", hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def split(text: str) -> list[str]:
    """The statements of a script."""
    parts = re.findall(r"(?:'(?:[^']|'')*'|\"[^\"]*\"|[^;'\"])+", text)
    return [part.strip() for part in parts if part.strip()]


def run(node: CockroachNode, statement: str) -> Result:
    """Answer a statement.

    Raises:
        SqlError: it is not among those that this world knows.
    """
    words = " ".join(statement.split())
    for pattern, answer in _STATEMENTS:
        found = re.fullmatch(pattern, words, re.IGNORECASE)
        if found:
            return answer(node, found)
    node.container.world.not_known("sql", words)
    raise SqlError(NO_ENGINE)


def _regions(node: CockroachNode, _found: re.Match[str]) -> Result:
    database = node.database
    assert database is not None
    now = node.container.world.clock.now()
    zones: dict[str, set[str]] = {}
    for record in database.voters():
        tiers = dict(tier.split("=", 1) for tier in record.locality.split(",") if "=" in tier)
        region = tiers.get("region")
        if region and record.live(now):
            zones.setdefault(region, set()).update(
                {zone for key, zone in tiers.items() if key in ("zone", "az", "availability-zone")}
            )
    rows = tuple((region, "{" + ",".join(sorted(zones[region])) + "}") for region in sorted(zones))
    return Result(("region", "zones"), rows)


def _one(_node: CockroachNode, found: re.Match[str]) -> Result:
    return Result((found[2] or "?column?",), ((found[1],),))


def _version(node: CockroachNode, found: re.Match[str]) -> Result:
    text = f"CockroachDB CCL {node.build} (x86_64-pc-linux-gnu, built 2026/08/10 14:02:30, go1.25.7)"
    return Result((found[1] or "version",), ((text,),))


def _cluster_id(node: CockroachNode, found: re.Match[str]) -> Result:
    assert node.database is not None
    return Result((found[1] or "cluster_id",), ((node.database.cluster_id,),))


def _node_id(node: CockroachNode, found: re.Match[str]) -> Result:
    return Result((found[1] or "node_id",), ((str(node.store.node_id),),))


def _set_variable(_node: CockroachNode, _found: re.Match[str]) -> Result:
    return Result(tag="SET")


def _show_setting(node: CockroachNode, found: re.Match[str]) -> Result:
    assert node.database is not None
    name = found[1].lower()
    if name == "version":
        major = re.match(r"v?(\d+\.\d+)", node.build)
        return Result(("version",), ((major[1] if major else node.build,),))
    return Result((name,), ((node.database.settings.get(name, ""),),))


def _set_setting(node: CockroachNode, found: re.Match[str]) -> Result:
    assert node.database is not None
    node.database.settings[found[1].lower()] = found[2].strip("'")
    return Result(tag="SET CLUSTER SETTING")


def _databases(_node: CockroachNode, _found: re.Match[str]) -> Result:
    columns = ("database_name", "owner", "primary_region", "secondary_region", "regions", "survival_goal")
    names = (("defaultdb", "root"), ("postgres", "root"), ("system", "node"))
    return Result(columns, tuple((name, owner, "NULL", "NULL", "{}", "NULL") for name, owner in names))


_ALIAS = r'(?: (?:as )?"?(\w+)"?)?'
_SETTING = r"(version|cluster\.organization|enterprise\.license)"
_STATEMENTS: tuple[tuple[str, Callable[[CockroachNode, re.Match[str]], Result]], ...] = (
    (r"show regions(?: from cluster)?", _regions),
    (rf"select (\d+){_ALIAS}", _one),
    (rf"select (?:pg_catalog\.)?version\(\){_ALIAS}", _version),
    (rf"select crdb_internal\.cluster_id\(\)(?:::string)?{_ALIAS}", _cluster_id),
    (rf"select crdb_internal\.node_id\(\){_ALIAS}", _node_id),
    (
        r"set (?:session )?(?:allow_unsafe_internals|application_name|statement_timeout|database) ?(?:=|to) ?.+",
        _set_variable,
    ),
    (rf"show cluster setting {_SETTING}", _show_setting),
    (r"set cluster setting (cluster\.organization|enterprise\.license) ?= ?('.*')", _set_setting),
    (r"show databases", _databases),
)
