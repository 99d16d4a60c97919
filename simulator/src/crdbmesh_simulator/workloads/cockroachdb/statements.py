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
    """A statement that is refused."""


def split(text: str) -> list[str]:
    """The statements of a script."""
    parts = re.findall(r"(?:'(?:[^']|'')*'|\"[^\"]*\"|[^;'\"])+", text)
    return [part.strip() for part in parts if part.strip()]


def run(node: CockroachNode, statement: str) -> Result:
    """Answer a statement. Raises SqlError: it is not among those that this world knows."""
    words = " ".join(statement.split())
    for pattern, answer in _STATEMENTS:
        found = re.fullmatch(pattern, words, re.IGNORECASE)
        if found:
            return answer(node, found)
    node.container.world.not_known("sql", words)
    raise SqlError(NO_ENGINE)


def _cluster_id(node: CockroachNode, found: re.Match[str]) -> Result:
    assert node.database is not None
    return Result((found[1] or "cluster_id",), ((node.database.cluster_id,),))


def _set_variable(_node: CockroachNode, _found: re.Match[str]) -> Result:
    return Result(tag="SET")


_ALIAS = r'(?: (?:as )?"?(\w+)"?)?'
_STATEMENTS: tuple[tuple[str, Callable[[CockroachNode, re.Match[str]], Result]], ...] = (
    (rf"select crdb_internal\.cluster_id\(\)(?:::string)?{_ALIAS}", _cluster_id),
    (r"set (?:session )?(?:allow_unsafe_internals|application_name|statement_timeout) ?(?:=|to) ?.+", _set_variable),
)
