"""Kinds whose objects are kept but change nothing here: no controller and no admission plugin acts on them.

Who makes one is told so in a `Warning` header, which `kubectl` prints; the cluster is not silently more permissive than
a real one.
"""

from __future__ import annotations

from crdbmesh_simulator.kubernetes.api.resources import Resource

_ADMISSION = "admissionregistration.k8s.io"
_CILIUM = "cilium.io"
_NETWORKING = "networking.k8s.io"
_KINDS = frozenset({
    ("", "LimitRange"), ("", "ReplicationController"), ("", "ResourceQuota"),
    (_ADMISSION, "MutatingWebhookConfiguration"), (_ADMISSION, "ValidatingAdmissionPolicy"),
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"), (_ADMISSION, "ValidatingWebhookConfiguration"),
    ("apiregistration.k8s.io", "APIService"), ("autoscaling", "HorizontalPodAutoscaler"),
    (_CILIUM, "CiliumClusterwideNetworkPolicy"), (_CILIUM, "CiliumNetworkPolicy"),
    (_NETWORKING, "Ingress"), (_NETWORKING, "NetworkPolicy"),
})  # fmt: skip


def warnings(resource: Resource) -> list[str]:
    """What whoever makes an object of this kind is told."""
    if (resource.group, resource.kind) not in _KINDS:
        return []
    return [f"this simulated cluster keeps the {resource.kind} but does not act on it"]
