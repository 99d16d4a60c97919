"""The patch formats, on real kinds."""

from __future__ import annotations

from typing import Any

import pytest

Obj = dict[str, Any]
WEB = "/apis/apps/v1/namespaces/default/deployments/web"
CM = "/api/v1/namespaces/default/configmaps/cm"
JSON, MERGE = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


@pytest.fixture
def web(api: Any, make_deployment: Any) -> Any:
    body = make_deployment("web")
    main = body["spec"]["template"]["spec"]["containers"][0]
    main["env"] = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    main["args"] = ["one", "two"]
    api.make(WEB.rpartition("/")[0], body)
    return api


def containers(*entries: Obj, **more: Any) -> Obj:
    return {"spec": {"template": {"spec": {"containers": list(entries), **more}}}}


def patched(api: Any, patch: Any, media: str) -> Obj:
    answer = api.call("PATCH", WEB, patch, media=media)
    assert answer.status_code == 200, answer.text
    found: Obj = answer.json()["spec"]["template"]["spec"]
    return found


def names(entries: list[Obj]) -> list[str]:
    return [each["name"] for each in entries]


def test_a_strategic_merge_finds_containers_by_name(web: Any) -> None:
    spec = patched(web, containers({"name": "main", "image": "app:2"}, {"name": "side", "image": "x"}), STRATEGIC)
    assert [(each["name"], each["image"]) for each in spec["containers"]] == [("main", "app:2"), ("side", "x")]
    assert names(spec["containers"][0]["env"]) == ["A", "B"]


def test_a_strategic_merge_puts_a_new_element_first_unless_told_where(web: Any) -> None:
    side: Obj = {"name": "side", "image": "x"}
    assert names(patched(web, containers(side), STRATEGIC)["containers"]) == ["side", "main"]
    order = {"$setElementOrder/containers": [{"name": "main"}, {"name": "other"}]}
    spec = patched(web, containers({"name": "other", "image": "x"}, **order), STRATEGIC)
    assert names(spec["containers"]) == ["side", "main", "other"]


def test_a_strategic_merge_keeps_only_what_is_retained_and_drops_words_of_a_list(web: Any) -> None:
    strategy = {"$retainKeys": ["type"], "type": "Recreate"}
    found = web.call("PATCH", WEB, {"spec": {"strategy": strategy}}, media=STRATEGIC).json()
    assert found["spec"]["strategy"] == {"type": "Recreate"}
    web.call("PATCH", WEB, {"metadata": {"finalizers": ["a.com/x", "a.com/y"]}}, media=STRATEGIC)
    drop = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.com/x"]}}
    assert web.call("PATCH", WEB, drop, media=STRATEGIC).json()["metadata"]["finalizers"] == ["a.com/y"]


def test_a_strategic_merge_deletes_by_directive(web: Any) -> None:
    spec = patched(web, containers({"name": "main", "env": [{"name": "A", "$patch": "delete"}]}), STRATEGIC)
    assert names(spec["containers"][0]["env"]) == ["B"]


def test_a_strategic_merge_orders_elements_as_asked(web: Any) -> None:
    patch = containers({"name": "main", "$setElementOrder/env": [{"name": "B"}, {"name": "A"}]})
    assert names(patched(web, patch, STRATEGIC)["containers"][0]["env"]) == ["B", "A"]


def test_a_strategic_merge_replaces_lists_without_a_key(web: Any) -> None:
    spec = patched(web, containers({"name": "main", "args": ["three"]}), STRATEGIC)
    assert spec["containers"][0]["args"] == ["three"]


def test_a_strategic_merge_needs_the_key(web: Any) -> None:
    answer = web.call("PATCH", WEB, containers({"image": "x"}), media=STRATEGIC)
    assert answer.status_code == 400
    assert "does not contain declared merge key: name" in answer.json()["message"]


def test_a_merge_patch_replaces_lists_and_removes_by_null(web: Any) -> None:
    spec = patched(web, containers({"name": "only", "image": "x"}, terminationGracePeriodSeconds=5), MERGE)
    assert names(spec["containers"]) == ["only"]
    again = patched(web, {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": None}}}}, MERGE)
    assert again["terminationGracePeriodSeconds"] == 30


@pytest.mark.parametrize(
    ("patch", "media", "code"),
    [
        ([{"op": "remove", "path": "/data/a"}], JSON, 422),
        ([{"op": "replace", "path": "/data/none", "value": "1"}], JSON, 422),
        ([{"op": "replace", "path": "/none/a", "value": "1"}], JSON, 422),
        ({}, JSON, 400),
        ({"data": {"$patch": "magic"}}, STRATEGIC, 400),
        ([], MERGE, 400),
        ({"metadata": {"name": "other"}}, MERGE, 422),
        ({"metadata": {"resourceVersion": "1"}}, MERGE, 409),
        ({}, "application/json", 415),
    ],
)
def test_patches_that_do_not_fit_are_refused(api: Any, patch: Any, media: str, code: int) -> None:
    api.make(CM.rpartition("/")[0], {"metadata": {"name": "cm"}, "data": {"a": "1"}})
    assert api.call("PATCH", CM, patch, media=media).status_code == code


def test_a_json_patch_replaces_what_is_there(api: Any) -> None:
    api.make(CM.rpartition("/")[0], {"metadata": {"name": "cm", "labels": {"a.b/c": "x"}}, "data": {"a": "1"}})
    operations = [
        {"op": "replace", "path": "/data/a", "value": "2"},
        {"op": "replace", "path": "/metadata/labels/a.b~1c", "value": "y"},
    ]
    found = api.call("PATCH", CM, operations, media=JSON).json()
    assert (found["data"], found["metadata"]["labels"]) == ({"a": "2"}, {"a.b/c": "y"})


def test_an_unknown_field_in_a_patch_is_refused_when_strict(web: Any) -> None:
    answer = web.call("PATCH", f"{WEB}?fieldValidation=Strict", {"spec": {"wrong": 1}}, media=MERGE)
    assert answer.status_code == 422
    assert 'strict decoding error: unknown field "spec.wrong"' in answer.json()["message"]


def test_a_patch_is_owned_by_the_agent_that_sent_it(web: Any) -> None:
    headers = {"User-Agent": "tool/1.0 (linux)"}
    found = web.call("PATCH", WEB, {"spec": {"replicas": 3}}, media=MERGE, headers=headers).json()
    entry = next(each for each in found["metadata"]["managedFields"] if each["manager"] == "tool")
    assert (entry["operation"], entry["fieldsV1"]) == ("Update", {"f:spec": {"f:replicas": {}}})
