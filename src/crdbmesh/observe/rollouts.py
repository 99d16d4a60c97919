"""Judges what Kubernetes rolls out, and the pods of it: what is not up yet, and why."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from crdbmesh.clients import waiting
from crdbmesh.clients.kube.client import Kube

Body = Mapping[str, Any]

_ON_THE_WAY = frozenset({"ContainerCreating", "PodInitializing"})
"""The reasons for which a container waits without needing help."""


def missing(found: Body | None) -> str | None:
    """Say why a DaemonSet, Deployment or StatefulSet is not rolled out; None when it is."""
    if found is None:
        return "absent"
    name, status = found["metadata"]["name"], found.get("status", {})
    if status.get("observedGeneration", 0) < found["metadata"].get("generation", 1):
        return f"{name}: change not observed yet"
    if found["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        updated, ready, total = (
            status.get(field, 0) for field in ("updatedNumberScheduled", "numberReady", "currentNumberScheduled")
        )
        if not wanted:
            return f"{name}: not scheduled on any node yet"
    else:
        wanted = found.get("spec", {}).get("replicas", 1)
        updated, ready, total = (status.get(field, 0) for field in ("updatedReplicas", "readyReplicas", "replicas"))
    if updated < wanted or ready < wanted:
        return f"{name}: {min(updated, ready)} of {wanted} ready"
    # A ready replica of the old kind may stand in for one of the new kind that is not.
    return f"{name}: {total - updated} old replicas still run" if total > updated else None


def explain(kube: Kube, found: Body | None) -> str | None:
    """Say why something is not rolled out, and what its pods are stuck at; None when it is."""
    why = missing(found)
    if why is None or found is None:
        return why
    labels = found.get("spec", {}).get("selector", {}).get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    stuck = stuck_at(kube.list("v1", "Pod", found["metadata"]["namespace"], labels=selector)) if selector else None
    return f"{why} ({stuck})" if stuck else why


def read_missing(kube: Kube, kind: str, name: str, namespace: str) -> str | None:
    """Say why an object of `apps/v1` is not rolled out; None when it is. See `explain`."""
    return explain(kube, kube.find("apps/v1", kind, name, namespace))


def wait(
    kube: Kube, kind: str, name: str, namespace: str, *, awaited: str, deadline_s: float, say: waiting.Say
) -> None:
    """Wait until an object of `apps/v1` is rolled out; raises as `Kube.wait` does."""
    until = functools.partial(explain, kube)
    kube.wait("apps/v1", kind, name, namespace, until, awaited=awaited, deadline_s=deadline_s, say=say)


def stuck_at(pods: Iterable[Body]) -> str | None:
    """Name the first pod that does not get on by itself, and why: its image cannot be pulled, say."""
    for pod in pods:
        for reason, text in _waiting(pod):
            if reason not in _ON_THE_WAY:
                return f"pod {pod['metadata']['name']}: {text}"
    return None


def not_running(pod: Body) -> str | None:
    """Say why a pod's containers do not run; None when they do."""
    status = pod.get("status", {})
    for _, text in _waiting(pod):
        return text
    if status.get("phase") == "Running":
        return None
    for condition in status.get("conditions") or []:
        if condition.get("status") == "False" and condition.get("message"):
            return f"{status.get('phase')}: {condition['message']}"
    return str(status.get("phase") or "not scheduled")


def is_ready(pod: Body) -> bool:
    """Return True when a pod, or a node, is ready as its kubelet says."""
    return condition(pod, "Ready").get("status") == "True"


def condition(found: Body, kind: str) -> Body:
    """Return the condition of a type in an object's status; empty when it has none."""
    return next((one for one in found.get("status", {}).get("conditions") or [] if one.get("type") == kind), {})


def _waiting(pod: Body) -> Iterable[tuple[str, str]]:
    """Give, for every container that does not run, the reason as one word and with what is said about it."""
    status = pod.get("status", {})
    initial = status.get("initContainerStatuses") or []
    begun = [one for one in initial if one.get("state", {}).get("terminated", {}).get("exitCode") != 0]
    for container in [*begun, *(status.get("containerStatuses") or [])]:
        state = container.get("state", {})
        if "running" in state:
            continue
        for kind in ("waiting", "terminated"):
            if kind in state:
                reason = str(state[kind].get("reason", kind))
                yield reason, f"{reason} {state[kind].get('message') or ''}".strip()
                break
        else:
            yield "PodInitializing", "not started"
