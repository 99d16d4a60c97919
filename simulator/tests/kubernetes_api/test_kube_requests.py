"""What a request may ask for, and the answers to those that ask what they may not."""

from __future__ import annotations

import json
from typing import Any

import pytest

SPACE = "/api/v1/namespaces/default"
CONFIGMAPS = f"{SPACE}/configmaps"
PODS = f"{SPACE}/pods"
CLAIMS = f"{SPACE}/persistentvolumeclaims"
SETS = "/apis/apps/v1/namespaces/default/statefulsets"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
MERGE = "application/merge-patch+json"


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("limit=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("resourceVersionMatch=Exact", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            422,
            'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
        ),
        ("resourceVersionMatch=Newer&resourceVersion=1", 422, 'supported values: "Exact", "NotOlderThan"'),
        ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
        ("watch=1&resourceVersionMatch=NotOlderThan", 422, "forbidden for watch unless sendInitialEvents is provided"),
        ("watch=1&sendInitialEvents=true", 422, "requires setting resourceVersionMatch to NotOlderThan"),
    ],
)
def test_contradictory_list_options_are_refused(api: Any, query: str, code: int, message: str) -> None:
    answer = api.call("GET", f"{CONFIGMAPS}?{query}")
    assert answer.status_code == code
    assert message in answer.json()["message"]


def test_the_old_watch_paths_still_watch(api: Any) -> None:
    api.make(CONFIGMAPS, {"metadata": {"name": "a"}})
    answer = api.call("GET", "/api/v1/watch/namespaces/default/configmaps/a?timeoutSeconds=1")
    assert [json.loads(line)["object"]["metadata"]["name"] for line in answer.text.splitlines()] == ["a"]


def test_a_field_given_twice_is_refused_or_warned_of(api: Any) -> None:
    body = '{"metadata": {"name": "a"}, "data": {"a": "1"}, "data": {"a": "2"}}'
    refused = api.call("POST", f"{CONFIGMAPS}?fieldValidation=Strict", body)
    assert refused.status_code == 400
    assert refused.json()["message"].endswith('strict decoding error: duplicate field "data"')
    warned = api.call("POST", f"{CONFIGMAPS}?fieldValidation=Warn", body)
    assert (warned.status_code, warned.headers["Warning"]) == (201, '299 - "duplicate field \\"data\\""')


def test_a_json_patch_that_does_not_apply_says_no_more_than_that(api: Any) -> None:
    api.make(CONFIGMAPS, {"metadata": {"name": "a"}})
    patch = [{"op": "test", "path": "/metadata/name", "value": "b"}]
    answer = api.call("PATCH", f"{CONFIGMAPS}/a", patch, media="application/json-patch+json")
    assert (answer.status_code, answer.json()["reason"]) == (422, "Invalid")
    assert answer.json()["message"] == "the server rejected our request due to an error in our request"


def test_finalizers_of_built_in_kinds_are_qualified_and_none_is_added_to_what_is_going(api: Any) -> None:
    api.make(CONFIGMAPS, {"metadata": {"name": "a", "finalizers": ["example.com/keep"]}})

    def patch(finalizers: list[str]) -> Any:
        return api.call("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"finalizers": finalizers}}, media=MERGE)

    assert "neither a standard finalizer name nor is it fully qualified" in patch(["bad"]).json()["message"]
    api.call("DELETE", f"{CONFIGMAPS}/a")
    refused = patch(["example.com/keep", "example.com/more"])
    assert refused.status_code == 422
    assert 'found new finalizers []string{"example.com/more"}' in refused.json()["message"]
    assert patch([]).status_code == 200
    assert api.call("GET", f"{CONFIGMAPS}/a").status_code == 404


def test_deprecated_kinds_come_with_a_warning(api: Any) -> None:
    assert "EndpointSlice" in api.call("GET", f"{SPACE}/endpoints").headers["Warning"]
    assert "Warning" not in api.call("GET", CONFIGMAPS).headers


def test_component_statuses_can_only_be_read(api: Any) -> None:
    answer = api.call("POST", "/api/v1/componentstatuses", {"metadata": {"name": "x"}})
    assert answer.status_code == 405


# Subresources.


def test_a_scale_is_held_against_its_own_type(api: Any, make_pod: Any) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": make_pod("x")["spec"]}
    selector = {"matchLabels": {"a": "b"}}
    api.make(
        SETS, {"metadata": {"name": "s"}, "spec": {"serviceName": "s", "selector": selector, "template": template}}
    )

    def put(body: Any) -> Any:
        return api.call("PUT", f"{SETS}/s/scale", body).json()

    assert put({"spec": {"replicas": -1}})["message"].startswith('Scale.autoscaling "s" is invalid: spec.replicas')
    assert put({"metadata": {"name": "other"}, "spec": {"replicas": 1}})["code"] == 400
    assert put({"metadata": {"name": "s"}, "spec": {"replicas": 2}})["spec"] == {"replicas": 2}


def evict(api: Any, pod: str, name: str = "") -> Any:
    """Ask for an eviction."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name or pod}}
    return api.call("POST", f"{PODS}/{pod}/eviction", body)


def test_an_eviction_names_its_pod(api: Any) -> None:
    api.run_pod("p")
    assert evict(api, "p", "other").json()["message"] == "name in URL does not match name in Eviction object"


def test_a_budget_chosen_by_expressions_holds_off_an_eviction(api: Any) -> None:
    api.run_pod("p")
    api.call("PATCH", f"{PODS}/p", {"metadata": {"labels": {"app": "db"}}}, media=MERGE)
    selector = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["db"]}]}
    api.make(BUDGETS, {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": selector}})
    state = {"status": {"desiredHealthy": 2, "currentHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 2}}
    api.call("PATCH", f"{BUDGETS}/b/status", state, media=MERGE)
    refused = evict(api, "p")
    assert (refused.status_code, refused.json()["reason"]) == (429, "TooManyRequests")
    assert refused.json()["details"]["causes"] == [
        {"reason": "DisruptionBudget", "message": "The disruption budget b needs 2 healthy pods and has 1 currently"}
    ]
    state["status"]["disruptionsAllowed"] = 1
    api.call("PATCH", f"{BUDGETS}/b/status", state, media=MERGE)
    assert evict(api, "p").status_code == 201
    assert api.call("GET", f"{BUDGETS}/b").json()["status"]["disruptionsAllowed"] == 0


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("tailLines=-1", 422, "must be greater than or equal to 0"),
        ("limitBytes=0", 422, "must be greater than 0"),
        ("tailLines=x", 400, "invalid syntax"),
        ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", 422, "at most one of"),
        ("previous=true", 400, 'previous terminated container "main" in pod "p" not found'),
        ("sinceTime=yesterday", 400, 'parsing time "yesterday"'),
    ],
)
def test_log_options_that_cannot_be_met_are_refused(api: Any, query: str, code: int, message: str) -> None:
    api.run_pod("p")
    answer = api.call("GET", f"{PODS}/p/log?{query}")
    assert answer.status_code == code
    assert message in answer.json()["message"]


def test_lines_of_a_log_have_the_time_at_which_they_were_written(api: Any) -> None:
    api.run_pod("p")
    runtime, now = api.cluster.runtime, api.world.clock.now()

    def text(query: str) -> Any:
        return api.call("GET", f"{PODS}/p/log?{query}").text

    runtime.first = 1767225600.25
    stamps = [f"2026-01-01T00:00:0{second}.250000000Z" for second in range(3)]
    assert text("timestamps=true") == f"{stamps[0]} one\n{stamps[1]} two\n{stamps[2]} three\n"
    assert text("sinceTime=2026-01-01T00:00:01Z") == "two\nthree\n"
    assert text("sinceTime=2026-01-01T01:00:02%2B01:00&tailLines=2") == "three\n"
    assert text("sinceSeconds=60") == ""
    runtime.first = now - 30
    assert text("sinceSeconds=3600&limitBytes=5") == "one\nt"


@pytest.mark.parametrize("sub", ["ephemeralcontainers", "resize"])
def test_what_no_kubelet_here_does_is_not_taken(api: Any, sub: str) -> None:
    api.run_pod("p")
    answer = api.call("PATCH", f"{PODS}/p/{sub}", {"spec": {}}, media=MERGE)
    assert (answer.status_code, answer.json()["reason"]) == (501, "NotImplemented")


def test_a_claim_grows_only_when_bound_and_its_class_lets_it_and_never_shrinks(api: Any) -> None:
    classes = "/apis/storage.k8s.io/v1/storageclasses"
    api.make(classes, {"metadata": {"name": "fixed"}, "provisioner": "example.com/x"})
    requests = {"requests": {"storage": "2Gi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "fixed", "resources": requests}
    api.make(CLAIMS, {"metadata": {"name": "c"}, "spec": spec})

    def ask(size: str) -> Any:
        body = {"spec": {"resources": {"requests": {"storage": size}}}}
        return api.call("PATCH", f"{CLAIMS}/c", body, media=MERGE)

    assert "spec is immutable after creation" in ask("3Gi").json()["message"]
    bound = {"status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}}
    api.call("PATCH", f"{CLAIMS}/c/status", bound, media=MERGE)
    assert "field can not be less than status.capacity" in ask("1Gi").json()["message"]
    assert (ask("3Gi").status_code, "must support resize" in ask("3Gi").json()["message"]) == (403, True)
    api.call("PATCH", f"{classes}/fixed", {"allowVolumeExpansion": True}, media=MERGE)
    assert ask("3Gi").status_code == 200


# The schemas as one document.


def test_the_swagger_document_is_whole(api: Any) -> None:
    document = api.call("GET", "/openapi/v2").json()
    known = set(document["definitions"])
    text = json.dumps(document["definitions"])
    assert document["swagger"] == "2.0"
    assert {each.partition('"')[0] for each in text.split('"#/definitions/')[1:]} <= known
    patch = document["paths"]["/api/v1/namespaces/{namespace}/configmaps/{name}"]["patch"]
    assert "dryRun" in [each["name"] for each in patch["parameters"]]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}


def test_the_swagger_document_comes_as_a_protocol_buffer_and_once(api: Any) -> None:
    media = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    answer = api.call("GET", "/openapi/v2", headers={"Accept": media})
    assert answer.content[:5] == b"\x0a\x032.0"
    headers = {"Accept": media, "If-None-Match": answer.headers["Etag"]}
    assert api.call("GET", "/openapi/v2", headers=headers).status_code == 304


@pytest.mark.parametrize(
    ("path", "spec"),
    [
        ("/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", {"podSelector": {}}),
        ("/api/v1/namespaces/default/resourcequotas", {"hard": {"pods": "1"}}),
    ],
)
def test_what_nothing_acts_on_is_kept_with_a_warning(api: Any, path: str, spec: Any) -> None:
    answer = api.call("POST", path, {"metadata": {"name": "n"}, "spec": spec})
    assert answer.status_code == 201
    assert answer.headers["Warning"].endswith(f'keeps the {answer.json()["kind"]} but does not act on it"')
    assert "Warning" not in api.call("PATCH", f"{path}/n", {"metadata": {"labels": {"a": "b"}}}, media=MERGE).headers
