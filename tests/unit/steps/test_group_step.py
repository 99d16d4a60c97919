"""The resource group's step: a group that is shared is never made ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crdbmesh.clients.clock import REAL
from crdbmesh.engine.step import Gap
from crdbmesh.errors import RefusedError
from crdbmesh.local import contents
from crdbmesh.local.folder import LocalFolder
from crdbmesh.run.world import World
from crdbmesh.spec import load as config
from crdbmesh.steps import network

SHARED = {"id": "/subscriptions/s/resourceGroups/shared", "name": "shared"}


class OneGroup:
    """A session that finds a resource group in one state."""

    def __init__(self, found: dict[str, Any] | None) -> None:
        self.stop = None
        self.clock = REAL
        self.found = found
        self.resources = self
        self.resource_groups = self

    def find(self, _doing: str, _call: Any) -> dict[str, Any] | None:
        return self.found


def step(found: dict[str, Any] | None, folder: LocalFolder) -> network.Group:
    mesh = config.mesh({"name": "mine", "regions": ["eastus"], "group": "shared"})
    session: Any = OneGroup(found)
    return network.Group(name="mesh/group", world=World(mesh, session, folder))


@pytest.mark.parametrize("state", ["Deleting", "Updating"])
def test_a_shared_group_that_is_not_ready_is_waited_for_and_not_written(state: str, tmp_path: Path) -> None:
    found = {**SHARED, "tags": {"owner": "somebody"}, "properties": {"provisioningState": state}}
    with pytest.raises(RefusedError, match="not the mesh's own") as caught:
        step(found, LocalFolder(tmp_path)).check()
    assert caught.value.retryable


def test_a_group_of_our_own_that_is_not_ready_is_written_again(tmp_path: Path) -> None:
    found = {**SHARED, "properties": {"provisioningState": "Deleting"}}
    folder = LocalFolder(tmp_path)
    folder.append(contents.CREATED, SHARED["id"])
    assert step(found, folder).check() == Gap("resource group shared is Deleting")


def test_what_the_folder_knows_of_a_world_that_is_gone_is_dropped_and_its_keys_are_not(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "mine")
    gone = (contents.CLUSTER_ID, contents.kubeconfig("eastus"), contents.begun("eastus"))
    for file in (*gone, contents.LOGIN_KEY):
        folder.write(file, "text")
    step(None, folder).world.forget_world()
    assert [folder.read(file) for file in gone] == [None, None, None]
    assert folder.read(contents.LOGIN_KEY) == "text"
