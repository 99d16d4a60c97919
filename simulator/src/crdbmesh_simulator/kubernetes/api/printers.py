"""The columns of each kind in `kubectl get`, and what stands in them.

After `pkg/printers/internalversion/printers.go` of Kubernetes 1.36. A column whose name starts with `+` is shown with
`-o wide`; `#` marks a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crdbmesh_simulator.kubernetes.api import printing, workload_printers
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj

_Cells = Callable[[Obj, float], list[Any]]


def _node(obj: Obj, now: float) -> list[Any]:
    status, info = printing.status_of(obj), printing.status_of(obj).get("nodeInfo") or {}
    ready = next((each for each in status.get("conditions") or [] if each.get("type") == "Ready"), None)
    word = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    if printing.spec_of(obj).get("unschedulable"):
        word += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    roles = sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))
    addresses = {each.get("type"): each.get("address") for each in status.get("addresses") or []}
    return [
        word,
        ",".join(roles) or printing.NONE,
        printing.age(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP") or printing.NONE,
        addresses.get("ExternalIP") or printing.NONE,
        info.get("osImage") or printing.UNKNOWN,
        info.get("kernelVersion") or printing.UNKNOWN,
        info.get("containerRuntimeVersion") or printing.UNKNOWN,
    ]


def _service(obj: Obj, now: float) -> list[Any]:
    spec = printing.spec_of(obj)
    kind = spec.get("type")
    ingress = (printing.status_of(obj).get("loadBalancer") or {}).get("ingress") or []
    external = ",".join(str(each.get("ip") or each.get("hostname")) for each in ingress)
    if kind == "LoadBalancer":
        external = external or "<pending>"
    elif kind == "ExternalName":
        external = str(spec.get("externalName"))
    else:
        external = ",".join(spec.get("externalIPs") or []) or printing.NONE
    ports = ",".join(
        f"{port['port']}:{port['nodePort']}/{port.get('protocol')}"
        if port.get("nodePort")
        else f"{port['port']}/{port.get('protocol')}"
        for port in spec.get("ports") or []
    )
    return [
        kind,
        spec.get("clusterIP") or printing.NONE,
        external,
        ports or printing.NONE,
        printing.age(obj, now),
        printing.labels_of(spec.get("selector")),
    ]


def _claim(obj: Obj, now: float) -> list[Any]:
    spec, status = printing.spec_of(obj), printing.status_of(obj)
    phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "")
    bound = bool(spec.get("volumeName"))
    return [
        phase,
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "") if bound else "",
        _modes(status.get("accessModes")) if bound else "",
        spec.get("storageClassName") or "",
        spec.get("volumeAttributesClassName") or printing.UNSET,
        printing.age(obj, now),
        spec.get("volumeMode") or printing.UNSET,
    ]


def _modes(modes: list[str] | None) -> str:
    short = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    return ",".join(short.get(mode, mode) for mode in modes or [])


def _volume(obj: Obj, now: float) -> list[Any]:
    spec, status = printing.spec_of(obj), printing.status_of(obj)
    claim = spec.get("claimRef")
    phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "")
    return [
        (spec.get("capacity") or {}).get("storage", ""),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        phase,
        f"{claim.get('namespace')}/{claim.get('name')}" if claim else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or printing.UNSET,
        status.get("reason", ""),
        printing.age(obj, now),
        spec.get("volumeMode") or printing.UNSET,
    ]


def _namespace(obj: Obj, now: float) -> list[Any]:
    return [printing.status_of(obj).get("phase", ""), printing.age(obj, now)]


def _config_map(obj: Obj, now: float) -> list[Any]:
    return [len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), printing.age(obj, now)]


def _secret(obj: Obj, now: float) -> list[Any]:
    return [obj.get("type", ""), len(obj.get("data") or {}), printing.age(obj, now)]


def _account(obj: Obj, now: float) -> list[Any]:
    return [len(obj.get("secrets") or []), printing.age(obj, now)]


def _event(obj: Obj, now: float) -> list[Any]:
    about = obj.get("involvedObject") or {}
    last = obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp")
    source = obj.get("source") or {}
    component = ", ".join(str(source[key]) for key in ("component", "host") if source.get(key))
    return [
        printing.since(str(last), now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        component,
        str(obj.get("message", "")).strip(),
        printing.since(str(obj.get("firstTimestamp") or last), now),
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
    return [shown or printing.NONE, printing.age(obj, now)]


def _slice(obj: Obj, now: float) -> list[Any]:
    ports = ",".join(str(port.get("port")) for port in obj.get("ports") or []) or printing.UNSET
    addresses = [address for each in obj.get("endpoints") or [] for address in each.get("addresses") or []]
    shown = ",".join(addresses[:3]) + (f" + {len(addresses) - 3} more..." if len(addresses) > 3 else "")
    return [obj.get("addressType", ""), ports, shown or printing.UNSET, printing.age(obj, now)]


def _storage_class(obj: Obj, now: float) -> list[Any]:
    expands = "true" if obj.get("allowVolumeExpansion") else "false"
    return [
        obj.get("provisioner"),
        obj.get("reclaimPolicy"),
        obj.get("volumeBindingMode"),
        expands,
        printing.age(obj, now),
    ]


def _definition(obj: Obj, _now: float) -> list[Any]:
    return [obj["metadata"].get("creationTimestamp")]


def _lease(obj: Obj, now: float) -> list[Any]:
    return [printing.spec_of(obj).get("holderIdentity") or "", printing.age(obj, now)]


def _disruption(obj: Obj, now: float) -> list[Any]:
    spec = printing.spec_of(obj)
    least = spec.get("minAvailable")
    most = spec.get("maxUnavailable")
    return ["N/A" if least is None else str(least), "N/A" if most is None else str(most),
            printing.status_of(obj).get("disruptionsAllowed") or 0, printing.age(obj, now)]  # fmt: skip


def _stamped(obj: Obj, _now: float) -> list[Any]:
    return [obj["metadata"].get("creationTimestamp")]


def _binding(obj: Obj, now: float) -> list[Any]:
    role = obj.get("roleRef") or {}
    return [f"{role.get('kind')}/{role.get('name')}", printing.age(obj, now)]


def _ingress(obj: Obj, now: float) -> list[Any]:
    spec = printing.spec_of(obj)
    hosts = ",".join(str(rule.get("host") or "*") for rule in spec.get("rules") or []) or "*"
    found = (printing.status_of(obj).get("loadBalancer") or {}).get("ingress") or []
    addresses = ",".join(str(each.get("ip") or each.get("hostname")) for each in found)
    return [
        spec.get("ingressClassName") or printing.NONE,
        hosts,
        addresses,
        "80, 443" if spec.get("tls") else "80",
        printing.age(obj, now),
    ]


def _policy(obj: Obj, now: float) -> list[Any]:
    return [printing.selector_of(printing.spec_of(obj).get("podSelector")), printing.age(obj, now)]


_WORKLOAD = ("+Containers", "+Images", "+Selector")
_RBAC = "rbac.authorization.k8s.io"

PRINTERS: dict[tuple[str, str], tuple[tuple[str, ...], _Cells]] = {
    ("", "Pod"): (
        ("Ready", "Status", "Restarts", "Age", "+IP", "+Node", "+Nominated Node", "+Readiness Gates"),
        workload_printers.pod),
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
    ("apps", "Deployment"): (("Ready", "#Up-to-date", "#Available", "Age", *_WORKLOAD), workload_printers.deployment),
    ("apps", "ReplicaSet"): (("#Desired", "#Current", "#Ready", "Age", *_WORKLOAD), workload_printers.replica_set),
    ("apps", "StatefulSet"): (("Ready", "Age", "+Containers", "+Images"), workload_printers.stateful_set),
    ("apps", "DaemonSet"): (
        ("#Desired", "#Current", "#Ready", "#Up-to-date", "#Available", "Node Selector", "Age", *_WORKLOAD),
        workload_printers.daemon_set),
    ("batch", "Job"): (("Status", "Completions", "Duration", "Age", *_WORKLOAD), workload_printers.job),
    ("batch", "CronJob"): (
        ("Schedule", "Timezone", "Suspend", "#Active", "Last Schedule", "Age", *_WORKLOAD), workload_printers.cron_job),
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
