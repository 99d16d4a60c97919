"""Admission: what the API server's built-in plugins add to an object, and what they refuse.

NamespaceLifecycle, ServiceAccount, Priority, DefaultTolerationSeconds, PodSecurity, StorageObjectInUseProtection,
DefaultStorageClass and PersistentVolumeClaimResize of Kubernetes 1.36 (`plugin/pkg/admission`). PodSecurity:
after `staging/src/k8s.io/pod-security-admission/policy`; audit leaves no trace in what clients see.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from crdbmesh_simulator import tables
from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, value_of
from crdbmesh_simulator.kubernetes.api.resources import Resource

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.store import Store


IMMORTAL = ("default", "kube-system", "kube-public", "kube-node-lease")
_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_MIRROR = "kubernetes.io/config.mirror"


def check_namespace(store: Store, resource: Resource, meta: Obj) -> None:
    """Refuse an object whose namespace does not exist, or is on its way out. Raises StatusError: 404 or 403."""
    namespaces = store.resource("Namespace", "v1")
    name = str(meta.get("namespace") or "")
    found = store.peek(namespaces, None, name)
    if found is None:
        raise status.not_found(namespaces, name)
    if not found["metadata"].get("deletionTimestamp"):
        return
    refusal = status.forbidden(
        resource,
        str(meta.get("name") or ""),
        f"unable to create new content in namespace {name} because it is being terminated",
    )
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {name} is being terminated",
        "field": "metadata.namespace",
    }
    refusal.details["causes"] = [cause]
    raise refusal


def admit_pod(store: Store, resource: Resource, pod: Obj, warnings: list[str]) -> None:
    """Fill in what plugins add to a new pod, and refuse one that the namespace's profile does not allow.

    Raises StatusError: 403.
    """
    spec, meta = pod["spec"], pod["metadata"]
    if _MIRROR not in (meta.get("annotations") or {}):
        _add_account(store, resource, pod)
    _add_priority(store, resource, pod)
    _add_tolerations(spec)
    check_pod_security(store, resource, meta, spec, warnings, enforce=True)
    pod["status"]["qosClass"] = _quality(spec)


def check_pod_security(
    store: Store, resource: Resource, meta: Obj, spec: Obj, warnings: list[str], *, enforce: bool
) -> None:
    """Hold a pod, or a workload's template, against the profile of its namespace. Raises StatusError: 403."""
    namespace = store.peek(store.resource("Namespace", "v1"), None, str(meta.get("namespace"))) or {"metadata": {}}
    configured = store.admission.get("PodSecurity") or {}
    if str(meta.get("namespace")) in (configured.get("exemptions") or {}).get("namespaces", []):
        return
    by_default = {f"{PREFIX}/{mode}": level for mode, level in (configured.get("defaults") or {}).items()}
    labels = {**by_default, **(namespace["metadata"].get("labels") or {})}
    if not any(key.startswith(PREFIX) for key in labels):
        return
    violations = find_violations(labels, "enforce", spec) if enforce else None
    if violations is not None:
        raise status.forbidden(resource, str(meta.get("name")), f"violates {violations}")
    warned = find_violations(labels, "warn", spec)
    if warned is not None:
        warnings.append(f"would violate {warned}")


def _add_account(store: Store, resource: Resource, pod: Obj) -> None:
    spec, meta = pod["spec"], pod["metadata"]
    name = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = store.peek(store.resource("ServiceAccount", "v1"), meta.get("namespace"), name)
    if account is None:
        why = f'error looking up service account {meta.get("namespace")}/{name}: serviceaccount "{name}" not found'
        raise status.forbidden(resource, str(meta.get("name")), why)
    mounts = spec.get("automountServiceAccountToken")
    if mounts is None:
        mounts = account.get("automountServiceAccountToken")
    if mounts is False:
        return
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    wanting = [
        each
        for each in containers
        if not any(mount.get("mountPath") == _ACCOUNT_PATH for mount in each.get("volumeMounts") or [])
    ]
    volume = _token_volume()
    spec["volumes"] = [*(spec.get("volumes") or []), volume]
    for each in wanting:
        mount = {"name": volume["name"], "readOnly": True, "mountPath": _ACCOUNT_PATH}
        each["volumeMounts"] = [*(each.get("volumeMounts") or []), mount]


def _token_volume() -> Obj:
    suffix = "".join(random.choice(_LETTERS) for _ in range(5))  # noqa: S311 - a volume's name
    sources: list[Obj] = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]
            }
        },
    ]
    return {"name": f"kube-api-access-{suffix}", "projected": {"sources": sources, "defaultMode": 420}}


def _add_priority(store: Store, resource: Resource, pod: Obj) -> None:
    spec = pod["spec"]
    name = spec.get("priorityClassName")
    if not name:
        spec.setdefault("priority", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
        return
    found = store.peek(store.resource("PriorityClass", "scheduling.k8s.io/v1"), None, name)
    if found is None:
        raise status.forbidden(
            resource, str(pod["metadata"].get("name")), f"no PriorityClass with name {name} was found"
        )
    spec["priority"] = found["value"]
    spec["preemptionPolicy"] = found.get("preemptionPolicy") or "PreemptLowerPriority"


def _add_tolerations(spec: Obj) -> None:
    tolerations = list(spec.get("tolerations") or [])
    for key in _TAINTS:
        covered = any(
            each.get("key") in (key, None, "") and each.get("effect") in ("NoExecute", None, "") for each in tolerations
        )
        if not covered:
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    spec["tolerations"] = tolerations


def _quality(spec: Obj) -> str:
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    all_limited = bool(containers)
    any_set = False
    for each in containers:
        resources = each.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        any_set = any_set or any(value_of(value) for value in [*limits.values(), *requests.values()])
        for name in ("cpu", "memory"):
            limit = limits.get(name)
            if limit is None or value_of(requests.get(name, limit)) != value_of(limit):
                all_limited = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if all_limited else "Burstable"


def admit_claim(store: Store, claim: Obj) -> None:
    """Give a claim that names no storage class the default one."""
    spec = claim["spec"]
    if spec.get("storageClassName") is not None:
        return
    for found in store.peek_all(store.resource("StorageClass", "storage.k8s.io/v1")):
        annotations = found["metadata"].get("annotations") or {}
        if annotations.get("storageclass.kubernetes.io/is-default-class") == "true":
            spec["storageClassName"] = found["metadata"]["name"]
            return


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
