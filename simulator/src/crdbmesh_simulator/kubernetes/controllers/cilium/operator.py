"""Cilium's operator and agents on the API: custom resources, CiliumNodes with ranges, node conditions.

After `operator/` and `daemon/` of Cilium 1.20. The programs in the pods say whether they run; this controller carries
out what they would ask of the API, if they can reach it.
"""

from __future__ import annotations

import ipaddress
import zlib
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.site import Controller, Site, api_unreachable

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Member
    from crdbmesh_simulator.kubernetes.programs import Container

AGENT_TAINT = "node.cilium.io/agent-not-ready"
_GROUP = "cilium.io"
_DEFINITIONS = (
    ("v2", "ciliumnodes", "CiliumNode", "Cluster", ("cn", "ciliumn")),
    ("v2", "ciliumendpoints", "CiliumEndpoint", "Namespaced", ("cep", "ciliumep")),
    ("v2", "ciliumidentities", "CiliumIdentity", "Cluster", ("ciliumid",)),
    ("v2", "ciliumnetworkpolicies", "CiliumNetworkPolicy", "Namespaced", ("cnp", "ciliumnp")),
    ("v2", "ciliumclusterwidenetworkpolicies", "CiliumClusterwideNetworkPolicy", "Cluster", ("ccnp",)),
    ("v2", "ciliumnodeconfigs", "CiliumNodeConfig", "Namespaced", ()),
    ("v2", "ciliumcidrgroups", "CiliumCIDRGroup", "Cluster", ("ccg",)),
    ("v2", "ciliumloadbalancerippools", "CiliumLoadBalancerIPPool", "Cluster", ("ippools",)),
    ("v2alpha1", "ciliuml2announcementpolicies", "CiliumL2AnnouncementPolicy", "Cluster", ("l2announcement",)),
    ("v2alpha1", "ciliumpodippools", "CiliumPodIPPool", "Cluster", ("cpip",)),
)
_SETTLE_S = 2.0


class CiliumOperator(Controller):
    """The API side of Cilium's operator and agents."""

    watches = ("Pod", "Node", "CiliumNode", "ConfigMap")

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._operating_since: float | None = None

    def run(self, now: float) -> float | None:
        """Act for whichever operator and agents run."""
        operators = self._running("cilium/operator")
        if not operators:
            self._operating_since = None
            return None
        if self._operating_since is None:
            self._operating_since = now
        if now < self._operating_since + _SETTLE_S:
            return self._operating_since + _SETTLE_S
        self._definitions()
        if self.api.find("CustomResourceDefinition", None, f"ciliumnodes.{_GROUP}") is None:
            return now + 1.0
        agents = {container.node.node_name: container for container in self._running("cilium/cilium", "cilium-agent")}
        for container in agents.values():
            self._node(container)
        config = (self.api.find("ConfigMap", "kube-system", "cilium-config") or {}).get("data") or {}
        self._ranges(config)
        for node in self.api.list("Node"):
            member = self.site.cluster.members.get(objects.name(node))
            if member is not None:
                self._condition(node, member, config)
        self._endpoints(config)
        for owner in self.api.list("CiliumNode"):
            if self.api.find("Node", None, objects.name(owner)) is None and not objects.deleting(owner):
                self.api.delete(owner)
        return now + 5.0

    def _running(self, image: str, name: str | None = None) -> list[Container]:
        """Running containers that reach the API."""
        return [
            container
            for container in self.site.pods.containers(image)
            if (name is None or container.name == name)
            and self.site.alive(container.node)
            and api_unreachable(self.site, container) is None
        ]

    def _definitions(self) -> None:
        for version, plural, kind, scope, short in _DEFINITIONS:
            name = f"{plural}.{_GROUP}"
            if self.api.find("CustomResourceDefinition", None, name) is not None:
                continue
            blanks = {"name": name, "version": version, "plural": plural, "kind": kind, "scope": scope}
            blanks |= {"singular": kind.lower(), "list": f"{kind}List"}
            more = {"shortNames": list(short)} if short else {}
            self.api.create(objects.fill("cilium-definition", {**blanks, "short": more})[0])

    def _node(self, container: Container) -> None:
        """The agent makes the CiliumNode of its own node."""
        name = container.node.node_name
        node = self.api.find("Node", None, name)
        if node is None or self.api.find("CiliumNode", None, name) is not None:
            return
        addresses = [
            {"type": entry["type"], "ip": entry["address"]}
            for entry in objects.status(node).get("addresses") or []
            if entry["type"] in ("InternalIP", "ExternalIP")
        ]
        boot = (objects.status(node).get("nodeInfo") or {}).get("bootID", "")
        blanks = {"name": name, "labels": objects.labels(node), "uid": objects.uid(node)}
        self.api.create(objects.fill("cilium-node", {**blanks, "addresses": addresses, "boot": boot})[0])

    def _ranges(self, config: dict[str, str]) -> None:
        """The operator gives each CiliumNode a range of the cluster pool."""
        mode = config.get("ipam", "cluster-pool")
        owners = self.api.list("CiliumNode")
        taken = {text for owner in owners for text in (objects.spec(owner).get("ipam") or {}).get("podCIDRs") or []}
        for owner in owners:
            ipam = objects.spec(owner).get("ipam") or {}
            if ipam.get("podCIDRs"):
                continue
            if mode == "kubernetes":
                node = self.api.find("Node", None, objects.name(owner)) or {}
                chosen = objects.spec(node).get("podCIDR")
            else:
                chosen = self._free_range(config, taken)
            if chosen is None:
                text = "Unable to allocate pod CIDR: pool exhausted"
                self.api.event(owner, "Warning", "FailedAllocation", text, component="cilium-operator")
                continue
            taken.add(chosen)
            changed = self.api.copy(owner)
            changed["spec"]["ipam"] = {**ipam, "podCIDRs": [chosen]}
            self.api.replace(changed)

    @staticmethod
    def _free_range(config: dict[str, str], taken: set[str]) -> str | None:
        size = int(config.get("cluster-pool-ipv4-mask-size", "24"))
        for text in config.get("cluster-pool-ipv4-cidr", "10.0.0.0/8").split():
            pool = ipaddress.IPv4Network(text)
            if size < pool.prefixlen:
                continue
            for each in pool.subnets(new_prefix=size):
                if str(each) not in taken:
                    return str(each)
        return None

    def _condition(self, node: Obj, member: Member, config: dict[str, str]) -> None:
        ready = self.site.agent_ready(member.node_name) and self.site.pod_range(member.node_name) is not None
        taints = objects.spec(node).get("taints") or []
        marked = any(taint["key"] == AGENT_TAINT for taint in taints)
        if ready and config.get("set-cilium-is-up-condition", "true") == "true":
            entry = {
                "type": "NetworkUnavailable",
                "status": "False",
                "reason": "CiliumIsUp",
                "message": "Cilium is running on this node",
            }
            if (objects.condition(node, "NetworkUnavailable") or {}).get("status") != "False":
                stamp = self.site.timestamp()
                entry["lastHeartbeatTime"] = stamp
                conditions = objects.with_condition(objects.status(node).get("conditions") or [], entry, stamp)
                self.api.set_status(node, {**objects.status(node), "conditions": conditions})
        if ready and marked and config.get("remove-cilium-node-taints", "true") == "true":
            changed = self.api.copy(self.api.find("Node", None, objects.name(node)) or node)
            changed["spec"]["taints"] = [t for t in changed["spec"].get("taints") or [] if t["key"] != AGENT_TAINT]
            self.api.replace(changed)

    def _endpoints(self, config: dict[str, str]) -> None:
        """The agents keep a CiliumEndpoint for each pod with an address of its own."""
        boxes = {(box.namespace, box.name): box for box in self.site.pods.sandboxes.values() if not box.host_network}
        for owner in self.api.list("CiliumEndpoint"):
            box = boxes.get((objects.namespace(owner), objects.name(owner)))
            addressing = (objects.status(owner).get("networking") or {}).get("addressing") or [{}]
            if box is not None and addressing[0].get("ipv4") == box.ip:
                del boxes[(box.namespace, box.name)]
            elif not objects.deleting(owner):
                self.api.delete(owner)
        ready = {name for name in {box.node.node_name for box in boxes.values()} if self.site.agent_ready(name)}
        for (space, name), box in boxes.items():
            known = self.api.find("CiliumEndpoint", space, name) is not None
            if known or box.node.node_name not in ready or self.api.find("Pod", space, name) is None:
                continue
            owner_ref = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": box.uid}
            meta = {
                "name": name,
                "namespace": space,
                "labels": dict(objects.labels(box.pod)),
                "ownerReferences": [owner_ref],
            }
            created = self.api.create({"apiVersion": "cilium.io/v2", "kind": "CiliumEndpoint", "metadata": meta})
            status = {
                "id": zlib.crc32(box.uid.encode()) % 4096,
                "state": "ready",
                "identity": {"id": self._identity(box.pod, config)},
                "networking": {"addressing": [{"ipv4": box.ip}], "node": objects.status(box.pod).get("hostIP", "")},
            }
            self.api.set_status(created, status)

    def _identity(self, pod: Obj, config: dict[str, str]) -> int:
        labels = {
            f"k8s:{key}": value
            for key, value in objects.labels(pod).items()
            if key
            not in (
                "controller-revision-hash",
                "pod-template-hash",
                "apps.kubernetes.io/pod-index",
                "statefulset.kubernetes.io/pod-name",
                "batch.kubernetes.io/controller-uid",
                "batch.kubernetes.io/job-name",
                "controller-uid",
                "job-name",
            )
        }
        labels |= {
            "k8s:io.kubernetes.pod.namespace": objects.namespace(pod),
            "k8s:io.cilium.k8s.policy.cluster": config.get("cluster-name", "default"),
            "k8s:io.cilium.k8s.policy.serviceaccount": str(objects.spec(pod).get("serviceAccountName") or "default"),
        }
        found = self.api.list("CiliumIdentity")
        for each in found:
            if each.get("security-labels") == labels:
                return int(objects.name(each))
        base = int(config.get("cluster-id", "0")) << 16
        number = base + 1024 + len(found)
        while self.api.find("CiliumIdentity", None, str(number)) is not None:
            number += 1
        short = {key.removeprefix("k8s:"): value for key, value in labels.items() if key.startswith("k8s:io.")}
        self.api.create(
            {
                "apiVersion": "cilium.io/v2",
                "kind": "CiliumIdentity",
                "metadata": {"name": str(number), "labels": short},
                "security-labels": labels,
            }
        )
        return number
