"""The mesh that a command is for, and its spec: from flags and variables, from a file, or as the last `up` kept it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crdbmesh.clients.cloud import Cloud
from crdbmesh.errors import ABSENT, ConfigError, Finding, UnsafeError
from crdbmesh.local import guard
from crdbmesh.local.contents import OWN_ADDRESS
from crdbmesh.local.folder import SPEC, LocalFolder, list_meshes
from crdbmesh.spec import birth
from crdbmesh.spec import load as config
from crdbmesh.spec.mesh import DEFAULT_NAME, Mesh, Region
from crdbmesh.spec.versions import NEWEST

KEPT, AT_BIRTH = "kept spec", "default at birth"
SSH_PORT = 22
FOUND = "crdbmesh.yaml"
"""The spec file that is found in the working folder."""
_LAST_PART = re.compile(r"(\.[^.\[\]]*|\[[^\]]*\])$|^[^.\[\]]*$")
"""The last part of a field: `.size` or `[eastus]`, or all of it."""


@dataclass(frozen=True, slots=True)
class Given:
    """The values of flags and variables; None for each that is not given."""

    regions: tuple[str, ...] | None = None
    name: str | None = None
    file: Path | None = None
    allow_from: tuple[str, ...] | None = None
    machines_per_region: int | None = None
    machine_size: str | None = None
    profile: str | None = None

    def overrides(self) -> dict[str, Any]:
        """Return the fields of the spec that they set."""
        return {
            "name": self.name,
            "regions": listed(*self.regions) if self.regions is not None else None,
            "allow_from": listed(*self.allow_from) if self.allow_from else None,
            "machines.per_region": self.machines_per_region,
            "machines.size": self.machine_size,
            "profile": self.profile,
        }


def with_found(given: Given, here: Path, root: Path, tell: Callable[[str], None]) -> Given:
    """Return what is given, with the `crdbmesh.yaml` of the folder `here` as its file when it names none.

    One of another mesh than the one that is named is not used; `tell` takes what becomes of it. It is a ConfigError if
    it is no mapping in YAML, or of none of the meshes known here while no mesh is named, and an UnsafeError if somebody
    else could have planted or changed it.
    """
    path = here / FOUND
    if given.file is not None or not path.is_file():
        return given
    try:
        guard.require_unplanted(path)
    except UnsafeError as error:
        reasons = "; ".join(f"{one.value} {one.reason}" for one in error.findings)
        remedy = f"give --config {FOUND} if you trust it, or run this in another folder"
        raise UnsafeError.of("file", str(path), f"is found here and not trusted: {reasons}", remedy) from None
    name, known = str(config.read_file(path).get("name") or DEFAULT_NAME), list_meshes(root)
    if given.name not in {None, name}:
        tell(f"{path} is not used: it is the spec of {name}.")
        return given
    if given.name is None and known and name not in known:
        reason = f"{path} is the spec of {name}, and known here is {', '.join(known)}"
        raise ConfigError([_nameless(reason, f"name {name} to use that file, or {' or '.join(known)} to leave it")])
    tell(f"Using {path}")
    return replace(given, file=path)


def listed(*texts: str) -> list[str]:
    """Return the parts of comma-separated texts."""
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def choose(given: Given, cloud: Cloud, root: Path) -> Mesh:
    """Return the spec: flags over the file, or over the spec that is kept when no file is given.

    A region that is given by its name alone keeps what the file or the kept spec says of it. The cloud sets the SSH
    port unless the file does. `root` is the folder of all meshes' local folders. Every mistake is in the ConfigError.
    """
    return _mesh(*_sources(given, cloud, root))


def origins(given: Given, cloud: Cloud, root: Path, said: Mapping[str, str]) -> tuple[Mesh, dict[str, str]]:
    """Return the spec as `choose` does, and the origin of each of its fields, called as `spec.load.places` does.

    `said` has the flag or variable that sets a field, for those of `Given.overrides`.
    """
    document, overrides = _sources(given, cloud, root)
    mesh = _mesh(document, overrides)
    path, known = given.file or root / mesh.name / SPEC, mesh.name in list_meshes(root)
    lines = dict(config.places(path.read_text(encoding="utf-8"))) if given.file or (known and document) else {}

    def origin(field: str) -> str:
        for one, how in said.items():
            if re.match(rf"{re.escape(one)}\b", field) and (one != "regions" or field.endswith(".name")):
                return how
        if field == "ssh.port" and field in overrides:
            return "cloud file"
        at = field
        while at and at not in lines:
            at = _LAST_PART.sub("", at)
        if at:
            return f"{path}:{lines[at]}" if given.file else KEPT
        return KEPT if known and field.startswith("versions.") else AT_BIRTH

    fields = [field for field, _ in config.places(config.dump(mesh))]
    return mesh, {field: origin(field) for field in fields if not any(one.startswith(f"{field}[") for one in fields)}


def _sources(given: Given, cloud: Cloud, root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the document of the file or the kept spec, and what is set over it."""
    if given.file is not None:
        document = config.read_file(given.file)
    elif given.regions is None:
        document = _last(given.name, root)
    else:
        document = _kept_document(given.name or DEFAULT_NAME, root) or {}
    overrides = given.overrides()
    if overrides["regions"] is not None and isinstance(known := document.get("regions"), list):
        entries = {str(one["name"]): one for one in known if isinstance(one, dict) and "name" in one}
        overrides["regions"] = [entries.get(name, name) for name in overrides["regions"]]
    document = birth.fill(document, _born_with(given.name or document.get("name"), root))
    ssh = document.get("ssh", {})
    if cloud.ssh_port != SSH_PORT and isinstance(ssh, dict) and "port" not in ssh:
        overrides["ssh.port"] = cloud.ssh_port
    return document, overrides


def _mesh(document: dict[str, Any], overrides: dict[str, Any]) -> Mesh:
    try:
        return config.mesh(document, overrides)
    except ConfigError as error:
        raise ConfigError([_asking_for_regions(finding) for finding in error.findings]) from None


def name_of(given: str | None, root: Path) -> str:
    """Return the name of the mesh, the one given or the only one known here; raise ConfigError if there is no such."""
    if given is not None:
        return config.mesh({"name": given, "regions": ["eastus"]}).name
    known = list_meshes(root)
    if len(known) == 1:
        return known[0]
    if known:
        raise ConfigError([_nameless(f"several meshes are known here: {', '.join(known)}", "name one of them")])
    raise ConfigError([_nameless(f"no mesh is known here ({root})", "name one, or create one with `crdbmesh up`")])


def find_region(mesh: Mesh, name: str, field: str = "REGION") -> Region:
    """Return the region that an argument or option names; raise ConfigError when the mesh does not have it."""
    known = {region.name: region for region in mesh.all_regions()}
    if name not in known:
        raise ConfigError.of(field, name, "is not a region of the mesh", f"choose from {', '.join(known)}")
    return known[name]


def kept(name: str, root: Path) -> Mesh:
    """Return the spec of a mesh as the last `up` kept it; raise ConfigError when none is kept or it is invalid."""
    document = _kept_document(name, root)
    if document is None:
        known = list_meshes(root)
        remedy = f"restore its local folder {root / name} from a backup, or run this where `crdbmesh up` was run"
        if known:
            remedy = f"known are: {', '.join(known)}; if {name} is another, {remedy}"
        raise ConfigError.of("name", name, f"no such mesh is known here ({root})", remedy)
    mesh, own = config.mesh(document), LocalFolder(root / name).read(OWN_ADDRESS)
    return mesh.with_own(own) if own else mesh


def _born_with(name: object, root: Path) -> dict[str, Any]:
    """Return what a mesh was made with, by dotted field; of a new one its versions. It holds until its spec differs."""
    kept = _kept_document(str(name or DEFAULT_NAME), root)
    if kept is None:
        return {f"versions.{program}": release for program, release in NEWEST.model_dump(mode="json").items()}
    return birth.look_up(kept, birth.BEFORE)


def _last(name: str | None, root: Path) -> dict[str, Any]:
    """Return the kept spec of the mesh, or nothing when there is none."""
    if name is None and list_meshes(root):
        name = name_of(None, root)
    return (name and _kept_document(name, root)) or {}


def _kept_document(name: str, root: Path) -> dict[str, Any] | None:
    if name not in list_meshes(root):
        return None
    LocalFolder(root / name).require_safe()
    return config.read_kept(root / name / SPEC)


def _asking_for_regions(finding: Finding) -> Finding:
    if finding.field == "regions" and finding.value == ABSENT:
        lost = "if a mesh's local folder is lost, `crdbmesh status NAME` shows it"
        remedy = f"give --regions eastus,westus,northeurope or --config FILE; {lost}"
        reason = "neither flags nor a file give any, and no spec is kept here"
        return replace(finding, reason=reason, remedy=remedy)
    return finding


def _nameless(reason: str, remedy: str) -> Finding:
    return Finding("name", ABSENT, reason, remedy)
