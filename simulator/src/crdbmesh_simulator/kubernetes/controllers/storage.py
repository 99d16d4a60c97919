"""PersistentVolumeClaims: binding, and k3s's local-path provisioner.

After `pkg/controller/volume/persistentvolume` of Kubernetes 1.36 and rancher/local-path-provisioner v0.0.36 (its
`provisioner.go`): a volume is a folder on the node of the first pod that uses it, made once, when it is provisioned.
k3s's StorageClass makes it a PersistentVolume of type `local`, which is not mounted when its folder is gone.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.scheduler import SELECTED_NODE, find_static
from crdbmesh_simulator.kubernetes.controllers.site import Controller, Site, make_folder, remove_folder

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Member

PROVISIONER = "rancher.io/local-path"
_PROTECTION = "kubernetes.io/pvc-protection"
_PROVISION_S = 4.0
_FOLDER = "/var/lib/rancher/k3s/storage"


class Claims(Controller):
    """Binds claims, makes and removes local-path volumes."""

    watches = ("PersistentVolumeClaim", "PersistentVolume", "Pod", "StorageClass", "Node")

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._provisioning: dict[str, float] = {}

    def run(self, now: float) -> float | None:
        """Sync claims, then volumes."""
        due: list[float] = []
        for claim in self.api.list("PersistentVolumeClaim"):
            at = self.tolerating(claim, functools.partial(self._claim, claim, now))
            if at is not None:
                due.append(at)
        for volume in self.api.list("PersistentVolume"):
            self._volume(volume)
        return min(due, default=None)

    def _claim(self, claim: Obj, now: float) -> float | None:
        if objects.deleting(claim):
            self._release(claim)
            return None
        if _PROTECTION not in (objects.meta(claim).get("finalizers") or []):
            changed = self.api.copy(claim)
            changed["metadata"].setdefault("finalizers", []).append(_PROTECTION)
            claim = self.api.replace(changed)
        if objects.status(claim).get("phase") == "Bound":
            volume = self.api.find("PersistentVolume", None, str(objects.spec(claim).get("volumeName")))
            if volume is None:
                self.api.set_status(claim, {**objects.status(claim), "phase": "Lost"})
            return None
        if not objects.status(claim).get("phase"):
            self.api.set_status(claim, {"phase": "Pending"})
        found = self._matching(claim)
        if found is not None:
            self._bind(claim, found)
            return None
        return self._provision(claim, now)

    def _matching(self, claim: Obj) -> Obj | None:
        """The volume that was made for the claim."""
        for volume in self.api.list("PersistentVolume"):
            if (objects.spec(volume).get("claimRef") or {}).get("uid") == objects.uid(claim):
                return volume
        node = self.api.find("Node", None, objects.annotations_of(claim).get(SELECTED_NODE, ""))
        return find_static(self.api, claim, node) if node is not None else None

    def _bind(self, claim: Obj, volume: Obj) -> None:
        held = self.api.copy(volume)
        held["spec"]["claimRef"] = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "name": objects.name(claim),
            "namespace": objects.namespace(claim),
            "uid": objects.uid(claim),
        }
        held = self.api.replace(held)
        self.api.set_status(held, {**objects.status(held), "phase": "Bound"})
        changed = self.api.copy(claim)
        changed["spec"]["volumeName"] = objects.name(volume)
        marks = changed["metadata"].setdefault("annotations", {}) or {}
        marks.update({"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"})
        changed["metadata"]["annotations"] = marks
        changed = self.api.replace(changed)
        status = {
            "phase": "Bound",
            "accessModes": objects.spec(volume).get("accessModes"),
            "capacity": objects.spec(volume).get("capacity"),
        }
        self.api.set_status(changed, status)

    def _provision(self, claim: Obj, now: float) -> float | None:
        chosen = self.api.find("StorageClass", None, str(objects.spec(claim).get("storageClassName") or ""))
        if chosen is None or chosen.get("provisioner") != PROVISIONER:
            return None
        uid = objects.uid(claim)
        node = objects.annotations_of(claim).get(SELECTED_NODE)
        if node is None:
            if uid not in self._provisioning:
                self._provisioning[uid] = -1.0
                text = "waiting for first consumer to be created before binding"
                self.api.event(claim, "Normal", "WaitForFirstConsumer", text, component="persistentvolume-controller")
            return None
        member = self.site.cluster.members.get(node)
        if member is None or not self.site.alive(member) or not self._provisioner_runs():
            return now + 5.0
        begun = self._provisioning.get(uid, -1.0)
        if begun < 0:
            self._provisioning[uid] = begun = now
            where = f"{objects.namespace(claim)}/{objects.name(claim)}"
            text = f'External provisioner is provisioning volume for claim "{where}"'
            self.api.event(claim, "Normal", "Provisioning", text, component=PROVISIONER)
        if now < begun + _PROVISION_S:
            return begun + _PROVISION_S
        self._make(claim, chosen, member)
        self._provisioning.pop(uid, None)
        return now

    def _provisioner_runs(self) -> bool:
        pods = self.api.list("Pod", "kube-system", {"app": "local-path-provisioner"})
        return any(objects.pod_ready(pod) for pod in pods)

    def _make(self, claim: Obj, chosen: Obj, member: Member) -> None:
        name = f"pvc-{objects.uid(claim)}"
        folder = f"{_FOLDER}/{name}_{objects.namespace(claim)}_{objects.name(claim)}"
        make_folder(member.machine, folder)
        local = objects.annotations_of(chosen).get("defaultVolumeType") == "local"
        source: Obj = (
            {"local": {"path": folder}} if local else {"hostPath": {"path": folder, "type": "DirectoryOrCreate"}}
        )
        blanks = {
            "name": name,
            "provisioner": PROVISIONER,
            "node": member.node_name,
            "storage": objects.spec(claim)["resources"]["requests"]["storage"],
            "modes": objects.spec(claim).get("accessModes") or ["ReadWriteOnce"],
            "policy": chosen.get("reclaimPolicy", "Delete"),
            "class": objects.name(chosen),
            "source": source,
            "claim": objects.meta(claim),
        }
        self.api.create(objects.fill("volume", blanks)[0])
        self.api.event(
            claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}", component=PROVISIONER
        )

    def _release(self, claim: Obj) -> None:
        space, name = objects.namespace(claim), objects.name(claim)
        for pod in self.api.list("Pod", space):
            if objects.status(pod).get("phase") in ("Succeeded", "Failed"):
                continue
            for volume in objects.spec(pod).get("volumes") or []:
                if (volume.get("persistentVolumeClaim") or {}).get("claimName") == name:
                    return
        self.api.drop_finalizer(claim, _PROTECTION)

    def _volume(self, volume: Obj) -> None:
        reference = objects.spec(volume).get("claimRef")
        if objects.deleting(volume):
            claim = (
                self.api.find("PersistentVolumeClaim", reference["namespace"], reference["name"]) if reference else None
            )
            if claim is None or objects.uid(claim) != (reference or {}).get("uid"):
                self.api.drop_finalizer(volume, "kubernetes.io/pv-protection")
            return
        if not reference or not reference.get("uid"):
            if not objects.status(volume).get("phase"):
                self.api.set_status(volume, {"phase": "Available"})
            return
        claim = self.api.find("PersistentVolumeClaim", reference["namespace"], reference["name"])
        if claim is not None and objects.uid(claim) == reference["uid"]:
            return
        if objects.spec(volume).get("persistentVolumeReclaimPolicy") == "Delete":
            spec = objects.spec(volume)
            folder = str((spec.get("local") or spec.get("hostPath") or {}).get("path"))
            for member in self.site.cluster.members.values():
                if member.node_name == objects.annotations_of(volume).get("local.path.provisioner/selected-node"):
                    remove_folder(member.machine, folder)
            self.api.delete(volume)
        elif objects.status(volume).get("phase") != "Released":
            self.api.set_status(volume, {**objects.status(volume), "phase": "Released"})
