"""The `cockroach` binary as a client: init, node status and ls, sql, version, cert list.

After `pkg/cli` of v26.2: `init` waits until the node answers; `node` and `sql` speak SQL to it. Errors go to standard
error as `ERROR: …` and `Failed running "<command>"`, exit status 1.
"""

from __future__ import annotations

import posixpath
import urllib.parse
from collections.abc import Callable, Generator
from dataclasses import dataclass

from crdbmesh_simulator.workloads import images, trust
from crdbmesh_simulator.workloads.cockroachdb import certificates, command_line, dialing, statements, tables
from crdbmesh_simulator.workloads.cockroachdb.certificates import CertificateError, Pair
from crdbmesh_simulator.workloads.cockroachdb.command_line import FlagError, Flags
from crdbmesh_simulator.workloads.cockroachdb.dialing import Failed
from crdbmesh_simulator.workloads.cockroachdb.node import WAITING, CockroachNode
from crdbmesh_simulator.workloads.cockroachdb.stores import timestamp
from crdbmesh_simulator.workloads.process import Become, Process, Run, execute

_INIT_GIVES_UP_S = 1800.0
_RETRY_S = 1.0
_SQL_TIMEOUT_S = 15.0
_STATUS = ("id", "address", "sql_address", "build", "started_at", "updated_at", "locality", "is_available", "is_live")
_RANGES = ("replicas_leaders", "replicas_leaseholders", "ranges", "ranges_unavailable", "ranges_underreplicated")
_STATS = ("live_bytes", "key_bytes", "value_bytes", "intent_bytes", "system_bytes")
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


def entry_point(process: Process) -> Run:
    """`cockroach.sh`: `shell` runs a shell, anything else is for the binary."""
    words = process.argv[1:]
    argv = ["/bin/sh", *words[1:]] if words[:1] == ["shell"] else ["/cockroach/cockroach", *words]
    return (yield from execute(process.child(argv, main=process.main)))


def run(process: Process) -> Run:
    """The binary."""
    words = process.argv[1:]
    if words[:1] in (["start"], ["start-single-node"]):
        if words[0] == "start" and process.main:
            raise Become(list(process.argv), dict(process.env))
        process.world.not_known("exec", f"cockroach {words[0]}")
        process.complain(
            f'ERROR: `cockroach {words[0]}` is not part of this simulated world here\nFailed running "{words[0]}"\n'
        )
        return 1
    for name, command in _COMMANDS.items():
        if words[: len(name)] == list(name):
            return (yield from _guarded(process, " ".join(name), command, words[len(name) :]))
    if not words or words[0] in ("help", "--help", "-h"):
        process.say("CockroachDB command-line interface and server.\n\nUsage:\n  cockroach [command]\n")
        return 0
    process.world.not_known("exec", f"cockroach {' '.join(words)}")
    process.complain(f'ERROR: unknown command "{words[0]}" for "cockroach"\nFailed running "cockroach"\n')
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


def _target(process: Process, flags: Flags, default_port: int = 26257) -> Target:
    values = dict(flags.values)
    user = values.get("user", "root")
    if values.get("url") or process.env.get("COCKROACH_URL"):
        parts = urllib.parse.urlsplit(values.get("url") or process.env["COCKROACH_URL"])
        query = {key: found[-1] for key, found in urllib.parse.parse_qs(parts.query).items()}
        values["host"] = parts.hostname or "localhost"
        values["port"] = str(parts.port or default_port)
        user = parts.username or user
        if query.get("sslmode") == "disable":
            values["insecure"] = "true"
        elif "sslrootcert" in query:
            values.setdefault("certs-dir", posixpath.dirname(query["sslrootcert"]))
    host, port = command_line.address(
        values.get("host") or process.env.get("COCKROACH_HOST", ""),
        int(values.get("port") or default_port),
        "localhost",
    )
    insecure = values.get("insecure") == "true" or process.env.get("COCKROACH_INSECURE") == "true"
    pair = None
    if not insecure:
        folder = process.path(
            values.get("certs-dir") or process.env.get("COCKROACH_CERTS_DIR") or "/root/.cockroach-certs"
        )
        skip = process.env.get("COCKROACH_SKIP_KEY_PERMISSION_CHECK") == "true"
        pair = certificates.load(process.files, folder, user, skip_permissions=skip)
    check = values.get("disable-cluster-name-verification") != "true"
    return Target(host, port, pair, values.get("cluster-name", ""), check)


def _open_sql(process: Process, target: Target) -> Generator[float, None, CockroachNode]:
    """Connect to a node's SQL port and wait for it to take clients."""
    found = dialing.dial(process.container, target.host, target.port, target.pair)
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
        found = dialing.dial(process.container, target.host, target.port, target.pair)
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
    extra = {"format": "", "all": "bool", "decommission": "bool", "ranges": "bool", "stats": "bool", "timeout": ""}
    flags = command_line.client(words, extra)
    form = _format(flags)
    node = yield from _open_sql(process, _target(process, flags))
    database = node.database
    assert database is not None
    everything = flags.on("all")
    columns = list(_STATUS)
    columns += _RANGES if everything or flags.on("ranges") else ()
    columns += _STATS if everything or flags.on("stats") else ()
    columns += _DECOMMISSION if everything or flags.on("decommission") else ()
    wanted = [int(word) for word in flags.words]
    now = process.world.clock.now()
    rows = []
    for record in sorted(database.nodes.values(), key=lambda record: record.id):
        if (wanted and record.id not in wanted) or (record.membership == "decommissioned" and not wanted):
            continue
        live = str(record.live(now)).lower()
        known = {
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
            "ranges": "60",
            "replicas_leaders": "20",
            "replicas_leaseholders": "20",
        }
        rows.append([known.get(column, "0") for column in columns])
    if wanted and not rows:
        raise CommandError(f"node {wanted[0]} doesn't exist")
    process.say(tables.show(form, columns, rows))
    return 0


def _node_list(process: Process, words: list[str]) -> Run:
    flags = command_line.client(words, {"format": "", "timeout": ""})
    form = _format(flags)
    node = yield from _open_sql(process, _target(process, flags))
    assert node.database is not None
    process.say(tables.show(form, ["id"], [[str(number)] for number in sorted(node.database.nodes)]))
    return 0


def _format(flags: Flags, default: str = "tsv") -> str:
    form = flags.get("format", default)
    if form not in tables.FORMATS:
        known = ", ".join(tables.FORMATS)
        raise FlagError(
            f'invalid argument "{form}" for "--format" flag: invalid table display format: {form} '
            f"(possible values: {known})"
        )
    return form


def _sql(process: Process, words: list[str]) -> Run:
    extra = {
        "execute": "list",
        "format": "",
        "database": "",
        "file": "",
        "safe-updates": "optional",
        "set": "list",
        "no-line-editor": "bool",
        "read-only": "bool",
        "watch": "",
        "debug-sql-cli": "bool",
        "embedded": "bool",
    }
    flags = command_line.client(words, extra)
    form = _format(flags)
    texts = flags.lists.get("execute") or [process.stdin.decode(errors="replace")]
    node = yield from _open_sql(process, _target(process, flags))
    for text in texts:
        for statement in statements.split(text):
            try:
                result = statements.run(node, statement)
            except statements.SqlError as error:
                hint = f"\nHINT: {error.hint}" if error.hint else ""
                raise CommandError(f"{error}\nSQLSTATE: {error.code}{hint}") from None
            process.say(tables.show(form, result.columns, result.rows) if result.columns else f"{result.tag}\n")
    return 0


def _version(process: Process, words: list[str]) -> Run:
    yield from ()
    flags = command_line.parse(words, {"build-tag": "bool"})
    tag = images.tag(process.container.image)
    if flags.on("build-tag"):
        process.say(f"{tag}\n")
        return 0
    rows = {
        "Build Tag": tag,
        "Build Time": "2026/08/10 14:02:30",
        "Distribution": "CCL",
        "Platform": "linux amd64 (x86_64-pc-linux-gnu)",
        "Go Version": "go1.25.7",
        "C Compiler": "gcc 6.5.0",
        "Build Type": "release",
        "Enabled Assertions": "false (enabled in test builds by default)",
    }
    process.say("".join(f"{name + ':':<19}{value}\n" for name, value in rows.items()))
    return 0


def _cert_list(process: Process, words: list[str]) -> Run:
    yield from ()
    flags = command_line.client(words, {"format": ""})
    folder = process.path(flags.get("certs-dir") or "/root/.cockroach-certs")
    if not process.files.is_dir(folder):
        raise CommandError(f"cannot load certificates: open {folder}: no such file or directory")
    process.say(f"Certificate directory: {folder}\n")
    rows = []
    kinds = {"ca": "CA", "ca-client": "Client CA", "ca-ui": "UI CA", "ui": "UI", "node": "Node"}
    for name in process.files.entries(folder):
        base = name.removesuffix(".crt")
        if not name.endswith(".crt") or (base not in kinds and not base.startswith("client.")):
            continue
        usage = kinds.get(base, "Client")
        key = f"{base}.key" if process.files.is_file(f"{folder}/{base}.key") else ""
        try:
            leaf = trust.parse(process.files.read(f"{folder}/{name}"))[0]
        except ValueError as error:
            rows.append([usage, name, key, "", "", str(error)])
            continue
        expires = leaf.not_valid_after_utc.strftime("%Y/%m/%d")
        hosts, addresses = trust.names(leaf)
        notes = f"num certs: {len(trust.parse(process.files.read(f'{folder}/{name}')))}" if usage.endswith("CA") else ""
        notes = f"addresses: {','.join(hosts + addresses)}" if usage == "Node" else notes
        notes = f"user: {trust.common_name(leaf)}" if usage == "Client" else notes
        rows.append([usage, name, key, expires, notes, ""])
    columns = ["Usage", "Certificate File", "Key File", "Expires", "Notes", "Error"]
    process.say(tables.show(_format(flags, "table"), columns, rows))
    return 0


_COMMANDS: dict[tuple[str, ...], Callable[[Process, list[str]], Run]] = {
    ("init",): _init,
    ("node", "status"): _node_status,
    ("node", "ls"): _node_list,
    ("sql",): _sql,
    ("version",): _version,
    ("cert", "list"): _cert_list,
}

__all__ = ["WAITING", "entry_point", "run"]
