"""Request bodies in Kubernetes' protobuf form, which Go's typed clients (`kubectl create`, `auth`, `drain`) send.

The envelope is `k8s`, a zero byte and a `runtime.Unknown`; messages after `generated.proto` of k8s.io/api and
k8s.io/apimachinery 1.36. Only the kinds that such clients create are known; answers are always JSON, which these
clients accept as well.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# One line a message: `<number> <name> <type>`, separated by commas. Types: s(tring), i(nteger), b(oolean), y (bytes),
# or another message; `*` marks what is left out when unset (elsewhere a zero means unset), `[]` a list, `{}` a map from
# strings; `~` a message whose fields belong to the one around it.
_MESSAGES = {
    "ObjectMeta": (
        "1 name s, 2 generateName s, 3 namespace s, 4 selfLink s, 5 uid s, 6 resourceVersion s, 7 generation i, "
        "8 creationTimestamp Time, 9 deletionTimestamp Time, 10 deletionGracePeriodSeconds i*, 11 labels s{}, "
        "12 annotations s{}, 13 ownerReferences OwnerReference[], 14 finalizers s[]"
    ),
    "OwnerReference": "1 kind s, 3 name s, 4 uid s, 5 apiVersion s, 6 controller b*, 7 blockOwnerDeletion b*",
    "LabelSelector": "1 matchLabels s{}, 2 matchExpressions LabelSelectorRequirement[]",
    "LabelSelectorRequirement": "1 key s, 2 operator s, 3 values s[]",
    "DeleteOptions": (
        "1 gracePeriodSeconds i*, 2 preconditions Preconditions, 3 orphanDependents b*, 4 propagationPolicy s*, "
        "5 dryRun s[]"
    ),
    "Preconditions": "1 uid s*, 2 resourceVersion s*",
    "LocalObjectReference": "1 name s",
    "ObjectReference": (
        "1 kind s, 2 namespace s, 3 name s, 4 uid s, 5 apiVersion s, 6 resourceVersion s, 7 fieldPath s"
    ),
    "Namespace": "1 metadata ObjectMeta, 2 spec NamespaceSpec, 3 status NamespaceStatus",
    "NamespaceSpec": "1 finalizers s[]",
    "NamespaceStatus": "1 phase s",
    "ConfigMap": "1 metadata ObjectMeta, 2 data s{}, 3 binaryData y{}, 4 immutable b*",
    "Secret": "1 metadata ObjectMeta, 2 data y{}, 3 type s, 4 stringData s{}, 5 immutable b*",
    "ServiceAccount": (
        "1 metadata ObjectMeta, 2 secrets ObjectReference[], 3 imagePullSecrets LocalObjectReference[], "
        "4 automountServiceAccountToken b*"
    ),
    "ResourceQuota": "1 metadata ObjectMeta, 2 spec ResourceQuotaSpec, 3 status ResourceQuotaStatus",
    "ResourceQuotaSpec": "1 hard Quantity{}, 2 scopes s[]",
    "ResourceQuotaStatus": "1 hard Quantity{}, 2 used Quantity{}",
    "Service": "1 metadata ObjectMeta, 2 spec ServiceSpec, 3 status ServiceStatus",
    "ServiceSpec": (
        "1 ports ServicePort[], 2 selector s{}, 3 clusterIP s, 4 type s, 5 externalIPs s[], 7 sessionAffinity s, "
        "8 loadBalancerIP s, 9 loadBalancerSourceRanges s[], 10 externalName s, 11 externalTrafficPolicy s, "
        "12 healthCheckNodePort i, 13 publishNotReadyAddresses b, 17 ipFamilyPolicy s*, 18 clusterIPs s[], "
        "19 ipFamilies s[], 20 allocateLoadBalancerNodePorts b*, 21 loadBalancerClass s*, "
        "22 internalTrafficPolicy s*, 23 trafficDistribution s*"
    ),
    "ServicePort": "1 name s, 2 protocol s, 3 port i, 4 targetPort IntOrString, 5 nodePort i, 6 appProtocol s*",
    "ServiceStatus": "1 loadBalancer LoadBalancerStatus",
    "LoadBalancerStatus": "",
    "PodTemplateSpec": "1 metadata ObjectMeta, 2 spec PodSpec",
    "PodSpec": (
        "2 containers Container[], 3 restartPolicy s, 4 terminationGracePeriodSeconds i*, "
        "5 activeDeadlineSeconds i*, 6 dnsPolicy s, 7 nodeSelector s{}, 8 serviceAccountName s, "
        "9 serviceAccount s, 10 nodeName s, 11 hostNetwork b, 12 hostPID b, 13 hostIPC b, "
        "14 securityContext Nothing, 15 imagePullSecrets LocalObjectReference[], 16 hostname s, 17 subdomain s, "
        "19 schedulerName s, 20 initContainers Container[], 21 automountServiceAccountToken b*, "
        "24 priorityClassName s, 25 priority i*, 27 shareProcessNamespace b*, 29 runtimeClassName s*, "
        "30 enableServiceLinks b*, 31 preemptionPolicy s*"
    ),
    "Container": (
        "1 name s, 2 image s, 3 command s[], 4 args s[], 5 workingDir s, 6 ports ContainerPort[], "
        "7 env EnvVar[], 8 resources ResourceRequirements, 13 terminationMessagePath s, 14 imagePullPolicy s, "
        "16 stdin b, 17 stdinOnce b, 18 tty b, 20 terminationMessagePolicy s, 24 restartPolicy s*"
    ),
    "ContainerPort": "1 name s, 2 hostPort i, 3 containerPort i, 4 protocol s, 5 hostIP s",
    "EnvVar": "1 name s, 2 value s",
    "ResourceRequirements": "1 limits Quantity{}, 2 requests Quantity{}",
    "Nothing": "",
    "Deployment": "1 metadata ObjectMeta, 2 spec DeploymentSpec, 3 status DeploymentStatus",
    "DeploymentSpec": (
        "1 replicas i*, 2 selector LabelSelector, 3 template PodTemplateSpec, 4 strategy DeploymentStrategy, "
        "5 minReadySeconds i, 6 revisionHistoryLimit i*, 7 paused b, 9 progressDeadlineSeconds i*"
    ),
    "DeploymentStrategy": "1 type s, 2 rollingUpdate RollingUpdateDeployment",
    "RollingUpdateDeployment": "1 maxUnavailable IntOrString, 2 maxSurge IntOrString",
    "DeploymentStatus": (
        "1 observedGeneration i, 2 replicas i, 3 updatedReplicas i, 4 availableReplicas i, "
        "5 unavailableReplicas i, 7 readyReplicas i, 8 collisionCount i*"
    ),
    "Job": "1 metadata ObjectMeta, 2 spec JobSpec, 3 status JobStatus",
    "JobSpec": (
        "1 parallelism i*, 2 completions i*, 3 activeDeadlineSeconds i*, 4 selector LabelSelector, "
        "5 manualSelector b*, 6 template PodTemplateSpec, 7 backoffLimit i*, 8 ttlSecondsAfterFinished i*, "
        "9 completionMode s*, 10 suspend b*"
    ),
    "JobStatus": "4 active i, 5 succeeded i, 6 failed i, 7 completedIndexes s",
    "CronJob": "1 metadata ObjectMeta, 2 spec CronJobSpec, 3 status Nothing",
    "CronJobSpec": (
        "1 schedule s, 2 startingDeadlineSeconds i*, 3 concurrencyPolicy s, 4 suspend b*, "
        "5 jobTemplate JobTemplateSpec, 6 successfulJobsHistoryLimit i*, 7 failedJobsHistoryLimit i*, "
        "8 timeZone s*"
    ),
    "JobTemplateSpec": "1 metadata ObjectMeta, 2 spec JobSpec",
    "PodDisruptionBudget": (
        "1 metadata ObjectMeta, 2 spec PodDisruptionBudgetSpec, 3 status PodDisruptionBudgetStatus"
    ),
    "PodDisruptionBudgetSpec": (
        "1 minAvailable IntOrString, 2 selector LabelSelector, 3 maxUnavailable IntOrString, "
        "4 unhealthyPodEvictionPolicy s*"
    ),
    "PodDisruptionBudgetStatus": (
        "1 observedGeneration i, 3 disruptionsAllowed i, 4 currentHealthy i, 5 desiredHealthy i, 6 expectedPods i"
    ),
    "PriorityClass": "1 metadata ObjectMeta, 2 value i, 3 globalDefault b, 4 description s, 5 preemptionPolicy s*",
    "ClusterRole": "1 metadata ObjectMeta, 2 rules PolicyRule[], 3 aggregationRule AggregationRule",
    "AggregationRule": "1 clusterRoleSelectors LabelSelector[]",
    "Role": "1 metadata ObjectMeta, 2 rules PolicyRule[]",
    "PolicyRule": "1 verbs s[], 2 apiGroups s[], 3 resources s[], 4 resourceNames s[], 5 nonResourceURLs s[]",
    "ClusterRoleBinding": "1 metadata ObjectMeta, 2 subjects Subject[], 3 roleRef RoleRef",
    "RoleBinding": "1 metadata ObjectMeta, 2 subjects Subject[], 3 roleRef RoleRef",
    "Subject": "1 kind s, 2 apiGroup s, 3 name s, 4 namespace s",
    "RoleRef": "1 apiGroup s, 2 kind s, 3 name s",
    "Ingress": "1 metadata ObjectMeta, 2 spec IngressSpec, 3 status IngressStatus",
    "IngressSpec": (
        "1 defaultBackend IngressBackend, 2 tls IngressTLS[], 3 rules IngressRule[], 4 ingressClassName s*"
    ),
    "IngressTLS": "1 hosts s[], 2 secretName s",
    "IngressRule": "1 host s, 2 value IngressRuleValue~",
    "IngressRuleValue": "1 http HTTPIngressRuleValue",
    "HTTPIngressRuleValue": "1 paths HTTPIngressPath[]",
    "HTTPIngressPath": "1 path s, 2 backend IngressBackend, 3 pathType s*",
    "IngressBackend": "4 service IngressServiceBackend",
    "IngressServiceBackend": "1 name s, 2 port ServiceBackendPort",
    "ServiceBackendPort": "1 name s, 2 number i",
    "IngressStatus": "1 loadBalancer LoadBalancerStatus",
    "TokenRequest": "1 metadata ObjectMeta, 2 spec TokenRequestSpec, 3 status TokenRequestStatus",
    "TokenRequestSpec": "1 audiences s[], 3 boundObjectRef BoundObjectReference, 4 expirationSeconds i*",
    "BoundObjectReference": "1 kind s, 2 apiVersion s, 3 name s, 4 uid s",
    "TokenRequestStatus": "1 token s, 2 expirationTimestamp Time",
    "TokenReview": "1 metadata ObjectMeta, 2 spec TokenReviewSpec, 3 status Nothing",
    "TokenReviewSpec": "1 token s, 2 audiences s[]",
    "SelfSubjectReview": "1 metadata ObjectMeta, 2 status SelfSubjectReviewStatus",
    "SelfSubjectReviewStatus": "1 userInfo UserInfo",
    "UserInfo": "1 username s, 2 uid s, 3 groups s[]",
    "SelfSubjectAccessReview": "1 metadata ObjectMeta, 2 spec AccessSpec, 3 status AccessStatus",
    "SubjectAccessReview": "1 metadata ObjectMeta, 2 spec AccessSpec, 3 status AccessStatus",
    "LocalSubjectAccessReview": "1 metadata ObjectMeta, 2 spec AccessSpec, 3 status AccessStatus",
    "AccessSpec": (
        "1 resourceAttributes ResourceAttributes, 2 nonResourceAttributes NonResourceAttributes, 3 user s, "
        "4 groups s[], 6 uid s"
    ),
    "ResourceAttributes": "1 namespace s, 2 verb s, 3 group s, 4 version s, 5 resource s, 6 subresource s, 7 name s",
    "NonResourceAttributes": "1 path s, 2 verb s",
    "AccessStatus": "1 allowed b, 2 reason s, 3 evaluationError s, 4 denied b",
    "SelfSubjectRulesReview": "1 metadata ObjectMeta, 2 spec RulesSpec, 3 status RulesStatus",
    "RulesSpec": "1 namespace s",
    "RulesStatus": "3 incomplete b, 4 evaluationError s",
    "Eviction": "1 metadata ObjectMeta, 2 deleteOptions DeleteOptions",
}


class UnknownMessageError(Exception):
    """A body that is no Kubernetes message, or holds one that is not known here."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    type: str
    optional: bool
    repeated: bool
    mapped: bool
    inlined: bool


def decode(body: bytes) -> Obj:
    """The object in a protobuf body, as JSON.

    Raises:
        UnknownMessageError: it cannot be read.
    """
    if not body.startswith(_MAGIC):
        raise UnknownMessageError("the body does not start with k8s\\0")
    envelope: dict[int, Any] = dict(_read(body[len(_MAGIC) :]))
    about = {number: value.decode() for number, value in _read(envelope.get(1, b""))}
    version, kind = about.get(1, ""), about.get(2, "")
    if kind not in _MESSAGES:
        raise UnknownMessageError(f"no message for {version} {kind}")
    return {"kind": kind, "apiVersion": version, **_message(kind, envelope.get(2, b""))}


def _message(name: str, data: bytes) -> Obj:
    fields = _fields(name)
    result: Obj = {}
    for number, raw in _read(data):
        field = fields.get(number)
        if field is None:
            raise UnknownMessageError(f"no field {number} in {name}")
        if field.mapped:
            entry = dict(_read(raw))
            key = entry.get(1, b"").decode()
            result.setdefault(field.name, {})[key] = _value(field, entry.get(2, b""))
        elif field.repeated:
            result.setdefault(field.name, []).append(_value(field, raw))
        elif field.inlined:
            result.update(_message(field.type, raw))
        else:
            value = _value(field, raw)
            if field.optional or value:
                result[field.name] = value
    return result


def _value(field: _Field, raw: Any) -> Any:
    kind = field.type
    if kind == "s":
        return raw.decode()
    if kind == "y":
        return base64.b64encode(raw).decode()
    if kind == "i":
        return raw - (1 << 64) if raw >= 1 << 63 else raw
    if kind == "b":
        return bool(raw)
    if kind == "Quantity":
        return dict(_read(raw)).get(1, b"0").decode()
    if kind == "IntOrString":
        parts = dict(_read(raw))
        return parts.get(3, b"").decode() if parts.get(1) else parts.get(2, 0)
    if kind == "Time":
        seconds = dict(_read(raw)).get(1)
        if seconds is None:
            return None
        return dt.datetime.fromtimestamp(seconds, tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return _message(kind, raw)


@functools.cache
def _fields(message: str) -> dict[int, _Field]:
    found: dict[int, _Field] = {}
    for line in filter(None, _MESSAGES[message].split(", ")):
        number, name, written = line.split()
        bare = written.rstrip("*[]{}~")
        message_kind = bare[0].isupper()
        found[int(number)] = _Field(
            name,
            bare,
            optional=written.endswith("*") or (message_kind and bare != "Time"),
            repeated=written.endswith("[]"),
            mapped=written.endswith("{}"),
            inlined=written.endswith("~"),
        )
    return found


def _read(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif wire == _BYTES:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise UnknownMessageError("truncated message")
            yield number, data[at : at + size]
            at += size
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
            yield number, int.from_bytes(data[at : at + size], "little")
            at += size
        else:
            raise UnknownMessageError(f"wire type {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
    raise UnknownMessageError("truncated number")
