"""What a kubelet does with a pod."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

Obj = dict[str, Any]


def state(bench: Any, name: str, space: str, index: int = 0) -> Obj:
    pod = bench.find("Pod", name, space)
    entries = pod["status"].get("containerStatuses") or [{}]
    found: Obj = entries[index].get("state") or {}
    return found


def waiting(bench: Any, name: str, space: str) -> str:
    return str(state(bench, name, space).get("waiting", {}).get("reason"))


def reasons(bench: Any, space: str) -> set[str]:
    return {event["reason"] for event in bench.list("Event", space)}


def secret(name: str, space: str, **data: str) -> Obj:
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": space}, "data": encoded}


def test_without_a_pod_network_only_host_network_pods_start(bare: Any, pod: Callable[..., Obj]) -> None:
    bare.wait("nodes", lambda: len(bare.list("Node")) == 3 and bare.find("ServiceAccount", "default"))
    anywhere = [{"operator": "Exists"}]
    bare.create(pod("host", "default", hostNetwork=True, tolerations=anywhere))
    bare.create(pod("plain", "default", tolerations=anywhere))
    bare.wait("the host's", lambda: bare.ready("Pod", "host"))
    assert bare.find("Pod", "host")["status"]["podIP"].startswith("10.1.0.")
    bare.wait("the complaint", lambda: "FailedCreatePodSandBox" in reasons(bare, "default"))
    bare.stays(100, lambda: waiting(bare, "plain", "default") == "ContainerCreating")


def test_a_pod_gets_an_address_of_its_nodes_range(shared: Any, space: str, pod: Callable[..., Obj]) -> None:
    shared.create(pod("app", space))
    shared.wait("it", lambda: shared.ready("Pod", "app", space))
    found = shared.find("Pod", "app", space)
    node = shared.find("Node", found["spec"]["nodeName"], None)
    assert found["status"]["podIP"].rsplit(".", 1)[0] == node["spec"]["podCIDR"].rsplit(".", 1)[0]
    assert [c["status"] for c in found["status"]["conditions"]] == ["True"] * 5
    with shared.world.lock:
        boxes = [box for box in shared.pods.sandboxes.values() if box.ip == found["status"]["podIP"]]
    assert [(box.namespace, box.name) for box in boxes] == [(space, "app")]
    assert [line.text for line in shared.pods.logs(space, "app", None)] == ["started"]
    assert shared.pods.exec(space, "app", None, ["true"], b"").stdout == b"yes\n"
    with pytest.raises(LookupError):
        shared.pods.exec(space, "app", "other", ["true"], b"")


def test_a_missing_secret_holds_the_container_until_it_appears(
    shared: Any, space: str, pod: Callable[..., Obj]
) -> None:
    volumes = [{"name": "certs", "secret": {"secretName": "late", "defaultMode": 0o400}},
               {"name": "more", "configMap": {"name": "never", "optional": True}}]  # fmt: skip
    mounts = [{"name": "certs", "mountPath": "/certs"}, {"name": "more", "mountPath": "/more"}]
    shared.create(pod("app", space, volumes=volumes, container={"volumeMounts": mounts}))
    shared.wait("the complaint", lambda: "FailedMount" in reasons(shared, space))
    assert waiting(shared, "app", space) == "ContainerCreating"
    shared.create(secret("late", space, key="one"))
    shared.wait("the start", lambda: shared.ready("Pod", "app", space))
    with shared.world.lock:
        container = shared.pods.program(space, "app", "app").container
    assert container.files["/certs/key"] == b"one"
    assert container.modes["/certs/key"] == 0o400
    update = base64.b64encode(b"two").decode()
    shared.change("Secret", "late", lambda obj: obj["data"].update(key=update), space)
    shared.wait("the refresh", lambda: container.files["/certs/key"] == b"two")


def test_a_missing_key_in_the_environment_is_a_configuration_error(
    shared: Any, space: str, pod: Callable[..., Obj]
) -> None:
    env = [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
           {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
           {"name": "GREETING", "value": "$(NODE)-$$(NODE)-$(UNSET)"},
    ]  # fmt: skip
    shared.create(pod("app", space, "--on=$(NODE)", container={"env": env}))
    shared.wait("the error", lambda: waiting(shared, "app", space) == "CreateContainerConfigError")
    assert state(shared, "app", space)["waiting"]["message"] == 'secret "login" not found'
    shared.create(secret("login", space, password="p"))
    shared.wait("the start", lambda: shared.ready("Pod", "app", space))
    with shared.world.lock:
        container = shared.pods.program(space, "app", "app").container
    node = container.node.node_name
    assert container.env["PASSWORD"] == "p"
    assert container.env["GREETING"] == f"{node}-$(NODE)-$(UNSET)"
    assert container.argv == [f"--on={node}"]
    assert container.env["KUBERNETES_SERVICE_HOST"] == "10.201.0.1"


def test_an_image_that_no_registry_has_is_not_pulled(shared: Any, space: str, pod: Callable[..., Obj]) -> None:
    shared.create(pod("app", space, image="example/absent:1"))
    shared.wait("the back-off", lambda: waiting(shared, "app", space) == "ImagePullBackOff")
    assert "not found" in state(shared, "app", space)["waiting"]["message"]


def test_a_machine_without_a_way_out_pulls_nothing(bench: Any, pod: Callable[..., Obj]) -> None:
    bench.network.egress = False
    bench.create(pod("app", "default", image="example/fresh:1"))
    bench.wait("the failure", lambda: waiting(bench, "app", "default") in ("ErrImagePull", "ImagePullBackOff"))
    assert "i/o timeout" in state(bench, "app", "default")["waiting"]["message"]
    bench.network.egress = True
    bench.wait("the start", lambda: bench.ready("Pod", "app"))


def test_a_crashing_container_backs_off_and_counts_its_restarts(
    shared: Any, space: str, pod: Callable[..., Obj]
) -> None:
    shared.create(pod("app", space, "exit", "3"))
    shared.wait("the loop", lambda: waiting(shared, "app", space) == "CrashLoopBackOff")
    status = shared.find("Pod", "app", space)["status"]["containerStatuses"][0]
    assert status["lastState"]["terminated"]["exitCode"] == 3
    shared.wait("more", lambda: shared.find("Pod", "app", space)["status"]["containerStatuses"][0]["restartCount"] >= 2)


@pytest.mark.parametrize(
    ("arguments", "policy", "phase"),
    [
        (["exit", "0"], "Never", "Succeeded"),
        (["exit", "1"], "Never", "Failed"),
        (["exit", "0"], "OnFailure", "Succeeded"),
        (["exit", "1", "then", "0"], "OnFailure", "Succeeded"),
    ],
)
def test_a_finished_pod_has_the_right_phase(
    shared: Any, space: str, pod: Callable[..., Obj], arguments: list[str], policy: str, phase: str
) -> None:
    shared.create(pod("app", space, *arguments, restartPolicy=policy))
    shared.wait("the end", lambda: shared.find("Pod", "app", space)["status"].get("phase") == phase)


def test_a_finished_pod_keeps_its_log_and_gives_its_address_back(
    shared: Any, space: str, pod: Callable[..., Obj]
) -> None:
    shared.create(pod("app", space, "exit", "0", restartPolicy="Never"))
    shared.wait("the end", lambda: shared.find("Pod", "app", space)["status"].get("phase") == "Succeeded")
    shared.wait("the address", lambda: not [b for b in shared.pods.sandboxes.values() if b.namespace == space])
    assert [line.text for line in shared.pods.logs(space, "app", None)] == ["started"]
    with pytest.raises(LookupError, match="completed pod"):
        shared.pods.exec(space, "app", None, ["true"], b"")


def test_init_containers_run_first_and_a_failing_one_blocks(shared: Any, space: str, pod: Callable[..., Obj]) -> None:
    good = [{"name": "one", "image": "example/app:1", "args": ["exit", "0"]}]
    bad = [*good, {"name": "two", "image": "example/app:1", "args": ["exit", "1"]}]
    shared.create(pod("good", space, initContainers=good))
    shared.create(pod("bad", space, initContainers=bad))
    shared.wait("the good one", lambda: shared.ready("Pod", "good", space))
    status = shared.find("Pod", "good", space)["status"]["initContainerStatuses"][0]
    assert status["state"]["terminated"]["reason"] == "Completed"
    shared.stays(60, lambda: not shared.ready("Pod", "bad", space))
    assert shared.find("Pod", "bad", space)["status"]["phase"] == "Pending"


def test_readiness_follows_its_probe_and_liveness_restarts(shared: Any, space: str, pod: Callable[..., Obj]) -> None:
    ports = [{"name": "web", "containerPort": 7000}]
    probe = {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 5}
    sick = {"httpGet": {"path": "/sick", "port": 7000}, "periodSeconds": 5, "failureThreshold": 2}
    shared.create(
        pod("slow", space, "port", "7000", "after", "90", container={"ports": ports, "readinessProbe": probe})
    )
    shared.create(pod("never", space, "port", "7000", container={"ports": ports, "readinessProbe": sick}))
    shared.create(pod("dying", space, "port", "7000", container={"ports": ports, "livenessProbe": sick}))
    shared.wait("a run", lambda: "running" in state(shared, "slow", space))
    assert not shared.ready("Pod", "slow", space)
    shared.wait("readiness", lambda: shared.ready("Pod", "slow", space))
    shared.wait(
        "a restart", lambda: shared.find("Pod", "dying", space)["status"]["containerStatuses"][0]["restartCount"] > 0
    )
    assert not shared.ready("Pod", "never", space)
    assert "Unhealthy" in reasons(shared, space)


def test_run_as_non_root_is_enforced(shared: Any, space: str, pod: Callable[..., Obj]) -> None:
    shared.create(pod("root", space, securityContext={"runAsNonRoot": True}))
    shared.create(pod("user", space, securityContext={"runAsNonRoot": True, "runAsUser": 1000}))
    shared.wait("the user", lambda: shared.ready("Pod", "user", space))
    shared.wait("the refusal", lambda: waiting(shared, "root", space) == "CreateContainerConfigError")


def test_a_deleted_pod_ends_after_a_while_and_frees_its_address(
    shared: Any, space: str, pod: Callable[..., Obj]
) -> None:
    shared.create(pod("app", space))
    shared.wait("it", lambda: shared.ready("Pod", "app", space))
    address = shared.find("Pod", "app", space)["status"]["podIP"]
    shared.delete("Pod", "app", space)
    assert shared.find("Pod", "app", space)["metadata"]["deletionTimestamp"]
    shared.wait("the end", lambda: shared.find("Pod", "app", space) is None)
    with shared.world.lock:
        assert address not in [box.ip for box in shared.pods.sandboxes.values()]


def test_containers_start_anew_when_their_machine_has_been_off(bench: Any, pod: Callable[..., Obj]) -> None:
    bench.create(pod("app", "default", nodeName="node-0"))
    bench.wait("it", lambda: bench.ready("Pod", "app"))
    member = bench.members[0]
    with bench.world.lock:
        del bench.world.machines[member.machine.key]
        member.running = False
    bench.wait("silence", lambda: bench.pods.program("default", "app", "app") is None)
    with bench.world.lock:
        member.machine.booted_at = bench.world.clock.now()
        bench.world.machines[member.machine.key] = member.machine
        member.running = True
    bench.wait("a restart", lambda: bench.find("Pod", "app")["status"]["containerStatuses"][0]["restartCount"] == 1)
    bench.wait("the return", lambda: bench.ready("Pod", "app"))
