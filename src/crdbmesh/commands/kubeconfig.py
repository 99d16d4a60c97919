"""`crdbmesh kubeconfig`: the contexts of a mesh's clusters, printed or merged into the user's file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crdbmesh.errors import ConfigError, Finding
from crdbmesh.local import kubeconfig
from crdbmesh.local.folder import LocalFolder
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh


@dataclass(frozen=True, slots=True)
class Merged:
    """The file that contexts were merged into or removed from, the contexts, and the backup of the old file."""

    path: Path
    contexts: tuple[str, ...]
    backup: Path | None

    def document(self) -> dict[str, Any]:
        """Return the result as `--output json` prints it."""
        backup = str(self.backup) if self.backup else None
        return {"command": "kubeconfig", "path": str(self.path), "contexts": list(self.contexts), "backup": backup}


def contexts(mesh: Mesh) -> tuple[str, ...]:
    """The contexts of the mesh, a region each."""
    return tuple(names.context(region.name) for region in mesh.regions)


def read(mesh: Mesh, folder: LocalFolder) -> str:
    """One kubeconfig with a context per region, as YAML; the first region's is current.

    Raises:
        ConfigError: a region has none yet.
    """
    return kubeconfig.dump(kubeconfig.merge(kubeconfig.empty(), _configs(mesh, folder), switch=contexts(mesh)[0]))


def merge(mesh: Mesh, folder: LocalFolder, environ: Mapping[str, str], *, switch: str | None) -> Merged:
    """Merge the contexts into the user's file; its current context stays unless `switch` names a region.

    Raises:
        ConfigError: a region has none yet, `switch` is not a region, or the file is not a kubeconfig.
    """
    if switch is not None and switch not in {region.name for region in mesh.regions}:
        known = ", ".join(region.name for region in mesh.regions)
        raise ConfigError.of("--switch", switch, "is not a region of the mesh", f"choose from {known}")
    path = kubeconfig.user_path(environ, Path.home())
    target = None if switch is None else names.context(switch)
    backup = kubeconfig.write_merged(path, _configs(mesh, folder), switch=target, now=dt.datetime.now(dt.UTC))
    return Merged(path, contexts(mesh), backup)


def forget(regions: Iterable[str], environ: Mapping[str, str]) -> Merged:
    """Remove the contexts of these regions from the user's file; absent is done.

    Raises:
        ConfigError: the file is not a kubeconfig, or cannot be written.
    """
    path = kubeconfig.user_path(environ, Path.home())
    unwanted = tuple(names.context(region) for region in regions)
    backup = kubeconfig.write_removed(path, unwanted, now=dt.datetime.now(dt.UTC))
    return Merged(path, unwanted, backup)


def _configs(mesh: Mesh, folder: LocalFolder) -> list[kubeconfig.Config]:
    texts = {region.name: folder.read(f"kubeconfigs/{region.name}.yaml") for region in mesh.regions}
    if absent := [name for name, text in texts.items() if text is None]:
        remedy = "run `crdbmesh up` until its k3s answers"
        raise ConfigError([Finding("region", name, "has no kubeconfig yet", remedy) for name in absent])
    return [kubeconfig.parse(text, source=f"the kubeconfig of {name}") for name, text in texts.items() if text]
