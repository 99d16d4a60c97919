"""Server-side apply: who owns what, who may change it, and what goes when nobody wants it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

Obj = dict[str, Any]
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
WEB = f"{DEPLOYMENTS}/web"


def config_map(data: dict[str, str], **meta: Any) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm", **meta}, "data": data}


def part(**spec: Any) -> Obj:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def containers(*entries: Obj) -> Obj:
    return part(template={"spec": {"containers": list(entries)}})


def service(*ports: Obj) -> Obj:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": list(ports)}}


def owned(obj: Obj, manager: str, operation: str = "Apply") -> Obj:
    for entry in obj["metadata"].get("managedFields", []):
        if (entry["manager"], entry["operation"]) == (manager, operation):
            return dict(entry["fieldsV1"])
    return {}


def test_applying_what_does_not_exist_creates_it_with_one_owner(api: Any, make_deployment: Any) -> None:
    answer = api.apply(WEB, make_deployment("web"), "me")
    assert answer.status_code == 201
    assert owned(answer.json(), "me") == {
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:image": {}, "f:name": {}}}},
            },
        }
    }


def test_applying_the_same_again_changes_nothing(api: Any, make_deployment: Any) -> None:
    first = api.apply(WEB, make_deployment("web"), "me").json()
    again = api.apply(WEB, make_deployment("web"), "me")
    assert (again.status_code, again.json()) == (200, first)


def test_a_created_object_is_owned_by_its_creator_defaults_included(api: Any, make_deployment: Any) -> None:
    made = api.call("POST", f"{DEPLOYMENTS}?fieldManager=creator", make_deployment("web")).json()
    spec = owned(made, "creator", "Update")["f:spec"]
    assert spec["f:strategy"] == {
        "f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}},
        "f:type": {},
    }
    assert spec["f:template"]["f:spec"]["f:containers"]['k:{"name":"main"}']["f:imagePullPolicy"] == {}


def test_one_conflict_is_named_with_its_owner_and_version(api: Any, make_deployment: Any) -> None:
    api.call("POST", f"{DEPLOYMENTS}?fieldManager=kubectl-client-side-apply", make_deployment("web"))
    answer = api.apply(WEB, part(replicas=5), "me")
    status = answer.json()
    assert (answer.status_code, status["reason"]) == (409, "Conflict")
    assert status["message"] == (
        'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas'
    )
    assert status["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-client-side-apply" using apps/v1',
            "field": ".spec.replicas",
        }
    ]


def test_several_conflicts_are_listed_by_owner(api: Any, make_deployment: Any) -> None:
    api.apply(WEB, make_deployment("web"), "first")
    config = containers({"name": "main", "image": "app:2"})
    config["spec"]["replicas"] = 9
    answer = api.apply(WEB, config, "second")
    assert answer.json()["message"] == (
        'Apply failed with 2 conflicts: conflicts with "first":\n'
        '- .spec.replicas\n- .spec.template.spec.containers[name="main"].image'
    )


def test_force_takes_a_field_over(api: Any, make_deployment: Any) -> None:
    api.apply(WEB, make_deployment("web"), "first")
    taken = api.apply(WEB, part(replicas=5), "second", force=True).json()
    assert taken["spec"]["replicas"] == 5
    assert "f:replicas" not in owned(taken, "first")["f:spec"]
    assert owned(taken, "second") == {"f:spec": {"f:replicas": {}}}


def test_an_equal_value_is_owned_together_and_stays_while_one_wants_it(api: Any) -> None:
    api.apply(f"{CONFIGMAPS}/cm", config_map({"a": "1", "b": "2"}), "first")
    shared = api.apply(f"{CONFIGMAPS}/cm", config_map({"a": "1"}), "second").json()
    assert owned(shared, "first")["f:data"] == {"f:a": {}, "f:b": {}}
    assert owned(shared, "second")["f:data"] == {"f:a": {}}
    left = api.apply(f"{CONFIGMAPS}/cm", config_map({"b": "2"}), "first").json()
    assert left["data"] == {"a": "1", "b": "2"}
    gone = api.apply(f"{CONFIGMAPS}/cm", config_map({}), "second").json()
    assert gone["data"] == {"b": "2"}


def test_a_change_by_anyone_else_takes_the_field_from_its_applier(api: Any) -> None:
    api.apply(f"{CONFIGMAPS}/cm", config_map({"a": "1", "b": "2"}), "me")
    api.call("PATCH", f"{CONFIGMAPS}/cm?fieldManager=you", {"data": {"a": "9"}}, media="application/merge-patch+json")
    answer = api.apply(f"{CONFIGMAPS}/cm", config_map({"a": "1", "b": "2"}), "me")
    assert answer.json()["message"] == 'Apply failed with 1 conflict: conflict with "you" using v1: .data.a'


def test_what_others_added_stays_when_an_applier_applies_less(api: Any) -> None:
    api.apply(f"{CONFIGMAPS}/cm", config_map({"a": "1"}, labels={"x": "1"}), "me")
    patch = {"data": {"theirs": "2"}, "metadata": {"labels": {"y": "2"}}}
    api.call("PATCH", f"{CONFIGMAPS}/cm", patch, media="application/merge-patch+json")
    left = api.apply(f"{CONFIGMAPS}/cm", config_map({"b": "1"}), "me").json()
    assert left["data"] == {"b": "1", "theirs": "2"}
    assert left["metadata"]["labels"] == {"y": "2"}


ENV_A, ENV_B = {"name": "A", "value": "1"}, {"name": "B", "value": "2"}
MAIN = {"name": "main", "image": "app:1"}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(
            [MAIN, {"name": "side", "image": "x"}], [MAIN], ["main"], id="an element that is applied no more goes"
        ),
        pytest.param(
            [MAIN], [{"name": "side", "image": "x"}, MAIN], ["side", "main"], id="order follows the configuration"
        ),
    ],
)
def test_containers_are_told_apart_by_name(
    api: Any, make_deployment: Any, first: list[Obj], second: list[Obj], expected: list[str]
) -> None:
    whole = make_deployment("web")
    for wanted in (first, second):
        config = copy.deepcopy(whole)
        config["spec"]["template"]["spec"]["containers"] = wanted
        found = api.apply(WEB, config, "me").json()
    assert [each["name"] for each in found["spec"]["template"]["spec"]["containers"]] == expected


def test_environment_variables_of_two_managers_live_side_by_side(api: Any, make_deployment: Any) -> None:
    api.apply(WEB, make_deployment("web"), "first")
    api.apply(WEB, containers({"name": "main", "env": [ENV_A]}), "second")
    found = api.apply(WEB, containers({"name": "main", "env": [ENV_B]}), "third").json()
    main = found["spec"]["template"]["spec"]["containers"][0]
    assert (main["image"], main["env"]) == ("app:1", [ENV_A, ENV_B])
    without = api.apply(WEB, containers({"name": "main", "env": []}), "second").json()
    assert without["spec"]["template"]["spec"]["containers"][0]["env"] == [ENV_B]


def test_an_atomic_list_has_one_owner(api: Any, make_deployment: Any) -> None:
    key = {"key": "a", "operator": "Exists"}
    whole = make_deployment("web")
    whole["spec"]["template"]["spec"]["tolerations"] = [key]
    api.apply(WEB, whole, "first")
    answer = api.apply(WEB, part(template={"spec": {"tolerations": [{**key, "key": "b"}]}}), "second")
    assert answer.json()["details"]["causes"][0]["field"] == ".spec.template.spec.tolerations"


def test_service_ports_are_told_apart_by_port_and_protocol(api: Any) -> None:
    path = "/api/v1/namespaces/default/services/s"
    api.apply(path, service({"name": "dns", "port": 53, "protocol": "UDP"}), "first")
    found = api.apply(path, service({"name": "dns-tcp", "port": 53, "protocol": "TCP"}), "second").json()
    assert [(each["port"], each["protocol"]) for each in found["spec"]["ports"]] == [(53, "UDP"), (53, "TCP")]
    keys = owned(found, "second")["f:spec"]["f:ports"]
    assert list(keys) == ['k:{"port":53,"protocol":"TCP"}']


def test_two_equal_keys_in_a_configuration_are_refused(api: Any) -> None:
    port = {"name": "a", "port": 53, "protocol": "UDP"}
    answer = api.apply("/api/v1/namespaces/default/services/s", service(port, {**port, "name": "b"}), "me")
    assert answer.status_code == 500
    assert 'duplicate entries for key [port=53,protocol="UDP"]' in answer.json()["message"]


def test_an_unknown_field_is_refused_by_its_path(api: Any, make_deployment: Any) -> None:
    config = make_deployment("web", wrong=1)
    answer = api.apply(WEB, config, "me")
    assert answer.status_code == 500
    assert answer.json()["message"] == (
        "failed to create typed patch object (/web; apps/v1, Kind=Deployment): .spec.wrong: "
        "field not declared in schema"
    )


@pytest.mark.parametrize(
    ("params", "change", "code", "message"),
    [
        (
            {},
            {},
            422,
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
        ),
        ({"fieldManager": "me"}, {"metadata": {"managedFields": [{}]}}, 400, "metadata.managedFields must be nil"),
        ({"fieldManager": "me"}, {"kind": "Secret"}, 400, "invalid object type"),
        ({"fieldManager": "me"}, {"metadata": {"name": "other"}}, 400, "name in apply configuration must match URL"),
        ({"fieldManager": "me"}, {"metadata": {"namespace": "other"}}, 400, "does not match the namespace"),
        ({"fieldManager": "me"}, {"metadata": {"name": "cm", "uid": "u"}}, 409, "uid mismatch"),
    ],
)
def test_a_configuration_that_cannot_be_applied_is_refused(
    api: Any, params: dict[str, str], change: Obj, code: int, message: str
) -> None:
    body = {**config_map({"a": "1"}), **change}
    answer = api.call("PATCH", f"{CONFIGMAPS}/cm", body, media="application/apply-patch+yaml", params=params)
    assert answer.status_code == code, answer.text
    assert message in answer.json()["message"]


def test_an_old_version_in_the_configuration_is_a_conflict(api: Any) -> None:
    old = api.apply(f"{CONFIGMAPS}/cm", config_map({"a": "1"}), "me").json()["metadata"]["resourceVersion"]
    api.apply(f"{CONFIGMAPS}/cm", config_map({"a": "2"}), "me")
    answer = api.apply(f"{CONFIGMAPS}/cm", config_map({"a": "3"}, resourceVersion=old), "me")
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")


def test_status_has_owners_of_its_own(api: Any, make_deployment: Any) -> None:
    api.apply(WEB, {**make_deployment("web"), "status": {"replicas": 7}}, "me")
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "status": {"replicas": 3}}
    found = api.apply(f"{WEB}/status", body, "controller").json()
    assert found["status"] == {"replicas": 3}
    entry = next(each for each in found["metadata"]["managedFields"] if each["manager"] == "controller")
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:replicas": {}}})
    assert "f:status" not in owned(found, "me")


def test_a_dry_run_shows_the_outcome_and_changes_nothing(api: Any) -> None:
    api.apply(f"{CONFIGMAPS}/cm", config_map({"a": "1"}), "me")
    path = f"{CONFIGMAPS}/cm?dryRun=All"
    assert api.apply(path, config_map({"a": "2"}), "me").json()["data"] == {"a": "2"}
    assert api.call("GET", f"{CONFIGMAPS}/cm").json()["data"] == {"a": "1"}
    assert api.world.writes["kube"] == 1
