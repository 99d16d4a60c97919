"""The report that `kvstoremesh-dbg troubleshoot` prints about each remote cluster.

After `pkg/kvstore/etcd_debug.go` of Cilium 1.20. The first line with a cross names the cause; the last one, of the etcd
client, is then always its deadline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crdbmesh_simulator.kubernetes.programs import Container, ExecResult
from crdbmesh_simulator.workloads.cilium import etcd_link
from crdbmesh_simulator.workloads.cilium.etcd_link import Dialled, EtcdConfig

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
