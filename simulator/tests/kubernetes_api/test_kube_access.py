"""Who a request is taken to come from, what a review says of it, and how a refusal is worded."""

from __future__ import annotations

from typing import Any

import pytest
import requests

SPACE = "/api/v1/namespaces/default"
ACCOUNTS = f"{SPACE}/serviceaccounts"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1"


def as_account(api: Any, path: str, name: str = "default", method: str = "GET") -> requests.Response:
    """A request with a token of a service account of namespace default."""
    if name != "default" or api.call("GET", f"{ACCOUNTS}/default").status_code == 404:
        api.call("POST", ACCOUNTS, {"metadata": {"name": name}})
    token = api.call("POST", f"{ACCOUNTS}/{name}/token", {"spec": {}}).json()["status"]["token"]
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {token}"}
        return session.request(method, api.url + path, verify=api.session.verify, headers=headers, timeout=10)


def test_an_impersonated_user_may_only_what_it_may(api: Any) -> None:
    headers = {"Impersonate-User": "bob"}
    answer = api.call("GET", f"{SPACE}/pods", headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (
        403,
        'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default"',
    )
    headers["Impersonate-Group"] = "system:masters"
    assert api.call("GET", f"{SPACE}/pods", headers=headers).status_code == 200


def test_an_impersonated_account_has_the_groups_of_its_namespace(api: Any) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    headers = {"Impersonate-User": "system:serviceaccount:default:robot"}
    info = api.call("POST", path, {}, headers=headers).json()["status"]["userInfo"]
    assert info["username"] == "system:serviceaccount:default:robot"
    assert info["groups"] == ["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:default"]


def test_groups_cannot_be_impersonated_without_a_user(api: Any) -> None:
    answer = api.call("GET", f"{SPACE}/pods", headers={"Impersonate-Group": "system:masters"})
    assert (answer.status_code, answer.json()["reason"]) == (500, "InternalError")
    assert "without impersonating a user" in answer.json()["message"]


def test_a_refused_subresource_is_named_in_what_is_refused_and_not_in_the_object(api: Any) -> None:
    refused = as_account(api, f"{SPACE}/pods/p/log").json()
    assert refused["message"] == (
        'pods "p" is forbidden: User "system:serviceaccount:default:default" cannot get resource "pods/log" '
        'in API group "" in the namespace "default"'
    )
    assert refused["details"] == {"name": "p", "kind": "pods"}


def test_a_namespace_is_in_itself(api: Any) -> None:
    account = {"kind": "ServiceAccount", "name": "robot", "namespace": "default"}
    rules = [{"verbs": ["get"], "apiGroups": [""], "resources": ["namespaces", "pods/log"]}]
    api.make(f"{RBAC}/namespaces/default/roles", {"metadata": {"name": "r"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    binding = {"metadata": {"name": "r"}, "subjects": [account], "roleRef": reference}
    api.make(f"{RBAC}/namespaces/default/rolebindings", binding)
    assert as_account(api, SPACE, "robot").status_code == 200
    assert as_account(api, f"{SPACE}/pods/none/log", "robot").status_code == 404
    refused = as_account(api, "/api/v1/namespaces/kube-system", "robot").json()
    assert refused["message"].endswith('in the namespace "kube-system"')


@pytest.mark.parametrize("path", ["/", "/metrics", "/logs", "/apisomething"])
def test_a_path_that_is_no_resource_is_refused_by_its_path(api: Any, path: str) -> None:
    refused = as_account(api, path).json()
    assert refused["message"] == f'forbidden: User "system:serviceaccount:default:default" cannot get path "{path}"'


def test_rules_for_paths_count(api: Any) -> None:
    rules = [{"verbs": ["get"], "nonResourceURLs": ["/metrics/*", "/"]}]
    api.make(f"{RBAC}/clusterroles", {"metadata": {"name": "r"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}
    subjects = [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:serviceaccounts"}]
    api.make(f"{RBAC}/clusterrolebindings", {"metadata": {"name": "r"}, "subjects": subjects, "roleRef": reference})
    assert as_account(api, "/").status_code == 200
    assert as_account(api, "/metrics").status_code == 403


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("selfsubjectaccessreviews", {}, "spec.resourceAttributes"),
        ("subjectaccessreviews", {"resourceAttributes": {"verb": "get", "resource": "pods"}}, "spec.user"),
        (
            "selfsubjectaccessreviews",
            {"resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"verb": "get", "path": "/"}},
            "spec.nonResourceAttributes",
        ),
    ],
)
def test_a_review_that_asks_nothing_or_too_much_is_not_valid(api: Any, kind: str, spec: Any, field: str) -> None:
    answer = api.call("POST", f"{REVIEWS}/{kind}", {"spec": spec})
    assert (answer.status_code, answer.json()["details"]["causes"][0]["field"]) == (422, field)


def test_a_review_tells_a_subresource_from_its_object(api: Any) -> None:
    attributes = {"verb": "get", "resource": "pods", "subresource": "log", "namespace": "default"}
    answer = api.call(
        "POST", f"{REVIEWS}/subjectaccessreviews", {"spec": {"user": "x", "resourceAttributes": attributes}}
    )
    assert answer.json()["status"] == {"allowed": False}


def test_a_token_review_needs_a_token(api: Any) -> None:
    answer = api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {}})
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")
