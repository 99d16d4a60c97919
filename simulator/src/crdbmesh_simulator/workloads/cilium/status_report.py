"""The agent's StatusResponse, and its endpoints, for JSON.

After `api/v1/models/status_response.go` of Cilium 1.20: false booleans, zeros and empty strings are left out.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import zlib
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.kubernetes.api.pods import runtime
from crdbmesh_simulator.workloads import objects
from crdbmesh_simulator.workloads.cilium.common import api_reachable
from crdbmesh_simulator.workloads.cilium.remote_cluster import NEVER

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.pods import Sandbox
    from crdbmesh_simulator.workloads.cilium.agent import CiliumAgent
    from crdbmesh_simulator.workloads.cilium.remote_cluster import Remote

_APIS = [
    "EndpointSliceOrEndpoint",
    "cilium/v2::CiliumCIDRGroup",
    "cilium/v2::CiliumClusterwideNetworkPolicy",
    "cilium/v2::CiliumEndpoint",
    "cilium/v2::CiliumNetworkPolicy",
    "cilium/v2::CiliumNode",
    "core/v1::Pods",
    "networking.k8s.io/v1::NetworkPolicy",
]


def model(agent: CiliumAgent) -> dict[str, Any]:
    """The StatusResponse."""
    container = agent.container
    reason = api_reachable(container)
    version = container.cluster.version.removeprefix("v").split("+")[0]
    short = ".".join(version.split(".")[:2])
    kubernetes: dict[str, Any] = {
        "k8s-api-versions": _APIS,
        "msg": f"{short} (v{container.cluster.version.removeprefix('v')}) [linux/amd64]",
        "state": "Ok",
    }
    if reason is not None:
        kubernetes = {"msg": reason, "state": "Failure"}
    cilium = {"msg": f"{agent.version} (v{agent.version})", "state": "Ok" if agent.ready else "Failure"}
    health = {"state": "Ok"} if agent.config.get("enable-health-checking", "true") == "true" else {"state": "Disabled"}
    found: dict[str, Any] = {
        "attach-mode": "TCX",
        "auth-certificate-provider": {"state": "Disabled"},
        "bandwidth-manager": {},
        "bpf-maps": {"dynamic-size-ratio": 0.0025},
        "cilium": cilium,
        "cluster": _cluster(agent, health),
        "cluster-mesh": {"clusters": [agent.remotes[name].model() for name in sorted(agent.remotes)]},
        "cni-chaining": {"mode": "none"},
        "cni-file": {
            "msg": "successfully wrote CNI configuration file to /host/etc/cni/net.d/05-cilium.conflist",
            "state": "Ok",
        },
        "container-runtime": {},
        "controllers": _controllers(agent),
        "encryption": {"mode": "Wireguard" if agent.config.get("enable-wireguard") == "true" else "Disabled"},
        "host-firewall": {"mode": "Disabled"},
        "hubble": {"state": "Ok" if agent.config.get("enable-hubble") == "true" else "Disabled"},
        "identity-range": _identity_range(agent),
        "ipam": _ipam(agent),
        "kube-proxy-replacement": _replacement(agent),
        "kubernetes": kubernetes,
        "kvstore": {"state": "Disabled"},
        "masquerading": {"enabled": True, "enabledProtocols": {"ipv4": True}, "mode": "IPTables"},
    }
    if not agent.remotes:
        del found["cluster-mesh"]
    return found


def _cluster(agent: CiliumAgent, health: dict[str, Any]) -> dict[str, Any]:
    node = f"{agent.cluster_name}/{agent.node_name}"
    return {"ciliumHealth": health, "nodes": nodes(agent), "self": node}


def nodes(agent: CiliumAgent) -> list[dict[str, Any]]:
    """Every node that the agent knows, its own cluster's first."""
    found: list[dict[str, Any]] = []
    for owner in objects.every(agent.container.cluster, "CiliumNode"):
        spec = objects.spec(owner)
        ip = next((str(each["ip"]) for each in spec.get("addresses") or [] if each["type"] == "InternalIP"), "")
        ranges = (spec.get("ipam") or {}).get("podCIDRs") or [""]
        found.append(_node(f"{agent.cluster_name}/{owner['metadata']['name']}", ip, ranges[0], "custom-resource"))
    found += [
        _node(f"{each.cluster}/{each.name}", each.ip, (each.ranges or ("",))[0], "clustermesh")
        for each in agent.remote_nodes()
    ]
    return found


def _node(name: str, ip: str, range_: str, source: str) -> dict[str, Any]:
    return {
        "health-endpoint-address": {"ipv4": {"enabled": True, "ip": _nth(range_, -9)}, "ipv6": {}},
        "ingress-address": {"ipv4": {"enabled": True}, "ipv6": {}},
        "name": name,
        "primary-address": {"ipv4": {"alloc-range": range_, "enabled": True, "ip": ip}, "ipv6": {}},
        "secondary-addresses": None,
        "source": source,
    }


def _nth(range_: str, index: int) -> str:
    return str(ipaddress.ip_network(range_, strict=False)[index]) if range_ else ""


def _controllers(agent: CiliumAgent) -> list[dict[str, Any]]:
    now = agent.container.world.clock.now()
    names = [
        "cilium-health-ep",
        "dns-garbage-collector-job",
        "ipcache-inject-labels",
        "k8s-heartbeat",
        "link-cache",
        "neighbor-table-refresh",
        "sync-host-ips",
        "waiting-initial-global-identities-ep",
    ]
    found = [_controller(name, now, "", 0, None) for name in names]
    for remote in agent.remotes.values():
        problem = _problem(remote)
        found.append(
            _controller(f"remote-etcd-{remote.name}", now, problem, remote.attempts if problem else 0, remote.failed_at)
        )
    return found


def _problem(remote: Remote) -> str:
    return "" if remote.ready else remote.problem


def _controller(name: str, now: float, problem: str, failures: int, failed_at: float | None) -> dict[str, Any]:
    status: dict[str, Any] = {
        "last-failure-timestamp": _time(failed_at) if problem and failed_at else NEVER,
        "last-success-timestamp": NEVER if problem else _time(now),
    }
    if problem:
        status |= {
            "consecutive-failure-count": max(failures, 1),
            "failure-count": max(failures, 1),
            "last-failure-msg": problem,
        }
    else:
        status["success-count"] = 1
    return {
        "configuration": {"error-retry": True, "interval": "0s"},
        "name": name,
        "status": dict(sorted(status.items())),
    }


def _time(when: float) -> str:
    return dt.datetime.fromtimestamp(when, tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _identity_range(agent: CiliumAgent) -> dict[str, int]:
    number = int(agent.config.get("cluster-id") or 0)
    return {"max-identity": number * 65536 + 65535, "min-identity": number * 65536 + 256}


def _ipam(agent: CiliumAgent) -> dict[str, Any]:
    range_ = agent.pod_range
    ips = {box.ip: f"{box.namespace}/{box.name}" for box in _own_boxes(agent)}
    if range_ is None:
        return {"status": "IPv4: no range"}
    allocations = {_nth(range_, 1): "router", _nth(range_, -9): "health", **ips}
    size = ipaddress.ip_network(range_, strict=False).num_addresses - 2
    return {
        "allocations": allocations,
        "ipv4": sorted(allocations),
        "ipv6": None,
        "status": f"IPv4: {len(allocations)}/{size} allocated from {range_}, ",
    }


def endpoints(agent: CiliumAgent) -> list[dict[str, Any]]:
    """The endpoints of the agent's node: each pod with an address of its own (`api/v1/models/endpoint.go`)."""
    return [
        {
            "id": zlib.crc32(box.uid.encode()) % 4096,
            "status": {
                "external-identifiers": {
                    "k8s-namespace": box.namespace,
                    "k8s-pod-name": box.name,
                    "pod-name": f"{box.namespace}/{box.name}",
                },
                "networking": {"addressing": [{"ipv4": box.ip}]},
                "state": "ready",
            },
        }
        for box in _own_boxes(agent)
    ]


def _own_boxes(agent: CiliumAgent) -> list[Sandbox]:
    pods = runtime(agent.container.cluster)
    boxes = pods.sandboxes.values() if pods else ()
    return [box for box in boxes if box.node is agent.container.node and not box.host_network]


def _replacement(agent: CiliumAgent) -> dict[str, Any]:
    if not agent.replaces_kube_proxy:
        return {"mode": "False"}
    ip = objects.internal_ip(agent.container.cluster, agent.node_name) or ""
    return {
        "deviceList": [{"ip": [ip], "name": "eth0"}],
        "devices": ["eth0"],
        "directRoutingDevice": "eth0",
        "mode": "True",
    }
