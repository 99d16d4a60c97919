"""Plugin `kubernetes`: names of Services and pods of the cluster, after the Kubernetes DNS specification 1.1.0.

Behaviour after `plugin/kubernetes` of CoreDNS 1.14: a headless Service without a ready endpoint does not exist.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.api.pods import runtime
from crdbmesh_simulator.kubernetes.api.selectors import parse_labels
from crdbmesh_simulator.workloads import objects
from crdbmesh_simulator.workloads.coredns.message import (
    NOERROR,
    NXDOMAIN,
    Answer,
    Question,
    Record,
    absolute,
    soa,
    under,
)

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster
    from crdbmesh_simulator.workloads.coredns.settings import Kubernetes


def answer(cluster: Cluster, settings: Kubernetes, question: Question) -> Answer | None:
    """The plugin's answer, or None when the question is for the next plugin."""
    fitting = [zone for zone in settings.zones if under(question.name, zone)]
    if not fitting:
        return None
    zone = max(fitting, key=len)
    serial = int(cluster.store.clock.now()) if hasattr(cluster.store, "clock") else 1
    negative = (soa(zone, settings.ttl, serial),)
    if zone.endswith(".arpa."):
        records: list[Record] | None = _reverse(cluster, question, settings)
    else:
        records = [*negative] if question.name == zone else _forward(cluster, settings, question, zone)
    if records is None:
        if settings.fall_through is not None and any(under(question.name, each) for each in settings.fall_through):
            return None
        return Answer(NXDOMAIN, (), negative, f"{question.name} does not exist", authoritative=True)
    wanted = tuple(record for record in records if record.type in (question.type, "CNAME"))
    if not wanted:
        return Answer(NOERROR, (), negative, f"{question.name} has no {question.type} record", authoritative=True)
    return Answer(NOERROR, wanted, authoritative=True)


def _forward(cluster: Cluster, settings: Kubernetes, question: Question, zone: str) -> list[Record] | None:
    """The records of a name below the zone, of any type; None when there is no such name."""
    labels = question.name[: -len(zone)].rstrip(".").split(".")
    if labels == ["dns-version"]:
        return [Record(question.name, "TXT", settings.ttl, '"1.1.0"')]
    if labels == ["ns", "dns"]:
        return []
    kind = labels.pop()
    if kind not in ("svc", "pod"):
        return None
    if not labels:
        return []
    namespace = labels.pop()
    if objects.find(cluster, "Namespace", None, namespace) is None:
        return None
    if settings.namespaces is not None and namespace not in settings.namespaces:
        return None
    if not labels:
        return []
    if kind == "pod":
        return _pod(cluster, settings, question.name, namespace, labels)
    return _service(cluster, settings, question.name, namespace, labels)


def _pod(cluster: Cluster, settings: Kubernetes, name: str, namespace: str, labels: list[str]) -> list[Record] | None:
    if settings.pods == "disabled" or len(labels) != 1:
        return None
    try:
        ip = str(ipaddress.IPv4Address(labels[0].replace("-", ".")))
    except ValueError:
        return None
    if settings.pods == "verified":
        pods = runtime(cluster)
        boxes = pods.sandboxes.values() if pods else ()
        if not any(box.ip == ip and box.namespace == namespace for box in boxes):
            return None
    return [Record(name, "A", settings.ttl, ip)]


def _service(
    cluster: Cluster, settings: Kubernetes, name: str, namespace: str, labels: list[str]
) -> list[Record] | None:
    service_name = labels.pop()
    service = objects.find(cluster, "Service", namespace, service_name)
    if service is None or not _is_served(cluster, settings, service):
        return None
    spec = objects.spec(service)
    port = protocol = endpoint = None
    if len(labels) == 2 and all(label.startswith("_") for label in labels):
        port, protocol = labels[0][1:], labels[1][1:].upper()
    elif len(labels) == 1:
        endpoint = labels[0]
    elif labels:
        return None
    if spec.get("type") == "ExternalName":
        return [Record(name, "CNAME", settings.ttl, absolute(str(spec["externalName"])))]
    base = name if port is None and endpoint is None else name.split(".", 2 if port else 1)[-1]
    if spec.get("clusterIP") == "None" or endpoint is not None:
        if settings.no_endpoints:
            return None
        found = list(_endpoint_records(cluster, settings, name, base, service, endpoint, port, protocol))
        return found or None
    ports = [
        entry
        for entry in spec.get("ports") or []
        if port is None or (entry.get("name") == port and entry.get("protocol", "TCP") == protocol)
    ]
    if not ports:
        return None
    records = [Record(name, "A", settings.ttl, str(spec["clusterIP"]))]
    share = 100 // len(ports)
    records += [Record(name, "SRV", settings.ttl, f"0 {share} {entry['port']} {base}") for entry in ports]
    return records if port is None else records[1:]


def _is_served(cluster: Cluster, settings: Kubernetes, service: objects.Obj) -> bool:
    meta = service["metadata"]
    if not _is_watched(settings, service):
        return False
    if not settings.ignore_empty or objects.spec(service).get("type") == "ExternalName":
        return True
    return any(each.ready for each in objects.endpoints(cluster, meta["namespace"], meta["name"]))


def _is_watched(settings: Kubernetes, service: objects.Obj) -> bool:
    return not settings.labels or parse_labels(settings.labels)(service)


def _host(endpoint: objects.Endpoint, settings: Kubernetes) -> str:
    """The label under which an endpoint is found below its Service."""
    named = endpoint.pod if settings.endpoint_pod_names else None
    return endpoint.hostname or named or endpoint.ip.replace(".", "-")


def _endpoint_records(
    cluster: Cluster,
    settings: Kubernetes,
    name: str,
    base: str,
    service: objects.Obj,
    endpoint: str | None,
    port: str | None,
    protocol: str | None,
) -> Iterator[Record]:
    seen: set[str] = set()
    meta = service["metadata"]
    for each in objects.endpoints(cluster, meta["namespace"], meta["name"]):
        if not each.ready:
            continue
        host = _host(each, settings)
        if endpoint is not None and endpoint != host:
            continue
        if port is None and each.ip not in seen:
            seen.add(each.ip)
            yield Record(name, "A", settings.ttl, each.ip)
        for port_name, kind, number in each.ports:
            if port is None or (port_name == port and kind == protocol):
                yield Record(name, "SRV", settings.ttl, f"0 100 {number} {host}.{base}")


def _reverse(cluster: Cluster, question: Question, settings: Kubernetes) -> list[Record] | None:
    parts = question.name.removesuffix(".in-addr.arpa.").split(".")
    address = ".".join(reversed(parts))
    domain = objects.domain(cluster)
    services = [each for each in objects.every(cluster, "Service") if _is_watched(settings, each)]
    for service in services:
        meta = service["metadata"]
        if objects.spec(service).get("clusterIP") == address:
            target = f"{meta['name']}.{meta['namespace']}.svc.{domain}."
            return [Record(question.name, "PTR", settings.ttl, target)]
    for service in [] if settings.no_endpoints else services:
        meta = service["metadata"]
        for each in objects.endpoints(cluster, meta["namespace"], meta["name"]):
            if each.ip == address and objects.spec(service).get("clusterIP") == "None":
                host = _host(each, settings)
                target = f"{host}.{meta['name']}.{meta['namespace']}.svc.{domain}."
                return [Record(question.name, "PTR", settings.ttl, target)]
    return None
