"""k3s on the machines: its configuration, its service, its cluster, our way to its API, and its DNS.

Each region's CoreDNS is on a NodePort, and every other cluster forwards the region's names to it.
"""

import functools
from collections.abc import Mapping
from typing import Any

from crdbmesh.clients.kube.client import Kube
from crdbmesh.clients.ssh.host import Host
from crdbmesh.clients.waiting import Say
from crdbmesh.desired import Object, cockroach, dns, hardening
from crdbmesh.desired import azure as resources
from crdbmesh.desired import machine as hosts
from crdbmesh.engine.step import Gap
from crdbmesh.errors import HostError, KubeError, RefusedError
from crdbmesh.local import contents, kubeconfig
from crdbmesh.observe import machines as observed
from crdbmesh.run.world import lost_folder
from crdbmesh.spec import documents, names
from crdbmesh.spec.mesh import Machine
from crdbmesh.steps import rollout
from crdbmesh.steps.base import DeploymentStep, MachineStep, RegionStep
from crdbmesh.steps.machines import download, k3s_binary

K3S_KUBECONFIG = "/etc/rancher/k3s/k3s.yaml"
START_DEADLINE_S = 600.0
VOTER_DEADLINE_S = 300.0
ROLLOUT_DEADLINE_S = 7200.0

_SERVERS_OWN = ("cluster-cidr", "service-cidr", "flannel-backend", "tls-san")
"""Settings that servers have, and agents have not."""


class Member(MachineStep):
    """The machine is a member of its region's cluster: configured, running, and for a server an etcd voter."""

    def check(self) -> Gap | None:
        """Compare the configuration, the service and the node with what they should be."""
        host = self.world.host(self.machine)
        have = host.read_file(hosts.K3S_CONFIG)
        if have is None:
            return Gap(f"{self.machine.node}: k3s is not configured", "create")
        wanted, settings = self._config(self.region.servers[0]), _parsed(have)
        self._refuse_fixed(settings, wanted)
        service = hosts.k3s_service(self.region, self.machine)
        if _lasting(settings) != _lasting(wanted):
            serves = host.run(f"systemctl is-active {service}", check=False).stdout.strip() == "active"
            restarts = self._restarts if serves else ()
            return Gap(f"{self.machine.node}: the k3s configuration differs", restarts=restarts)
        for question, answer in (("is-enabled", "enabled"), ("is-active", "active")):
            said = host.run(f"systemctl {question} {service}", check=False).stdout.strip()
            if said != answer:
                return Gap(f"{self.machine.node}: {service} is {said or 'unknown'}, not {answer}")
        if other := observed.other_k3s(self.world, self.machine):
            other = f"{self.machine.node} runs k3s {other}, not {self.world.mesh.versions.k3s.version}"
            return Gap(other, restarts=self._restarts)
        if self.machine == self.region.servers[0]:
            return None
        node = self.kube.find("v1", "Node", self.machine.node)
        missing = observed.not_joined(node, server=self._is_server)
        return Gap(f"{self.machine.node}: {missing}") if missing else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Write the configuration, start or restart the service, and wait until the node has joined.

        Another version is a rollout: servers first, then agents (docs.k3s.io, "Manual upgrades"); pods run on while k3s
        restarts.
        """
        if not observed.other_k3s(self.world, self.machine):
            self._configure(say, restarts=False)
            return
        version = self.world.mesh.versions.k3s.version
        if not self._is_server:
            self.world.wait_until(self._servers_first, awaited="the servers", deadline_s=ROLLOUT_DEADLINE_S, say=say)
        with rollout.one(self.world, self.machine, f"k3s of {self.machine.node} becomes {version}", say):
            download(self, k3s_binary(self), hosts.K3S_BINARY, say)
            self._configure(say, restarts=True)

            def until(_node: Object | None) -> str | None:
                other = observed.other_k3s(self.world, self.machine)
                return f"it runs {other}" if other else None

            at, awaited = ("v1", "Node", self.machine.node, None), f"{self.machine.node} to run k3s {version}"
            self.kube.wait(*at, until, awaited=awaited, deadline_s=self.world.deadline(START_DEADLINE_S), say=say)

    def _servers_first(self) -> tuple[bool | None, str]:
        if self.world.rollout_ended:
            raise RefusedError(f"{self.machine.node} stays as it is: {self.world.rollout_ended}", hint=rollout.AGAIN)
        others = [server.node for server in self.region.servers if observed.other_k3s(self.world, server)]
        return (None, f"{', '.join(others)} not upgraded yet") if others else (True, "")

    def _configure(self, say: Say, *, restarts: bool) -> None:
        host = self.world.host(self.machine)
        service = hosts.k3s_service(self.region, self.machine)
        have = host.read_file(hosts.K3S_CONFIG)
        if have is None:
            wanted = self._config(self._through(say))
        else:
            start = {key: value for key, value in _parsed(have).items() if key in hosts.START}
            wanted = {**_lasting(self._config(self.region.servers[0])), **start}
        text = hosts.k3s_config_text(wanted)
        changed = host.write_file(hosts.K3S_CONFIG, text.encode(), mode=0o600)
        active = host.run(f"systemctl is-active {service}", check=False).stdout.strip() == "active"
        host.run(f"systemctl enable {service}", sudo=True)
        if changed or not active or restarts:
            say(f"restarting {service}")
            host.run(f"systemctl restart --no-block {service}", sudo=True)
        # The unit is Type=notify and restarted when it fails, so it is active once k3s serves.
        awaited, probe = f"{service} on {self.machine.node}", functools.partial(_service_state, host, service)
        self.world.wait_until(probe, awaited=awaited, deadline_s=START_DEADLINE_S, say=say)
        if self.machine != self.region.servers[0]:
            _await_node(self, self.machine, "join", say)

    @property
    def _restarts(self) -> tuple[str, ...]:
        return (f"k3s of {self.machine.node}",)

    @property
    def _is_server(self) -> bool:
        return self.machine in self.region.servers

    def _config(self, through: Machine | None) -> dict[str, Any]:
        addresses = [self.world.public_address(server) for server in self.region.servers]
        more = hardening.settings(self.world.mesh, self.region, self.machine)
        own = hosts.k3s_config(
            self.region,
            self.machine,
            token=self.world.token(self.region.name),
            public_addresses=[address for address in addresses if address],
            zone=hosts.zone_label(self.region.name, self.world.place_of(self.machine)),
            through=through,
        )
        return {**own, **more}

    def _through(self, say: Say) -> Machine | None:
        """Return the server by which this new machine joins; None when it is the one to begin the cluster.

        A machine that takes the place of a lost one joins like any other, the first one too: beginning anew would leave
        the region with two clusters, so one that does not answer is a RefusedError. The lost one's Node goes first, and
        its etcd member with it.
        """
        first = self.region.servers[0]
        if self.world.folder.read(contents.kubeconfig(self.region.name)) is None:
            if self.machine != first:
                return first
            if not self._kubeconfig_from_others(say):
                self.world.folder.write(contents.begun(self.region.name), "")
                return None
        try:
            kube = self.kube
            nodes = {node["metadata"]["name"] for node in kube.list("v1", "Node")}
        except KubeError as error:
            self.world.forget_kube(self.region.name)
            if self.machine != first:
                return first
            if left := [server.node for server in self._others_configured()]:
                reason = f"{self.machine.node} is new, and the cluster it should join does not answer ({error})"
                hint = f"bring {', '.join(left)} back first, or remove the region's machines to begin it anew"
                raise RefusedError(reason, hint=hint) from error
            return None
        if self.machine.node in nodes:
            say(f"removing the Node of the lost {self.machine.node}")
            kube.delete("v1", "Node", self.machine.node, wait=True, deadline_s=self.world.deadline(VOTER_DEADLINE_S))
        others = [server for server in self.region.servers if server != self.machine and server.node in nodes]
        return others[0] if others else None if self.machine == first else first

    def _kubeconfig_from_others(self, say: Say) -> bool:
        """Fetch a lost kubeconfig of a cluster that was begun before; False when there is no such cluster."""
        if self.world.folder.read(contents.begun(self.region.name)) is None:
            return False
        return any(_fetch_kubeconfig(self, server, say) for server in self._others_configured())

    def _others_configured(self) -> list[Machine]:
        """List the other servers that are in a cluster; raise UnreachableError when one of them does not answer."""
        there = [server for server in self.region.servers[1:] if self.world.public_address(server) is not None]
        return [server for server in there if self.world.host(server).read_file(hosts.K3S_CONFIG) is not None]

    def _refuse_fixed(self, have: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        if have.get("token") not in (None, wanted["token"]):
            raise lost_folder(f"the cluster of {self.machine.node}")
        was_server = any(setting in have for setting in _SERVERS_OWN)
        if "node-name" in have and was_server != self._is_server:
            roles = ("an agent", "a server")
            raise RefusedError(
                f"{self.machine.node} is {roles[was_server]} of k3s, the spec makes it {roles[self._is_server]}, "
                "and k3s cannot change that",
                hint="put the number of machines back; or decommission the CockroachDB node on it "
                f"(`{cockroach.decommission(self.world.mesh)}`), drain and delete its Node, "
                "delete its pod's volume claim and its VM, and run `up`: it is made anew",
            )
        for setting in hosts.FIXED:
            if setting in have and setting in wanted and have[setting] != wanted[setting]:
                raise RefusedError(
                    f"{self.machine.node}: {setting} is {documents.scalar(have[setting])}, the spec says "
                    f"{wanted[setting]}, and k3s cannot change that on a cluster that exists",
                    hint="put the spec back; to change it back up (SQL BACKUP), `crdbmesh down`, `crdbmesh up` with "
                    "the new spec, restore",
                )


class Kubeconfig(RegionStep):
    """We have the region's kubeconfig and the API answers to it; its first server is an etcd voter."""

    def check(self) -> Gap | None:
        """Ask the API with the kubeconfig that is kept."""
        text = self.world.folder.read(contents.kubeconfig(self.region.name))
        if text is None:
            return Gap(f"{self.region.name}: no kubeconfig yet", "create")
        server = kubeconfig.current(kubeconfig.parse(text))["cluster"].get("server")
        if server != _api_of(self):
            return Gap(f"{self.region.name}: the kubeconfig names {server}, which is not {_api_of(self)}")
        try:
            node = self.kube.find("v1", "Node", self.region.servers[0].node)
        except KubeError as error:
            self.world.forget_kube(self.region.name)
            return Gap(str(error))
        missing = observed.not_joined(node, server=True)
        return Gap(f"{self.region.servers[0].node}: {missing}") if missing else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Fetch it from the first server, and keep it with the server's public address and our context name."""
        first = self.region.servers[0]
        if not _fetch_kubeconfig(self, first, say):
            raise HostError(f"{first.node}: k3s has written no kubeconfig", hint="see `journalctl -u k3s` there")
        self.world.forget_kube(self.region.name)

        def connected() -> tuple[Kube | None, str]:
            try:
                return self.kube, ""
            except KubeError as error:
                return None, str(error)

        awaited = f"the Kubernetes API of {self.region.name}"
        self.world.wait_until(connected, awaited=awaited, deadline_s=VOTER_DEADLINE_S, say=say)
        _await_node(self, first, "register", say)


class Forwarders(DeploymentStep):
    """The region's DNS can be asked by the others, and asks them for their zones."""

    deadline_s = 600.0

    def objects(self) -> list[Object]:
        """Return the NodePort Service, the server blocks, and CoreDNS's replicas."""
        mesh = self.world.mesh
        blocks = dns.forwarders(mesh, self.region)
        found = self.kube.find("apps/v1", "Deployment", names.COREDNS, names.KUBE_SYSTEM)
        return [dns.service(self.region), *([blocks] if blocks else []), dns.coredns(mesh, self.region, found)]

    def awaited(self) -> str:
        """Name CoreDNS, for messages."""
        return f"CoreDNS of {self.region.name}"


def _api_of(step: RegionStep) -> str:
    """Return the URL of a region's Kubernetes API, at its first server."""
    return f"https://{step.world.public_address(step.region.servers[0])}:{resources.KUBE_PORT}"


def _fetch_kubeconfig(step: RegionStep, machine: Machine, say: Say) -> bool:
    """Make the region's kubeconfig with the credentials in a server's; False when k3s has written none there."""
    text = step.world.host(machine).read_file(K3S_KUBECONFIG)
    if text is None:
        return False
    source, context = f"kubeconfig of {machine.node}", names.context(step.region.name)
    say(f"reading the {source}")
    found = kubeconfig.parse(text, source=source, outside=True)
    config = kubeconfig.rewrite(found, server=_api_of(step), context=context, source=source)
    step.world.folder.write(contents.kubeconfig(step.region.name), kubeconfig.dump(config))
    return True


def _await_node(step: RegionStep, machine: Machine, to: str, say: Say) -> None:
    until = functools.partial(observed.not_joined, server=machine in step.region.servers)
    awaited, deadline_s = f"node {machine.node} to {to}", step.world.deadline(VOTER_DEADLINE_S)
    step.kube.wait("v1", "Node", machine.node, None, until, awaited=awaited, deadline_s=deadline_s, say=say)


def _lasting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that count for as long as the node lives."""
    return {key: value for key, value in settings.items() if key not in hosts.START}


def _service_state(host: Host, service: str) -> tuple[bool | None, str]:
    """Return True once the service is active, and what it is, with the last lines of the program itself."""
    try:
        shown = host.run(f"systemctl show -p ActiveState -p NRestarts {service}", check=False).stdout
        # By the identifier: systemd's own lines on the unit would push out the one that says why k3s ended.
        log = host.run(f"journalctl -u {service} -t k3s -n 3 --no-pager -o cat", sudo=True, check=False).stdout
    except HostError as error:
        if not error.retryable:
            raise
        return None, str(error)
    found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    state, restarts = found.get("ActiveState", "unknown"), found.get("NRestarts", "0")
    again = "" if restarts == "0" else f", restarted {restarts} times"
    return (True if state == "active" else None), f"{state}{again}: {' | '.join(log.strip().splitlines())}"


def _parsed(text: bytes) -> Mapping[str, Any]:
    try:
        loaded = documents.read_yaml(text)
    except documents.DocumentError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
