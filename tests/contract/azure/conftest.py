"""The clients against the simulator's door, and against Azure itself when someone asks for it.

    CRDBMESH_TEST_AZURE=1 AZURE_SUBSCRIPTION_ID=... pytest tests/contract/azure

makes a group in that subscription, and deletes it whatever happens.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from crdbmesh.clients import environment
from crdbmesh.clients.azure import resources
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.cloud import Cloud, GivenToken
from crdbmesh_simulator.azure import door
from crdbmesh_simulator.clock import Clock
from crdbmesh_simulator.world import World

SCALE = 200.0
TOKEN = "contract-token"
ON_AZURE = os.environ.get("CRDBMESH_TEST_AZURE") == "1" and bool(os.environ.get("AZURE_SUBSCRIPTION_ID"))


@pytest.fixture(
    scope="module",
    params=[
        "simulator",
        pytest.param(
            "azure",
            marks=[
                pytest.mark.skipif(not ON_AZURE, reason="CRDBMESH_TEST_AZURE is not 1, or no AZURE_SUBSCRIPTION_ID"),
                pytest.mark.enable_socket,
                pytest.mark.timeout(3600),
            ],
        ),
    ],
)
def the_cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    if request.param == "azure":
        yield environment.find_cloud(os.environ)
        return
    world = World(clock=Clock(SCALE), seed=7)
    app = door.create_app(world, token=TOKEN)
    with serving(app, tmp_path_factory.mktemp("arm")) as (url, ca_file):
        yield Cloud(
            name="simulator",
            arm_url=url,
            scopes=(f"{url}/.default",),
            credential=GivenToken(TOKEN),
            ca_file=ca_file,
            subscription_id=world.subscription.id,
            time_scale=SCALE,
        )
    assert world.unknown == []


@pytest.fixture(scope="module")
def session(the_cloud: Cloud) -> Iterator[Session]:
    with Session(the_cloud) as opened:
        yield opened


@pytest.fixture(scope="module")
def tag() -> tuple[str, str]:
    """A tag that nothing else in the subscription carries."""
    return "crdbmesh-contract", secrets.token_hex(6)


@pytest.fixture(scope="module")
def group(session: Session, tag: tuple[str, str]) -> Iterator[str]:
    """A throw-away resource group in eastus."""
    name = f"crdbmesh-contract-{tag[1]}"
    try:
        resources.ensure_group(session, name, "eastus", {tag[0]: tag[1]})
        yield name
    finally:
        for left in resources.list_groups(session, *tag) or [{"name": name}]:
            resources.delete_group(session, left["name"], wait=session.cloud.name == "simulator")


@pytest.fixture
def delete(session: Session, group: str) -> Callable[[str, str], None]:
    """Deletes a resource of the group, by type and name."""

    def do(kind: str, name: str) -> None:
        provider = "Compute" if kind in {"virtualMachines", "disks"} else "Network"
        scope = f"/subscriptions/{session.subscription_id}/resourceGroups/{group}"
        resources.delete_resource(session, f"{scope}/providers/Microsoft.{provider}/{kind}/{name}")

    return do


@contextmanager
def serving(app: web.Application, folder: Path) -> Iterator[tuple[str, Path]]:
    """Serve `app` over TLS on a free loopback port, from a thread of its own."""
    ca_file, context = certified(folder)
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port: int = runner.addresses[0][1]
        return port

    async def stop() -> None:
        for connection in runner.server.connections if runner.server else ():
            # A client that went away without a word would be waited for, and its socket be left behind.
            if connection.transport:
                connection.transport.abort()
        await runner.cleanup()
        await asyncio.sleep(0.05)

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        yield f"https://127.0.0.1:{port}", ca_file
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def certified(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A CA file to trust, and a context to serve with on 127.0.0.1."""
    authority = trustme.CA()
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return ca_file, context
