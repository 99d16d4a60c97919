"""Deployments, StatefulSets, DaemonSets, Jobs, budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from crdbmesh_simulator.filesystem import Actor

if TYPE_CHECKING:
    from collections.abc import Callable

Obj = dict[str, Any]
CLAIM = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "local-path",
                                                "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip


def pods(bench: Any, space: str) -> list[Obj]:
    found: list[Obj] = [p for p in bench.list("Pod", space) if not p["metadata"].get("deletionTimestamp")]
    return found


def condition(obj: Obj, kind: str) -> Obj:
    return next((e for e in obj.get("status", {}).get("conditions", []) if e["type"] == kind), {})


def test_a_template_change_rolls_a_deployment_without_losing_availability(
    shared: Any, space: str, workload: Callable[..., Obj]
) -> None:
    probe = {"readinessProbe": {"httpGet": {"path": "/", "port": 7000}, "periodSeconds": 1}}
    shared.create(workload("Deployment", "web", space, "port", "7000", replicas=3, container=probe))
    shared.wait("three", lambda: shared.ready("Deployment", "web", space))
    first = {p["metadata"]["name"] for p in pods(shared, space)}
    low = [3]

    def restart(obj: Obj) -> None:
        obj["spec"]["template"]["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": "now"}

    shared.change("Deployment", "web", restart, space)

    def done() -> bool:
        obj = shared.find("Deployment", "web", space)
        low[0] = min(low[0], obj["status"].get("availableReplicas", 0))
        status = obj["status"]
        return bool(
            status["observedGeneration"] == obj["metadata"]["generation"]
            and status.get("updatedReplicas") == 3 == status.get("replicas") == status.get("availableReplicas")
        )

    shared.wait("the roll", done)
    assert low[0] >= 3
    assert not first & {p["metadata"]["name"] for p in pods(shared, space)}
    obj = shared.find("Deployment", "web", space)
    assert obj["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    assert condition(obj, "Available")["status"] == "True"
    assert condition(obj, "Progressing")["reason"] == "NewReplicaSetAvailable"


def test_a_deployment_that_cannot_start_is_not_available(shared: Any, space: str, workload: Callable[..., Obj]) -> None:
    shared.create(workload("Deployment", "web", space, container={"image": "example/absent:1"}))
    shared.wait(
        "the verdict", lambda: condition(shared.find("Deployment", "web", space), "Available").get("status") == "False"
    )
    assert shared.find("Deployment", "web", space)["status"]["unavailableReplicas"] == 1


def test_an_ordered_statefulset_waits_for_each_pod_and_a_parallel_one_does_not(
    shared: Any, space: str, workload: Callable[..., Obj]
) -> None:
    probe = {"readinessProbe": {"httpGet": {"path": "/sick", "port": 7000}, "periodSeconds": 1}}
    ordered = workload("StatefulSet", "ordered", space, "port", "7000", replicas=3, serviceName="o", container=probe)
    parallel = workload("StatefulSet", "parallel", space, "port", "7000", replicas=3, serviceName="p",
                        podManagementPolicy="Parallel", container=probe)  # fmt: skip
    shared.create(ordered)
    shared.create(parallel)
    shared.wait("three", lambda: sum(p["metadata"]["name"].startswith("parallel-") for p in pods(shared, space)) == 3)
    shared.stays(60, lambda: sum(p["metadata"]["name"].startswith("ordered-") for p in pods(shared, space)) == 1)
    pod = shared.find("Pod", "parallel-2", space)
    assert pod["spec"]["hostname"] == "parallel-2"
    assert pod["spec"]["subdomain"] == "p"
    assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "2"


def test_a_statefulset_keeps_its_claims_and_nodes_and_rolls_from_the_top(
    shared: Any, space: str, workload: Callable[..., Obj]
) -> None:
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    shared.create(
        workload(
            "StatefulSet", "db", space, replicas=2, serviceName="db", volumeClaimTemplates=[CLAIM], container=mount
        )
    )
    shared.wait("two", lambda: shared.ready("StatefulSet", "db", space))
    claim = shared.find("PersistentVolumeClaim", "data-db-0", space)
    volume = shared.find("PersistentVolume", claim["spec"]["volumeName"], None)
    node = shared.find("Pod", "db-0", space)["spec"]["nodeName"]
    terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert terms[0]["matchExpressions"][0]["values"] == [node]
    before = {n: shared.find("Pod", n, space)["metadata"]["uid"] for n in ("db-0", "db-1")}
    order: list[str] = []

    def restart(obj: Obj) -> None:
        obj["spec"]["template"]["metadata"]["annotations"] = {"again": "1"}

    shared.change("StatefulSet", "db", restart, space)

    def rolled() -> bool:
        for name, uid in before.items():
            found = shared.find("Pod", name, space)
            if found is not None and found["metadata"]["uid"] != uid and name not in order:
                order.append(name)
        status = shared.find("StatefulSet", "db", space)["status"]
        return bool(
            status["currentRevision"] == status["updateRevision"]
            and len(order) == 2
            and status.get("readyReplicas") == 2
        )

    shared.wait("the roll", rolled)
    assert order == ["db-1", "db-0"]
    assert shared.find("Pod", "db-0", space)["spec"]["nodeName"] == node
    shared.delete("StatefulSet", "db", space)
    shared.wait("the pods' end", lambda: not shared.list("Pod", space))
    assert shared.find("PersistentVolumeClaim", "data-db-0", space)
    shared.delete("PersistentVolumeClaim", "data-db-0", space)
    shared.wait("the volume's end", lambda: shared.find("PersistentVolume", volume["metadata"]["name"], None) is None)


def test_a_local_volume_mounts_only_while_its_folder_is_there(
    shared: Any, space: str, workload: Callable[..., Obj]
) -> None:
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    shared.create(
        workload(
            "StatefulSet", "db", space, replicas=1, serviceName="db", volumeClaimTemplates=[CLAIM], container=mount
        )
    )
    shared.wait("the first", lambda: shared.ready("StatefulSet", "db", space))
    claim = shared.find("PersistentVolumeClaim", "data-db-0", space)
    volume = shared.find("PersistentVolume", claim["spec"]["volumeName"], None)
    folder = volume["spec"]["local"]["path"]
    assert "hostPath" not in volume["spec"]
    assert folder.endswith(f"{volume['metadata']['name']}_{space}_data-db-0")
    pod = shared.find("Pod", "db-0", space)
    member = next(m for m in shared.members if m.node_name == pod["spec"]["nodeName"])

    def again() -> Obj | None:
        found: Obj | None = shared.find("Pod", "db-0", space)
        return found if found and found["metadata"]["uid"] != pod["metadata"]["uid"] else None

    shared.delete("Pod", "db-0", space)
    shared.wait("its successor on the folder", lambda: again() and shared.ready("Pod", "db-0", space))
    pod = shared.find("Pod", "db-0", space)
    with shared.world.lock:
        member.machine.disk.files.remove(folder, Actor(), recursive=True)
    shared.delete("Pod", "db-0", space)
    shared.wait("its successor without it", again)

    def complaints() -> list[str]:
        about = (again() or pod)["metadata"]["uid"]
        return [e["message"] for e in shared.list("Event", space)
                if e["reason"] == "FailedMount" and e["involvedObject"]["uid"] == about]  # fmt: skip

    shared.wait("a complaint", complaints)
    head = f'MountVolume.NewMounter initialization failed for volume "{volume["metadata"]["name"]}"'
    assert set(complaints()) == {f'{head} : path "{folder}" does not exist'}
    shared.stays(60, lambda: not shared.ready("Pod", "db-0", space))


def test_an_unused_claim_waits_for_its_first_consumer(shared: Any, space: str) -> None:
    meta = {"name": "idle", "namespace": space}
    shared.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": CLAIM["spec"]})
    shared.wait("the event", lambda: any(e["reason"] == "WaitForFirstConsumer" for e in shared.list("Event", space)))
    shared.stays(60, lambda: shared.find("PersistentVolumeClaim", "idle", space)["status"]["phase"] == "Pending")


def test_on_delete_and_partition_hold_an_update_back(shared: Any, space: str, workload: Callable[..., Obj]) -> None:
    shared.create(
        workload("StatefulSet", "held", space, replicas=2, serviceName="h", updateStrategy={"type": "OnDelete"})
    )
    shared.create(workload("StatefulSet", "split", space, replicas=2, serviceName="s",
                           updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}))  # fmt: skip
    shared.wait(
        "both", lambda: shared.ready("StatefulSet", "held", space) and shared.ready("StatefulSet", "split", space)
    )
    before = {p["metadata"]["name"]: p["metadata"]["uid"] for p in pods(shared, space)}
    for name in ("held", "split"):
        shared.change(
            "StatefulSet", name, lambda obj: obj["spec"]["template"]["metadata"].update(annotations={"v": "2"}), space
        )

    def upper() -> bool:
        found = shared.find("Pod", "split-1", space)
        return found is not None and found["metadata"]["uid"] != before["split-1"]

    shared.wait("the upper one", lambda: upper() and shared.ready("StatefulSet", "split", space))
    after = {p["metadata"]["name"]: p["metadata"]["uid"] for p in pods(shared, space)}
    assert {n for n in before if after.get(n) == before[n]} == {"held-0", "held-1", "split-0"}


def test_a_daemonset_has_a_pod_on_each_node_that_fits(bench: Any, workload: Callable[..., Obj]) -> None:
    bench.create(workload("DaemonSet", "all", "default"))
    bench.create(workload("DaemonSet", "some", "default", pod={"nodeSelector": {"role": "x"}}))
    bench.wait("three", lambda: bench.ready("DaemonSet", "all"))
    assert {p["spec"]["nodeName"] for p in bench.list("Pod", "default")} == {"node-0", "node-1", "node-2"}
    assert bench.find("DaemonSet", "some")["status"]["desiredNumberScheduled"] == 0
    bench.change("Node", "node-1", lambda n: n["metadata"]["labels"].update(role="x"), None)
    bench.wait("one", lambda: bench.find("DaemonSet", "some")["status"]["numberReady"] == 1)
    uids = {p["metadata"]["uid"] for p in bench.list("Pod", "default", {"app": "all"})}
    bench.change("DaemonSet", "all", lambda obj: obj["spec"]["template"]["metadata"].update(annotations={"v": "2"}))
    bench.wait("the roll", lambda: bench.ready("DaemonSet", "all")
               and not uids & {p["metadata"]["uid"] for p in bench.list("Pod", "default", {"app": "all"})})  # fmt: skip


def job(name: str, space: str, code: str, **spec: Any) -> Obj:
    pod = {"restartPolicy": "Never", "containers": [{"name": "app", "image": "example/app:1", "args": ["exit", code]}]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": space},
            "spec": {"template": {"spec": pod}, **spec}}  # fmt: skip


def test_jobs_complete_fail_at_their_limit_and_expire(shared: Any, space: str) -> None:
    shared.create(job("good", space, "0", completions=2, parallelism=2))
    shared.create(job("bad", space, "1", backoffLimit=1))
    shared.create(job("brief", space, "0", ttlSecondsAfterFinished=5))
    shared.wait("completion", lambda: condition(shared.find("Job", "good", space), "Complete"))
    assert shared.find("Job", "good", space)["status"]["succeeded"] == 2
    shared.wait("failure", lambda: condition(shared.find("Job", "bad", space), "Failed"))
    assert condition(shared.find("Job", "bad", space), "Failed")["reason"] == "BackoffLimitExceeded"
    assert shared.find("Job", "bad", space)["status"]["failed"] == 2
    shared.wait("the end", lambda: shared.find("Job", "brief", space) is None)
    shared.wait(
        "its pod's end", lambda: not [p for p in shared.list("Pod", space) if p["metadata"]["name"].startswith("brief")]
    )


@pytest.mark.parametrize(("ready", "allowed"), [(True, 1), (False, 0)])
def test_a_budget_says_how_many_may_go(
    shared: Any, space: str, workload: Callable[..., Obj], ready: bool, allowed: int
) -> None:
    path = "/" if ready else "/sick"
    probe = {"readinessProbe": {"httpGet": {"path": path, "port": 7000}, "periodSeconds": 1}}
    shared.create(workload("Deployment", "web", space, "port", "7000", replicas=2, container=probe))
    meta = {"name": "web", "namespace": space}
    shared.create({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta,
                   "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}})  # fmt: skip
    shared.wait(
        "the count", lambda: shared.find("PodDisruptionBudget", "web", space).get("status", {}).get("expectedPods") == 2
    )
    shared.wait(
        "the verdict",
        lambda: shared.find("PodDisruptionBudget", "web", space)["status"]["disruptionsAllowed"] == allowed,
    )
