"""Nodes: registration, readiness, loss and return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Obj = dict[str, Any]


def condition(node: Obj | None, kind: str) -> Obj:
    entries = (node or {}).get("status", {}).get("conditions", [])
    return next((entry for entry in entries if entry["type"] == kind), {})


def test_a_node_without_cni_is_not_ready_and_says_why(bare: Any) -> None:
    bare.wait(
        "three nodes", lambda: all(condition(n, "Ready") for n in bare.list("Node")) and len(bare.list("Node")) == 3
    )
    ready = condition(bare.find("Node", "node-0", None), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "KubeletNotReady")
    assert "cni plugin not initialized" in ready["message"]
    bare.stays(200, lambda: bare.nodes_ready() == 0)


def test_a_server_node_carries_k3s_labels_addresses_and_its_etcd_role(shared: Any) -> None:
    node = shared.find("Node", "node-1", None)
    labels = node["metadata"]["labels"]
    assert labels["node-role.kubernetes.io/control-plane"] == labels["node-role.kubernetes.io/etcd"] == "true"
    assert labels["topology.kubernetes.io/zone"] == "eastus-2"
    assert node["status"]["addresses"][0] == {"type": "InternalIP", "address": "10.1.0.5"}
    assert condition(node, "EtcdIsVoter")["reason"] == "MemberNotLearner"
    assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.4+k3s1"
    assert node["status"]["capacity"]["cpu"] == "4"
    ranges = {each["spec"]["podCIDR"] for each in shared.list("Node")}
    assert len(ranges) == 3


def test_a_learner_is_not_called_a_voter(bench: Any) -> None:
    with bench.world.lock:
        bench.members[2].voter_at = None
    bench.wait(
        "the condition", lambda: condition(bench.find("Node", "node-2", None), "EtcdIsVoter")["status"] == "False"
    )


def test_a_stopped_node_is_lost_with_its_pods_and_comes_back(bench: Any, pod: Callable[..., Obj]) -> None:
    bench.create(pod("app", "default", nodeName="node-2"))
    bench.wait("the pod", lambda: bench.ready("Pod", "app"))
    with bench.world.lock:
        bench.members[2].running = False
    bench.wait("the loss", lambda: condition(bench.find("Node", "node-2", None), "Ready")["status"] == "Unknown")
    node = bench.find("Node", "node-2", None)
    effects = {(t["key"], t["effect"]) for t in node["spec"]["taints"]}
    assert effects == {("node.kubernetes.io/unreachable", e) for e in ("NoSchedule", "NoExecute")}
    bench.wait("the pod's fall", lambda: not bench.ready("Pod", "app"))
    with bench.world.lock:
        bench.members[2].running = True
    bench.wait("the return", lambda: bench.nodes_ready() == 3 and bench.ready("Pod", "app"))
    assert not bench.find("Node", "node-2", None)["spec"].get("taints")


def test_a_lost_nodes_deployment_moves_after_five_minutes(bench: Any, workload: Callable[..., Obj]) -> None:
    bench.create(workload("Deployment", "web", "default", replicas=1, pod={"nodeSelector": {}}))
    bench.wait("the pod", lambda: bench.ready("Deployment", "web"))
    name = bench.list("Pod", "default")[0]["spec"]["nodeName"]
    with bench.world.lock:
        bench.cluster.members[name].running = False
    bench.wait("another pod elsewhere",
               lambda: any(p["spec"].get("nodeName") != name and bench.ready("Pod", p["metadata"]["name"])
                           for p in bench.list("Pod", "default")))  # fmt: skip
    old = next(p for p in bench.list("Pod", "default") if p["spec"]["nodeName"] == name)
    assert old["metadata"]["deletionTimestamp"]


def test_a_deleted_node_object_is_registered_again(bench: Any) -> None:
    before = bench.find("Node", "node-1", None)["metadata"]["uid"]
    bench.delete("Node", "node-1", None)
    bench.wait(
        "a new node",
        lambda: (bench.find("Node", "node-1", None) or {"metadata": {"uid": before}})["metadata"]["uid"] != before,
    )
    bench.wait("its readiness", lambda: bench.nodes_ready() == 3)


def test_heartbeats_do_not_flood_the_store(shared: Any) -> None:
    shared.wait(
        "calm", lambda: all(shared.ready("Deployment", n, "kube-system") for n in ("coredns", "metrics-server"))
    )
    shared.stays(20, lambda: True)
    before = shared.store.version
    shared.stays(250, lambda: True)
    assert shared.store.version - before <= 20
