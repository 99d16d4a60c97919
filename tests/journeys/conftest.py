"""A simulated world for a journey, in a process of its own, and the ways to look at it and to damage it from outside.

Damage goes through the doors: ARM by raw HTTPS requests, the hosts by SSH, the clusters by the Kubernetes API, none of
them with the product's clients.
"""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from crdbmesh.clients import cloud as clouds
from crdbmesh.engine import plan, run
from crdbmesh.engine.step import Event, Outcome, Result
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe.health import Health
from crdbmesh.observe.probes import read
from crdbmesh.run.world import World
from crdbmesh.spec import load as config
from crdbmesh.spec.mesh import Mesh
from crdbmesh.steps import catalog

NETWORK_API = "2025-05-01"
COMPUTE_API = "2025-04-01"


def silent(_event: Event) -> None:
    """Tell nobody."""


@dataclass
class SimulatedWorld:
    """A simulated world seen from outside."""

    coordinates: dict[str, Any]
    folder: Path

    def cloud(self) -> clouds.Cloud:
        return clouds.from_environment({"CRDBMESH_CLOUD": self.coordinates["cloud_file"]})

    def mesh(self, regions: list[str], *, machines: int = 1, **document: Any) -> Mesh:
        spec = {
            "regions": regions,
            "allow_from": ["127.0.0.1"],
            "machines": {"per_region": machines},
            "ssh": {"port": self.cloud().ssh_port},
            **document,
        }
        return config.mesh(spec)

    def home(self) -> LocalFolder:
        return LocalFolder(self.folder / "home" / "crdbmesh")

    @contextmanager
    def open(self, mesh: Mesh) -> Iterator[World]:
        with World.open(mesh, self.cloud(), self.home()) as run_world:
            yield run_world

    def up(self, mesh: Mesh, *, workers: int = 32, notify: Any = silent) -> dict[str, Result]:
        with self.open(mesh) as run_world:
            return run.run(plan.order(catalog.steps(run_world)), workers=workers, notify=notify)

    def status(self, mesh: Mesh) -> Health:
        with self.open(mesh) as run_world:
            return read(run_world)

    def report(self) -> dict[str, Any]:
        return dict(self._get(self.coordinates["report_url"]))

    def misbehave(self, how: dict[str, Any]) -> None:
        """Make the world misbehave: `{"rates": {name: rate}}` or `{"preset": name}`."""
        status, answer = self._request("PUT", f"{self.coordinates['report_url']}faults", how)
        assert status == 200, answer

    def writes(self) -> int:
        return sum(self.report()["writes"].values())

    def arm(self, method: str, path: str, body: Any = None, *, api: str = NETWORK_API) -> tuple[int, Any]:
        """A raw ARM request; `path` is below the subscription."""
        url = f"{self.coordinates['arm_url']}/subscriptions/{self.coordinates['subscription_id']}{path}"
        return self._request(method, f"{url}{'&' if '?' in path else '?'}api-version={api}", body)

    def resource(self, method: str, path: str, body: Any = None, *, api: str = NETWORK_API) -> tuple[int, Any]:
        """A raw ARM request on a resource in the mesh's group; a deletion is waited for."""
        path = f"/resourceGroups/crdbmesh/providers/{path}"
        status, answer = self.arm(method, path, body, api=api)
        if method == "DELETE" and status == 202:
            deadline = time.monotonic() + 30
            while self.arm("GET", path, api=api)[0] != 404:
                assert time.monotonic() < deadline, f"{path} is still there"
                time.sleep(0.05)
        return status, answer

    def kube(self, region: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A raw Kubernetes request with the region's kubeconfig."""
        text = (self.home().path / "kubeconfigs" / f"{region}.yaml").read_text()
        kubeconfig = yaml.safe_load(text)
        cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
        context = ssl.create_default_context(cadata=_decoded(cluster["certificate-authority-data"]))
        pem = self.folder / f"{region}.pem"
        pem.touch(0o600)
        pem.write_text(_decoded(user["client-certificate-data"]) + _decoded(user["client-key-data"]))
        context.load_cert_chain(pem)
        content = {"PATCH": "application/merge-patch+json"}.get(method, "application/json")
        return _send(method, f"{cluster['server']}{path}", body, {"Content-Type": content}, context)

    def _get(self, url: str) -> Any:
        status, answer = self._request("GET", url, None)
        assert status == 200, answer
        return answer

    def _request(self, method: str, url: str, body: Any) -> tuple[int, Any]:
        context = ssl.create_default_context(cafile=self.coordinates["ca_file"])
        headers = {"Authorization": f"Bearer {self.coordinates['token']}", "Content-Type": "application/json"}
        return _send(method, url, body, headers, context)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SimulatedWorld]:
    command = [sys.executable, "-m", "crdbmesh_simulator", "--scale", "200", "--seed", "7", "--folder", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield SimulatedWorld(json.loads(line), tmp_path)
        finally:
            process.terminate()
            process.wait(timeout=30)


def failures(results: dict[str, Result]) -> dict[str, str]:
    """What did not end well, by step."""
    return {name: result.detail for name, result in results.items() if not result.outcome.good}


def changed(results: dict[str, Result]) -> list[str]:
    """The steps that had something to do."""
    return [name for name, result in results.items() if result.outcome is Outcome.CHANGED]


def _send(method: str, url: str, body: Any, headers: dict[str, str], context: ssl.SSLContext) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as response:
            raw = response.read()
            return response.status, json.loads(raw) if raw else None
    except urllib.error.HTTPError as error:
        with error:
            raw = error.read()
        return error.code, json.loads(raw) if raw.startswith(b"{") else raw.decode()


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()
