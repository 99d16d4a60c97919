"""`cilium-dbg` and `cilium-health` in the agent's container (cilium-dbg/cmd of Cilium 1.20)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.kubernetes.programs import ExecResult
from crdbmesh_simulator.workloads import objects
from crdbmesh_simulator.workloads.cilium import etcd_link, status_report, troubleshoot

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.cilium.agent import CiliumAgent

_NOT_UP = 'Cannot get status: Get "http://localhost/v1/healthz": dial unix /var/run/cilium/cilium.sock: connect: no such file or directory\nIs the agent running?\n'  # noqa: E501 - one line of output
_BOOLEANS = {
    "--brief",
    "--all-clusters",
    "--all-addresses",
    "--all-controllers",
    "--all-health",
    "--all-nodes",
    "--all-redirects",
    "--verbose",
    "-v",
    "--require-k8s-connectivity",
}


def run(agent: CiliumAgent, name: str, words: list[str]) -> ExecResult:
    """Run a command line. With `world.lock` held."""
    output, rest = _output(words)
    verb = rest[0] if rest else ""
    if name == "cilium-health":
        return _health(agent, rest, output)
    if verb == "version":
        text = f"Client: {agent.version} 2026-07-29T00:00:00+00:00 go version go1.26.3 linux/amd64\n"
        return ExecResult((text + text.replace("Client", "Daemon")).encode())
    if not agent.initialised and verb in ("status", "node", "troubleshoot", "service", "endpoint", "config"):
        return ExecResult(stderr=_NOT_UP.encode(), exit_code=1)
    if verb == "status" and set(rest[1:]) <= _BOOLEANS and output in ("", "json"):
        return _status(agent, set(rest[1:]), output)
    if rest[:2] == ["node", "list"] and output in ("", "json"):
        return _nodes(agent, output)
    if rest[:2] == ["troubleshoot", "clustermesh"]:
        files = etcd_link.find_remotes(agent.container, agent.mesh_folder, agent.cluster_name)
        return troubleshoot.report(agent.container, agent.mesh_folder, files, rest[2:], agent.links.resolve)
    if rest[:2] == ["endpoint", "list"] and output == "json":
        return ExecResult(f"{json.dumps(status_report.endpoints(agent), indent=2)}\n".encode())
    if rest[:2] == ["service", "list"]:
        return _services(agent, output)
    agent.container.world.not_known("exec", f"{name} {' '.join(words)}")
    return ExecResult(stderr=f'Error: unknown command "{verb}" for "{name}"\n'.encode(), exit_code=1)


def _output(words: list[str]) -> tuple[str, list[str]]:
    """The value of `-o`/`--output`, and the words without it."""
    found, rest = "", []
    waiting = False
    for word in words:
        if waiting:
            found, waiting = word, False
        elif word in ("-o", "--output"):
            waiting = True
        elif word.startswith("--output="):
            found = word.partition("=")[2]
        elif word.startswith("-o") and not word.startswith("--") and len(word) > 2:
            found = word[2:].lstrip("=")
        else:
            rest.append(word)
    return found, rest


def _status(agent: CiliumAgent, flags: set[str], output: str) -> ExecResult:
    found = status_report.model(agent)
    if output == "json":
        return ExecResult(f"{json.dumps(found, indent=2)}\n".encode())
    if "--brief" in flags:
        line, code = status_report.brief(found)
        return ExecResult(f"{line}\n".encode(), exit_code=code)
    verbose = bool(flags & {"--verbose", "-v"})
    text = status_report.text(agent, found, all_clusters="--all-clusters" in flags, verbose=verbose)
    return ExecResult(text.encode())


def _nodes(agent: CiliumAgent, output: str) -> ExecResult:
    found = status_report.nodes(agent)
    if output == "json":
        return ExecResult(f"{json.dumps(found, indent=2)}\n".encode())
    rows = [["Name", "IPv4 Address", "Endpoint CIDR", "IPv6 Address", "Endpoint CIDR", "Source"]]
    for node in found:
        address = node["primary-address"]["ipv4"]
        rows.append([node["name"], address["ip"], address["alloc-range"], "", "", node["source"]])
    return ExecResult(_table(rows).encode())


def _services(agent: CiliumAgent, output: str) -> ExecResult:
    rows = [["ID", "Frontend", "Service Type", "Backend"]]
    listed: list[dict[str, Any]] = []
    number = 0
    for service in objects.every(agent.container.cluster, "Service"):
        spec, meta = objects.spec(service), service["metadata"]
        if spec.get("clusterIP") in (None, "None", ""):
            continue
        backends = [
            each for each in objects.endpoints(agent.container.cluster, meta["namespace"], meta["name"]) if each.ready
        ]
        for port in spec.get("ports") or []:
            number += 1
            protocol = port.get("protocol", "TCP")
            targets = [
                f"{each.ip}:{target}/{kind}"
                for each in backends
                for name, kind, target in each.ports
                if name == (port.get("name") or "") and kind == protocol
            ]
            frontend = f"{spec['clusterIP']}:{port['port']}/{protocol}"
            rows.append(
                [str(number), frontend, "ClusterIP", ", ".join(f"{i + 1} => {t}" for i, t in enumerate(targets))]
            )
            listed.append(
                {
                    "spec": {
                        "id": number,
                        "frontend-address": {"ip": spec["clusterIP"], "port": port["port"], "protocol": protocol},
                    }
                }
            )
    if output == "json":
        return ExecResult(f"{json.dumps(listed, indent=2)}\n".encode())
    return ExecResult(_table(rows).encode())


def _table(rows: list[list[str]]) -> str:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def _health(agent: CiliumAgent, words: list[str], output: str) -> ExecResult:
    verb = words[0] if words else ""
    if verb != "status" or not set(words[1:]) <= {"--verbose", "--probe", "--succinct"}:
        agent.container.world.not_known("exec", f"cilium-health {' '.join(words)}")
        return ExecResult(stderr=f'Error: unknown command "{verb}" for "cilium-health"\n'.encode(), exit_code=1)
    if not agent.initialised:
        text = 'Error: Cannot get status: Get "http://localhost/v1beta/status": dial unix /var/run/cilium/health.sock: connect: no such file or directory\n'  # noqa: E501
        return ExecResult(stderr=text.encode(), exit_code=1)
    found = status_report.health(agent)
    stamp = agent.container.world.clock.utc().strftime("%Y-%m-%dT%H:%M:%SZ")
    if output == "json":
        model = {
            "local": {"name": f"{agent.cluster_name}/{agent.node_name}"},
            "nodes": [_probe(each) for each in found],
            "probe-interval": "1m36.566274746s",
            "timestamp": stamp,
        }
        return ExecResult(f"{json.dumps(model, indent=2)}\n".encode())
    lines = [f"Probe time:   {stamp}", "Nodes:"]
    for each in found:
        own = " (localhost)" if each["name"] == f"{agent.cluster_name}/{agent.node_name}" else ""
        lines.append(f"  {each['name']}{own}:")
        for check in each["checks"]:
            what = "Host connectivity to" if check["what"] == "host" else "Endpoint connectivity to"
            said = "OK, RTT=0.5ms" if not check["status"] else check["status"]
            lines += [f"    {what} {check['ip']}:", f"      ICMP to stack:   {said}", f"      HTTP to agent:   {said}"]
    return ExecResult(("\n".join(lines) + "\n").encode())


def _probe(found: dict[str, Any]) -> dict[str, Any]:
    model: dict[str, Any] = {"name": found["name"]}
    for check in found["checks"]:
        status = {"status": check["status"]} if check["status"] else {"latency": 512000}
        address = {"http": status, "icmp": status, "ip": check["ip"]}
        if check["what"] == "host":
            model["host"] = {"primary-address": address}
        else:
            model["health-endpoint"] = {"primary-address": address}
            model["endpoint"] = address
    return model
