"""CockroachDB in one region: namespace, certificates, services, StatefulSet, and the client pod.

After cockroachdb/cockroach's `cloud/kubernetes/multiregion` manifests and the Helm chart's security settings, with
what production asks beyond them: no root client certificate in database pods, a locality with region and zone, no
`latest`, the restricted Pod Security profile.
"""

import base64
import re

from crdbmesh.desired import LABELS, Body, Object, backup, disks, kube_object
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh, Region

APP = {"app": names.COCKROACH}
CERTS = "/cockroach/cockroach-certs"
DATA = "/cockroach/cockroach-data"
WAL = "/cockroach/cockroach-wal"
ZONES = "/cockroach/zones"
USER = 1000
GRACE_SECONDS = 300
"""At least the sum of a drain's phases; the docs ask for 300 s or more."""

_CLIENT_ID = {"name": backup.CONFIGMAP, "key": backup.CLIENT_ID, "optional": True}
_FILES = "{buffered-writes: true, max-file-size: 10MiB, max-group-size: 100MiB, redactable: true}"
_SINKS = "{stderr: {channels: all, filter: WARNING, redactable: true}}"
_LOGS = (["--logtostderr"], [f"--log='{{file-defaults: {_FILES}, sinks: {_SINKS}}}'"])
"""The flags for logs of layout 1, and of later ones: files beside the data, and warnings to the pod's log.

CockroachDB docs, "Configure Logs" and "Logging Best Practices".
"""

_PROFILE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
_POD_PROFILE = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def namespace(region: Region) -> Object:
    """Return the namespace; it is named after the region, since it is part of the pods' host names."""
    labels = {**LABELS, "pod-security.kubernetes.io/enforce": "restricted"}
    return kube_object("v1", "Namespace", region.name, None, labels=labels)


def secret(region: Region, name: str, files: dict[str, str]) -> Object:
    """Return a Secret of PEM files."""
    data = {file: base64.b64encode(text.encode()).decode() for file, text in files.items()}
    return kube_object("v1", "Secret", name, region.name, type="Opaque", data=data)


def services(region: Region) -> list[Object]:
    """Return the service account, the two Services and the disruption budget."""
    at, labels = region.name, {**LABELS, **APP}
    ports = [
        {"name": "grpc", "port": names.COCKROACH_PORT, "targetPort": "grpc"},
        {"name": "http", "port": names.COCKROACH_HTTP_PORT, "targetPort": "http"},
    ]
    public = {"selector": APP, "ports": ports}
    headless = {"clusterIP": "None", "publishNotReadyAddresses": True, **public}
    budget = {"maxUnavailable": 1, "selector": {"matchLabels": APP}}
    return [
        kube_object("v1", "ServiceAccount", names.COCKROACH, at, labels=labels, automountServiceAccountToken=False),
        kube_object("v1", "Service", names.COCKROACH_PUBLIC, at, labels=labels, spec=public),
        kube_object("v1", "Service", names.COCKROACH, at, labels=labels, spec=headless),
        kube_object("policy/v1", "PodDisruptionBudget", names.COCKROACH_BUDGET, at, labels=labels, spec=budget),
    ]


def zones(region: Region, labels: dict[str, str]) -> Object:
    """Return the ConfigMap from node name to zone label, where a pod reads its own node's for its locality."""
    return kube_object("v1", "ConfigMap", names.ZONES_CONFIGMAP, region.name, data=labels)


def storage(mesh: Mesh, region: Region) -> list[Object]:
    """Return the StorageClasses, which keep a volume whose claim is deleted, and the machines' volumes for WALs.

    The first differs from k3s's own in that alone. A volume is `local`, as k3s's are: without its folder no pod starts.
    """
    if mesh.layout < 2:
        return []
    late: Body = {"reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer"}
    kind = ("storage.k8s.io/v1", "StorageClass")
    found = [kube_object(*kind, names.DATA_CLASS, None, provisioner="rancher.io/local-path", **late)]
    found[0]["metadata"]["annotations"] = {"defaultVolumeType": "local"}
    if not (gib := mesh.cockroach.wal_failover_gib):
        return found
    found.append(kube_object(*kind, names.WAL_CLASS, None, provisioner="kubernetes.io/no-provisioner", **late))
    for machine in region.machines:
        term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [machine.node]}
        spec = {
            "capacity": {"storage": f"{gib}Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": names.WAL_CLASS,
            "local": {"path": disks.WAL.path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
        }
        found.append(kube_object("v1", "PersistentVolume", f"{names.WAL_CLASS}-{machine.node}", None, spec=spec))
    return found


def claims(mesh: Mesh) -> list[Object]:
    """Return the claims of each pod: for its store and, where there is a side disk, for its log of writes."""
    spec, own, found = mesh.cockroach, names.DATA_CLASS if mesh.layout > 1 else "local-path", []
    for name, kind, gib in (("datadir", own, spec.storage_gib), ("waldir", names.WAL_CLASS, spec.wal_failover_gib)):
        size = {"requests": {"storage": f"{gib}Gi"}}
        wanted = {"accessModes": ["ReadWriteOnce"], "storageClassName": kind, "resources": size}
        found += [{"metadata": {"name": name}, "spec": wanted}] if gib else []
    return found


def identity(region: Region, client_id: str) -> Object:
    """Return the ConfigMap that says which managed identity the pods ask for tokens of."""
    return kube_object("v1", "ConfigMap", backup.CONFIGMAP, region.name, data={backup.CLIENT_ID: client_id})


def seeds(mesh: Mesh) -> list[str]:
    """List the addresses by which a node joins: up to two pods of each of the first three regions.

    They are asked until one answers, so more of them gain nothing (CockroachDB docs, `cockroach start`, `--join`:
    three to five nodes).
    """
    return [
        f"{names.cockroach_pod(region.name, ordinal)}:{names.COCKROACH_PORT}"
        for region in mesh.all_regions()[:3]
        for ordinal in range(min(2, region.replicas))
    ]


def init_target(mesh: Mesh) -> str:
    """Return the address of the one node that is ever told to initialise: the first region's first."""
    return f"{names.cockroach_pod(mesh.regions[0].name, 0)}:{names.COCKROACH_PORT}"


def statefulset(mesh: Mesh, region: Region, found: Body | None = None) -> Object:
    """Return the StatefulSet.

    One that is there (`found`) keeps what it was made with as long as it serves: its list of seeds and how its pods
    keep apart. Both would follow a mesh that grows, and to change them replaces every pod for nothing.

    `Parallel` is needed before initialisation (no pod is ever ready then). There is no liveness probe, as the docs
    advise: a slow node is not helped by being killed.
    """
    spec = mesh.cockroach
    share = f"{spec.memory_gib * 1024 // 4}MiB"
    start = " ".join(
        [
            "exec /cockroach/cockroach start",
            *_LOGS[mesh.layout > 1],
            f"--certs-dir={CERTS}",
            f"--cluster-name={mesh.name}",
            f'--advertise-addr="$(hostname -f):{names.COCKROACH_PORT}"',
            f"--listen-addr=:{names.COCKROACH_PORT}",
            f"--http-addr=:{names.COCKROACH_HTTP_PORT}",
            f"--join={','.join(_join(mesh, found))}",
            f'--locality="region={region.name},zone=${{zone}}"',
            *_store(mesh, region, found),
            f"--cache={share}",
            f"--max-sql-memory={share}",
            *([f"--max-offset={max_offset_ms(mesh)}ms"] if mesh.layout > 1 else []),
        ]
    )
    memory = f"{spec.memory_gib}Gi"
    cpu = f"{round(spec.cpu * 1000)}m" if spec.cpu != int(spec.cpu) else str(int(spec.cpu))
    container = {
        "name": "db",
        "image": mesh.versions.cockroachdb_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/bash", "-ec", f'zone="$(cat "{ZONES}/${{NODE_NAME}}")"\n{start}\n'],
        "env": [
            {"name": "COCKROACH_CHANNEL", "value": "kubernetes-multiregion"},
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            *([{"name": "AZURE_CLIENT_ID", "valueFrom": {"configMapKeyRef": _CLIENT_ID}}] if mesh.layout > 1 else []),
        ],
        "ports": [
            {"name": "grpc", "containerPort": names.COCKROACH_PORT},
            {"name": "http", "containerPort": names.COCKROACH_HTTP_PORT},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/health?ready=1", "port": "http", "scheme": "HTTPS"},
            "initialDelaySeconds": 10,
            "periodSeconds": 5,
            "failureThreshold": 2,
        },
        "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}},
        "securityContext": _PROFILE,
        "volumeMounts": [
            {"name": "datadir", "mountPath": DATA},
            *([{"name": "waldir", "mountPath": WAL}] if spec.wal_failover_gib else []),
            {"name": "certs", "mountPath": CERTS, "readOnly": True},
            {"name": "zones", "mountPath": ZONES, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a mount of the pod's own
        ],
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": APP},
    }
    pod = {
        "serviceAccountName": names.COCKROACH,
        "automountServiceAccountToken": False,
        "securityContext": {**_POD_PROFILE, "fsGroupChangePolicy": "OnRootMismatch"},
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "affinity": _affinity(mesh, region, found),
        **({"priorityClassName": names.COCKROACH_PRIORITY} if mesh.layout > 1 else {}),
        "topologySpreadConstraints": [spread],
        "containers": [container],
        "volumes": [
            {"name": "certs", "secret": {"secretName": names.NODE_SECRET, "defaultMode": 0o440}},
            {"name": "zones", "configMap": {"name": names.ZONES_CONFIGMAP}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    wanted = {
        "serviceName": names.COCKROACH,
        "replicas": region.replicas,
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "selector": {"matchLabels": APP},
        "template": {"metadata": {"labels": APP}, "spec": pod},
        "volumeClaimTemplates": claims(mesh),
    }
    labels = {**LABELS, **APP}
    return kube_object("apps/v1", "StatefulSet", names.COCKROACH, region.name, labels=labels, spec=wanted)


def client(mesh: Mesh, region: Region) -> Object:
    """Return the Deployment of a region's client pod, for init, status and SQL: it alone has the root certificate."""
    labels = {"app": names.COCKROACH_CLIENT}
    container = {
        "name": "client",
        "image": mesh.versions.cockroachdb_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "infinity"],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": _PROFILE,
        "volumeMounts": [{"name": "certs", "mountPath": CERTS, "readOnly": True}],
    }
    pod = {
        "serviceAccountName": names.COCKROACH,
        "automountServiceAccountToken": False,
        "securityContext": _POD_PROFILE,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "certs", "secret": {"secretName": names.CLIENT_SECRET, "defaultMode": 0o440}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return kube_object(
        "apps/v1", "Deployment", names.COCKROACH_CLIENT, region.name, labels={**LABELS, **labels}, spec=spec
    )


def _join(mesh: Mesh, found: Body | None) -> list[str]:
    """Return the seeds that the StatefulSet has, if one of them is a seed of the spec's too, or else the spec's."""
    wanted = seeds(mesh)
    kept = _flag(found, "join").split(",")
    return kept if set(kept) & set(wanted) else wanted


def _store(mesh: Mesh, region: Region, found: Body | None) -> list[str]:
    """Return the flags of the store: nine tenths of its disk, so that it grows with it and leaves the rest free."""
    if mesh.layout < 2:
        return [f"--store={DATA}"]
    share = 90 // region.pods_a_machine
    wal = [f"--wal-failover=path={WAL}"] if mesh.cockroach.wal_failover_gib else []
    return [f"--store={_flag(found, 'store') or f'path={DATA},size={share}%'}", *wal]


def _flag(found: Body | None, name: str) -> str:
    """Return the value of a flag in the StatefulSet, or empty."""
    containers = _pod_of(found).get("containers") or [{}]
    match = re.search(rf"--{name}=(\S+)", "".join(containers[0].get("command") or []))
    return match[1] if match else ""


def max_offset_ms(mesh: Mesh) -> int:
    """Return the offset between clocks at which nodes end themselves; it is the same on all, and never changed.

    CockroachDB docs, `cockroach start`, `--max-offset`: 250 ms for new clusters over several regions.
    """
    return 250 if mesh.layout > 1 else 500


def priority() -> Object:
    """Return the class of the database's pods: others make room for them, and they are evicted after others."""
    api_version, words = "scheduling.k8s.io/v1", "The pods of CockroachDB"
    return kube_object(api_version, "PriorityClass", names.COCKROACH_PRIORITY, None, value=1_000_000, description=words)


def _affinity(mesh: Mesh, region: Region, found: Body | None) -> Object:
    """Return where pods go: apart from each other, and in layout 2 rather beside a k3s agent than beside etcd."""
    if mesh.layout < 2:
        return _apart(region, found)
    agents = {"matchExpressions": [{"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"}]}
    preferred = [{"weight": 50, "preference": agents}]
    return {**_apart(region, found), "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _apart(region: Region, found: Body | None) -> Object:
    term = {"labelSelector": {"matchLabels": APP}, "topologyKey": "kubernetes.io/hostname"}
    required = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    weighted = [{"weight": 100, "podAffinityTerm": term}]
    preferred = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": weighted}}
    kept = {key: one for key, one in (_pod_of(found).get("affinity") or {}).items() if key == "podAntiAffinity"}
    if kept in (required, preferred):
        return kept
    return required if region.replicas <= len(region.machines) else preferred


def _pod_of(found: Body | None) -> Body:
    pod: Body = (found or {}).get("spec", {}).get("template", {}).get("spec", {})
    return pod


def decommission(mesh: Mesh, region: str | None = None) -> str:
    """Return the command, for people, that decommissions a node; it is refused without the cluster's name.

    `region` is one with a client pod, by default the first of the spec.
    """
    first = region or mesh.regions[0].name
    return (
        f"kubectl -n {first} exec deploy/{names.COCKROACH_CLIENT} -- /cockroach/cockroach node decommission ID "
        f"--certs-dir={CERTS} --host={names.COCKROACH_PUBLIC} --cluster-name={mesh.name}"
    )


def marker(region: Region, data: dict[str, str]) -> Object:
    """Return the ConfigMap that says which node is initialised and, from then on, the cluster's id."""
    return kube_object("v1", "ConfigMap", names.INIT_MARKER, region.name, data=data)
