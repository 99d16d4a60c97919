"""Services, namespaces, owners, and the thread itself."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Obj = dict[str, Any]


def service(name: str, space: str, **spec: Any) -> Obj:
    ports = [{"name": "web", "port": 80, "targetPort": "web", "protocol": "TCP"}]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": space},
            "spec": {"selector": {"app": "db"}, "ports": ports, **spec}}  # fmt: skip


def test_endpoints_hold_ready_pods_only_unless_unready_ones_are_published(
    shared: Any, space: str, workload: Callable[..., Obj]
) -> None:
    probe = {"ports": [{"name": "web", "containerPort": 7000}],
             "readinessProbe": {"httpGet": {"path": "/sick", "port": "web"}, "periodSeconds": 1}}  # fmt: skip
    shared.create(service("strict", space))
    shared.create(service("db", space, clusterIP="None", publishNotReadyAddresses=True))
    shared.create(workload("StatefulSet", "db", space, "port", "7000", replicas=2, serviceName="db",
                           podManagementPolicy="Parallel", container=probe))  # fmt: skip

    def slices(name: str) -> list[Obj]:
        found: list[Obj] = shared.list("EndpointSlice", space, {"kubernetes.io/service-name": name})
        return (found[0].get("endpoints") or []) if found else []

    shared.wait("two", lambda: len(slices("db")) == 2 and len(slices("strict")) == 2)
    assert {e["hostname"] for e in slices("db")} == {"db-0", "db-1"}
    assert all(e["conditions"]["ready"] for e in slices("db"))
    assert not any(e["conditions"]["ready"] for e in slices("strict"))
    subsets = shared.find("Endpoints", "strict", space)["subsets"]
    assert len(subsets[0]["notReadyAddresses"]) == 2
    assert "addresses" not in subsets[0]
    assert shared.find("Endpoints", "db", space)["subsets"][0]["ports"][0]["port"] == 7000
    shared.delete("Service", "strict", space)
    shared.wait("the end", lambda: shared.find("Endpoints", "strict", space) is None and not slices("strict"))


def test_a_deleted_namespace_takes_its_content_with_it(shared: Any, space: str, workload: Callable[..., Obj]) -> None:
    shared.create(workload("Deployment", "web", space, replicas=2))
    shared.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": space}})
    shared.wait("it", lambda: shared.ready("Deployment", "web", space))
    shared.delete("Namespace", space, None)
    assert shared.find("Namespace", space, None)["status"]["phase"] == "Terminating"
    shared.wait("the end", lambda: shared.find("Namespace", space, None) is None)
    assert not shared.list("Pod", space)
    assert not shared.list("ConfigMap", space)


def test_dependents_go_with_their_owner_or_are_orphaned(shared: Any, space: str, workload: Callable[..., Obj]) -> None:
    for name in ("gone", "left"):
        shared.create(workload("Deployment", name, space, replicas=1))
        shared.wait("it", lambda name=name: shared.ready("Deployment", name, space))
    shared.delete("Deployment", "gone", space, "Foreground")
    shared.delete("Deployment", "left", space, "Orphan")
    shared.wait("the owners' end", lambda: not shared.list("Deployment", space))
    shared.wait("the dependents' end", lambda: len(shared.list("ReplicaSet", space)) == 1)
    assert not shared.list("ReplicaSet", space)[0]["metadata"].get("ownerReferences")


def test_without_quorum_nothing_moves(bench: Any, workload: Callable[..., Obj]) -> None:
    with bench.world.lock:
        for member in bench.members[:2]:
            member.running = False
    bench.create(workload("Deployment", "web", "default"))
    bench.stays(60, lambda: not bench.list("ReplicaSet", "default"))
    with bench.world.lock:
        bench.members[0].running = True
    bench.wait("movement", lambda: bench.list("ReplicaSet", "default"))


def test_a_failure_in_a_program_is_recorded_and_the_rest_goes_on(
    new_bench: Callable[..., Any], pod: Callable[..., Obj]
) -> None:
    bench = new_bench(flannel="vxlan", disable_kube_proxy=False)
    bench.wait("nodes", lambda: bench.nodes_ready() == 3)
    bench.create(pod("bad", "default", "after", "not-a-number"))
    bench.wait("the record", lambda: any("could not convert" in u.what for u in bench.world.unknown))
    bench.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "later"}})
    bench.wait("life", lambda: bench.find("ServiceAccount", "default", "later"))


def test_the_thread_ends_when_it_is_told_to(new_bench: Callable[..., Any]) -> None:
    bench = new_bench(flannel="none")
    bench.wait("nodes", lambda: bench.list("Node"))
    bench.controllers.stop()
    assert not [t for t in threading.enumerate() if t.name == "controllers" and t.is_alive() and t is bench.controllers]
    before = bench.store.version
    bench.stays(60, lambda: bench.store.version == before)
