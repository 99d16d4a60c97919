"""What k3s brings and keeps."""

from __future__ import annotations

from typing import Any


def test_the_corefile_imports_overrides_before_it_forwards(shared: Any) -> None:
    shared.wait("coredns", lambda: shared.find("ConfigMap", "coredns", "kube-system"))
    text = shared.find("ConfigMap", "coredns", "kube-system")["data"]["Corefile"]
    assert text.index("import /etc/coredns/custom/*.override") < text.index("forward . /etc/resolv.conf")
    assert text.rstrip().endswith("import /etc/coredns/custom/*.server")
    shared.wait(
        "node hosts",
        lambda: "10.1.0.6 node-2\n" in shared.find("ConfigMap", "coredns", "kube-system")["data"]["NodeHosts"],
    )
    assert shared.find("Service", "kube-dns", "kube-system")["spec"]["clusterIP"] == "10.201.0.10"
    volumes = shared.find("Deployment", "coredns", "kube-system")["spec"]["template"]["spec"]["volumes"]
    custom = next(v for v in volumes if v["name"] == "custom-config-volume")
    assert custom["configMap"]["name"] == "coredns-custom"
    assert custom["configMap"]["optional"] is True


def test_an_edit_of_the_corefile_lasts_until_a_server_restarts(bench: Any) -> None:
    def edit(obj: dict[str, Any]) -> None:
        obj["data"]["Corefile"] = ".:53 {\n}\n"

    bench.change("ConfigMap", "coredns", edit, "kube-system")
    bench.stays(120, lambda: bench.find("ConfigMap", "coredns", "kube-system")["data"]["Corefile"] == ".:53 {\n}\n")
    with bench.world.lock:
        bench.members[0].running = False
    bench.stays(30, lambda: True)
    with bench.world.lock:
        bench.members[0].running = True
    bench.wait(
        "the real one",
        lambda: "kubernetes cluster.local" in bench.find("ConfigMap", "coredns", "kube-system")["data"]["Corefile"],
    )


def test_a_scaled_coredns_stays_scaled_when_a_server_restarts(bench: Any) -> None:
    bench.change("Deployment", "coredns", lambda obj: obj["spec"].update(replicas=2), "kube-system")
    with bench.world.lock:
        bench.members[0].running = False
    bench.stays(30, lambda: True)
    with bench.world.lock:
        bench.members[0].running = True
    bench.stays(60, lambda: bench.find("Deployment", "coredns", "kube-system")["spec"]["replicas"] == 2)


def test_disabled_components_are_absent_and_others_present(shared: Any) -> None:
    assert shared.find("HelmChart", "traefik", "kube-system") is None
    shared.wait("metrics-server", lambda: shared.ready("Deployment", "metrics-server", "kube-system"))
    marks = shared.find("StorageClass", "local-path", None)["metadata"]["annotations"]
    assert marks["storageclass.kubernetes.io/is-default-class"] == "true"
    assert shared.find("Addon", "coredns", "kube-system")["spec"]["source"].endswith("/coredns.yaml")


def test_each_namespace_gets_an_account_and_the_root_certificate(shared: Any) -> None:
    shared.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fresh"}})
    shared.wait("the account", lambda: shared.find("ServiceAccount", "default", "fresh"))
    shared.wait("the certificate", lambda: shared.find("ConfigMap", "kube-root-ca.crt", "fresh"))
    assert shared.find("ConfigMap", "kube-root-ca.crt", "fresh")["data"]["ca.crt"] == shared.cluster.authority.ca_pem
