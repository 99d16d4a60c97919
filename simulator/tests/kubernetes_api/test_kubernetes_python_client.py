"""The official Python client against the API: typed objects, watches, exec and errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

connect: Any = config.new_client_from_config
Watch: Any = watch.Watch
Dynamic: Any = dynamic.DynamicClient
run_stream: Any = stream


@pytest.fixture
def connection(api: Any) -> Iterator[Any]:
    connection = connect(str(api.kubeconfig))
    yield connection
    connection.rest_client.pool_manager.clear()
    connection.close()


def test_typed_objects_make_the_round_trip(connection: Any) -> None:
    core = client.CoreV1Api(connection)
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a", labels={"x": "y"}), data={"k": "v"})
    made: Any = core.create_namespaced_config_map("default", body)
    made.data["k"] = "w"
    core.replace_namespaced_config_map("a", "default", made)
    assert core.read_namespaced_config_map("a", "default").data == {"k": "w"}
    found: Any = core.list_config_map_for_all_namespaces(label_selector="x=y")
    assert [each.metadata.name for each in found.items] == ["a"]
    with pytest.raises(ApiException) as caught:
        core.replace_namespaced_config_map("a", "default", made)
    assert caught.value.status == 409
    core.delete_namespaced_config_map("a", "default")


def test_a_watch_yields_typed_events(connection: Any) -> None:
    core: Any = client.CoreV1Api(connection)
    version = core.list_namespaced_secret("default").metadata.resource_version
    for name in ("a", "b"):
        core.create_namespaced_secret("default", {"metadata": {"name": name}, "stringData": {"k": name}})
    events = Watch().stream(core.list_namespaced_secret, "default", resource_version=version, timeout_seconds=1)
    assert [(each["type"], each["object"].metadata.name) for each in events] == [("ADDED", "a"), ("ADDED", "b")]


def test_commands_run_over_its_websocket(api: Any, connection: Any) -> None:
    api.run_pod("p")
    run = client.CoreV1Api(connection).connect_get_namespaced_pod_exec
    options = {"stdin": False, "stdout": True, "stderr": True, "tty": False, "_preload_content": False}
    for command, expected in ((["ls", "-l"], ("default p main ls -l\n", "", 0)), (["false"], ("", "no\n", 3))):
        ended = run_stream(run, "p", "default", command=command, **options)
        ended.run_forever(timeout=5)
        assert (ended.read_stdout(), ended.read_stderr(), ended.returncode) == expected
        ended.sock.shutdown()


def test_the_dynamic_client_applies_server_side(connection: Any, tmp_path: Any) -> None:
    found = Dynamic(connection, cache_file=str(tmp_path / "discovery.json"))
    kind = found.resources.get(api_version="v1", kind="ConfigMap")
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "default"},
        "data": {"k": "v"},
    }
    made = kind.server_side_apply(body=body, name="a", namespace="default", field_manager="py")
    assert made.metadata.managedFields[0].manager == "py"
    assert kind.get(name="a", namespace="default").data.k == "v"


def test_versions_and_access_can_be_asked(connection: Any) -> None:
    assert client.VersionApi(connection).get_code().git_version == "v1.36.4+k3s1"
    review = {"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": "default"}}}
    access: Any = client.AuthorizationV1Api(connection)
    assert access.create_self_subject_access_review(review).status.allowed
