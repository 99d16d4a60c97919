"""What the Kubernetes client promises, against every whole Kubernetes API."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import pytest

from crdbmesh.clients.kube.client import Kube
from crdbmesh.errors import KubeError, WaitError

Object = dict[str, Any]


class Other(Protocol):
    """Makes a client of the same API with another field manager."""

    def __call__(self, field_manager: str) -> Kube: ...


def configmap(namespace: str, name: str, labels: dict[str, str] | None = None, **data: str) -> Object:
    metadata: Object = {"name": name, "namespace": namespace}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def service(namespace: str, name: str, port: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": port}]},
    }


def secret(namespace: str, name: str, **data: str) -> Object:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "data": encoded,
    }


def data_is(**wanted: str) -> Callable[[Object | None], str | None]:
    def until(found: Object | None) -> str | None:
        data = None if found is None else found.get("data")
        return None if data == wanted else f"data {data}"

    return until


def test_the_server_says_its_version(kube: Kube) -> None:
    assert kube.version().startswith("v1.")


def test_applying_twice_changes_nothing(kube: Kube, namespace: str) -> None:
    for obj in (configmap(namespace, "twice", a="1"), service(namespace, "twice", 80)):
        first = kube.apply(obj)
        second = kube.apply(obj)
        assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        assert second["metadata"]["uid"] == first["metadata"]["uid"]


def test_what_is_applied_is_found(kube: Kube, namespace: str) -> None:
    kube.apply(configmap(namespace, "found", a="1"))
    found = kube.find("v1", "ConfigMap", "found", namespace)
    assert found is not None
    assert (found["kind"], found["data"]) == ("ConfigMap", {"a": "1"})
    assert kube.find("v1", "ConfigMap", "absent", namespace) is None
    assert kube.find("v1", "ConfigMap", "found", f"{namespace}-absent") is None


def test_a_field_that_is_no_longer_applied_goes_away(kube: Kube, namespace: str) -> None:
    kube.apply(configmap(namespace, "less", a="1", b="2"))
    assert kube.apply(configmap(namespace, "less", a="1"))["data"] == {"a": "1"}


def test_what_is_as_applied_shows_no_difference_and_nothing_is_written(kube: Kube, namespace: str) -> None:
    for obj in (configmap(namespace, "same", a="1"), service(namespace, "same", 80)):
        before = kube.apply(obj)
        assert kube.covers(obj) == []
        after = kube.find(obj["apiVersion"], obj["kind"], "same", namespace)
        assert after is not None
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_differences_are_named_and_not_made(kube: Kube, namespace: str) -> None:
    assert kube.covers(configmap(namespace, "differs", a="1")) == [f"v1 ConfigMap {namespace}/differs is absent"]
    assert kube.find("v1", "ConfigMap", "differs", namespace) is None
    kube.apply(configmap(namespace, "differs", {"app": "x"}, a="1", b="2", d="x: 1\ny:\n  z: 2\n"))
    wanted = configmap(namespace, "differs", {"app": "y"}, a="1", c="3", d="x: 1\ny:\n  z: 3\n")
    assert kube.covers(wanted) == [
        "data.b: 2 -> absent",
        "data.c: absent -> 3",
        "data.d: z: 2 -> z: 3",
        "metadata.labels.app: x -> y",
    ]
    found = kube.find("v1", "ConfigMap", "differs", namespace)
    assert found is not None
    assert found["data"].keys() == {"a", "b", "d"}


def test_differences_of_a_secret_do_not_show_values(kube: Kube, namespace: str) -> None:
    kube.apply(secret(namespace, "hidden", password="hunter2"))
    differences = kube.covers(secret(namespace, "hidden", password="hunter3"))
    assert differences == ["data.password differs"]
    assert kube.covers(secret(namespace, "hidden", password="hunter2")) == []


def test_a_conflict_names_the_other_manager_and_the_field(kube: Kube, other: Other, namespace: str) -> None:
    other("somebody-else").apply(configmap(namespace, "conflict", a="1"))
    with pytest.raises(KubeError, match=r"conflict: somebody-else owns \.data\.a") as caught:
        kube.apply(configmap(namespace, "conflict", a="2"))
    assert caught.value.status == 409
    assert kube.covers(configmap(namespace, "conflict", a="2")) == ["data.a: 1 -> 2"]
    assert kube.apply(configmap(namespace, "conflict", a="2"), force=True)["data"] == {"a": "2"}


def test_fields_of_others_are_left_alone(kube: Kube, other: Other, namespace: str) -> None:
    kube.apply(configmap(namespace, "shared", a="1"))
    other("somebody-else").apply(configmap(namespace, "shared", b="2"))
    assert kube.apply(configmap(namespace, "shared", a="3"))["data"] == {"a": "3", "b": "2"}
    assert kube.covers(configmap(namespace, "shared", a="3")) == []


def test_a_field_that_does_not_exist_is_refused(kube: Kube, namespace: str) -> None:
    with pytest.raises(KubeError, match="nosuchfield") as caught:
        kube.apply({**configmap(namespace, "strict"), "nosuchfield": 1})
    assert caught.value.status in (400, 500)


def test_an_invalid_secret_is_refused_without_quoting_it(kube: Kube, namespace: str) -> None:
    broken = secret(namespace, "broken")
    broken["data"] = {"password": {"hunter2": "hunter2"}}
    with pytest.raises(KubeError, match=f"apply v1 Secret {namespace}/broken") as caught:
        kube.apply(broken)
    assert "hunter2" not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"


def test_a_change_ends_a_wait_soon(kube: Kube, namespace: str) -> None:
    kube.apply(configmap(namespace, "awaited", a="0"))
    said: list[str] = []
    timer = threading.Timer(0.4, kube.apply, (configmap(namespace, "awaited", a="1"),))
    timer.start()
    started = time.monotonic()
    found = kube.wait(
        "v1",
        "ConfigMap",
        "awaited",
        namespace,
        data_is(a="1"),
        awaited="the configmap",
        deadline_s=20,
        say=said.append,
    )
    took_s = time.monotonic() - started
    timer.join()
    assert found is not None
    assert 0.3 < took_s < 3
    assert said == ["waiting for the configmap; last seen: data {'a': '0'}"]


def test_a_wait_that_is_over_at_once_returns_at_once(kube: Kube, namespace: str) -> None:
    kube.apply(configmap(namespace, "already", a="1"))
    assert kube.wait("v1", "ConfigMap", "already", namespace, data_is(a="1"), awaited="the configmap", deadline_s=0)


def test_a_wait_says_what_it_last_saw(kube: Kube, namespace: str) -> None:
    with pytest.raises(WaitError, match="for the configmap; last seen: data None"):
        kube.wait("v1", "ConfigMap", "never", namespace, data_is(a="1"), awaited="the configmap", deadline_s=0.6)


def test_selected_objects_are_awaited_together(kube: Kube, namespace: str) -> None:
    def apply_later() -> None:
        for name in ("p1", "p2"):
            kube.apply(configmap(namespace, name, {"part": "yes"}))
            time.sleep(0.1)

    def until(found: list[Object]) -> str | None:
        return None if len(found) == 2 else f"{len(found)} of 2"

    kube.apply(configmap(namespace, "p0", {"part": "no"}))
    thread = threading.Thread(target=apply_later)
    thread.start()
    found = kube.wait_all("v1", "ConfigMap", namespace, until, labels="part=yes", awaited="both parts", deadline_s=20)
    thread.join()
    assert [item["metadata"]["name"] for item in found] == ["p1", "p2"]


def test_lists_longer_than_a_page_are_read_whole(kube: Kube, namespace: str) -> None:
    names = [f"many-{number:03}" for number in range(260)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: kube.apply(configmap(namespace, name, {"many": "yes"})), names))
    found = kube.list("v1", "ConfigMap", namespace, labels="many=yes")
    assert sorted(item["metadata"]["name"] for item in found) == names
    assert {item["kind"] for item in found} == {"ConfigMap"}


def test_a_selector_that_matches_nothing_gives_an_empty_list(kube: Kube, namespace: str) -> None:
    assert kube.list("v1", "ConfigMap", namespace, labels="no=such") == []


def test_objects_of_the_whole_cluster_need_no_namespace(kube: Kube, namespace: str) -> None:
    found = kube.find("v1", "Namespace", namespace)
    assert found is not None
    assert namespace in [item["metadata"]["name"] for item in kube.list("v1", "Namespace")]
    kube.apply(configmap(namespace, "spread", {"spread": "yes"}))
    everywhere = kube.list("v1", "ConfigMap", labels="spread=yes")
    assert {item["metadata"]["namespace"] for item in everywhere} == {namespace}


def test_deleting_waits_until_it_is_gone_and_absent_is_done(kube: Kube, namespace: str) -> None:
    kube.apply(configmap(namespace, "gone", a="1"))
    kube.delete("v1", "ConfigMap", "gone", namespace, wait=True, deadline_s=20)
    assert kube.find("v1", "ConfigMap", "gone", namespace) is None
    kube.delete("v1", "ConfigMap", "gone", namespace, wait=True, deadline_s=20)


def test_a_kind_that_the_api_does_not_know_has_no_objects(kube: Kube) -> None:
    assert kube.find("nosuch.example.com/v1", "Thing", "one", "default") is None
    assert kube.list("nosuch.example.com/v1", "Thing") == []
    with pytest.raises(KubeError, match="does not know this kind"):
        kube.apply({"apiVersion": "nosuch.example.com/v1", "kind": "Thing", "metadata": {"name": "one"}})


def test_a_namespace_that_is_not_there_is_an_error_that_names_it(kube: Kube, namespace: str) -> None:
    with pytest.raises(KubeError, match=f"{namespace}-absent") as caught:
        kube.apply(configmap(f"{namespace}-absent", "one"))
    assert caught.value.status == 404


def test_exec_in_a_pod_that_is_not_there_is_an_error(kube: Kube, namespace: str) -> None:
    with pytest.raises(KubeError, match="absent") as caught:
        kube.exec(namespace, "absent", ["true"])
    assert caught.value.status == 404
    with pytest.raises(KubeError):
        kube.proxy_get(namespace, "absent", 8080, "/health", tls=True)


class TestInAPod:
    """What goes to a running pod."""

    def test_a_command_gives_its_outputs_and_its_status(self, kube: Kube, namespace: str, web_pod: str) -> None:
        result = kube.exec(namespace, web_pod, ["echo", "one", "two words"])
        assert (result.stdout, result.stderr, result.status) == ("one two words\n", "", 0)
        failed = kube.exec(namespace, web_pod, ["ls", "/absent"], container="web")
        assert failed.status == 1
        assert "No such file" in failed.stderr

    def test_a_large_output_comes_whole(self, kube: Kube, namespace: str, web_pod: str) -> None:
        assert len(kube.exec(namespace, web_pod, ["head", "-c", "3000000", "/dev/zero"]).stdout) == 3_000_000

    def test_a_command_that_is_not_there_is_an_error(self, kube: Kube, namespace: str, web_pod: str) -> None:
        with pytest.raises(KubeError, match="nosuchcommand"):
            kube.exec(namespace, web_pod, ["nosuchcommand"])

    def test_a_container_that_is_not_there_is_an_error(self, kube: Kube, namespace: str, web_pod: str) -> None:
        with pytest.raises(KubeError, match="absent") as caught:
            kube.exec(namespace, web_pod, ["cat"], container="absent")
        assert caught.value.status == 400

    def test_its_http_server_is_asked(self, kube: Kube, namespace: str, web_pod: str) -> None:
        assert kube.proxy_get(namespace, web_pod, 8080, "/health", tls=False) == (200, "hello\n")
        assert kube.proxy_get(namespace, web_pod, 8080, "absent", tls=False)[0] == 404

    def test_a_port_at_which_nothing_answers_is_an_error(self, kube: Kube, namespace: str, web_pod: str) -> None:
        with pytest.raises(KubeError) as caught:
            kube.proxy_get(namespace, web_pod, 9999, "/health", tls=False)
        assert caught.value.status in (500, 502, 503)

    def test_deleting_it_waits_until_it_is_gone(self, kube: Kube, namespace: str, web_pod: str) -> None:
        kube.delete("v1", "Pod", web_pod, namespace, wait=True, deadline_s=60)
        assert kube.find("v1", "Pod", web_pod, namespace) is None
