"""Validation of a pod's spec.

After `ValidatePodSpec` and `ValidatePodUpdate` in `pkg/apis/core/validation` of Kubernetes 1.36.
"""

from __future__ import annotations

import re

from crdbmesh_simulator.kubernetes.api import jsonvalue, names, status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, clone
from crdbmesh_simulator.kubernetes.api.status import FieldError

_QUANTITY_TEXT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_ENV_NAME = re.compile(r"^[^=\x00-\x1f\x7f]+$")
_POLICIES = ("Always", "Never", "OnFailure")
_PULL = ("Always", "IfNotPresent", "Never")
_DNS = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")


def check_pod_spec(spec: Obj, path: str) -> list[FieldError]:
    """Check a pod's spec."""
    errors: list[FieldError] = []
    volumes = _volumes(spec, path, errors)
    if not spec.get("containers"):
        errors.append(status.required(f"{path}.containers"))
    seen: set[str] = set()
    for kind in ("containers", "initContainers"):
        for at, container in enumerate(spec.get(kind) or []):
            where = f"{path}.{kind}[{at}]"
            errors += _container(container, where, volumes)
            if container.get("name") in seen:
                errors.append(status.duplicate(f"{where}.name", container["name"]))
            seen.add(str(container.get("name")))
            if kind == "initContainers" and container.get("restartPolicy") != "Always":
                errors += [
                    status.forbidden_field(
                        f"{where}.{probe}", "may not be set for init containers without restartPolicy=Always"
                    )
                    for probe in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
                    if container.get(probe)
                ]
    if spec.get("restartPolicy") not in _POLICIES:
        errors.append(status.not_supported(f"{path}.restartPolicy", spec.get("restartPolicy"), _POLICIES))
    if spec.get("dnsPolicy") not in _DNS:
        errors.append(status.not_supported(f"{path}.dnsPolicy", spec.get("dnsPolicy"), _DNS))
    if spec.get("dnsPolicy") == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        errors.append(status.required(f"{path}.dnsConfig.nameservers", why))
    for at, spread in enumerate(spec.get("topologySpreadConstraints") or []):
        if spread.get("whenUnsatisfiable") not in ("DoNotSchedule", "ScheduleAnyway"):
            field = f"{path}.topologySpreadConstraints[{at}].whenUnsatisfiable"
            errors.append(
                status.not_supported(field, spread.get("whenUnsatisfiable"), ("DoNotSchedule", "ScheduleAnyway"))
            )
    errors += names.check_labels(spec.get("nodeSelector"), f"{path}.nodeSelector")
    grace = spec.get("terminationGracePeriodSeconds")
    if isinstance(grace, int) and grace < 0:
        errors.append(
            status.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0")
        )
    return errors


def check_pod_update(new: Obj, old: Obj) -> list[FieldError]:
    """Check a change of a pod's spec."""
    if _fixed(new) == _fixed(old):
        return []
    why = (
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
        "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
    )
    return [status.forbidden_field("spec", why)]


def _fixed(spec: Obj) -> Obj:
    fixed: Obj = clone(spec)
    for name in ("activeDeadlineSeconds", "tolerations", "schedulingGates", "nodeName", "ephemeralContainers"):
        fixed.pop(name, None)
    for kind in ("containers", "initContainers"):
        for container in fixed.get(kind) or []:
            container.pop("image", None)
    return fixed


def _volumes(spec: Obj, path: str, errors: list[FieldError]) -> set[str]:
    seen: set[str] = set()
    for at, volume in enumerate(spec.get("volumes") or []):
        where, name = f"{path}.volumes[{at}]", str(volume.get("name") or "")
        if not name:
            errors.append(status.required(f"{where}.name"))
        else:
            errors += names.check_label(name, f"{where}.name")
        if name in seen:
            errors.append(status.duplicate(f"{where}.name", name))
        seen.add(name)
        sources = [key for key in volume if key != "name"]
        if not sources:
            errors.append(status.required(where, "must specify a volume type"))
        errors += [
            status.forbidden_field(f"{where}.{extra}", "may not specify more than 1 volume type")
            for extra in sources[1:]
        ]
        if "hostPath" in volume and not (volume["hostPath"] or {}).get("path"):
            errors.append(status.required(f"{where}.hostPath.path"))
        if "secret" in volume and not (volume["secret"] or {}).get("secretName"):
            errors.append(status.required(f"{where}.secret.secretName"))
        if "configMap" in volume and not (volume["configMap"] or {}).get("name"):
            errors.append(status.required(f"{where}.configMap.name"))
    return seen


def _container(container: Obj, where: str, volumes: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    name = container.get("name")
    if not name:
        errors.append(status.required(f"{where}.name"))
    else:
        errors += names.check_label(str(name), f"{where}.name")
    if not container.get("image"):
        errors.append(status.required(f"{where}.image"))
    elif str(container["image"]) != str(container["image"]).strip():
        errors.append(
            status.invalid(f"{where}.image", container["image"], "must not have leading or trailing whitespace")
        )
    if container.get("image") and container.get("imagePullPolicy") not in _PULL:
        errors.append(status.not_supported(f"{where}.imagePullPolicy", container.get("imagePullPolicy"), _PULL))
    errors += _ports(container, where)
    for at, variable in enumerate(container.get("env") or []):
        field = f"{where}.env[{at}]"
        if not variable.get("name"):
            errors.append(status.required(f"{field}.name"))
        elif not _ENV_NAME.match(str(variable["name"])):
            errors.append(
                status.invalid(
                    f"{field}.name",
                    variable["name"],
                    "a valid environment variable name must consist only of printable ASCII characters other than '='",
                )
            )
        if variable.get("value") and variable.get("valueFrom"):
            errors.append(status.invalid(f"{field}.valueFrom", "", "may not be specified when `value` is not empty"))
    paths: set[str] = set()
    for at, mount in enumerate(container.get("volumeMounts") or []):
        field = f"{where}.volumeMounts[{at}]"
        if mount.get("name") not in volumes:
            errors.append(FieldError("FieldValueNotFound", f"{field}.name", f'Not found: "{mount.get("name")}"'))
        if not mount.get("mountPath"):
            errors.append(status.required(f"{field}.mountPath"))
        elif mount["mountPath"] in paths:
            errors.append(status.invalid(f"{field}.mountPath", mount["mountPath"], "must be unique"))
        paths.add(str(mount.get("mountPath")))
    errors += _resources(container.get("resources") or {}, f"{where}.resources")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(probe), dict):
            errors += _probe(container[probe], f"{where}.{probe}")
    return errors


def _ports(container: Obj, where: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for at, port in enumerate(container.get("ports") or []):
        field = f"{where}.ports[{at}]"
        name = port.get("name")
        if name and (len(str(name)) > 15 or not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", str(name))):
            why = (
                "must be no more than 15 characters"
                if len(str(name)) > 15
                else "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
            )
            errors.append(status.invalid(f"{field}.name", name, why))
        if name and name in seen:
            errors.append(status.duplicate(f"{field}.name", name))
        seen.add(str(name))
        number = port.get("containerPort")
        if not number:
            errors.append(status.required(f"{field}.containerPort"))
        elif not isinstance(number, int) or not 0 < number < 65536:
            errors.append(status.invalid(f"{field}.containerPort", number, "must be between 1 and 65535, inclusive"))
        if port.get("protocol") not in ("TCP", "UDP", "SCTP"):
            errors.append(status.not_supported(f"{field}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP")))
    return errors


def _resources(resources: Obj, where: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for kind in ("limits", "requests"):
        for name, value in (resources.get(kind) or {}).items():
            if not jsonvalue.is_quantity(value):
                errors.append(status.invalid(f"{where}.{kind}[{name}]", value, _QUANTITY_TEXT))
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    if errors:
        return errors
    for name, value in requests.items():
        if name in limits and jsonvalue.value_of(value) > jsonvalue.value_of(limits[name]):
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            errors.append(status.invalid(f"{where}.requests", str(value), why))
    return errors


def _probe(probe: Obj, where: str) -> list[FieldError]:
    errors: list[FieldError] = []
    handlers = [name for name in _HANDLERS if probe.get(name) is not None]
    if not handlers:
        errors.append(status.required(where, "must specify a handler type"))
    errors += [
        status.forbidden_field(f"{where}.{extra}", "may not specify more than 1 handler type") for extra in handlers[1:]
    ]
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        value = probe.get(name)
        if isinstance(value, int) and value < 0:
            errors.append(status.invalid(f"{where}.{name}", value, "must be greater than or equal to 0"))
    return errors
