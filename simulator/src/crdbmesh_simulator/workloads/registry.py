"""Which program runs in a container, by its image."""

from __future__ import annotations

from collections.abc import Callable

from crdbmesh_simulator.kubernetes.programs import Container, Program
from crdbmesh_simulator.workloads import images
from crdbmesh_simulator.workloads.cilium import agent, clustermesh
from crdbmesh_simulator.workloads.coredns.server import CoreDNS
from crdbmesh_simulator.workloads.service import Daemon
from crdbmesh_simulator.workloads.shell_program import ShellProgram


class HelmJob(Daemon):
    """A container that runs until the controllers, which do its work, say how it ended (klipper-helm, certgen)."""

    def finish(self, exit_code: int, log: list[str]) -> None:
        """The work is done."""
        self.log += log
        self.exit_code = exit_code


_PROGRAMS: dict[str, Callable[[Container], Program]] = {
    "cilium/cilium": agent.start,
    "cilium/operator-generic": agent.CiliumOperator,
    "cilium/operator": agent.CiliumOperator,
    "cilium/cilium-envoy": agent.Envoy,
    "cilium/clustermesh-apiserver": clustermesh.start,
    "cilium/certgen": HelmJob,
    "cilium/hubble-relay": Daemon,
    "rancher/klipper-helm": HelmJob,
    "rancher/klipper-lb": Daemon,
    "rancher/local-path-provisioner": Daemon,
    "rancher/mirrored-metrics-server": Daemon,
    "rancher/mirrored-library-traefik": Daemon,
    "rancher/mirrored-pause": Daemon,
    "rancher/mirrored-coredns-coredns": CoreDNS,
    "coredns/coredns": CoreDNS,
    "coredns": CoreDNS,
    "pause": Daemon,
}
"""Images whose program is known by name; in all others a command of the image runs."""


def known(image: str) -> bool:
    """Whether a registry has the image."""
    return images.find(image) is not None


def start(container: Container) -> Program:
    """Start the container's program.

    Raises:
        LookupError: no registry has the image (ErrImagePull).
    """
    if not known(container.image):
        raise LookupError(f"{container.image}: not found")
    return _PROGRAMS.get(images.repository(container.image), ShellProgram)(container)
