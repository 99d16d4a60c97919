"""Watches: what has changed, from which version on, and until when."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Obj = dict[str, Any]
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str, app: str | None = None) -> Obj:
    return {"metadata": {"name": name, **({"labels": {"app": app}} if app else {})}}


@contextmanager
def watching(api: Any, path: str = CONFIGMAPS, **params: Any) -> Iterator[Iterator[Obj]]:
    """The events of a watch, one by one."""
    params = {"watch": "true", "timeoutSeconds": 5, **params}
    with api.call("GET", path, params=params, stream=True) as answer:
        assert answer.status_code == 200, answer.text
        yield (json.loads(line) for line in answer.iter_lines() if line)


def brief(event: Obj) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"].get("name", "")


def take(events: Iterator[Obj], count: int) -> list[tuple[str, str]]:
    return [brief(next(events)) for _ in range(count)]


def test_a_watch_without_a_version_starts_with_what_exists(api: Any) -> None:
    api.make(CONFIGMAPS, config_map("a"))
    with watching(api) as events:
        assert take(events, 1) == [("ADDED", "a")]
        api.make(CONFIGMAPS, config_map("b"))
        api.call("PATCH", f"{CONFIGMAPS}/b", {"data": {"x": "y"}}, media="application/merge-patch+json")
        api.call("DELETE", f"{CONFIGMAPS}/a")
        assert take(events, 3) == [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "a")]


def test_a_watch_from_a_list_misses_nothing(api: Any) -> None:
    api.make(CONFIGMAPS, config_map("a"))
    version = api.call("GET", CONFIGMAPS).json()["metadata"]["resourceVersion"]
    api.make(CONFIGMAPS, config_map("b"))
    with watching(api, resourceVersion=version) as events:
        assert take(events, 1) == [("ADDED", "b")]
        api.make(CONFIGMAPS, config_map("c"))
        assert take(events, 1) == [("ADDED", "c")]


def test_a_deleted_object_is_shown_with_the_version_of_its_deletion(api: Any) -> None:
    made = api.make(CONFIGMAPS, config_map("a"))
    version = made["metadata"]["resourceVersion"]
    with watching(api, resourceVersion=version) as events:
        api.call("DELETE", f"{CONFIGMAPS}/a")
        event = next(events)
    assert (event["type"], event["object"]["metadata"]["uid"]) == ("DELETED", made["metadata"]["uid"])
    assert int(event["object"]["metadata"]["resourceVersion"]) > int(version)


def test_a_compacted_version_is_answered_with_an_error_event(api: Any) -> None:
    version = api.make(CONFIGMAPS, config_map("a"))["metadata"]["resourceVersion"]
    api.make(CONFIGMAPS, config_map("b"))
    api.store.compact()
    with watching(api, resourceVersion=version) as events:
        event = next(events)
        assert list(events) == []
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert event["object"]["message"].startswith(f"too old resource version: {version} (")


def test_an_object_enters_and_leaves_a_selector(api: Any) -> None:
    with watching(api, labelSelector="app=x") as events:
        api.make(CONFIGMAPS, config_map("a", "y"))
        for app in ("x", "x2", "x"):
            labels = {"metadata": {"labels": {"app": app}}}
            api.call("PATCH", f"{CONFIGMAPS}/a", labels, media="application/merge-patch+json")
        assert take(events, 3) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a")]


def test_one_object_can_be_watched(api: Any) -> None:
    with watching(api, fieldSelector="metadata.name=a") as events:
        api.make(CONFIGMAPS, config_map("b"))
        api.make(CONFIGMAPS, config_map("a"))
        assert take(events, 1) == [("ADDED", "a")]


def test_other_namespaces_are_not_seen_unless_all_are_watched(api: Any) -> None:
    with watching(api) as mine, watching(api, "/api/v1/configmaps") as everyones:
        api.make("/api/v1/namespaces/kube-system/configmaps", config_map("theirs"))
        api.make(CONFIGMAPS, config_map("mine"))
        assert take(mine, 1) == [("ADDED", "mine")]
        assert take(everyones, 2) == [("ADDED", "theirs"), ("ADDED", "mine")]


def test_a_watch_ends_when_the_client_said(api: Any) -> None:
    started = time.monotonic()
    with watching(api, timeoutSeconds=1) as events:
        assert list(events) == []
    assert 0.8 < time.monotonic() - started < 3


def test_a_bookmark_at_the_end_says_how_far_the_watch_came(api: Any) -> None:
    with watching(api, timeoutSeconds=1, allowWatchBookmarks="true") as events:
        api.make("/api/v1/namespaces/default/secrets", {"metadata": {"name": "unseen"}})
        last = list(events)[-1]
    assert (last["type"], last["object"]["kind"]) == ("BOOKMARK", "ConfigMap")
    assert last["object"]["metadata"]["resourceVersion"] == str(api.store.version)


def test_a_watch_of_tables_describes_its_columns_once(api: Any) -> None:
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    params = {"watch": "true", "timeoutSeconds": 5}
    with api.call("GET", CONFIGMAPS, params=params, headers=accept, stream=True) as answer:
        lines = answer.iter_lines()
        api.make(CONFIGMAPS, config_map("a"))
        api.make(CONFIGMAPS, config_map("b"))
        first, second = (json.loads(next(lines))["object"] for _ in range(2))
    assert first["columnDefinitions"]
    assert second["columnDefinitions"] is None
    assert [each["rows"][0]["cells"][0] for each in (first, second)] == ["a", "b"]


def test_many_watchers_see_every_change_of_many_writers_in_order(api: Any) -> None:
    seen: list[list[int]] = []

    def watch() -> None:
        with watching(api, resourceVersion=str(api.store.version)) as events:
            ready.release()
            seen.append([int(next(events)["object"]["metadata"]["resourceVersion"]) for _ in range(40)])

    def write(prefix: str) -> None:
        kind = api.store.resource("ConfigMap")
        for at in range(10):
            api.store.create(kind, {"metadata": {"name": f"{prefix}{at}", "namespace": "default"}})

    ready = threading.Semaphore(0)
    watchers = _started(watch for _ in range(3))
    for _ in watchers:
        assert ready.acquire(timeout=5)
    writers = _started((lambda name=name: write(name)) for name in "abcd")  # type: ignore[misc]
    for thread in (*writers, *watchers):
        thread.join(10)
    assert len(seen) == 3
    assert all(each == sorted(each) for each in seen)


def _started(works: Iterator[Callable[[], None]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads
