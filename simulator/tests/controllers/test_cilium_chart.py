"""What the Cilium chart renders, without a cluster."""

from __future__ import annotations

import base64
from typing import Any

import yaml

from crdbmesh_simulator.kubernetes.controllers.cilium import rendering
from crdbmesh_simulator.kubernetes.controllers.helm import charts

Obj = dict[str, Any]


def render(values: Obj) -> dict[tuple[str, str], Obj]:
    merged = charts.merge(rendering.defaults(), values)
    objects = rendering.render(merged, version="1.20.0")
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}


def decoded(secret: Obj, key: str) -> Obj:
    found: Obj = yaml.safe_load(base64.b64decode(secret["data"][key]))
    return found


def test_the_rendering_is_the_one_that_the_facts_describe(values: Obj) -> None:
    objects = render(values)
    config = objects[("ConfigMap", "cilium-config")]["data"]
    assert (config["cluster-name"], config["cluster-id"]) == ("eastus", "1")
    assert config["kube-proxy-replacement"] == "true"
    assert (config["routing-mode"], config["tunnel-protocol"], config["ipam"]) == ("tunnel", "vxlan", "cluster-pool")
    assert (config["cluster-pool-ipv4-cidr"], config["cluster-pool-ipv4-mask-size"]) == ("10.101.0.0/16", "24")
    remote = decoded(objects[("Secret", "cilium-kvstoremesh")], "westus")
    assert remote["endpoints"] == ["https://westus.mesh.cilium.io:32379"]
    assert remote["cilium-host-aliases"] == [
        {"hostname": "westus.mesh.cilium.io", "ips": ["10.2.0.4", "10.2.0.5", "10.2.0.6"]}
    ]
    local = decoded(objects[("Secret", "cilium-clustermesh")], "westus")
    assert local["endpoints"] == ["https://clustermesh-apiserver.kube-system.svc:2379"]
    users = yaml.safe_load(objects[("ConfigMap", "clustermesh-remote-users")]["data"]["users.yaml"])
    assert users == {"users": [{"name": "remote-westus", "role": "remote"}]}
    service = objects[("Service", "clustermesh-apiserver")]["spec"]
    assert (service["ports"][0]["port"], service["ports"][0]["nodePort"]) == (2379, 32379)
    assert service["sessionAffinity"] == "ClientIP"
    deployment = objects[("Deployment", "clustermesh-apiserver")]["spec"]
    assert deployment["replicas"] == 2
    assert len(deployment["template"]["spec"]["hostAliases"]) == 3
    names = [c["name"] for c in deployment["template"]["spec"]["containers"]]
    assert names == ["etcd", "apiserver", "kvstoremesh"]
    generate = "clustermesh-apiserver-generate-certs"
    assert {("Job", generate), ("CronJob", generate), ("DaemonSet", "cilium"), ("DaemonSet", "cilium-envoy")} <= set(
        objects
    )
    agent = objects[("DaemonSet", "cilium")]["spec"]["template"]["spec"]
    assert agent["containers"][0]["image"] == "quay.io/cilium/cilium:v1.20.0"
    assert agent["hostNetwork"] is True
    assert config["bpf-lb-sock"] == "false"
    envoy = objects[("DaemonSet", "cilium-envoy")]["spec"]["template"]["spec"]
    assert envoy["containers"][0]["image"].startswith("quay.io/cilium/cilium-envoy:v1.37.5")
    assert {("Namespace", "cilium-secrets"), ("Role", "cilium-config-agent"), ("RoleBinding", "cilium-config-agent"),
            ("Service", "cilium-envoy"), ("Service", "clustermesh-apiserver-metrics")} <= set(objects)  # fmt: skip


def test_one_replica_has_no_session_affinity(values: Obj) -> None:
    values["clustermesh"]["apiserver"]["replicas"] = 1
    assert "sessionAffinity" not in render(values)[("Service", "clustermesh-apiserver")]["spec"]


def test_clusters_may_be_a_map_and_one_may_be_disabled(values: Obj) -> None:
    values["clustermesh"]["config"]["clusters"] = {
        "westus": {"port": 32379, "ips": ["10.2.0.4"]},
        "off": {"enabled": False, "port": 1, "ips": ["10.9.0.4"]},
        "far": {"port": 2379, "address": "far.example.org"},
    }
    secret = render(values)[("Secret", "cilium-kvstoremesh")]
    assert set(secret["data"]) == {"westus", "far"}
    assert decoded(secret, "far")["endpoints"] == ["https://far.example.org:2379"]


def test_without_clustermesh_there_is_none_of_it(values: Obj) -> None:
    del values["clustermesh"]
    names = {name for _, name in render(values)}
    assert not any("clustermesh" in name or "kvstoremesh" in name for name in names)


def test_the_default_auth_mode_knows_one_remote_user(values: Obj) -> None:
    del values["clustermesh"]["apiserver"]["tls"]["authMode"]
    env = render(values)[("Job", "clustermesh-apiserver-generate-certs")]["spec"]["template"]["spec"]["containers"][0][
        "env"
    ]
    certs = {c["name"]: c["commonName"] for c in yaml.safe_load(env[0]["value"])["certs"]}
    assert certs["clustermesh-apiserver-remote-cert"] == "remote"


def test_values_are_merged_as_helm_does() -> None:
    files = {
        "/config/values-01_HelmChart.yaml": b"a: {b: 1, c: 2}\nl: [1]\n",
        "/config/values-10_X.yaml": b"a: {b: 3}\n",
    }
    assert charts.read(files) == {"a": {"b": 3, "c": 2}, "l": [1]}
    assert charts.merge({"a": {"b": 1}}, {"a": None}) == {"a": None}
