"""Every version that crdbmesh installs, pinned here and nowhere else, with the checksum of every download.

A mesh keeps the versions it was born with: the kept spec names them with their checksums, so that a later crdbmesh
repairs and grows the mesh with the same ones. The SHA-256 values are those that the projects publish with the releases
(k3s: `sha256sum-amd64.txt` and `sha256sum-arm64.txt`; Cilium: the chart repository's `index.yaml`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

SHA256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_ASSETS = {"x86_64": "k3s", "aarch64": "k3s-arm64"}
"""The name of the k3s binary by the architecture that `uname -m` prints."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that nodes download, with its SHA-256."""

    url: str
    sha256: str


class Model(BaseModel):
    """A part of a spec."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class K3sRelease(Model):
    """A release of k3s, with the SHA-256 of its binary by the architecture that `uname -m` prints."""

    version: str = Field(pattern=r"^v\d+\.\d+\.\d+\+k3s\d+$")
    sha256: Mapping[Literal["x86_64", "aarch64"], SHA256]

    def binary(self, architecture: str) -> Artifact | None:
        """Return the download of an architecture's binary; None when its checksum is not known."""
        checksum = {str(key): value for key, value in self.sha256.items()}.get(architecture)
        url = f"https://github.com/k3s-io/k3s/releases/download/{quote(self.version)}/{_ASSETS.get(architecture)}"
        return Artifact(url, checksum) if checksum else None


class CiliumRelease(Model):
    """A release of Cilium, with the SHA-256 of its chart."""

    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    sha256: SHA256

    @property
    def chart(self) -> Artifact:
        """Return the download of the chart."""
        return Artifact(f"https://helm.cilium.io/cilium-{self.version}.tgz", self.sha256)


class Versions(Model):
    """The versions of a mesh."""

    k3s: K3sRelease
    cilium: CiliumRelease
    cockroachdb: str = Field(pattern=r"^v\d+\.\d+\.\d+$")

    @property
    def cockroachdb_image(self) -> str:
        """Return CockroachDB's image."""
        return f"docker.io/cockroachdb/cockroach:{self.cockroachdb}"

    def named(self) -> dict[str, str]:
        """Return each version by its program's name in the spec."""
        return {"k3s": self.k3s.version, "cilium": self.cilium.version, "cockroachdb": self.cockroachdb}


RELEASE_0_1 = Versions(
    k3s=K3sRelease(
        version="v1.36.4+k3s1",
        sha256={
            "x86_64": "835873f37245fc615f547a2fe2af9402a347875f13fa64a1f136de644955ea3f",
            "aarch64": "c920706346d5ad4e5cd3c7bf1bb09ce71ebe07fec829e513e40f1caf98aed8bb",
        },
    ),
    cilium=CiliumRelease(version="1.20.0", sha256="c5f013912360d1a334f44ef25f36da59ba3414cdb48f466ee12d0c4fdff27883"),
    cockroachdb="v26.2.5",
)
"""The versions that crdbmesh 0.1 built: those of every kept spec that names none. They never change."""

NEWEST = RELEASE_0_1
"""The versions of a mesh that is made now."""


def why_not(program: str, running: str, wanted: str) -> str | None:
    """Return the reason why a program that runs is not taken from one version to another; None when it can be.

    Nothing is taken back: who has upgraded by hand keeps that. k3s goes up by one minor release at most (docs.k3s.io,
    "Upgrades", after Kubernetes' version skew policy). CockroachDB goes up among the patches of one release; another
    release has to be finalised (docs, `upgrade-cockroach-version`). Cilium has steps of its own before each
    (docs.cilium.io, "Upgrade Guide").
    """
    one, other = ([int(part) for part in re.findall(r"\d+", version)] for version in (running, wanted))
    if other < one:
        return f"{program} is not taken back"
    if program == "k3s":
        return None if one[0] == other[0] and other[1] - one[1] <= 1 else "k3s goes up one minor release at a time"
    if program == "cockroachdb" and one[:2] == other[:2]:
        return None
    return "`up` changes its release under no database that serves"


def outdated(mesh: Versions) -> Iterator[tuple[str, str, str]]:
    """Yield the program, the mesh's version and the newest one, for each in which the mesh is another than NEWEST."""
    newest = NEWEST.named()
    for program, version in mesh.named().items():
        if version != newest[program]:
            yield program, version, newest[program]
