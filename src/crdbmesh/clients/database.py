"""CockroachDB through its pods: readiness, initialisation, node status.

No port of the database is open to the outside: commands run in pods, through the Kubernetes API. Health texts and
`node status` columns: CockroachDB docs v26.2 (`monitoring-and-alerting`, `cockroach-node`). Each function raises
KubeError when the pod, or the database in it, does not answer or refuses.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from crdbmesh.clients.kube.client import Kube
from crdbmesh.clients.output import CommandResult
from crdbmesh.errors import KubeError
from crdbmesh.spec import documents, names

CERTS = "/cockroach/cockroach-certs"
BINARY = "/cockroach/cockroach"
ALREADY = "cluster has already been initialized"


@dataclass(frozen=True, slots=True)
class Node:
    """A node as `cockroach node status` shows it."""

    number: int
    address: str
    locality: dict[str, str]
    live: bool
    available: bool


def read_readiness(kube: Kube, namespace: str, pod: str) -> str | None:
    """Return None when the node is part of an initialised cluster and ready, else what it says."""
    status, body = kube.proxy_get(namespace, pod, names.COCKROACH_HTTP_PORT, "/health?ready=1", tls=True)
    if status == 200:
        return None
    try:
        return str(documents.read_json(body).get("error") or body)
    except (ValueError, AttributeError):
        return body.strip() or f"HTTP {status}"


def initialise(kube: Kube, namespace: str, *, target: str, cluster_name: str) -> None:
    """Initialise the cluster on `target`; a target that already is counts as done."""
    argv = [BINARY, "init", f"--certs-dir={CERTS}", f"--host={target}", f"--cluster-name={cluster_name}"]
    answer = _run(kube, namespace, argv, timeout_s=120)
    if answer.status != 0 and ALREADY not in answer.stderr and ALREADY not in answer.stdout:
        raise KubeError(f"cockroach init failed: {_cause(answer)}")


def read_nodes(kube: Kube, namespace: str, host: str | None = None) -> list[Node]:
    """List every node that the cluster knows."""
    target = host or f"{names.COCKROACH_PUBLIC}.{names.zone(namespace)}:{names.COCKROACH_PORT}"
    argv = [BINARY, "node", "status", f"--certs-dir={CERTS}", f"--host={target}", "--format=csv"]
    answer = _run(kube, namespace, argv)
    if answer.status != 0:
        raise KubeError(f"cockroach node status failed: {_cause(answer)}")
    return [
        Node(
            number=int(row["id"]),
            address=row["address"],
            locality=_tiers(row.get("locality", "")),
            live=row.get("is_live") == "true",
            available=row.get("is_available") == "true",
        )
        for row in csv.DictReader(io.StringIO(answer.stdout))
    ]


def read_cluster_id(kube: Kube, namespace: str, host: str) -> str:
    """Return the id of the cluster that the node at `host` belongs to."""
    argv = [
        BINARY,
        "sql",
        f"--certs-dir={CERTS}",
        f"--host={host}",
        "--format=csv",
        # From v26.1 on, crdb_internal is closed to sessions that do not ask for it.
        "--execute=SET allow_unsafe_internals = true",
        "--execute=SELECT crdb_internal.cluster_id() AS id",
    ]
    answer = _run(kube, namespace, argv)
    found = [line.strip() for line in answer.stdout.splitlines() if line.count("-") == 4]
    if answer.status != 0 or not found:
        raise KubeError(f"{host} does not tell its cluster's id: {_cause(answer)}")
    return found[-1]


def _run(kube: Kube, namespace: str, argv: list[str], *, timeout_s: float = 60) -> CommandResult:
    pods = kube.list("v1", "Pod", namespace, labels=f"app={names.COCKROACH_CLIENT}")
    running = [pod for pod in pods if pod.get("status", {}).get("phase") == "Running"]
    if not running:
        raise KubeError(f"{namespace}: no CockroachDB client pod runs")
    return kube.exec(namespace, running[0]["metadata"]["name"], argv, container="client", timeout_s=timeout_s)


def _tiers(locality: str) -> dict[str, str]:
    return dict(tier.split("=", 1) for tier in locality.split(",") if "=" in tier)


def _cause(answer: CommandResult) -> str:
    """Return what went wrong: the line that cockroach starts with ERROR, or the last one."""
    lines = answer.stderr.strip().splitlines() or answer.stdout.strip().splitlines() or [""]
    return ([line for line in lines if line.startswith("ERROR")] or lines)[-1]
