"""The custom resources of the helm-controller, with their schemas and columns.

After the API reference of helm-controller v0.17 (`doc/helmchart.md`). What it takes over from Kubernetes whole, the two
security contexts, is not checked field by field.
"""

from __future__ import annotations

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj

_TEXT: Obj = {"type": "string"}
_FLAG: Obj = {"type": "boolean"}
_ANYTHING: Obj = {"x-kubernetes-preserve-unknown-fields": True}
_CONTEXT: Obj = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_NAMED: Obj = {
    "type": "object",
    "properties": {"name": {"type": "string", "default": ""}},
    "x-kubernetes-map-type": "atomic",
}
_POLICY: Obj = {"type": "string", "enum": ["abort", "reinstall"], "default": "reinstall"}
_SECRETS: Obj = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"name": _TEXT, "keys": {"type": "array", "items": _TEXT}, "ignoreUpdates": _FLAG},
    },
}
_VALUES: Obj = {"values": _ANYTHING, "valuesContent": _TEXT, "valuesSecrets": _SECRETS, "failurePolicy": _POLICY}
_CHART: Obj = {
    **_VALUES,
    **dict.fromkeys(
        ("targetNamespace", "chart", "version", "repo", "repoCA", "helmVersion", "chartContent", "jobImage", "timeout"),
        _TEXT,
    ),
    **dict.fromkeys(
        ("createNamespace", "bootstrap", "takeOwnership", "authPassCredentials", "insecureSkipTLSVerify", "plainHTTP"),
        _FLAG,
    ),
    **dict.fromkeys(("repoCAConfigMap", "authSecret", "dockerRegistrySecret"), _NAMED),
    "set": {
        "type": "object",
        "additionalProperties": {"anyOf": [{"type": "integer"}, _TEXT], "x-kubernetes-int-or-string": True},
    },
    "backOffLimit": {"type": "integer", "format": "int32"},
    "podSecurityContext": _CONTEXT,
    "securityContext": _CONTEXT,
    "driver": {"type": "string", "enum": ["secret", "configmap"], "default": "secret"},
}
_STATUS: Obj = {
    "jobName": _TEXT,
    "conditions": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["status", "type"],
            "properties": dict.fromkeys(("type", "status", "reason", "message"), _TEXT),
        },
    },
}
_FAILED = '.status.conditions[?(@.type=="Failed")].status'


def versions(kind: str) -> list[Obj]:
    """`spec.versions` of the definition of `HelmChart` or `HelmChartConfig`."""
    spec = {"type": "object", "properties": _CHART if kind == "HelmChart" else _VALUES}
    properties: Obj = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": {"type": "object"}, "spec": spec}
    version: Obj = {"name": "v1", "served": True, "storage": True}
    if kind == "HelmChart":
        properties["status"] = {"type": "object", "properties": _STATUS}
        version["subresources"] = {"status": {}}
        version["additionalPrinterColumns"] = [
            *(_column(name, f".spec.{name[:1].lower()}{name[1:]}") for name in ("Repo", "Chart", "Version")),
            _column("TargetNamespace", ".spec.targetNamespace"),
            {**_column("Bootstrap", ".spec.bootstrap"), "type": "boolean"},
            _column("Failed", _FAILED),
        ]
    version["schema"] = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    return [version]


def _column(name: str, path: str) -> Obj:
    return {"name": name, "type": "string", "jsonPath": path}
