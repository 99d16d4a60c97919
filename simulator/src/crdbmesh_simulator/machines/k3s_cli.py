"""The `k3s` command, and `kubectl`, `crictl` and `ctr` when they are links to it (docs.k3s.io, cli)."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.machines import k3s_http
from crdbmesh_simulator.machines.commands.table import Options, parse
from crdbmesh_simulator.machines.internet import Program
from crdbmesh_simulator.machines.process import Process, UnsupportedError

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster

_TOOLS = ("kubectl", "crictl", "ctr")
_GO = "go1.26.1"
_KINDS = {
    "node": "Node", "nodes": "Node", "no": "Node", "pod": "Pod", "pods": "Pod", "po": "Pod", "namespace": "Namespace",
    "namespaces": "Namespace", "ns": "Namespace", "service": "Service", "services": "Service", "svc": "Service",
    "configmap": "ConfigMap", "configmaps": "ConfigMap", "cm": "ConfigMap", "deployment": "Deployment",
    "deployments": "Deployment", "deploy": "Deployment", "daemonset": "DaemonSet", "daemonsets": "DaemonSet",
    "ds": "DaemonSet", "statefulset": "StatefulSet", "statefulsets": "StatefulSet", "sts": "StatefulSet",
    "job": "Job", "jobs": "Job",
}  # fmt: skip


def run(process: Process, program: Program, argv: list[str]) -> int:
    """Run `k3s …`, or the tool it was called as."""
    called = argv[0].removeprefix("k3s-")
    words = [called, *argv[1:]] if called in _TOOLS else argv[1:]
    verb = words[0] if words else ""
    if verb in ("--version", "-v", "version"):
        process.out(f"k3s version {program.version} (simulated)\ngo version {_GO}\n")
        return 0
    if verb == "kubectl":
        return _kubectl(process, program, words[1:])
    if verb == "crictl":
        return _crictl(process, words[1:])
    if verb == "token":
        return _token(process, words[1:])
    if verb == "check-config":
        process.out("STATUS: pass\n")
        return 0
    if verb == "" or verb in ("--help", "-h", "help"):
        process.out("NAME:\n   k3s - Kubernetes, but small and simple\n")
        return 0
    raise UnsupportedError(f"k3s {' '.join(words)}")


def _cluster(process: Process) -> Cluster | None:
    """The cluster of this machine, when its kubeconfig is readable, its server runs and it has a quorum."""
    path = process.env.get("KUBECONFIG", "/etc/rancher/k3s/k3s.yaml")
    try:
        process.read_file(path)
    except PermissionError:
        process.err(f'error: error loading config file "{path}": open {path}: permission denied\n')
        return None
    except OSError:
        process.err(
            "The connection to the server localhost:8080 was refused - did you specify the right host or port?\n"
        )
        return None
    found = k3s_http.find_member(process.machine.world, process.machine.hardware, server=True)
    if found is None:
        process.err(
            "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?\n"
        )
        return None
    if not found[0].has_quorum():
        process.err("Error from server (Timeout): the server was unable to return a response in the time allotted\n")
        return None
    return found[0]


def _kubectl(process: Process, program: Program, words: list[str]) -> int:
    options = parse(words, "An:o:l:w", {
        "all-namespaces": "A", "namespace=": "n", "output=": "o", "raw=": "raw", "no-headers": "no-headers",
        "kubeconfig=": "kubeconfig", "selector=": "l", "client": "client", "request-timeout=": "t", "for=": "for",
        "timeout=": "timeout", "ignore-not-found": "ignore-not-found", "all": "all", "show-labels": "show-labels",
    })  # fmt: skip
    verb, *operands = options.operands or [""]
    if "kubeconfig" in options:
        process.env["KUBECONFIG"] = options.get("kubeconfig")
    if verb == "version":
        process.out(f"Client Version: {program.version}\nKustomize Version: v5.8.0\n")
        if "client" in options:
            return 0
    cluster = _cluster(process)
    if cluster is None:
        return 1
    if verb == "version":
        process.out(f"Server Version: {cluster.version}\n")
        return 0
    if verb == "get" and "raw" in options:
        return _raw(process, options.get("raw"), cluster)
    if verb == "get" and operands:
        return _get(process, options, cluster, operands)
    if verb == "cluster-info":
        process.out("Kubernetes control plane is running at https://127.0.0.1:6443\n")
        return 0
    raise UnsupportedError(f"kubectl {' '.join(words)}")


def _raw(process: Process, path: str, cluster: Cluster) -> int:
    plain = path.partition("?")[0]
    if plain in ("/readyz", "/livez", "/healthz"):
        verbose = "verbose" in path
        process.out(f"[+]ping ok\n[+]log ok\n[+]etcd ok\n{plain[1:]} check passed\n" if verbose else "ok")
        return 0
    if plain == "/version":
        process.out(json.dumps({"major": "1", "minor": cluster.version.split(".")[1], "gitVersion": cluster.version}))
        return 0
    raise UnsupportedError(f"kubectl get --raw {path}")


def _get(process: Process, options: Options, cluster: Cluster, operands: list[str]) -> int:
    kind_text, _, name = operands[0].partition("/")
    kind = _KINDS.get(kind_text.split(".")[0].lower())
    if kind is None:
        raise UnsupportedError(f"kubectl get {operands[0]}")
    names = [name] if name else operands[1:]
    resource = cluster.store.resource(kind)
    namespace = None if "A" in options or kind in ("Node", "Namespace") else options.get("n", "default")
    labels = dict(part.split("=", 1) for part in options.get("l").replace("==", "=").split(",") if "=" in part)
    found: list[dict[str, Any]] = []
    status = 0
    for each in names:
        obj = cluster.store.find(resource, namespace, each)
        if obj is None:
            status = 0 if "ignore-not-found" in options else 1
            process.err("" if "ignore-not-found" in options else
                        f'Error from server (NotFound): {resource.plural} "{each}" not found\n')  # fmt: skip
            continue
        found.append(obj)
    if not names:
        found = cluster.store.list(resource, namespace, labels or None)
    return status or _show(process, options, kind, found, single=bool(names), namespaced="A" in options)


def _show(
    process: Process, options: Options, kind: str, found: list[dict[str, Any]], *, single: bool, namespaced: bool
) -> int:
    form = options.get("o")
    if form == "json":
        document: Any = found[0] if single and len(found) == 1 else {
            "apiVersion": "v1", "items": found, "kind": "List", "metadata": {"resourceVersion": ""},
        }  # fmt: skip
        process.out(json.dumps(document, indent=4) + "\n")
    elif form == "name":
        group = {"Deployment": ".apps", "DaemonSet": ".apps", "StatefulSet": ".apps", "Job": ".batch"}.get(kind, "")
        process.out("".join(f"{kind.lower()}{group}/{obj['metadata']['name']}\n" for obj in found))
    elif form in ("", "wide"):
        if not found:
            process.err("No resources found\n" if namespaced or kind in ("Node", "Namespace") else
                        f"No resources found in {options.get('n', 'default')} namespace.\n")  # fmt: skip
            return 0
        rows = [_row(process, kind, obj, wide=form == "wide") for obj in found]
        if namespaced and kind not in ("Node", "Namespace"):
            rows = [
                {"NAMESPACE": obj["metadata"].get("namespace", ""), **row} for row, obj in zip(rows, found, strict=True)
            ]
        lines = [list(row.values()) for row in rows]
        lines = lines if "no-headers" in options else [list(rows[0]), *lines]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        for line in lines:
            process.out("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n")
    else:
        raise UnsupportedError(f"kubectl get -o {form}")
    return 0


def _row(process: Process, kind: str, obj: dict[str, Any], *, wide: bool) -> dict[str, str]:
    meta, status = obj["metadata"], obj.get("status", {})
    age = _age(process, str(meta.get("creationTimestamp", "")))
    if kind == "Node":
        ready: dict[str, Any] = next((c for c in status.get("conditions", []) if c.get("type") == "Ready"), {})
        roles = sorted(
            key.partition("/")[2] for key in meta.get("labels", {}) if key.startswith("node-role.kubernetes.io/")
        )
        row = {
            "NAME": meta["name"],
            "STATUS": "Ready" if ready.get("status") == "True" else "NotReady",
            "ROLES": ",".join(roles) or "<none>",
            "AGE": age,
            "VERSION": status.get("nodeInfo", {}).get("kubeletVersion", ""),
        }
        if wide:
            own = next((a["address"] for a in status.get("addresses", []) if a.get("type") == "InternalIP"), "<none>")
            row["INTERNAL-IP"] = own
        return row
    if kind == "Pod":
        states = status.get("containerStatuses", [])
        waiting = next((s["state"]["waiting"].get("reason") for s in states if s.get("state", {}).get("waiting")), None)
        total = len(obj.get("spec", {}).get("containers", []))
        row = {"NAME": meta["name"], "READY": f"{sum(bool(s.get('ready')) for s in states)}/{total}",
               "STATUS": str(waiting or status.get("reason") or status.get("phase", "Pending")),
               "RESTARTS": str(sum(int(s.get("restartCount", 0)) for s in states)), "AGE": age}  # fmt: skip
        if wide:
            row |= {"IP": status.get("podIP", "<none>"), "NODE": obj.get("spec", {}).get("nodeName", "<none>")}
        return row
    return {"NAME": meta["name"], "AGE": age}


def _age(process: Process, stamp: str) -> str:
    try:
        then = dt.datetime.fromisoformat(stamp)
    except ValueError:
        return "<unknown>"
    seconds = int((process.machine.world.clock.utc() - then).total_seconds())
    return f"{seconds}s" if seconds < 120 else f"{seconds // 60}m"


def _crictl(process: Process, words: list[str]) -> int:
    if process.actor.uid != 0:
        process.err("FATA[0000] validate service connection: permission denied\n")
        return 1
    found = k3s_http.find_member(process.machine.world, process.machine.hardware)
    if found is None:
        process.err(
            "FATA[0000] validate service connection: dial unix /run/k3s/containerd/containerd.sock: "
            "connect: no such file or directory\n"
        )
        return 1
    cluster, member = found
    pods = [pod for pod in cluster.store.list(cluster.store.resource("Pod"))
            if pod.get("spec", {}).get("nodeName") == member.node_name]  # fmt: skip
    if words[:1] in (["ps"], ["pods"]):
        process.out(
            "CONTAINER   IMAGE   STATE     NAME   POD\n" if words[0] == "ps" else "POD ID   STATE   NAME   NAMESPACE\n"
        )
        for pod in pods:
            meta = pod["metadata"]
            if words[0] == "pods":
                process.out(f"{meta['uid'][:13]}   Ready   {meta['name']}   {meta.get('namespace')}\n")
                continue
            for state in pod.get("status", {}).get("containerStatuses", []):
                if state.get("state", {}).get("running"):
                    process.out(
                        f"{meta['uid'][:13]}   {state.get('image')}   Running   {state['name']}   {meta['name']}\n"
                    )
        return 0
    if words[:1] == ["images"]:
        images = sorted({container["image"] for pod in pods for container in pod["spec"]["containers"]})
        process.out("IMAGE\n" + "".join(f"{image}\n" for image in images))
        return 0
    raise UnsupportedError(f"crictl {' '.join(words)}")


def _token(process: Process, words: list[str]) -> int:
    if words[:1] == ["generate"]:
        chance = process.machine.world.random
        process.out("".join(chance.choice("0123456789abcdef") for _ in range(32)) + "\n")
        return 0
    raise UnsupportedError(f"k3s token {' '.join(words)}")
