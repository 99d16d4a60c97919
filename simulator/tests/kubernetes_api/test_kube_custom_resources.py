"""Custom resources: kinds that come and go with their definitions."""

from __future__ import annotations

from typing import Any

import pytest

from crdbmesh_simulator.kubernetes.controllers.objects import fill

Obj = dict[str, Any]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CHARTS = "/apis/example.com/v1/namespaces/default/charts"


def definition(schema: Obj) -> Obj:
    names = {"plural": "charts", "kind": "Chart", "shortNames": ["ch"]}
    columns = [
        {"name": "Version", "type": "string", "jsonPath": ".spec.version"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    ]
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
               "schema": {"openAPIV3Schema": schema}, "additionalPrinterColumns": columns}  # fmt: skip
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    return {"metadata": {"name": "charts.example.com"}, "spec": spec}


SCHEMA: Obj = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["chart"],
            "properties": {
                "chart": {"type": "string", "minLength": 1},
                "version": {"type": "string", "pattern": r"^v\d"},
                "policy": {"type": "string", "enum": ["abort", "reinstall"], "default": "reinstall"},
                "timeout": {"x-kubernetes-int-or-string": True},
                "sets": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                         "items": {"type": "object", "properties": {
                             "name": {"type": "string"}, "value": {"type": "string"}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}  # fmt: skip


def chart(**spec: Any) -> Obj:
    return {"apiVersion": "example.com/v1", "kind": "Chart", "metadata": {"name": "c"}, "spec": {"chart": "x", **spec}}


def test_an_update_of_a_custom_resource_says_of_which_version(api: Any) -> None:
    api.make(DEFINITIONS, definition(SCHEMA))
    made = api.make(CHARTS, chart(version="v1"))
    path, blind = f"{CHARTS}/{made['metadata']['name']}", {**made, "metadata": {"name": made["metadata"]["name"]}}
    refused = api.call("PUT", path, blind)
    assert refused.status_code == 422
    assert "metadata.resourceVersion" in refused.json()["message"]
    put = api.call("PUT", path, {**made, "spec": {**made["spec"], "version": "v2"}})
    assert (put.status_code, put.json()["spec"]["version"]) == (200, "v2")


def test_a_definition_is_established_and_its_kind_served(api: Any) -> None:
    assert api.call("GET", CHARTS).status_code == 404
    api.world.unknown.clear()
    made = api.make(DEFINITIONS, definition(SCHEMA))
    conditions = {each["type"]: each["status"] for each in made["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    found = api.make(CHARTS, chart(version="v1"))
    assert (found["spec"]["policy"], found["metadata"]["generation"]) == ("reinstall", 1)
    listed = api.call("GET", CHARTS).json()
    assert (listed["kind"], listed["items"][0]["kind"]) == ("ChartList", "Chart")
    assert api.world.unknown == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"chart": None}, "spec.chart: Required value"),
    ],
)
def test_a_custom_object_is_held_against_its_schema(api: Any, spec: Obj, message: str) -> None:
    api.make(DEFINITIONS, definition(SCHEMA))
    answer = api.call("POST", CHARTS, chart(**spec))
    assert answer.status_code == 422
    assert answer.json()["message"] == f'Chart.example.com "c" is invalid: {message}'


def test_fields_outside_the_schema_are_pruned_except_where_it_is_open(api: Any) -> None:
    api.make(DEFINITIONS, definition(SCHEMA))
    made = api.make(CHARTS, chart(stray=1, free={"any": [1, {"x": None}]}))
    assert "stray" not in made["spec"]
    assert made["spec"]["free"]["any"][0] == 1


def test_lists_of_custom_objects_merge_by_their_keys(api: Any) -> None:
    api.make(DEFINITIONS, definition(SCHEMA))
    api.apply(f"{CHARTS}/c", chart(sets=[{"name": "a", "value": "1"}]), "one")
    config = {**chart(), "spec": {"sets": [{"name": "b", "value": "2"}]}}
    found = api.apply(f"{CHARTS}/c", config, "two").json()
    assert [each["name"] for each in found["spec"]["sets"]] == ["a", "b"]


def test_strategic_merge_is_not_for_custom_objects(api: Any) -> None:
    api.make(DEFINITIONS, definition(SCHEMA))
    api.make(CHARTS, chart())
    answer = api.call("PATCH", f"{CHARTS}/c", {}, media="application/strategic-merge-patch+json")
    assert answer.status_code == 415


def test_columns_come_from_the_definition(api: Any) -> None:
    api.make(DEFINITIONS, definition(SCHEMA))
    api.make(CHARTS, chart(version="v2"))
    api.merge(f"{CHARTS}/c/status", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    table = api.call("GET", CHARTS, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}).json()
    assert table["rows"][0]["cells"] == ["c", "v2", "True"]


def test_a_definition_must_be_called_after_what_it_defines(api: Any) -> None:
    answer = api.call("POST", DEFINITIONS, {**definition(SCHEMA), "metadata": {"name": "wrong"}})
    assert answer.status_code == 422
    assert "charts.example.com" in answer.json()["message"]


def test_a_helm_chart_keeps_what_its_definition_knows_and_nothing_else(api: Any) -> None:
    api.make(
        DEFINITIONS,
        next(each for each in fill("bootstrap", {"address": ""}) if "helmcharts." in each["metadata"]["name"]),
    )
    path = "/apis/helm.cattle.io/v1/namespaces/default/helmcharts"
    given = {"chart": "c", "set": {"a": 1, "b": "x"}, "values": {"any": [1]}, "valueSecrets": [{"name": "a typo"}]}
    made = api.make(
        path, {"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart", "metadata": {"name": "h"}, "spec": given}
    )
    kept = {key: given[key] for key in ("chart", "set", "values")}
    assert made["spec"] == {**kept, "driver": "secret", "failurePolicy": "reinstall"}
