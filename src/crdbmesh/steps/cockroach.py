"""CockroachDB in each region: certificates, services, pods, and that they reach each other; then see `initialise`."""

import base64
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from crdbmesh import redaction
from crdbmesh.clients.waiting import Say
from crdbmesh.desired import Object, cockroach
from crdbmesh.desired import machine as hosts
from crdbmesh.engine.step import Gap
from crdbmesh.errors import RefusedError
from crdbmesh.local import pki
from crdbmesh.observe import backups, database
from crdbmesh.run.world import lost_folder
from crdbmesh.spec import names
from crdbmesh.steps import rollout
from crdbmesh.steps.base import AwaitedStep, DeploymentStep, ObjectsStep, RegionStep

START_DEADLINE_S = 900.0
RELOAD_DEADLINE_S = 300.0


class Namespace(ObjectsStep):
    """The region's namespace, under the restricted Pod Security profile."""

    def objects(self) -> list[Object]:
        """Return the namespace."""
        return [cockroach.namespace(self.region)]


class Certificates(RegionStep):
    """The node certificate of the region's pods and, where a client pod is, the root client certificate.

    A node reads its certificate when it starts, and again on SIGHUP (docs v26.2, `rotate-certificates`). One that was
    told to has the Secret's version in an annotation of its pod.
    """

    def check(self) -> Gap | None:
        """Check each Secret's certificate: issued by our CA, with every name, not about to expire, and in use."""
        for name, leaf in self._leaves().items():
            data = self._find(name)
            if data is None:
                return Gap(f"{self.region.name}: Secret {name} is absent", "create")
            ca = data.get("ca.crt", "").strip()
            if ca and ca != self.world.cockroach_ca().cert_pem.strip():
                raise lost_folder(f"Secret {name} in {self.region.name}")
            if problem := self._problem(name, data, leaf):
                return Gap(f"{self.region.name}: Secret {name}: {problem}")
        pods = ", ".join(pod["metadata"]["name"] for pod in self._behind())
        return Gap(f"{self.region.name}: {pods} runs with an earlier certificate") if pods else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Issue anew, from the same CA, what is absent or not right; then see it in the pods that run."""
        if self._issue(say) and self.region in self.world.mesh.client_regions():
            for pod in self.kube.list("v1", "Pod", self.region.name, labels=f"app={names.COCKROACH_CLIENT}"):
                if _began(pod):
                    self._await_file(pod["metadata"]["name"], "client", names.CLIENT_SECRET, "client.root.crt", say)
        for pod in self._behind():
            self._reload(pod["metadata"]["name"], say)

    def _behind(self) -> list[Object]:
        """List the pods whose node began before the Secret was last written, and was not told of it since."""
        secret = self.kube.find("v1", "Secret", names.NODE_SECRET, self.region.name) or {"metadata": {}}
        written = [
            str(entry.get("time"))
            for entry in secret["metadata"].get("managedFields") or []
            if entry.get("manager") == self.kube.field_manager
        ]
        version = self._version(secret)
        pods = self.kube.list("v1", "Pod", self.region.name, labels=database.PODS) if written else []
        return [
            pod
            for pod in pods
            if (pod["metadata"].get("annotations") or {}).get(names.CERTIFICATE_LOADED) != version
            and any(began < max(written) for began in _began(pod))
        ]

    def _reload(self, pod: str, say: Say) -> None:
        """Tell the node of a pod to read its certificate, once it is there."""
        self._await_file(pod, "db", names.NODE_SECRET, "node.crt", say)
        secret = self.kube.find("v1", "Secret", names.NODE_SECRET, self.region.name) or {}
        self.kube.exec(self.region.name, pod, ["bash", "-c", "kill -HUP 1"], container="db")
        told = {"annotations": {names.CERTIFICATE_LOADED: self._version(secret)}}
        head: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": self.region.name}}
        self.kube.apply({**head, "metadata": {**head["metadata"], **told}}, force=True)

    def _await_file(self, pod: str, container: str, secret: str, file: str, say: Say) -> None:
        """Wait until the kubelet has brought a file of a Secret into a pod, which takes it a minute or so."""
        wanted = (self._find(secret) or {}).get(file, "").strip()

        def probe() -> tuple[bool | None, str]:
            argv = ["cat", f"{cockroach.CERTS}/{file}"]
            there = self.kube.exec(self.region.name, pod, argv, container=container).stdout.strip()
            return (True, "") if there == wanted else (None, "the earlier one is there")

        awaited = f"the new {file} in {pod} of {self.region.name}"
        self.world.wait_until(probe, awaited=awaited, deadline_s=RELOAD_DEADLINE_S, say=say)

    @staticmethod
    def _version(secret: Mapping[str, Any]) -> str:
        text = str((secret.get("data") or {}).get("node.crt"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _issue(self, say: Say) -> bool:
        """Issue what is absent or not right; return whether root's certificate was."""
        root = False
        ca, now = self.world.cockroach_ca(), datetime.now(UTC)
        for name, leaf in self._leaves().items():
            data = self._find(name)
            if data is not None and self._problem(name, data, leaf) is None:
                continue
            say(f"writing Secret {name}")
            if name == names.NODE_SECRET:
                pair = pki.issue_cockroach_node(ca, self.region.name, now=now)
            else:
                days = pki.ROOT_DAYS if self.world.mesh.layout > 1 else pki.LEAF_DAYS
                pair = pki.issue_cockroach_client(ca, "root", now=now, days=days)
                root = True
            redaction.learn(pair.key_pem)
            files = {"ca.crt": ca.cert_pem, f"{leaf}.crt": pair.cert_pem, f"{leaf}.key": pair.key_pem}
            self.kube.apply(cockroach.secret(self.region, name, files), force=True)
        return root

    def _leaves(self) -> dict[str, str]:
        leaves = {names.NODE_SECRET: "node"}
        if self.region in self.world.mesh.client_regions():
            leaves[names.CLIENT_SECRET] = "client.root"
        return leaves

    def _find(self, name: str) -> dict[str, str] | None:
        found = self.kube.find("v1", "Secret", name, self.region.name)
        if found is None:
            return None
        data = found.get("data") or {}
        return {file: base64.b64decode(text).decode(errors="replace") for file, text in data.items()}

    def _problem(self, name: str, data: Mapping[str, str], leaf: str) -> str | None:
        cert = data.get(f"{leaf}.crt")
        if not data.get("ca.crt") or not cert or not data.get(f"{leaf}.key"):
            return "it lacks a file"
        if not pki.is_issued_by(cert, self.world.cockroach_ca().cert_pem):
            return "its certificate is not from our CA"
        if pki.expires(cert) - datetime.now(UTC) < pki.RENEW_BEFORE:
            return "its certificate is about to expire"
        if name == names.NODE_SECRET and (missing := pki.covers(cert, pki.cockroach_node_names(self.region.name))):
            return f"its certificate does not name {', '.join(missing)}"
        return None


def _began(pod: Object) -> list[str]:
    """Return when the containers of a pod that run began, as the kubelet stamps it."""
    states = (one.get("state") or {} for one in pod.get("status", {}).get("containerStatuses") or [])
    return [str(state["running"].get("startedAt")) for state in states if state.get("running")]


class Services(ObjectsStep):
    """The Services, the disruption budget, the StorageClasses, and which zone each node is in."""

    def objects(self) -> list[Object]:
        """Return the objects."""
        zones = ((machine.node, self.world.place_of(machine)) for machine in self.region.machines)
        labels = {node: hosts.zone_label(self.region.name, zone) for node, zone in zones}
        storage = cockroach.storage(self.world.mesh, self.region)
        found = backups.find_identity(self.world) if self.world.mesh.backup else None
        identity = [cockroach.identity(self.region, found["clientId"])] if found else []
        return [*cockroach.services(self.region), cockroach.zones(self.region, labels), *storage, *identity]


class Pods(ObjectsStep):
    """The StatefulSet is as the spec says and its pods run (they are ready only once the cluster is initialised)."""

    @property
    def _at(self) -> tuple[str, str, str, str]:
        return "apps/v1", "StatefulSet", names.COCKROACH, self.region.name

    def objects(self) -> list[Object]:
        """Return the StatefulSet."""
        found = self.kube.find(*self._at)
        return [cockroach.statefulset(self.world.mesh, self.region, found)]

    def check(self) -> Gap | None:
        """Refuse what a StatefulSet cannot change, and fewer pods: their data would be lost."""
        found = self.kube.find(*self._at)
        if found is not None:
            self._refuse_fewer(found.get("spec", {}).get("replicas", 1))
            templates = found.get("spec", {}).get("volumeClaimTemplates") or []
            have = {one["metadata"]["name"]: one for one in templates}
            for name in sorted({*have, *(one["metadata"]["name"] for one in cockroach.claims(self.world.mesh))}):
                self._refuse_other_size(name, have.get(name, {}))
        else:
            self._refuse_loss_of_claims()
        gap = ObjectsStep.check(self)
        return gap and replace(gap, restarts=self._replaced(found))

    def _replaced(self, found: Object | None) -> tuple[str, ...]:
        """List the pods that serve and are replaced when the StatefulSet is applied, in the order of it."""
        if found is None or found["status"].get("readyReplicas", 0) < found["spec"]["replicas"]:
            return ()
        left = _partition(found) or (found["spec"]["replicas"] if self._changes() else 0)
        return tuple(f"{names.COCKROACH}-{ordinal} of {self.region.name}" for ordinal in reversed(range(left)))

    def _changes(self) -> bool:
        return any(line.startswith("spec.template.") for line in self.kube.covers(self.objects()[0]))

    def apply(self, gap: Gap, say: Say) -> None:
        """Apply it; where the database serves, pods that change are replaced one at a time over the whole mesh."""
        found = self.kube.find(*self._at)
        if found is None or not found.get("status", {}).get("readyReplicas"):
            ObjectsStep.apply(self, gap, say)
            return
        wanted = self.objects()[0]
        self._roll(wanted, found, say)
        ObjectsStep.apply(self, gap, say)

    def _roll(self, wanted: Object, found: Object, say: Say) -> None:
        """Replace pods of another template, the last first, by lowering the partition below which they stay.

        A rollout that broke off goes on from its partition. Where a pod is not ready, Kubernetes replaces them without
        the gate, as far as the partition: that may be what mends it.
        """
        replicas, left = min(found["spec"]["replicas"], self.region.replicas), _partition(found)
        changes = self._changes()
        if found["status"].get("readyReplicas", 0) < replicas:
            with self.world.turn("rollout"):
                self._lower(wanted, left, replicas, say)
        elif changes:
            left = replicas
        for ordinal in reversed(range(left)):
            what = f"{names.COCKROACH}-{ordinal} of {self.region.name} is replaced"
            with rollout.one(self.world, self.region, what, say):
                self._lower(wanted, ordinal, replicas, say)

    def _lower(self, wanted: Object, partition: int, replicas: int, say: Say) -> None:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
        self.kube.apply({**wanted, "spec": {**wanted["spec"], "updateStrategy": strategy}}, force=True)

        def until(found: Object | None) -> str | None:
            if found is None or found["metadata"]["generation"] > found["status"].get("observedGeneration", 0):
                return "change not observed yet"
            updated, ready = (found["status"].get(count, 0) for count in ("updatedReplicas", "readyReplicas"))
            done = updated >= replicas - partition and ready >= replicas
            return None if done else f"{updated} of {replicas - partition} replaced, {ready} of {replicas} ready"

        awaited = f"the CockroachDB pods of {self.region.name}"
        deadline_s = self.world.deadline(START_DEADLINE_S * (replicas - partition))
        self.kube.wait(*self._at, until, awaited=awaited, deadline_s=deadline_s, say=say)

    def missing(self) -> str | None:
        """Say which pod does not run, and why; None when all do."""
        return database.not_running(self.region, self.kube.list("v1", "Pod", self.region.name, labels=database.PODS))

    def settle(self, say: Say) -> None:
        """Wait for the pods to run."""
        at, until = ("v1", "Pod", self.region.name), functools.partial(database.not_running, self.region)
        awaited, deadline_s = f"the CockroachDB pods of {self.region.name}", self.world.deadline(START_DEADLINE_S)
        self.kube.wait_all(*at, until, labels=database.PODS, awaited=awaited, deadline_s=deadline_s, say=say)

    def _refuse_loss_of_claims(self) -> None:
        """Refuse by the volume claims: they outlive a deleted StatefulSet, and a new one uses them again."""
        head = f"datadir-{names.COCKROACH}-"
        claims = {
            int(number): claim
            for claim in self.kube.list("v1", "PersistentVolumeClaim", self.region.name)
            if (number := str(claim["metadata"]["name"]).removeprefix(head)).isdigit()
        }
        self._refuse_fewer(max(claims, default=-1) + 1)
        for claim in claims.values():
            self._refuse_other_size("datadir", claim)

    def _refuse_fewer(self, have: int) -> None:
        wanted = self.region.replicas
        if have <= wanted:
            return
        region, last = self.region.name, f"{names.COCKROACH}-{have - 1}"
        raise RefusedError(
            f"{region} has {have} CockroachDB pods, the spec says {wanted}: what the others hold would be lost",
            hint=f"put the number back; or, one at a time, {last} first: decommission its node "
            f"(`{cockroach.decommission(self.world.mesh)}`), wait until it holds no replica, scale the "
            f"StatefulSet {names.COCKROACH} of namespace {region} down by one, delete the pod's volume claim; "
            "then run `up` with the smaller number",
        )

    def _refuse_other_size(self, name: str, claim: Mapping[str, Any]) -> None:
        spec = self.world.mesh.cockroach
        field = "storage_gib" if name == "datadir" else "wal_failover_gib"
        wanted = f"{getattr(spec, field)}Gi"
        size = claim.get("spec", {}).get("resources", {}).get("requests", {}).get("storage", "0Gi")
        if size != wanted:
            raise RefusedError(
                f"{self.region.name}: volumes are {size}, the spec says {wanted}, and local volumes cannot be resized, "
                "nor a StatefulSet's claims changed",
                hint=f"put `cockroach.{field}` back to {size}; for another size back up (SQL BACKUP), "
                "`crdbmesh down`, `crdbmesh up` with the new spec, restore",
            )


def _partition(found: Object) -> int:
    """Return the ordinal below which pods of a rollout that broke off are as they were; 0 without one."""
    strategy = found["spec"].get("updateStrategy") or {}
    return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)


class Reach(RegionStep, AwaitedStep):
    """From this region's first pod, every other region's first pod resolves and accepts connections; alone, its own.

    Names resolve once CoreDNS has read its blocks; pods connect once the clustermesh is in sync.
    """

    def awaited(self) -> str:
        """Name what is waited for, for messages."""
        return f"{self.region.name} to reach the pods of the mesh"

    def missing(self) -> str | None:
        """Ask the resolver and connect, from inside the pod."""
        targets = [other.name for other in self.world.mesh.others(self.region)] or [self.region.name]
        unreached = database.read_unreached(self.kube, self.region.name, targets)
        return "; ".join(f"{self.region.name} -> {target}: {why}" for target, why in unreached.items()) or None


class Client(DeploymentStep):
    """A region's client pod: it alone holds the root client certificate there."""

    deadline_s = START_DEADLINE_S

    def objects(self) -> list[Object]:
        """Return its Deployment."""
        return [cockroach.client(self.world.mesh, self.region)]

    def awaited(self) -> str:
        """Name the client pod, for messages."""
        return f"the CockroachDB client pod in {self.region.name}"
