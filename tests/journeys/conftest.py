"""A simulated world for a journey, in a process of its own, and the ways to look at it and to damage it from outside.

Damage goes through the doors: ARM by raw HTTPS requests, the hosts by SSH, the clusters by the Kubernetes API, none of
them with the product's clients.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.doors import Doors, simulated

from crdbmesh.clients import environment
from crdbmesh.clients.cloud import Cloud
from crdbmesh.engine import plan, run
from crdbmesh.engine.step import Event, Outcome, Result
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe.health import Health
from crdbmesh.observe.status import read
from crdbmesh.run.world import World
from crdbmesh.spec import load as config
from crdbmesh.spec.mesh import Mesh
from crdbmesh.steps import catalog


def silent(_event: Event) -> None:
    """Tell nobody."""


@dataclass
class SimulatedWorld:
    """A simulated world seen from outside."""

    coordinates: dict[str, Any]
    folder: Path

    def cloud(self) -> Cloud:
        return environment.find_cloud({"CRDBMESH_CLOUD": self.coordinates["cloud_file"]})

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

    @property
    def doors(self) -> Doors:
        return Doors(self.coordinates, self.home().path)

    def report(self) -> dict[str, Any]:
        return self.doors.report()

    def misbehave(self, faults: dict[str, float] | str) -> None:
        self.doors.misbehave(faults)

    def writes(self) -> int:
        return sum(self.report()["writes"].values())

    def resource(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A raw ARM request on a resource in the mesh's group; a deletion is waited for."""
        path = f"/resourceGroups/crdbmesh/providers/{path}"
        if method == "DELETE":
            return self.doors.delete(path)
        return self.doors.arm(method, path, body)

    def kube(self, region: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A raw Kubernetes request with the region's kubeconfig."""
        return self.doors.kube(region, method, path, body)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SimulatedWorld]:
    with simulated(tmp_path, scale=120) as coordinates:
        yield SimulatedWorld(coordinates, tmp_path)


def failures(results: dict[str, Result]) -> dict[str, str]:
    """What did not end well, by step."""
    return {name: result.detail for name, result in results.items() if not result.outcome.good}


def changed(results: dict[str, Result]) -> list[str]:
    """The steps that had something to do."""
    return [name for name, result in results.items() if result.outcome is Outcome.CHANGED]
