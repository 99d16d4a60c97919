"""kubectl against the API: what people and scripts do with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

Obj = dict[str, Any]
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "app:1", ports: [{containerPort: 80}]}
"""


def bare(value: Any) -> Any:
    """An object without what is empty, or said by the server only."""
    if isinstance(value, dict):
        kept = {
            key: bare(each) for key, each in value.items() if key not in ("creationTimestamp", "status", "namespace")
        }
        return {key: each for key, each in kept.items() if each not in (None, {}, [])}
    return [bare(each) for each in value] if isinstance(value, list) else value


def test_apply_creates_configures_and_leaves_alone(kubectl: Any) -> None:
    assert kubectl("apply", "-f", "-", stdin=WEB) == "deployment.apps/web created\n"
    assert kubectl("apply", "-f", "-", stdin=WEB) == "deployment.apps/web unchanged\n"
    changed = WEB.replace("replicas: 2", "replicas: 3")
    assert kubectl("apply", "-f", "-", stdin=changed) == "deployment.apps/web configured\n"
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "3"


def test_server_side_apply_takes_over_and_reports_conflicts(kubectl: Any) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("scale", "deploy/web", "--replicas=5")
    complaint = kubectl("apply", "--server-side", "-f", "-", stdin=WEB, fails=True)
    assert 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' in complaint
    done = kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=WEB)
    assert done == "deployment.apps/web serverside-applied\n"
    managed = json.loads(kubectl("get", "deploy/web", "-o", "json", "--show-managed-fields"))["metadata"][
        "managedFields"
    ]
    assert "kubectl-client-side-apply" not in [each["manager"] for each in managed]


def test_a_typo_is_refused_with_its_path(kubectl: Any) -> None:
    complaint = kubectl("apply", "-f", "-", stdin=WEB.replace("replicas:", "replicass:"), fails=True)
    assert 'strict decoding error: unknown field "spec.replicass"' in complaint


def test_get_prints_wide_columns(api: Any, kubectl: Any) -> None:
    api.run_pod("p")
    kubectl("apply", "-f", "-", stdin=WEB)
    pods = kubectl("get", "pods", "-o", "wide").splitlines()
    assert pods[0].split() == [
        "NAME",
        "READY",
        "STATUS",
        "RESTARTS",
        "AGE",
        "IP",
        "NODE",
        "NOMINATED",
        "NODE",
        "READINESS",
        "GATES",
    ]
    assert pods[1].split()[:4] == ["p", "1/1", "Running", "0"]
    assert pods[1].split()[5:7] == ["10.42.0.5", "node1"]
    deployments = kubectl("get", "deploy", "-o", "wide", "--no-headers").split()
    assert (deployments[:4], deployments[5:]) == (["web", "0/2", "0", "0"], ["main", "app:1", "app=web"])
    assert "pod/p" in kubectl("get", "all")
    assert "NAMESPACE" in kubectl("get", "sa", "-A")


def test_describe_reads_like_the_real_thing(api: Any, kubectl: Any) -> None:
    api.run_pod("p")
    pod = kubectl("describe", "pod", "p")
    assert "Service Account:  default" in pod
    assert "kube-api-access-" in pod
    kubectl("apply", "-f", "-", stdin=WEB)
    assert "StrategyType:           RollingUpdate" in kubectl("describe", "deploy", "web")


def test_exec_logs_and_exit_codes(api: Any, kubectl: Any) -> None:
    api.run_pod("p")
    assert kubectl("exec", "p", "--", "ls", "-l") == "default p main ls -l\n"
    assert kubectl("exec", "-i", "p", "--", "cat", stdin="hello") == "hello"
    assert "command terminated with exit code 3" in kubectl("exec", "p", "--", "false", fails=True)
    assert kubectl("logs", "p", "--tail=2") == "two\nthree\n"


CREATED = [
    "configmap c --from-literal=a=b",
    "deployment d --image=app:1 --replicas=3 --port=80",
    "service nodeport np --tcp=80:8080 --node-port=30100",
    "role r --verb=get,list --resource=pods",
    "clusterrolebinding b --clusterrole=view --serviceaccount=default:sa",
    "job j --image=app:1 -- run it",
    "cronjob cj --image=app:1 --schedule=@daily",
    "poddisruptionbudget pdb --selector=app=x --max-unavailable=50%",
    "ingress i --rule=example.com/x*=s:80,tls=t --class=nginx",
]


@pytest.mark.parametrize("command", CREATED)
def test_create_sends_what_it_shows(api: Any, kubectl: Any, command: str) -> None:
    words = command.split()
    at = words.index("--") if "--" in words else len(words)
    shown = json.loads(kubectl("create", *words[:at], "--dry-run=client", "-o", "json", *words[at:]))
    kept = json.loads(kubectl("create", *words[:at], "-o", "json", *words[at:]))
    wanted = bare(shown)

    def covers(have: Any, want: Any) -> bool:
        if isinstance(want, dict):
            return isinstance(have, dict) and all(key in have and covers(have[key], want[key]) for key in want)
        if isinstance(want, list):
            return len(have) == len(want) and all(covers(mine, theirs) for mine, theirs in zip(have, want, strict=True))
        return bool(have == want)

    assert covers(kept, wanted), kept
    assert api.world.unknown == []


def test_patches_labels_and_rollouts(kubectl: Any) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("set", "image", "deploy/web", "main=app:2")
    kubectl("label", "deploy/web", "tier=front")
    kubectl("annotate", "deploy/web", "note=x")
    kubectl("patch", "deploy/web", "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":4}]')
    kubectl("rollout", "restart", "deploy/web")
    found = json.loads(kubectl("get", "deploy/web", "-o", "json"))
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "app:2"
    assert (found["metadata"]["labels"]["tier"], found["spec"]["replicas"]) == ("front", 4)
    assert "kubectl.kubernetes.io/restartedAt" in found["spec"]["template"]["metadata"]["annotations"]


def test_delete_and_wait(api: Any, kubectl: Any) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    assert kubectl("delete", "-f", "-", stdin=WEB) == 'deployment.apps "web" deleted\n'
    assert 'deployments.apps "web" not found' in kubectl("get", "deploy", "web", fails=True)
    api.run_pod("p")
    assert kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=5s") == "pod/p condition met\n"
    assert "force deleted" in kubectl("delete", "pod", "p", "--force")


def test_questions_about_the_server(kubectl: Any) -> None:
    assert "Server Version: v1.36.4+k3s1" in kubectl("version")
    assert "yes" in kubectl("auth", "can-i", "create", "pods")
    assert "system:admin" in kubectl("auth", "whoami")
    assert "readyz check passed" in kubectl("get", "--raw", "/readyz?verbose")
    assert "FIELD: replicas <integer>" in kubectl("explain", "deployment.spec.replicas")
    assert "statefulsets" in kubectl("api-resources", "--api-group=apps", "-o", "name")


def test_events_of_an_object_are_shown(api: Any, kubectl: Any) -> None:
    made = api.run_pod("p")
    about = {"kind": "Pod", "namespace": "default", "name": "p", "uid": made["metadata"]["uid"], "apiVersion": "v1"}
    stamp = api.store.timestamp()
    event = {
        "metadata": {"name": "p.1"},
        "involvedObject": about,
        "reason": "Pulled",
        "message": "got it",
        "type": "Normal",
        "count": 1,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "source": {"component": "kubelet"},
    }
    api.make("/api/v1/namespaces/default/events", event)
    assert "Pulled" in kubectl("describe", "pod", "p")
    assert kubectl("get", "events", "--no-headers").split()[1:] == ["Normal", "Pulled", "pod/p", "got", "it"]
