"""Every version that crdbmesh installs, pinned here and nowhere else, with the checksum of every download.

The SHA-256 values are those that the projects publish with the releases (k3s: `sha256sum-amd64.txt` and
`sha256sum-arm64.txt`; Cilium: the chart repository's `index.yaml`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that nodes download, with its SHA-256."""

    url: str
    sha256: str


K3S = "v1.36.4+k3s1"
K3S_BINARY = {
    "x86_64": Artifact(
        "https://github.com/k3s-io/k3s/releases/download/v1.36.4%2Bk3s1/k3s",
        "835873f37245fc615f547a2fe2af9402a347875f13fa64a1f136de644955ea3f",
    ),
    "aarch64": Artifact(
        "https://github.com/k3s-io/k3s/releases/download/v1.36.4%2Bk3s1/k3s-arm64",
        "c920706346d5ad4e5cd3c7bf1bb09ce71ebe07fec829e513e40f1caf98aed8bb",
    ),
}
"""The k3s binary by the architecture that `uname -m` prints."""

CILIUM = "1.20.0"
CILIUM_CHART = Artifact(
    "https://helm.cilium.io/cilium-1.20.0.tgz",
    "c5f013912360d1a334f44ef25f36da59ba3414cdb48f466ee12d0c4fdff27883",
)

COCKROACHDB = "v26.2.5"
COCKROACHDB_IMAGE = f"docker.io/cockroachdb/cockroach:{COCKROACHDB}"
