"""The columns of each kind in `kubectl get`, and what stands in them.

After `pkg/printers/internalversion/printers.go` of Kubernetes 1.36. A column whose name starts with `+` is shown with
`-o wide`; `#` marks a number.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from crdbmesh.simulator.kube.jsonvalue import Obj

_Cells = Callable[[Obj, float], list[Any]]
_NONE, _UNKNOWN, _UNSET = "<none>", "<unknown>", "<unset>"


def age(obj: Obj, now: float) -> str:
    """How long an object exists."""
    return since(str(obj["metadata"].get("creationTimestamp") or ""), now)


def since(stamp: str, now: float) -> str:
    """The time since a stamp, as `duration.HumanDuration` writes it."""
    try:
        moment = dt.datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return _UNKNOWN
    return human(now - moment)


def human(seconds: float) -> str:
    """A duration in at most two units."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    if total < 120:
        return f"{total}s"
    minutes = total // 60
    if minutes < 10:
        rest = total % 60
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = total // 3600
    if hours < 8:
        rest = minutes % 60
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if days < 8:
        rest = hours % 24
        return f"{days}d{rest}h" if rest else f"{days}d"
    if days < 730:
        return f"{days}d"
    return f"{days // 365}y{days % 365}d" if days % 365 else f"{days // 365}y"


def _spec(obj: Obj) -> Obj:
    return obj.get("spec") or {}


def _status(obj: Obj) -> Obj:
    return obj.get("status") or {}


def _labels(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or _NONE


def _selector(selector: Mapping[str, Any] | None) -> str:
    if not selector:
        return _NONE
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for rule in selector.get("matchExpressions") or []:
        values = ",".join(rule.get("values") or [])
        parts.append(f"{rule['key']} {str(rule['operator']).lower()} ({values})" if values else str(rule["key"]))
    return ",".join(parts) or _NONE


def _images(obj: Obj) -> list[str]:
    spec = (_spec(obj).get("template") or {}).get("spec") or {}
    containers = spec.get("containers") or []
    return [
        ",".join(str(each.get("name")) for each in containers),
        ",".join(str(each.get("image")) for each in containers),
    ]


def _pod(obj: Obj, now: float) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    statuses = status.get("containerStatuses") or []
    ready = sum(1 for each in statuses if each.get("ready"))
    restarts = sum(int(each.get("restartCount") or 0) for each in statuses)
    gates = spec.get("readinessGates") or []
    return [
        f"{ready}/{len(spec.get('containers') or [])}",
        _pod_reason(obj, statuses, ready),
        _restarts(restarts, statuses, now),
        age(obj, now),
        status.get("podIP") or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        f"0/{len(gates)}" if gates else _NONE,
    ]


def _restarts(count: int, statuses: list[Obj], now: float) -> str:
    ended = [((each.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for each in statuses]
    latest = max((str(stamp) for stamp in ended if stamp), default=None)
    return f"{count} ({since(latest, now)} ago)" if count and latest else str(count)


def _pod_reason(obj: Obj, statuses: list[Obj], ready: int) -> str:
    status = _status(obj)
    reason = str(status.get("reason") or status.get("phase") or "Unknown")
    init = status.get("initContainerStatuses") or []
    wanted = len(_spec(obj).get("initContainers") or [])
    for at, each in enumerate(init):
        state = each.get("state") or {}
        ended = state.get("terminated")
        if ended is not None and ended.get("exitCode") == 0:
            continue
        if ended is not None:
            reason = f"Init:{ended.get('reason') or 'ExitCode:' + str(ended.get('exitCode'))}"
        elif (state.get("waiting") or {}).get("reason") not in (None, "", "PodInitializing"):
            reason = f"Init:{state['waiting']['reason']}"
        else:
            reason = f"Init:{at}/{wanted}"
        break
    else:
        running = False
        for each in reversed(statuses):
            state = each.get("state") or {}
            if (state.get("waiting") or {}).get("reason"):
                reason = state["waiting"]["reason"]
            elif state.get("terminated") is not None:
                ended = state["terminated"]
                reason = ended.get("reason") or f"ExitCode:{ended.get('exitCode')}"
            elif each.get("ready") and state.get("running") is not None:
                running = True
        if reason == "Completed" and running:
            reason = "Running" if ready else "NotReady"
    if obj["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return reason


def _node(obj: Obj, now: float) -> list[Any]:
    status, info = _status(obj), _status(obj).get("nodeInfo") or {}
    ready = next((each for each in status.get("conditions") or [] if each.get("type") == "Ready"), None)
    word = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    if _spec(obj).get("unschedulable"):
        word += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    roles = sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))
    addresses = {each.get("type"): each.get("address") for each in status.get("addresses") or []}
    return [
        word,
        ",".join(roles) or _NONE,
        age(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP") or _NONE,
        addresses.get("ExternalIP") or _NONE,
        info.get("osImage") or _UNKNOWN,
        info.get("kernelVersion") or _UNKNOWN,
        info.get("containerRuntimeVersion") or _UNKNOWN,
    ]


def _service(obj: Obj, now: float) -> list[Any]:
    spec = _spec(obj)
    kind = spec.get("type")
    ingress = (_status(obj).get("loadBalancer") or {}).get("ingress") or []
    external = ",".join(str(each.get("ip") or each.get("hostname")) for each in ingress)
    if kind == "LoadBalancer":
        external = external or "<pending>"
    elif kind == "ExternalName":
        external = str(spec.get("externalName"))
    else:
        external = ",".join(spec.get("externalIPs") or []) or _NONE
    ports = ",".join(
        f"{port['port']}:{port['nodePort']}/{port.get('protocol')}"
        if port.get("nodePort")
        else f"{port['port']}/{port.get('protocol')}"
        for port in spec.get("ports") or []
    )
    return [
        kind,
        spec.get("clusterIP") or _NONE,
        external,
        ports or _NONE,
        age(obj, now),
        _labels(spec.get("selector")),
    ]


def _deployment(obj: Obj, now: float) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    ready = f"{status.get('readyReplicas') or 0}/{spec.get('replicas', 0)}"
    return [
        ready,
        status.get("updatedReplicas") or 0,
        status.get("availableReplicas") or 0,
        age(obj, now),
        *_images(obj),
        _selector(spec.get("selector")),
    ]


def _replica_set(obj: Obj, now: float) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    counts = [spec.get("replicas", 0), status.get("replicas") or 0, status.get("readyReplicas") or 0]
    return [*counts, age(obj, now), *_images(obj), _selector(spec.get("selector"))]


def _stateful_set(obj: Obj, now: float) -> list[Any]:
    ready = f"{_status(obj).get('readyReplicas') or 0}/{_spec(obj).get('replicas', 0)}"
    return [ready, age(obj, now), *_images(obj)]


def _daemon_set(obj: Obj, now: float) -> list[Any]:
    status = _status(obj)
    keys = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    template = (_spec(obj).get("template") or {}).get("spec") or {}
    return [
        *(status.get(key) or 0 for key in keys),
        _labels(template.get("nodeSelector")),
        age(obj, now),
        *_images(obj),
        _selector(_spec(obj).get("selector")),
    ]


def _job(obj: Obj, now: float) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    done = status.get("succeeded") or 0
    parallel = spec.get("parallelism") or 0
    wanted = f"{done}/{spec['completions']}" if spec.get("completions") else f"{done}/1 of {parallel}"
    conditions = {each["type"]: each for each in status.get("conditions") or [] if each.get("status") == "True"}
    word = "Running"
    for kind, shown in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if kind in conditions:
            word = shown
            break
    took = ""
    if status.get("startTime"):
        end = status.get("completionTime")
        until = now if not end else dt.datetime.fromisoformat(str(end)).timestamp()
        took = since(str(status["startTime"]), until)
    return [word, wanted, took, age(obj, now), *_images(obj), _selector(spec.get("selector"))]


def _cron_job(obj: Obj, now: float) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    last = status.get("lastScheduleTime")
    inner = (spec.get("jobTemplate") or {"spec": {}}).get("spec") or {}
    return [
        spec.get("schedule"),
        spec.get("timeZone") or _NONE,
        "True" if spec.get("suspend") else "False",
        len(status.get("active") or []),
        since(str(last), now) if last else _NONE,
        age(obj, now),
        *_images({"spec": inner}),
        _selector(inner.get("selector")),
    ]


def _claim(obj: Obj, now: float) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "")
    bound = bool(spec.get("volumeName"))
    return [
        phase,
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "") if bound else "",
        _modes(status.get("accessModes")) if bound else "",
        spec.get("storageClassName") or "",
        spec.get("volumeAttributesClassName") or _UNSET,
        age(obj, now),
        spec.get("volumeMode") or _UNSET,
    ]


def _modes(modes: list[str] | None) -> str:
    short = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    return ",".join(short.get(mode, mode) for mode in modes or [])


def _volume(obj: Obj, now: float) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    claim = spec.get("claimRef")
    phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "")
    return [
        (spec.get("capacity") or {}).get("storage", ""),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        phase,
        f"{claim.get('namespace')}/{claim.get('name')}" if claim else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or _UNSET,
        status.get("reason", ""),
        age(obj, now),
        spec.get("volumeMode") or _UNSET,
    ]


def _namespace(obj: Obj, now: float) -> list[Any]:
    return [_status(obj).get("phase", ""), age(obj, now)]


def _config_map(obj: Obj, now: float) -> list[Any]:
    return [len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), age(obj, now)]


def _secret(obj: Obj, now: float) -> list[Any]:
    return [obj.get("type", ""), len(obj.get("data") or {}), age(obj, now)]


def _account(obj: Obj, now: float) -> list[Any]:
    return [len(obj.get("secrets") or []), age(obj, now)]


def _event(obj: Obj, now: float) -> list[Any]:
    about = obj.get("involvedObject") or {}
    last = obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp")
    source = obj.get("source") or {}
    component = ", ".join(str(source[key]) for key in ("component", "host") if source.get(key))
    return [
        since(str(last), now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        component,
        str(obj.get("message", "")).strip(),
        since(str(obj.get("firstTimestamp") or last), now),
        obj.get("count") or 1,
        obj["metadata"]["name"],
    ]


def _endpoints(obj: Obj, now: float) -> list[Any]:
    pairs = [
        f"{address.get('ip')}:{port.get('port')}"
        for subset in obj.get("subsets") or []
        for port in subset.get("ports") or [{}]
        for address in subset.get("addresses") or []
    ]
    shown = ",".join(pairs[:3]) + (f" + {len(pairs) - 3} more..." if len(pairs) > 3 else "")
    return [shown or _NONE, age(obj, now)]


def _slice(obj: Obj, now: float) -> list[Any]:
    ports = ",".join(str(port.get("port")) for port in obj.get("ports") or []) or _UNSET
    addresses = [address for each in obj.get("endpoints") or [] for address in each.get("addresses") or []]
    shown = ",".join(addresses[:3]) + (f" + {len(addresses) - 3} more..." if len(addresses) > 3 else "")
    return [obj.get("addressType", ""), ports, shown or _UNSET, age(obj, now)]


def _storage_class(obj: Obj, now: float) -> list[Any]:
    expands = "true" if obj.get("allowVolumeExpansion") else "false"
    return [obj.get("provisioner"), obj.get("reclaimPolicy"), obj.get("volumeBindingMode"), expands, age(obj, now)]


def _definition(obj: Obj, _now: float) -> list[Any]:
    return [obj["metadata"].get("creationTimestamp")]


def _lease(obj: Obj, now: float) -> list[Any]:
    return [_spec(obj).get("holderIdentity") or "", age(obj, now)]


def _disruption(obj: Obj, now: float) -> list[Any]:
    spec = _spec(obj)
    least = spec.get("minAvailable")
    most = spec.get("maxUnavailable")
    return ["N/A" if least is None else str(least), "N/A" if most is None else str(most),
            _status(obj).get("disruptionsAllowed") or 0, age(obj, now)]  # fmt: skip


def _stamped(obj: Obj, _now: float) -> list[Any]:
    return [obj["metadata"].get("creationTimestamp")]


def _binding(obj: Obj, now: float) -> list[Any]:
    role = obj.get("roleRef") or {}
    return [f"{role.get('kind')}/{role.get('name')}", age(obj, now)]


def _ingress(obj: Obj, now: float) -> list[Any]:
    spec = _spec(obj)
    hosts = ",".join(str(rule.get("host") or "*") for rule in spec.get("rules") or []) or "*"
    found = (_status(obj).get("loadBalancer") or {}).get("ingress") or []
    addresses = ",".join(str(each.get("ip") or each.get("hostname")) for each in found)
    return [
        spec.get("ingressClassName") or _NONE,
        hosts,
        addresses,
        "80, 443" if spec.get("tls") else "80",
        age(obj, now),
    ]


def _policy(obj: Obj, now: float) -> list[Any]:
    return [_selector(_spec(obj).get("podSelector")), age(obj, now)]


_WORKLOAD = ("+Containers", "+Images", "+Selector")
_RBAC = "rbac.authorization.k8s.io"

PRINTERS: dict[tuple[str, str], tuple[tuple[str, ...], _Cells]] = {
    ("", "Pod"): (("Ready", "Status", "Restarts", "Age", "+IP", "+Node", "+Nominated Node", "+Readiness Gates"), _pod),
    ("", "Node"): (
        ("Status", "Roles", "Age", "Version", "+Internal-IP", "+External-IP", "+OS-Image", "+Kernel-Version",
         "+Container-Runtime"), _node),
    ("", "Service"): (("Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "+Selector"), _service),
    ("", "Namespace"): (("Status", "Age"), _namespace),
    ("", "ConfigMap"): (("#Data", "Age"), _config_map),
    ("", "Secret"): (("Type", "#Data", "Age"), _secret),
    ("", "ServiceAccount"): (("#Secrets", "Age"), _account),
    ("", "PersistentVolumeClaim"): (
        ("Status", "Volume", "Capacity", "Access Modes", "StorageClass", "VolumeAttributesClass", "Age", "+VolumeMode"),
        _claim),
    ("", "PersistentVolume"): (
        ("Capacity", "Access Modes", "Reclaim Policy", "Status", "Claim", "StorageClass", "VolumeAttributesClass",
         "Reason", "Age", "+VolumeMode"), _volume),
    ("", "Endpoints"): (("Endpoints", "Age"), _endpoints),
    ("apps", "Deployment"): (("Ready", "#Up-to-date", "#Available", "Age", *_WORKLOAD), _deployment),
    ("apps", "ReplicaSet"): (("#Desired", "#Current", "#Ready", "Age", *_WORKLOAD), _replica_set),
    ("apps", "StatefulSet"): (("Ready", "Age", "+Containers", "+Images"), _stateful_set),
    ("apps", "DaemonSet"): (
        ("#Desired", "#Current", "#Ready", "#Up-to-date", "#Available", "Node Selector", "Age", *_WORKLOAD),
        _daemon_set),
    ("batch", "Job"): (("Status", "Completions", "Duration", "Age", *_WORKLOAD), _job),
    ("batch", "CronJob"): (
        ("Schedule", "Timezone", "Suspend", "#Active", "Last Schedule", "Age", *_WORKLOAD), _cron_job),
    ("discovery.k8s.io", "EndpointSlice"): (("AddressType", "Ports", "Endpoints", "Age"), _slice),
    ("storage.k8s.io", "StorageClass"): (
        ("Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"), _storage_class),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): (("Created At",), _definition),
    ("coordination.k8s.io", "Lease"): (("Holder", "Age"), _lease),
    ("policy", "PodDisruptionBudget"): (
        ("Min Available", "Max Unavailable", "#Allowed Disruptions", "Age"), _disruption),
    ("networking.k8s.io", "Ingress"): (("Class", "Hosts", "Address", "Ports", "Age"), _ingress),
    ("networking.k8s.io", "NetworkPolicy"): (("Pod-Selector", "Age"), _policy),
    (_RBAC, "ClusterRole"): (("Created At",), _stamped),
    (_RBAC, "Role"): (("Created At",), _stamped),
    (_RBAC, "ClusterRoleBinding"): (("Role", "Age"), _binding),
    (_RBAC, "RoleBinding"): (("Role", "Age"), _binding),
}  # fmt: skip
"""By group and kind: the names of the columns after the first, and what stands in them."""

EVENT = (
    ("Last Seen", "Type", "Reason", "Object", "+Subobject", "+Source", "Message", "+First Seen", "+#Count", "+Name"),
    _event,
)
