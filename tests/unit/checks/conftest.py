"""A simulated Azure for the checks: its ARM door over HTTPS, and the settings of its subscription."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.doors import send

from crdbmesh.checks import catalog
from crdbmesh.checks.base import Verdict
from crdbmesh.clients import cloud as clouds
from crdbmesh.errors import Finding
from crdbmesh.local.folder import LocalFolder
from crdbmesh.run.world import World
from crdbmesh.spec import load as config
from crdbmesh_simulator import tls
from crdbmesh_simulator.azure import door
from crdbmesh_simulator.azure.state import Subscription
from crdbmesh_simulator.clock import Clock
from crdbmesh_simulator.network import Network
from crdbmesh_simulator.server import create_address_app
from crdbmesh_simulator.world import World as SimulatedWorld

TOKEN = "checks-token"
SCALE = 2000.0
SPEC: dict[str, Any] = {"name": "pre", "regions": ["eastus"], "allow_from": ["127.0.0.1"], "profile": "demo"}


class Azure:
    """A subscription behind its door, and what crdbmesh makes of it."""

    def __init__(self, world: SimulatedWorld, cloud: clouds.Cloud, folder: Path) -> None:
        self.world = world
        self.cloud = cloud
        self.folder = LocalFolder(folder / "home" / "pre")
        self.subscription = world.subscription
        self._context = ssl.create_default_context(cafile=str(cloud.ca_file))

    def verdicts(self, **document: Any) -> dict[str, Verdict]:
        """Every check on a spec, by name; none of them may write anything."""
        writes, there = dict(self.world.writes), self.folder.path.exists()
        spec = config.mesh({**SPEC, **document})
        with World.open(spec, self.cloud, self.folder) as world:
            found = {verdict.check: verdict for verdict in catalog.run_checks(world)}
        assert dict(self.world.writes) == writes
        assert self.folder.path.exists() == there
        return found

    def refused(self, **document: Any) -> list[Finding]:
        """What stands in the way of a spec."""
        return [finding for verdict in self.verdicts(**document).values() for finding in verdict.refused]

    def put_group(self, name: str, **tags: str) -> None:
        self.done("PUT", f"/resourceGroups/{name}", {"location": "eastus", "tags": tags})

    def put(self, kind: str, name: str, properties: Any, *, group: str = "pre", **more: Any) -> str:
        """Create a network resource and wait for it; its id."""
        path = f"/resourceGroups/{group}/providers/Microsoft.Network/{kind}/{name}"
        placed = {} if "/" in name else {"location": "eastus"}
        self.done("PUT", path, {**placed, "properties": properties, **more})
        self.until(lambda: self.send("GET", path)[1]["properties"]["provisioningState"] == "Succeeded")
        return f"/subscriptions/{self.subscription.id}{path}"

    def put_vnet(self, name: str, prefix: str, *, group: str = "pre", **more: Any) -> str:
        subnet = {"name": "nodes", "properties": {"addressPrefix": prefix.replace("/16", "/24")}}
        space = {"addressSpace": {"addressPrefixes": [prefix]}, "subnets": [subnet]}
        return self.put("virtualNetworks", name, space, group=group, **more)

    def put_address(self, name: str) -> str:
        sku = {"name": "Standard"}
        return self.put("publicIPAddresses", name, {"publicIPAllocationMethod": "Static"}, sku=sku)

    def peer(self, vnet: str, remote: str, *, group: str = "pre") -> None:
        self.put("virtualNetworks", f"{vnet}/virtualNetworkPeerings/p", {"remoteVirtualNetwork": {"id": remote}})

    def put_machine(self, name: str, key: str, *, size: str = "Standard_D4s_v5") -> None:
        """A machine of the mesh in eastus, on a network of its own, that lets a key in."""
        subnet = f"{self.put_vnet('pre-eastus', '10.1.0.0/16')}/subnets/nodes"
        configuration = {"name": "primary", "properties": {"subnet": {"id": subnet}}}
        nic = self.put("networkInterfaces", f"{name}-nic", {"ipConfigurations": [configuration]})
        publisher, offer, sku, version = ["Canonical", "ubuntu-24_04-lts", "server", "latest"]
        reference = {"publisher": publisher, "offer": offer, "sku": sku, "version": version}
        keys = [{"path": "/home/crdbmesh/.ssh/authorized_keys", "keyData": key}]
        linux = {"disablePasswordAuthentication": True, "ssh": {"publicKeys": keys}}
        body = {
            "location": "eastus",
            "zones": ["1"],
            "properties": {
                "hardwareProfile": {"vmSize": size},
                "storageProfile": {"imageReference": reference},
                "osProfile": {"computerName": "m", "adminUsername": "crdbmesh", "linuxConfiguration": linux},
                "networkProfile": {"networkInterfaces": [{"id": nic}]},
            },
        }
        path = f"/resourceGroups/pre/providers/Microsoft.Compute/virtualMachines/{name}"
        self.done("PUT", path, body)
        self.until(lambda: self.send("GET", path)[1]["properties"]["provisioningState"] == "Succeeded")

    def lock(self, level: str, scope: str = "/resourceGroups/pre") -> None:
        self.done("PUT", f"{scope}/providers/Microsoft.Authorization/locks/l", {"properties": {"level": level}})

    def done(self, method: str, path: str, body: Any = None) -> None:
        status, answer = self.send(method, path, body)
        assert status in {200, 201, 202, 204}, answer

    def until(self, holds: Any, *, deadline_s: float = 15.0) -> None:
        deadline = time.monotonic() + deadline_s
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        url = f"{self.cloud.arm_url}/subscriptions/{self.subscription.id}{path}?api-version=2025-04-01"
        return send(method, url, body, context=self._context, token=TOKEN)


@contextmanager
def serving(apps: list[web.Application], context: ssl.SSLContext) -> Iterator[list[str]]:
    """Serve several applications from a thread of their own; their URLs."""
    loop = asyncio.new_event_loop()
    runners = [web.AppRunner(app, access_log=None, shutdown_timeout=0.1) for app in apps]
    servers: list[asyncio.Server] = []

    async def start() -> None:
        for runner in runners:
            await runner.setup()
            assert runner.server is not None
            # Not a TCPSite: it cannot say how long to wait for the TLS goodbye of a client that is already gone.
            servers.append(
                await loop.create_server(runner.server, "127.0.0.1", 0, ssl=context, ssl_shutdown_timeout=0.05)
            )

    async def stop() -> None:
        for runner, server in zip(runners, servers, strict=True):
            await runner.cleanup()
            server.close()
            await server.wait_closed()
        await asyncio.sleep(0.1)

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        yield [f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="session")
def authority() -> tls.CertificateAuthority:
    return tls.CertificateAuthority.create("checks")


@pytest.fixture
def azure(authority: tls.CertificateAuthority, tmp_path: Path) -> Iterator[Azure]:
    """A subscription of the test's own, registered for what the mesh needs. Nothing asked may be unknown to it."""
    world = SimulatedWorld(clock=Clock(SCALE), seed=3)
    world.subscription = Subscription(world, registered=("Microsoft.Network", "Microsoft.Compute"))
    world.network = Network(world)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(authority.ca_pem)
    apps = [door.create_app(world, token=TOKEN), create_address_app(), create_address_app()]
    with serving(apps, authority.server_context(["127.0.0.1"])) as (url, *own_address):
        cloud = clouds.Cloud(
            name="simulated",
            arm_url=url,
            scopes=(f"{url}/.default",),
            credential=clouds.GivenToken(TOKEN),
            ca_file=ca_file,
            subscription_id=world.subscription.id,
            address_urls=tuple(f"{service}/" for service in own_address),
        )
        yield Azure(world, cloud, tmp_path)
    assert world.unknown == []


@pytest.fixture
def stranger(azure: Azure) -> clouds.Cloud:
    """The same Azure, with a token that it does not accept."""
    return dataclasses.replace(azure.cloud, credential=clouds.GivenToken("not-the-token"))
