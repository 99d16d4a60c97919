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
from crdbmesh_simulator.kubernetes.controllers.objects import fill
from crdbmesh_simulator.kubernetes.controllers.site import Controller

IMAGE = "rancher/klipper-helm:v0.9.14-build20260309"
LABEL = "helmcharts.helm.cattle.io/chart"
CONFIG_HASH = "helmcharts.helm.cattle.io/configHash"
_UNMANAGED = "helmcharts.helm.cattle.io/unmanaged"
_MANAGED_BY = "helmcharts.cattle.io/managed-by"
_OBJECT_HASH = "objectset.rio.cattle.io/hash"


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
        parts = _parts(chart)
        job = _job(chart, self._hash(chart, *parts))
        for obj in parts:
            self.api.bring(self.api.find(obj["kind"], objects.namespace(obj) or None, objects.name(obj)), obj)
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
            {
                "type": "JobCreated",
                "status": "True",
                "reason": "Job created",
                "message": f"Applying HelmChart using Job {space}/{name}",
            }
        ]
        if failed is not None and failed.get("status") == "True":
            conditions.append(
                {"type": "Failed", "status": "True", "reason": "Job failed", "message": str(failed.get("message", ""))}
            )
        else:
            conditions.append({"type": "Failed", "status": "False"})
        status = {"jobName": name, "conditions": conditions}
        if status != objects.status(chart):
            self.api.set_status(chart, status)


def _parts(chart: Obj) -> list[Obj]:
    spec, name = objects.spec(chart), objects.name(chart)
    values, content = spec.get("valuesContent"), spec.get("chartContent")
    blanks = {
        "name": name,
        "space": objects.namespace(chart),
        "owner": objects.owner_reference(chart),
        "values": {"values-01_HelmChart.yaml": base64.b64encode(str(values).encode()).decode()} if values else {},
        "content": {f"{name}.tgz.base64": str(content)} if content else {},
    }
    return fill("helm-chart", blanks)


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
    if spec.get("bootstrap"):
        env |= {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "6443", "BOOTSTRAP": "true"}
    sources: list[Obj] = [{"secret": {"name": f"chart-values-{name}"}}]
    for index, reference in enumerate(spec.get("valuesSecrets") or []):
        items = [
            {"key": key, "path": f"values-05_HelmChart-{index:03d}-{reference['name']}-{key}"}
            for key in reference.get("keys") or []
        ]
        sources.append({"secret": {"name": reference["name"], "items": items}})
    restricted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    tight = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    job = fill(
        "helm-job",
        {
            "name": name,
            "space": objects.namespace(chart),
            "labels": {LABEL: name},
            "sources": sources,
            "owner": objects.owner_reference(chart),
            "annotations": {CONFIG_HASH: config_hash},
            "backoff": int(spec.get("backOffLimit") or 1000),
            "pod_security": spec.get("podSecurityContext") or restricted,
            "bootstrap": fill("helm-bootstrap")[0] if spec.get("bootstrap") else {},
            "image": str(spec.get("jobImage") or IMAGE).strip(),
            "arguments": ["install", *(["--namespace", space] if space else [])],
            "env": [{"name": key, "value": value} for key, value in env.items()],
            "security": spec.get("securityContext") or tight,
        },
    )[0]
    job["metadata"]["annotations"] = {_OBJECT_HASH: objects.digest(job["spec"], 40)}
    return job
