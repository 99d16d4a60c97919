"""`/livez`, `/readyz` and `/healthz`: whether a server and its datastore are well, as a whole or check by check.

After `staging/src/k8s.io/apiserver/pkg/server/healthz` of Kubernetes 1.36.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.kubernetes.api.negotiation import is_true

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member

_KINDS = ("livez", "readyz", "healthz")
_HOOKS = (
    "generic-apiserver-start-informers", "priority-and-fairness-filter", "start-apiextensions-informers",
    "start-apiextensions-controllers", "crd-informer-synced", "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes", "start-cluster-authentication-info-controller",
    "start-legacy-token-tracking-controller", "aggregator-reload-proxy-client-cert", "start-kube-aggregator-informers",
    "apiservice-registration-controller", "apiservice-discovery-controller", "kube-apiserver-autoregistration",
)  # fmt: skip


def names(path: str) -> bool:
    """Whether a path asks for health."""
    return path.strip("/").partition("/")[0] in _KINDS


def answer(cluster: Cluster, member: Member, request: web.Request) -> web.Response:
    """Answer with all checks, or with the one that the path names.

    Raises:
        StatusError: 404, there is no such check.
    """
    kind, _, single = request.path.strip("/").partition("/")
    healthy = cluster.has_quorum() and member.running
    checks = _checks(kind)
    if single:
        if single not in checks:
            raise status.unknown_path()
        if healthy or not single.startswith("etcd"):
            return _text("ok")
        return _text("internal server error: etcd failed: reason withheld\n", code=500)
    excluded = set(request.query.getall("exclude", []))
    lines: list[str] = []
    failed = False
    for name in checks:
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif healthy or not name.startswith("etcd"):
            lines.append(f"[+]{name} ok")
        else:
            lines.append(f"[-]{name} failed: reason withheld")
            failed = True
    unmatched = sorted(excluded - set(checks))
    if unmatched:
        quoted = ", ".join(f'"{name}"' for name in unmatched)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
    if not failed and not ("verbose" in request.query and is_true(request.query["verbose"])):
        return _text("ok")
    text = "\n".join([*lines, f"{kind} check {'failed' if failed else 'passed'}", ""])
    return _text(text, code=500 if failed else 200)


def _checks(kind: str) -> list[str]:
    found = ["ping", "log", "etcd", *(("etcd-readiness",) if kind == "readyz" else ())]
    if kind == "readyz":
        found.append("informer-sync")
    found += [f"poststarthook/{name}" for name in _HOOKS]
    return [*found, "autoregister-completion", *(("shutdown",) if kind == "readyz" else ())]


def _text(text: str, *, code: int = 200) -> web.Response:
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return web.Response(status=code, text=text, headers=headers)
