"""Pod Security admission: what the profile of a namespace allows its pods.

After `staging/src/k8s.io/pod-security-admission/policy` of Kubernetes 1.36; the levels stand in the namespace's labels
`pod-security.kubernetes.io/{enforce,warn}` and `-version` (audit leaves no trace in what clients see).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj

PREFIX = "pod-security.kubernetes.io"
_BASELINE_CAPABILITIES = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip
_RESTRICTED_VOLUMES = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret", "image",
})  # fmt: skip
_SECCOMP = ("RuntimeDefault", "Localhost")


_LEVELS = ("privileged", "baseline", "restricted")
_MODES = ("enforce", "audit", "warn")


def check_labels(labels: Mapping[str, str]) -> list[status.FieldError]:
    """Return what is wrong with the labels of a namespace that set its levels."""
    errors: list[status.FieldError] = []
    for mode in _MODES:
        level, version = labels.get(f"{PREFIX}/{mode}"), labels.get(f"{PREFIX}/{mode}-version")
        if level not in (None, *_LEVELS):
            errors.append(_invalid(f"{PREFIX}/{mode}", level, f"must be one of {', '.join(_LEVELS)}"))
        if version not in (None, "latest") and not re.fullmatch(r"v1\.(0|[1-9][0-9]*)", str(version)):
            errors.append(_invalid(f"{PREFIX}/{mode}-version", version, 'must be "latest" or "v1.x"'))
    return errors


def _invalid(label: str, value: str | None, why: str) -> status.FieldError:
    return status.invalid(f"metadata.labels[{label}]", value, why)


def find_violations(labels: Mapping[str, str], mode: str, spec: Obj) -> str | None:
    """Return why a pod is not allowed under a namespace's labels: the text after "violates"; None when it is.

    A namespace that says nothing of warnings warns of what it would refuse.
    """
    if mode == "warn" and f"{PREFIX}/warn" not in labels:
        mode = "enforce"
    level = labels.get(f"{PREFIX}/{mode}", "privileged")
    if level == "privileged":
        return None
    version = labels.get(f"{PREFIX}/{mode}-version", "latest")
    found = list(_violations(level, spec))
    return f'PodSecurity "{level}:{version}": {", ".join(found)}' if found else None


def _violations(level: str, spec: Obj) -> Iterator[str]:
    restricted = level == "restricted"
    containers = _containers(spec)
    if not restricted:
        yield from _added_capabilities(containers, _BASELINE_CAPABILITIES, "non-default capabilities")
    shared = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    if shared:
        yield f"host namespaces ({', '.join(shared)})"
    host_paths = [f'"{volume["name"]}"' for volume in spec.get("volumes") or [] if "hostPath" in volume]
    if host_paths and not restricted:
        yield f"hostPath volumes ({_volumes(host_paths)})"
    yield from _host_ports(containers)
    privileged = _named(containers, lambda context, _: context.get("privileged") is True)
    if privileged:
        yield f"privileged ({_listed(privileged)} must not set securityContext.privileged=true)"
    if not restricted:
        yield from _seccomp_unconfined(spec, containers)
        return
    yield from _restricted(spec, containers)


def _restricted(spec: Obj, containers: list[Obj]) -> Iterator[str]:
    pod = spec.get("securityContext") or {}
    escalating = _named(containers, lambda context, _: context.get("allowPrivilegeEscalation") is not False)
    if escalating:
        yield (
            f"allowPrivilegeEscalation != false ({_listed(escalating)} must set "
            "securityContext.allowPrivilegeEscalation=false)"
        )
    keeping = _named(
        containers, lambda context, _: "ALL" not in ((context.get("capabilities") or {}).get("drop") or [])
    )
    adding = list(_adding(containers, frozenset({"NET_BIND_SERVICE"})))
    if keeping or adding:
        parts = [f'{_listed(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
        parts += adding
        yield f"unrestricted capabilities ({'; '.join(parts)})"
    typed = [
        (f'"{volume["name"]}"', next((f'"{key}"' for key in volume if key != "name"), '"unknown"'))
        for volume in spec.get("volumes") or []
        if not any(key in _RESTRICTED_VOLUMES for key in volume if key != "name")
    ]
    if typed:
        kinds = sorted({kind for _, kind in typed})
        words = "types" if len(kinds) > 1 else "type"
        uses = "uses" if len(typed) == 1 else "use"
        subject = _volumes([name for name, _ in typed])
        yield f"restricted volume types ({subject} {uses} restricted volume {words} {', '.join(kinds)})"
    yield from _non_root(pod, containers)
    unset = _named(
        containers, lambda context, _: not context.get("seccompProfile") and not pod.get("seccompProfile")
    ) + _named(
        containers,
        lambda context, _: (
            bool(context.get("seccompProfile")) and context["seccompProfile"].get("type") not in _SECCOMP
        ),
    )
    if (pod.get("seccompProfile") or {}).get("type", "RuntimeDefault") not in _SECCOMP:
        kind = pod["seccompProfile"]["type"]
        yield f'seccompProfile (pod must not set securityContext.seccompProfile.type to "{kind}")'
    elif unset:
        yield (
            f"seccompProfile (pod or {_listed(unset)} must set securityContext.seccompProfile.type to "
            '"RuntimeDefault" or "Localhost")'
        )


def _non_root(pod: Obj, containers: list[Obj]) -> Iterator[str]:
    explicit = _named(containers, lambda context, _: context.get("runAsNonRoot") is False)
    silent = _named(containers, lambda context, _: context.get("runAsNonRoot") is None)
    if explicit:
        yield f"runAsNonRoot != true ({_listed(explicit)} must not set securityContext.runAsNonRoot=false)"
    elif silent and pod.get("runAsNonRoot") is not True:
        yield f"runAsNonRoot != true (pod or {_listed(silent)} must set securityContext.runAsNonRoot=true)"
    parts = ["pod"] if pod.get("runAsUser") == 0 else []
    root = _named(containers, lambda context, _: context.get("runAsUser") == 0)
    if root:
        parts.append(_listed(root))
    if parts:
        yield f"runAsUser=0 ({' and '.join(parts)} must not set runAsUser=0)"


def _containers(spec: Obj) -> list[Obj]:
    return [
        container
        for kind in ("initContainers", "containers", "ephemeralContainers")
        for container in spec.get(kind) or []
    ]


def _named(containers: list[Obj], test: Callable[[Mapping[str, Any], Obj], bool]) -> list[str]:
    return [f'"{each["name"]}"' for each in containers if test(each.get("securityContext") or {}, each)]


def _listed(names: list[str]) -> str:
    return f"{'container' if len(names) == 1 else 'containers'} {', '.join(names)}"


def _volumes(names: list[str]) -> str:
    return f"{'volume' if len(names) == 1 else 'volumes'} {', '.join(names)}"


def _adding(containers: list[Obj], allowed: frozenset[str]) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for each in containers:
        added = ((each.get("securityContext") or {}).get("capabilities") or {}).get("add") or []
        for capability in added:
            if capability not in allowed:
                found.setdefault(capability, []).append(f'"{each["name"]}"')
    if found:
        names = list(dict.fromkeys(name for group in found.values() for name in group))
        words = ", ".join(f'"{capability}"' for capability in sorted(found))
        yield f"{_listed(names)} must not include {words} in securityContext.capabilities.add"


def _added_capabilities(containers: list[Obj], allowed: frozenset[str], title: str) -> Iterator[str]:
    for text in _adding(containers, allowed):
        yield f"{title} ({text})"


def _host_ports(containers: list[Obj]) -> Iterator[str]:
    names: list[str] = []
    ports: list[int] = []
    for each in containers:
        used = [port["hostPort"] for port in each.get("ports") or [] if port.get("hostPort")]
        if used:
            names.append(f'"{each["name"]}"')
            ports += used
    if names:
        numbers = ", ".join(str(port) for port in sorted(set(ports)))
        uses = "uses" if len(names) == 1 else "use"
        yield f"hostPort ({_listed(names)} {uses} {'hostPort' if len(set(ports)) == 1 else 'hostPorts'} {numbers})"


def _seccomp_unconfined(spec: Obj, containers: list[Obj]) -> Iterator[str]:
    parts = []
    if ((spec.get("securityContext") or {}).get("seccompProfile") or {}).get("type") == "Unconfined":
        parts.append("pod")
    loose = _named(containers, lambda context, _: (context.get("seccompProfile") or {}).get("type") == "Unconfined")
    if loose:
        parts.append(_listed(loose))
    if parts:
        yield f'seccompProfile ({" and ".join(parts)} must not set securityContext.seccompProfile.type to "Unconfined")'
