"""Reads the log of a container: the subresource `log` of a pod (Kubernetes' API, `PodLogOptions`)."""

from collections.abc import Iterator

from crdbmesh.clients.kube.connection import Connection, Query
from crdbmesh.clients.kube.failures import Answer

_MOST_BYTES = 4 * 2**20
_FOLLOW_S = 60.0


def read(connection: Connection, path: str, query: Query, *, follow: bool, doing: str) -> Iterator[str]:
    """Yield the lines at `path`, of at most 4 MiB, or those to come as well; raise KubeError when it cannot be read.

    A log that is followed ends after a minute, or when its container or the connection does: ask again from its last
    line on. `query` has the names of `PodLogOptions`; `doing` stands for the request in messages.
    """
    if not follow:
        answer = connection.request("GET", path, query={**query, "limitBytes": _MOST_BYTES}, accept="*/*")
        if not answer.ok:
            raise answer.error(doing)
        yield from answer.body.decode("utf-8", errors="replace").splitlines()
        return
    asked = {**query, "follow": "true"}
    with connection.stream(path, query=asked, timeout_s=_FOLLOW_S, accept="*/*") as (status, lines):
        if status not in {200, 204}:
            raise Answer(status, {}, b"\n".join(lines)).error(doing)
        yield from (line.decode("utf-8", errors="replace") for line in lines)
