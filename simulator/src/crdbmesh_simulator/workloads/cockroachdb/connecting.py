"""Connections of the `cockroach` binary's client commands, as a SQL user who shows a certificate."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crdbmesh_simulator.shell.process import Process
from crdbmesh_simulator.workloads.box import box_of
from crdbmesh_simulator.workloads.cockroachdb import certificates, command_line, dialing
from crdbmesh_simulator.workloads.cockroachdb.certificates import Pair
from crdbmesh_simulator.workloads.cockroachdb.command_line import Flags
from crdbmesh_simulator.workloads.cockroachdb.dialing import Failed

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.cockroachdb.node import CockroachNode

_RETRY_S = 1.0
_SQL_TIMEOUT_S = 15.0
_NO_SERVER = (
    "cannot dial server.\nIs the server running?\n"
    "If the server is running, check --host client-side and --advertise server-side.\n\n"
)


class CommandError(Exception):
    """A command fails with this text."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a client command talks to, and as whom."""

    host: str
    port: int
    user: str
    pair: Pair | None
    cluster_name: str
    check_name: bool


def target(process: Process, flags: Flags) -> Target:
    """Return whom the flags and the environment name."""
    host, port = command_line.address(
        flags.get("host") or process.env.get("COCKROACH_HOST", ""), int(flags.get("port") or 26257), "localhost"
    )
    folder = process.path(flags.get("certs-dir") or process.env.get("COCKROACH_CERTS_DIR") or "/root/.cockroach-certs")
    skip = process.env.get("COCKROACH_SKIP_KEY_PERMISSION_CHECK") == "true"
    user = flags.get("user", "root").lower()
    pair = certificates.load(box_of(process).files, folder, user, skip_permissions=skip)
    check = not flags.on("disable-cluster-name-verification")
    return Target(host, port, user, pair, flags.get("cluster-name"), check)


def open_sql(process: Process, target: Target) -> Generator[float, None, CockroachNode]:
    """Connect to a node's SQL port and wait for it to take clients."""
    found = dialing.dial(box_of(process).container, target.host, target.port, target.pair)
    head = f"{_NO_SERVER}failed to connect to `user={target.user} database=defaultdb`:"
    where = f"{target.host}:{target.port} ({target.host})"
    if isinstance(found, Failed):
        yield found.elapsed_s
        if found.kind == "name":
            raise CommandError(f"{head} hostname resolving error: {found.reason}")
        if found.kind == "tls":
            raise CommandError(f"{head} {where}: tls error: {_tls_text(found)}")
        raise CommandError(f"{head} {where}: dial error: {found.reason}")
    waited = 0.0
    while found.node.database is None or not found.node.quorate:
        if waited >= _SQL_TIMEOUT_S:
            raise CommandError(f"{head} {where}: timeout: context deadline exceeded")
        yield _RETRY_S
        waited += _RETRY_S
    if target.user not in found.node.database.catalog.members:
        raise CommandError(f"password authentication failed for user {target.user}\nSQLSTATE: 28P01")
    return found.node


def _tls_text(failed: Failed) -> str:
    return failed.reason.partition("handshake failed: ")[2].rstrip('"') or failed.reason
