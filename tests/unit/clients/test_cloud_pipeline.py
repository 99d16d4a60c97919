"""How operations are followed and requests tried again: whose pace counts."""

from __future__ import annotations

import logging
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.utils import case_insensitive_dict
from azure.mgmt.core.polling.arm_polling import BodyContentPolling

from crdbmesh.clients.azure import pipeline
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.clock import REAL
from crdbmesh.clients.cloud import Cloud, GivenToken
from crdbmesh.errors import StoppedError, WaitError

OFFLINE = Cloud(
    name="offline",
    arm_url="https://127.0.0.1:1",
    scopes=("scope",),
    credential=GivenToken("t"),
    subscription_id="00000000-0000-0000-0000-000000000001",
)


def answered(headers: dict[str, str]) -> Any:
    return SimpleNamespace(http_response=SimpleNamespace(headers=case_insensitive_dict(headers), status_code=200))


def following(deadline_s: float = 60.0) -> tuple[pipeline.Following, list[str]]:
    said: list[str] = []
    method = pipeline.Following(
        doing="PUT x",
        endpoint="https://127.0.0.1",
        pace_s=4.0,
        deadline=REAL.after(deadline_s),
        say=said.append,
        stop=threading.Event(),
        clock=REAL,
    )
    method._operation, method._status = BodyContentPolling(), "Updating"
    return method, said


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({}, 3.2, 4.8),
        ({"Retry-After": "35"}, 3.2, 4.8),
        ({"Retry-After": "1"}, 1, 1),
        ({"retry-after-ms": "20"}, 0.02, 0.02),
        ({"x-ms-retry-after-ms": "50"}, 0.05, 0.05),
        ({"Retry-After": "0"}, 3.2, 4.8),
        ({"Retry-After": "soon"}, 3.2, 4.8),
    ],
)
def test_a_shorter_pause_of_the_servers_is_followed_and_a_longer_one_capped(
    headers: dict[str, str], least: float, most: float
) -> None:
    method, _ = following()
    method._pipeline_response = answered(headers)
    assert least <= method._extract_delay() <= most


def test_at_the_deadline_the_operation_and_its_state_are_told() -> None:
    method, said = following(deadline_s=0)
    method._pipeline_response = answered({})
    with pytest.raises(WaitError, match="PUT x; last seen: Updating"):
        method._delay()
    assert said == []


def test_an_interrupted_operation_is_left_at_its_next_pause() -> None:
    method, _ = following()
    method._pipeline_response = answered({})
    method._stop.set()
    started = time.monotonic()
    with pytest.raises(StoppedError, match="PUT x; last seen: Updating"):
        method._delay()
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({}, None),
        ({"Retry-After": "17"}, 17.0),
        ({"Retry-After": "3600"}, 60.0),
        ({"Retry-After": "soon"}, None),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
    ],
)
def test_a_retry_waits_as_long_as_the_server_asks_within_reason(headers: dict[str, str], pause: float | None) -> None:
    assert pipeline.Retries().get_retry_after(answered(headers)) == pause


def test_a_session_for_a_named_subscription_is_made_without_a_request() -> None:
    with Session(OFFLINE) as session:
        assert session.subscription_id == OFFLINE.subscription_id


def test_the_sdks_own_accounts_stay_off_the_terminal() -> None:
    with Session(OFFLINE):
        assert logging.getLogger("azure").getEffectiveLevel() >= logging.WARNING
        assert logging.getLogger("azure.identity").getEffectiveLevel() >= logging.ERROR


@pytest.mark.parametrize(("arm_url", "asks"), [("https://127.0.0.1:1", False), ("https://arm.example.org", True)])
def test_proxies_are_looked_for_only_beyond_this_computer(arm_url: str, asks: bool) -> None:
    cloud = Cloud(name="x", arm_url=arm_url, scopes=(), credential=GivenToken("t"))
    connections = pipeline.Connections(cloud)
    assert connections.transport().session.trust_env is asks
    connections.close()
