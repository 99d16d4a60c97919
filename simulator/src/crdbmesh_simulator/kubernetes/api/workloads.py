"""Validation of workloads: Deployments, StatefulSets, DaemonSets, Jobs and their like.

After `pkg/apis/{apps,batch}/validation` of Kubernetes 1.36.
"""

from __future__ import annotations

from collections.abc import Iterable

from crdbmesh_simulator.kubernetes.api import names, status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.podvalidation import check_pod_spec, check_pod_update
from crdbmesh_simulator.kubernetes.api.selectors import matches_selector
from crdbmesh_simulator.kubernetes.api.status import FieldError

IMMUTABLE = "field is immutable"


def find_changed(new: Obj, old: Obj | None, fields: Iterable[str], path: str, why: str = IMMUTABLE) -> list[FieldError]:
    """Check that fields did not change."""
    if old is None:
        return []
    return [
        status.invalid(f"{path}.{name}" if path else name, new.get(name), why)
        for name in fields
        if new.get(name) != old.get(name)
    ]


def spec_of(obj: Obj | None) -> Obj:
    """The spec of an object; empty when there is none."""
    return (obj or {}).get("spec") or {}


def _template_errors(spec: Obj, restart: tuple[str, ...]) -> list[FieldError]:
    template = spec.get("template") or {}
    errors = names.check_labels((template.get("metadata") or {}).get("labels"), "spec.template.metadata.labels")
    pod = template.get("spec") or {}
    # A StatefulSet's claims are volumes of its pods, which its template does not list.
    claims = [
        {"name": (claim.get("metadata") or {}).get("name"), "persistentVolumeClaim": {"claimName": "made-per-pod"}}
        for claim in spec.get("volumeClaimTemplates") or []
    ]
    if claims:
        pod = {**pod, "volumes": [*(pod.get("volumes") or []), *claims]}
    errors += check_pod_spec(pod, "spec.template.spec")
    if pod.get("restartPolicy") not in restart:
        errors.append(status.not_supported("spec.template.spec.restartPolicy", pod.get("restartPolicy"), restart))
    return errors


def _selector_errors(spec: Obj) -> list[FieldError]:
    selector = spec.get("selector")
    if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
        return [status.invalid("spec.selector", selector or {}, "empty selector is invalid for deployment")]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not matches_selector(selector, labels):
        return [status.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")]
    return []


def _counts(spec: Obj, *fields: str) -> list[FieldError]:
    return [
        status.invalid(f"spec.{name}", spec[name], "must be greater than or equal to 0")
        for name in fields
        if isinstance(spec.get(name), int) and spec[name] < 0
    ]


def check_deployment(new: Obj, old: Obj | None) -> list[FieldError]:
    """Check a Deployment."""
    spec = spec_of(new)
    errors = _counts(spec, "replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    errors += _selector_errors(spec) + _template_errors(spec, ("Always",))
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate" and strategy.get("rollingUpdate"):
        why = "may not be specified when strategy `type` is 'Recreate'"
        errors.append(status.forbidden_field("spec.strategy.rollingUpdate", why))
    elif strategy.get("type") not in ("Recreate", "RollingUpdate"):
        errors.append(status.not_supported("spec.strategy.type", strategy.get("type"), ("Recreate", "RollingUpdate")))
    return errors + find_changed(spec, spec_of(old) if old else None, ("selector",), "spec")


def check_replica_set(new: Obj, old: Obj | None) -> list[FieldError]:
    """Check a ReplicaSet."""
    spec = spec_of(new)
    errors = _counts(spec, "replicas", "minReadySeconds") + _selector_errors(spec) + _template_errors(spec, ("Always",))
    return errors + find_changed(spec, spec_of(old) if old else None, ("selector",), "spec")


def check_daemon_set(new: Obj, old: Obj | None) -> list[FieldError]:
    """Check a DaemonSet."""
    spec = spec_of(new)
    errors = _counts(spec, "minReadySeconds", "revisionHistoryLimit") + _selector_errors(spec)
    return (
        errors
        + _template_errors(spec, ("Always",))
        + find_changed(spec, spec_of(old) if old else None, ("selector",), "spec")
    )


_MUTABLE_IN_SET = frozenset({
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds",
    "persistentVolumeClaimRetentionPolicy",
})  # fmt: skip


def check_stateful_set(new: Obj, old: Obj | None) -> list[FieldError]:
    """Check a StatefulSet."""
    spec = spec_of(new)
    errors = names.check_label(str(new["metadata"]["name"]), "metadata.name")
    errors += _counts(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    errors += _selector_errors(spec) + _template_errors(spec, ("Always",))
    if spec.get("podManagementPolicy") not in ("OrderedReady", "Parallel"):
        policy = spec.get("podManagementPolicy")
        errors.append(status.invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    if old is not None and any(
        spec.get(name) != spec_of(old).get(name) for name in {**spec, **spec_of(old)} if name not in _MUTABLE_IN_SET
    ):
        why = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        )
        errors.append(status.forbidden_field("spec", why))
    return errors


def check_job(new: Obj, old: Obj | None) -> list[FieldError]:
    """Check a Job."""
    spec = spec_of(new)
    errors = _counts(
        spec, "parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"
    )
    errors += _template_errors(spec, ("OnFailure", "Never"))
    if old is None and not spec.get("manualSelector") and spec.get("selector") is None:
        errors.append(status.required("spec.selector"))
    before = spec_of(old) if old else None
    mutable = before is not None and before.get("suspend") and not (old or {}).get("status", {}).get("startTime")
    fixed = ("selector", "completionMode") if mutable else ("selector", "template", "completionMode")
    return errors + find_changed(spec, before, fixed, "spec") + find_changed(spec, before, ("completions",), "spec")


def check_cron_job(new: Obj, _old: Obj | None) -> list[FieldError]:
    """Check a CronJob."""
    spec = spec_of(new)
    errors: list[FieldError] = []
    schedule = str(spec.get("schedule") or "")
    if not schedule:
        errors.append(status.required("spec.schedule"))
    elif not schedule.startswith("@") and len(schedule.split()) != 5:
        why = f"expected exactly 5 fields, found {len(schedule.split())}: [{schedule}]"
        errors.append(status.invalid("spec.schedule", schedule, why))
    inner = (spec.get("jobTemplate") or {}).get("spec") or {}
    policy = ((inner.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy not in ("OnFailure", "Never"):
        field = "spec.jobTemplate.spec.template.spec.restartPolicy"
        errors.append(status.not_supported(field, policy, ("OnFailure", "Never")))
    if len(str(new["metadata"]["name"])) > 52:
        errors.append(status.invalid("metadata.name", new["metadata"]["name"], "must be no more than 52 characters"))
    return errors


def check_pod(new: Obj, old: Obj | None) -> list[FieldError]:
    """Check a Pod."""
    errors = check_pod_spec(spec_of(new), "spec")
    return errors if old is None else errors + check_pod_update(spec_of(new), spec_of(old))
