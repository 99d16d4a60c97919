"""Network policies as they are sent: by clusters, by the mesh's own pods, and only as wide as is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crdbmesh.desired import policies
from crdbmesh.spec.mesh import Mesh

SPEC: dict[str, Any] = {"regions": ["eastus", "westus"]}


def sent(**more: Any) -> dict[str, dict[str, Any]]:
    mesh = Mesh.model_validate({**SPEC, **more})
    return {one["metadata"]["name"]: one for one in policies.objects(mesh, mesh.region("eastus"))}


def test_a_mesh_of_release_0_1_has_none() -> None:
    assert sent(layout=1) == {}


def test_the_database_is_reached_by_its_own_pods_in_each_cluster_and_by_labelled_namespaces() -> None:
    spec = sent()["cockroachdb"]["spec"]
    selected = [one["matchLabels"] for one in spec["ingress"][0]["fromEndpoints"]]
    assert {one["io.cilium.k8s.policy.cluster"] for one in selected} == {"eastus", "westus"}
    own = {(one["io.kubernetes.pod.namespace"], one["app"]) for one in selected if "app" in one}
    assert own == {(at, app) for at in ("eastus", "westus") for app in ("cockroachdb", "cockroachdb-client")}
    assert [one for one in selected if "app" not in one] == [
        {"io.cilium.k8s.policy.cluster": at, "io.cilium.k8s.namespace.labels.crdbmesh/client": "true"}
        for at in ("eastus", "westus")
    ]


def test_what_is_not_named_is_denied_both_ways() -> None:
    assert sent()["default-deny"]["spec"] == {"endpointSelector": {}, "ingress": [{}], "egress": [{}]}


def test_the_database_leaves_the_mesh_only_for_a_license() -> None:
    closed, open_ = (
        json.dumps(sent(**more)["cockroachdb"]["spec"]["egress"]) for more in ({}, {"license_file": Path("license")})
    )
    assert ("world" in closed, "world" in open_, "169.254" in open_) == (False, True, False)


def test_metadata_is_denied_to_everyone_and_nothing_else_is() -> None:
    specs = sent()["crdbmesh-metadata"]["specs"]
    assert all(one["enableDefaultDeny"] == {"ingress": False, "egress": False} for one in specs)
    assert [(one["endpointSelector"], one["egressDeny"][0]["toCIDR"]) for one in specs] == [
        ({}, ["168.63.129.16/32"]),
        ({}, ["169.254.169.254/32"]),
    ]
