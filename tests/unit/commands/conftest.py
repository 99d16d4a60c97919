"""A simulated Azure for the commands that need one, seen through its doors."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from crdbmesh.clients.cloud import Cloud
from crdbmesh.commands import demo

API = {"network": "2025-05-01", "compute": "2025-04-01", "resources": "2025-04-01"}


class Azure:
    """The simulated Azure as somebody else's client sees it."""

    def __init__(self, world: demo.SimulatedWorld) -> None:
        self.world = world
        self.cloud: Cloud = world.cloud()
        self._subscription = f"/subscriptions/{world.coordinates['subscription_id']}"
        self._context = ssl.create_default_context(cafile=world.coordinates["ca_file"])

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
        status, answer = self.send("PUT", path, body)
        assert status in {200, 201}, answer
        deadline = time.monotonic() + 20
        while self.send("GET", path)[1]["properties"]["provisioningState"] != "Succeeded":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return f"{self._subscription}{path}"

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
        provider = path.partition("resourceGroups")[2].partition("/providers/Microsoft.")[2].partition("/")[0].lower()
        url = f"{self.cloud.arm_url}{self._subscription}{path}?api-version={API[provider or 'resources']}"
        headers = {"Authorization": f"Bearer {self.world.coordinates['token']}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._context) as response:
                raw = response.read()
                return response.status, json.loads(raw) if raw else None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")


@pytest.fixture(scope="session")
def the_azure() -> Iterator[Azure]:
    with demo.serve(scale=400, seed=11) as world:
        azure = Azure(world)
        azure.register("Microsoft.Network", "Microsoft.Compute")
        yield azure


@pytest.fixture
def azure(the_azure: Azure) -> Iterator[Azure]:
    """The world that all tests share; each uses names of its own, and nothing it asks is unknown to the world."""
    yield the_azure
    assert the_azure.world.report()["unknown"] == []
