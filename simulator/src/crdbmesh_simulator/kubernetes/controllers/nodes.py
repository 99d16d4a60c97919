"""Nodes: registration by the kubelets, their conditions and leases, and what the control plane does when one is lost.

After `pkg/kubelet/kubelet_node_status.go` and `pkg/controller/nodelifecycle` of Kubernetes 1.36, and k3s's labels and
`EtcdIsVoter` condition.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, value_of
from crdbmesh_simulator.kubernetes.controllers import fit, objects
from crdbmesh_simulator.kubernetes.controllers.objects import fill
from crdbmesh_simulator.kubernetes.controllers.site import Controller, Site

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Member

GRACE_S = 40.0
HEARTBEAT_S = 300.0
_REGISTER_S = 3.0
_CNI_S = 4.0
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
_NO_CNI = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin "
    "returns error: cni plugin not initialized"
)
_HEALTHY = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


class Nodes(Controller):
    """The kubelets' side: registers each running member and keeps its status."""

    watches = ("Node", "Pod", "CiliumNode", "ConfigMap")

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._up_since: dict[str, float] = {}
        self._heartbeat: dict[str, float] = {}

    def run(self, now: float) -> float | None:
        """Register and report every running member."""
        for member in list(self.site.cluster.members.values()):
            if not self.site.alive(member):
                self._up_since.pop(member.node_name, None)
                continue
            since = self._up_since.setdefault(member.node_name, now)
            if now < since + _REGISTER_S:
                continue
            node = self.api.find("Node", None, member.node_name)
            if node is None:
                node = self._register(member)
            self._install_network(member, since, now)
            self._report(member, node, now)
        return now + 2.0

    def _register(self, member: Member) -> Obj:
        meta = {"name": member.node_name, "labels": self._labels(member), "annotations": self._annotations(member)}
        spec: Obj = {"providerID": f"k3s://{member.node_name}", "podCIDR": self._pod_range()}
        spec["podCIDRs"] = [spec["podCIDR"]]
        taints = [_taint(text) for text in _words(member.config.get("node-taint"))]
        taints.append({"key": NOT_READY, "effect": "NoSchedule"})
        spec["taints"] = taints
        return self.api.create({"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": spec, "status": {}})

    def _labels(self, member: Member) -> dict[str, str]:
        labels: dict[str, str] = fill("node-labels", {"name": member.node_name})[0]
        if member.role == "server":
            labels["node-role.kubernetes.io/control-plane"] = "true"
            if member.voter_at is not None or len(self.site.cluster.servers()) > 1 or member.config.get("cluster-init"):
                labels["node-role.kubernetes.io/etcd"] = "true"
        for text in _words(member.config.get("node-label")):
            key, _, value = text.partition("=")
            labels[key] = value
        return labels

    def _annotations(self, member: Member) -> dict[str, str]:
        annotations = {"k3s.io/hostname": member.node_name, "k3s.io/internal-ip": self.site.private_ip(member)}
        if member.role == "server":
            annotations["etcd.k3s.cattle.io/node-name"] = f"{member.node_name}-{_hex(member.node_name, 8)}"
            annotations["etcd.k3s.cattle.io/node-address"] = self.site.private_ip(member)
        annotations["node.alpha.kubernetes.io/ttl"] = "0"
        return annotations

    def _pod_range(self) -> str:
        pool = ipaddress.IPv4Network(str(self.site.cluster.config.get("cluster-cidr", "10.42.0.0/16")).split(",")[0])
        taken = {objects.spec(node).get("podCIDR") for node in self.api.list("Node")}
        size = max(24, pool.prefixlen)
        return next(str(each) for each in pool.subnets(new_prefix=size) if str(each) not in taken)

    def _install_network(self, member: Member, since: float, now: float) -> None:
        key = (member.machine.key, member.machine.booted_at)
        if key in self.site.networked:
            return
        ready = now >= since + _CNI_S if self.site.flannel() else self.site.network_ready(member)
        if ready:
            self.site.networked.add(key)

    def _report(self, member: Member, node: Obj, now: float) -> None:
        network = (member.machine.key, member.machine.booted_at) in self.site.networked
        name = member.node_name
        ready = objects.condition(node, "Ready") or {}
        wanted_ready = "True" if network else "False"
        stale = now - self._heartbeat.get(name, 0.0) >= HEARTBEAT_S
        voter = self._voter(member, now)
        old_voter = (objects.condition(node, "EtcdIsVoter") or {}).get("status")
        external = objects.annotations_of(node).get("k3s.io/external-ip")
        moved = (
            ready.get("status") != wanted_ready
            or (voter is not None and old_voter != voter[0])
            or objects.status(node).get("nodeInfo", {}).get("kubeletVersion") != member.version
            or self._addresses(member, external) != objects.status(node).get("addresses")
        )
        if not moved and not stale:
            self._taints(node, network=network)
            return
        self._heartbeat[name] = now
        self.api.set_status(node, self._status(member, node, network=network, voter=voter, now=now))
        self._lease(name, now)
        fresh = self.api.find("Node", None, name)
        if fresh is not None:
            self._taints(fresh, network=network)

    def _voter(self, member: Member, now: float) -> tuple[str, str, str] | None:
        if member.role != "server":
            return None
        if member.voter_at is not None and member.voter_at <= now:
            return "True", "MemberNotLearner", "Node is a voting member of the etcd cluster"
        return "False", "MemberIsLearner", "Node has not been promoted to voting member of the etcd cluster"

    def _taints(self, node: Obj, *, network: bool) -> None:
        """Ready nodes lose the taints of those that are not, and the other way round."""
        taints = list(objects.spec(node).get("taints") or [])
        kept = [taint for taint in taints if taint["key"] not in (NOT_READY, UNREACHABLE)]
        if not network:
            kept.append({"key": NOT_READY, "effect": "NoSchedule"})
            had = any(t["key"] == NOT_READY and t["effect"] == "NoExecute" for t in taints)
            if had or objects.is_true(node, "Ready"):
                kept.append({"key": NOT_READY, "effect": "NoExecute", "timeAdded": self.site.timestamp()})
        plain = [(t["key"], t["effect"]) for t in taints]
        if [(t["key"], t["effect"]) for t in kept] == plain:
            return
        changed = self.api.copy(node)
        if kept:
            changed["spec"]["taints"] = kept
        else:
            changed["spec"].pop("taints", None)
        self.api.replace(changed)

    def _addresses(self, member: Member, external: str | None) -> list[Obj]:
        addresses: list[Obj] = [{"type": "InternalIP", "address": self.site.private_ip(member)}]
        addresses += [{"type": "ExternalIP", "address": each} for each in (external or "").split(",") if each]
        return [*addresses, {"type": "Hostname", "address": member.node_name}]

    def _status(
        self, member: Member, node: Obj, *, network: bool, voter: tuple[str, str, str] | None, now: float
    ) -> Obj:
        stamp = objects.rfc3339(now)
        machine = member.machine
        reserved = [member.kubelet.get(name) or {} for name in ("kubeReserved", "systemReserved")]
        evicts = {"memory": (member.kubelet.get("evictionHard") or {}).get("memory.available", 0)}
        cpu, memory = (sum(value_of(one.get(name, 0)) for one in (*reserved, evicts)) for name in ("cpu", "memory"))
        memory_kib = int(machine.memory_gib * 1024 * 1024 * 0.97)
        conditions = list(objects.status(node).get("conditions") or [])
        entries: list[Obj] = [
            {"type": kind, "status": "False", "reason": reason, "message": message}
            for kind, reason, message in _HEALTHY
        ]
        if network:
            entries.append(
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "message": "kubelet is posting ready status",
                }
            )
        else:
            entries.append({"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": _NO_CNI})
        if voter is not None:
            entries.append({"type": "EtcdIsVoter", "status": voter[0], "reason": voter[1], "message": voter[2]})
        for entry in entries:
            conditions = objects.with_condition(conditions, {**entry, "lastHeartbeatTime": stamp}, stamp)
        external = objects.annotations_of(node).get("k3s.io/external-ip")
        [told] = fill(
            "node-status",
            {
                "addresses": self._addresses(member, external),
                "conditions": conditions,
                "version": member.version,
                "cpu": str(machine.vcpus),
                "memory": f"{memory_kib}Ki",
                "free_cpu": f"{int((machine.vcpus - cpu) * 1000)}m" if cpu else str(machine.vcpus),
                "free_memory": f"{memory_kib - int(memory / 1024)}Ki",
                "storage": f"{int(machine.disk.gib * 1024 * 1024 * 0.96)}Ki",
                "identity": _hex(machine.key, 32),
                "boot": _hex(f"{machine.key}{machine.booted_at}", 32),
            },
        )
        return {**objects.status(node), **told}

    def _lease(self, name: str, now: float) -> None:
        space = "kube-node-lease"
        if self.api.find("Namespace", None, space) is None:
            return
        lease = self.api.find("Lease", space, name)
        spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": objects.rfc3339_micro(now)}
        if lease is None:
            meta = {"name": name, "namespace": space}
            self.api.create({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec})
            return
        changed = self.api.copy(lease)
        changed["spec"] = spec
        self.api.replace(changed)


class NodeLifecycle(Controller):
    """The control plane's side: nodes that have gone silent, and the pods on them."""

    watches = ("Node", "Pod")

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._silent_since: dict[str, float] = {}

    def run(self, now: float) -> float | None:
        """Look for lost nodes; evict what tolerates them no longer."""
        due: list[float] = [now + 5.0]
        for node in self.api.list("Node"):
            name = objects.name(node)
            member = self.site.cluster.members.get(name)
            if member is not None and self.site.alive(member):
                self._silent_since.pop(name, None)
                continue
            since = self._silent_since.setdefault(name, now)
            if now < since + GRACE_S:
                due.append(since + GRACE_S)
            elif (objects.condition(node, "Ready") or {}).get("status") != "Unknown":
                self._lose(node)
        for node in self.api.list("Node"):
            taints = [t for t in objects.spec(node).get("taints") or [] if t.get("effect") == "NoExecute"]
            if taints:
                self._evict(objects.name(node), taints, now)
        return min(due)

    def _lose(self, node: Obj) -> None:
        stamp = self.site.timestamp()
        conditions = list(objects.status(node).get("conditions") or [])
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready"):
            entry = {
                "type": kind,
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
            }
            conditions = objects.with_condition(conditions, entry, stamp)
        self.api.set_status(node, {**objects.status(node), "conditions": conditions})
        changed = self.api.copy(self.api.find("Node", None, objects.name(node)) or node)
        kept = [t for t in objects.spec(node).get("taints") or [] if t["key"] not in (NOT_READY, UNREACHABLE)]
        kept += [{"key": UNREACHABLE, "effect": effect, "timeAdded": stamp} for effect in ("NoSchedule", "NoExecute")]
        changed["spec"]["taints"] = kept
        self.api.replace(changed)
        text = f"Node {objects.name(node)} status is now: NodeNotReady"
        self.api.event(node, "Normal", "NodeNotReady", text, component="node-controller")
        for pod in self.api.list("Pod"):
            if objects.spec(pod).get("nodeName") == objects.name(node) and objects.pod_ready(pod):
                self._unready(pod)

    def _unready(self, pod: Obj) -> None:
        stamp = self.site.timestamp()
        entry = {"type": "Ready", "status": "False", "reason": "NodeNotReady"}
        conditions = objects.with_condition(objects.status(pod).get("conditions") or [], entry, stamp)
        self.api.set_status(pod, {**objects.status(pod), "conditions": conditions})

    def _evict(self, name: str, taints: list[Obj], now: float) -> None:
        for pod in self.api.list("Pod"):
            if objects.spec(pod).get("nodeName") != name or objects.deleting(pod):
                continue
            tolerations = objects.spec(pod).get("tolerations") or []
            for taint in taints:
                fitting = [each for each in tolerations if fit.tolerates([each], taint)]
                spans = [
                    float(each["tolerationSeconds"]) for each in fitting if each.get("tolerationSeconds") is not None
                ]
                if fitting and not spans:
                    continue
                added = objects.seconds(taint["timeAdded"]) if taint.get("timeAdded") else now
                if not fitting or now >= added + min(spans):
                    self.api.event(
                        pod,
                        "Normal",
                        "TaintManagerEviction",
                        f"Marking for deletion Pod {objects.namespace(pod)}/{objects.name(pod)}",
                        component="taint-eviction-controller",
                    )
                    self.api.delete(pod)
                    break


def _words(value: object) -> list[str]:
    """A k3s option that takes a list, given as one or as text with commas."""
    if value is None:
        return []
    if isinstance(value, list):
        return [str(each) for each in value]
    return [word.strip() for word in str(value).split(",") if word.strip()]


def _taint(text: str) -> Obj:
    head, _, effect = text.rpartition(":")
    key, _, value = head.partition("=")
    return {"key": key, "effect": effect, **({"value": value} if value else {})}


def _hex(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
