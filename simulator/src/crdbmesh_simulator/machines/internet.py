"""What the internet offers to a simulated machine, and how long it takes to fetch.

An artifact is a small stand-in with the right name; its SHA-256 is, for everyone who asks a simulated machine, the one
that its project publishes (k3s: `sha256sum-amd64.txt` and `-arm64.txt` of each release; Cilium: `index.yaml` of its
chart repository). Sources: docs.k3s.io (installation), github.com/k3s-io/k3s (releases), helm.cilium.io.
"""

from __future__ import annotations

import hashlib
import urllib.parse
from dataclasses import dataclass

_ELF = b"\x7fELF\x02\x01\x01\x00"
_PROGRAM = b"simulated program: "

STABLE = "v1.36.4+k3s1"
"""What the k3s release channels `stable` and `latest` point at."""

_K3S = {
    ("v1.36.4+k3s1", "amd64"): "835873f37245fc615f547a2fe2af9402a347875f13fa64a1f136de644955ea3f",
    ("v1.36.4+k3s1", "arm64"): "c920706346d5ad4e5cd3c7bf1bb09ce71ebe07fec829e513e40f1caf98aed8bb",
    ("v1.36.2+k3s1", "amd64"): "65a55ec56c24eab44383086166ec620a491952b7e23941a49ddca6e8a4c4b4de",
    ("v1.36.2+k3s1", "arm64"): "1dc5fc17f15c28fa0a3f011cee28ad613f918c3d967a426e5a05d43ddb239817",
}
_CHARTS = {"cilium-1.20.0.tgz": "c5f013912360d1a334f44ef25f36da59ba3414cdb48f466ee12d0c4fdff27883"}

_RELEASES = "https://github.com/k3s-io/k3s/releases"
_CHANNELS = "https://update.k3s.io/v1-release/channels"

INSTALLER_MARK = b"INSTALL_K3S_SKIP_DOWNLOAD"
"""What tells the k3s installation script from other scripts."""

_INSTALLER = b"""#!/bin/sh
set -e
# Installs k3s as a systemd service.
#   curl -sfL https://get.k3s.io | ENV_VAR=... sh -s - [command] [flags]
# Understands: K3S_*, INSTALL_K3S_VERSION, INSTALL_K3S_CHANNEL, INSTALL_K3S_EXEC, INSTALL_K3S_SKIP_DOWNLOAD,
#   INSTALL_K3S_SKIP_ENABLE, INSTALL_K3S_SKIP_START, INSTALL_K3S_FORCE_RESTART, INSTALL_K3S_SYMLINK,
#   INSTALL_K3S_BIN_DIR, INSTALL_K3S_SYSTEMD_DIR, INSTALL_K3S_NAME, INSTALL_K3S_TYPE
"""


@dataclass(frozen=True, slots=True)
class Program:
    """What an executable file is: a command of the system, or k3s of some version."""

    name: str
    version: str = ""
    arch: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """What is at a URL.

    Attributes:
        content: the body.
        mib: real size, which decides how long a download takes.
        location: where a redirect leads first, as GitHub's release downloads do; None without one.
    """

    content: bytes
    mib: float = 0.1
    location: str | None = None

    @property
    def seconds(self) -> float:
        """Simulated seconds that a download takes."""
        return 0.4 + self.mib / 25


def executable(program: Program) -> bytes:
    """The content of an executable file."""
    return _ELF + _PROGRAM + f"{program.name} {program.version} {program.arch}".strip().encode() + b"\n"


def program(content: bytes) -> Program | None:
    """What an executable file is, or None when it is no program of this world."""
    for (version, arch), digest in _K3S.items():
        if len(content) > 1_000_000 and hashlib.sha256(content).hexdigest() == digest:
            return Program("k3s", version, arch)
    if not content.startswith(_ELF + _PROGRAM):
        return None
    words = content[len(_ELF + _PROGRAM) :].decode("utf-8", "replace").split()
    found = Program(*words[:3])
    return found if executable(found) == content else None


def sha256(content: bytes) -> str:
    """The SHA-256 of a file: for a published artifact, the published one."""
    return _DIGESTS.get(content) or hashlib.sha256(content).hexdigest()


def find_offer(url: str) -> Offer | None:
    """What is at `url`, or None: 404."""
    return _OFFERS.get(_canonical(url))


def host_known(url: str) -> bool:
    """Whether the URL's host exists in this world."""
    return urllib.parse.urlsplit(url).hostname in _HOSTS


def k3s_url(version: str, arch: str) -> str:
    """Where a k3s binary is published."""
    suffix = "" if arch == "amd64" else f"-{arch}"
    return f"{_RELEASES}/download/{urllib.parse.quote(version, safe='')}/k3s{suffix}"


def checksum_url(version: str, arch: str) -> str:
    """Where the checksums of a k3s release are published."""
    return f"{_RELEASES}/download/{urllib.parse.quote(version, safe='')}/sha256sum-{arch}.txt"


def _canonical(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    path = urllib.parse.unquote(parts.path) or "/"
    return f"{parts.scheme}://{parts.hostname}{path}"


def _offers() -> tuple[dict[str, Offer], dict[bytes, str]]:
    offers: dict[str, Offer] = {"https://get.k3s.io/": Offer(_INSTALLER)}
    digests: dict[bytes, str] = {}
    for (version, arch), digest in _K3S.items():
        content = executable(Program("k3s", version, arch))
        digests[content] = digest
        cdn = "https://release-assets.githubusercontent.com/k3s"
        offers[_canonical(k3s_url(version, arch))] = Offer(content, 75, cdn)
        name = "k3s" if arch == "amd64" else f"k3s-{arch}"
        offers[_canonical(checksum_url(version, arch))] = Offer(f"{digest}  {name}\n".encode(), 0.1, cdn)
    for chart, digest in _CHARTS.items():
        content = b"\x1f\x8b\x08\x00" + f"simulated archive: {chart}\n".encode()
        digests[content] = digest
        offers[f"https://helm.cilium.io/{chart}"] = Offer(content, 0.2)
    for channel in ("stable", "latest", "v1.36"):
        offers[f"{_CHANNELS}/{channel}"] = Offer(b"", 0.1, f"{_RELEASES}/tag/{STABLE}")
    return offers, digests


_OFFERS, _DIGESTS = _offers()
_HOSTS = {urllib.parse.urlsplit(url).hostname for url in _OFFERS}
