"""Where the objects of a kind are in the Kubernetes API, and reading all of them.

The API's own discovery says, once per group and version, what a kind's collection is called and whether it is divided
by namespace. Long lists come in pages (Kubernetes' API concepts, "Retrieving large results sets in chunks"); a list
that expires midway, 410 Gone, is begun again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from crdbmesh.clients.kube import http as kube_http
from crdbmesh.errors import KubeError

Object = dict[str, Any]

_PAGE = 250
_RESTARTS = 3
"""How often a list whose pages expired midway is begun again before it is read in one piece."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind as the API's discovery describes it."""

    api_version: str
    name: str
    plural: str
    namespaced: bool

    def collection(self, namespace: str | None) -> str:
        """The path of all its objects, or of one namespace's."""
        within = f"/namespaces/{quote(namespace, safe='')}" if self.namespaced and namespace else ""
        return f"{_base(self.api_version)}{within}/{self.plural}"

    def item(self, namespace: str | None, name: str) -> str:
        """The path of one object."""
        return f"{self.collection(namespace or 'default')}/{quote(name, safe='')}"


class Kinds:
    """The kinds that an API server knows, asked for when first needed and remembered when found."""

    def __init__(self, http: kube_http.Http) -> None:
        self._http = http
        self._known: dict[tuple[str, str], Kind] = {}
        self._lock = threading.Lock()

    def find(self, api_version: str, kind: str, *, attempts: int | None = None) -> Kind | None:
        """A kind, or None while the API does not know it.

        Raises:
            KubeError: the API could not be asked.
        """
        with self._lock:
            known = self._known.get((api_version, kind))
        if known is not None:
            return known
        options: dict[str, Any] = {} if attempts is None else {"attempts": attempts}
        answer = self._http.request("GET", _base(api_version), **options)
        if answer.status == 404:
            return None
        document = self._http.checked(answer, f"discover {api_version}")
        found = {
            (api_version, str(entry["kind"])): Kind(
                api_version, str(entry["kind"]), str(entry["name"]), bool(entry["namespaced"])
            )
            for entry in document.get("resources") or []
            if "/" not in entry["name"]
        }
        with self._lock:
            self._known.update(found)
        return found.get((api_version, kind))

    def forget(self, api_version: str, kind: str) -> None:
        """Ask again next time: the kind may be gone."""
        with self._lock:
            self._known.pop((api_version, kind), None)


def list_all(
    http: kube_http.Http, kind: Kind, namespace: str | None, selectors: Mapping[str, str]
) -> list[Object] | None:
    """All objects of a kind that the selectors select, or None when the API does not know the kind after all.

    Raises:
        KubeError: they could not be read.
    """
    for limit in (*[_PAGE] * _RESTARTS, None):
        try:
            return _pages(http, kind, namespace, selectors, limit)
        except _ExpiredError:
            continue
    raise KubeError(f"{http.name}: list {kind.name}: the list expires while it is read", status=410)


class _ExpiredError(Exception):
    """A list's next page is no longer to be had."""


def _pages(
    http: kube_http.Http, kind: Kind, namespace: str | None, selectors: Mapping[str, str], limit: int | None
) -> list[Object] | None:
    found: list[Object] = []
    query = {**selectors, "limit": str(limit)} if limit else dict(selectors)
    while True:
        answer = http.request("GET", kind.collection(namespace), query=query)
        if answer.status == 410:
            raise _ExpiredError
        if answer.status == 404:
            return None
        doing = f"list {kind.api_version} {kind.name}"
        document = http.checked(answer, doing, secret=kind.name == "Secret")
        header = {"apiVersion": kind.api_version, "kind": kind.name}
        found += [{**header, **item} for item in document.get("items") or []]
        token = (document.get("metadata") or {}).get("continue") or ""
        if not token:
            return found
        query["continue"] = token


def selectors(labels: str | Mapping[str, str] | None, fields: str | Mapping[str, str] | None) -> dict[str, str]:
    """Query parameters of label and field selectors, given as text or as equalities."""
    given = {"labelSelector": labels, "fieldSelector": fields}
    return {
        name: selector if isinstance(selector, str) else ",".join(f"{key}={value}" for key, value in selector.items())
        for name, selector in given.items()
        if selector
    }


def _base(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
