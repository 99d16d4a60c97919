"""The k3s service: how a server begins a cluster or joins one, how an agent joins, and what each writes on its disk.

Source: docs.k3s.io (high availability with embedded etcd, tokens, configuration) and k3s's own log messages. Learner
rules are etcd's: one learner at a time, promoted when it has caught up, removed by k3s when it makes no progress for
five minutes. A joining server is active only once it is a voter.
"""

from __future__ import annotations

import datetime as dt
import secrets
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.kubernetes.api.authority import Authority
from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member
from crdbmesh_simulator.kubernetes.api.store import Store
from crdbmesh_simulator.machines import faults, k3s_disk, k3s_hardening, k3s_join, k3s_settings
from crdbmesh_simulator.machines.k3s_join import JoinError
from crdbmesh_simulator.machines.k3s_settings import Settings, SettingsError
from crdbmesh_simulator.machines.tasks import Task

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS

_UNPACK_S = 3.0
_FIRST_S = 16.0
_JOIN_S = 3.0
_LEARN_S = 9.0
_SERVE_S = 6.0
_AGENT_S = 6.0
_AGENT_RETRY_S = 5.0
_RETURN_S = 8.0
_SPREAD = 0.3
_STALLED_S = 300.0


class K3s(Task):
    """One run of `k3s server` or `k3s agent`, from exec to exit.

    `member`: what it is in its cluster, once admitted. `etcd_up`: its etcd answers its peers, which can be long before
    the API serves.
    """

    def __init__(self, machine: MachineOS, unit: str, version: str, argv: list[str]) -> None:
        self._machine = machine
        self._world = machine.world
        self._unit = unit
        self._version = version
        self._argv = argv
        self._step = self._read_settings
        self._due = self._world.clock.now() + self._spread(_UNPACK_S)
        self._said = ""
        self.settings = Settings(argv[1])
        self.cluster: Cluster | None = None
        self.member: Member | None = None
        self.etcd_up = False
        self._kubelet: dict[str, Any] = {}
        self._looked = self._world.clock.now()

    def tick(self, now: float) -> None:
        """Take the next step when it is time."""
        if self.exit_code is not None or now < self._due:
            return
        try:
            self._step()
        except (SettingsError, JoinError) as error:
            self._fatal(str(error))

    def stop(self) -> None:
        """The process ends; its place in the cluster stays."""
        self.exit_code = 0 if self.exit_code is None else self.exit_code
        self._leave()

    # --- steps ---

    def _read_settings(self) -> None:
        self._log("info", f"Starting k3s {self._version}")
        self.settings = k3s_settings.read(self._machine.files, self._argv)
        for key in self.settings.skipped:
            self._log("warning", f"Unknown flag --{key} found in config.yaml, skipping\\n")
            self._world.not_known("ssh", f"k3s server: setting {key}")
        self._check_address()
        k3s_hardening.check_arguments(self.settings)
        self._kubelet = k3s_hardening.start_kubelet(self._machine.files, self.settings, self._data)
        if self.settings.role == "agent":
            self._next(self._join_as_agent, 1.0)
        elif k3s_disk.find_datastore(self._machine.files, self._data) is not None:
            self._next(self._return, _RETURN_S)
        elif self.settings.text("server"):
            self._log("info", "Managed etcd cluster not yet initialized")
            self._next(self._join_as_server, _JOIN_S)
        else:
            self._log(
                "info",
                "Managed etcd cluster initializing"
                if self.settings.values.get("cluster-init")
                else "Configuring sqlite3 database connection pooling",
            )
            self._next(self._begin, _FIRST_S)

    def _begin(self) -> None:
        given = self.settings.text("token")
        if given.startswith("K10"):
            token = k3s_join.parse(given)
            raise JoinError(
                "failed to normalize server token; the CA hash of a new cluster cannot be known: "
                f"K10{token.ca_hash[:8]}…"
            )
        critical = self.settings.critical()
        now = self._world.clock.now()
        cluster = Cluster(
            uid=secrets.token_hex(8),
            token=given or secrets.token_hex(16),
            config=critical,
            version=self._version,
            authority=Authority(),
            store=Store(self._world.clock),
        )
        cluster.store.configure(service_cidr=str(critical["service-cidr"]).split(",")[0])
        self.cluster = cluster
        self.member = Member(
            self._machine.hardware,
            self._node_name,
            "server",
            self._config(),
            self._version,
            now,
            voter_at=now,
            running=False,
        )
        cluster.members[self._node_name] = self.member
        k3s_disk.write_datastore(self._machine.files, self._data, cluster.uid, self._node_name, self._etcd)
        self.etcd_up = True
        self._world.clusters.append(cluster)
        self._serve()
        self._next(self._ready, _SERVE_S)

    def _return(self) -> None:
        self._log(
            "info",
            "Managed etcd cluster bootstrap already complete and initialized"
            if self._etcd
            else "Database tables and indexes are up to date",
        )
        datastore = k3s_disk.find_datastore(self._machine.files, self._data)
        assert datastore is not None
        cluster = next((each for each in self._world.clusters if each.uid == datastore.cluster), None)
        member = cluster.members.get(datastore.node) if cluster else None
        if cluster is None or member is None or member.machine is not self._machine.hardware:
            raise JoinError(
                "this server may have been previously removed from the cluster; etcd: the member has been "
                "permanently removed from the cluster"
            )
        token = self.settings.text("token")
        if token and k3s_join.parse(token).password != cluster.token:
            raise JoinError(
                "Error: preparing server: failed to bootstrap cluster data: failed to reconcile with local "
                "datastore: bootstrap data already found and encrypted with different token"
            )
        if self._node_name != datastore.node:
            raise JoinError(f"etcd: node name has changed from {datastore.node} to {self._node_name}")
        self.cluster, self.member = cluster, member
        member.config, member.version = self._config(), self._version
        self.etcd_up = True
        self._next(self._learn if member.voter_at is None else self._regain, 1.0)

    def _regain(self) -> None:
        assert self.cluster is not None
        if not k3s_join.etcd_quorum(self.cluster):
            self._say_once("info", "Waiting for etcd server to become available")
            self._next(self._regain, 2.0)
            return
        self._serve()
        self._next(self._ready, _SERVE_S)

    def _join_as_server(self) -> None:
        cluster = k3s_join.find_cluster(self._machine, self.settings, self._node_name)
        differing = k3s_join.differences(cluster, self.settings)
        for name in differing:
            self._log("warning", f"critical configuration mismatched: {name}")
        if differing:
            raise JoinError(
                "Error: preparing server: failed to bootstrap cluster data: failed to validate server "
                "configuration: critical configuration value mismatch between servers"
            )
        k3s_join.admit_server(cluster, self._node_name, crowded=faults.too_many_learners(self._machine))
        self.cluster = cluster
        self.member = Member(
            self._machine.hardware,
            self._node_name,
            "server",
            self._config(),
            self._version,
            self._world.clock.now(),
            voter_at=None,
            running=False,
        )
        cluster.members[self._node_name] = self.member
        k3s_disk.write_datastore(self._machine.files, self._data, cluster.uid, self._node_name, etcd=True)
        self.etcd_up = True
        self._log("info", f"Adding member {self._node_name}={self._machine.private_ip()} to etcd cluster as learner")
        self._next(self._learn, _LEARN_S)

    def _learn(self) -> None:
        assert self.cluster is not None and self.member is not None  # noqa: PT018 - no test
        if self.cluster.members.get(self._node_name) is not self.member:
            raise JoinError("etcd: the member has been permanently removed from the cluster")
        if not k3s_join.can_catch_up(self.cluster, self.member):
            self._say_once("info", "Waiting for etcd learner to catch up with the leader")
            self._next(self._learn, 3.0)
            return
        self.member.voter_at = self._world.clock.now()
        self._log("info", f"Promoted learner {self._node_name}")
        self._serve()
        self._next(self._ready, _SERVE_S)

    def _join_as_agent(self) -> None:
        try:
            cluster = k3s_join.find_cluster(self._machine, self.settings, self._node_name)
        except JoinError as error:
            self._say_once("error", str(error))
            self._next(self._join_as_agent, _AGENT_RETRY_S)
            return
        k3s_join.release_name(cluster, self._node_name)
        self.cluster = cluster
        member = cluster.members.get(self._node_name)
        if member is None or member.machine is not self._machine.hardware:
            member = Member(
                self._machine.hardware,
                self._node_name,
                "agent",
                self._config(),
                self._version,
                self._world.clock.now(),
                running=False,
            )
            cluster.members[self._node_name] = member
        member.config, member.version = self._config(), self._version
        self.member = member
        self._next(self._ready, _AGENT_S)

    def _ready(self) -> None:
        assert self.cluster is not None and self.member is not None  # noqa: PT018 - no test
        if self.member.role == "agent":
            self.member.running, self.member.kubelet = True, self._kubelet
            k3s_disk.write_agent(self._machine.files, self._data, self.cluster)
        self._log("info", "k3s is up and running" if self.member.role == "server" else "Connected to the cluster")
        self.ready = True
        self._next(self._watch, 5.0)

    def _watch(self) -> None:
        assert self.cluster is not None and self.member is not None  # noqa: PT018 - no test
        now = self._world.clock.now()
        if self.member.role == "server" and self.cluster.members.get(self._node_name) is not self.member:
            raise JoinError("etcd: the member has been permanently removed from the cluster")
        for name, other in list(self.cluster.members.items()) if self.member.role == "server" else []:
            stalled = other.role == "server" and other.voter_at is None and now - other.joined_at > _STALLED_S
            if stalled and not k3s_join.etcd_is_up(other):
                self._log("warning", f"Removing learner {name} from etcd cluster: no progress for 5m0s")
                del self.cluster.members[name]
        if self.member.role == "server" and self._etcd:
            about = (self._machine.files, self.settings, self._data, self._node_name)
            k3s_hardening.take_snapshot(*about, self._looked, now)
        self._looked = now
        self._next(self._watch, 5.0)

    # --- inside ---

    @property
    def _data(self) -> str:
        return self.settings.text("data-dir", "/var/lib/rancher/k3s")

    @property
    def _etcd(self) -> bool:
        return bool(self.settings.values.get("cluster-init") or self.settings.text("server"))

    @property
    def _node_name(self) -> str:
        return self.settings.text("node-name") or self._machine.hostname.lower()

    def _config(self) -> dict[str, Any]:
        return dict(self.settings.values)

    def _check_address(self) -> None:
        own = self._machine.private_ip()
        given = self.settings.text("node-ip").split(",")[0]
        if given and given != own:
            if self.settings.role == "server":
                raise SettingsError(f"listen tcp {given}:2380: bind: cannot assign requested address")
            raise SettingsError(
                f'failed to validate nodeIP: node IP: "{given}" not found in the host\'s network interfaces'
            )

    def _serve(self) -> None:
        assert self.cluster is not None and self.member is not None  # noqa: PT018 - no test
        self.cluster.store.admission = k3s_hardening.start_api(self._machine.files, self.settings)
        self.member.running, self.member.kubelet = True, self._kubelet
        k3s_disk.write_server(self._machine, self._data, self.cluster, self.settings)
        k3s_disk.write_agent(self._machine.files, self._data, self.cluster)
        encrypts = bool(self.cluster.config["secrets-encryption"])
        k3s_hardening.begin_encryption(self._machine.files, self._data, enabled=encrypts)

    def _leave(self) -> None:
        self.etcd_up = False
        if self.member is not None:
            self.member.running = False

    def _next(self, step: Any, seconds: float) -> None:
        self._step = step
        self._due = self._world.clock.now() + self._spread(seconds)

    def _spread(self, seconds: float) -> float:
        return seconds * self._world.random.uniform(1 - _SPREAD, 1 + _SPREAD)

    def _fatal(self, message: str) -> None:
        self._log("fatal", message)
        self._leave()
        self.exit_code = 1

    def _say_once(self, level: str, message: str) -> None:
        if message != self._said:
            self._said = message
            self._log(level, message)

    def _log(self, level: str, message: str) -> None:
        stamp = dt.datetime.fromtimestamp(self._world.clock.now(), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        quoted = message.replace('"', '\\"')
        self._machine.systemd.log(self._unit, "k3s", f'time="{stamp}" level={level} msg="{quoted}"', self.pid)
