"""The `cockroach` binary as a client: init, node status, sql.

After `pkg/cli` of v26.2: `init` waits until the node answers; `node` and `sql` speak SQL to it. Errors go to standard
error as `ERROR: …` and `Failed running "<command>"`, exit status 1. There is no SQL engine behind `sql`: it answers a
few statements.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crdbmesh_simulator.shell.process import Become, Process, Run, decode
from crdbmesh_simulator.workloads.box import box_of
from crdbmesh_simulator.workloads.cockroachdb import certificates, command_line, dialing
from crdbmesh_simulator.workloads.cockroachdb.certificates import CertificateError, Pair
from crdbmesh_simulator.workloads.cockroachdb.command_line import FlagError, Flags
from crdbmesh_simulator.workloads.cockroachdb.dialing import Failed
from crdbmesh_simulator.workloads.cockroachdb.node import WAITING, CockroachNode
from crdbmesh_simulator.workloads.cockroachdb.stores import timestamp

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.cockroachdb.node import CockroachNode

DELIMITERS = {"tsv": "\t", "csv": ","}


def show(form: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A result in one of the formats of `DELIMITERS`."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", delimiter=DELIMITERS[form]).writerows([columns, *rows])
    return out.getvalue()


_INIT_GIVES_UP_S = 1800.0
_RETRY_S = 1.0
_SQL_TIMEOUT_S = 15.0
_STATUS = ("id", "address", "sql_address", "build", "started_at", "updated_at", "locality", "is_available", "is_live")
_RANGES = ("replicas_leaders", "replicas_leaseholders", "ranges", "ranges_unavailable", "ranges_underreplicated")
_DECOMMISSION = ("gossiped_replicas", "is_decommissioning", "membership", "is_draining")


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
    pair: Pair | None
    cluster_name: str
    check_name: bool


def run(process: Process) -> Run:
    """The binary."""
    words = process.argv[1:]
    if words[:1] == ["start"] and process.main:
        raise Become(list(process.argv), dict(process.env))
    for name, command in _COMMANDS.items():
        if words[: len(name)] == list(name):
            return (yield from _guarded(process, " ".join(name), command, words[len(name) :]))
    process.system.not_known(f"cockroach {' '.join(words)}")
    process.complain(f'ERROR: unknown command "{" ".join(words[:1])}" for "cockroach"\nFailed running "cockroach"\n')
    return 1


def _guarded(process: Process, name: str, command: Callable[[Process, list[str]], Run], words: list[str]) -> Run:
    try:
        return (yield from command(process, words))
    except FlagError as error:
        process.complain(f'ERROR: {error}\nFailed running "{name.split()[-1]}"\n')
    except CertificateError as error:
        process.complain(
            "ERROR: cannot load certificates.\nCheck your certificate settings, set --certs-dir, or use --insecure for "
            f'insecure clusters.\n\n{error}\nFailed running "{name.split()[-1]}"\n'
        )
    except CommandError as error:
        process.complain(f'ERROR: {error}\nFailed running "{name}"\n')
    return 1


# Connecting.


def _target(process: Process, flags: Flags) -> Target:
    host, port = command_line.address(
        flags.get("host") or process.env.get("COCKROACH_HOST", ""), int(flags.get("port") or 26257), "localhost"
    )
    folder = process.path(flags.get("certs-dir") or process.env.get("COCKROACH_CERTS_DIR") or "/root/.cockroach-certs")
    skip = process.env.get("COCKROACH_SKIP_KEY_PERMISSION_CHECK") == "true"
    pair = certificates.load(box_of(process).files, folder, flags.get("user", "root"), skip_permissions=skip)
    check = not flags.on("disable-cluster-name-verification")
    return Target(host, port, pair, flags.get("cluster-name"), check)


def _open_sql(process: Process, target: Target) -> Generator[float, None, CockroachNode]:
    """Connect to a node's SQL port and wait for it to take clients."""
    found = dialing.dial(box_of(process).container, target.host, target.port, target.pair)
    head = f"{_NO_SERVER}failed to connect to `user=root database=defaultdb`:"
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
    return found.node


def _tls_text(failed: Failed) -> str:
    return failed.reason.partition("handshake failed: ")[2].rstrip('"') or failed.reason


# Commands.


def _init(process: Process, words: list[str]) -> Run:
    flags = command_line.client(words)
    target = _target(process, flags)
    waited = 0.0
    while True:
        found = dialing.dial(box_of(process).container, target.host, target.port, target.pair)
        if not isinstance(found, Failed):
            peer = found.node.settings
            assert peer is not None
            mismatch = dialing.name_mismatch(target.cluster_name, peer.cluster_name)
            if mismatch is None or not (target.check_name and peer.check_name):
                break
            reason, elapsed = f"initial connection heartbeat failed: rpc error: code = Unknown desc = {mismatch}", 0.1
        else:
            reason, elapsed = found.reason, found.elapsed_s
        if isinstance(found, Failed) and found.kind == "tls":
            raise CommandError(
                f"cannot dial server.\nIs the server running?\nIf the server is running, check --host client-side and "
                f"--advertise server-side.\n\ninitial connection heartbeat failed: {reason}"
            )
        process.complain(f"warning: node not ready to perform cluster initialization: {reason} (retrying)\n")
        if waited >= _INIT_GIVES_UP_S:
            raise CommandError(reason)
        yield elapsed + _RETRY_S
        waited += elapsed + _RETRY_S
    yield 1.0
    problem = found.node.initialise()
    if problem:
        raise CommandError(f"{problem}\nHINT: Please ensure all your start commands are using --join.")
    process.say("Cluster successfully initialized\n")
    return 0


def _node_status(process: Process, words: list[str]) -> Run:
    extra = {"format": "value", "decommission": "bool", "ranges": "bool", "timeout": "value"}
    flags = command_line.client(words, extra)
    form = _format(flags)
    node = yield from _open_sql(process, _target(process, flags))
    database = node.database
    assert database is not None
    columns = [*_STATUS, *(_RANGES if flags.on("ranges") else ()), *(_DECOMMISSION if flags.on("decommission") else ())]
    wanted = [int(word) for word in flags.words]
    now = process.world.clock.now()
    rows, alive = [], database.live(now)
    for record in sorted(database.nodes.values(), key=lambda record: record.id):
        if (wanted and record.id not in wanted) or (record.membership == "decommissioned" and not wanted):
            continue
        live = str(record.live(now)).lower()
        held = [each for each in database.ranges if each.holder == record.id]
        known = {
            "replicas_leaders": str(len(held)),
            "replicas_leaseholders": str(len(held)),
            "ranges": str(len(held)),
            "ranges_unavailable": str(sum(not each.has_quorum(alive) for each in held)),
            "ranges_underreplicated": str(sum(each.is_short(alive) for each in held)),
            "id": str(record.id),
            "address": record.address,
            "sql_address": record.sql_address,
            "build": record.build,
            "started_at": timestamp(record.started_at),
            "updated_at": timestamp(record.updated_at),
            "locality": record.locality,
            "is_available": live,
            "is_live": live,
            "membership": record.membership,
            "is_decommissioning": str(record.membership != "active").lower(),
            "is_draining": str(record.draining).lower(),
            "gossiped_replicas": str(3 * len(database.nodes)),
        }
        rows.append([known[column] for column in columns])
    if wanted and not rows:
        raise CommandError(f"node {wanted[0]} doesn't exist")
    process.say(show(form, columns, rows))
    return 0


def _format(flags: Flags) -> str:
    form = flags.get("format", "tsv")
    if form not in DELIMITERS:
        raise FlagError(f'invalid argument "{form}" for "--format" flag: not a format of this simulated world')
    return form


def _sql(process: Process, words: list[str]) -> Run:
    extra = {"execute": "many", "format": "value", "database": "value", "safe-updates": "optional", "set": "many"}
    flags = command_line.client(words, extra)
    form = _format(flags)
    texts = flags.lists.get("execute") or [decode(process.stdin.read())]
    node = yield from _open_sql(process, _target(process, flags))
    for text in texts:
        for statement in split(text):
            try:
                result = run_statement(node, statement)
            except SqlError as error:
                raise CommandError(f"{error}\nSQLSTATE: 0A000") from None
            process.say(show(form, result.columns, result.rows) if result.columns else f"{result.tag}\n")
    return 0


_COMMANDS: dict[tuple[str, ...], Callable[[Process, list[str]], Run]] = {
    ("init",): _init,
    ("node", "status"): _node_status,
    ("sql",): _sql,
}

__all__ = ["WAITING", "run"]


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


def run_statement(node: CockroachNode, statement: str) -> Result:
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
