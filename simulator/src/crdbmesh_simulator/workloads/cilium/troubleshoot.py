"""What Cilium's own commands print: `cilium-dbg status -o json`, `kvstoremesh-dbg troubleshoot`.

Of the StatusResponse (`api/v1/models/status_response.go` of Cilium 1.20): the agent's own state, its way to the API and
the clusters that it is linked to. The report about each remote cluster is after `pkg/kvstore/etcd_debug.go`: the first
line with a cross names the cause; the last one, of the etcd client, is then always its deadline.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.kubernetes.programs import Container, ExecResult
from crdbmesh_simulator.workloads.cilium import etcd_link
from crdbmesh_simulator.workloads.cilium.common import api_reachable
from crdbmesh_simulator.workloads.cilium.etcd_link import Dialled, EtcdConfig

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.cilium.agent import CiliumAgent


_DEADLINE = "context deadline exceeded"


def report(container: Container, folder: str, files: Mapping[str, bytes], names: Sequence[str]) -> ExecResult:
    """Report on remote clusters. With `world.lock` held.

    `container`: where the connections start. `folder`: where the configurations are mounted. `files`: the
    configurations by the name of the remote cluster. `names`: those to report on; empty for all.
    """
    lines = [f"Found {len(files)} cluster configurations"]
    if names:
        lines.append(f"Troubleshooting filtered subset of clusters: {', '.join(names)}")
    for name in sorted(names or files):
        lines += ["", f'Cluster "{name}":']
        lines.append(f"📄 Configuration path: {folder.rstrip('/')}/{name}")
        try:
            config = etcd_link.read(files[name])
        except ValueError as error:
            lines.append(f"❌ Cannot parse etcd configuration: {error}")
            continue
        lines += _connections(container, config)
    return ExecResult(("\n".join(lines) + "\n").encode())


def _connections(container: Container, config: EtcdConfig) -> list[str]:
    dialled = [etcd_link.dial(container, config, endpoint) for endpoint in config.endpoints]
    lines = ["", "🔌 Endpoints:"]
    for each in dialled:
        lines.append(f"   - {each.endpoint}")
        lines += [f"     {line}" for line in _endpoint(each)]
    lines += ["", "⚙️ Etcd client:"]
    reached = next((each for each in dialled if each.etcd is not None and not each.error), None)
    if reached is not None and reached.etcd is not None:
        lines += ["   ✅ Etcd connection successfully established", f"   ℹ️  Etcd cluster ID: {reached.etcd.identity}"]
    else:
        refused = next((each.user_error for each in dialled if each.user_error), "")
        lines.append(f"   ❌ Failed to {f'retrieve key from etcd: {refused}' if refused else 'establish connection: '}")
        lines[-1] += "" if refused else _DEADLINE
    return lines


def _endpoint(found: Dialled) -> list[str]:
    host = found.endpoint.removeprefix("https://")
    if found.lookup_error:
        return [
            f"❌ Cannot resolve hostname: {found.lookup_error}",
            f"❌ Cannot establish TCP connection to {host}: dial tcp: {found.lookup_error}",
        ]
    lines = [f"✅ Hostname resolved to: {', '.join([*found.addresses[:4], *(['...'] if found.addresses[4:] else [])])}"]
    if found.tcp_error:
        return [*lines, f"❌ Cannot establish TCP connection to {host}: {found.tcp_error}"]
    where = f"{found.ip}:{host.rpartition(':')[2]}"
    lines.append(f"✅ TCP connection successfully established to {where}")
    if found.tls_error:
        return [*lines, f"❌ Cannot establish TLS connection to {host}: {found.tls_error}"]
    lines += [
        f"✅ TLS connection successfully established to {where}",
        "ℹ️  Negotiated TLS version: TLS 1.3, ciphersuite TLS_AES_128_GCM_SHA256",
    ]
    if found.client_error:
        return [*lines, f"❌ TLS client authentication failed: {found.client_error}"]
    return [*lines, "ℹ️  Etcd server version: 3.6.5"]


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
