"""CockroachDB: certificates, services and pods in each region; one initialisation; the proof."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from crdbmesh.access import lost_folder
from crdbmesh.clients import database
from crdbmesh.clients.waiting import wait_until
from crdbmesh.engine.step import Gap, Say
from crdbmesh.errors import CrdbmeshError, KubeError, RefusedError
from crdbmesh.steps.base import AwaitedStep, MeshStep, ObjectsStep, RegionStep
from crdbmesh.steps.cilium import rollout_missing
from crdbmesh.topology import hosts, names, pki
from crdbmesh.topology.manifests import Object, cockroach

START_DEADLINE_S = 900.0
JOIN_DEADLINE_S = 600.0
RENEW_BEFORE = timedelta(days=30)

WAITING = "node is waiting for cluster initialization"


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace(ObjectsStep):
    """The region's namespace, under the restricted Pod Security profile."""

    def objects(self) -> list[Object]:
        """The namespace."""
        return [cockroach.namespace(self.region)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates(RegionStep):
    """The node certificate of the region's pods and, in the first region, the root client certificate."""

    def check(self) -> Gap | None:
        """Look at each Secret's certificates: issued by our CA, with every name, not about to expire."""
        for name, leaf in self._leaves().items():
            data = self._find(name)
            if data is None:
                return Gap(f"{self.region.name}: Secret {name} is absent")
            self._refuse_other_ca(name, data)
            if problem := self._problem(name, data, leaf):
                return Gap(f"{self.region.name}: Secret {name}: {problem}")
        return None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Issue what is not right anew, from the same CA."""
        kube = self.access.kube(self.region.name)
        ca = self.access.cockroach_ca()
        now = datetime.now(UTC)
        for name, leaf in self._leaves().items():
            data = self._find(name)
            if data is not None and self._problem(name, data, leaf) is None:
                continue
            say(f"Secret {name}")
            if name == names.NODE_SECRET:
                pair = pki.issue_cockroach_node(ca, self.region.name, now=now)
            else:
                pair = pki.issue_cockroach_client(ca, "root", now=now)
            files = {"ca.crt": ca.cert_pem, f"{leaf}.crt": pair.cert_pem, f"{leaf}.key": pair.key_pem}
            kube.apply(cockroach.secret(self.region, name, files))

    def _leaves(self) -> dict[str, str]:
        leaves = {names.NODE_SECRET: "node"}
        if self.region.name == self.access.mesh.regions[0].name:
            leaves[names.CLIENT_SECRET] = "client.root"
        return leaves

    def _find(self, name: str) -> dict[str, str] | None:
        found = self.access.kube(self.region.name).find("v1", "Secret", name, self.region.name)
        if found is None:
            return None
        return {file: base64.b64decode(text).decode() for file, text in (found.get("data") or {}).items()}

    def _refuse_other_ca(self, name: str, data: Mapping[str, str]) -> None:
        ca = data.get("ca.crt", "").strip()
        if ca and ca != self.access.cockroach_ca().cert_pem.strip():
            raise lost_folder(f"Secret {name} in {self.region.name}")

    def _problem(self, name: str, data: Mapping[str, str], leaf: str) -> str | None:
        cert = data.get(f"{leaf}.crt")
        if not data.get("ca.crt") or not cert or not data.get(f"{leaf}.key"):
            return "it lacks a file"
        if not pki.is_issued_by(cert, self.access.cockroach_ca().cert_pem):
            return "its certificate is not from our CA"
        if pki.expires(cert) - datetime.now(UTC) < RENEW_BEFORE:
            return "its certificate is about to expire"
        if name == names.NODE_SECRET and (missing := pki.covers(cert, pki.cockroach_node_names(self.region.name))):
            return f"its certificate does not name {', '.join(missing)}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Services(ObjectsStep):
    """The Services, the disruption budget, and which zone each node is in."""

    def objects(self) -> list[Object]:
        """The objects."""
        labels = {
            machine.node: hosts.zone_label(self.region.name, self.access.zone_of(machine))
            for machine in self.region.machines
        }
        return [*cockroach.services(self.region), cockroach.zones(self.region, labels)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods(ObjectsStep):
    """The StatefulSet is as the spec says and its pods run (they are ready only once the cluster is initialised)."""

    def objects(self) -> list[Object]:
        """The StatefulSet."""
        return [cockroach.statefulset(self.access.mesh, self.region)]

    def check(self) -> Gap | None:
        """Refuse what a StatefulSet cannot change, and fewer pods: their data would be lost."""
        kube = self.access.kube(self.region.name)
        found = kube.find("apps/v1", "StatefulSet", names.COCKROACH, self.region.name)
        if found is not None:
            self._refuse_loss(found)
        return ObjectsStep.check(self)

    def missing(self) -> str | None:
        """Which pods do not run."""
        kube = self.access.kube(self.region.name)
        return self._not_running(kube.list("v1", "Pod", self.region.name, labels=f"app={names.COCKROACH}"))

    def settle(self, say: Say) -> None:
        """Wait for the pods to run."""
        self.access.kube(self.region.name).wait_all(
            "v1",
            "Pod",
            self.region.name,
            self._not_running,
            labels=f"app={names.COCKROACH}",
            awaited=f"the CockroachDB pods of {self.region.name}",
            deadline_s=self.access.patient(START_DEADLINE_S),
            say=say,
        )

    def _not_running(self, pods: list[dict[str, Any]]) -> str | None:
        by_name = {pod["metadata"]["name"]: pod for pod in pods}
        for ordinal in range(self.region.replicas):
            name = f"{names.COCKROACH}-{ordinal}"
            if name not in by_name:
                return f"{self.region.name}: pod {name} is absent"
            if reason := not_running(by_name[name]):
                return f"{self.region.name}: pod {name}: {reason}"
        return None

    def _refuse_loss(self, found: Mapping[str, Any]) -> None:
        spec = found.get("spec", {})
        have = spec.get("replicas", 1)
        if have > self.region.replicas:
            raise RefusedError(
                f"{self.region.name} has {have} CockroachDB pods, the spec says {self.region.replicas}",
                hint="decommission the nodes first (`cockroach node decommission`), then scale the StatefulSet down",
            )
        wanted = f"{self.access.mesh.cockroach.storage_gib}Gi"
        for claim in spec.get("volumeClaimTemplates") or []:
            size = claim.get("spec", {}).get("resources", {}).get("requests", {}).get("storage")
            if size != wanted:
                raise RefusedError(
                    f"{self.region.name}: volumes are {size}, the spec says {wanted}, "
                    "and local volumes cannot be resized",
                    hint="put `cockroach.storage_gib` back",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach(RegionStep, AwaitedStep):
    """From this region's first pod, every other region's first pods resolve and accept connections.

    Names resolve once CoreDNS has read its blocks; pods connect once the clustermesh is in sync.
    """

    def awaited(self) -> str:
        """What is waited for, for messages."""
        return f"{self.region.name} to reach the other regions' pods"

    def missing(self) -> str | None:
        """Ask the resolver and connect, from inside the pod."""
        remotes = [other.name for other in self.access.mesh.others(self.region)]
        reached = database.read_reach(self.access.kube(self.region.name), self.region.name, remotes)
        return "; ".join(f"{self.region.name} -> {remote}: {why}" for remote, why in reached.items() if why) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Client(ObjectsStep):
    """The client pod in the first region: it alone holds the root client certificate."""

    def objects(self) -> list[Object]:
        """Its Deployment."""
        return [cockroach.client(self.region)]

    def missing(self) -> str | None:
        """Whether it runs."""
        kube = self.access.kube(self.region.name)
        missing = rollout_missing(kube.find("apps/v1", "Deployment", names.COCKROACH_CLIENT, self.region.name))
        return f"{self.region.name}: {missing}" if missing else None

    def settle(self, say: Say) -> None:
        """Wait for it."""
        self.access.kube(self.region.name).wait(
            "apps/v1",
            "Deployment",
            names.COCKROACH_CLIENT,
            self.region.name,
            rollout_missing,
            awaited=f"the CockroachDB client pod in {self.region.name}",
            deadline_s=self.access.patient(START_DEADLINE_S),
            say=say,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialised(MeshStep):
    """The cluster has been initialised: once, on one fixed node, ever.

    Two initialisations on nodes that cannot see each other make two clusters, and nothing joins them again. So: the
    target is always the first region's first pod; it is told only when every pod of every region waits for it and
    they reach each other (steps before this one); a marker in that region's namespace is written first; and once the
    marker holds a cluster id, nothing is ever initialised again.
    """

    def check(self) -> Gap | None:
        """Look for the marker with the cluster's id."""
        marker = self._marker()
        if marker is not None and marker.get("cluster-id"):
            return None
        return Gap("CockroachDB is not initialised")

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Initialise if, and only if, it is safe; then keep the cluster's id."""
        access = self.access
        first = access.mesh.regions[0].name
        kube = access.kube(first)
        if not self._any_initialised(say):
            kube.apply(self._marker_object({"started": datetime.now(UTC).isoformat(timespec="seconds")}))
            say(f"cockroach init on {cockroach.init_target(access.mesh)}")
            database.initialise(kube, first, target=cockroach.init_target(access.mesh), cluster_name=access.mesh.name)

        def cluster_id() -> tuple[str | None, str]:
            try:
                return database.read_cluster_id(kube, first, cockroach.init_target(access.mesh)), ""
            except CrdbmeshError as error:
                return None, str(error)

        found = wait_until(
            cluster_id,
            awaited="the cluster's id",
            deadline_s=self.access.patient(JOIN_DEADLINE_S),
            interval_s=2,
            say=say,
            stop=self.access.stop,
        )
        marker = self._marker() or {}
        started = marker.get("started") or datetime.now(UTC).isoformat(timespec="seconds")
        kube.apply(self._marker_object({"started": started, "cluster-id": found}))

    def _any_initialised(self, say: Say) -> bool:
        """Whether a pod anywhere is part of an initialised cluster; if none is, every one of them waits for it.

        A pod that does not answer could be either, so this waits until all have said.
        """

        def probe() -> tuple[list[bool] | None, str]:
            states = self._states()
            unclear = [f"{pod}: {state}" for pod, state in states.items() if state and WAITING not in state]
            answers = [state is None for state in states.values()]
            return (None, "; ".join(unclear[:3])) if unclear and not any(answers) else (answers, "")

        answers = wait_until(
            probe,
            awaited="every CockroachDB pod to wait for its initialisation",
            deadline_s=self.access.patient(JOIN_DEADLINE_S),
            interval_s=2,
            say=say,
            stop=self.access.stop,
        )
        return any(answers)

    def _states(self) -> dict[str, str | None]:
        states: dict[str, str | None] = {}
        for region in self.access.mesh.all_regions():
            kube = self.access.kube(region.name)
            for ordinal in range(region.replicas):
                pod = f"{names.COCKROACH}-{ordinal}"
                try:
                    states[f"{region.name}/{pod}"] = database.read_readiness(kube, region.name, pod)
                except KubeError as error:
                    states[f"{region.name}/{pod}"] = str(error)
        return states

    def _marker(self) -> dict[str, str] | None:
        first = self.access.mesh.regions[0].name
        found = self.access.kube(first).find("v1", "ConfigMap", names.INIT_MARKER, first)
        return None if found is None else dict(found.get("data") or {})

    def _marker_object(self, data: dict[str, str]) -> Object:
        return cockroach.marker(self.access.mesh.all_regions()[0], data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof(AwaitedStep):
    """Every pod is ready, every node live with its locality, all of them one cluster: the one that was initialised."""

    def awaited(self) -> str:
        """What is waited for, for messages."""
        return "every CockroachDB node to be live"

    def missing(self) -> str | None:
        """Ask the database."""
        mesh = self.access.mesh
        first = mesh.regions[0].name
        for region in mesh.all_regions():
            pods = self.access.kube(region.name).list("v1", "Pod", region.name, labels=f"app={names.COCKROACH}")
            ready = {pod["metadata"]["name"] for pod in pods if _is_ready(pod)}
            for ordinal in range(region.replicas):
                if f"{names.COCKROACH}-{ordinal}" not in ready:
                    return f"{region.name}: pod {names.COCKROACH}-{ordinal} is not ready"
        kube = self.access.kube(first)
        live = {node.address: node for node in database.read_nodes(kube, first) if node.live}
        for region in mesh.all_regions():
            for ordinal in range(region.replicas):
                address = f"{names.cockroach_pod(region.name, ordinal)}:{names.COCKROACH_PORT}"
                node = live.get(address)
                if node is None:
                    return f"{address} is not a live node"
                if node.locality.get("region") != region.name or not node.locality.get("zone"):
                    return f"{address} has the locality {node.locality}, not region={region.name} and a zone"
        ids = {
            database.read_cluster_id(kube, first, f"{names.cockroach_pod(region.name, 0)}:{names.COCKROACH_PORT}")
            for region in mesh.all_regions()
        }
        marker = kube.find("v1", "ConfigMap", names.INIT_MARKER, first) or {}
        known = (marker.get("data") or {}).get("cluster-id")
        if ids != {known}:
            raise RefusedError(
                f"the regions are not the one cluster {known}: {', '.join(sorted(ids))}",
                hint="a node was initialised by hand: find it by its cluster id, wipe its volume, let it join again",
            )
        return None


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def not_running(pod: Mapping[str, Any]) -> str | None:
    """Why a pod's containers do not run, or None when they do."""
    status = pod.get("status", {})
    for container in status.get("containerStatuses") or []:
        state = container.get("state", {})
        if "running" in state:
            continue
        for kind in ("waiting", "terminated"):
            if kind in state:
                detail = state[kind].get("message") or ""
                return f"{state[kind].get('reason', kind)} {detail}".strip()
        return "not started"
    if status.get("phase") == "Running":
        return None
    for condition in status.get("conditions") or []:
        if condition.get("status") == "False" and condition.get("message"):
            return f"{status.get('phase')}: {condition['message']}"
    return str(status.get("phase") or "not scheduled")
