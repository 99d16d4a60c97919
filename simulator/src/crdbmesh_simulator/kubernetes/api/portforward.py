"""`pods/portforward`: connections of the client's machine to a pod's HTTP port.

The protocol `portforward.k8s.io` of `staging/src/k8s.io/client-go/tools/portforward`, its SPDY frames carried by the
messages of a WebSocket (`staging/src/k8s.io/apiserver/pkg/util/proxy/streamtunnel.go`). A connection is a pair of
streams: `data`, and `error` for what went wrong. Programs here answer one HTTP GET a connection, and no TLS.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from crdbmesh_simulator.kubernetes.api import exec as commands
from crdbmesh_simulator.kubernetes.api import reads, status
from crdbmesh_simulator.kubernetes.api.spdy import Frames, Stream

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler

_PROTOCOL = "SPDY/3.1+portforward.k8s.io"


async def serve(handler: Handler, call: Call) -> web.StreamResponse:
    """Forward connections until the client ends."""
    pod = reads.found(handler, call)
    if (pod.get("status") or {}).get("phase") != "Running":
        raise status.bad_request(f"pod {call.name} is not running")
    commands.negotiate(call.request, (_PROTOCOL,))
    socket = web.WebSocketResponse(protocols=(_PROTOCOL,), max_msg_size=0)
    await socket.prepare(call.request)
    frames, answered = Frames(), set[int]()
    async for message in socket:
        if message.type is not WSMsgType.BINARY:
            continue
        replies = frames.receive(message.data)
        if replies:
            await socket.send_bytes(replies)
        for stream in list(frames.streams.values()):
            if stream.headers.get("streamtype") == "data" and stream.number not in answered and _is_whole(stream):
                answered.add(stream.number)
                data, error = await _answer(handler, call, stream)
                await socket.send_bytes(frames.data(stream, data))
                for other in _errors_of(frames, stream):
                    await socket.send_bytes(frames.data(other, error))
    return socket


def _is_whole(stream: Stream) -> bool:
    return b"\r\n\r\n" in stream.data or stream.data[:1] == b"\x16"


def _errors_of(frames: Frames, stream: Stream) -> list[Stream]:
    """Return the stream for errors of the connection that a data stream belongs to."""
    wanted = {**stream.headers, "streamtype": "error"}
    return [each for each in frames.streams.values() if each.headers == wanted]


async def _answer(handler: Handler, call: Call, stream: Stream) -> tuple[bytes, bytes]:
    """Return what a connection gets, and the error that ends it."""
    port = int(stream.headers["port"])
    method, path, *_ = [*bytes(stream.data).split(b"\r\n")[0].decode("latin-1").split(" "), "", ""]
    if method != "GET":
        handler.world.not_known("kube", f"{method!r} through a forwarded port")
        return b"", b"the simulator forwards HTTP GETs only"
    answer, runtime = None, handler.cluster.runtime
    if runtime is not None:
        ask = functools.partial(runtime.http_get, str(call.namespace), call.name, port, path, tls=False)
        answer = await handler.run(ask)
    if answer is None:
        why = f"dial tcp4 127.0.0.1:{port}: connect: connection refused"
        what = f"failed to connect to localhost:{port} inside namespace: {why}"
        return b"", f"error forwarding port {port} to pod {call.name}: {what}".encode()
    lines = [
        f"HTTP/1.1 {answer.status} Answered",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + answer.body, b""
