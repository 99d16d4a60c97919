"""Which node a pod gets, and what is said when none will do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Obj = dict[str, Any]


def refusal(bench: Any, name: str, space: str) -> str:
    pod = bench.find("Pod", name, space)
    entries = pod["status"].get("conditions", [])
    return next((str(e.get("message")) for e in entries if e["type"] == "PodScheduled" and e["status"] == "False"), "")


def test_required_anti_affinity_spreads_pods_and_leaves_the_fourth_pending(
    shared: Any, space: str, workload: Callable[..., Obj]
) -> None:
    term = {"labelSelector": {"matchLabels": {"app": "apart"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    shared.create(workload("Deployment", "apart", space, replicas=4, pod={"affinity": affinity}))
    shared.wait(
        "three", lambda: sum(shared.ready("Pod", p["metadata"]["name"], space) for p in shared.list("Pod", space)) == 3
    )
    pods = shared.list("Pod", space)
    assert {p["spec"].get("nodeName") for p in pods} == {"node-0", "node-1", "node-2", None}
    waiting = next(p for p in pods if not p["spec"].get("nodeName"))
    assert refusal(shared, waiting["metadata"]["name"], space) == (
        "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."
    )
    events = [e for e in shared.list("Event", space) if e["reason"] == "FailedScheduling"]
    assert len(events) == 1


def test_a_pod_that_asks_too_much_is_told_so(shared: Any, space: str, pod: Callable[..., Obj]) -> None:
    shared.create(pod("big", space, container={"resources": {"requests": {"cpu": "64"}}}))
    shared.wait("the refusal", lambda: refusal(shared, "big", space) == "0/3 nodes are available: 3 Insufficient cpu.")
    shared.create(pod("fits", space, container={"resources": {"requests": {"cpu": "2"}}}))
    shared.wait("the other", lambda: shared.ready("Pod", "fits", space))


def test_selectors_and_taints_decide(bench: Any, pod: Callable[..., Obj]) -> None:
    taint = {"key": "only", "value": "db", "effect": "NoSchedule"}
    bench.change("Node", "node-2", lambda n: n["spec"].update(taints=[taint]), None)
    zone = {"topology.kubernetes.io/zone": "eastus-3"}
    bench.create(pod("plain", "default", nodeSelector=zone))
    tolerance = {"key": "only", "operator": "Equal", "value": "db", "effect": "NoSchedule"}
    bench.create(pod("tolerant", "default", nodeSelector=zone, tolerations=[tolerance]))
    bench.wait("the tolerant one", lambda: bench.ready("Pod", "tolerant"))
    assert bench.find("Pod", "tolerant")["spec"]["nodeName"] == "node-2"
    text = refusal(bench, "plain", "default")
    assert "1 node(s) had untolerated taint {only: db}" in text
    assert "2 node(s) didn't match Pod's node affinity/selector" in text


def test_two_pods_do_not_share_a_host_port(shared: Any, space: str, pod: Callable[..., Obj]) -> None:
    port = {"ports": [{"containerPort": 80, "hostPort": 31080}]}
    where = {"kubernetes.io/hostname": "node-0"}
    shared.create(pod("first", space, container=port, nodeSelector=where))
    shared.wait("the first", lambda: shared.ready("Pod", "first", space))
    shared.create(pod("second", space, container=port, nodeSelector=where))
    shared.wait("the refusal", lambda: "free ports" in refusal(shared, "second", space))


def test_hard_topology_spread_keeps_the_balance(shared: Any, space: str, workload: Callable[..., Obj]) -> None:
    rule = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "even"}}}  # fmt: skip
    shared.create(workload("Deployment", "even", space, replicas=6, pod={"topologySpreadConstraints": [rule]}))
    shared.wait("six", lambda: shared.ready("Deployment", "even", space))
    nodes = [p["spec"]["nodeName"] for p in shared.list("Pod", space)]
    assert sorted(nodes) == sorted(["node-0", "node-1", "node-2"] * 2)
