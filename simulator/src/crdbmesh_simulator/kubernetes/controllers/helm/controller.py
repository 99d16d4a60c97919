"""k3s's helm-controller: a Job for each HelmChart, with the values and the archive that it says.

After `pkg/controllers/chart/chart.go` of helm-controller v0.17. The job's program is in `job.py`. What is not part of
this world: HelmChartConfig, `set`, `values`, and the removal of a chart.
"""

from __future__ import annotations

import base64
import functools
import hashlib

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.site import Controller

IMAGE = "rancher/klipper-helm:v0.9.14-build20260309"
LABEL = "helmcharts.helm.cattle.io/chart"
CONFIG_HASH = "helmcharts.helm.cattle.io/configHash"
_UNMANAGED = "helmcharts.helm.cattle.io/unmanaged"
_MANAGED_BY = "helmcharts.cattle.io/managed-by"
_OBJECT_HASH = "objectset.rio.cattle.io/hash"
_SCRATCH = "/tmp"  # noqa: S108 - a mount of the pod's own
_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


class HelmCharts(Controller):
    """Keeps the job of every HelmChart."""

    watches = ("HelmChart", "Job", "Secret")

    def run(self, now: float) -> float | None:  # noqa: ARG002 - the interface
        """Sync every HelmChart."""
        for chart in self.api.list("HelmChart"):
            self.tolerating(chart, functools.partial(self._sync, chart))
        return None

    def _sync(self, chart: Obj) -> None:
        marks = objects.annotations_of(chart)
        if _MANAGED_BY not in marks:
            self.api.annotate(chart, {_MANAGED_BY: "helm-controller"})
            return
        if objects.deleting(chart):
            return
        job = self._apply(chart)
        self._status(chart, job)

    def _apply(self, chart: Obj) -> Obj | None:
        """Bring the job and what it uses in line; the job as it is now, None while it is being replaced."""
        values, content = _values_secret(chart), _content(chart)
        job = _job(chart, self._hash(chart, values, content))
        for obj in (values, content, _account(chart), _binding(chart)):
            self._ensure(obj)
        existing = self.api.find("Job", objects.namespace(chart), objects.name(job))
        if existing is None:
            created = self.api.create(job)
            text = f"Applying HelmChart using Job {objects.namespace(job)}/{objects.name(job)}"
            self.api.event(chart, "Normal", "ApplyJob", text, component="helm-controller")
            return created
        if objects.deleting(existing):
            return None
        if objects.annotations_of(existing).get(_OBJECT_HASH) != objects.annotations_of(job)[_OBJECT_HASH]:
            self.api.delete(existing, propagation="Foreground")
            return None
        return existing

    def _ensure(self, obj: Obj) -> None:
        existing = self.api.find(obj["kind"], objects.namespace(obj) or None, objects.name(obj))
        if existing is None:
            self.api.create(obj)
            return
        changed = self.api.copy(existing)
        for key, value in obj.items():
            if key not in ("metadata", "apiVersion", "kind"):
                changed[key] = value
        if changed != existing:
            self.api.replace(changed)

    def _hash(self, chart: Obj, *held: Obj) -> str:
        code = hashlib.sha256()
        for obj in held:
            for key, value in sorted((obj.get("data") or {}).items()):
                code.update(f"{key}{value}".encode())
        for reference in objects.spec(chart).get("valuesSecrets") or []:
            secret = self.api.find("Secret", objects.namespace(chart), str(reference["name"])) or {}
            for key in reference.get("keys") or []:
                code.update(f"{key}{(secret.get('data') or {}).get(key, '')}".encode())
        return f"SHA256={code.hexdigest().upper()}"

    def _status(self, chart: Obj, job: Obj | None) -> None:
        name, space = f"helm-install-{objects.name(chart)}", objects.namespace(chart)
        failed = objects.condition(job, "Failed") if job is not None else None
        conditions: list[Obj] = [
            {"type": "JobCreated", "status": "True", "reason": "Job created",
             "message": f"Applying HelmChart using Job {space}/{name}"},
        ]  # fmt: skip
        if failed is not None and failed.get("status") == "True":
            conditions.append({"type": "Failed", "status": "True", "reason": "Job failed",
                               "message": str(failed.get("message", ""))})  # fmt: skip
        else:
            conditions.append({"type": "Failed", "status": "False"})
        status = {"jobName": name, "conditions": conditions}
        if status != objects.status(chart):
            self.api.set_status(chart, status)


def _values_secret(chart: Obj) -> Obj:
    spec = objects.spec(chart)
    files: dict[str, str] = {}
    if spec.get("valuesContent"):
        files["values-01_HelmChart.yaml"] = str(spec["valuesContent"])
    data = {key: base64.b64encode(text.encode()).decode() for key, text in files.items()}
    return _owned(chart, {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data,
                          "metadata": {"name": f"chart-values-{objects.name(chart)}"}})  # fmt: skip


def _content(chart: Obj) -> Obj:
    content = objects.spec(chart).get("chartContent")
    data = {f"{objects.name(chart)}.tgz.base64": str(content)} if content else {}
    return _owned(chart, {"apiVersion": "v1", "kind": "ConfigMap", "data": data,
                          "metadata": {"name": f"chart-content-{objects.name(chart)}"}})  # fmt: skip


def _account(chart: Obj) -> Obj:
    return _owned(chart, {"apiVersion": "v1", "kind": "ServiceAccount", "automountServiceAccountToken": True,
                          "metadata": {"name": f"helm-{objects.name(chart)}"}})  # fmt: skip


def _binding(chart: Obj) -> Obj:
    group = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": f"helm-{objects.name(chart)}", "namespace": objects.namespace(chart)}
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"helm-{objects.namespace(chart)}-{objects.name(chart)}"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [subject],
    }


def _owned(chart: Obj, obj: Obj) -> Obj:
    obj["metadata"]["namespace"] = objects.namespace(chart)
    obj["metadata"]["ownerReferences"] = [objects.owner_reference(chart)]
    return obj


def _job(chart: Obj, config_hash: str) -> Obj:
    spec, name = objects.spec(chart), objects.name(chart)
    space = str(spec.get("targetNamespace") or "")
    env = {
        "NAME": name,
        "VERSION": str(spec.get("version") or ""),
        "REPO": str(spec.get("repo") or ""),
        "HELM_DRIVER": str(spec.get("driver") or "secret"),
        "CHART_NAMESPACE": objects.namespace(chart),
        "CHART": f"{name}/{spec.get('chart')}" if spec.get("repo") else str(spec.get("chart") or ""),
        "HELM_VERSION": str(spec.get("helmVersion") or ""),
        "TARGET_NAMESPACE": str(spec.get("targetNamespace") or objects.namespace(chart)),
        "AUTH_PASS_CREDENTIALS": "true" if spec.get("authPassCredentials") else "false",
        "INSECURE_SKIP_TLS_VERIFY": "true" if spec.get("insecureSkipTLSVerify") else "false",
        "PLAIN_HTTP": "true" if spec.get("plainHTTP") else "false",
        "FAILURE_POLICY": str(spec.get("failurePolicy") or "reinstall"),
    }
    pod: Obj = {
        "restartPolicy": "OnFailure",
        "serviceAccountName": f"helm-{name}",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "securityContext": spec.get("podSecurityContext")
        or {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    if spec.get("bootstrap"):
        env |= {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "6443", "BOOTSTRAP": "true"}
        pod["nodeSelector"][_CONTROL_PLANE] = "true"
        pod["hostNetwork"] = True
        pod["tolerations"] = [
            {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"},
            {"key": "node.cloudprovider.kubernetes.io/uninitialized", "operator": "Equal", "value": "true",
             "effect": "NoSchedule"},
            {"key": "CriticalAddonsOnly", "operator": "Exists"},
            {"key": "node-role.kubernetes.io/etcd", "operator": "Exists", "effect": "NoExecute"},
            {"key": _CONTROL_PLANE, "operator": "Exists", "effect": "NoSchedule"},
        ]  # fmt: skip
    folders = {"klipper-helm": ".helm", "klipper-cache": ".cache", "klipper-config": ".config"}
    mounts = [{"name": volume, "mountPath": f"/home/klipper-helm/{folder}"} for volume, folder in folders.items()]
    mounts += [{"name": "tmp", "mountPath": _SCRATCH}, {"name": "values", "mountPath": "/config"},
               {"name": "content", "mountPath": "/chart"}]  # fmt: skip
    pod["containers"] = [{
        "name": "helm",
        "image": str(spec.get("jobImage") or IMAGE).strip(),
        "imagePullPolicy": "IfNotPresent",
        "args": ["install", *(["--namespace", space] if space else [])],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "securityContext": spec.get("securityContext") or {
            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True},
        "volumeMounts": mounts,
    }]  # fmt: skip
    sources: list[Obj] = [{"secret": {"name": f"chart-values-{name}"}}]
    for index, reference in enumerate(spec.get("valuesSecrets") or []):
        items = [{"key": key, "path": f"values-05_HelmChart-{index:03d}-{reference['name']}-{key}"}
                 for key in reference.get("keys") or []]  # fmt: skip
        sources.append({"secret": {"name": reference["name"], "items": items}})
    pod["volumes"] = [
        *({"name": volume, "emptyDir": {"medium": "Memory"}} for volume in (*folders, "tmp")),
        {"name": "values", "projected": {"sources": sources}},
        {"name": "content", "configMap": {"name": f"chart-content-{name}"}},
    ]
    job = {
        "backoffLimit": int(spec.get("backOffLimit") or 1000),
        "template": {"metadata": {"labels": {LABEL: name}, "annotations": {CONFIG_HASH: config_hash}}, "spec": pod},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"helm-install-{name}",
            "namespace": objects.namespace(chart),
            "labels": {LABEL: name},
            "annotations": {_OBJECT_HASH: objects.digest(job, 40)},
            "ownerReferences": [objects.owner_reference(chart)],
        },
        "spec": job,
    }
