"""One Kubernetes cluster: apply, compare, find, wait, exec. Objects are plain dicts.

Objects are applied server-side by one field manager, so what others own is left alone and taking it over is an error
that names them. Waiting is by watch (`kube_watch`). A kind that the API does not know has no objects: it is found
absent, and can be waited for, but not applied. Messages about Secrets never quote the server, which may quote data.
"""

from __future__ import annotations

import os
import shlex
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

from crdbmesh.clients import waiting
from crdbmesh.clients.clock import REAL, Clock
from crdbmesh.clients.kube import (
    collection as kube_collection,
)
from crdbmesh.clients.kube import (
    compare as kube_compare,
)
from crdbmesh.clients.kube import (
    exec as kube_exec,
)
from crdbmesh.clients.kube import (
    http as kube_http,
)
from crdbmesh.clients.kube import (
    watch as kube_watch,
)
from crdbmesh.errors import KubeError

Object = dict[str, Any]
Objects = list[Object]
Lines = list[str]
ExecResult = kube_exec.ExecResult

EXEC_TIMEOUT_S = 60.0
_APPLY_ATTEMPTS = 3
"""How often an apply that lost a race against another writer is sent."""


class Kube:
    """The API of one cluster; safe to share between threads.

    Args:
        kubeconfig: parsed; its current context, with inline credentials.
        name: what to call the cluster in messages.
        field_manager: in whose name objects are applied.
        environ: where proxies are named.
        stop: once set, waits end with StoppedError.
        clock: the cloud's.
    """

    def __init__(
        self,
        kubeconfig: Mapping[str, Any],
        *,
        name: str,
        field_manager: str = "crdbmesh",
        environ: Mapping[str, str] = os.environ,
        stop: threading.Event | None = None,
        clock: Clock = REAL,
    ) -> None:
        self.name = name
        self._stop = stop or threading.Event()
        self.field_manager = field_manager
        self._access = kube_http.access(kubeconfig, environ)
        self._http = kube_http.Http(self._access, name=name, clock=clock)
        self._kinds = kube_collection.Kinds(self._http)

    def __repr__(self) -> str:
        return f"Kube({self.name}, {self._access.server})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections; the next call opens new ones."""
        self._http.close()

    def find(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """An object, or None when it is absent.

        Raises:
            KubeError: it could not be read.
        """
        known = self._kinds.find(api_version, kind)
        if known is None:
            return None
        answer = self._http.request("GET", known.item(namespace, name))
        if answer.status == 404:
            return None
        return self._http.checked(
            answer, f"read {_called(api_version, kind, namespace, name)}", secret=_is_secret(kind)
        )

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str | Mapping[str, str] | None = None,
        fields: str | Mapping[str, str] | None = None,
    ) -> Objects:
        """All objects of a kind: of one namespace, or of all; selected by labels and fields, if given.

        Raises:
            KubeError: they could not be read.
        """
        known = self._kinds.find(api_version, kind)
        if known is None:
            return []
        found = kube_collection.list_all(self._http, known, namespace, kube_collection.selectors(labels, fields))
        if found is None:
            self._kinds.forget(api_version, kind)
        return found or []

    def apply(self, obj: Mapping[str, Any], *, force: bool = False) -> Object:
        """Make an object be as given, in the fields given; others' fields stay theirs.

        Args:
            obj: the object.
            force: take over fields that others own with another value.

        Raises:
            KubeError: refused; on a conflict it names who owns which field.
        """
        return self._apply(obj, force=force, dry_run=False)

    def covers(self, obj: Mapping[str, Any]) -> Lines:
        """What applying an object would change, without changing it: empty when it already is as given.

        Each difference is a line such as `spec.replicas: 2 -> 3`; values of Secrets are not shown.

        Raises:
            KubeError: the object is not valid, or could not be read.
        """
        api_version, kind, namespace, name = _identity(obj)
        live = self.find(api_version, kind, name, namespace)
        if live is None:
            return [f"{_called(api_version, kind, namespace, name)} is absent"]
        wanted = self._apply(obj, force=True, dry_run=True)
        return kube_compare.differences(live, wanted, secret=_is_secret(kind))

    def delete(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        wait: bool,
        deadline_s: float = 120.0,
        say: waiting.Say = waiting.unsaid,
    ) -> None:
        """Delete an object and what it owns; absent is done.

        Args:
            api_version: of the object.
            kind: of the object.
            name: of the object.
            namespace: of the object.
            wait: until it is gone, which its finalizers may delay.
            deadline_s: for that.
            say: told what is waited for.

        Raises:
            KubeError: refused.
            WaitError: it was not gone in time.
        """
        known = self._kinds.find(api_version, kind)
        if known is None:
            return
        called = _called(api_version, kind, namespace, name)
        answer = self._http.request("DELETE", known.item(namespace, name), query={"propagationPolicy": "Background"})
        if answer.status == 404:
            return
        document = self._http.checked(answer, f"delete {called}", secret=_is_secret(kind))
        if not wait:
            return
        uid = _uid(document)

        def gone(found: Object | None) -> str | None:
            if found is None or (uid is not None and _uid(found) != uid):
                return None
            finalizers = found["metadata"].get("finalizers")
            return f"still there, held by {', '.join(finalizers)}" if finalizers else "still there"

        self.wait(api_version, kind, name, namespace, gone, awaited=f"{called} gone", deadline_s=deadline_s, say=say)

    def wait(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str | None,
        until: Callable[[Object | None], str | None],
        *,
        awaited: str,
        deadline_s: float,
        say: waiting.Say = waiting.unsaid,
    ) -> Object | None:
        """Watch one object until it is as wanted, and return it as it then is.

        Args:
            api_version: of the object.
            kind: of the object.
            name: of the object.
            namespace: of the object.
            until: given the object, or None while it is absent: None when satisfied, else what is seen or missing.
            awaited: what is waited for, a noun phrase.
            deadline_s: how long at most; an API server that does not answer is waited for too.
            say: told whenever something else is seen.

        Raises:
            WaitError: it was not in time.
            StoppedError: the operator interrupted.
            KubeError: the API server refused.
        """
        watch = self._watch(
            api_version, kind, namespace or "default", {"fieldSelector": f"metadata.name={name}"},
            awaited=awaited, deadline_s=deadline_s, say=say,
        )  # fmt: skip
        found = watch.until(lambda objects: until(objects[0] if objects else None))
        return found[0] if found else None

    def wait_all(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        until: Callable[[Objects], str | None],
        *,
        labels: str | Mapping[str, str] | None = None,
        awaited: str,
        deadline_s: float,
        say: waiting.Say = waiting.unsaid,
    ) -> Objects:
        """Watch the objects that a label selector selects until they are, together, as wanted. See `wait`."""
        watch = self._watch(
            api_version, kind, namespace, kube_collection.selectors(labels, None),
            awaited=awaited, deadline_s=deadline_s, say=say,
        )  # fmt: skip
        return watch.until(until)

    def exec(
        self,
        namespace: str,
        pod: str,
        argv: Sequence[str],
        *,
        container: str | None = None,
        stdin: bytes = b"",
        timeout_s: float = EXEC_TIMEOUT_S,
    ) -> ExecResult:
        """Run a command in a pod. A non-zero status is a value, not an error.

        Args:
            namespace: of the pod.
            pod: its name.
            argv: the command, without a shell; no secrets in it.
            container: which one; the pod's only or default one when None.
            stdin: what the command reads; it is at the end of its input after that.
            timeout_s: at most.

        Raises:
            KubeError: it could not be started, or the stream broke before its status was known.
            WaitError: it did not end in time.
        """
        return kube_exec.execute(
            self._access,
            f"{_pod_path(namespace, pod)}/exec",
            [*argv],
            container=container,
            stdin=stdin,
            timeout_s=timeout_s,
            clock=self._http.clock,
            doing=f"{self.name}: `{textwrap.shorten(shlex.join(argv), 100, placeholder=' …')}` in {namespace}/{pod}",
        )

    def logs(
        self,
        namespace: str,
        pod: str,
        *,
        container: str | None = None,
        tail_lines: int | None = 100,
        previous: bool = False,
    ) -> str:
        """The end of what a container printed.

        Args:
            namespace: of the pod.
            pod: its name.
            container: which one; the pod's only or default one when None.
            tail_lines: how much; all of it when None.
            previous: of the container before its last restart.

        Raises:
            KubeError: there is no such log.
        """
        query = {"previous": "true"} if previous else {}
        if container:
            query["container"] = container
        if tail_lines is not None:
            query["tailLines"] = str(tail_lines)
        answer = self._http.request("GET", f"{_pod_path(namespace, pod)}/log", query=query, accept="*/*")
        if not answer.ok:
            raise self._http.error(f"read the log of {namespace}/{pod}", answer)
        return answer.body.decode("utf-8", errors="replace")

    def proxy_get(
        self, namespace: str, pod: str, port: int, path: str, *, tls: bool, timeout_s: float = 15.0
    ) -> tuple[int, str]:
        """Ask a pod's HTTP server, through the API server: its status and body, whatever they are.

        Args:
            namespace: of the pod.
            pod: its name.
            port: of its HTTP server.
            path: with its query, if any.
            tls: whether it speaks HTTPS; its certificate is not verified.
            timeout_s: at most.

        Raises:
            KubeError: the pod could not be asked: it is not there, or does not answer.
        """
        target = f"{'https:' if tls else ''}{pod}:{port}"
        bare, _, query = path.lstrip("/").partition("?")
        url = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{target}/proxy/{quote(bare)}"
        answer = self._http.request(
            "GET", f"{url}?{query}" if query else url, accept="*/*", retry_statuses=frozenset({429}),
            timeout_s=timeout_s,
        )  # fmt: skip
        document = answer.document() if not answer.ok else {}
        if document.get("kind") == "Status" and document.get("apiVersion") == "v1":
            raise self._http.error(f"ask {namespace}/{pod}:{port} for {path}", answer)
        return answer.status, answer.body.decode("utf-8", errors="replace")

    def version(self) -> str:
        """The API server's version, such as `v1.36.4+k3s1`."""
        answer = self._http.request("GET", "/version")
        return str(self._http.checked(answer, "read the version")["gitVersion"])

    def _apply(self, obj: Mapping[str, Any], *, force: bool, dry_run: bool) -> Object:
        api_version, kind, namespace, name = _identity(obj)
        doing = f"{'compare' if dry_run else 'apply'} {_called(api_version, kind, namespace, name)}"
        known = self._kinds.find(api_version, kind)
        if known is None:
            raise KubeError(f"{self.name}: {doing}: the API does not know this kind", status=404, reason="NotFound")
        query = {
            "fieldManager": self.field_manager,
            "fieldValidation": "Strict",
            "force": "true" if force else "false",
        }
        if dry_run:
            query["dryRun"] = "All"
        for _ in range(_APPLY_ATTEMPTS):
            answer = self._http.request(
                "PATCH", known.item(namespace, name), query=query, body=dict(obj), content_type=kube_http.APPLY_PATCH
            )
            if answer.status == 404:
                self._kinds.forget(api_version, kind)
            if not kube_http.is_race(answer):
                break
        return self._http.checked(answer, doing, secret=_is_secret(kind))

    def _watch(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        selectors: Mapping[str, str],
        *,
        awaited: str,
        deadline_s: float,
        say: waiting.Say,
    ) -> kube_watch.Wait:
        def find_path() -> str | None:
            known = self._kinds.find(api_version, kind, attempts=1)
            return known.collection(namespace) if known else None

        return kube_watch.Wait(
            self._http,
            find_path=find_path,
            forget=lambda: self._kinds.forget(api_version, kind),
            selectors=selectors,
            awaited=awaited,
            deadline_s=deadline_s,
            say=say,
            stop=self._stop,
        )


def _identity(obj: Mapping[str, Any]) -> tuple[str, str, str | None, str]:
    metadata = obj["metadata"]
    return str(obj["apiVersion"]), str(obj["kind"]), metadata.get("namespace"), str(metadata["name"])


def _called(api_version: str, kind: str, namespace: str | None, name: str) -> str:
    return f"{api_version} {kind} {f'{namespace}/' if namespace else ''}{name}"


def _is_secret(kind: str) -> bool:
    return kind == "Secret"


def _uid(document: Mapping[str, Any]) -> str | None:
    """The uid in an object, or in the Status that tells of its deletion."""
    uid = (document.get("metadata") or {}).get("uid") or (document.get("details") or {}).get("uid")
    return str(uid) if uid else None


def _pod_path(namespace: str, pod: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}"
