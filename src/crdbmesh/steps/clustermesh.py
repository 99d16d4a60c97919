"""Cluster Mesh: every agent of every cluster is in sync with every other cluster.

There is nothing to apply: the whole clustermesh is in each cluster's first install. This step waits for the links and
says, when they do not come up, what the agents and kvstoremesh say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crdbmesh.clients.kube.client import Kube
from crdbmesh.errors import KubeError, WaitError
from crdbmesh.spec import names
from crdbmesh.steps import cilium
from crdbmesh.steps.base import AwaitedStep, RegionStep

AGENT = "cilium-agent"
STATUS = ("cilium-dbg", "status", "-o", "json")
KVSTOREMESH_STATUS = ("/usr/bin/clustermesh-apiserver", "kvstoremesh-dbg", "status", "-o", "json")
TROUBLESHOOT = ("/usr/bin/clustermesh-apiserver", "kvstoremesh-dbg", "troubleshoot")
_CROSS = "\N{CROSS MARK}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Links(RegionStep, AwaitedStep):
    """Every agent of the region has a ready link to every other region."""

    def awaited(self) -> str:
        """What is waited for, for messages."""
        return f"the clustermesh links of {self.region.name}"

    def missing(self) -> str | None:
        """Ask every agent and, when a link is not ready, kvstoremesh for the cause."""
        remotes = [other.name for other in self.world.mesh.others(self.region)]
        kube = self.world.kube(self.region.name)
        links = read_links(kube, remotes)
        bad = [f"{node} -> {remote}: {why}" for (node, remote), why in links.items() if why is not None]
        if not bad:
            return None
        causes = kvstoremesh_causes(kube, remotes)
        detail = f" (kvstoremesh: {'; '.join(causes)})" if causes else ""
        return f"{self.region.name}: {'; '.join(bad[:3])}{detail}"


def read_links(kube: Kube, remotes: list[str]) -> dict[tuple[str, str], str | None]:
    """By (node, remote cluster): None when the link is ready, else what the agent says.

    Source of the JSON: cilium/cilium api/v1 `StatusResponse`; a false boolean is left out there.
    """
    links: dict[tuple[str, str], str | None] = {}
    for pod in cilium.agent_pods(kube):
        node = pod.get("spec", {}).get("nodeName", pod["metadata"]["name"])
        seen, problem = _ask(kube, pod, AGENT, STATUS)
        clusters = (seen or {}).get("cluster-mesh", {}).get("clusters") or [] if isinstance(seen, dict) else []
        by_name = {str(cluster.get("name")): cluster for cluster in clusters}
        for remote in remotes:
            links[node, remote] = problem or _unready(by_name.get(remote))
    if not links:
        links = {("(no agent)", remote): "no Cilium agent runs" for remote in remotes}
    return links


def kvstoremesh_causes(kube: Kube, remotes: list[str]) -> list[str]:
    """What kvstoremesh, on which all agents depend, says of the remotes it is not connected to."""
    causes: set[str] = set()
    pods = kube.list("v1", "Pod", names.KUBE_SYSTEM, labels=f"k8s-app={names.CLUSTERMESH_APISERVER}")
    for pod in pods:
        seen, problem = _ask(kube, pod, "kvstoremesh", KVSTOREMESH_STATUS)
        if problem is not None or not isinstance(seen, list):
            continue
        by_name = {str(cluster.get("name")): cluster for cluster in seen}
        for remote in remotes:
            if why := _unready(by_name.get(remote)):
                causes.add(f"{remote}: {_troubleshoot(kube, pod['metadata']['name'], remote) or why}")
    return sorted(causes)


def _troubleshoot(kube: Kube, pod: str, remote: str) -> str | None:
    """Return the first failure in Cilium's own report: it is the cause; the last is always the client's deadline."""
    try:
        answer = kube.exec(names.KUBE_SYSTEM, pod, [*TROUBLESHOOT, remote], container="kvstoremesh", timeout_s=30)
    except (KubeError, WaitError):
        return None
    failed = [line.partition(_CROSS)[2].strip() for line in answer.stdout.splitlines() if _CROSS in line]
    return failed[0] if failed else None


def _ask(kube: Kube, pod: Mapping[str, Any], container: str, argv: tuple[str, ...]) -> tuple[Any, str | None]:
    name = pod["metadata"]["name"]
    try:
        answer = kube.exec(names.KUBE_SYSTEM, name, argv, container=container, timeout_s=30)
    except (KubeError, WaitError) as error:
        return None, f"{name} does not answer ({error})"
    if answer.status != 0:
        return None, f"{name}: {answer.stderr.strip() or f'exit {answer.status}'}"
    try:
        return json.loads(answer.stdout), None
    except ValueError:
        return None, f"{name}: its status is not JSON"


def _unready(cluster: Mapping[str, Any] | None) -> str | None:
    if cluster is None:
        return "not configured on this agent yet"
    if cluster.get("ready"):
        return None
    failure = cluster.get("last-failure") or ""
    # Go's zero time stands for "never".
    failed = f", last failure {failure}" if failure and not str(failure).startswith("0001-") else ""
    return f"{cluster.get('status') or 'not ready'}{failed}"
