"""A simulated Azure Resource Manager on a loopback port, with raw requests and with Microsoft's own SDK against it."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import http.client
import itertools
import json
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from simulator.tests.azure.sdk import Sdk

from crdbmesh_simulator import tls
from crdbmesh_simulator.azure import door
from crdbmesh_simulator.azure.state import Subscription
from crdbmesh_simulator.clock import Clock
from crdbmesh_simulator.network import Network
from crdbmesh_simulator.world import Machine, World

TOKEN = "arm-test-token"
SCALE = 1500.0
API = "2025-05-01"
LOGIN_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE3Ls5O8Nq7bU0jYQ0mXn1t9b8b5m1yq3v2u4w6x8y0z test"

Body = dict[str, Any]
_NUMBERS = itertools.count()


@dataclasses.dataclass
class Reply:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])

    @property
    def message(self) -> str:
        return str(self.body["error"]["message"])


class Arm:
    """A served subscription, and raw requests to it."""

    def __init__(self, world: World, url: str, ca_file: Path) -> None:
        self.world = world
        self.url = url
        self.ca_file = ca_file
        self.subscription = world.subscription
        self.scope = f"/subscriptions/{self.subscription.id}"
        self._context = ssl.create_default_context(cafile=str(ca_file))
        self._connection = http.client.HTTPSConnection(urllib.parse.urlsplit(url).netloc, context=self._context)

    def close(self) -> None:
        self._connection.close()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        api: str | None = API,
        headers: dict[str, str] | None = None,
        token: str | None = TOKEN,
    ) -> Reply:
        """A request; `path` below the subscription unless it starts with `/`."""
        full = path if path.startswith(("/", "http")) else f"{self.scope}/{path}"
        full = full.removeprefix(self.url)
        if api is not None and "api-version=" not in full:
            full += f"{'&' if '?' in full else '?'}api-version={api}"
        sent = {"Content-Type": "application/json", **(headers or {})}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, str) else json.dumps(body) if body is not None else None
        self._connection.request(method, full, body=data, headers=sent)
        response = self._connection.getresponse()
        raw = response.read()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, received, json.loads(raw) if raw else None)

    def wait(self, reply: Reply, *, deadline_s: float = 20.0) -> Body:
        """Follow a long-running operation to its end; the last status body."""
        url = reply.headers["azure-asyncoperation"]
        deadline = time.monotonic() + deadline_s
        while True:
            status = self.ask("GET", url)
            assert status.status == 200, status
            if status.body["status"] != "InProgress":
                return dict(status.body)
            assert time.monotonic() < deadline, f"{url} is still InProgress"
            time.sleep(0.005)

    def done(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """A request whose operation, if it begins one, is waited for and succeeds; for PUT the resource afterwards."""
        reply = self.ask(method, path, body, **more)
        assert reply.status in (200, 201, 202, 204), reply
        if "azure-asyncoperation" in reply.headers:
            ended = self.wait(reply)
            assert ended["status"] == "Succeeded", ended
        return self.ask("GET", path, **more) if method == "PUT" else reply

    def group(self, name: str = "rg", location: str = "eastus", **more: Any) -> str:
        """A resource group; its path."""
        assert self.ask("PUT", f"resourcegroups/{name}", {"location": location, **more}).status in (200, 201)
        return f"resourceGroups/{name}"

    def network(self, group: str, kind: str, name: str, body: Body, *, api: str = API) -> Body:
        """A network resource, made and waited for."""
        reply = self.done("PUT", f"{group}/providers/Microsoft.Network/{kind}/{name}", body, api=api)
        assert reply.status == 200, reply
        return dict(reply.body)

    def vnet(self, group: str, name: str, prefix: str, *, location: str = "eastus", **subnet: Any) -> Body:
        """A VNet with the subnet `nodes` over its first /24."""
        inner = {"addressPrefix": prefix.replace("/16", "/24"), **subnet}
        properties = {
            "addressSpace": {"addressPrefixes": [prefix]},
            "subnets": [{"name": "nodes", "properties": inner}],
        }
        return self.network(group, "virtualNetworks", name, {"location": location, "properties": properties})

    def public_ip(self, group: str, name: str, *, location: str = "eastus") -> Body:
        """A Standard static public IP."""
        body = {"location": location, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
        return self.network(group, "publicIPAddresses", name, body)

    def nsg(self, group: str, name: str, *rules: Body, location: str = "eastus") -> Body:
        """A network security group."""
        entries = [{"name": f"rule{index}", "properties": one} for index, one in enumerate(rules)]
        body = {"location": location, "properties": {"securityRules": entries}}
        return self.network(group, "networkSecurityGroups", name, body)

    def nic(self, group: str, name: str, body: Body) -> Body:
        """A NIC."""
        return self.network(group, "networkInterfaces", name, body)

    def machine(
        self, group: str, name: str, vnet: Body, *, public: bool = True, nsg: Body | None = None, **more: Any
    ) -> Machine:
        """A VM that runs, on a NIC of its own in the VNet's first subnet, and its machine."""
        location = vnet["location"]
        address = self.public_ip(group, f"{name}-ip", location=location) if public else None
        nic = self.nic(group, f"{name}-nic", nic_body(vnet, location=location, address=address, nsg=nsg))
        path = f"{group}/providers/Microsoft.Compute/virtualMachines/{name}"
        made = self.done("PUT", path, vm_body(nic, name, location=location, **more))
        self.eventually(lambda: made.body["id"].lower() in self.world.machines)
        return self.world.machines[made.body["id"].lower()]

    def eventually(self, holds: Any, *, deadline_s: float = 10.0) -> None:
        deadline = time.monotonic() + deadline_s
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.005)


def nic_body(
    vnet: Body,
    *,
    location: str = "eastus",
    address: Body | None = None,
    nsg: Body | None = None,
    ip: str | None = None,
) -> Body:
    configuration: Body = {"subnet": {"id": vnet["properties"]["subnets"][0]["id"]}}
    if address is not None:
        configuration["publicIPAddress"] = {"id": address["id"], "properties": {"deleteOption": "Delete"}}
    if ip is not None:
        configuration.update(privateIPAllocationMethod="Static", privateIPAddress=ip)
    properties: Body = {"ipConfigurations": [{"name": "primary", "properties": configuration}]}
    if nsg is not None:
        properties["networkSecurityGroup"] = {"id": nsg["id"]}
    return {"location": location, "properties": properties}


def vm_body(nic: Body, name: str, *, location: str = "eastus", size: str = "Standard_D2s_v5", **more: Any) -> Body:
    key = {"path": "/home/azureuser/.ssh/authorized_keys", "keyData": LOGIN_KEY}
    return {
        "location": location,
        **more,
        "properties": {
            "hardwareProfile": {"vmSize": size},
            "storageProfile": {
                "imageReference": {
                    "publisher": "Canonical",
                    "offer": "ubuntu-24_04-lts",
                    "sku": "server",
                    "version": "latest",
                },
                "osDisk": {"createOption": "FromImage", "deleteOption": "Delete", "diskSizeGB": 64},
            },
            "osProfile": {
                "computerName": name,
                "adminUsername": "azureuser",
                "customData": base64.b64encode(b"#cloud-config\n").decode(),
                "linuxConfiguration": {"disablePasswordAuthentication": True, "ssh": {"publicKeys": [key]}},
            },
            "networkProfile": {
                "networkInterfaces": [{"id": nic["id"], "properties": {"primary": True, "deleteOption": "Delete"}}]
            },
        },
    }


def rule(
    priority: int = 100,
    *,
    access: str = "Allow",
    direction: str = "Inbound",
    protocol: str = "Tcp",
    source: str | list[str] = "*",
    destination: str | list[str] = "*",
    port: str | list[str] = "*",
) -> Body:
    """Properties of a security rule."""
    body: Body = {
        "priority": priority,
        "access": access,
        "direction": direction,
        "protocol": protocol,
        "sourcePortRange": "*",
    }
    for name, value in (("sourceAddressPrefix", source), ("destinationAddressPrefix", destination)):
        body[name if isinstance(value, str) else f"{name}es"] = value
    body["destinationPortRange" if isinstance(port, str) else "destinationPortRanges"] = port
    return body


def peering_body(remote: Body, **more: Any) -> Body:
    return {"properties": {"remoteVirtualNetwork": {"id": remote["id"]}, "allowForwardedTraffic": True, **more}}


@contextmanager
def serving(app: web.Application, context: ssl.SSLContext) -> Iterator[str]:
    """Serve `app` from a thread of its own; its URL."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def start() -> asyncio.Server:
        await runner.setup()
        assert runner.server is not None
        # Not a TCPSite: it cannot say how long to wait for the TLS goodbye of a client that is already gone.
        return await loop.create_server(runner.server, "127.0.0.1", 0, ssl=context, ssl_shutdown_timeout=0.05)

    async def stop() -> None:
        await runner.cleanup()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.1)

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def served(world: World, authority: tls.CertificateAuthority, folder: Path) -> Iterator[Arm]:
    ca_file = folder / "ca.pem"
    ca_file.write_text(authority.ca_pem)
    app = door.create_app(world, token=TOKEN)
    with serving(app, authority.server_context(["127.0.0.1"])) as url:
        arm = Arm(world, url, ca_file)
        try:
            yield arm
        finally:
            arm.close()


@pytest.fixture(scope="session")
def authority() -> tls.CertificateAuthority:
    return tls.CertificateAuthority.create("arm tests")


@pytest.fixture(scope="session")
def make_world() -> Any:
    """Builds a world with a subscription and a network."""

    def make(*, scale: float = SCALE, seed: int = 1, **more: Any) -> World:
        world = World(clock=Clock(scale), seed=seed)
        more.setdefault("registered", ("Microsoft.Network", "Microsoft.Compute"))
        world.subscription = Subscription(world, **more)
        world.network = Network(world)
        return world

    return make


@pytest.fixture(scope="session")
def serve(authority: tls.CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Serves a world: a context manager that gives an Arm, and leaves no thread behind."""

    @contextmanager
    def serve_(world: World) -> Iterator[Arm]:
        before = set(threading.enumerate())
        with served(world, authority, tmp_path_factory.mktemp("arm")) as arm:
            yield arm
        assert set(threading.enumerate()) <= before

    return serve_


@pytest.fixture(scope="session")
def serve_app() -> Any:
    """Serves an application: a context manager that gives its URL."""
    return serving


@pytest.fixture
def arm(make_world: Any, serve: Any) -> Iterator[Arm]:
    """A served subscription of the test's own, with its providers registered."""
    with serve(make_world()) as arm:
        yield arm


@pytest.fixture(scope="module")
def shared(make_world: Any, serve: Any) -> Iterator[Arm]:
    """A served subscription that the tests of a file share, each in its own group."""
    with serve(make_world()) as arm:
        yield arm


@pytest.fixture
def group(shared: Arm) -> str:
    """A resource group of the test's own in `shared`; its path."""
    return shared.group(f"rg-{next(_NUMBERS)}")


@pytest.fixture(scope="module")
def slow(make_world: Any, serve: Any) -> Iterator[Arm]:
    """A served subscription in which there is time to ask something while an operation runs."""
    with serve(make_world(scale=60.0)) as arm:
        yield arm


@pytest.fixture(scope="session")
def bodies() -> Any:
    """The builders of request bodies, as attributes."""

    class Bodies:
        nic = staticmethod(nic_body)
        vm = staticmethod(vm_body)
        rule = staticmethod(rule)
        peering = staticmethod(peering_body)
        login_key = LOGIN_KEY

    return Bodies


@pytest.fixture
def sdk(arm: Arm) -> Iterator[Sdk]:
    sdk = Sdk(arm.url, str(arm.ca_file), arm.subscription.id, TOKEN)
    yield sdk
    sdk.close()
