"""Pod Security admission: what the profile of a namespace allows its pods.

After `staging/src/k8s.io/pod-security-admission/policy` of Kubernetes 1.36; the levels stand in the namespace's labels
`pod-security.kubernetes.io/{enforce,warn}` and `-version` (audit leaves no trace in what clients see).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping

from crdbmesh_simulator import tables
from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj

PREFIX = "pod-security.kubernetes.io"
_NAMES = tables.read_yaml("crdbmesh_simulator.kubernetes", "names-1.36")
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
    pod, restricted = spec.get("securityContext") or {}, level == "restricted"
    containers = [each for kind in ("initContainers", "containers") for each in spec.get(kind) or []]

    def named(test: Callable[[Obj], object]) -> str:
        return _listed("container", [each["name"] for each in containers if test(each.get("securityContext") or {})])

    def seccomp(context: Obj) -> str | None:
        return (context.get("seccompProfile") or {}).get("type")

    added = [((each.get("securityContext") or {}).get("capabilities") or {}).get("add") or [] for each in containers]
    beyond = sorted({word for words in added for word in words}.difference(_NAMES["capabilities"][level]))
    adding = ""
    if beyond:
        who = named(lambda context: set(beyond) & set((context.get("capabilities") or {}).get("add") or []))
        words = ", ".join(f'"{word}"' for word in beyond)
        adding = f"{who} must not include {words} in securityContext.capabilities.add"
    if adding and not restricted:
        yield f"non-default capabilities ({adding})"
    if shared := [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]:
        yield f"host namespaces ({', '.join(shared)})"
    paths = [volume["name"] for volume in spec.get("volumes") or [] if "hostPath" in volume]
    if paths and not restricted:
        yield f"hostPath volumes ({_listed('volume', paths)})"
    on_host = {
        each["name"]: [p["hostPort"] for p in each.get("ports") or [] if p.get("hostPort")] for each in containers
    }
    if ports := sorted({port for found in on_host.values() for port in found}):
        users, plural = [name for name, found in on_host.items() if found], "s" if len(ports) > 1 else ""
        uses = "uses" if len(users) == 1 else "use"
        yield f"hostPort ({_listed('container', users)} {uses} hostPort{plural} {', '.join(map(str, ports))})"
    if who := named(lambda context: context.get("privileged") is True):
        yield f"privileged ({who} must not set securityContext.privileged=true)"
    if restricted:
        yield from _restricted(spec, named, seccomp, adding)
    elif loose := [
        *(["pod"] if seccomp(pod) == "Unconfined" else []),
        *filter(None, [named(lambda context: seccomp(context) == "Unconfined")]),
    ]:
        what = 'securityContext.seccompProfile.type to "Unconfined"'
        yield f"seccompProfile ({' and '.join(loose)} must not set {what})"


def _restricted(
    spec: Obj, named: Callable[[Callable[[Obj], object]], str], seccomp: Callable[[Obj], str | None], adding: str
) -> Iterator[str]:
    pod, profiles = spec.get("securityContext") or {}, ("RuntimeDefault", "Localhost")
    if who := named(lambda context: context.get("allowPrivilegeEscalation") is not False):
        flag = "allowPrivilegeEscalation"
        yield f"{flag} != false ({who} must set securityContext.{flag}=false)"
    keeping = named(lambda context: "ALL" not in ((context.get("capabilities") or {}).get("drop") or []))
    keeping = f'{keeping} must set securityContext.capabilities.drop=["ALL"]' if keeping else ""
    if keeping or adding:
        yield f"unrestricted capabilities ({'; '.join(filter(None, [keeping, adding]))})"
    typed = {
        volume["name"]: next((f'"{key}"' for key in volume if key != "name"), '"unknown"')
        for volume in spec.get("volumes") or []
        if set(volume).isdisjoint(_NAMES["restricted volumes"])
    }
    if typed:
        kinds, uses = sorted(set(typed.values())), "uses" if len(typed) == 1 else "use"
        words = f"restricted volume type{'s' if len(kinds) > 1 else ''} {', '.join(kinds)}"
        yield f"restricted volume types ({_listed('volume', list(typed))} {uses} {words})"
    if who := named(lambda context: context.get("runAsNonRoot") is False):
        yield f"runAsNonRoot != true ({who} must not set securityContext.runAsNonRoot=false)"
    elif pod.get("runAsNonRoot") is not True and (who := named(lambda context: context.get("runAsNonRoot") is None)):
        yield f"runAsNonRoot != true (pod or {who} must set securityContext.runAsNonRoot=true)"
    roots = ["pod"] if pod.get("runAsUser") == 0 else []
    if roots := [*roots, *filter(None, [named(lambda context: context.get("runAsUser") == 0)])]:
        yield f"runAsUser=0 ({' and '.join(roots)} must not set runAsUser=0)"
    if seccomp(pod) not in (None, *profiles):
        yield f'seccompProfile (pod must not set securityContext.seccompProfile.type to "{seccomp(pod)}")'
    elif who := named(lambda context: (seccomp(context) or seccomp(pod)) not in profiles):
        what = 'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
        yield f"seccompProfile (pod or {who} must set {what})"


def _listed(what: str, names: list[str]) -> str:
    return f"{what}{'s' if len(names) > 1 else ''} {', '.join(json.dumps(name) for name in names)}" if names else ""
