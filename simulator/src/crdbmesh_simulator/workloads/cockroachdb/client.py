"""The `cockroach` binary as a client: init, node status, sql.

After `pkg/cli` of v26.2: `init` waits until the node answers; `node` and `sql` speak SQL to it. Errors go to standard
error as `ERROR: …` and `Failed running "<command>"`, exit status 1.
"""

from __future__ import annotations

from collections.abc import Callable

from crdbmesh_simulator.shell.process import Become, Process, Run
from crdbmesh_simulator.workloads.box import box_of
from crdbmesh_simulator.workloads.cockroachdb import command_line, connecting, dialing, formats, sql_shell
from crdbmesh_simulator.workloads.cockroachdb.certificates import CertificateError
from crdbmesh_simulator.workloads.cockroachdb.command_line import FlagError
from crdbmesh_simulator.workloads.cockroachdb.connecting import CommandError
from crdbmesh_simulator.workloads.cockroachdb.dialing import Failed
from crdbmesh_simulator.workloads.cockroachdb.node import WAITING
from crdbmesh_simulator.workloads.cockroachdb.stores import timestamp

_INIT_GIVES_UP_S = 1800.0
_RETRY_S = 1.0
_STATUS = ("id", "address", "sql_address", "build", "started_at", "updated_at", "locality", "is_available", "is_live")
_RANGES = ("replicas_leaders", "replicas_leaseholders", "ranges", "ranges_unavailable", "ranges_underreplicated")
_DECOMMISSION = ("gossiped_replicas", "is_decommissioning", "membership", "is_draining")


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


# Commands.


def _init(process: Process, words: list[str]) -> Run:
    flags = command_line.client(words)
    target = connecting.target(process, flags)
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
    form = formats.chosen(flags, "tsv")
    node = yield from connecting.open_sql(process, connecting.target(process, flags))
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
    process.say(formats.show(form, columns, rows))
    return 0


_COMMANDS: dict[tuple[str, ...], Callable[[Process, list[str]], Run]] = {
    ("init",): _init,
    ("node", "status"): _node_status,
    ("sql",): sql_shell.run,
}

__all__ = ["WAITING", "run"]
