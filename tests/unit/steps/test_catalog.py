"""The order of the steps: what must hold before the database is initialised."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.clock import REAL
from crdbmesh.engine import plan
from crdbmesh.local.folder import LocalFolder
from crdbmesh.run.world import World
from crdbmesh.spec import load
from crdbmesh.steps import catalog


class Nowhere:
    """A session that is never used: a plan is made without a look at the world."""

    stop = threading.Event()
    clock = REAL


def before(regions: list[str], folder: Path, step: str) -> set[str]:
    """Every step that comes before one."""
    world = World(load.mesh({"regions": regions}), cast("Session", Nowhere()), LocalFolder(folder))
    steps: dict[str, Any] = {each.name: each for each in catalog.steps(world)}
    plan.order(steps.values())
    found: set[str] = set()
    left = {step}
    while left:
        left = {name for each in left for name in steps[each].after} - found
        found |= left
    return found


@pytest.mark.parametrize("regions", [["eastus"], ["eastus", "westus"]])
def test_names_resolve_in_every_region_before_the_database_is_initialised(regions: list[str], tmp_path: Path) -> None:
    wanted = {f"{region}/{thing}" for region in regions for thing in ("dns", "reach", "cockroachdb")}
    assert wanted <= before(regions, tmp_path, "mesh/init")
