"""`pods/proxy`: a GET that the API server passes on to a pod's port.

After `pkg/registry/core/pod/rest` of Kubernetes 1.36.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from aiohttp import web

from crdbmesh_simulator.kubernetes.api import reads, status
from crdbmesh_simulator.kubernetes.api.status import StatusError

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler


async def serve(handler: Handler, call: Call) -> web.Response:
    """Answer with what the pod answers; its name may carry a scheme and a port, as in `https:cockroachdb-0:8080`."""
    scheme, name, port = _target(call.name)
    if call.verb != "get" or not port.isdigit():
        handler.world.not_known("kube", f"{call.request.method} {call.request.path}")
        raise status.method_not_allowed()
    reads.found(handler, call, name)
    path = f"/{call.rest}"
    if call.request.query_string:
        path += f"?{call.request.query_string}"
    answer = None
    runtime = handler.cluster.runtime
    if runtime is not None:
        answer = await handler.run(
            functools.partial(runtime.http_get, str(call.namespace), name, int(port), path, tls=scheme == "https")
        )
    if answer is None:
        why = f"error trying to reach service: dial tcp {name}:{port}: connect: connection refused"
        raise StatusError(503, "ServiceUnavailable", why)
    return web.Response(status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type})


def _target(text: str) -> tuple[str, str, str]:
    parts = text.split(":")
    if len(parts) == 3:
        return parts[0] or "http", parts[1], parts[2]
    return "http", parts[0], parts[1] if len(parts) == 2 else "80"
