"""Endpoints and EndpointSlices: the addresses behind each Service with a selector.

After `pkg/controller/endpoint` and `pkg/controller/endpointslice` of Kubernetes 1.36.
"""

from __future__ import annotations

import functools

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.selectors import matches_selector
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.site import Controller

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_MANAGER = "endpointslice-controller.k8s.io"


class Endpoints(Controller):
    """Keeps Endpoints and one EndpointSlice for each Service."""

    watches = ("Service", "Pod", "Endpoints", "EndpointSlice")

    def run(self, now: float) -> float | None:  # noqa: ARG002 - the interface
        """Sync every Service."""
        wanted: set[tuple[str, str]] = set()
        for service in self.api.list("Service"):
            if objects.spec(service).get("selector") and objects.spec(service).get("type") != "ExternalName":
                wanted.add((objects.namespace(service), objects.name(service)))
                self.tolerating(service, functools.partial(self._sync, service))
        for slice_ in self.api.list("EndpointSlice"):
            labels = objects.labels(slice_)
            key = (objects.namespace(slice_), labels.get(SERVICE_NAME, ""))
            if labels.get(MANAGED_BY) == _MANAGER and key not in wanted and not objects.deleting(slice_):
                self.api.delete(slice_)
        for endpoints in self.api.list("Endpoints"):
            key = (objects.namespace(endpoints), objects.name(endpoints))
            gone = self.api.find("Service", *key) is None
            if (
                gone
                and objects.labels(endpoints).get("endpoints.kubernetes.io/managed-by")
                and not objects.deleting(endpoints)
            ):
                self.api.delete(endpoints)
        return None

    def _sync(self, service: Obj) -> None:
        selector = {"matchLabels": objects.spec(service)["selector"]}
        pods = [
            pod
            for pod in self.api.list("Pod", objects.namespace(service))
            if objects.status(pod).get("podIP")
            and objects.status(pod).get("phase") not in ("Succeeded", "Failed")
            and matches_selector(selector, objects.labels(pod))
        ]
        pods.sort(key=objects.name)
        self._slice(service, pods)
        self._endpoints(service, [pod for pod in pods if not objects.deleting(pod)])

    def _ports(self, service: Obj, pods: list[Obj]) -> list[Obj]:
        found: list[Obj] = []
        for port in objects.spec(service).get("ports") or []:
            number = _target(port, pods)
            if number is None:
                continue
            entry: Obj = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
            found.append(entry)
        return found

    def _slice(self, service: Obj, pods: list[Obj]) -> None:
        tolerant = bool(objects.spec(service).get("publishNotReadyAddresses"))
        endpoints: list[Obj] = []
        for pod in pods:
            ready = objects.pod_ready(pod)
            entry: Obj = {
                "addresses": [objects.status(pod)["podIP"]],
                "conditions": {
                    "ready": tolerant or (ready and not objects.deleting(pod)),
                    "serving": ready or tolerant,
                    "terminating": objects.deleting(pod),
                },
                "nodeName": objects.spec(pod).get("nodeName"),
                "targetRef": _reference(pod),
            }
            name = _published_name(service, pod)
            if name:
                entry["hostname"] = name
            node = self.api.find("Node", None, str(objects.spec(pod).get("nodeName")))
            zone = objects.labels(node or {}).get("topology.kubernetes.io/zone")
            if zone:
                entry["zone"] = zone
            endpoints.append(entry)
        existing = [
            each
            for each in self.api.list("EndpointSlice", objects.namespace(service))
            if objects.labels(each).get(SERVICE_NAME) == objects.name(service)
            and objects.labels(each).get(MANAGED_BY) == _MANAGER
            and not objects.deleting(each)
        ]
        labels = {SERVICE_NAME: objects.name(service), MANAGED_BY: _MANAGER}
        blanks = _blanks(service, labels) | {"endpoints": endpoints, "ports": self._ports(service, pods)}
        self.api.bring(existing[0] if existing else None, objects.fill("endpoints", {**blanks, "subsets": []})[0])

    def _endpoints(self, service: Obj, pods: list[Obj]) -> None:
        tolerant = bool(objects.spec(service).get("publishNotReadyAddresses"))
        ready: list[Obj] = []
        unready: list[Obj] = []
        for pod in pods:
            address: Obj = {
                "ip": objects.status(pod)["podIP"],
                "nodeName": objects.spec(pod).get("nodeName"),
                "targetRef": _reference(pod),
            }
            name = _published_name(service, pod)
            if name:
                address["hostname"] = name
            (ready if tolerant or objects.pod_ready(pod) else unready).append(address)
        ports = [
            {key: value for key, value in port.items() if key != "name" or value} for port in self._ports(service, pods)
        ]
        subset: Obj = {"ports": ports} if ports else {}
        if ready:
            subset["addresses"] = ready
        if unready:
            subset["notReadyAddresses"] = unready
        blanks = _blanks(service, {"endpoints.kubernetes.io/managed-by": "endpoint-controller"})
        blanks |= {"subsets": [subset] if ready or unready else [], "endpoints": [], "ports": []}
        existing = self.api.find("Endpoints", objects.namespace(service), objects.name(service))
        self.api.bring(existing, objects.fill("endpoints", blanks)[1])


def _blanks(service: Obj, labels: dict[str, str]) -> Obj:
    headless = {"service.kubernetes.io/headless": ""} if objects.spec(service).get("clusterIP") == "None" else {}
    about = {"name": objects.name(service), "space": objects.namespace(service)}
    owner = objects.owner_reference(service)
    return {**about, "owner": owner, "labels": {**objects.labels(service), **labels, **headless}}


def _reference(pod: Obj) -> Obj:
    return {"kind": "Pod", "name": objects.name(pod), "namespace": objects.namespace(pod), "uid": objects.uid(pod)}


def _published_name(service: Obj, pod: Obj) -> str | None:
    if objects.spec(pod).get("subdomain") != objects.name(service):
        return None
    return objects.spec(pod).get("hostname")


def _target(port: Obj, pods: list[Obj]) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int) or str(target).isdigit():
        return int(str(target)) or int(port["port"])
    for pod in pods:
        for container in objects.spec(pod).get("containers") or []:
            for entry in container.get("ports") or []:
                if entry.get("name") == target and entry.get("protocol", "TCP") == port.get("protocol", "TCP"):
                    return int(entry["containerPort"])
    return None
