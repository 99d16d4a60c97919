"""The doors: who is let in, what they say of themselves, when they are open."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import time
from collections.abc import Callable
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


def test_the_ca_of_the_servers_is_given_to_anyone(api: Any) -> None:
    assert get(api, "/cacerts").text == api.cluster.authority.ca_pem


def test_a_service_account_may_do_what_it_is_bound_to(api: Any) -> None:
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    api.make(accounts, {"metadata": {"name": "robot"}})
    request = api.call("POST", f"{accounts}/robot/token", {"spec": {"expirationSeconds": 3600}})
    token = request.json()["status"]["token"]
    refused = get(api, "/api/v1/namespaces/default/pods", token)
    assert refused.status_code == 403
    assert refused.json()["message"] == (
        'pods is forbidden: User "system:serviceaccount:default:robot" cannot list resource "pods" in API group "" '
        'in the namespace "default"'
    )
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    api.make(f"{rbac}/clusterroles", {"metadata": {"name": "read"}, "rules": [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]})  # fmt: skip
    api.make(f"{rbac}/namespaces/default/rolebindings", {
        "metadata": {"name": "read"}, "roleRef": {"kind": "ClusterRole", "name": "read"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot"}]})  # fmt: skip
    assert get(api, "/api/v1/namespaces/default/pods", token).status_code == 200
    assert get(api, "/api/v1/namespaces/kube-system/pods", token).status_code == 403
    assert get(api, "/api", token).status_code == 200
    api.call("DELETE", f"{accounts}/robot")
    assert get(api, "/api/v1/namespaces/default/pods", token).status_code == 401


def test_a_token_that_was_changed_is_worth_nothing(api: Any) -> None:
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    token = api.call("POST", path, {}).json()["status"]["token"]
    head, claims, signature = token.split(".")
    changed = json.loads(base64.urlsafe_b64decode(claims + "=="))
    changed["sub"] = "system:admin"
    forged = base64.urlsafe_b64encode(json.dumps(changed).encode()).decode().rstrip("=")
    assert get(api, "/api", f"{head}.{forged}.{signature}").status_code == 401
    assert get(api, "/api", "rubbish").status_code == 401


def test_who_the_client_is_can_be_asked(api: Any) -> None:
    answer = api.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert answer.json()["status"]["userInfo"] == {
        "username": "system:admin", "groups": ["system:authenticated", "system:masters"]}  # fmt: skip


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
    config = yaml.safe_load(api.cluster.authority.kubeconfig("https://127.0.0.1:6443"))
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


def test_readiness_lists_its_checks_when_asked(api: Any) -> None:
    assert api.call("GET", "/readyz").text == "ok"
    verbose = api.call("GET", "/readyz?verbose&exclude=etcd").text
    assert "[+]etcd excluded: ok\n" in verbose
    assert verbose.endswith("readyz check passed\n")
    assert api.call("GET", "/livez/ping").text == "ok"
    assert api.call("GET", "/livez/nothing").status_code == 404


def test_discovery_lists_groups_versions_and_resources(api: Any) -> None:
    groups = {each["name"] for each in api.call("GET", "/apis").json()["groups"]}
    assert {"apps", "batch", "rbac.authorization.k8s.io", "discovery.k8s.io", "apiextensions.k8s.io"} <= groups
    listed = api.call("GET", "/apis/apps/v1").json()
    assert listed["groupVersion"] == "apps/v1"
    found = {each["name"]: each for each in listed["resources"]}
    assert found["deployments"]["shortNames"] == ["deploy"]
    assert found["deployments/scale"]["kind"] == "Scale"
    core = {each["name"]: each for each in api.call("GET", "/api/v1").json()["resources"]}
    verbs = "create delete deletecollection get list patch update watch"
    assert (core["pods/exec"]["kind"], core["pods"]["verbs"]) == ("PodExecOptions", verbs.split())


def test_discovery_comes_in_one_piece_when_asked(api: Any) -> None:
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}
    answer = api.call("GET", "/apis", headers=accept)
    assert answer.json()["kind"] == "APIGroupDiscoveryList"
    assert "as=APIGroupDiscoveryList" in answer.headers["Content-Type"]
    apps = next(each for each in answer.json()["items"] if each["metadata"]["name"] == "apps")
    names = [each["resource"] for each in apps["versions"][0]["resources"]]
    assert names == ["controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"]


def test_schemas_are_published_for_every_version(api: Any) -> None:
    paths = api.call("GET", "/openapi/v3").json()["paths"]
    document = api.call("GET", paths["apis/apps/v1"]["serverRelativeURL"]).json()
    schema = document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"]
    assert schema["x-kubernetes-group-version-kind"] == [{"group": "apps", "kind": "Deployment", "version": "v1"}]
    operation = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
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
