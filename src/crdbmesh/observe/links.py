"""Judges Cilium's Cluster Mesh: whether a region's cluster is in sync with every other one, and if not, why.

An agent reads the other clusters from the cache of its own cluster's kvstoremesh, which never expires: it stays ready
when the remote is gone. So both are asked, the agents and every kvstoremesh, and a link is good only when all of them
say so (cilium/cilium v1.20: pkg/clustermesh/common/remote_cluster.go, pkg/clustermesh/kvstoremesh/remote_cluster.go;
the JSON is api/v1 `RemoteCluster`, where a false boolean is left out).
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from crdbmesh.clients.kube.client import Kube
from crdbmesh.errors import KubeError, WaitError
from crdbmesh.observe import rollouts
from crdbmesh.observe.health import Layer
from crdbmesh.observe.rollouts import Body
from crdbmesh.run.world import World
from crdbmesh.spec import documents, names
from crdbmesh.spec.mesh import Region

_KVSTOREMESHES = f"k8s-app={names.CLUSTERMESH_APISERVER}"
_AGENT_STATUS = ("cilium-dbg", "status", "-o", "json")
_KVSTOREMESH_DEBUG = ("/usr/bin/clustermesh-apiserver", "kvstoremesh-dbg")
_CROSS = "\N{CROSS MARK}"
_RESOURCES = ("nodes", "endpoints", "identities", "services")
"""The resources that are always synced; others, such as `service-exports`, only when the report has them."""


def read_clustermesh(world: World, region: Region) -> Layer:
    """Read how many of the other regions a region is in sync with."""
    remotes = [other.name for other in world.mesh.others(region)]
    unready = read_unready(world.kube(region.name), remotes) if remotes else {}
    causes = [cause for found in unready.values() for cause in found]
    return Layer.of("clustermesh", len(remotes) - len(unready), len(remotes), causes)


def read_unready(kube: Kube, remotes: list[str]) -> dict[str, list[str]]:
    """Say, for every remote cluster to which a link is not ready, why.

    For each the first agent that complains and the first kvstoremesh: `westus from eastus-1: …`,
    `kvstoremesh: westus: …`.
    """
    agents = kube.list("v1", "Pod", names.KUBE_SYSTEM, labels=names.CILIUM_AGENTS)
    meshes = [pod for pod in kube.list("v1", "Pod", names.KUBE_SYSTEM, labels=_KVSTOREMESHES) if _runs(pod)]
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="links") as pool:
        by_agents = pool.map(lambda pod: _read_agent(kube, pod, remotes), agents)
        by_meshes = pool.map(lambda pod: _read_kvstoremesh(kube, pod, remotes), meshes)
        reports = [_first(by_agents), _first(by_meshes)]
    unready: dict[str, list[str]] = {}
    for remote in remotes:
        causes = [] if agents else [f"{remote}: no Cilium agent runs"]
        causes += [] if meshes else [f"{remote}: no {names.CLUSTERMESH_APISERVER} runs"]
        causes += [report[remote] for report in reports if remote in report]
        if causes:
            unready[remote] = causes
    return unready


def unready(cluster: Body | None) -> str | None:
    """Say what is missing from a link, as an agent or kvstoremesh reports it; None when it is ready.

    Its own `status` reads as healthy as soon as there is a connection, whatever came over it.
    """
    if cluster is None:
        return "not configured yet"
    if cluster.get("ready"):
        return None
    if not cluster.get("connected"):
        missing = f"not connected ({cluster.get('status') or 'no reason given'})"
    elif not (cluster.get("config") or {}).get("retrieved"):
        missing = "connected, but the remote cluster's configuration is not retrieved"
    else:
        synced = cluster.get("synced") or {}
        kinds = [kind for kind in _RESOURCES if not synced.get(kind)]
        kinds += [kind for kind, is_synced in synced.items() if kind not in _RESOURCES and is_synced is False]
        missing = f"connected, but {', '.join(kinds)} not synced" if kinds else "connected, but not ready"
    failures, last = cluster.get("num-failures"), cluster.get("last-failure")
    return f"{missing}; lost {failures} times, last at {last}" if failures else missing


def first_failure(report: str) -> str | None:
    """Return the first failure in a report of `kvstoremesh-dbg troubleshoot`, or None.

    It is the cause, a network or TLS error of its own dialing; the last is always the etcd client's bare deadline.
    """
    failed = [line.partition(_CROSS)[2].strip() for line in report.splitlines() if _CROSS in line]
    return failed[0] if failed else None


def _first(reports: Iterable[dict[str, str]]) -> dict[str, str]:
    """Merge what several say by remote; the first to complain is heard."""
    merged: dict[str, str] = {}
    for report in reports:
        merged = {**report, **merged}
    return merged


def _read_agent(kube: Kube, pod: Body, remotes: list[str]) -> dict[str, str]:
    node = pod.get("spec", {}).get("nodeName", pod["metadata"]["name"])
    # One on a machine that is gone would be asked in vain for half a minute.
    ready = rollouts.is_ready(pod)
    seen, problem = _ask(kube, pod, "cilium-agent", _AGENT_STATUS) if ready else (None, "its agent is not ready")
    clusters = seen.get("cluster-mesh", {}).get("clusters") if isinstance(seen, dict) else None
    bad = _unready_of(clusters, remotes, problem)
    return {remote: f"{remote} from {node}: {why}" for remote, why in bad.items()}


def _read_kvstoremesh(kube: Kube, pod: Body, remotes: list[str]) -> dict[str, str]:
    seen, problem = _ask(kube, pod, "kvstoremesh", (*_KVSTOREMESH_DEBUG, "status", "-o", "json"))
    bad = _unready_of(seen, remotes, problem)
    if problem is None:
        bad = {remote: _troubleshoot(kube, pod, remote) or why for remote, why in bad.items()}
    return {remote: f"kvstoremesh: {remote}: {why}" for remote, why in bad.items()}


def _unready_of(clusters: Any, remotes: list[str], problem: str | None) -> dict[str, str]:
    by_name = {str(cluster.get("name")): cluster for cluster in clusters or [] if isinstance(cluster, dict)}
    found = {remote: problem or unready(by_name.get(remote)) for remote in remotes}
    return {remote: why for remote, why in found.items() if why}


def _troubleshoot(kube: Kube, pod: Body, remote: str) -> str | None:
    argv = [*_KVSTOREMESH_DEBUG, "troubleshoot", remote]
    name = pod["metadata"]["name"]
    try:
        answer = kube.exec(names.KUBE_SYSTEM, name, argv, container="kvstoremesh", timeout_s=30)
    except (KubeError, WaitError):
        return None
    return first_failure(answer.stdout)


def _ask(kube: Kube, pod: Body, container: str, argv: tuple[str, ...]) -> tuple[Any, str | None]:
    """Run a command that prints JSON; give what it printed, or why nothing could be had of it."""
    name = pod["metadata"]["name"]
    try:
        answer = kube.exec(names.KUBE_SYSTEM, name, argv, container=container, timeout_s=30)
    except (KubeError, WaitError) as error:
        return None, f"{name} does not answer ({error})"
    if answer.status != 0:
        return None, f"{name}: {answer.stderr.strip() or f'exit {answer.status}'}"
    try:
        return documents.read_json(answer.stdout), None
    except ValueError:
        return None, f"{name}: its status is not JSON"


def _runs(pod: Body) -> bool:
    """Return True when a pod is there to stay: one that is being replaced says nothing about the links."""
    return pod.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
