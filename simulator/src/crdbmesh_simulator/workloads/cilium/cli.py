"""`cilium-dbg` in the agent's container (cilium-dbg/cmd of Cilium 1.20): status and endpoints in JSON, troubleshoot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.programs import ExecResult
from crdbmesh_simulator.workloads.cilium import etcd_link, status_report, troubleshoot

if TYPE_CHECKING:
    from collections.abc import Callable

    from crdbmesh_simulator.workloads.cilium.agent import CiliumAgent

_NOT_UP = 'Cannot get status: Get "http://localhost/v1/healthz": dial unix /var/run/cilium/cilium.sock: connect: no such file or directory\nIs the agent running?\n'  # noqa: E501 - one line of output
_JSON = (["-o", "json"], ["-o=json"], ["-ojson"], ["--output", "json"], ["--output=json"])


def wants_json(words: list[str]) -> bool:
    """Return whether these are the options of a command that ask for JSON, and no others."""
    return words in _JSON


def run(agent: CiliumAgent, name: str, words: list[str]) -> ExecResult:
    """Run a command line. With `world.lock` held."""
    model: Callable[[CiliumAgent], object] | None = None
    if words[:1] == ["status"] and wants_json(words[1:]):
        model = status_report.model
    elif words[:2] == ["endpoint", "list"] and wants_json(words[2:]):
        model = status_report.endpoints
    elif words[:2] != ["troubleshoot", "clustermesh"]:
        agent.container.world.not_known("exec", f"{name} {' '.join(words)}")
        verb = words[0] if words else ""
        return ExecResult(stderr=f'Error: unknown command "{verb}" for "{name}"\n'.encode(), exit_code=1)
    if not agent.initialised:
        return ExecResult(stderr=_NOT_UP.encode(), exit_code=1)
    if model is not None:
        return ExecResult(f"{json.dumps(model(agent), indent=2)}\n".encode())
    files = etcd_link.find_remotes(agent.container, agent.mesh_folder, agent.cluster_name)
    return troubleshoot.report(agent.container, agent.mesh_folder, files, words[2:], agent.links.resolve)
