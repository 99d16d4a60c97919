"""One Kubernetes cluster: apply, compare, find, wait, exec. Objects are plain dicts.

Objects are applied server-side by one field manager, so what others own is left alone and taking it over is an error
that names them. Waiting is by watch. A kind that the API does not know has no objects: it is found absent, and can be
waited for, but not applied. Messages about Secrets never quote the server, which may quote data.
"""

import re
import shlex
import socket
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

from crdbmesh.clients import waiting
from crdbmesh.clients.clock import REAL, Clock
from crdbmesh.clients.kube import endpoint, logs
from crdbmesh.clients.kube.connection import Connection
from crdbmesh.clients.kube.exec import Ends, attach, execute
from crdbmesh.clients.kube.failures import Answer
from crdbmesh.clients.kube.forward import carry
from crdbmesh.clients.kube.watch import Watch
from crdbmesh.clients.output import CommandResult
from crdbmesh.desired import Object
from crdbmesh.errors import KubeError
from crdbmesh.redaction import cut_apart

Objects = list[Object]
Lines = list[str]

EXEC_TIMEOUT_S = 60.0
_VERSION_TIMEOUT_S = 5.0
_APPLY_ATTEMPTS = 3
"""The number of times that an apply is sent which loses a race against another writer."""
_APPLY_PATCH = "application/apply-patch+yaml"
_CLUSTER_WIDE = frozenset({"Node", "Namespace", "CustomResourceDefinition", "PersistentVolume", "StorageClass"})
_CLUSTER_WIDE |= {"PriorityClass", "CiliumClusterwideNetworkPolicy"}
"""Kinds that are in no namespace."""
_PAGE = 250
_RESTARTS = 3
"""The number of times that a list whose pages expired is begun again, before it is read in one piece."""
_SERVERS_OWN = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
"""The metadata that the server keeps for itself."""
_VALUE_CHARACTERS = 60
_ABSENT = object()


class Kube(AbstractContextManager["Kube", None]):
    """The API of one cluster; safe to share between threads.

    `kubeconfig` is parsed, its credentials inline; `name` stands for the cluster in messages. Once `stop` is set, waits
    and commands end with StoppedError; what has not come about at its deadline is a WaitError. Every method raises
    KubeError when the API server refuses or does not answer; that of a conflict names who owns which field.
    """

    def __init__(
        self,
        kubeconfig: Mapping[str, Any],
        *,
        name: str,
        field_manager: str = "crdbmesh",
        stop: threading.Event | None = None,
        clock: Clock = REAL,
    ) -> None:
        self.name = name
        self.field_manager = field_manager
        found = endpoint.read(kubeconfig)
        self._connection = Connection(found, name=name, stop=stop or threading.Event(), clock=clock)

    def __repr__(self) -> str:
        return f"Kube({self.name}, {self._connection.endpoint.server})"

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections; the next call opens new ones."""
        self._connection.close()

    def find(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return an object, or None when it is absent."""
        answer = self._connection.request("GET", _item(api_version, kind, namespace, name))
        if answer.status == 404:
            return None
        doing = f"{self.name}: read {_called(api_version, kind, namespace, name)}"
        return answer.checked(doing, secret=_is_secret(kind))

    def list(self, api_version: str, kind: str, namespace: str | None = None, *, labels: str | None = None) -> Objects:
        """Return all objects of a kind: of one namespace, or of all; those that a label selector selects, if given.

        Long lists come in pages (Kubernetes' API concepts, "Retrieving large results sets in chunks"); a list that
        expires midway, 410 Gone, is begun again.
        """
        path = _collection(api_version, kind, namespace)
        query = {"labelSelector": labels} if labels else {}
        doing = f"{self.name}: list {api_version} {kind}"
        for limit in (*[_PAGE] * _RESTARTS, None):
            try:
                asked = {**query, "limit": str(limit)} if limit else query
                found = self._connection.list(path, asked, doing, secret=_is_secret(kind))
            except KubeError as error:
                if error.status != 410:
                    raise
            else:
                return found[0] if found else []
        raise KubeError(f"{doing}: the list expires while it is read", status=410)

    def apply(self, obj: Mapping[str, Any], *, force: bool = False) -> Object:
        """Make an object be as given, in the fields given; others' fields stay theirs.

        `force` takes over fields that others own with another value.
        """
        return self._apply(obj, force=force, dry_run=False)

    def covers(self, obj: Mapping[str, Any]) -> Lines:
        """Return what applying an object would change, without changing it: empty when it already is as given.

        Each difference is a line such as `spec.replicas: 2 -> 3`; values of Secrets are not shown.
        """
        api_version, kind, namespace, name = _identity(obj)
        live = self.find(api_version, kind, name, namespace)
        if live is None:
            return [f"{_called(api_version, kind, namespace, name)} is absent"]
        wanted = self._apply(obj, force=True, dry_run=True)
        return differences(live, wanted, secret=_is_secret(kind))

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
        """Delete an object and what it owns; absent is done. With `wait`, return once its finalizers have let it go."""
        called = _called(api_version, kind, namespace, name)
        path = _item(api_version, kind, namespace, name)
        answer = self._connection.request("DELETE", path, query={"propagationPolicy": "Background"})
        if answer.status == 404:
            return
        document = answer.checked(f"{self.name}: delete {called}", secret=_is_secret(kind))
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

        `until` is given the object, or None while it is absent, and returns None when satisfied, else what is seen or
        missing; `say` is told whenever that changes. An API server that does not answer is waited for too.
        """
        path = _collection(api_version, kind, namespace or "default")
        watch = self._watch(path, {"fieldSelector": f"metadata.name={name}"}, awaited, deadline_s, say)
        found = watch.until(lambda objects: until(objects[0] if objects else None))
        return found[0] if found else None

    def wait_all(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        until: Callable[[Objects], str | None],
        *,
        labels: str | None = None,
        awaited: str,
        deadline_s: float,
        say: waiting.Say = waiting.unsaid,
    ) -> Objects:
        """Watch the objects that a label selector selects until they are, together, as wanted. See `wait`."""
        path = _collection(api_version, kind, namespace)
        selector = {"labelSelector": labels} if labels else {}
        return self._watch(path, selector, awaited, deadline_s, say).until(until)

    def exec(
        self,
        namespace: str,
        pod: str,
        argv: Sequence[str],
        *,
        container: str | None = None,
        timeout_s: float = EXEC_TIMEOUT_S,
        stdin: bytes | None = None,
    ) -> CommandResult:
        """Run a command in a pod. A non-zero status is a value, not an error.

        `argv` shows in audit logs, so secrets are given by `stdin`; no shell reads it. The container is the pod's only
        or default one unless named.
        """
        doing, path = self._running(namespace, pod, argv)
        options: dict[str, Any] = {"container": container, "timeout_s": timeout_s, "doing": doing, "stdin": stdin}
        with endpoint.limited(self._connection.clock.real_s(timeout_s)):
            return execute(self._connection, path, [*argv], **options)

    def attach(self, namespace: str, pod: str, argv: Sequence[str], ends: Ends, *, container: str | None = None) -> int:
        """Run a command in a pod with the operator's input and output, for as long as it takes; return its status."""
        doing, path = self._running(namespace, pod, argv)
        return attach(self._connection, path, [*argv], container=container, doing=doing, ends=ends)

    def log(self, namespace: str, pod: str, query: Mapping[str, str | int], *, follow: bool = False) -> Iterator[str]:
        """Yield the lines of a container's log; see `logs.read`."""
        path, doing = f"{_item('v1', 'Pod', namespace, pod)}/log", f"{self.name}: read the log of {namespace}/{pod}"
        return logs.read(self._connection, path, query, follow=follow, doing=doing)

    def carry(self, namespace: str, pod: str, port: int, client: socket.socket) -> None:
        """Carry a connection of this computer to a port of a pod until either end closes it; see `forward.carry`."""
        path = f"{_item('v1', 'Pod', namespace, pod)}/portforward"
        carry(self._connection, path, port, client, f"{self.name}: forward to {namespace}/{pod}:{port}")

    def proxy_get(
        self, namespace: str, pod: str, port: int, path: str, *, tls: bool, timeout_s: float = 15.0
    ) -> tuple[int, str]:
        """Ask a pod's HTTP server, through the API server; return its status and body, whatever they are.

        With `tls` it speaks HTTPS; its certificate is not verified. A pod that does not answer is an error.
        """
        target = f"{'https:' if tls else ''}{pod}:{port}"
        bare, _, query = path.lstrip("/").partition("?")
        url = f"{_collection('v1', 'Pod', namespace)}/{target}/proxy/{quote(bare)}"
        answer = self._connection.request(
            "GET",
            f"{url}?{query}" if query else url,
            accept="*/*",
            retry_statuses=frozenset({429}),
            timeout_s=timeout_s,
        )
        if answer.failure():
            raise answer.error(f"{self.name}: ask {namespace}/{pod}:{port} for {path}")
        return answer.status, answer.body.decode("utf-8", errors="replace")

    def version(self) -> str:
        """Return the API server's version, such as `v1.36.4+k3s1`; one that is gone is given up after seconds."""
        answer = self._connection.request("GET", "/version", attempts=2, timeout_s=_VERSION_TIMEOUT_S)
        return str(answer.checked(f"{self.name}: read the version")["gitVersion"])

    def _running(self, namespace: str, pod: str, argv: Sequence[str]) -> tuple[str, str]:
        shown = [*argv[:2], "…", *argv[3:]] if argv[1:2] == ["-c"] else argv  # a script says nothing to people
        called = textwrap.shorten(shlex.join(shown), 100, placeholder=" …")
        return f"{self.name}: `{called}` in {namespace}/{pod}", f"{_item('v1', 'Pod', namespace, pod)}/exec"

    def _watch(
        self, path: str, selectors: Mapping[str, str], awaited: str, deadline_s: float, say: waiting.Say
    ) -> Watch:
        wait = waiting.Wait(awaited, deadline_s, say, self._connection.stop, self._connection.clock)
        return Watch(self._connection, path, selectors, wait)

    def _apply(self, obj: Mapping[str, Any], *, force: bool, dry_run: bool) -> Object:
        api_version, kind, namespace, name = _identity(obj)
        doing = f"{self.name}: {'compare' if dry_run else 'apply'} {_called(api_version, kind, namespace, name)}"
        query = {"fieldManager": self.field_manager, "fieldValidation": "Strict", "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"

        def send() -> Answer:
            path = _item(api_version, kind, namespace, name)
            return self._connection.request("PATCH", path, query=query, body=dict(obj), content_type=_APPLY_PATCH)

        answer = send()
        for _ in range(_APPLY_ATTEMPTS - 1):
            answer = send() if answer.lost_race else answer
        if answer.unknown_kind:
            raise KubeError(f"{doing}: the API does not know this kind", status=404, reason="NotFound")
        return answer.checked(doing, secret=_is_secret(kind))


def differences(live: dict[str, Any], wanted: dict[str, Any], *, secret: bool) -> list[str]:
    """Compare an object as it is with what a dry run of its apply says it would be; status does not count.

    Both come from the API server, so defaults, conversions and fields of other managers are the same on both sides.
    Return a line for each field, `spec.replicas: 2 -> 3`; for a secret object only the field.
    """
    return list(_compare("", _relevant(live), _relevant(wanted), secret))


def _relevant(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _SERVERS_OWN}
    return {**{key: value for key, value in obj.items() if key != "status"}, "metadata": metadata}


def _compare(path: str, live: Any, wanted: Any, secret: bool) -> Iterator[str]:
    if isinstance(live, dict) and isinstance(wanted, dict):
        for key in sorted({*live, *wanted}):
            part = f'["{key}"]' if "." in key or "/" in key else f".{key}" if path else key
            yield from _compare(f"{path}{part}", live.get(key, _ABSENT), wanted.get(key, _ABSENT), secret)
    elif isinstance(live, list) and isinstance(wanted, list) and len(live) == len(wanted):
        for index, (old, new) in enumerate(zip(live, wanted, strict=True)):
            yield from _compare(f"{path}[{index}]", old, new, secret)
    elif live != wanted:
        old_text, new_text = cut_apart(*_apart(live, wanted), _VALUE_CHARACTERS)
        yield f"{path} differs" if secret else f"{path}: {old_text} -> {new_text}"


def _apart(live: Any, wanted: Any) -> tuple[str, str]:
    """Return what differs as two texts; of texts of several lines, the lines that the other has not."""
    if isinstance(live, str) and isinstance(wanted, str) and "\n" in live + wanted:
        old, new = live.splitlines(), wanted.splitlines()
        gone = [line.strip() for line in old if line not in new]
        come = [line.strip() for line in new if line not in old]
        if gone or come:
            return "; ".join(gone) or "absent", "; ".join(come) or "absent"
    return _text(live), _text(wanted)


def _text(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    if isinstance(value, dict | list):
        return f"{len(value)} {'fields' if isinstance(value, dict) else 'items'}"
    return str(value).replace("\n", "\\n")


def _collection(api_version: str, kind: str, namespace: str | None) -> str:
    """Return the path of all objects of a kind, or of one namespace's.

    No discovery is asked: the kinds that crdbmesh uses are known, and each is called by its plural in lower case,
    `pods` or `helmcharts` (Kubernetes' API concepts, "Resource URIs").
    """
    base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    within = f"/namespaces/{quote(namespace, safe='')}" if namespace and kind not in _CLUSTER_WIDE else ""
    plural = re.sub("ys$", "ies", f"{kind.lower()}{'es' if kind.endswith('s') else 's'}")
    return f"{base}{within}/{plural}"


def _item(api_version: str, kind: str, namespace: str | None, name: str) -> str:
    return f"{_collection(api_version, kind, namespace or 'default')}/{quote(name, safe='')}"


def _identity(obj: Mapping[str, Any]) -> tuple[str, str, str | None, str]:
    metadata = obj["metadata"]
    return str(obj["apiVersion"]), str(obj["kind"]), metadata.get("namespace"), str(metadata["name"])


def _called(api_version: str, kind: str, namespace: str | None, name: str) -> str:
    return f"{api_version} {kind} {f'{namespace}/' if namespace else ''}{name}"


def _is_secret(kind: str) -> bool:
    return kind == "Secret"


def _uid(document: Mapping[str, Any]) -> str | None:
    """Return the uid in an object, or in the Status that tells of its deletion."""
    uid = (document.get("metadata") or {}).get("uid") or (document.get("details") or {}).get("uid")
    return str(uid) if uid else None
