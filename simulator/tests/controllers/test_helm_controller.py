"""HelmCharts: bootstrap, values, releases, failure."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cryptography import x509

if TYPE_CHECKING:
    from collections.abc import Callable

Obj = dict[str, Any]
SYSTEM = "kube-system"


def log(bench: Any) -> str:
    for pod in bench.list("Pod", SYSTEM, {"helmcharts.helm.cattle.io/chart": "cilium"}):
        try:
            return "\n".join(line.text for line in bench.pods.logs(SYSTEM, pod["metadata"]["name"], None))
        except LookupError:
            continue
    return ""


def done(bench: Any, name: str = "helm-install-cilium") -> bool:
    return bool((bench.find("Job", name, SYSTEM) or {}).get("status", {}).get("succeeded"))


def test_a_bootstrap_chart_brings_the_pod_network_up(bare: Any, values: Obj, install: Callable[..., None]) -> None:
    install(bare, values)
    bare.wait("ready nodes", lambda: bare.nodes_ready() == 3)
    bare.wait("the release", lambda: done(bare))
    bare.wait("clustermesh", lambda: bare.ready("Deployment", "clustermesh-apiserver", SYSTEM))
    ranges = {n["spec"]["ipam"]["podCIDRs"][0] for n in bare.list("CiliumNode")}
    assert len(ranges) == 3
    assert all(r.startswith("10.101.") and r.endswith("/24") for r in ranges)
    node = bare.find("Node", "node-0", None)
    bare.wait(
        "CiliumIsUp",
        lambda: any(c.get("reason") == "CiliumIsUp" for c in bare.find("Node", "node-0", None)["status"]["conditions"]),
    )
    assert not node["spec"].get("taints")
    release = bare.find("Secret", "sh.helm.release.v1.cilium.v1", SYSTEM)
    assert release["metadata"]["labels"]["status"] == "deployed"
    held = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(release["data"]["release"]))))
    assert held["chart"]["metadata"]["version"] == "1.20.0"
    ca = x509.load_pem_x509_certificate(base64.b64decode(bare.find("Secret", "cilium-ca", SYSTEM)["data"]["ca.crt"]))
    for short, name in (
        ("server", "clustermesh-apiserver.kube-system.svc"),
        ("remote", "remote-eastus"),
        ("local", "local-eastus"),
    ):
        secret = bare.find("Secret", f"clustermesh-apiserver-{short}-cert", SYSTEM)
        leaf = x509.load_pem_x509_certificate(base64.b64decode(secret["data"]["tls.crt"]))
        leaf.verify_directly_issued_by(ca)
        assert leaf.subject.rfc4514_string() == f"CN={name}"
    status = bare.find("HelmChart", "cilium", SYSTEM)["status"]
    assert status["jobName"] == "helm-install-cilium"
    assert bare.world.unknown == []


def test_without_bootstrap_the_job_never_starts(bare: Any, values: Obj, install: Callable[..., None]) -> None:
    install(bare, values, bootstrap=False)
    bare.wait("the job", lambda: bare.find("Job", "helm-install-cilium", SYSTEM))
    bare.stays(300, lambda: not done(bare) and bare.find("DaemonSet", "cilium", SYSTEM) is None)
    pod = bare.list("Pod", SYSTEM, {"helmcharts.helm.cattle.io/chart": "cilium"})[0]
    assert not pod["spec"].get("nodeName")


def test_without_a_way_to_the_api_the_agents_network_stays_down(
    bare: Any, values: Obj, install: Callable[..., None]
) -> None:
    del values["k8sServiceHost"]
    install(bare, values)
    bare.wait("the agents", lambda: bare.find("DaemonSet", "cilium", SYSTEM))
    bare.stays(400, lambda: bare.nodes_ready() == 0)
    assert not bare.list("CiliumNode")


def test_a_wrong_archive_path_fails_the_job_in_helms_words(
    bare: Any, values: Obj, install: Callable[..., None]
) -> None:
    install(bare, values, chart="https://%{KUBERNETES_API}%/static/charts/other.tgz")
    bare.wait("the error", lambda: "404 Not Found" in log(bare))
    assert bare.find("DaemonSet", "cilium", SYSTEM) is None


def test_a_chart_from_elsewhere_is_not_known(bare: Any, values: Obj, install: Callable[..., None]) -> None:
    install(bare, values, chart="cilium", repo="https://helm.cilium.io", version="1.20.0")
    bare.wait("the error", lambda: "not found" in log(bare))
    assert "only archives of the server's own" in bare.world.unknown[0].what


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("clustermesh.apiserver.replicas", "two", "values don't meet the specifications of the schema"),
    ],
)
def test_impossible_values_fail_the_chart(
    bare: Any, values: Obj, install: Callable[..., None], path: str, value: object, words: str
) -> None:
    at = values
    *parents, last = path.split(".")
    for word in parents:
        at = at[word]
    at[last] = value
    install(bare, values)
    bare.wait("the error", lambda: words in log(bare))
    assert bare.find("DaemonSet", "cilium", SYSTEM) is None


def test_an_unknown_key_is_recorded_and_does_not_stop_helm(
    bare: Any, values: Obj, install: Callable[..., None]
) -> None:
    values["clustermesh"]["apiServer"] = {"replicas": 2}
    install(bare, values)
    bare.wait("the DaemonSet", lambda: bare.find("DaemonSet", "cilium", SYSTEM))
    assert [u.what for u in bare.world.unknown] == [
        "value clustermesh.apiServer of chart cilium 1.20.0 is not part of this world"
    ]


def test_a_change_runs_the_job_again(bare: Any, values: Obj, install: Callable[..., None]) -> None:
    install(bare, values)
    bare.wait("the first release", lambda: done(bare))
    changed = copy.deepcopy(values)
    changed["clustermesh"]["config"]["clusters"].append({"name": "northeurope", "port": 32379, "ips": ["10.3.0.4"]})
    bare.change("HelmChart", "cilium", lambda obj: obj["spec"].update(valuesContent=yaml.safe_dump(changed)), SYSTEM)
    bare.wait("the second", lambda: bare.find("Secret", "sh.helm.release.v1.cilium.v2", SYSTEM))
    bare.wait("its end", lambda: done(bare))
    assert set(bare.find("Secret", "cilium-kvstoremesh", SYSTEM)["data"]) == {"westus", "northeurope"}
    labels = bare.find("Secret", "sh.helm.release.v1.cilium.v1", SYSTEM)["metadata"]["labels"]
    assert labels["status"] == "superseded"


def test_an_upgrade_that_was_broken_off_is_done_again(bare: Any, values: Obj, install: Callable[..., None]) -> None:
    install(bare, values)
    bare.wait("the first release", lambda: done(bare))
    first = "sh.helm.release.v1.cilium.v1"
    bare.change("Secret", first, lambda obj: obj["metadata"]["labels"].update(status="pending-upgrade"), SYSTEM)
    bare.delete("Job", "helm-install-cilium", SYSTEM)
    bare.wait("the second", lambda: bare.find("Secret", "sh.helm.release.v1.cilium.v2", SYSTEM))
    bare.wait("its end", lambda: done(bare))
