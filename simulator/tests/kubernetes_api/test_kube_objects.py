"""Objects through the API: created, read, listed, replaced, deleted."""

from __future__ import annotations

from typing import Any

import pytest

Obj = dict[str, Any]
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Obj:
    meta: Obj = {"name": name, **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def names(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["metadata"]["name"] for each in answer.json()["items"]]


def test_a_new_object_gets_identity_and_version(api: Any) -> None:
    made = api.make(CONFIGMAPS, config_map("a", k="v"))
    assert (made["kind"], made["apiVersion"], made["data"]) == ("ConfigMap", "v1", {"k": "v"})
    meta = made["metadata"]
    assert meta["namespace"] == "default"
    assert meta["uid"]
    assert meta["creationTimestamp"].endswith("Z")
    assert int(meta["resourceVersion"]) == api.store.version


def test_a_name_is_made_from_a_prefix(api: Any) -> None:
    made = api.make(CONFIGMAPS, {"metadata": {"generateName": "job-"}})
    assert len(made["metadata"]["name"]) == len("job-") + 5


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason", "message"),
    [
        ("GET", f"{CONFIGMAPS}/x", None, 404, "NotFound", 'configmaps "x" not found'),
        (
            "GET",
            "/apis/apps/v1/namespaces/default/deployments/x",
            None,
            404,
            "NotFound",
            'deployments.apps "x" not found',
        ),
        ("POST", CONFIGMAPS, config_map("taken"), 409, "AlreadyExists", 'configmaps "taken" already exists'),
        (
            "POST",
            "/api/v1/namespaces/nowhere/configmaps",
            config_map("a"),
            404,
            "NotFound",
            'namespaces "nowhere" not found',
        ),
        ("POST", CONFIGMAPS, {"kind": "Secret"}, 400, "BadRequest", "cannot be handled as a ConfigMap"),
        ("POST", CONFIGMAPS, {"apiVersion": "v2"}, 400, "BadRequest", "does not match the expected API version (v1)"),
        (
            "POST",
            CONFIGMAPS,
            config_map("A_b"),
            422,
            "Invalid",
            'ConfigMap "A_b" is invalid: metadata.name: Invalid value',
        ),
        ("PUT", f"{CONFIGMAPS}/b", config_map("a"), 400, "BadRequest", "does not match the name on the URL (b)"),
        ("PUT", f"{CONFIGMAPS}/none", config_map("none"), 404, "NotFound", 'configmaps "none" not found'),
        ("DELETE", f"{CONFIGMAPS}/x", None, 404, "NotFound", 'configmaps "x" not found'),
        ("POST", "/api/v1/configmaps", config_map("a"), 405, "MethodNotAllowed", "does not allow this method"),
    ],
)
def test_refusals_have_the_words_of_the_real_server(
    api: Any, method: str, path: str, body: Obj | None, code: int, reason: str, message: str
) -> None:
    api.make(CONFIGMAPS, config_map("taken"))
    answer = api.call(method, path, body)
    status = answer.json()
    assert (answer.status_code, status["kind"], status["reason"], status["code"]) == (code, "Status", reason, code)
    assert message in status["message"]
    assert api.world.unknown == []


def test_an_old_version_cannot_replace_a_newer_one(api: Any) -> None:
    old = api.make(CONFIGMAPS, config_map("a", k="1"))
    api.call("PUT", f"{CONFIGMAPS}/a", {**old, "data": {"k": "2"}})
    answer = api.call("PUT", f"{CONFIGMAPS}/a", {**old, "data": {"k": "3"}})
    assert answer.status_code == 409
    assert answer.json()["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to '
        "the latest version and try again"
    )


def test_replacing_an_object_by_itself_is_no_change(api: Any) -> None:
    made = api.make(CONFIGMAPS, config_map("a", k="1"))
    assert api.call("PUT", f"{CONFIGMAPS}/a", made).json() == made


def test_generation_counts_what_is_wanted_not_what_is_reported(api: Any, make_deployment: Any) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    made = api.make(path, make_deployment("web"))
    made["spec"]["replicas"] = 5
    again = api.call("PUT", f"{path}/web", made).json()
    again["status"] = {"replicas": 5}
    reported = api.call("PUT", f"{path}/web/status", again).json()
    assert [each["metadata"]["generation"] for each in (made, again, reported)] == [1, 2, 2]
    assert reported["status"] == {"replicas": 5}
    ignored = api.call("PUT", f"{path}/web", {**reported, "status": {"replicas": 9}}).json()
    assert ignored["status"] == {"replicas": 5}


def test_a_finalizer_keeps_a_deleted_object_until_it_is_taken_off(api: Any) -> None:
    api.make(CONFIGMAPS, {"metadata": {"name": "a", "finalizers": ["example.com/hold"]}})
    held = api.call("DELETE", f"{CONFIGMAPS}/a").json()
    assert held["metadata"]["deletionTimestamp"]
    held["metadata"]["finalizers"] = []
    api.call("PUT", f"{CONFIGMAPS}/a", held)
    assert api.call("GET", f"{CONFIGMAPS}/a").status_code == 404


def test_foreground_deletion_waits_for_the_collector(api: Any, make_deployment: Any) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    api.make(path, make_deployment("web"))
    held = api.call("DELETE", f"{path}/web", {"propagationPolicy": "Foreground"}).json()
    assert held["metadata"]["finalizers"] == ["foregroundDeletion"]


def test_deleting_a_job_leaves_its_pods_unless_told_otherwise(api: Any) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "app:1"}]}}
    path = "/apis/batch/v1/namespaces/default/jobs"
    for name, options, finalizers in (("a", None, ["orphan"]), ("b", {"propagationPolicy": "Background"}, None)):
        api.make(path, {"metadata": {"name": name}, "spec": {"template": template}})
        answer = api.call("DELETE", f"{path}/{name}", options)
        assert answer.json().get("metadata", {}).get("finalizers") == finalizers
        assert ("child pods are preserved" in answer.headers.get("Warning", "")) == bool(finalizers)


def test_deletion_of_another_object_of_that_name_is_refused(api: Any) -> None:
    api.make(CONFIGMAPS, config_map("a"))
    answer = api.call("DELETE", f"{CONFIGMAPS}/a", {"preconditions": {"uid": "other"}})
    assert answer.status_code == 409
    assert "Precondition failed: UID in precondition: other, UID in object meta: " in answer.json()["message"]


def test_a_running_pod_is_given_time_and_an_unscheduled_one_is_not(api: Any, make_pod: Any) -> None:
    api.run_pod("running")
    ending = api.call("DELETE", f"{PODS}/running").json()
    assert ending["metadata"]["deletionGracePeriodSeconds"] == 30
    assert api.call("DELETE", f"{PODS}/running?gracePeriodSeconds=0").status_code == 200
    assert api.call("GET", f"{PODS}/running").status_code == 404
    api.make(PODS, make_pod("waiting"))
    api.call("DELETE", f"{PODS}/waiting")
    assert api.call("GET", f"{PODS}/waiting").status_code == 404


def test_a_namespace_being_deleted_takes_nothing_new_and_waits_for_its_end(api: Any) -> None:
    api.make("/api/v1/namespaces", {"metadata": {"name": "n"}})
    going = api.call("DELETE", "/api/v1/namespaces/n").json()
    assert going["status"]["phase"] == "Terminating"
    answer = api.call("POST", "/api/v1/namespaces/n/configmaps", config_map("a"))
    assert answer.status_code == 403
    assert answer.json()["message"] == (
        'configmaps "a" is forbidden: unable to create new content in namespace n because it is being terminated'
    )
    api.call("PUT", "/api/v1/namespaces/n/finalize", {**going, "spec": {}})
    assert api.call("GET", "/api/v1/namespaces/n").status_code == 404


def test_the_systems_own_namespaces_cannot_be_deleted(api: Any) -> None:
    assert api.call("DELETE", "/api/v1/namespaces/kube-system").status_code == 403


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app=web", ["a", "b"]),
        ("app==web,tier!=db", ["a"]),
        ("app in (web, api)", ["a", "b", "c"]),
        ("app notin (web),app", ["c"]),
        ("tier", ["b", "c"]),
        ("!tier", ["a", "d"]),
        ("app=web,tier in (db)", ["b"]),
        ("size>3", ["c"]),
        ("size<9,size>1", ["b", "c"]),
    ],
)
def test_label_selectors_have_the_whole_grammar(api: Any, selector: str, expected: list[str]) -> None:
    labels = {
        "a": {"app": "web"},
        "b": {"app": "web", "tier": "db", "size": "2"},
        "c": {"app": "api", "tier": "x", "size": "5"},
    }
    for name in "abcd":
        api.make(CONFIGMAPS, config_map(name, labels.get(name)))
    assert names(api.call("GET", CONFIGMAPS, params={"labelSelector": selector})) == expected


def test_field_selectors_choose_by_what_a_kind_allows(api: Any, make_pod: Any) -> None:
    api.run_pod("one")
    api.make(PODS, make_pod("two"))
    by_node = {"fieldSelector": "spec.nodeName=node1,status.phase!=Pending"}
    assert names(api.call("GET", PODS, params=by_node)) == ["one"]
    assert names(api.call("GET", "/api/v1/pods", params={"fieldSelector": "metadata.name=two"})) == ["two"]
    answer = api.call("GET", CONFIGMAPS, params={"fieldSelector": "data.x=y"})
    assert answer.status_code == 400
    assert '"data.x" is not a known field selector' in answer.json()["message"]
    answer = api.call("GET", PODS, params={"fieldSelector": "spec.bogus=y"})
    assert (answer.status_code, answer.json()["message"]) == (400, "field label not supported: spec.bogus")


def test_a_list_in_parts_is_one_view_whatever_happens_between(api: Any) -> None:
    for at in range(5):
        api.make(CONFIGMAPS, config_map(f"c{at}"))
    first = api.call("GET", CONFIGMAPS, params={"limit": 2}).json()
    assert first["metadata"]["remainingItemCount"] == 3
    api.call("DELETE", f"{CONFIGMAPS}/c3")
    api.make(CONFIGMAPS, config_map("c2-new"))
    rest: list[str] = []
    token = first["metadata"]["continue"]
    while token:
        page = api.call("GET", CONFIGMAPS, params={"limit": 2, "continue": token}).json()
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        rest += [each["metadata"]["name"] for each in page["items"]]
        token = page["metadata"].get("continue")
    assert rest == ["c2", "c3", "c4"]


def test_a_continue_token_expires_with_the_history(api: Any) -> None:
    for at in range(3):
        api.make(CONFIGMAPS, config_map(f"c{at}"))
    token = api.call("GET", CONFIGMAPS, params={"limit": 1}).json()["metadata"]["continue"]
    api.make(CONFIGMAPS, config_map("later"))
    api.store.compact()
    answer = api.call("GET", CONFIGMAPS, params={"limit": 1, "continue": token})
    assert (answer.status_code, answer.json()["reason"]) == (410, "Expired")


def test_a_version_of_the_future_is_refused(api: Any) -> None:
    answer = api.call("GET", CONFIGMAPS, params={"resourceVersion": "999999"})
    assert answer.status_code == 504
    assert answer.json()["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_a_collection_can_be_deleted_by_selector(api: Any) -> None:
    for name, app in (("a", "x"), ("b", "y"), ("c", "x")):
        api.make(CONFIGMAPS, config_map(name, {"app": app}))
    api.call("DELETE", CONFIGMAPS, params={"labelSelector": "app=x"})
    assert names(api.call("GET", CONFIGMAPS)) == ["b"]


def test_a_dry_run_leaves_no_trace(api: Any) -> None:
    before = api.store.version
    assert api.call("POST", f"{CONFIGMAPS}?dryRun=All", config_map("a")).status_code == 201
    assert api.call("POST", f"{CONFIGMAPS}?dryRun=Some", config_map("a")).status_code == 422
    assert (api.store.version, api.world.writes["kube"]) == (before, 0)


def test_unknown_fields_are_refused_warned_of_or_dropped_as_asked(api: Any) -> None:
    body = {**config_map("a"), "spec": {"x": 1}}
    strict = api.call("POST", f"{CONFIGMAPS}?fieldValidation=Strict", body)
    assert strict.status_code == 400
    assert strict.json()["message"] == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "spec"'
    )
    warned = api.call("POST", CONFIGMAPS, body)
    assert warned.headers["Warning"] == '299 - "unknown field \\"spec\\""'
    assert "spec" not in warned.json()
    silent = api.call("POST", f"{CONFIGMAPS}?fieldValidation=Ignore", {**body, "metadata": {"name": "b"}})
    assert "Warning" not in silent.headers


def test_a_mistyped_value_is_named_as_go_does(api: Any, make_deployment: Any) -> None:
    answer = api.call("POST", "/apis/apps/v1/namespaces/default/deployments", make_deployment("web", replicas="two"))
    assert answer.status_code == 400
    assert answer.json()["message"] == (
        'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct '
        "field DeploymentSpec.spec.replicas of type int32"
    )


def test_yaml_goes_in_and_comes_out(api: Any) -> None:
    body = "metadata: {name: a}\ndata:\n  day: '2026-11-23'\n"
    made = api.call("POST", CONFIGMAPS, body, media="application/yaml")
    assert made.json()["data"] == {"day": "2026-11-23"}
    shown = api.call("GET", f"{CONFIGMAPS}/a", headers={"Accept": "application/yaml"})
    assert "kind: ConfigMap\n" in shown.text


@pytest.mark.parametrize(
    ("headers", "media", "code"),
    [
        ({"Accept": "application/vnd.kubernetes.protobuf"}, "application/json", 406),
        ({"Accept": "application/vnd.kubernetes.protobuf,application/json"}, "application/json", 201),
        ({}, "application/cbor", 415),
    ],
)
def test_forms_that_are_not_spoken_are_refused(api: Any, headers: dict[str, str], media: str, code: int) -> None:
    assert api.call("POST", CONFIGMAPS, config_map("a"), media=media, headers=headers).status_code == code


def test_a_table_has_columns_rows_and_the_metadata_of_its_objects(api: Any) -> None:
    api.run_pod("one")
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    table = api.call("GET", PODS, headers={"Accept": accept}).json()
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    shown = [each["name"] for each in table["columnDefinitions"] if each["priority"] == 0]
    assert shown == ["Name", "Ready", "Status", "Restarts", "Age"]
    row = table["rows"][0]
    assert row["cells"][:4] == ["one", "1/1", "Running", "0"]
    assert row["object"]["kind"] == "PartialObjectMetadata"


def test_only_metadata_is_answered_when_asked(api: Any) -> None:
    api.make(CONFIGMAPS, config_map("a", k="v"))
    accept = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    found = api.call("GET", CONFIGMAPS, headers=accept).json()
    assert found["kind"] == "PartialObjectMetadataList"
    assert "data" not in found["items"][0]


def test_every_write_is_counted_and_nothing_else(api: Any) -> None:
    api.make(CONFIGMAPS, config_map("a"))
    api.call("PATCH", f"{CONFIGMAPS}/a", {}, media="application/merge-patch+json")
    api.call("GET", f"{CONFIGMAPS}/a")
    review = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    answer = api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    assert answer.json()["status"] == {"allowed": True}
    api.call("DELETE", f"{CONFIGMAPS}/a")
    assert api.world.writes["kube"] == 3


def test_scale_is_a_view_of_replicas(api: Any, make_deployment: Any) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    api.make(path, make_deployment("web"))
    scale = api.call("GET", f"{path}/web/scale").json()
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 2}, "app=web")
    api.call("PATCH", f"{path}/web/scale", {"spec": {"replicas": 7}}, media="application/merge-patch+json")
    assert api.call("GET", f"{path}/web").json()["spec"]["replicas"] == 7


def test_an_eviction_respects_the_budget(api: Any) -> None:
    api.run_pod("one", labels={"app": "x"})
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}
    api.make("/apis/policy/v1/namespaces/default/poddisruptionbudgets", budget)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "one"}}
    refused = api.call("POST", f"{PODS}/one/eviction", eviction)
    assert (refused.status_code, refused.json()["reason"]) == (429, "TooManyRequests")
    api.call("DELETE", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b")
    assert api.call("POST", f"{PODS}/one/eviction", eviction).status_code == 201
    assert api.call("GET", f"{PODS}/one").json()["metadata"]["deletionTimestamp"]
