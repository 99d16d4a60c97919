"""What an agent or kvstoremesh says of a link, and the cause in Cilium's own report, as Cilium 1.20 printed them."""

from __future__ import annotations

from typing import Any

import pytest

from crdbmesh.observe import links

HEALTHY = "etcd: 1/1 connected, leases=0, lock leases=0, has-quorum=true: endpoint status checks are disabled"
CONFIG = {"cluster-id": 2, "kvstoremesh": True, "required": True, "retrieved": True, "sync-canaries": True}
SYNCED = {"endpoints": True, "identities": True, "nodes": True, "services": True}


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        (None, "not configured yet"),
        ({"name": "westus", "ready": True, "connected": True, "status": HEALTHY}, None),
        (
            {"name": "westus", "status": "Waiting for initial connection to be established", "synced": {}},
            "not connected (Waiting for initial connection to be established)",
        ),
        (
            {"connected": True, "config": {"required": True}, "synced": {}, "status": HEALTHY},
            "connected, but the remote cluster's configuration is not retrieved",
        ),
        (
            {"connected": True, "config": CONFIG, "synced": {"nodes": True, "identities": True}, "status": HEALTHY},
            "connected, but endpoints, services not synced",
        ),
        (
            {"connected": True, "config": CONFIG, "synced": {**SYNCED, "service-exports": False}, "status": HEALTHY},
            "connected, but service-exports not synced",
        ),
        (
            {"num-failures": 2, "last-failure": "2026-11-27T08:00:00.000Z", "status": "Waiting"},
            "not connected (Waiting); lost 2 times, last at 2026-11-27T08:00:00.000Z",
        ),
    ],
)
def test_an_unready_link_says_what_is_missing(cluster: dict[str, Any] | None, said: str | None) -> None:
    assert links.unready(cluster) == said


def test_the_cause_is_the_first_failure_of_the_report() -> None:
    report = """\
Found 1 cluster configurations

Cluster "westus":
📄 Configuration path: /var/lib/cilium/clustermesh/westus

🔌 Endpoints:
   - https://westus.mesh.cilium.io:32379
     ✅ Hostname resolved to: 10.3.1.4
     ❌ TCP connection failed: dial tcp 10.3.1.4:32379: connect: no route to host

⚙️ Etcd client:
   ❌ Failed to establish connection: context deadline exceeded
"""
    assert links.first_failure(report) == "TCP connection failed: dial tcp 10.3.1.4:32379: connect: no route to host"
    assert links.first_failure("✅ Etcd connection successfully established") is None
