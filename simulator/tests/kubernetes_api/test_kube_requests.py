"""What a request may ask for, and the answers to those that ask what they may not."""

from __future__ import annotations

from typing import Any

import pytest

SPACE = "/api/v1/namespaces/default"
CONFIGMAPS = f"{SPACE}/configmaps"
PODS = f"{SPACE}/pods"
CLAIMS = f"{SPACE}/persistentvolumeclaims"
MERGE = "application/merge-patch+json"


def test_a_limit_that_is_no_number_is_refused(api: Any) -> None:
    answer = api.call("GET", f"{CONFIGMAPS}?limit=x")
    assert answer.status_code == 400
    assert 'strconv.ParseInt: parsing "x": invalid syntax' in answer.json()["message"]


@pytest.mark.parametrize("query", ["resourceVersionMatch=Exact&resourceVersion=1", "watch=1&sendInitialEvents=true"])
def test_what_is_not_served_of_lists_is_loud(api: Any, query: str) -> None:
    assert api.call("GET", f"{CONFIGMAPS}?{query}").status_code == 404
    assert [each.what for each in api.world.unknown] == [f"GET {CONFIGMAPS}"]


def test_a_verb_that_is_not_served_is_loud(api: Any) -> None:
    assert api.call("DELETE", CONFIGMAPS, {"metadata": {"name": "a"}}).status_code == 405
    assert [each.what for each in api.world.unknown] == [f"DELETE {CONFIGMAPS}"]


def test_a_field_given_twice_is_refused_or_warned_of(api: Any) -> None:
    body = '{"metadata": {"name": "a"}, "data": {"a": "1"}, "data": {"a": "2"}}'
    refused = api.call("POST", f"{CONFIGMAPS}?fieldValidation=Strict", body)
    assert refused.status_code == 400
    assert refused.json()["message"].endswith('strict decoding error: duplicate field "data"')
    warned = api.call("POST", f"{CONFIGMAPS}?fieldValidation=Warn", body)
    assert (warned.status_code, warned.headers["Warning"]) == (201, '299 - "duplicate field \\"data\\""')


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


def test_a_log_option_that_is_no_number_is_refused(api: Any) -> None:
    api.run_pod("p")
    answer = api.call("GET", f"{PODS}/p/log?tailLines=x")
    assert answer.status_code == 400
    assert "invalid syntax" in answer.json()["message"]
