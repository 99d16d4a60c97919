"""Which program runs in a container, by its image."""

from __future__ import annotations

from collections.abc import Callable

from crdbmesh_simulator.kubernetes.programs import Container, Program
from crdbmesh_simulator.workloads import images
from crdbmesh_simulator.workloads.cilium import agent, clustermesh
from crdbmesh_simulator.workloads.coredns.server import CoreDNS
from crdbmesh_simulator.workloads.runner import ShellProgram
from crdbmesh_simulator.workloads.service import Daemon

_PROGRAMS: dict[str, Callable[[Container], Program]] = {
    "cilium/cilium": agent.start,
    "cilium/operator-generic": agent.CiliumOperator,
    "cilium/operator": agent.CiliumOperator,
    "cilium/cilium-envoy": agent.Envoy,
    "cilium/clustermesh-apiserver": clustermesh.start,
    "rancher/local-path-provisioner": Daemon,
    "rancher/mirrored-metrics-server": Daemon,
    "rancher/mirrored-coredns-coredns": CoreDNS,
}
"""Images whose program is known by name; in all others a command of the image runs."""


def start(container: Container) -> Program:
    """Start the container's program. Raises LookupError: no registry has the image (ErrImagePull)."""
    if images.find(container.image) is None:
        raise LookupError(f"{container.image}: not found")
    return _PROGRAMS.get(images.repository(container.image), ShellProgram)(container)
