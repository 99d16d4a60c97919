"""A simulated Azure for the commands that need one, seen through its doors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.doors import Doors

from crdbmesh.clients.cloud import Cloud
from crdbmesh.commands import demo


class Azure:
    """The simulated Azure as somebody else's client sees it."""

    def __init__(self, world: demo.SimulatedAzure) -> None:
        self.world = world
        self.cloud: Cloud = world.cloud()
        self._subscription = f"/subscriptions/{world.coordinates['subscription_id']}"
        self.doors = Doors(world.coordinates, Path())

    def register(self, *namespaces: str) -> None:
        for namespace in namespaces:
            path = f"/providers/{namespace}"
            self.send("POST", f"{path}/register")
            deadline = time.monotonic() + 20
            while self.send("GET", path)[1]["registrationState"] != "Registered":
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def put_group(self, name: str, **tags: str) -> None:
        status, answer = self.send("PUT", f"/resourceGroups/{name}", {"location": "eastus", "tags": tags})
        assert status in {200, 201}, answer

    def put(self, group: str, kind: str, name: str, properties: dict[str, Any], **tags: str) -> str:
        """Create a network resource in eastus and wait for it; its id."""
        path = f"/resourceGroups/{group}/providers/Microsoft.Network/{kind}/{name}"
        body: dict[str, Any] = {"properties": properties}
        if "/" not in name:
            body |= {"location": "eastus", "tags": tags}
        if kind == "publicIPAddresses":
            body["sku"] = {"name": "Standard"}
        return self.doors.put(path, body)

    def put_vnet(self, group: str, name: str, prefix: str, **tags: str) -> str:
        return self.put(group, "virtualNetworks", name, {"addressSpace": {"addressPrefixes": [prefix]}}, **tags)

    def put_address(self, group: str, name: str, **tags: str) -> str:
        return self.put(group, "publicIPAddresses", name, {"publicIPAllocationMethod": "Static"}, **tags)

    def peer(self, group: str, vnet: str, remote: str) -> None:
        name = f"{vnet}/virtualNetworkPeerings/to-{remote.rpartition('/')[2]}"
        self.put(group, "virtualNetworks", name, {"remoteVirtualNetwork": {"id": remote}})

    def exists(self, path: str) -> bool:
        return self.send("GET", path.removeprefix(self._subscription))[0] == 200

    def group_exists(self, name: str) -> bool:
        return self.exists(f"/resourceGroups/{name}")

    def delete_group(self, name: str) -> None:
        self.send("DELETE", f"/resourceGroups/{name}")

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return self.doors.arm(method, path, body)


@pytest.fixture(scope="session")
def the_azure() -> Iterator[Azure]:
    with demo.serve(scale=100, seed=11) as world:
        azure = Azure(world)
        azure.register("Microsoft.Network", "Microsoft.Compute")
        yield azure


@pytest.fixture
def azure(the_azure: Azure) -> Iterator[Azure]:
    """The world that all tests share; each uses names of its own, and nothing it asks is unknown to the world."""
    yield the_azure
    assert the_azure.world.report()["unknown"] == []
