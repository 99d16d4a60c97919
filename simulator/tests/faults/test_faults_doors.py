"""Faults from outside: the report door and the command line."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crdbmesh_simulator.faults import MODERATE
from crdbmesh_simulator.server import Simulator


class Doors:
    """A world's report door, and its Azure Resource Manager."""

    def __init__(self, coordinates: dict[str, Any]) -> None:
        self._coordinates = coordinates
        self._context = ssl.create_default_context(cafile=coordinates["ca_file"])

    def ask(self, method: str, url: str, body: object = None, *, token: str | None = None) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method)
        request.add_header("Authorization", f"Bearer {token or self._coordinates['token']}")
        try:
            with urllib.request.urlopen(request, timeout=10, context=self._context) as answer:
                raw, status = answer.read(), answer.status
        except urllib.error.HTTPError as error:
            with error:
                raw, status = error.read(), error.code
        return status, json.loads(raw) if raw.startswith(b"{") else raw

    def faults(self, method: str, body: object = None, **more: Any) -> tuple[int, Any]:
        return self.ask(method, f"{self._coordinates['report_url']}faults", body, **more)

    def report(self) -> Any:
        return self.ask("GET", self._coordinates["report_url"])[1]

    def subscription(self) -> int:
        path = f"{self._coordinates['arm_url']}/subscriptions/{self._coordinates['subscription_id']}"
        return self.ask("GET", f"{path}?api-version=2022-12-01")[0]


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with Simulator(tmp_path_factory.mktemp("world"), scale=600.0, seed=3) as simulator:
        yield Doors(simulator.coordinates())


def test_rates_are_set_counted_and_cleared_while_the_world_runs(doors: Doors) -> None:
    assert doors.report()["faults"] == {}
    assert doors.subscription() == 200
    assert doors.faults("PUT", {"rates": {"arm.throttled": 1}}) == (200, {"rates": {"arm.throttled": 1.0}})
    assert [doors.subscription() for _ in range(4)] == [429, 429, 429, 200]
    assert doors.report()["faults"] == {"arm.throttled": 3}
    assert doors.faults("DELETE")[0] == 204
    assert [doors.subscription() for _ in range(4)] == [200] * 4
    assert doors.report()["faults"] == {"arm.throttled": 3}


def test_setting_replaces_what_was_set(doors: Doors) -> None:
    assert doors.faults("PUT", {"preset": "transient"}) == (200, {"rates": MODERATE})
    both = {"preset": "transient", "rates": {"arm.throttled": 0, "arm.quota@westus": 1}}
    assert doors.faults("PUT", both)[1]["rates"] == {**MODERATE, "arm.throttled": 0.0, "arm.quota@westus": 1.0}
    assert doors.faults("PUT", {"rates": {}}) == (200, {"rates": {}})


def test_the_report_door_itself_never_fails(doors: Doors) -> None:
    everything = dict.fromkeys(MODERATE, 1.0)
    assert doors.faults("PUT", {"rates": everything})[0] == 200
    assert all("writes" in doors.report() for _ in range(10))
    assert doors.faults("DELETE")[0] == 204


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"rates": {"arm.nonsense": 1}}, "no fault is called 'arm.nonsense'; there are arm.throttled"),
        ({"rates": {"arm.throttled": 2}}, "must be a number from 0 to 1"),
        ({"rates": {"arm.throttled": "0.1"}}, "must be a number from 0 to 1"),
        ({"rates": []}, "rates must be an object"),
        ({"preset": "wild"}, "no preset is called 'wild'"),
        ({"arm.throttled": 1}, "it must be"),
        ({}, "it must be"),
        ([], "it must be"),
        (b"{", "Expecting"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_the_reason(doors: Doors, body: object, why: str) -> None:
    doors.faults("PUT", {"rates": {"kube.gone": 0.5}})
    status, answer = doors.faults("PUT", body)
    assert status == 400
    assert why in answer["error"]
    assert doors.faults("PUT", {"rates": {}})[0] == 200


def test_who_has_no_token_sets_nothing(doors: Doors) -> None:
    assert doors.faults("PUT", {"rates": {"arm.throttled": 1}}, token="other")[0] == 401
    assert doors.faults("DELETE", token="other")[0] == 401
    assert doors.subscription() == 200


def test_the_command_line_sets_rates_from_the_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "crdbmesh_simulator", "--attached", "--folder", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--faults", "arm.throttled=1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        doors = Doors(json.loads(process.stdout.readline()))
        assert doors.subscription() == 429
        assert doors.report()["faults"] == {"arm.throttled": 1}
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_the_command_line_refuses_what_is_not_known() -> None:
    command = [sys.executable, "-m", "crdbmesh_simulator", "--faults", "arm.nonsense=1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert "no fault is called 'arm.nonsense'; there are arm.throttled" in ended.stderr
