"""`crdbmesh kubeconfig`: the contexts of a mesh's clusters, printed or merged into the user's file."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crdbmesh.commands import specs
from crdbmesh.errors import ConfigError, Finding
from crdbmesh.local import contents, kubeconfig
from crdbmesh.local.folder import LocalFolder
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh


@dataclass(frozen=True, slots=True)
class Merged:
    """The user's file after contexts were merged into it.

    `contexts` are those of the mesh's regions; `kept` have the usual names and stay, as they point at other clusters.
    """

    path: Path
    contexts: tuple[str, ...]
    backup: Path | None
    kept: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return the result as `--output json` prints it."""
        backup = str(self.backup) if self.backup else None
        listed = {"contexts": list(self.contexts), "kept": list(self.kept)}
        return {"command": "kubeconfig", "path": str(self.path), **listed, "backup": backup}


def contexts(mesh: Mesh) -> tuple[str, ...]:
    """The contexts of the mesh, a region each."""
    return tuple(names.context(region.name) for region in mesh.regions)


def read(mesh: Mesh, folder: LocalFolder) -> str:
    """Return one kubeconfig with a context per region, as YAML; raise ConfigError if a region has none yet."""
    return kubeconfig.dump(
        kubeconfig.merge(kubeconfig.empty(), _configs(mesh, folder).values(), switch=contexts(mesh)[0])
    )


def merge(
    mesh: Mesh, folder: LocalFolder, environ: Mapping[str, str], *, switch: str | None, replace: bool = False
) -> Merged:
    """Merge the contexts into the user's file; its current context stays unless `switch` names a region.

    A context whose name is taken by one that points elsewhere has the mesh's name too, unless `replace` is given. It is
    a ConfigError if a region has none yet, `switch` is not a region, or the file is not a kubeconfig.
    """
    if switch is not None:
        specs.find_region(mesh, switch, "--switch")
    path = kubeconfig.user_path(environ, Path.home())
    added = _configs(mesh, folder)
    chosen: dict[str, str] = {}

    def change(config: kubeconfig.Config) -> kubeconfig.Config:
        for region, one in added.items():
            plain = names.context(region)
            chosen[region] = plain if replace else kubeconfig.choose_name(config, one, [plain, f"{plain}-{mesh.name}"])
            server = kubeconfig.current(one)["cluster"]["server"]
            renamed = kubeconfig.rewrite(one, server=server, context=chosen[region])
            config = kubeconfig.merge(config, [renamed], switch=chosen[region] if region == switch else None)
        return config

    backup = kubeconfig.change_file(path, change, now=dt.datetime.now(dt.UTC))
    kept = tuple(name for region, name in zip(chosen, contexts(mesh), strict=True) if chosen[region] != name)
    return Merged(path, tuple(chosen.values()), backup, kept)


def forget(folder: LocalFolder, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Remove from the user's file what points at the clusters whose kubeconfigs are in the mesh's folder.

    Return the names of the contexts that were removed. A file that is no kubeconfig, or cannot be written, is a
    ConfigError.
    """
    texts = [folder.read(contents.kubeconfig(path.stem)) for path in folder.path.glob("kubeconfigs/*.yaml")]
    clusters = {points for text in texts if text and (points := kubeconfig.points_at(kubeconfig.parse(text)))}
    path = kubeconfig.user_path(environ, Path.home())
    gone: tuple[str, ...] = ()

    def change(config: kubeconfig.Config) -> kubeconfig.Config:
        nonlocal gone
        changed, gone = kubeconfig.remove(config, clusters)
        return changed if gone else config

    if path.exists():
        kubeconfig.change_file(path, change, now=dt.datetime.now(dt.UTC))
    return gone


def _configs(mesh: Mesh, folder: LocalFolder) -> dict[str, kubeconfig.Config]:
    texts = {region.name: folder.read(contents.kubeconfig(region.name)) for region in mesh.regions}
    if absent := [name for name, text in texts.items() if text is None]:
        remedy = "run `crdbmesh up` until its k3s answers"
        raise ConfigError([Finding("region", name, "has no kubeconfig yet", remedy) for name in absent])
    return {name: kubeconfig.parse(text or "", source=f"the kubeconfig of {name}") for name, text in texts.items()}
