"""Plugin `kubernetes`: names of Services and their pods, after the Kubernetes DNS specification 1.1.0.

Behaviour after `plugin/kubernetes` and `plugin/backend_lookup.go` of CoreDNS 1.14: a headless Service without a ready
endpoint does not exist; the SRV records of an answer share a weight of 100.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from crdbmesh_simulator.workloads import objects
from crdbmesh_simulator.workloads.coredns.message import NOERROR, NXDOMAIN, Answer, Question, Record, soa, under

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster
    from crdbmesh_simulator.workloads.coredns.plugins import Kubernetes


def answer(cluster: Cluster, settings: Kubernetes, question: Question, serial: int) -> Answer | None:
    """The plugin's answer, or None when the question is for the next plugin.

    Reverse names and names of pods by address are not part of this world: they do not exist.
    """
    fitting = [zone for zone in settings.zones if under(question.name, zone)]
    if not fitting:
        return None
    zone = max(fitting, key=len)
    negative = (soa(zone, settings.ttl, serial),)
    records = [*negative] if question.name == zone else _records(cluster, settings.ttl, question.name, zone)
    if records is None:
        if settings.fall_through is not None and any(under(question.name, each) for each in settings.fall_through):
            return None
        return Answer(NXDOMAIN, (), negative, f"{question.name} does not exist", authoritative=True)
    wanted = [record for record in records if record.type == question.type]
    if not wanted:
        return Answer(NOERROR, (), negative, f"{question.name} has no {question.type} record", authoritative=True)
    if question.type == "SRV":
        share = max(100 // len(wanted), 1)
        wanted = [dataclasses.replace(record, data=f"0 {share} {record.data}") for record in wanted]
    return Answer(NOERROR, tuple(wanted), authoritative=True)


def _records(cluster: Cluster, ttl: int, name: str, zone: str) -> list[Record] | None:
    """The records of a name below the zone; None when there is no such name. SRV data lacks priority and weight."""
    labels = name[: -len(zone)].rstrip(".").split(".")
    if labels.pop() != "svc" or zone.endswith(".arpa."):
        return None
    namespace = labels.pop() if labels else None
    if namespace is None:
        return []
    if objects.find(cluster, "Namespace", None, namespace) is None:
        return None
    if not labels:
        return []
    service = objects.find(cluster, "Service", namespace, labels.pop())
    if service is None:
        return None
    port = protocol = endpoint = None
    if len(labels) == 2 and all(label.startswith("_") for label in labels):
        port, protocol = labels[0][1:], labels[1][1:].upper()
    elif len(labels) == 1:
        endpoint = labels[0]
    elif labels:
        return None
    base = f"{service['metadata']['name']}.{namespace}.svc.{zone}"
    if objects.spec(service).get("clusterIP") == "None" or endpoint is not None:
        found = _endpoints(cluster, base, service, endpoint)
    else:
        ip = str(objects.spec(service)["clusterIP"])
        found = [
            (str(entry.get("name") or ""), str(entry.get("protocol", "TCP")), ip, int(entry["port"]), base)
            for entry in objects.spec(service).get("ports") or []
        ]
    if port is not None:
        found = [each for each in found if each[:2] == (port, protocol)]
    records = (
        [] if port is not None else [Record(name, "A", ttl, ip) for ip in dict.fromkeys(each[2] for each in found)]
    )
    records += [Record(name, "SRV", ttl, f"{number} {host}") for _, _, _, number, host in found]
    return records or None


def _endpoints(
    cluster: Cluster, base: str, service: objects.Obj, endpoint: str | None
) -> list[tuple[str, str, str, int, str]]:
    """Port name, protocol, address, port and host name of each ready endpoint (or the one of that name)."""
    meta = service["metadata"]
    found = []
    for each in objects.endpoints(cluster, meta["namespace"], meta["name"]):
        host = each.hostname or each.ip.replace(".", "-")
        if each.ready and endpoint in (None, host):
            found += [(title, kind, each.ip, number, f"{host}.{base}") for title, kind, number in each.ports]
    return found
