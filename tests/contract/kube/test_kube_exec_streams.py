"""The remote command protocol, against a server that answers as the test says."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest
from aiohttp import web

from crdbmesh.clients.kube.client import Kube
from crdbmesh.errors import KubeError, StoppedError, WaitError

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
SUCCESS = {"metadata": {}, "status": "Success"}
PATH = "/api/v1/namespaces/here/pods/pod/exec"


class Scripted(Protocol):
    """The scripted server; see conftest."""

    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    requests: list[str]

    def listen(self) -> None: ...
    def refuse(self) -> None: ...
    def kubeconfig(self) -> dict[str, Any]: ...


def exited(code: int) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def serving(
    scripted: Scripted,
    command: Callable[[web.WebSocketResponse, web.Request], Awaitable[None]],
    *protocols: str,
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        stream = web.WebSocketResponse(protocols=protocols or (V5,), max_msg_size=2**25)
        await stream.prepare(request)
        await command(stream, request)
        await stream.close()
        return stream

    scripted.handler = handler


async def end(stream: web.WebSocketResponse, status: dict[str, Any]) -> None:
    await stream.send_bytes(b"\x03" + json.dumps(status).encode())


def test_outputs_and_status_come_apart(scripted: Scripted, client: Kube) -> None:
    async def command(stream: web.WebSocketResponse, _: web.Request) -> None:
        for channel in (b"\x01", b"\x02", b"\x03"):
            await stream.send_bytes(channel)
        await stream.send_bytes(b"\x01out ")
        await stream.send_bytes(b"\x02err")
        await stream.ping()
        await stream.send_bytes(b"\x01put")
        await end(stream, exited(7))

    serving(scripted, command)
    result = client.exec("here", "pod", ["sh", "-c", "a b; c"], container="db")
    assert (result.stdout, result.stderr, result.status) == ("out put", "err", 7)
    query = "command=sh&command=-c&command=a+b%3B+c&stdout=true&stderr=true&container=db"
    assert scripted.requests == [f"GET {PATH}?{query}"]
    assert "put" not in repr(result)


def test_an_older_server_is_spoken_to_in_its_own_version(scripted: Scripted, client: Kube) -> None:
    async def command(stream: web.WebSocketResponse, _: web.Request) -> None:
        await stream.send_bytes(b"\x01" + (stream.ws_protocol or "").encode())
        await end(stream, SUCCESS)

    serving(scripted, command, V4)
    assert client.exec("here", "pod", ["true"]).stdout == V4


def test_a_large_output_comes_whole(scripted: Scripted, client: Kube) -> None:
    async def command(stream: web.WebSocketResponse, _: web.Request) -> None:
        for _number in range(40):
            await stream.send_bytes(b"\x01" + b"o" * 100_000)
        await stream.send_bytes(b"\x01" + b"p" * 3_000_000)
        await end(stream, SUCCESS)

    serving(scripted, command)
    result = client.exec("here", "pod", ["cat", "large"])
    assert len(result.stdout) == 7_000_000
    assert result.stdout.endswith("p")


def test_a_stream_that_ends_without_a_status_is_an_error(scripted: Scripted, client: Kube) -> None:
    async def command(stream: web.WebSocketResponse, _: web.Request) -> None:
        await stream.send_bytes(b"\x01half")

    serving(scripted, command)
    with pytest.raises(KubeError, match="the stream broke before the command's status came"):
        client.exec("here", "pod", ["cat"])


def test_a_stream_that_is_cut_is_an_error(scripted: Scripted, client: Kube) -> None:
    async def command(stream: web.WebSocketResponse, request: web.Request) -> None:
        await stream.send_bytes(b"\x01half")
        assert request.transport is not None
        request.transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    serving(scripted, command)
    with pytest.raises(KubeError, match="the stream broke"):
        client.exec("here", "pod", ["cat"])
    assert len(scripted.requests) == 1


def test_a_command_that_could_not_be_started_is_an_error(scripted: Scripted, client: Kube) -> None:
    async def command(stream: web.WebSocketResponse, _: web.Request) -> None:
        message = 'exec: "nope": executable file not found in $PATH'
        await end(stream, {"status": "Failure", "reason": "InternalError", "message": message, "code": 500})

    serving(scripted, command)
    with pytest.raises(KubeError, match="executable file not found") as caught:
        client.exec("here", "pod", ["nope"])
    assert (caught.value.status, caught.value.reason) == (500, "InternalError")


def test_a_pod_that_is_not_there_is_an_error_with_the_servers_words(scripted: Scripted, client: Kube) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        status = {"kind": "Status", "reason": "NotFound", "message": 'pods "pod" not found', "code": 404}
        return web.json_response(status, status=404)

    scripted.handler = handler
    with pytest.raises(KubeError, match='pods "pod" not found') as caught:
        client.exec("here", "pod", ["true"])
    assert (caught.value.status, caught.value.reason) == (404, "NotFound")


def test_a_server_that_is_not_up_yet_is_tried_again(scripted: Scripted, client: Kube) -> None:
    asked = 0

    async def command(stream: web.WebSocketResponse, _: web.Request) -> None:
        await end(stream, SUCCESS)

    serving(scripted, command)
    serve = scripted.handler

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return web.Response(status=503) if asked == 1 else await serve(request)

    scripted.handler = handler
    assert client.exec("here", "pod", ["true"]).status == 0


def test_a_command_that_takes_too_long_is_given_up(scripted: Scripted, client: Kube) -> None:
    async def command(stream: web.WebSocketResponse, _: web.Request) -> None:
        await stream.send_bytes(b"\x01begun")
        await asyncio.sleep(20)

    serving(scripted, command)
    started = time.monotonic()
    with pytest.raises(WaitError, match=r"`sleep 20` in here/pod to end; last seen: begun"):
        client.exec("here", "pod", ["sleep", "20"], timeout_s=0.6)
    assert time.monotonic() - started < 3


def test_an_interrupt_leaves_a_command_that_goes_on_to_itself(scripted: Scripted) -> None:
    async def command(stream: web.WebSocketResponse, _: web.Request) -> None:
        await stream.send_bytes(b"\x01begun")
        await asyncio.sleep(20)

    serving(scripted, command)
    stop = threading.Event()
    stop.set()
    started = time.monotonic()
    left = pytest.raises(StoppedError, match=r"`sleep 20` in here/pod to end; last seen: begun")
    with Kube(scripted.kubeconfig(), name="eastus", stop=stop) as kube, left:
        kube.exec("here", "pod", ["sleep", "20"])
    assert time.monotonic() - started < 10
