"""`crdbmesh logs --bundle`: a support archive of all that says how a mesh is, without a secret.

Data of Secrets is left out, and whatever else quotes a secret is redacted: all those of the local folder and of the
clusters are read first. Compressed values and tokens, which nobody could search, are left out as such.
"""

import base64
import datetime as dt
import io
import json
import os
import platform
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from crdbmesh import __version__, redaction
from crdbmesh.clients.azure import resources
from crdbmesh.commands import doctor, logs, plan, status
from crdbmesh.desired import Object
from crdbmesh.errors import ConfigError, CrdbmeshError
from crdbmesh.local.birth import Aim
from crdbmesh.local.folder import JOURNALS
from crdbmesh.observe import status as observed
from crdbmesh.observe.logs import PROGRAMS, Window
from crdbmesh.run.world import World
from crdbmesh.spec import load, names
from crdbmesh.spec.mesh import Machine

TAIL = 500
"""The lines of each log, unless others are asked for."""
_RUNS = 5
_KINDS = (
    ("v1", "Node"), ("v1", "Namespace"), ("v1", "Pod"), ("v1", "Service"), ("v1", "Event"), ("v1", "ConfigMap"),
    ("v1", "Secret"), ("v1", "PersistentVolume"), ("v1", "PersistentVolumeClaim"), ("apps/v1", "Deployment"),
    ("apps/v1", "DaemonSet"), ("apps/v1", "StatefulSet"), ("batch/v1", "Job"), ("helm.cattle.io/v1", "HelmChart"),
    ("discovery.k8s.io/v1", "EndpointSlice"), ("cilium.io/v2", "CiliumNode"),
)  # fmt: skip
_STATE = "uname -a; cloud-init status --format=json; systemctl show k3s k3s-agent -p LoadState,ActiveState,NRestarts"
_COPIES = ("managedFields", "kubectl.kubernetes.io/last-applied-configuration")
"""The fields of an object that repeat other fields of it."""
_LEAST, _MOST = 12, 4096
"""The lengths of a Secret's values that are hidden wherever they stand: shorter ones are words, longer ones files."""
_SEALED = re.compile(
    r"(H4sI|SDRzS)[A-Za-z0-9+/=_-]{16,}|1f8b08[0-9a-f]{32,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}|"
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]{0,8000}?-----END [A-Z ]*PRIVATE KEY-----"
)
"""Gzip in base64, also twice, or in hexadecimal; JSON Web Tokens; private keys, whosever they are."""
_RUN = re.compile(r"\\[nrt]|(?P<hex>(?:[0-9a-fA-F]{2}){32,})(?![0-9a-zA-Z+/])|[A-Za-z0-9+/]{64,}")
_NAME = re.compile(r"[^\w.-]")


def make(world: World, aim: Aim, window: Window, path: Path, note: logs.Note) -> dict[str, Any]:
    """Collect what can be collected and write it to a new file of mode 0600; `note` takes what cannot.

    Returns the result as `--output json` prints it: the parts, and what is missing, with the reasons.
    """
    if path.exists():
        raise ConfigError.of("--bundle", str(path), "is there already", "name a file that is not")
    parts: dict[str, str] = {}
    missing: dict[str, str] = {}

    def miss(part: str, why: str) -> None:
        missing[part] = redaction.hide(why)
        note(part, missing[part])

    def collect(part: str, read: Callable[[], object]) -> None:
        try:
            found = read()
        except (CrdbmeshError, OSError) as error:
            miss(part, str(error))
        else:
            parts[part] = clean(found if isinstance(found, str) else json.dumps(found, indent=1, default=str))

    logs.learn_secrets(world.mesh, world.folder)
    regions = world.mesh.all_regions()
    with ThreadPoolExecutor(max_workers=16, thread_name_prefix="bundle") as pool:
        # First of all: what is collected afterwards may quote them.
        learned = [(f"regions/{one.name}/secrets.txt", partial(_learn, world, one.name)) for one in regions]
        list(pool.map(lambda one: collect(*one), learned))
        list(pool.map(lambda one: collect(*one), _readers(world, aim)))
    for file, lines in logs.read(logs.find(world, regions, PROGRAMS, miss, previous=True), window, miss).items():
        if lines:
            parts[file] = clean("\n".join(f"{line.at.isoformat()} {line.text}" for line in lines))
    parts["missing.json"] = json.dumps(missing, indent=1)
    _write(path, world.mesh.name, parts)
    listed = {"parts": sorted(parts), "missing": missing}
    return {"command": "logs", "mesh": world.mesh.name, "bundle": str(path), **listed}


def clean(text: str, depth: int = 3) -> str:
    """Return a text without the secrets known so far, without what looks like one, and without texts that hold one.

    A text may stand in another in base64 or hexadecimal, `depth` times over.
    """

    def inner(run: re.Match[str]) -> str:
        if run[0].startswith("\\"):
            # An escape of JSON is no part of what follows it.
            return run[0]
        try:
            raw = bytes.fromhex(run[0]) if run["hex"] else base64.b64decode(run[0][: len(run[0]) // 4 * 4])
            plain = raw.decode()
        except ValueError:  # it is no text
            return run[0]
        return run[0] if clean(plain, depth - 1) == plain else redaction.HIDDEN

    text = _SEALED.sub(redaction.HIDDEN, text)
    return redaction.hide(_RUN.sub(inner, text) if depth else text)


def _readers(world: World, aim: Aim) -> Iterable[tuple[str, Callable[[], object]]]:
    mesh, folder = world.mesh, world.folder
    yield "versions.json", _versions
    yield "aim.json", aim.document
    yield "spec.yaml", lambda: load.dump(mesh)
    yield "azure.json", lambda: resources.list_group_resources(world.session, world.group)
    yield "status.json", lambda: status.document(observed.read(world), aim)
    yield "doctor.json", partial(_doctor, world)
    yield "plan.json", lambda: plan.survey(world, aim).document()
    for run in sorted((folder.path / JOURNALS).glob("*.jsonl"))[-_RUNS:]:
        yield f"runs/{run.name}", partial(folder.read, f"{JOURNALS}/{run.name}")
    for machine in mesh.all_machines():
        yield f"machines/{machine.node}/state.txt", partial(_state, world, machine)
    for region in mesh.regions:
        for version, kind in _KINDS:
            yield f"regions/{region.name}/objects/{kind}.json", partial(_objects, world, region.name, version, kind)


def _versions() -> dict[str, Any]:
    installed = {one.name: one.version for one in metadata.distributions()}
    return {"crdbmesh": __version__, "python": platform.python_version(), "system": platform.platform(), **installed}


def _state(world: World, machine: Machine) -> str:
    found = world.host(machine).run(_STATE, sudo=True, check=False)
    return found.stdout + found.stderr


def _doctor(world: World) -> dict[str, Any]:
    # Nobody on the internet is asked for the caller's own address.
    cloud = replace(world.session.cloud, address_urls=())
    return doctor.run_doctor(world.mesh, cloud, world.folder).document()


def _objects(world: World, region: str, version: str, kind: str) -> list[Object]:
    """Return the objects of a kind in the namespaces that the mesh uses, and those in none."""
    ours = (None, "default", names.KUBE_SYSTEM, region)
    listed = world.kube(region).list(version, kind)
    return [_bare(one) for one in listed if one["metadata"].get("namespace") in ours]


def _bare(obj: Object) -> Object:
    """Return an object without what is secret, or may hold a secret, or is of no use to a reader."""
    if obj.get("kind") == "Secret":
        of = {key: obj["metadata"].get(key) for key in ("namespace", "name", "creationTimestamp")}
        return {"kind": "Secret", "metadata": of, "type": obj.get("type"), "keys": sorted(obj.get("data") or {})}
    return {key: _without_values(value) for key, value in obj.items() if key != "binaryData"}


def _without_values(part: Any) -> Any:
    """Return a part of an object without the values of environment variables, and without earlier copies of it."""
    if isinstance(part, list):
        return [_without_values(one) for one in part]
    if not isinstance(part, dict):
        return part
    kept = {key: _without_values(value) for key, value in part.items() if key not in _COPIES}
    env = kept.get("env")
    if isinstance(env, list):
        kept["env"] = [{key: value for key, value in one.items() if key != "value"} for one in env]
    return kept


def _learn(world: World, region: str) -> str:
    """Learn what the Secrets of a cluster hold, and return how many there are."""
    found = world.kube(region).list("v1", "Secret")
    for value in (value for one in found for value in (one.get("data") or {}).values()):
        text = base64.b64decode(value).decode("utf-8", errors="replace")
        # Certificates are public, and an archive such as Helm's is found by its form.
        redaction.learn(text, whole=_LEAST <= len(text) <= _MOST and "-----BEGIN" not in text)
    return f"{len(found)} Secrets, whose data is left out\n"


def _write(path: Path, mesh: str, parts: Mapping[str, str]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    now = dt.datetime.now(dt.UTC).timestamp()
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in sorted(parts.items()):
            inner = "/".join(_NAME.sub("_", part).lstrip(".") or "_" for part in name.split("/"))
            entry = tarfile.TarInfo(f"crdbmesh-{mesh}/{inner}")
            content = text.encode()
            entry.size, entry.mtime, entry.mode = len(content), int(now), 0o600
            archive.addfile(entry, io.BytesIO(content))
