"""What the Kubernetes API asks of the nodes: exec, logs and proxying to a pod."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from crdbmesh_simulator.kubernetes.log import LogLine
from crdbmesh_simulator.kubernetes.programs import ExecResult, HttpAnswer


class PodRuntime(Protocol):
    """The running pods of a cluster. All methods are called without `world.lock` held."""

    def exec(self, namespace: str, pod: str, container: str | None, argv: Sequence[str], stdin: bytes) -> ExecResult:
        """Run `argv` in a container (None: the pod's first).

        Raises:
            LookupError: no such container, or it is not running; the text is what kubelet would say.
        """

    def logs(self, namespace: str, pod: str, container: str | None) -> list[LogLine]:
        """The log lines of a container.

        Raises:
            LookupError: as for `exec`.
        """

    def http_get(self, namespace: str, pod: str, port: int, path: str, *, tls: bool) -> HttpAnswer | None:
        """GET on a pod's port, or None when nothing answers there."""
