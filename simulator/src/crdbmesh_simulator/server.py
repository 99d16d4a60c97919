"""Starts a whole simulated world, says where its doors are, and stops it.

Doors: Azure Resource Manager, a report of what was asked of the world, and two services for "what is my address", as
public ones answer it, each at https://127.0.0.1:<port>; SSH at <public ip of each machine>:<its port>; the Kubernetes
API at https://<public ip of each server>:6443; DNS at the NodePorts that lead to a CoreDNS. One thread serves the HTTPS
and DNS doors, one moves the clusters, a few serve SSH.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import secrets
import socket
import ssl
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from aiohttp import web

from crdbmesh_simulator import tls
from crdbmesh_simulator.azure import door
from crdbmesh_simulator.azure.state import Subscription
from crdbmesh_simulator.clock import Clock
from crdbmesh_simulator.faults import read_rates
from crdbmesh_simulator.kubernetes.api.door import KubeDoors
from crdbmesh_simulator.kubernetes.controllers import Controllers
from crdbmesh_simulator.machines.server import Hosts
from crdbmesh_simulator.network import Network
from crdbmesh_simulator.nodeports import NodePorts
from crdbmesh_simulator.userland.table import COMMANDS
from crdbmesh_simulator.workloads import registry
from crdbmesh_simulator.world import World

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SSH_PORT = 2222
"""Where the cloud file says that machines answer SSH: a port that needs no privilege to listen on."""

_TOLD_PART = 1 / 4
"""Clients are told this part of the clock's pace: while they compute it goes slowly, and asking often is computing."""
_STOP_DEADLINE_S = 20.0


class Simulator:
    """A running world.

    `scale`: simulated seconds per real second. `seed`: of everything that is left to chance. `folder`: where the CA
    file and the cloud file are written. `ssh_port`: what the cloud file names as the port of the machines' SSH.
    `faults`: what goes wrong, and how often: rates 0..1 by name, as `faults.Faults.set` takes them. Raises ValueError:
    a fault is not known, or a rate is none.
    """

    def __init__(
        self,
        folder: Path,
        *,
        scale: float = 60.0,
        seed: int = 0,
        ssh_port: int = SSH_PORT,
        faults: Mapping[str, float] | None = None,
    ) -> None:
        self._folder = folder
        self._ssh_port = ssh_port
        self._token = secrets.token_urlsafe(24)
        self._subscription_id = str(uuid.UUID(int=random.Random(seed).getrandbits(128), version=4))  # noqa: S311
        self._block = Block.claim()
        self.world = World(clock=Clock(scale), seed=seed)
        self.world.faults.set(faults or {})
        self.world.subscription = Subscription(
            self.world, subscription_id=self._subscription_id, addresses=self._block.addresses()
        )
        self.world.network = Network(self.world)
        self._hosts = Hosts(self.world, COMMANDS)
        self._controllers = Controllers(self.world, registry.start)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="doors", daemon=True)
        self._kube = KubeDoors(self.world, self._loop)
        self._node_ports = NodePorts(self.world, self._loop)
        self._runners: list[web.AppRunner] = []
        self._urls: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Open every door."""
        self._folder.mkdir(parents=True, exist_ok=True)
        authority = tls.CertificateAuthority.create("crdbmesh simulator")
        (self._folder / "ca.pem").write_text(authority.ca_pem)
        context = authority.server_context(["localhost", "127.0.0.1"])
        self._thread.start()
        apps = {
            "arm": door.create_app(self.world, token=self._token),
            "report": self._report_app(),
            "address": create_address_app(),
            "other address": create_address_app(),
        }
        for name, app in apps.items():
            self._urls[name] = self._call(self._serve(app, context))
        self._hosts.start()
        self._controllers.start()
        self._kube.start()
        self._node_ports.start()
        self._write_cloud_file()

    def stop(self) -> None:
        """Close every door, and end every thread."""
        # ARM first: it powers machines on.
        for runner in self._runners:
            self._call(runner.cleanup())
        self._controllers.stop()
        self._node_ports.stop()
        self._kube.stop()
        self._hosts.stop()
        self._call(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_DEADLINE_S)
        self._loop.close()
        self._block.release()

    def coordinates(self) -> dict[str, Any]:
        """Where the world is, and what a client needs to be let in."""
        return {
            "arm_url": self._urls["arm"],
            "ca_file": str(self._folder / "ca.pem"),
            "token": self._token,
            "subscription_id": self._subscription_id,
            "cloud_file": str(self._folder / "cloud.json"),
            "report_url": f"{self._urls['report']}/",
            "address_urls": [f"{self._urls[name]}/" for name in ("address", "other address")],
            "ssh_port": self._ssh_port,
            "time_scale": self.world.clock.scale * _TOLD_PART,
        }

    def report(self) -> dict[str, Any]:
        """What has been asked of the world so far, and what exists in it now."""
        world = self.world
        with world.lock:
            return {
                "now": world.clock.now(),
                "writes": {name: world.writes[name] for name in ("arm", "ssh", "kube")},
                "unknown": [{"door": unknown.door, "what": unknown.what} for unknown in world.unknown],
                "resources": len(world.subscription.groups) + len(world.subscription.resources),
                "machines": len(world.machines),
                "faults": world.faults.counts,
            }

    def commands(self) -> list[dict[str, Any]]:
        """What the process lists of machines and containers have shown so far."""
        with self.world.lock:
            ran = list(self.world.commands.items())
        return [{"place": place, "argv": list(argv), "times": times} for (place, argv), times in ran]

    def _report_app(self) -> web.Application:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.headers.get("Authorization") != f"Bearer {self._token}":
                raise web.HTTPUnauthorized
            return await handler(request)

        async def answer(_request: web.Request) -> web.Response:
            return web.json_response(self.report())

        async def commands(_request: web.Request) -> web.Response:
            return web.json_response(self.commands())

        async def set_faults(request: web.Request) -> web.Response:
            try:
                self.world.faults.set(read_rates(await request.json()))
            except ValueError as error:
                return web.json_response({"error": str(error)}, status=400)
            return web.json_response({"rates": self.world.faults.rates})

        async def set_answers(request: web.Request) -> web.Response:
            try:
                self.world.subscription.recordings.replace(await request.json())
            except ValueError as error:
                return web.json_response({"error": str(error)}, status=400)
            return web.Response(status=204)

        async def clear_faults(_request: web.Request) -> web.Response:
            self.world.faults.clear()
            return web.Response(status=204)

        app = web.Application(middlewares=[guard])
        app.router.add_get("/", answer)
        app.router.add_get("/commands", commands)
        app.router.add_put("/faults", set_faults)
        app.router.add_delete("/faults", clear_faults)
        app.router.add_put("/answers", set_answers)
        return app

    async def _serve(self, app: web.Application, context: ssl.SSLContext) -> str:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self._runners.append(runner)
        port = runner.addresses[0][1]
        return f"https://127.0.0.1:{port}"

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_STOP_DEADLINE_S)

    def _write_cloud_file(self) -> None:
        coordinates = self.coordinates()
        keys = ("arm_url", "ca_file", "token", "subscription_id", "address_urls", "ssh_port", "time_scale")
        document = {
            "name": "simulated",
            "scopes": [f"{coordinates['arm_url']}/.default"],
            **{key: coordinates[key] for key in keys},
        }
        path = self._folder / "cloud.json"
        # One that is there may be open to others, or be a link.
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)


def create_address_app() -> web.Application:
    """The public "what is my address" service: GET / answers the caller's address, as api.ipify.org and its like do."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=request.remote or "")

    app = web.Application()
    app.router.add_get("/", answer)
    return app


class Block:
    """A /24 of loopback addresses that this world alone hands out.

    It is claimed by listening on its last address, so that two worlds on one machine never share one.
    """

    _PORT = 47113

    def __init__(self, prefix: str, claim: socket.socket) -> None:
        self._prefix = prefix
        self._claim = claim

    @classmethod
    def claim(cls) -> Self:
        """Take a block that nobody has.

        Raises OSError: none is to be had (on systems where only 127.0.0.1 is configured, say).
        """
        candidates = [f"127.{second}.{third}" for second, third in itertools.product(range(64, 127), range(256))]
        failure: OSError | None = None
        for prefix in random.SystemRandom().sample(candidates, 64):
            listener = socket.socket()
            try:
                listener.bind((f"{prefix}.254", cls._PORT))
                listener.listen(1)
            except OSError as error:
                listener.close()
                failure = error
                continue
            return cls(prefix, listener)
        raise OSError(f"no block of loopback addresses is free ({failure})")

    def addresses(self) -> Iterator[str]:
        """The addresses to give, each once."""
        return (f"{self._prefix}.{last}" for last in range(1, 254))

    def release(self) -> None:
        """Give the block back."""
        self._claim.close()
