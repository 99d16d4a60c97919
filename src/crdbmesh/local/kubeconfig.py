"""Kubeconfig files: reading k3s's, renaming and repointing it, merging it into the user's own, removing it again.

The format is Kubernetes' `v1 Config` (client-go, tools/clientcmd/api/v1). The user's file and the lock on it are
chosen as in kubectl (client-go, tools/clientcmd: loader.go and config.go). Messages never
quote a file, because it holds keys.
"""

import contextlib
import copy
import datetime as dt
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from crdbmesh.errors import ConfigError, Finding
from crdbmesh.local import files, guard
from crdbmesh.spec import documents

Config = dict[str, Any]

Points = tuple[str, str]
"""A cluster's server and its CA, which tell one cluster from another."""

_LISTS = {"clusters": "cluster", "contexts": "context", "users": "user"}
_ENCODED = re.compile(r"[-\w+/=]*", re.ASCII)
_TAKEN = ("certificate-authority-data", "client-certificate-data", "client-key-data")
_WRITTEN = {"apiVersion", "kind", "preferences", "current-context", *_LISTS}
_WRITTEN_IN = {"cluster": {"server", _TAKEN[0]}, "context": {"cluster", "user"}, "user": set(_TAKEN[1:])}
"""The fields that k3s writes into its kubeconfig, and into each part of it."""


def parse(text: bytes | str, *, source: str = "kubeconfig", outside: bool = False) -> Config:
    """Parse a kubeconfig, one from `outside` (a machine) with limits; raise ConfigError, which quotes none of it."""
    try:
        document = documents.read_yaml(text) if outside else yaml.load(text, Loader=_Loader)  # noqa: S506
    except documents.DocumentError as error:
        raise _wrong(source, f"is not a kubeconfig: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise _wrong(source, f"is not valid YAML{where}") from None
    if document is None:
        return empty()
    if not isinstance(document, dict):
        raise _wrong(source, "is not a kubeconfig: it is not a mapping")
    for field, inner in _LISTS.items():
        entries = document.get(field) or []
        if not isinstance(entries, list):
            raise _wrong(source, f"is not a kubeconfig: {field} is not a list")
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise _wrong(source, f"is not a kubeconfig: an entry of {field} has no name")
            if not isinstance(entry.get(inner) or {}, dict):
                raise _wrong(source, f"is not a kubeconfig: an entry of {field} is not a mapping")
    return document


def dump(config: Mapping[str, Any]) -> str:
    """Return a kubeconfig as text."""
    return yaml.safe_dump(dict(config), sort_keys=False, default_flow_style=False, allow_unicode=True)


def empty() -> Config:
    """Return a kubeconfig without entries."""
    return {"apiVersion": "v1", "kind": "Config", "clusters": [], "contexts": [], "users": [], "current-context": ""}


def rewrite(config: Mapping[str, Any], *, server: str, context: str, source: str = "kubeconfig") -> Config:
    """Return our own kubeconfig with the credentials of one that k3s wrote (`/etc/rancher/k3s/k3s.yaml`), and no more.

    `context` is the name of its context, cluster and user, `source` that of k3s's file in messages. Whoever controls a
    machine could have it run programs here, send a file of ours to a server, or take a proxy: every field that k3s does
    not write, or that is missing, is in the ConfigError.
    """
    chosen = current(config)
    found = [("", config, _WRITTEN), *((f"{part}.", chosen[part], _WRITTEN_IN[part]) for part in chosen)]
    more = [f"{head}{field}" for head, part, fields in found for field in part if field not in fields]
    more += [field for field in _LISTS if len(config[field]) > 1] + ["preferences"] * bool(config.get("preferences"))
    more += [
        f"{part}.{key}" for part in chosen for key in _TAKEN if not _ENCODED.fullmatch(str(chosen[part].get(key, "")))
    ]
    if more:
        reason, remedy = "is nothing that k3s writes", "find out who changed it on the machine, or replace the machine"
        raise ConfigError([Finding(source, field, reason, remedy) for field in more])
    cluster, user = ({key: part[key] for key in _TAKEN if key in part} for part in (chosen["cluster"], chosen["user"]))
    return {
        **empty(),
        "clusters": [{"name": context, "cluster": {**cluster, "server": server}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
        "users": [{"name": context, "user": user}],
        "current-context": context,
    }


def current(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the `context`, `cluster` and `user` of the current context; raise ConfigError when one is missing."""
    name = config.get("current-context") or ""
    if not name:
        raise _wrong("kubeconfig", "has no current-context")
    context = _entry(config, "contexts", name)
    return {
        "context": context,
        "cluster": _entry(config, "clusters", context.get("cluster", "")),
        "user": _entry(config, "users", context.get("user", "")),
    }


def merge(into: Mapping[str, Any], add: Iterable[Mapping[str, Any]], *, switch: str | None) -> Config:
    """Return `into` with the entries of `add`, which replace those of the same name; the rest stays as it is.

    The user's own current-context stays unless `switch` names another.
    """
    merged: Config = {**empty(), **copy.deepcopy(dict(into))}
    for config in add:
        for field in _LISTS:
            entries = list(merged[field] or [])
            for new in config.get(field) or []:
                places = [place for place, old in enumerate(entries) if old["name"] == new["name"]]
                if places:
                    entries[places[0]] = copy.deepcopy(new)
                else:
                    entries.append(copy.deepcopy(new))
            merged[field] = entries
    if switch is not None:
        merged["current-context"] = switch
    return merged


def points_at(config: Mapping[str, Any], context: str = "") -> Points | None:
    """Return the server and the CA of a context's cluster, by default the current one's; None for neither."""
    name = _find(config, "contexts", context or config.get("current-context") or "").get("cluster", "")
    return _points(_find(config, "clusters", name))


def choose_name(into: Mapping[str, Any], add: Mapping[str, Any], candidates: Sequence[str]) -> str:
    """Return the first of some names under which a kubeconfig can be merged: its own entry's, or one that is free.

    It is a ConfigError if all are taken by entries that point at another server, or trust another CA.
    """
    ours = points_at(add)
    taken = {name: [*_pointing(into, name)] for name in candidates}
    own = [name for name, pointing in taken.items() if set(pointing) == {ours}]
    if usable := [*own, *(name for name, pointing in taken.items() if not pointing)]:
        return usable[0]
    server = next((one[0] for one in taken[candidates[-1]] if one), "nothing that is known")
    reason = f"points at another cluster ({server}) in your kubeconfig"
    raise ConfigError.of("context", candidates[-1], reason, "pass --replace to replace it, or rename it")


def remove(config: Mapping[str, Any], clusters: Collection[Points]) -> tuple[Config, tuple[str, ...]]:
    """Return `config` without what points at these clusters, and the names of the contexts that are gone.

    A user goes when it is called as a cluster that goes and no context that stays uses it.
    """
    kept: Config = copy.deepcopy(dict(config))
    gone = {entry["name"] for entry in kept.get("clusters") or [] if _points(entry.get("cluster")) in clusters}
    contexts = {one["name"]: one.get("context") or {} for one in kept.get("contexts") or []}
    unwanted = tuple(name for name, context in contexts.items() if context.get("cluster") in gone)
    users = gone - {context.get("user") for name, context in contexts.items() if name not in unwanted}
    for field, names in {"contexts": unwanted, "clusters": gone, "users": users}.items():
        kept[field] = [entry for entry in kept.get(field) or [] if entry["name"] not in names]
    if kept.get("current-context") in unwanted:
        kept["current-context"] = ""
    return kept, unwanted


def user_path(environ: Mapping[str, str], home: Path) -> Path:
    """Return the file that kubectl would change: of those in `KUBECONFIG` the first that exists, else the last."""
    listed = [Path(entry) for entry in environ.get("KUBECONFIG", "").split(os.pathsep) if entry]
    if not listed:
        return home / ".kube" / "config"
    return next((path for path in listed if path.exists()), listed[-1])


def change_file(path: Path, change: Callable[[Config], Config], *, now: dt.datetime) -> Path | None:
    """Change a kubeconfig file completely or not at all; it and its backup end up readable by their owner only.

    A file that holds what it should is not touched. A symbolic link stays one: what it points to changes, if that is a
    regular file of the user's own. `change` makes the new document from the old one. Return the backup of the old file,
    with `now` in its name, or None when there was no file or nothing to change. A file that is no kubeconfig, that
    another is changing, or that cannot be read or written is a ConfigError.
    """
    real = path.resolve()
    try:
        if real.exists() and (reason := guard.why_not_own(real.stat())) is not None:
            raise _wrong(str(path), reason, "name a regular file of your own in KUBECONFIG")
        files.make_folder(real.parent)
        with _locked(real):
            old = _read(real)
            new = change(copy.deepcopy(old) if old is not None else empty())
            if new == old:
                return None
            backup = _back_up(real, now) if old is not None else None
            files.write_private(real, dump(new))
            return backup
    except OSError as error:
        raise _wrong(str(path), f"cannot be changed ({error.strerror})", "check its permissions") from error


def _read(path: Path) -> Config | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise _wrong(str(path), "is not UTF-8 text") from None
    return parse(text, source=str(path))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_name(f"{path.name}.lock")
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        remedy = f"try again, or delete {lock} if nothing is"
        raise _wrong(str(path), "is being changed by another program", remedy) from None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _back_up(path: Path, now: dt.datetime) -> Path:
    stem = f"{path.name}.crdbmesh-{now:%Y%m%dT%H%M%S}"
    for ending in ("", *(f"-{number}" for number in range(2, 100))):
        backup = path.with_name(f"{stem}{ending}.bak")
        try:
            descriptor = os.open(backup, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "wb") as file, path.open("rb") as old:
            shutil.copyfileobj(old, file)
            file.flush()
            os.fsync(file.fileno())
        return backup
    raise _wrong(str(path), "has a hundred backups of this second", "wait a second")


def _points(cluster: Mapping[str, Any] | None) -> Points | None:
    if not cluster:
        return None
    return str(cluster.get("server")), str(cluster.get("certificate-authority-data"))


def _pointing(config: Mapping[str, Any], name: str) -> Iterator[Points | None]:
    """Yield what each entry of a name points at; a user by itself points at nothing that is known."""
    found = {field: _find(config, field, name) for field in _LISTS}
    if found["clusters"]:
        yield _points(found["clusters"])
    if found["contexts"]:
        yield points_at(config, name)
    elif found["users"] and not found["clusters"]:
        yield None


def _find(config: Mapping[str, Any], field: str, name: str) -> dict[str, Any]:
    found = [entry for entry in config.get(field) or [] if entry["name"] == name]
    return dict(found[0].get(_LISTS[field]) or {}) if found else {}


def _entry(config: Mapping[str, Any], field: str, name: str) -> dict[str, Any]:
    if not any(entry["name"] == name for entry in config.get(field) or []):
        raise _wrong("kubeconfig", f"has no {_LISTS[field]} named {name!r}")
    return _find(config, field, name)


def _wrong(source: str, reason: str, remedy: str = "give a kubeconfig file as kubectl reads it") -> ConfigError:
    return ConfigError.of("file", source, reason, remedy)


class _Loader(yaml.SafeLoader):
    """YAML without timestamps: an expiry date in a user's entry must come out as it went in."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
