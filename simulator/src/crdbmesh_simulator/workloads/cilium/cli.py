"""`cilium-dbg status -o json` in the agent's container (cilium-dbg/cmd of Cilium 1.20).

Of the StatusResponse (`api/v1/models/status_response.go`), the agent's own state, its way to the API and the clusters
that it is linked to.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.kubernetes.programs import ExecResult
from crdbmesh_simulator.workloads.cilium.common import api_reachable

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.cilium.agent import CiliumAgent

_NOT_UP = 'Cannot get status: Get "http://localhost/v1/healthz": dial unix /var/run/cilium/cilium.sock: connect: no such file or directory\nIs the agent running?\n'  # noqa: E501 - one line of output
_JSON = (["-o", "json"], ["-o=json"], ["-ojson"], ["--output", "json"], ["--output=json"])


def wants_json(words: list[str]) -> bool:
    """Return whether these are the options of a command that ask for JSON, and no others."""
    return words in _JSON


def run(agent: CiliumAgent, name: str, words: list[str]) -> ExecResult:
    """Run a command line. With `world.lock` held."""
    if words[:1] != ["status"] or not wants_json(words[1:]):
        agent.container.world.not_known("exec", f"{name} {' '.join(words)}")
        verb = words[0] if words else ""
        return ExecResult(stderr=f'Error: unknown command "{verb}" for "{name}"\n'.encode(), exit_code=1)
    if not agent.initialised:
        return ExecResult(stderr=_NOT_UP.encode(), exit_code=1)
    return ExecResult(f"{json.dumps(_status(agent), indent=2)}\n".encode())


def _status(agent: CiliumAgent) -> dict[str, Any]:
    reason, version = api_reachable(agent.container), agent.container.cluster.version.removeprefix("v")
    shown = f"{'.'.join(version.split('.')[:2])} (v{version}) [linux/amd64]"
    found: dict[str, Any] = {
        "cilium": {"msg": f"{agent.version} (v{agent.version})", "state": "Ok" if agent.ready else "Failure"},
        "kubernetes": {"msg": reason or shown, "state": "Ok" if reason is None else "Failure"},
    }
    if agent.remotes:
        found["cluster-mesh"] = {"clusters": [agent.remotes[name].model() for name in sorted(agent.remotes)]}
    return found
