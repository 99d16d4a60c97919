"""The doors: who is let in, what they say of themselves, when they are open."""

from __future__ import annotations

import base64
import dataclasses
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from cryptography import x509

Obj = dict[str, Any]


def get(api: Any, path: str, token: str | None = None) -> requests.Response:
    """A GET without a client certificate."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with requests.Session() as session:
        session.trust_env = False
        return session.get(api.url + path, verify=api.session.verify, headers=headers, timeout=10)


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def answers(address: str) -> bool:
    try:
        socket.create_connection((address, 6443), timeout=1).close()
    except OSError:
        return False
    return True


# Who is let in.


@pytest.mark.parametrize("path", ["/cacerts", "/ping"])
def test_a_stranger_may_ask_the_supervisor_for_what_a_server_needs_to_join(api: Any, path: str) -> None:
    assert get(api, path).status_code == 200


@pytest.mark.parametrize("path", ["/version", "/livez", "/readyz", "/api", "/apis", "/openapi/v3", "/nothing"])
def test_a_stranger_may_ask_nothing_else(api: Any, path: str) -> None:
    answer = get(api, path)
    assert (answer.status_code, answer.json()["reason"], answer.json()["message"]) == (
        401,
        "Unauthorized",
        "Unauthorized",
    )


def test_a_token_is_worth_nothing_and_loud(api: Any) -> None:
    assert get(api, "/api", "rubbish").status_code == 401
    assert [each.what for each in api.world.unknown] == ["GET /api with a token"]


def as_user(api: Any, folder: Path, name: str, *groups: str, now: float) -> Callable[[str], requests.Response]:
    """Requests with a client certificate that the cluster issued at a time to a user in these groups."""
    issued = api.cluster.authority.client_certificate(name, groups, now=now)
    (folder / f"{name}.pem").write_text(issued.certificate_pem + issued.key_pem)

    def ask(path: str) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            where = str(folder / f"{name}.pem")
            return session.get(api.url + path, verify=api.session.verify, cert=where, timeout=10)

    return ask


def test_only_administrators_get_anywhere(api: Any, tmp_path: Path) -> None:
    now = api.world.clock.now()
    bob = as_user(api, tmp_path, "bob", "developers", now=now)
    refused = bob("/api/v1/namespaces/default/pods").json()
    assert refused["code"] == 403
    assert refused["message"] == 'forbidden: User "bob" cannot get path "/api/v1/namespaces/default/pods"'
    admin = as_user(api, tmp_path, "alice", "system:masters", now=now)
    assert admin("/api/v1/namespaces/default/pods").status_code == 200


def test_a_client_certificate_that_has_expired_is_refused(api: Any, tmp_path: Path) -> None:
    now = api.world.clock.now()
    fresh = as_user(api, tmp_path, "fresh", "system:masters", now=now - 364 * 86400)
    late = as_user(api, tmp_path, "late", "system:masters", now=now - 366 * 86400)
    assert (fresh("/api/v1/pods").status_code, late("/api/v1/pods").status_code) == (200, 401)


def test_a_server_renews_its_certificate_when_it_starts_near_its_end_and_not_before(api: Any) -> None:
    authority, now = api.cluster.authority, api.world.clock.now()
    held = authority.server_certificate("node9", ["localhost"], now=now)
    assert authority.server_certificate("node9", ["localhost"], now=held.ends - 91 * 86400) is held
    renewed = authority.server_certificate("node9", ["localhost"], now=held.ends - 89 * 86400)
    assert renewed.ends > held.ends


def test_a_server_that_runs_past_the_end_of_its_certificate_is_refused_by_its_clients(api: Any) -> None:
    assert get(api, "/ping").text == "pong"
    door = next(iter(api.doors._doors.values()))
    door._certificate = dataclasses.replace(door._certificate, ends=api.world.clock.now())
    with pytest.raises(requests.exceptions.SSLError, match="certificate has expired"):
        get(api, "/ping")


def test_the_ca_of_the_servers_is_given_to_anyone(api: Any) -> None:
    assert get(api, "/cacerts").text == api.cluster.authority.ca_pem


def test_the_certificate_names_the_server_as_k3s_does(api: Any) -> None:
    with socket.create_connection((api.address, 6443), timeout=5) as raw:
        context = ssl.create_default_context(cafile=api.session.verify)
        with context.wrap_socket(raw, server_hostname=api.address) as secure:
            certificate = x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(each) for each in names.get_values_for_type(x509.IPAddress)}
    assert {"127.0.0.1", api.address, "10.1.0.4", "10.96.0.1"} <= addresses
    assert {"kubernetes.default.svc.cluster.local", "localhost", "node1"} <= set(
        names.get_values_for_type(x509.DNSName)
    )
    assert certificate.subject.rfc4514_string() == "CN=k3s,O=k3s"


def test_the_kubeconfig_is_the_one_that_k3s_writes(api: Any) -> None:
    config = yaml.safe_load(api.cluster.authority.kubeconfig("https://127.0.0.1:6443", now=api.world.clock.now()))
    assert (config["current-context"], config["contexts"][0]["context"]) == (
        "default",
        {"cluster": "default", "user": "default"},
    )
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    data = base64.b64decode(config["users"][0]["user"]["client-certificate-data"])
    subject = x509.load_pem_x509_certificate(data).subject.rfc4514_string()
    assert subject == "CN=system:admin,O=system:masters"


# When the doors are open.


def test_a_denied_source_gets_no_answer_at_all(api: Any) -> None:
    api.network.denied.add("vm1")
    with socket.create_connection((api.address, 6443), timeout=5) as raw:
        raw.sendall(b"\x16\x03\x01\x00\x05hello")
        raw.settimeout(0.3)
        with pytest.raises(TimeoutError):
            raw.recv(1)
    api.network.denied.clear()
    assert get(api, "/ping").text == "pong"


def test_the_door_follows_the_member_and_its_machine(api: Any) -> None:
    member = api.cluster.members["node1"]
    member.running = False
    until("the door closes with its service", lambda: not answers(api.address))
    member.running = True
    until("the door opens again", lambda: answers(api.address))
    api.world.machines.clear()
    until("the door closes with its machine", lambda: not answers(api.address))


def test_the_door_follows_the_public_address(api: Any) -> None:
    old = api.address
    last = int(old.rpartition(".")[2])
    new = f"{old.rpartition('.')[0]}.{last % 250 + 1}"
    api.network.addresses["vm1"] = new
    until("the door moves", lambda: answers(new) and not answers(old))


def test_a_closing_door_ends_its_watches(api: Any) -> None:
    params = {"watch": "true", "timeoutSeconds": 60}
    with api.call("GET", "/api/v1/namespaces", params=params, stream=True) as answer:
        lines = answer.iter_lines()
        next(lines)
        api.cluster.members["node1"].running = False
        assert len(list(lines)) == 3


def test_without_a_quorum_nothing_is_served_but_the_news_of_it(api: Any) -> None:
    for name in ("node2", "node3"):
        lost = api.cluster.members["node1"]
        member = type(lost)(lost.machine, name, "server", {}, lost.version, 0.0, voter_at=0.0, running=False)
        api.cluster.members[name] = member
    answer = api.call("GET", "/api/v1/namespaces")
    assert (answer.status_code, answer.json()["reason"]) == (503, "ServiceUnavailable")
    health = api.call("GET", "/readyz")
    assert health.status_code == 500
    assert "[-]etcd failed" in health.text
    assert get(api, "/ping").status_code == 200


# What the server says of itself.


def test_the_version_is_the_clusters(api: Any) -> None:
    version = api.call("GET", "/version").json()
    assert (version["major"], version["minor"], version["gitVersion"]) == ("1", "36", "v1.36.4+k3s1")


def test_discovery_lists_groups_versions_and_resources(api: Any) -> None:
    groups = {each["name"] for each in api.call("GET", "/apis").json()["groups"]}
    assert {"apps", "batch", "rbac.authorization.k8s.io", "discovery.k8s.io", "apiextensions.k8s.io"} <= groups
    listed = api.call("GET", "/apis/apps/v1").json()
    assert listed["groupVersion"] == "apps/v1"
    found = {each["name"]: each for each in listed["resources"]}
    assert found["deployments"]["shortNames"] == ["deploy"]
    assert found["deployments/status"]["kind"] == "Deployment"
    core = {each["name"]: each for each in api.call("GET", "/api/v1").json()["resources"]}
    verbs = "create delete deletecollection get list patch update watch"
    assert (core["pods/exec"]["kind"], core["pods"]["verbs"]) == ("PodExecOptions", verbs.split())


def test_every_version_says_that_its_kinds_validate_fields(api: Any) -> None:
    paths = api.call("GET", "/openapi/v3").json()["paths"]
    document = api.call("GET", paths["apis/apps/v1"]["serverRelativeURL"]).json()
    operation = document["paths"]["/apis/apps/v1/deployments/{name}"]["patch"]
    assert operation["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert "fieldValidation" in [each["name"] for each in operation["parameters"]]


@pytest.mark.parametrize(
    "path",
    [
        "/apis/none.example.com/v1/things",
        "/api/v1/namespaces/default/things",
        "/api/v1/namespaces/default/pods/p/things",
        "/nothing",
        "/api/v2",
    ],
)
def test_a_path_that_nobody_serves_is_loud(api: Any, path: str) -> None:
    answer = api.call("GET", path)
    assert answer.status_code == 404
    if "/v1/namespaces/" in path or path == "/apis/apps/v1/things":
        assert answer.json()["message"] == "the server could not find the requested resource"
    else:
        assert (answer.text, answer.headers["Content-Type"]) == ("404 page not found\n", "text/plain; charset=utf-8")
    assert [(each.door, each.what) for each in api.world.unknown] == [("kube", f"GET {path}")]


def test_a_method_that_a_path_does_not_take_is_refused(api: Any) -> None:
    for method, path in (
        ("PUT", "/api/v1/namespaces"),
        ("POST", "/api/v1/namespaces/default"),
        ("DELETE", "/api/v1/namespaces"),
    ):
        answer = api.call(method, path, {})
        assert (answer.status_code, answer.json()["reason"]) == (405, "MethodNotAllowed")
