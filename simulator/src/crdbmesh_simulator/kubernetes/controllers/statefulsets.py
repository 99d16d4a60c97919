"""The StatefulSet controller: stable names, claims, ordered or parallel, rolling updates from the top.

After `pkg/controller/statefulset` of Kubernetes 1.36.
"""

from __future__ import annotations

import copy
import functools

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.objects import pod_from
from crdbmesh_simulator.kubernetes.controllers.site import Controller

REVISION = "controller-revision-hash"
INDEX = "apps.kubernetes.io/pod-index"
POD_NAME = "statefulset.kubernetes.io/pod-name"


class StatefulSets(Controller):
    """Keeps the pods of every StatefulSet."""

    watches = ("StatefulSet", "Pod", "PersistentVolumeClaim", "ControllerRevision")

    def run(self, now: float) -> float | None:  # noqa: ARG002 - the interface
        """Sync every StatefulSet."""
        for sts in self.api.list("StatefulSet"):
            if not objects.deleting(sts):
                self.tolerating(sts, functools.partial(self._sync, sts))
        return None

    def _sync(self, sts: Obj) -> None:
        update = self._revision(sts)
        old = str(objects.status(sts).get("currentRevision") or update)
        spec = objects.spec(sts)
        start = int((spec.get("ordinals") or {}).get("start", 0))
        wanted = int(spec.get("replicas", 1))
        pods = {self._ordinal(pod): pod for pod in objects.owned(self.api.list("Pod", objects.namespace(sts)), sts)}
        partition = int(((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition") or 0)
        parallel = spec.get("podManagementPolicy") == "Parallel"
        self._fill(
            sts,
            pods,
            range(start, start + wanted),
            parallel=parallel,
            old=old,
            update=update,
            partition=partition + start,
        )
        excess = sorted((ordinal for ordinal in pods if not start <= ordinal < start + wanted), reverse=True)
        settled = all(ordinal in pods and self._healthy(pods[ordinal]) for ordinal in range(start, start + wanted))
        for ordinal in excess:
            if objects.deleting(pods[ordinal]):
                if not parallel:
                    break
                continue
            if not parallel and not settled:
                break
            self._delete(sts, pods[ordinal])
            if not parallel:
                break
        if not excess and (spec.get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate":
            self._roll(sts, pods, range(start + wanted - 1, start + partition - 1, -1), update)
        self._status(sts, pods, wanted, old, update, partition)

    def _revision(self, sts: Obj) -> str:
        """The name of the ControllerRevision of the present template; made when there is none."""
        data = {"spec": {"template": objects.spec(sts)["template"]}}
        name = f"{objects.name(sts)}-{objects.digest(data)}"
        if self.api.find("ControllerRevision", objects.namespace(sts), name) is None:
            known = objects.owned(self.api.list("ControllerRevision", objects.namespace(sts)), sts)
            number = max((int(each.get("revision") or 0) for each in known), default=0) + 1
            labels = dict(objects.spec(sts)["template"].get("metadata", {}).get("labels") or {})
            about = {"name": name, "space": objects.namespace(sts), "owner": objects.owner_reference(sts)}
            blanks = {**about, "labels": labels, "data": data, "revision": number}
            self.api.create(objects.fill("revision", blanks)[0])
        return name

    @staticmethod
    def _ordinal(pod: Obj) -> int:
        return int(objects.name(pod).rsplit("-", 1)[1])

    @staticmethod
    def _healthy(pod: Obj) -> bool:
        return objects.pod_ready(pod) and not objects.deleting(pod)

    def _fill(
        self, sts: Obj, pods: dict[int, Obj], ordinals: range, *, parallel: bool, old: str, update: str, partition: int
    ) -> None:
        for ordinal in ordinals:
            pod = pods.get(ordinal)
            if pod is not None and objects.status(pod).get("phase") in ("Failed", "Succeeded"):
                if not objects.deleting(pod):
                    self._delete(sts, pod)
                if not parallel:
                    return
                continue
            if pod is None:
                revision = update if ordinal >= partition else old
                pods[ordinal] = self._create(sts, ordinal, revision)
                if not parallel:
                    return
            elif not parallel and not self._healthy(pod):
                return

    def _template(self, sts: Obj, revision: str) -> Obj:
        found = self.api.find("ControllerRevision", objects.namespace(sts), revision)
        if found is None:
            return objects.spec(sts)["template"]  # type: ignore[no-any-return]
        return found["data"]["spec"]["template"]  # type: ignore[no-any-return]

    def _create(self, sts: Obj, ordinal: int, revision: str) -> Obj:
        name = f"{objects.name(sts)}-{ordinal}"
        pod = pod_from(self._template(sts, revision), sts, name=name)
        pod["metadata"]["labels"].update({REVISION: revision, INDEX: str(ordinal), POD_NAME: name})
        spec = pod["spec"]
        spec["hostname"] = name
        spec["subdomain"] = objects.spec(sts).get("serviceName", "")
        volumes = {volume["name"]: volume for volume in spec.get("volumes") or []}
        for claim in objects.spec(sts).get("volumeClaimTemplates") or []:
            short = objects.name(claim)
            claim_name = f"{short}-{name}"
            volumes[short] = {"name": short, "persistentVolumeClaim": {"claimName": claim_name}}
            if self.api.find("PersistentVolumeClaim", objects.namespace(sts), claim_name) is None:
                self._claim(sts, claim, claim_name)
        spec["volumes"] = list(volumes.values())
        created = self.api.create(pod)
        text = f"create Pod {name} in StatefulSet {objects.name(sts)} successful"
        self.api.event(sts, "Normal", "SuccessfulCreate", text, component="statefulset-controller")
        return created

    def _claim(self, sts: Obj, template: Obj, name: str) -> None:
        meta = objects.meta(template)
        labels = {**(meta.get("labels") or {}), **(objects.spec(sts).get("selector", {}).get("matchLabels") or {})}
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": objects.namespace(sts), "labels": labels},
            "spec": copy.deepcopy(template["spec"]),
        }
        self.api.create(claim)

    def _delete(self, sts: Obj, pod: Obj) -> None:
        self.api.delete(pod)
        text = f"delete Pod {objects.name(pod)} in StatefulSet {objects.name(sts)} successful"
        self.api.event(sts, "Normal", "SuccessfulDelete", text, component="statefulset-controller")

    def _roll(self, sts: Obj, pods: dict[int, Obj], ordinals: range, update: str) -> None:
        for ordinal in ordinals:
            pod = pods.get(ordinal)
            if pod is None:
                return
            if objects.labels(pod).get(REVISION) != update and not objects.deleting(pod):
                self._delete(sts, pod)
                return
            if not self._healthy(pod):
                return

    def _status(self, sts: Obj, pods: dict[int, Obj], wanted: int, old: str, update: str, partition: int) -> None:
        present = [pod for pod in pods.values() if objects.status(pod).get("phase") not in ("Failed", "Succeeded")]
        ready = [pod for pod in present if objects.pod_ready(pod)]
        updated = [pod for pod in present if objects.labels(pod).get(REVISION) == update]
        done = len(updated) == wanted and len(ready) == wanted and len(present) == wanted and not partition
        current = update if done else old
        status: Obj = {
            "observedGeneration": objects.meta(sts).get("generation", 1),
            "replicas": len(present),
            "readyReplicas": len(ready),
            "availableReplicas": len(ready),
            "currentReplicas": sum(objects.labels(pod).get(REVISION) == current for pod in present),
            "updatedReplicas": len(updated),
            "currentRevision": current,
            "updateRevision": update,
            "collisionCount": 0,
        }
        optional = ("readyReplicas", "currentReplicas", "updatedReplicas")
        status = {key: value for key, value in status.items() if value or key not in optional}
        if status != objects.status(sts):
            self.api.set_status(sts, status)
