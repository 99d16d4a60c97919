"""Garbage collection by owner references, the end of namespaces, and what each namespace is given.

After `pkg/controller/garbagecollector`, `pkg/controller/namespace`, `pkg/controller/podgc` and
`pkg/controller/serviceaccount` of Kubernetes 1.36.
"""

from __future__ import annotations

import functools

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.site import Controller

_FOREGROUND = "foregroundDeletion"
_ORPHAN = "orphan"
_EVENT_LIFE_S = 3600.0


class GarbageCollector(Controller):
    """Deletes what has lost all its owners; carries out foreground and orphan deletion."""

    watches = ("*",)

    def run(self, now: float) -> float | None:  # noqa: ARG002 - the interface
        """Sweep the whole cluster."""
        everything = list(self.api.everything())
        known = {objects.uid(obj): obj for obj in everything}
        dependents: dict[str, list[Obj]] = {}
        for obj in everything:
            for ref in objects.meta(obj).get("ownerReferences") or []:
                dependents.setdefault(str(ref.get("uid")), []).append(obj)
        for obj in everything:
            references = objects.meta(obj).get("ownerReferences") or []
            if not references or objects.deleting(obj):
                continue
            alive = [ref for ref in references if ref.get("uid") in known]
            leaving = [ref for ref in alive if self._foreground(known[str(ref["uid"])])]
            if not alive or len(leaving) == len(alive):
                self.api.delete(
                    obj, propagation="Foreground" if alive and dependents.get(objects.uid(obj)) else "Background"
                )
        for obj in everything:
            finalizers = objects.meta(obj).get("finalizers") or []
            if not objects.deleting(obj):
                continue
            mine = dependents.get(objects.uid(obj), [])
            if _ORPHAN in finalizers:
                for dependent in mine:
                    self._orphan(dependent, objects.uid(obj))
                self.api.drop_finalizer(obj, _ORPHAN)
            elif _FOREGROUND in finalizers and not self._blocked(obj, mine):
                self.api.drop_finalizer(obj, _FOREGROUND)
        return None

    @staticmethod
    def _foreground(owner: Obj) -> bool:
        return objects.deleting(owner) and _FOREGROUND in (objects.meta(owner).get("finalizers") or [])

    @staticmethod
    def _blocked(owner: Obj, dependents: list[Obj]) -> bool:
        uid = objects.uid(owner)
        return any(
            ref.get("uid") == uid and ref.get("blockOwnerDeletion")
            for obj in dependents
            for ref in objects.meta(obj).get("ownerReferences") or []
        )

    def _orphan(self, dependent: Obj, uid: str) -> None:
        changed = self.api.copy(dependent)
        kept = [ref for ref in objects.meta(changed)["ownerReferences"] if ref.get("uid") != uid]
        changed["metadata"]["ownerReferences"] = kept
        self.api.replace(changed)


class Namespaces(Controller):
    """Empties namespaces that are being deleted, and fills new ones."""

    watches = ("*",)

    def run(self, now: float) -> float | None:
        """Sync every namespace."""
        going: dict[str, Obj] = {}
        for namespace in self.api.list("Namespace"):
            if objects.deleting(namespace):
                going[objects.name(namespace)] = namespace
            else:
                self.tolerating(namespace, functools.partial(self._furnish, objects.name(namespace)))
                if objects.status(namespace).get("phase") != "Active":
                    self.api.set_status(namespace, {"phase": "Active"})
        if not going:
            return None
        left: dict[str, list[Obj]] = {name: [] for name in going}
        for obj in self.api.everything():
            if objects.namespace(obj) in going:
                left[objects.namespace(obj)].append(obj)
        for name, namespace in going.items():
            self._empty(namespace, left[name])
        return now + 5.0

    def _furnish(self, name: str) -> None:
        if self.api.find("ServiceAccount", name, "default") is None:
            self.api.create(
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}
            )
        if self.api.find("ConfigMap", name, "kube-root-ca.crt") is None:
            meta = {
                "name": "kube-root-ca.crt",
                "namespace": name,
                "annotations": {
                    "kubernetes.io/description": "Contains a CA bundle that can be used to verify the "
                    "kube-apiserver when using internal endpoints such as the internal service IP or "
                    "kubernetes.default.svc."
                },
            }
            self.api.create(
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": meta,
                    "data": {"ca.crt": self.site.cluster.authority.ca_pem},
                }
            )

    def _empty(self, namespace: Obj, left: list[Obj]) -> None:
        if not left:
            self.api.finish_namespace(namespace)
            return
        for obj in left:
            if not objects.deleting(obj):
                self.api.delete(obj, propagation="Background")
        kinds = sorted({str(obj["kind"]) for obj in left})
        entry = {
            "type": "NamespaceContentRemaining",
            "status": "True",
            "reason": "SomeResourcesRemain",
            "message": f"Some resources are remaining: {', '.join(kinds)}",
        }
        conditions = objects.with_condition(
            objects.status(namespace).get("conditions") or [], entry, self.site.timestamp()
        )
        status = {"phase": "Terminating", "conditions": conditions}
        if status != objects.status(namespace):
            self.api.set_status(namespace, status)


class PodCollector(Controller):
    """Removes pods whose node is gone, unscheduled pods that are being deleted, and old events."""

    watches = ("Pod", "Node")

    def run(self, now: float) -> float | None:
        """Sweep."""
        nodes = {objects.name(node) for node in self.api.list("Node")}
        for pod in self.api.list("Pod"):
            node = objects.spec(pod).get("nodeName")
            orphaned = bool(node) and node not in nodes and node not in self._registering()
            if orphaned or (objects.deleting(pod) and not node):
                self.api.delete(pod, grace_s=0)
        for event in self.api.list("Event"):
            if (
                now - objects.seconds(str(event.get("lastTimestamp") or objects.meta(event)["creationTimestamp"]))
                > _EVENT_LIFE_S
            ):
                self.api.delete(event, grace_s=0)
        return now + 60.0

    def _registering(self) -> set[str]:
        return {name for name, member in self.site.cluster.members.items() if self.site.alive(member)}
