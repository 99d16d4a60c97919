"""Network policies, each rule both ways: who may reach a pod, what a pod may reach, and what a policy is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from simulator.tests.workloads.test_paths import container

from crdbmesh_simulator.workloads import paths

Connects = Callable[..., bool]
CLUSTER, SPACE = "io.cilium.k8s.policy.cluster", "k8s:io.kubernetes.pod.namespace"
FROM_OTHERS: dict[str, Any] = {"endpointSelector": {}, "ingress": [{}]}


@pytest.fixture
def town(bench: Any) -> Any:
    """A cluster with Cilium, CoreDNS and a shell in a namespace of its own."""
    bench.east = bench.cluster(1, nodes=2, kube_proxy=False)
    bench.agents(bench.east, name="east", number=1)
    for kind, scope in (("CiliumNetworkPolicy", "Namespaced"), ("CiliumClusterwideNetworkPolicy", "Cluster")):
        plural = f"{kind.lower()[:-1]}ies"
        names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        spec: dict[str, Any] = {"group": "cilium.io", "scope": scope, "names": names}
        spec["versions"] = [{"name": "v2", "served": True, "storage": True, "schema": schema}]
        about = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, f"{plural}.cilium.io")
        bench._put(bench.east, *about, spec=spec)
    bench.namespace(bench.east, "own")
    bench.dns = bench.coredns(bench.east)
    bench.own = bench.shell(bench.east, "n11", namespace="own")
    bench.advance(20)
    return bench


def connects(town: Any, ip: str, port: int) -> bool:
    reason = paths.connect(town.world, container(town.own), ip, port)
    assert reason is None or "policy denied" in reason, reason
    return reason is None


def policy(town: Any, space: str | None, **spec: Any) -> None:
    kind = "CiliumNetworkPolicy" if space else "CiliumClusterwideNetworkPolicy"
    town._put(town.east, "cilium.io/v2", kind, space, "one", **spec)


def dns(**more: Any) -> dict[str, Any]:
    return {"fromEndpoints": [{"matchLabels": {SPACE: "own", **more}}]}


@pytest.mark.parametrize(
    ("spec", "reached"),
    [
        ({"ingress": [dns()]}, True),
        ({"ingress": [{}]}, False),
        ({"ingress": [dns(**{CLUSTER: "east"})]}, True),
        ({"ingress": [dns(**{CLUSTER: "west"})]}, False),
        ({"ingress": [{"fromEndpoints": [{}]}]}, False),
        ({"ingress": [{**dns(), "toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}]}]}, True),
        ({"ingress": [{**dns(), "toPorts": [{"ports": [{"port": "8081"}]}]}]}, False),
        ({"ingress": [{"fromEntities": ["host"]}]}, False),
        ({"ingress": [dns()], "ingressDeny": [dns()]}, False),
        ({"ingressDeny": [dns(app="x")], "enableDefaultDeny": {"ingress": False}}, True),
        ({"ingressDeny": [dns(app="x")]}, False),
        ({"endpointSelector": {"matchLabels": {"app": "x"}}, "ingress": [{}]}, True),
        ({"egress": [{}]}, True),
    ],
)
def test_who_reaches_a_pod(town: Any, spec: dict[str, Any], *, reached: bool) -> None:
    policy(town, "kube-system", spec={"endpointSelector": {}, **spec})
    assert connects(town, town.dns.ip, 8080) == reached


@pytest.mark.parametrize(
    ("rules", "open_to"),
    [
        ([{}], set()),
        ([{"toEntities": ["world"]}], {"internet"}),
        ([{"toCIDR": ["9.9.9.9/32"]}], {"internet"}),
        ([{"toCIDR": ["10.0.0.0/8"]}], set()),
        ([{"toEntities": ["host"]}], {"api"}),
        ([{"toEndpoints": [{"matchLabels": {SPACE: "kube-system"}}]}], {"dns"}),
        ([{"toEndpoints": [{"matchExpressions": [{"key": SPACE, "operator": "NotIn", "values": ["own"]}]}]}], {"dns"}),
    ],
)
def test_what_a_pod_reaches(town: Any, rules: list[dict[str, Any]], open_to: set[str]) -> None:
    targets = {"internet": ("9.9.9.9", 443), "dns": (town.dns.ip, 8080), "api": ("10.201.0.1", 443)}
    assert {name for name, target in targets.items() if connects(town, *target)} == set(targets)
    policy(town, "own", spec={"endpointSelector": {}, "egress": rules})
    assert {name for name, target in targets.items() if connects(town, *target)} == open_to


def test_a_denial_for_the_whole_cluster_leaves_the_rest_and_the_host(town: Any) -> None:
    denied = {"toCIDR": ["9.9.9.9/32"], "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}]}]}
    policy(town, None, specs=[{"endpointSelector": {}, "enableDefaultDeny": {"egress": False}, "egressDeny": [denied]}])
    assert not connects(town, "9.9.9.9", 80)
    assert connects(town, "9.9.9.9", 443)
    assert connects(town, town.dns.ip, 8080)
    host = paths.node_origin(town.world, town.east, town.east.members["n11"])
    assert paths.connect(town.world, host, "9.9.9.9", 80) is None


def test_a_pods_own_node_reaches_it_and_another_node_does_not(town: Any) -> None:
    policy(town, "kube-system", spec=FROM_OTHERS)
    for node, reached in (("n10", True), ("n11", False)):
        host = paths.node_origin(town.world, town.east, town.east.members[node])
        assert (paths.connect(town.world, host, town.dns.ip, 8080) is None) == reached
