"""How operations are followed and requests tried again: whose pace counts."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from azure.core.pipeline.policies import RequestIdPolicy
from azure.core.polling import LROPoller
from azure.core.rest import HttpRequest
from azure.core.utils import case_insensitive_dict
from azure.mgmt.core import ARMPipelineClient

from crdbmesh.clients.azure import pipeline
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.cloud import Cloud, GivenToken
from crdbmesh.errors import CloudError, StoppedError, WaitError

OFFLINE = Cloud(
    name="offline",
    arm_url="https://127.0.0.1:1",
    scopes=("scope",),
    credential=GivenToken("t"),
    subscription_id="00000000-0000-0000-0000-000000000001",
)


def answered(headers: dict[str, str]) -> Any:
    return SimpleNamespace(http_response=SimpleNamespace(headers=case_insensitive_dict(headers), status_code=200))


class _Arm(BaseHTTPRequestHandler):
    """A deletion that Azure accepts, and that is done when it is looked at for the third time."""

    headers_of_answers: ClassVar[dict[str, str]] = {}
    looks: ClassVar[list[float]] = []

    def do_DELETE(self) -> None:
        self.looks.clear()
        self._answer(202)

    def do_GET(self) -> None:
        self.looks.append(time.monotonic())
        self._answer(202 if len(self.looks) < 3 else 200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        for name, value in {"Location": "/operation", "Content-Length": "0", **self.headers_of_answers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def arm() -> Iterator[str]:
    _Arm.headers_of_answers = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), _Arm) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def delete(arm: str, look: Callable[[str], None], *, pace_s: float, stop: threading.Event | None = None) -> list[float]:
    """Delete something, as a session does; the pauses between looks."""
    stop = stop or threading.Event()
    connections = pipeline.Connections(dataclasses.replace(OFFLINE, arm_url=arm), stop)
    policies = [RequestIdPolicy(), pipeline.Retries(stop), pipeline.pacing(pace_s)]
    client: Any = ARMPipelineClient(arm, policies=policies, transport=connections.transport())
    begun = client._pipeline.run(HttpRequest("DELETE", f"{arm}/thing"))
    LROPoller(client, begun, lambda _response: None, pipeline.Following(arm, look)).result()
    connections.close()
    return [later - earlier for earlier, later in itertools.pairwise(_Arm.looks)]


@pytest.mark.parametrize(
    ("headers", "pace_s", "least"),
    [
        ({}, 0.1, 0.07),
        ({"Retry-After": "35"}, 0.1, 0.07),
        ({"Retry-After": "0"}, 0.1, 0.07),
        ({"Retry-After": "soon"}, 0.1, 0.07),
        ({"retry-after-ms": "20"}, 30, 0.02),
        ({"x-ms-retry-after-ms": "50"}, 30, 0.05),
    ],
)
def test_a_shorter_pause_of_the_servers_is_followed_and_a_longer_one_capped(
    headers: dict[str, str], pace_s: float, least: float, arm: str
) -> None:
    _Arm.headers_of_answers = headers
    said: list[str] = []
    pauses = delete(arm, said.append, pace_s=pace_s)
    assert said == ["InProgress"] * 3
    assert len(pauses) == 2
    assert least <= min(pauses)
    assert min(pauses) < 15


def test_what_looking_raises_ends_the_following(arm: str) -> None:
    def late(status: str) -> None:
        raise WaitError("PUT x", seconds=1, last_seen=status)

    with pytest.raises(WaitError, match="PUT x; last seen: InProgress"):
        delete(arm, late, pace_s=0.2)
    assert _Arm.looks == []


def test_an_interrupt_ends_the_pause_before_the_next_look(arm: str) -> None:
    stop = threading.Event()

    def interrupted(status: str) -> None:
        if stop.is_set():
            raise StoppedError("PUT x", last_seen=status)
        stop.set()

    started = time.monotonic()
    with pytest.raises(StoppedError, match="PUT x; last seen: InProgress"):
        delete(arm, interrupted, pace_s=30, stop=stop)
    assert time.monotonic() - started < 10
    assert len(_Arm.looks) == 1


def test_an_interrupt_ends_the_retries_of_a_request() -> None:
    stop = threading.Event()
    stop.set()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StoppedError, match="an answer from Azure; last seen: no answer"):
            delete(nobody, lambda _: None, pace_s=1, stop=stop)


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
    assert pipeline.Retries(threading.Event()).get_retry_after(answered(headers)) == pause


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
    connections = pipeline.Connections(cloud, threading.Event())
    assert connections.transport().session.trust_env is asks
    connections.close()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example"])
def test_the_token_goes_to_no_other_host_that_an_answer_leads_to(host: str) -> None:
    with Session(OFFLINE) as session, pytest.raises(CloudError, match=f"leads to {host}"):
        session.list_all("GET things", lambda: session._pages(f"https://{host}/next"))
