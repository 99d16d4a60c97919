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


def test_what_is_put_takes_the_place_of_what_is_there(api: Any) -> None:
    made = api.make(CONFIGMAPS, config_map("a", {"label": "x"}, k="v", other="w"))
    answer = api.call("PUT", f"{CONFIGMAPS}/a", config_map("a", k="changed"))
    assert answer.status_code == 200, answer.text
    put = answer.json()
    assert put["data"] == {"k": "changed"}
    assert "labels" not in put["metadata"]
    assert put["metadata"]["uid"] == made["metadata"]["uid"]
    assert put["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]
    assert int(put["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    stale = api.call("PUT", f"{CONFIGMAPS}/a", {**made, "data": {"k": "stale"}})
    assert (stale.status_code, stale.json()["reason"]) == (409, "Conflict")
    assert api.call("PUT", f"{CONFIGMAPS}/a?dryRun=All", {**put, "data": {}}).status_code == 200
    assert api.call("GET", f"{CONFIGMAPS}/a").json()["data"] == {"k": "changed"}


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason", "message"),
    [
        ("PUT", f"{CONFIGMAPS}/x", config_map("x"), 404, "NotFound", 'configmaps "x" not found'),
        ("PUT", f"{CONFIGMAPS}/x", config_map("y"), 400, "BadRequest", "does not match the name on the URL (x)"),
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
    api.merge(f"{CONFIGMAPS}/a", {**old, "data": {"k": "2"}})
    answer = api.merge(f"{CONFIGMAPS}/a", {**old, "data": {"k": "3"}})
    assert answer.status_code == 409
    assert answer.json()["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to '
        "the latest version and try again"
    )


def test_generation_counts_what_is_wanted_not_what_is_reported(api: Any, make_deployment: Any) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    made = api.make(path, make_deployment("web"))
    again = api.merge(f"{path}/web", {"spec": {"replicas": 5}}).json()
    reported = api.merge(f"{path}/web/status", {"status": {"replicas": 5}}).json()
    assert [each["metadata"]["generation"] for each in (made, again, reported)] == [1, 2, 2]
    assert reported["status"] == {"replicas": 5}
    ignored = api.merge(f"{path}/web", {"status": {"replicas": 9}}).json()
    assert ignored["status"] == {"replicas": 5}


def test_a_finalizer_keeps_a_deleted_object_until_it_is_taken_off(api: Any) -> None:
    api.make(CONFIGMAPS, {"metadata": {"name": "a", "finalizers": ["example.com/hold"]}})
    held = api.call("DELETE", f"{CONFIGMAPS}/a").json()
    assert held["metadata"]["deletionTimestamp"]
    api.merge(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": []}})
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
    api.merge("/api/v1/namespaces/n/finalize", {"spec": {"finalizers": []}})
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


@pytest.mark.parametrize(
    ("path", "params", "code", "prefix"),
    [
        (CONFIGMAPS, {"watch": "1"}, 500, ""),
        (f"{CONFIGMAPS}/a", {}, 500, ""),
        (CONFIGMAPS, {}, 400, "invalid resource version: "),
    ],
)
def test_a_version_that_is_none_is_refused(api: Any, path: str, params: Obj, code: int, prefix: str) -> None:
    refused = api.call("GET", path, params={**params, "resourceVersion": "x"})
    assert (refused.status_code, refused.json().get("reason")) == (code, "BadRequest" if code == 400 else None)
    why = 'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax'
    assert refused.json()["message"] == prefix + why


def test_a_version_of_the_future_is_refused(api: Any) -> None:
    answer = api.call("GET", CONFIGMAPS, params={"resourceVersion": "999999"})
    assert answer.status_code == 504
    assert answer.json()["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_a_dry_run_leaves_no_trace(api: Any) -> None:
    before = api.store.version
    assert api.call("POST", f"{CONFIGMAPS}?dryRun=All", config_map("a")).status_code == 201
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


@pytest.mark.parametrize(
    ("headers", "media", "code"),
    [
        ({"Accept": "application/vnd.kubernetes.protobuf"}, "application/json", 406),
        ({"Accept": "application/vnd.kubernetes.protobuf,application/json"}, "application/json", 201),
        ({"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}, "application/json", 406),
        ({}, "application/vnd.kubernetes.protobuf", 415),
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


def test_every_write_is_counted_and_nothing_else(api: Any) -> None:
    api.make(CONFIGMAPS, config_map("a"))
    api.merge(f"{CONFIGMAPS}/a", {})
    api.call("GET", f"{CONFIGMAPS}/a")
    api.call("DELETE", f"{CONFIGMAPS}/a")
    assert api.world.writes["kube"] == 3
