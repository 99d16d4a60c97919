"""What the Kubernetes client does when the API server misbehaves, restarts, or says no."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest
from aiohttp import web

from crdbmesh.clients.kube.client import Kube
from crdbmesh.errors import ConfigError, KubeError, WaitError
from crdbmesh.local import pki

HERE = "/api/v1/namespaces/here/configmaps"


class Scripted(Protocol):
    """The scripted server; see conftest."""

    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    requests: list[str]
    ca: pki.KeyPair

    def listen(self) -> None: ...
    def refuse(self) -> None: ...
    def kubeconfig(self, *, ca: pki.KeyPair | None = None) -> dict[str, Any]: ...


def configmap(name: str = "one", version: str = "10", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "here", "resourceVersion": version},
        "data": data,
    }


def failure(code: int, reason: str, message: str = "", **details: Any) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    return web.json_response({**status, "reason": reason, "message": message, "details": details}, status=code)


def answering(
    scripted: Scripted, *answers: Callable[[web.Request], web.StreamResponse | Awaitable[web.StreamResponse]]
) -> None:
    """Answer in turn; the last answer stays."""
    left = list(answers)

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = left.pop(0) if len(left) > 1 else left[0]
        given = answer(request)
        return given if isinstance(given, web.StreamResponse) else await given

    scripted.handler = handler


def listed(*items: dict[str, Any], version: str = "10", token: str = "") -> Callable[[web.Request], web.Response]:
    metadata = {"resourceVersion": version, "continue": token}
    body = {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": list(items)}
    return lambda _request: web.json_response(body)


def watched(
    *events: tuple[str, dict[str, Any]], stay: bool = False, cut: bool = False
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for kind, item in events:
            await response.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")
        if cut:
            break_off(request)
        if stay:
            await asyncio.sleep(30)
        return response

    return answer


def break_off(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


def data_is(**wanted: str) -> Callable[[dict[str, Any] | None], str | None]:
    def until(found: dict[str, Any] | None) -> str | None:
        data = None if found is None else found.get("data")
        return None if data == wanted else f"data {data}"

    return until


def wait(client: Kube, deadline_s: float = 10, **wanted: str) -> dict[str, Any] | None:
    return client.wait(
        "v1", "ConfigMap", "one", "here", data_is(**wanted), awaited="configmap one", deadline_s=deadline_s
    )


class TestTrust:
    """Whom it believes, and how it says who it is."""

    def test_the_client_certificate_is_shown_to_the_server(self, scripted: Scripted, client: Kube) -> None:
        shown: list[Any] = []

        async def handler(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            shown.append(request.transport.get_extra_info("peercert")["subject"])
            return web.json_response({"gitVersion": "v1.36.4+k3s1"})

        scripted.handler = handler
        assert client.version() == "v1.36.4+k3s1"
        assert (("commonName", "system:admin"),) in shown[0]

    def test_another_ca_is_an_error_at_once(self, scripted: Scripted) -> None:
        other = pki.make_ca("server-ca", None, now=dt.datetime.now(dt.UTC), key="ec256")
        with Kube(scripted.kubeconfig(ca=other), name="eastus") as kube:
            started = time.monotonic()
            with pytest.raises(KubeError, match="eastus: the API server's certificate is not trusted"):
                kube.version()
            with pytest.raises(KubeError, match="not trusted"):
                wait(kube)
            with pytest.raises(KubeError, match="not trusted"):
                kube.exec("here", "pod", ["true"])
            assert time.monotonic() - started < 5

    def test_a_kubeconfig_without_credentials_is_refused_without_showing_it(self, scripted: Scripted) -> None:
        config = scripted.kubeconfig()
        config["users"][0]["user"] = {"username": "admin", "password": "hunter2"}
        with pytest.raises(ConfigError) as caught:
            Kube(config, name="eastus")
        assert "hunter2" not in str(caught.value)


class TestRetries:
    """What it asks again, and what not."""

    def test_a_server_that_is_briefly_unable_is_asked_again(self, scripted: Scripted, client: Kube) -> None:
        def reset(request: web.Request) -> web.StreamResponse:
            break_off(request)
            return web.Response()

        answering(
            scripted,
            lambda _: failure(503, "ServiceUnavailable"),
            reset,
            lambda _: failure(429, "TooManyRequests"),
            lambda _: web.json_response(configmap(a="1")),
        )
        found = client.find("v1", "ConfigMap", "one", "here")
        assert found is not None
        assert found["data"] == {"a": "1"}

    def test_the_servers_own_pause_is_kept(self, scripted: Scripted, client: Kube) -> None:
        answering(
            scripted,
            lambda _: web.Response(status=429, headers={"Retry-After": "1"}),
            lambda _: web.json_response(configmap()),
        )
        started = time.monotonic()
        client.find("v1", "ConfigMap", "one", "here")
        assert 1 <= time.monotonic() - started < 3

    def test_an_interrupt_ends_the_pause_before_asking_again(self, scripted: Scripted) -> None:
        answering(scripted, lambda _: web.Response(status=503, headers={"Retry-After": "15"}))
        stop = threading.Event()
        timer = threading.Timer(0.3, stop.set)
        timer.start()
        started = time.monotonic()
        with Kube(scripted.kubeconfig(), name="eastus", stop=stop) as kube, pytest.raises(KubeError, match="HTTP 503"):
            kube.find("v1", "ConfigMap", "one", "here")
        timer.join()
        assert time.monotonic() - started < 10

    def test_a_refusal_is_not_repeated(self, scripted: Scripted, client: Kube) -> None:
        answering(scripted, lambda _: failure(403, "Forbidden", "configmaps is forbidden"))
        with pytest.raises(KubeError, match=r"read v1 ConfigMap here/one: configmaps is forbidden") as caught:
            client.find("v1", "ConfigMap", "one", "here")
        assert (caught.value.status, caught.value.reason) == (403, "Forbidden")
        assert len(scripted.requests) == 1

    def test_a_server_that_does_not_listen_is_an_error_in_the_end(self, scripted: Scripted, client: Kube) -> None:
        scripted.refuse()
        with pytest.raises(KubeError, match="connection refused") as caught:
            client.version()
        assert caught.value.status is None

    def test_an_apply_that_lost_a_race_is_sent_again(self, scripted: Scripted, client: Kube) -> None:
        answering(
            scripted,
            lambda _: failure(409, "Conflict", "the object has been modified"),
            lambda _: web.json_response(configmap()),
        )
        client.apply(configmap())


class TestErrors:
    """What its errors say, and what never."""

    def test_a_conflict_names_the_other_managers_and_fields(self, scripted: Scripted, client: Kube) -> None:
        causes = [
            {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl-edit" using v1', "field": ".data.a"},
            {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl-edit" using v1', "field": ".data.b"},
            {"reason": "FieldManagerConflict", "message": 'conflict with "helm"', "field": ".data.c"},
        ]
        answering(scripted, lambda _: failure(409, "Conflict", "Apply failed", causes=causes))
        with pytest.raises(KubeError) as caught:
            client.apply(configmap(a="1"))
        expected = "conflict: kubectl-edit owns .data.a, .data.b; helm owns .data.c"
        assert str(caught.value) == f"eastus: apply v1 ConfigMap here/one: {expected}"
        assert caught.value.status == 409

    def test_an_error_about_a_secret_does_not_quote_the_server(self, scripted: Scripted, client: Kube) -> None:
        causes = [{"reason": "FieldValueInvalid", "message": 'Invalid value: "hunter2"', "field": "data[password]"}]
        answering(scripted, lambda _: failure(422, "Invalid", 'Secret "s" is invalid: "hunter2"', causes=causes))
        secret = {**configmap("s"), "kind": "Secret", "data": {"password": "hunter2"}}
        for call in (client.apply, client.covers):
            with pytest.raises(KubeError, match=r"Secret here/s: Invalid \(data\[password\]\)") as caught:
                call(secret)
            shown = f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"
            assert "hunter2" not in shown

    def test_a_deadline_of_the_servers_own_is_said_in_its_words(self, scripted: Scripted, client: Kube) -> None:
        body = {"metadata": {}, "status": "Failure", "message": "Timeout: request did not complete", "code": 504}
        answering(scripted, lambda _: web.json_response({**body, "reason": "Timeout", "details": {}}, status=504))
        with pytest.raises(KubeError, match=r"read v1 ConfigMap here/one: Timeout: request did not complete$"):
            client.find("v1", "ConfigMap", "one", "here")
        with pytest.raises(KubeError, match=r"for /health: Timeout: request did not complete$"):
            client.proxy_get("here", "cockroachdb-0", 8080, "/health", tls=True)

    def test_an_error_page_is_cut_short(self, scripted: Scripted, client: Kube) -> None:
        answering(scripted, lambda _: web.Response(status=404, text="<html>" + "x" * 5000))
        with pytest.raises(KubeError, match="HTTP 404 <html>") as caught:
            client.version()
        assert len(str(caught.value)) < 1000

    def test_a_kind_that_the_api_does_not_know_is_absent_but_cannot_be_applied(self, client: Kube) -> None:
        assert client.find("helm.cattle.io/v1", "HelmChart", "cilium", "kube-system") is None
        assert client.list("helm.cattle.io/v1", "HelmChart") == []
        client.delete("helm.cattle.io/v1", "HelmChart", "cilium", "kube-system", wait=True)
        chart = {"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart", "metadata": {"name": "cilium"}}
        with pytest.raises(KubeError, match="the API does not know this kind"):
            client.apply(chart)
        assert client.covers(chart) == ["helm.cattle.io/v1 HelmChart cilium is absent"]


class TestLists:
    """Lists in pages."""

    def test_every_page_is_read(self, scripted: Scripted, client: Kube) -> None:
        answering(scripted, listed(configmap("a"), token="t 1"), listed(configmap("b"), token="t2"), listed())
        found = client.list("v1", "ConfigMap", "here", labels="app=x,tier!=y")
        assert [item["metadata"]["name"] for item in found] == ["a", "b"]
        assert [(item["apiVersion"], item["kind"]) for item in found] == [("v1", "ConfigMap")] * 2
        first = f"GET {HERE}?labelSelector=app%3Dx%2Ctier%21%3Dy&limit=250"
        assert scripted.requests[:2] == [first, f"{first}&continue=t%201"]

    def test_a_list_that_expires_midway_is_begun_again(self, scripted: Scripted, client: Kube) -> None:
        answering(
            scripted,
            listed(configmap("old"), token="t1"),
            lambda _: failure(410, "Expired"),
            listed(configmap("new")),
        )
        assert [item["metadata"]["name"] for item in client.list("v1", "ConfigMap")] == ["new"]
        assert scripted.requests[-1] == "GET /api/v1/configmaps?limit=250"


class TestWaits:
    """Waiting by watch."""

    def test_an_event_ends_the_wait_without_another_list(self, scripted: Scripted, client: Kube) -> None:
        answering(scripted, listed(version="7"), watched(("ADDED", configmap(a="1")), stay=True))
        found = wait(client, a="1")
        assert found is not None
        assert len(scripted.requests) == 2
        assert "fieldSelector=metadata.name%3Done" in scripted.requests[0]
        assert "watch=true" in scripted.requests[1]
        assert "resourceVersion=7" in scripted.requests[1]
        assert "allowWatchBookmarks=true" in scripted.requests[1]

    def test_a_watch_that_ends_is_resumed_after_the_last_bookmark(self, scripted: Scripted, client: Kube) -> None:
        bookmark = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"resourceVersion": "50"}}
        answering(
            scripted,
            listed(configmap(a="0")),
            watched(("MODIFIED", configmap(version="12", a="5")), ("BOOKMARK", bookmark)),
            watched(("MODIFIED", configmap(version="51", a="1")), stay=True),
        )
        assert wait(client, a="1") is not None
        assert "resourceVersion=50" in scripted.requests[2]
        assert sum("watch=true" not in request for request in scripted.requests) == 1

    @pytest.mark.parametrize(
        "gone",
        [
            watched(("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})),
            lambda _request: failure(410, "Expired"),
            watched(("MODIFIED", configmap(a="5")), cut=True),
        ],
        ids=["gone-event", "gone-answer", "cut"],
    )
    def test_a_watch_that_cannot_be_resumed_is_begun_with_a_new_list(
        self, scripted: Scripted, client: Kube, gone: Any
    ) -> None:
        answering(scripted, listed(configmap(a="0")), gone, listed(configmap(version="90", a="1")))
        assert wait(client, a="1") is not None
        assert "watch=true" not in scripted.requests[2]

    def test_a_deleted_object_is_seen_as_absent(self, scripted: Scripted, client: Kube) -> None:
        answering(scripted, listed(configmap()), watched(("DELETED", configmap(version="11")), stay=True))
        gone = client.wait(
            "v1", "ConfigMap", "one", "here", lambda found: "there" if found else None, awaited="x", deadline_s=5
        )
        assert gone is None

    def test_a_restarting_server_is_waited_for(self, scripted: Scripted, client: Kube) -> None:
        said: list[str] = []
        answering(scripted, lambda _: failure(503, "ServiceUnavailable"), listed(configmap(a="1")))
        assert client.find("v1", "ConfigMap", "zero", "here") is not None
        scripted.refuse()
        client.close()
        timer = threading.Timer(0.7, scripted.listen)
        timer.start()
        client.wait("v1", "ConfigMap", "one", "here", data_is(a="1"), awaited="x", deadline_s=20, say=said.append)
        timer.join()
        assert "connection refused" in said[0]

    def test_a_kind_that_is_defined_later_is_waited_for(self, scripted: Scripted, client: Kube) -> None:
        asked = 0

        async def handler(request: web.Request) -> web.StreamResponse:
            nonlocal asked
            asked += 1
            if asked < 3:
                return failure(404, "NotFound")
            return listed({"metadata": {"name": "cilium"}})(request)

        scripted.handler = handler
        seen: list[Any] = []

        def until(found: dict[str, Any] | None) -> str | None:
            seen.append(found)
            return None if found else "no chart"

        found = client.wait(
            "helm.cattle.io/v1", "HelmChart", "cilium", "kube-system", until, awaited="the chart", deadline_s=10
        )
        assert found is not None
        assert seen[:2] == [None, None]

    def test_a_silent_watch_does_not_outlast_the_deadline(self, scripted: Scripted, client: Kube) -> None:
        answering(scripted, listed(configmap(a="0")), watched(stay=True))
        started = time.monotonic()
        with pytest.raises(WaitError, match=r"waited \d s for configmap one; last seen: data {'a': '0'}"):
            wait(client, deadline_s=1, a="1")
        assert 0.9 < time.monotonic() - started < 3

    def test_a_refusal_ends_the_wait(self, scripted: Scripted, client: Kube) -> None:
        answering(scripted, lambda _: failure(403, "Forbidden", "configmaps is forbidden"))
        with pytest.raises(KubeError, match="configmaps is forbidden"):
            wait(client)

    def test_many_objects_are_judged_together(self, scripted: Scripted, client: Kube) -> None:
        answering(
            scripted,
            listed(configmap("a", a="1"), token="t"),
            listed(configmap("b", a="0")),
            watched(
                ("MODIFIED", configmap("b", "11", a="1")),
                ("DELETED", configmap("a", "12")),
                ("ADDED", configmap("c", "13", a="1")),
                stay=True,
            ),
        )

        def until(found: list[dict[str, Any]]) -> str | None:
            names = [item["metadata"]["name"] for item in found]
            return None if names == ["b", "c"] else f"{names}"

        found = client.wait_all("v1", "ConfigMap", "here", until, labels="app=x", awaited="both", deadline_s=10)
        assert [item["data"]["a"] for item in found] == ["1", "1"]

    def test_deletion_waits_for_the_finalizers_and_not_for_a_successor(self, scripted: Scripted, client: Kube) -> None:
        said: list[str] = []

        def one(uid: str, version: str) -> dict[str, Any]:
            obj = configmap(version=version)
            obj["metadata"] |= {"uid": uid, "finalizers": ["foregroundDeletion"]}
            return obj

        answering(
            scripted,
            lambda _: web.json_response(one("u1", "10")),
            listed(one("u1", "10")),
            watched(("DELETED", one("u1", "11")), ("ADDED", one("u2", "12")), stay=True),
        )
        client.delete("v1", "ConfigMap", "one", "here", wait=True, deadline_s=10, say=said.append)
        assert said == ["waiting for v1 ConfigMap here/one gone; last seen: still there, held by foregroundDeletion"]
        assert scripted.requests[0] == f"DELETE {HERE}/one?propagationPolicy=Background"


class TestProxy:
    """What goes through to a pod."""

    def test_a_pods_own_answer_is_a_value_whatever_it_is(self, scripted: Scripted, client: Kube) -> None:
        body = {"error": "node is waiting for cluster initialization", "code": 14}
        answering(scripted, lambda _: web.json_response(body, status=503))
        status, text = client.proxy_get("here", "cockroachdb-0", 8080, "/health?ready=1", tls=True)
        assert (status, json.loads(text)) == (503, body)
        path = "/api/v1/namespaces/here/pods/https:cockroachdb-0:8080/proxy/health?ready=1"
        assert scripted.requests == [f"GET {path}"]

    def test_a_pod_that_cannot_be_asked_is_an_error(self, scripted: Scripted, client: Kube) -> None:
        refused = "error trying to reach service: dial tcp 10.0.0.1:8080: connect: connection refused"
        answering(scripted, lambda _: failure(503, "ServiceUnavailable", refused))
        with pytest.raises(KubeError, match="connection refused") as caught:
            client.proxy_get("here", "cockroachdb-0", 8080, "health", tls=False)
        assert caught.value.status == 503
