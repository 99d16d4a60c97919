"""Releases as helm keeps them: a Secret for each revision, and objects marked as the release's own.

After helm's `pkg/storage/driver/secrets.go` and `pkg/action/validate.go`.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import yaml

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers import objects

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.controllers.api import Api

MANAGED = "app.kubernetes.io/managed-by"
RELEASE, RELEASE_NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
HOOK = "helm.sh/hook"


class ReleaseError(Exception):
    """Helm fails; the text is what it prints after `Error: `."""


def find_history(api: Api, namespace: str, name: str) -> list[Obj]:
    """The release's Secrets, oldest first."""
    found = api.list("Secret", namespace, {"owner": "helm", "name": name})
    return sorted(found, key=lambda secret: int(objects.labels(secret)["version"]))


def read(secret: Obj) -> Obj:
    """The release in a Secret."""
    raw = base64.b64decode(secret["data"]["release"])
    return json.loads(gzip.decompress(base64.b64decode(raw)))  # type: ignore[no-any-return]


def record(
    api: Api,
    *,
    name: str,
    namespace: str,
    version: int,
    status: str,
    chart: Obj,
    values: Obj,
    manifest: list[Obj],
    now: float,
) -> None:
    """Write the Secret of a revision; earlier deployed ones become superseded."""
    blanks: Obj = {"name": name, "namespace": namespace, "version": version, "status": status, "chart": chart}
    blanks |= {"secret": f"sh.helm.release.v1.{name}.v{version}", "number": str(version), "modified": str(int(now))}
    blanks |= {"stamp": objects.rfc3339(now), "values": values}
    blanks["description"] = "Install complete" if status == "deployed" else status
    blanks["manifest"] = "---\n".join(yaml.dump(obj, sort_keys=False, Dumper=yaml.CSafeDumper) for obj in manifest)
    release, secret = objects.fill("helm-release", blanks)
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(release).encode(), mtime=0))).decode()
    secret["data"] = {"release": packed}
    for old in find_history(api, namespace, name):
        if objects.name(old) == objects.name(secret):
            api.delete(old)
        elif status == "deployed" and objects.labels(old)["status"] == "deployed":
            changed = api.copy(old)
            changed["metadata"]["labels"]["status"] = "superseded"
            api.replace(changed)
    api.create(secret, manager="helm")


def manifest(release: Obj) -> list[Obj]:
    """The objects of a release."""
    return [obj for obj in yaml.load_all(release["manifest"], Loader=yaml.CSafeLoader) if obj]


def own(objects_: Iterable[Obj], *, name: str, namespace: str) -> list[Obj]:
    """The rendered objects with the marks of the release."""
    found = []
    for obj in objects_:
        meta = obj["metadata"]
        labels = dict(meta.get("labels") or {})
        annotations = dict(meta.get("annotations") or {})
        labels[MANAGED] = "Helm"
        annotations |= {RELEASE: name, RELEASE_NAMESPACE: namespace}
        found.append({**obj, "metadata": {**meta, "labels": labels, "annotations": annotations}})
    return found


def put(api: Api, obj: Obj) -> None:
    """Create an object, or set what the chart sets of it."""
    existing = api.find(obj["kind"], objects.namespace(obj) or None, objects.name(obj))
    if existing is None:
        api.create(obj, manager="helm")
        return
    changed = api.copy(existing)
    for key, value in obj.items():
        if key == "metadata":
            for part in ("labels", "annotations"):
                changed["metadata"].setdefault(part, {}).update(value.get(part) or {})
        elif key == "spec" and obj["kind"] == "Service":
            kept = {name: existing["spec"][name] for name in ("clusterIP", "clusterIPs") if name in existing["spec"]}
            changed["spec"] = {**kept, **value}
        elif key not in ("apiVersion", "kind"):
            changed[key] = value
    if changed != existing:
        api.replace(changed)


def drop(api: Api, obj: Obj) -> None:
    """Delete an object of a release if it is there."""
    existing = api.find(obj["kind"], objects.namespace(obj) or None, objects.name(obj))
    if existing is not None and not objects.deleting(existing):
        api.delete(existing)
