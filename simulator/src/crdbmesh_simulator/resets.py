"""Connections of HTTPS doors that break: reset (RST) before an answer, or in the middle of one."""

from __future__ import annotations

import contextlib
import socket
import struct

from aiohttp import web

UNANSWERED, MIDWAY = "unanswered", "midway"
"""The ways to cut an answer: nothing of it is sent, or its head and half of its body."""

_AT_ONCE = struct.pack("ii", 1, 0)


async def cut(request: web.Request, response: web.StreamResponse, how: str) -> web.StreamResponse:
    """Reset the connection instead of giving the answer, or half-way through it.

    An answer without a body cannot be cut half-way: nothing of it is sent.
    """
    body = response.body if isinstance(response, web.Response) else None
    if how == MIDWAY and isinstance(body, bytes) and len(body) > 1 and request.method != "HEAD":
        part = web.StreamResponse(status=response.status, headers=response.headers)
        part.content_length = len(body)
        with contextlib.suppress(ConnectionError):
            await part.prepare(request)
            await part.write(body[: len(body) // 2])
        response = part
    reset(request)
    return response


def reset(request: web.Request) -> None:
    """Reset a request's connection; what was sent before still arrives."""
    transport = request.transport
    if transport is None:
        return
    reset_on_close(transport.get_extra_info("socket"))
    transport.abort()


def reset_on_close(sock: socket.socket | None) -> None:
    """Have a socket send RST, not FIN, when it is closed."""
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
