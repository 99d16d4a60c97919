"""Judges Cilium in one cluster: what its chart brings, its rollouts, and the Helm release that k3s's controller keeps.

A release is a Secret a revision, with labels `owner=helm`, `name`, `version` and `status` (helm.sh/docs, Advanced Helm
Techniques, "Storage backends"). A job of the helm-controller's works on it. A revision whose job broke off, because its
node went away say, is left as it is by every later job when the chart's `failurePolicy` is `abort`
(docs.k3s.io/helm).
"""

from typing import Any

from crdbmesh.clients.kube.client import Kube
from crdbmesh.errors import KubeError
from crdbmesh.observe import rollouts
from crdbmesh.observe.health import Layer
from crdbmesh.observe.rollouts import Body
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Region

_DEPLOYED = "deployed"
_FAILED = "failed"
_KEPT = {_DEPLOYED, "superseded"}

_ALWAYS = (
    ("apps/v1", "DaemonSet", names.CILIUM),
    ("apps/v1", "Deployment", names.CILIUM_OPERATOR),
    ("v1", "ConfigMap", names.CILIUM_CONFIG),
    ("v1", "Secret", names.CILIUM_CA_SECRET),
)
_WITH_OTHERS = (
    ("apps/v1", "Deployment", names.CLUSTERMESH_APISERVER),
    ("v1", "Service", names.CLUSTERMESH_APISERVER),
    ("v1", "Secret", names.CLUSTERMESH_SECRET),
    ("v1", "Secret", "cilium-kvstoremesh"),
)


def read_cilium(world: World, region: Region) -> Layer:
    """Read how many of the region's agents are ready, and whether the chart is installed."""
    kube = world.kube(region.name)
    daemons = kube.find("apps/v1", "DaemonSet", names.CILIUM, names.KUBE_SYSTEM)
    found = [
        rollouts.explain(kube, daemons),
        rollouts.read_missing(kube, "Deployment", names.CILIUM_OPERATOR, names.KUBE_SYSTEM),
        read_missing(world, region),
    ]
    causes = [cause for cause in found if cause]
    ready = (daemons or {}).get("status", {}).get("numberReady", 0)
    return Layer.of("cilium", ready, len(region.machines), causes, absent=daemons is None)


def read_missing(world: World, region: Region) -> str | None:
    """Say what the chart should have brought and has not, or that it is being installed; None when all is there."""
    kube = world.kube(region.name)
    for api_version, kind, name in brought(world, region):
        if kube.find(api_version, kind, name, names.KUBE_SYSTEM) is None:
            return f"{kind} {name} is absent in {region.name}"
    return read_gap(kube, names.CILIUM)


def brought(world: World, region: Region) -> list[tuple[str, str, str]]:
    """List what the chart brings with our values: API version, kind, and name in kube-system."""
    return [*_ALWAYS, *(_WITH_OTHERS if world.mesh.others(region) else ())]


def job(release: str) -> str:
    """Return the name of the job that installs or upgrades a release."""
    return f"helm-install-{release}"


def read_gap(kube: Kube, release: str) -> str | None:
    """Say why a release is not deployed as its chart says, as far as Helm knows; None when it is."""
    revisions = _revisions(kube, release)
    if not revisions:
        return f"Helm has no release {release} in {kube.name}"
    if _status(revisions[-1]) != _DEPLOYED:
        return f"Helm release {release} in {kube.name} is {_status(revisions[-1])}"
    return f"Job {job(release)} still runs in {kube.name}" if is_under_way(find_job(kube, release)) else None


def find_job(kube: Kube, release: str) -> dict[str, Any] | None:
    """Return the job, or None; the helm-controller makes a new one of the same name for every change of the chart."""
    return kube.find("batch/v1", "Job", job(release), names.KUBE_SYSTEM)


def is_under_way(found: Body | None) -> bool:
    """Return True when a job works on its release, on behalf of an earlier run or of k3s."""
    return found is not None and bool(found.get("status", {}).get("active"))


def list_broken(kube: Kube, release: str) -> list[str]:
    """List the Secrets of revisions that broke off and that nobody works on, the newest first.

    The pods are read first: one that ends meanwhile has left its revision as it is read then.
    """
    worked_on = _runs(_pods(kube, release))
    revisions = _revisions(kube, release)
    newest = _status(revisions[-1]) if revisions else _DEPLOYED
    if newest in _KEPT or (newest != _FAILED and worked_on):
        return []
    broken = []
    for revision in reversed(revisions):
        if _status(revision) in _KEPT:
            break
        broken.append(str(revision["metadata"]["name"]))
    return broken


def unfinished(kube: Kube, release: str, brings: str, outdated: str | None, found: Body | None) -> str | None:
    """Say why a release is not there yet; None when it is. A job that failed for good, or broke off, is a KubeError.

    `brings` selects pods that it brings; a hook of the chart may wait for them. `outdated` is the uid of a job that the
    helm-controller is about to replace, `found` the job there is.
    """
    if found is None:
        return "no job yet"
    if found["metadata"]["uid"] == outdated:
        return "not taken up by the helm-controller yet"
    status = found.get("status", {})
    hint = f"see `kubectl -n {names.KUBE_SYSTEM} logs job/{job(release)}`"
    if (failed := rollouts.condition(found, "Failed")).get("status") == "True":
        reason = failed.get("message") or failed.get("reason")
        raise KubeError(f"{kube.name}: Job {job(release)} failed: {reason}", hint=hint)
    if list_broken(kube, release):
        raise KubeError(f"{read_gap(kube, release)}, and nothing works on it", hint=hint).as_retryable()
    if status.get("succeeded", 0) >= 1:
        return None
    seen = f"active {status.get('active', 0)}, failed {status.get('failed', 0)}"
    stuck = rollouts.stuck_at([*_pods(kube, release), *kube.list("v1", "Pod", names.KUBE_SYSTEM, labels=brings)])
    return f"{seen}; {stuck}" if stuck else seen


def _revisions(kube: Kube, release: str) -> list[dict[str, Any]]:
    """List a release's revisions, the oldest first."""
    found = kube.list("v1", "Secret", names.KUBE_SYSTEM, labels=f"owner=helm,name={release}")
    return sorted(found, key=lambda revision: int(revision["metadata"]["labels"]["version"]))


def _status(revision: Body) -> str:
    return str(revision["metadata"]["labels"].get("status"))


def _pods(kube: Kube, release: str) -> list[dict[str, Any]]:
    return kube.list("v1", "Pod", names.KUBE_SYSTEM, labels=f"batch.kubernetes.io/job-name={job(release)}")


def _runs(pods: list[dict[str, Any]]) -> bool:
    """Return True when a container of a job runs, or has not started yet for the first time."""
    alive = [pod for pod in pods if pod.get("status", {}).get("phase") in {"Pending", "Running"}]
    states = [one for pod in alive for one in pod["status"].get("containerStatuses") or [{}]]
    return any("running" in one.get("state", {}) or not one.get("lastState") for one in states)
