"""Forwards connections of this computer to a port of a pod: Kubernetes' port-forward protocol over WebSockets.

A WebSocket of protocol `v4.channel.k8s.io` is one connection: channel 0 carries it, channel 1 says what went wrong, and
the first message of each is the port (kubernetes, staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward/
websocket.go, of which containerd has a copy). Why not kubectl's SPDY tunnel: docs/decisions/0010.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from functools import partial

from crdbmesh.clients.kube import stream as streams
from crdbmesh.clients.kube.connection import CONNECT_TIMEOUT_S, Connection
from crdbmesh.errors import CrdbmeshError, KubeError

LOOPBACK = "127.0.0.1"
_PROTOCOL = "v4.channel.k8s.io"
_ERROR = 1
_TICK_S = 0.5


def listen(preferred: int) -> socket.socket:
    """Listen on this computer's loopback address only, on the preferred port if it is free, or on any."""
    for port in (preferred, 0):
        with contextlib.suppress(OSError):
            return socket.create_server((LOOPBACK, port))
    raise KubeError(f"no port of {LOOPBACK} is free")


def serve(listener: socket.socket, carry: Callable[[socket.socket], None], failed: Callable[[str], None]) -> None:
    """Carry each connection in a thread of its own until the caller is interrupted.

    `carry` is given the connection; `failed` is told why one could not be carried.
    """

    def one(client: socket.socket) -> None:
        with client:
            try:
                carry(client)
            except CrdbmeshError as error:
                failed(str(error))

    listener.settimeout(_TICK_S)
    while True:
        with contextlib.suppress(TimeoutError):
            client, _ = listener.accept()
            client.setblocking(True)
            threading.Thread(target=one, args=(client,), name="forward", daemon=True).start()


def carry(connection: Connection, path: str, port: int, client: socket.socket, doing: str) -> None:
    """Carry one connection through the `portforward` subresource at `path`, until either end closes it.

    A pod or port that does not answer, and a stream that broke, are a KubeError.
    """
    url = f"{connection.endpoint.server}{path}?ports={port}"
    deadline = streams.deadline(connection, CONNECT_TIMEOUT_S)
    stream = streams.open_stream(connection, url, [_PROTOCOL], deadline, doing)
    begun, problem, closed = set[int](), bytearray(), threading.Event()

    def take(channel: int, sink: Callable[[bytes], object], data: bytes) -> None:
        if channel in begun:
            sink(data)
        begun.add(channel)

    def send(data: bytes) -> None:
        try:
            client.sendall(data)
        except OSError:
            closed.set()

    sinks = {streams.INPUT: partial(take, streams.INPUT, send), _ERROR: partial(take, _ERROR, problem.extend)}
    with streams.closing(stream, doing):
        streams.relay(stream, client, sinks, ended=closed.set, check=lambda: not closed.is_set())
    if problem:
        raise KubeError(f"{doing}: {problem.decode(errors='replace')}")
