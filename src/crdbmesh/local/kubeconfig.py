"""Kubeconfig files: reading k3s's, renaming and repointing it, merging it into the user's own, removing it again.

The format is Kubernetes' `v1 Config` (client-go, tools/clientcmd/api/v1). The user's file and the lock on it are
chosen as in kubectl (client-go, tools/clientcmd: loader.go and config.go). Messages never
quote a file, because it holds keys.
"""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml

from crdbmesh.errors import ConfigError
from crdbmesh.local import files

Config = dict[str, Any]

_LISTS = {"clusters": "cluster", "contexts": "context", "users": "user"}


def parse(text: str, *, source: str = "kubeconfig") -> Config:
    """Parse a kubeconfig.

    Raises:
        ConfigError: it is not a kubeconfig; the message quotes none of it.
    """
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
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


def rewrite(config: Mapping[str, Any], *, server: str, context: str) -> Config:
    """Return a kubeconfig of the current context alone, with another name and server.

    Args:
        config: for example k3s's own `/etc/rancher/k3s/k3s.yaml`.
        server: host name or address to put in place of the one in the cluster's URL, whose scheme and port stay;
            or a whole `https://…` URL.
        context: the name for the context, its cluster and its user.

    Raises:
        ConfigError: there is no current context, or what it names is missing.
    """
    chosen = current(config)
    cluster = {**chosen["cluster"], "server": _moved(chosen["cluster"].get("server", ""), server)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": cluster}],
        "contexts": [
            {"name": context, "context": {**chosen["context"], "cluster": context, "user": context}},
        ],
        "users": [{"name": context, "user": copy.deepcopy(chosen["user"])}],
        "current-context": context,
    }


def current(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the `context`, `cluster` and `user` of the current context.

    Raises:
        ConfigError: one of them is missing.
    """
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


def remove(config: Mapping[str, Any], contexts: Iterable[str]) -> Config:
    """Return `config` without these contexts, and without their clusters and users, unless others use them."""
    unwanted = set(contexts)
    kept: Config = copy.deepcopy(dict(config))
    kept["contexts"] = [entry for entry in kept.get("contexts") or [] if entry["name"] not in unwanted]
    for field, inner in {"clusters": "cluster", "users": "user"}.items():
        used = {(entry.get("context") or {}).get(inner) for entry in kept["contexts"]}
        kept[field] = [
            entry for entry in kept.get(field) or [] if entry["name"] not in unwanted or entry["name"] in used
        ]
    if kept.get("current-context") in unwanted:
        kept["current-context"] = ""
    return kept


def user_path(environ: Mapping[str, str], home: Path) -> Path:
    """Return the file that kubectl would change: of those in `KUBECONFIG` the first that exists, else the last."""
    listed = [Path(entry) for entry in environ.get("KUBECONFIG", "").split(os.pathsep) if entry]
    if not listed:
        return home / ".kube" / "config"
    return next((path for path in listed if path.exists()), listed[-1])


def write_merged(path: Path, add: Iterable[Mapping[str, Any]], *, switch: str | None, now: dt.datetime) -> Path | None:
    """Merge kubeconfigs into the user's file, as `merge` and `change_file` do."""
    added = list(add)
    return change_file(path, lambda config: merge(config, added, switch=switch), now=now)


def write_removed(path: Path, contexts: Iterable[str], *, now: dt.datetime) -> Path | None:
    """Remove contexts from the user's file, as `remove` and `change_file` do."""
    names = list(contexts)
    if not path.exists():
        return None
    return change_file(path, lambda config: remove(config, names), now=now)


def change_file(path: Path, change: Callable[[Config], Config], *, now: dt.datetime) -> Path | None:
    """Change a kubeconfig file completely or not at all; it and its backup end up readable by their owner only.

    A file that holds what it should is not touched. A symbolic link stays one: what it points to changes.

    Args:
        path: of the file, which may be absent.
        change: from the old document to the new.
        now: put into the backup's name.

    Returns:
        The backup made of the old file, or None when there was no file or nothing to change.

    Raises:
        ConfigError: the old file is not a kubeconfig, is being changed by another, or cannot be read or written.
    """
    real = path.resolve()
    try:
        _make_folder(real.parent)
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


def _make_folder(folder: Path) -> None:
    missing = [level for level in (folder, *folder.parents) if not level.exists()]
    for level in reversed(missing):
        level.mkdir(mode=0o700, exist_ok=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_name(f"{path.name}.lock")
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise _wrong(
            str(path), "is being changed by another program", f"try again, or delete {lock} if nothing is"
        ) from None
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


def _entry(config: Mapping[str, Any], field: str, name: str) -> dict[str, Any]:
    for entry in config.get(field) or []:
        if entry["name"] == name:
            return dict(entry.get(_LISTS[field]) or {})
    raise _wrong("kubeconfig", f"has no {_LISTS[field]} named {name!r}")


def _moved(url: str, server: str) -> str:
    if "://" in server:
        return server
    parts = urlsplit(url)
    if not parts.scheme or not parts.hostname:
        raise _wrong("kubeconfig", f"has a cluster whose server is no URL: {url!r}")
    host = f"[{server.strip('[]')}]" if ":" in server else server
    return urlunsplit(parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host))


def _wrong(source: str, reason: str, remedy: str = "give a kubeconfig file as kubectl reads it") -> ConfigError:
    return ConfigError.of("file", source, reason, remedy)


class _Loader(yaml.SafeLoader):
    """YAML without timestamps: an expiry date in a user's entry must come out as it went in."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
