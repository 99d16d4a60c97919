"""The Helm release of a chart that k3s's helm-controller keeps: how far it is, and what to do when it was broken off.

A release is a Secret a revision, with labels `owner=helm`, `name`, `version` and `status` (helm.sh/docs, Advanced Helm
Techniques, "Storage backends"). A job of the helm-controller's works on it. A revision whose job broke off, because its
node went away say, is left as it is by every later job when the chart's `failurePolicy` is `abort`: it waits for an
operator (docs.k3s.io/helm). That is us: a revision that nobody works on and that did not come to its end is taken out,
and Helm goes on from the one before it. What the broken one made carries its name, and is taken over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crdbmesh.clients.kube.client import Kube
from crdbmesh.errors import KubeError
from crdbmesh.spec import names

_DEPLOYED = "deployed"
_FAILED = "failed"
_KEPT = {_DEPLOYED, "superseded"}


def job(release: str) -> str:
    """The job that installs or upgrades a release."""
    return f"helm-install-{release}"


def find_gap(kube: Kube, release: str) -> str | None:
    """Why a release is not deployed as its chart says, as far as Helm knows; None when it is."""
    newest = _newest(kube, release)
    if newest is None:
        return f"Helm has no release {release} in {kube.name}"
    if _status(newest) != _DEPLOYED:
        return f"Helm release {release} in {kube.name} is {_status(newest)}"
    return f"Job {job(release)} still runs in {kube.name}" if is_under_way(kube, release) else None


def find_job_uid(kube: Kube, release: str) -> str | None:
    """Which job that is: the helm-controller makes a new one of the same name for every change of the chart."""
    found = kube.find("batch/v1", "Job", job(release), names.KUBE_SYSTEM)
    return None if found is None else str(found["metadata"]["uid"])


def is_under_way(kube: Kube, release: str) -> bool:
    """Whether a job works on it, on behalf of an earlier run or of k3s."""
    found = kube.find("batch/v1", "Job", job(release), names.KUBE_SYSTEM)
    return found is not None and bool(found.get("status", {}).get("active"))


def list_broken(kube: Kube, release: str) -> list[str]:
    """The Secrets of revisions that broke off and that nobody works on, the newest first."""
    newest = _newest(kube, release)
    if newest is None or _status(newest) in _KEPT or (_status(newest) != _FAILED and _runs(kube, release)):
        return []
    broken = []
    for revision in reversed(_revisions(kube, release)):
        if _status(revision) in _KEPT:
            break
        broken.append(str(revision["metadata"]["name"]))
    return broken


def delete_broken(kube: Kube, release: str) -> bool:
    """Take revisions that broke off out of Helm's way; False when there are none."""
    broken = list_broken(kube, release)
    for name in broken:
        kube.delete("v1", "Secret", name, names.KUBE_SYSTEM, wait=True)
    return bool(broken)


def unfinished(kube: Kube, release: str, outdated: str | None, found: Mapping[str, Any] | None) -> str | None:
    """Why a release is not there yet; None when it is.

    Args:
        kube: the cluster.
        release: its name.
        outdated: the uid of a job that the helm-controller is about to replace, or None.
        found: its job.

    Raises:
        KubeError: the job failed for good, or broke off and has to be done anew.
    """
    if found is None:
        return "no job yet"
    if found["metadata"]["uid"] == outdated:
        return "not taken up by the helm-controller yet"
    status = found.get("status", {})
    hint = f"see `kubectl -n {names.KUBE_SYSTEM} logs job/{job(release)}`"
    for condition in status.get("conditions") or []:
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            reason = condition.get("message") or condition.get("reason")
            raise KubeError(f"{kube.name}: Job {job(release)} failed: {reason}", hint=hint)
    if list_broken(kube, release):
        raise KubeError(f"{find_gap(kube, release)}, and nothing works on it", hint=hint).as_retryable()
    if status.get("succeeded", 0) >= 1:
        return None
    return f"active {status.get('active', 0)}, failed {status.get('failed', 0)}"


def _newest(kube: Kube, release: str) -> dict[str, Any] | None:
    revisions = _revisions(kube, release)
    return revisions[-1] if revisions else None


def _revisions(kube: Kube, release: str) -> list[dict[str, Any]]:
    """Oldest first."""
    found = kube.list("v1", "Secret", names.KUBE_SYSTEM, labels=f"owner=helm,name={release}")
    return sorted(found, key=lambda revision: int(revision["metadata"]["labels"]["version"]))


def _status(revision: Mapping[str, Any]) -> str:
    return str(revision["metadata"]["labels"].get("status"))


def _runs(kube: Kube, release: str) -> bool:
    """Whether a container of its job runs, or has not started yet for the first time."""
    pods = kube.list("v1", "Pod", names.KUBE_SYSTEM, labels=f"batch.kubernetes.io/job-name={job(release)}")
    alive = [pod for pod in pods if pod.get("status", {}).get("phase") in {"Pending", "Running"}]
    states = [one for pod in alive for one in pod["status"].get("containerStatuses") or [{}]]
    return any("running" in one.get("state", {}) or not one.get("lastState") for one in states)
