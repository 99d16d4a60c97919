"""Faults of the Kubernetes API: what a client sees, and what has become of the cluster."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import websocket

Obj = dict[str, Any]
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
V5 = "v5.channel.k8s.io"


def config_map(name: str) -> Obj:
    return {"metadata": {"name": name}, "data": {"a": "b"}}


def strike(api: Any, **rates: float) -> None:
    """From now on these faults of the Kubernetes door happen, and no others."""
    api.world.faults.set({f"kube.{name}": rate for name, rate in rates.items()})


def names(api: Any) -> set[str]:
    """What there is, whatever the door says."""
    found = api.store.peek_all(api.store.resource("ConfigMap"), "default")
    return {obj["metadata"]["name"] for obj in found}


def test_throttling_is_priority_and_fairness_s_text_or_a_status(api: Any) -> None:
    strike(api, throttled=1)
    texts = set()
    for number in range(12):
        answer = api.call("POST", CONFIGMAPS, config_map("a"), headers={"X": str(number)})
        if number % 4 == 3:
            assert answer.status_code in (201, 409)
            continue
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        texts.add(answer.text if answer.headers["Content-Type"].startswith("text/plain") else answer.json()["reason"])
    assert texts == {"Too many requests, please try again later.\n", "TooManyRequests"}
    assert api.world.faults.counts == {"kube.throttled": 9}


def test_a_throttled_write_has_not_happened(api: Any) -> None:
    strike(api, throttled=1)
    assert api.call("POST", CONFIGMAPS, config_map("a")).status_code == 429
    assert names(api) == set()


def test_a_server_error_is_etcd_s_and_comes_before_or_after_the_change(api: Any) -> None:
    strike(api, server_error=1)
    messages, happened = set(), set()
    for number in range(12):
        before = names(api)
        answer = api.call("PUT", f"{CONFIGMAPS}/a{number}", config_map(f"a{number}"))
        assert answer.status_code == 500
        api.world.faults.clear()
        api.make(CONFIGMAPS, config_map(f"a{number}"))
        strike(api, server_error=1)
        answer = api.call("DELETE", f"{CONFIGMAPS}/a{number}")
        status = answer.json()
        assert answer.status_code == status["code"] == 500
        assert (status["kind"], status["status"], "reason" in status) == ("Status", "Failure", False)
        messages.add(status["message"])
        happened.add(names(api) == before)
    assert messages == {"etcdserver: request timed out", "etcdserver: leader changed"}
    assert happened == {True, False}


def test_an_api_server_may_not_be_ready(api: Any) -> None:
    strike(api, unavailable=1)
    answer = api.call("GET", CONFIGMAPS)
    assert answer.status_code == 503
    assert answer.json() == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "apiserver not ready", "reason": "ServiceUnavailable", "code": 503,
    }  # fmt: skip
    assert [api.call("GET", CONFIGMAPS).status_code for _ in range(3)] == [503, 503, 200]


def test_health_and_discovery_go_on(api: Any) -> None:
    strike(api, unavailable=1, throttled=1, server_error=1, reset=1)
    for path in ("/readyz", "/version", "/api", "/apis/apps/v1"):
        assert api.call("GET", path).status_code == 200
    assert api.world.faults.counts == {}


def raw(api: Any, method: str, path: str, body: Obj | None = None) -> tuple[bytes, bool]:
    """What arrives of one request on a connection of its own, and whether the connection was reset."""
    context = ssl.create_default_context(cafile=api.session.verify)
    context.load_cert_chain(*api.session.cert)
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: {api.address}\r\nContent-Type: application/json\r\n"
    came = b""
    with (
        socket.create_connection((api.address, 6443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=api.address, suppress_ragged_eofs=False) as secure,
    ):
        secure.sendall(f"{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
        try:
            while piece := secure.recv(65536):
                came += piece
        except (ConnectionResetError, ssl.SSLEOFError):
            return came, True
    return came, False


def test_a_reset_comes_after_the_change_unanswered_or_in_the_middle(api: Any) -> None:
    strike(api, reset=1)
    halves = set()
    for number in range(10):
        api.world.faults.set({"kube.reset": 1})
        came, broken = raw(api, "POST", CONFIGMAPS, config_map(f"a{number}"))
        assert broken
        assert f"a{number}" in names(api)
        halves.add(came.startswith(b"HTTP/1.1 201 Created\r\n"))
        _, _, body = came.partition(b"\r\n\r\n")
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(body)
    assert halves == {True, False}


def test_a_conflict_asks_to_read_the_object_again(api: Any) -> None:
    api.make(CONFIGMAPS, config_map("a"))
    strike(api, conflict=1)
    for answer in (
        api.merge(f"{CONFIGMAPS}/a", {"data": {"a": "c"}}),
        api.apply(f"{CONFIGMAPS}/a", {"apiVersion": "v1", "kind": "ConfigMap", **config_map("a")}, "me"),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
        assert answer.json()["message"] == (
            'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes '
            "to the latest version and try again"
        )
        assert answer.json()["details"] == {"name": "a", "kind": "configmaps"}
    assert api.store.peek(api.store.resource("ConfigMap"), "default", "a")["data"] == {"a": "b"}


def test_only_what_is_there_can_conflict(api: Any) -> None:
    strike(api, conflict=1)
    assert api.merge(f"{CONFIGMAPS}/a", config_map("a")).status_code == 404
    assert api.apply(f"{CONFIGMAPS}/a", {"apiVersion": "v1", "kind": "ConfigMap", **config_map("a")}, "me").ok
    assert api.call("POST", CONFIGMAPS, config_map("b")).status_code == 201
    assert api.call("DELETE", f"{CONFIGMAPS}/a").status_code == 200


@contextmanager
def watching(api: Any, **params: Any) -> Iterator[requests.Response]:
    params = {"watch": "true", "timeoutSeconds": 30, **params}
    with api.call("GET", CONFIGMAPS, params=params, stream=True) as answer:
        yield answer


def follow(answer: requests.Response) -> tuple[list[Obj], bool]:
    """The events of a watch until it ends, and whether it ended properly."""
    events = []
    try:
        for line in answer.iter_lines():
            events.append(json.loads(line))  # noqa: PERF401 - what came before the error counts
    except requests.exceptions.RequestException:
        return events, False
    return events, True


def test_a_watch_ends_after_some_events_properly_or_not(api: Any) -> None:
    for number in range(5):
        api.make(CONFIGMAPS, config_map(f"a{number}"))
    strike(api, watch_dropped=1)
    counts, endings = set(), set()
    for _ in range(16):
        api.world.faults.set({"kube.watch_dropped": 1})
        with watching(api) as answer:
            assert answer.status_code == 200
            events, proper = follow(answer)
        assert all(event["type"] == "ADDED" for event in events)
        counts.add(len(events))
        endings.add(proper)
    assert counts == {0, 1, 2, 3}
    assert endings == {True, False}


def test_a_quiet_watch_is_dropped_too(api: Any) -> None:
    api.world.clock.scale = 200.0
    strike(api, watch_dropped=1)
    with watching(api) as answer:
        events, _ = follow(answer)
    assert events == []


def test_a_watch_s_version_is_gone_by_status_or_by_event(api: Any) -> None:
    api.make(CONFIGMAPS, config_map("a"))
    version = api.call("GET", CONFIGMAPS).json()["metadata"]["resourceVersion"]
    seen = set()
    for _ in range(12):
        strike(api, gone=1)
        with watching(api, resourceVersion=version) as answer:
            seen.add(answer.status_code)
            if answer.status_code == 200:
                (event,), proper = follow(answer)
                assert (event["type"], proper) == ("ERROR", True)
                status = event["object"]
            else:
                status = answer.json()
        assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
        assert status["message"].startswith(f"too old resource version: {version} (")
    assert seen == {200, 410}


def test_a_watch_from_now_on_cannot_be_gone(api: Any) -> None:
    api.make(CONFIGMAPS, config_map("a"))
    strike(api, gone=1)
    for version in ("", "0"):
        with watching(api, resourceVersion=version, timeoutSeconds=1) as answer:
            events, proper = follow(answer)
        assert ([event["type"] for event in events], proper) == (["ADDED"], True)


def test_the_next_page_of_a_list_may_be_gone(api: Any) -> None:
    for number in range(3):
        api.make(CONFIGMAPS, config_map(f"a{number}"))
    strike(api, gone=1)
    first = api.call("GET", CONFIGMAPS, params={"limit": 2})
    assert first.status_code == 200
    params = {"limit": 2, "continue": first.json()["metadata"]["continue"]}
    answer = api.call("GET", CONFIGMAPS, params=params)
    assert (answer.status_code, answer.json()["reason"]) == (410, "Expired")
    assert answer.json()["message"].startswith("The provided continue parameter is too old to display a consistent")


def run(api: Any, argv: str, pod: str) -> dict[int, bytes] | None:
    """An exec's channels, or None when the connection broke before the status."""
    context = ssl.create_default_context(cafile=api.session.verify)
    context.load_cert_chain(*api.session.cert)
    query = "&".join(f"command={word}" for word in argv.split())
    found: dict[int, bytes] = {}
    with (
        socket.create_connection((api.address, 6443), timeout=10) as raw_socket,
        context.wrap_socket(raw_socket, server_hostname=api.address) as secure,
    ):
        url = f"wss://{api.address}:6443{PODS}/{pod}/exec?{query}&stdout=1&stderr=1"
        connection = websocket.create_connection(url, subprotocols=[V5], socket=secure, timeout=10)
        try:
            while True:
                code, data = connection.recv_data()
                if code == websocket.ABNF.OPCODE_CLOSE:
                    break
                found[data[0]] = found.get(data[0], b"") + data[1:]
        except (OSError, websocket.WebSocketException):
            assert 3 not in found
            return None
    return found


def test_an_exec_breaks_before_or_after_the_command_has_run(api: Any) -> None:
    ran: list[str] = []
    original = api.cluster.runtime

    class Counting:
        def exec(self, namespace: str, pod: str, container: str | None, argv: Any, stdin: bytes) -> Any:
            ran.append(pod)
            return original.exec(namespace, pod, container, argv, stdin)

    api.cluster.runtime = Counting()
    for number in range(8):
        api.run_pod(f"p{number}")
    strike(api, exec_broken=1)
    for number in range(8):
        assert run(api, "ls", f"p{number}") is None
    assert 0 < len(ran) < 8
    assert [run(api, "ls", "p0") is None for _ in range(3)] == [True, True, False]


def test_an_exec_can_be_throttled_before_it_begins(api: Any) -> None:
    api.run_pod("p")
    strike(api, throttled=1)
    with pytest.raises(websocket.WebSocketBadStatusException, match="429"):
        run(api, "ls", "p")


def test_one_region_alone_may_be_struck(api: Any) -> None:
    api.world.faults.set({"kube.unavailable@westus": 1})
    assert api.call("GET", CONFIGMAPS).status_code == 200
    api.world.faults.set({"kube.unavailable@eastus": 1})
    assert api.call("GET", CONFIGMAPS).status_code == 503
