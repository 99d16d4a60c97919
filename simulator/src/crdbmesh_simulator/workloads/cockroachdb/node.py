"""`cockroach start`: a CockroachDB node, from its command line to its part in a cluster.

After `pkg/cli/start.go`, `pkg/server/init.go` and `pkg/server/admin.go`. A node without an initialised store asks its
join list whether anybody belongs to a cluster, and waits for `init` otherwise; one with a store knows its cluster.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from dataclasses import dataclass

from crdbmesh_simulator.kubernetes.programs import Container, HttpAnswer
from crdbmesh_simulator.tls import server_context
from crdbmesh_simulator.workloads import images
from crdbmesh_simulator.workloads.cockroachdb import certificates, command_line, dialing, metrics, node_settings, stores
from crdbmesh_simulator.workloads.cockroachdb.backups import run_due
from crdbmesh_simulator.workloads.cockroachdb.certificates import CertificateError, Pair
from crdbmesh_simulator.workloads.cockroachdb.command_line import FlagError
from crdbmesh_simulator.workloads.cockroachdb.dialing import Failed, Peer
from crdbmesh_simulator.workloads.cockroachdb.node_settings import Settings
from crdbmesh_simulator.workloads.cockroachdb.stores import Database, NodeRecord
from crdbmesh_simulator.workloads.dialogue import Dialogue, Http, Postgres, Tls
from crdbmesh_simulator.workloads.files import Files, volume_identity
from crdbmesh_simulator.workloads.service import Port, Service

_LISTEN_S = 1.5
_JOIN_S = 1.0
_PEER_S = 10.0
_SETTLE_S = 2.0
_RPC_BEAT_S = 1.0
_LEASE_S = 0.5
_BREAKER_S = 60.0
"""A request to a range that nobody serves then fails (`kv.replica_circuit_breaker.slow_replication_threshold`)."""
_STARTED = """\
*
* INFO: initial startup completed.
* Node will now attempt to join a running cluster, or wait for `cockroach init`.
* Client connections will be accepted after this completes successfully.
*
"""
WAITING = "node is waiting for cluster initialization"


@dataclass(slots=True)
class _Link:
    """A node's way to another: its address, and whether it answered last time."""

    ip: str = ""
    ok: bool = False
    checked_at: float = 0.0


class CockroachNode(Service):
    """A running `cockroach start`.

    `settings`: from the command line; None when it is wrong. `pair`: node certificate, key and CA; None in insecure
    mode. `store`: what is on its volume.
    """

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.files = Files(container)
        self.pair: Pair | None = None
        self.store = stores.Store()
        self.settings: Settings | None = None
        self.build = images.tag(container.image)
        self.joined_at = 0.0
        self._world = container.world
        self._started_at = container.world.clock.now()
        self._listening = False
        self._next = self._started_at
        self._links: dict[int, _Link] = {}
        self._said: dict[str, str] = {}

    # Life.

    def tick(self) -> None:
        """Start, then join a cluster or wait for one, then keep in touch with the other nodes."""
        now = self._world.clock.now()
        if self.exit_code is not None:
            return
        if self.settings is None:
            self._start()
            return
        if not self._listening:
            if now >= self._started_at + _LISTEN_S:
                self._listen()
            return
        if now < self._next:
            return
        if self.database is None:
            self._next = now + _JOIN_S
            self._ask_seeds(now)
        else:
            self._keep_in_touch(now)

    def _start(self) -> None:
        argv = self.container.argv
        begin = next((index for index, word in enumerate(argv) if word == "start"), 0)
        try:
            flags = command_line.parse(argv[begin + 1 :], command_line.START)
            self.settings = node_settings.read(flags, self.container, self.files)
        except FlagError as error:
            self.say(f"ERROR: {error}")
            self.say('Failed running "start"')
            self.exit_code = 1
            return
        if not self._load_certificates():
            return
        identity = volume_identity(self.container, self.settings.store)
        self.store = stores.find_store(self.container, identity)

    def _load_certificates(self) -> bool:
        try:
            self.pair = self.read_certificates()
        except CertificateError as error:
            self.log += f'ERROR: cannot load certificates.\n{error}\nFailed running "start"'.splitlines()
            self.exit_code = 1
            return False
        return True

    def read_certificates(self) -> Pair:
        """The node's certificates as they are on disk now. Raises CertificateError: they cannot be used."""
        assert self.settings is not None
        skip = self.container.env.get("COCKROACH_SKIP_KEY_PERMISSION_CHECK") == "true"
        pair = certificates.load(self.files, self.settings.certs_dir, "node", skip_permissions=skip)
        reason = certificates.check_node(pair, self._world.clock.utc())
        if reason:
            raise CertificateError(f"problem with node certificate: {reason}")
        return pair

    def reload(self) -> None:
        """SIGHUP: take the certificates from disk again."""
        try:
            self.pair = self.read_certificates()
            self._log("I", "security/certificate_manager.go:313", "successfully reloaded certificates")
        except CertificateError as error:
            self._log("W", "security/certificate_manager.go:305", f"error reloading certificates: {error}")

    def _listen(self) -> None:
        self._listening = True
        if self.database is None:
            self.log += _STARTED.splitlines()
        else:
            self._join_done(self.database, self.store.node_id, "restarted pre-existing node")

    # Joining.

    @property
    def database(self) -> Database | None:
        """The cluster that its store belongs to."""
        return self.store.database

    def _ask_seeds(self, now: float) -> None:
        assert self.settings is not None
        for seed in self.settings.join:
            host, port = command_line.address(seed, 26257)
            if (host, port) == self.settings.advertised:
                continue
            found = dialing.dial(self.container, host, port, self.pair)
            if isinstance(found, Failed):
                self._log_once(seed, "W", f"outgoing join rpc to ‹{seed}› unsuccessful: ‹{found.reason}›")
                continue
            if self._admitted_by(seed, found, now):
                return

    def _admitted_by(self, seed: str, peer: Peer, now: float) -> bool:
        assert self.settings is not None
        node = peer.node
        if node is self:
            return False
        assert node.settings is not None
        if self.settings.check_name and node.settings.check_name:
            mismatch = dialing.name_mismatch(self.settings.cluster_name, node.settings.cluster_name)
            if mismatch:
                text = f"initial connection heartbeat failed: rpc error: code = Unknown desc = {mismatch}"
                self._log_once(seed, "E", f"outgoing join rpc to ‹{seed}› unsuccessful: ‹{text}›")
                return False
        database = node.database
        if database is None:
            self._log_once(seed, "I", f"‹{seed}› is itself waiting for init, will retry")
            return False
        if not node.quorate:
            self._log_once(
                seed, "W", f"outgoing join rpc to ‹{seed}› unsuccessful: ‹rpc error: code = DeadlineExceeded›"
            )
            return False
        number = database.join(_label(self.settings.advertised))
        self.store.database, self.store.node_id = database, number
        self._join_done(database, number, "initialized new node, joined pre-existing cluster")
        self._links[node.store.node_id] = _Link(peer.ip, ok=True, checked_at=now)
        node.greet(number, str((self.container.pod.get("status") or {}).get("podIP") or ""))
        self._next = now
        return True

    def greet(self, number: int, ip: str) -> None:
        """A node that has just been admitted here is connected."""
        self._links[number] = _Link(ip, ok=True, checked_at=self._world.clock.now())

    def initialise(self) -> str | None:
        """The Bootstrap request: make a new cluster of this node. The error text, or None."""
        if self.database is not None:
            return "cluster has already been initialized"
        assert self.settings is not None
        database = stores.new_database(self._world, name=self.settings.cluster_name, version=self.build)
        number = database.join(_label(self.settings.advertised))
        self.store.database, self.store.node_id = database, number
        self._join_done(database, number, "initialized new cluster")
        return None

    def _join_done(self, database: Database, number: int, status: str) -> None:
        assert self.settings is not None
        now = self._world.clock.now()
        self.joined_at = now
        record = database.nodes[number]
        record.address, record.sql_address = _label(self.settings.advertised), _label(self.settings.sql)
        record.locality, record.build = self.settings.locality, self.build
        record.started_at = record.updated_at = now
        record.process = self
        host, label = self.settings.advertised[0], _label(self.settings.advertised)
        sql = f"postgresql://root@{_label(self.settings.sql)}/defaultdb?sslmode=verify-full"
        said = {
            "build": f"CCL {self.build} @ 2026/08/10 14:02:30 (go1.25.7)",
            "webui": f"‹https://{host}:{self.settings.http_port}›",
            "sql": f"‹{sql}›",
            "RPC client flags": f"‹cockroach <client cmd> --host={label} --certs-dir={self.settings.certs_dir}›",
            "store[0]": f"‹path={self.settings.store}›",
            "clusterID": f"‹{database.cluster_id}›",
            "status": status,
            "nodeID": str(number),
        }
        self.say(f"CockroachDB node starting at {stores.timestamp(now)} (took {now - self._started_at:.1f}s)")
        self.log += [f"{name + ':':20} {text}" for name, text in said.items()]
        self._links.clear()

    # Keeping in touch.

    def _keep_in_touch(self, now: float) -> None:
        """Look after one other node at each tick; the one that was not looked at for longest."""
        database = self.database
        assert database is not None
        others = [node for node in database.voters() if node.id != self.store.node_id]
        fresh = [node for node in others if node.id not in self._links]
        for node in fresh or sorted(others, key=lambda node: self._links[node.id].checked_at)[:1]:
            link = self._links.setdefault(node.id, _Link())
            if now >= link.checked_at + (_PEER_S if link.ok else _JOIN_S):
                link.checked_at = now
                self._check(link, node.address, node.id, database)
        own = database.nodes[self.store.node_id]
        if self.can_heartbeat():
            own.live(now)
            database.replicate(now)
            run_due(self, now)

    def _check(self, link: _Link, address: str, number: int, database: Database) -> None:
        host, port = command_line.address(address, 26257)
        if link.ok:
            found = dialing.connect(self.container, link.ip, port)
            if isinstance(found, Peer) and self._is(found, number, database):
                return
        link.ok = False
        found = dialing.dial(self.container, host, port, self.pair)
        if isinstance(found, Failed):
            self._log_once(
                f"peer{number}", "W", f"[n{self.store.node_id}] unable to connect n{number}: ‹{found.reason}›"
            )
            return
        if self._is(found, number, database):
            link.ip, link.ok = found.ip, True
            self._said.pop(f"peer{number}", None)

    def _look(self, others: Iterable[int]) -> None:
        """Look whether other nodes still answer; one that does not looks about itself as well."""
        now, database = self._world.clock.now(), self.database
        assert database is not None
        for number in set(others) & set(database.nodes) - {self.store.node_id}:
            link, record = self._links.setdefault(number, _Link()), database.nodes[number]
            if now >= link.checked_at + _RPC_BEAT_S:
                link.checked_at, was_ok = now, link.ok
                self._check(link, record.address, number, database)
                if was_ok and not link.ok and record.process is not None and record.process.running():
                    record.process._look(node.id for node in database.voters())  # noqa: SLF001 - another node

    def await_leases(self) -> Generator[float, None, str | None]:
        """Wait until every range has a leaseholder that this node reaches; why not, when that takes too long."""
        waited, database = 0.0, self.database
        assert database is not None
        while True:
            self._look(each.holder for each in database.ranges)
            lost = database.move_leases(self._world.clock.now())
            unreached = [each for each in database.ranges if not self._serves(database.nodes.get(each.holder))]
            if not unreached:
                return None
            if waited >= _BREAKER_S:
                kind = "lost quorum" if lost else "its leaseholder does not answer"
                return f"replica unavailable: r{unreached[0].number + 1}: {kind}"
            yield _LEASE_S
            waited += _LEASE_S

    def _serves(self, holder: NodeRecord | None) -> bool:
        return holder is not None and holder.beats and (holder.process is self or self._links[holder.id].ok)

    @staticmethod
    def _is(peer: Peer, number: int, database: Database) -> bool:
        return peer.node.database is database and peer.node.store.node_id == number

    @property
    def quorate(self) -> bool:
        """Return whether this node and those that it reaches are a majority of its cluster."""
        database = self.database
        if database is None:
            return False
        wanted = {node.id for node in database.voters()}
        reached = sum(link.ok for number, link in self._links.items() if number in wanted)
        return database.majority(1 + reached)

    def can_heartbeat(self) -> bool:
        """Return whether its process runs and reaches a majority now."""
        return self.exit_code is None and self.running() and self.quorate

    def running(self) -> bool:
        """Return whether its pod is still there, on a machine that is on."""
        pods = self.container.cluster.runtime
        machine = self.container.node.machine
        if self._world.machines.get(machine.key) is not machine:
            return False
        if pods is None:
            return True
        box = pods.sandboxes.get(str(self.container.pod["metadata"].get("uid")))
        return box is not None and any(getattr(each, "inner", each) is self for each in box.programs.values())

    # What it serves.

    def listening(self) -> frozenset[Port]:
        """RPC, SQL and HTTP."""
        if not self._listening or self.exit_code is not None or self.settings is None:
            return frozenset()
        return frozenset(
            {("TCP", self.settings.rpc_port), ("TCP", self.settings.sql_port), ("TCP", self.settings.http_port)}
        )

    def http_get(self, port: int, path: str, *, tls: bool) -> HttpAnswer | None:
        """`/health`; anything else needs a login."""
        if self.settings is None or port != self.settings.http_port or ("TCP", port) not in self.listening():
            return None
        if not tls:
            return HttpAnswer(307, b"", "text/html")
        bare, _, query = path.partition("?")
        if bare == "/_status/vars" and self.database is not None:
            return HttpAnswer(200, metrics.exposed(self, self.database).encode(), "text/plain")
        if bare.rstrip("/") in ("/health", "/_admin/v1/health", "/api/v2/health"):
            problem = self.unready() if "ready=1" in query or "ready=true" in query else None
            return HttpAnswer(200, b"{}") if problem is None else _problem(503, 14, problem)
        return HttpAnswer(401, b"the request did not provide an authentication cookie\n", "text/plain")

    def connect(self, port: int) -> Dialogue | None:
        """TLS at the HTTP port; at the SQL port TLS on request, with a client certificate of the same CA or none."""
        if self.settings is None or self.pair is None or ("TCP", port) not in self.listening():
            return None
        context = server_context(*(each.decode() for each in (self.pair.cert, self.pair.key, self.pair.ca)))
        if port == self.settings.http_port:
            return Tls(context, Http(lambda path: self.http_get(port, path, tls=True)))
        return Postgres(context) if port == self.settings.sql_port else None

    def unready(self) -> str | None:
        """Return why the node does not take clients; None when it does."""
        if self.database is None:
            return WAITING
        record = self.database.nodes[self.store.node_id]
        if not record.heartbeat_at and not self.can_heartbeat():
            return "liveness record not found"
        if self._world.clock.now() < self.joined_at + _SETTLE_S or not record.live(self._world.clock.now()):
            return "node is not healthy"
        return None

    # Logs.

    def _log(self, severity: str, where: str, text: str) -> None:
        stamp = self._world.clock.utc().strftime("%y%m%d %H:%M:%S.%f")
        self.say(f"{severity}{stamp} 1 {where} ⋮ {text}")
        del self.log[:-3000]

    def _log_once(self, subject: str, severity: str, text: str) -> None:
        """Log what is new about a subject, not what has been said of it before."""
        if self._said.get(subject) != text:
            self._said[subject] = text
            self._log(severity, "server/init.go:421", f"[T1,Vsystem,n?] {text}")


def _label(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


def _problem(status: int, code: int, text: str) -> HttpAnswer:
    body = {"error": text, "code": code, "message": text, "details": []}
    return HttpAnswer(status, json.dumps(body, indent=2).encode())
