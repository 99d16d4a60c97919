"""What the internet offers to a simulated machine, how long it takes to fetch, and which names the machine resolves.

An artifact is a small stand-in with the right name; its SHA-256 is, for everyone who asks a simulated machine, the one
that its project publishes (k3s: `sha256sum-amd64.txt` and `-arm64.txt` of each release; Cilium: `index.yaml` of its
chart repository). Sources: docs.k3s.io (installation), github.com/k3s-io/k3s (releases), helm.cilium.io.
"""

from __future__ import annotations

import hashlib
import ipaddress
import urllib.parse
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crdbmesh_simulator.filesystem import Actor

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS

ELF = b"\x7fELF\x02\x01\x01\x00"
_PROGRAM = b"simulated program: "

_K3S = {
    ("v1.36.4+k3s1", "amd64"): "835873f37245fc615f547a2fe2af9402a347875f13fa64a1f136de644955ea3f",
    ("v1.36.4+k3s1", "arm64"): "c920706346d5ad4e5cd3c7bf1bb09ce71ebe07fec829e513e40f1caf98aed8bb",
    ("v1.36.2+k3s1", "amd64"): "65a55ec56c24eab44383086166ec620a491952b7e23941a49ddca6e8a4c4b4de",
    ("v1.36.2+k3s1", "arm64"): "1dc5fc17f15c28fa0a3f011cee28ad613f918c3d967a426e5a05d43ddb239817",
}
_CHARTS = {"cilium-1.20.0.tgz": "c5f013912360d1a334f44ef25f36da59ba3414cdb48f466ee12d0c4fdff27883"}

_RELEASES = "https://github.com/k3s-io/k3s/releases"

Download = Generator[float, None, bytes]
"""A download: it yields simulated seconds to wait, and returns the body."""


@dataclass(frozen=True, slots=True)
class Program:
    """What an executable file is: a command of the system, or k3s of some version."""

    name: str
    version: str = ""
    arch: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """What is at a URL.

    `content`: the body. `mib`: real size, which decides how long a download takes. `location`: where a redirect leads
    first, as GitHub's release downloads do; None without one.
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
    return ELF + _PROGRAM + f"{program.name} {program.version} {program.arch}".strip().encode() + b"\n"


def program(content: bytes) -> Program | None:
    """What an executable file is, or None when it is no program of this world."""
    for (version, arch), digest in _K3S.items():
        if len(content) > 1_000_000 and hashlib.sha256(content).hexdigest() == digest:
            return Program("k3s", version, arch)
    if not content.startswith(ELF + _PROGRAM):
        return None
    words = content[len(ELF + _PROGRAM) :].decode("utf-8", "replace").split()
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


def _canonical(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    path = urllib.parse.unquote(parts.path) or "/"
    return f"{parts.scheme}://{parts.hostname}{path}"


def _offers() -> tuple[dict[str, Offer], dict[bytes, str]]:
    offers: dict[str, Offer] = {}
    digests: dict[bytes, str] = {}
    for (version, arch), digest in _K3S.items():
        content = executable(Program("k3s", version, arch))
        digests[content] = digest
        cdn = "https://release-assets.githubusercontent.com/k3s"
        offers[_canonical(k3s_url(version, arch))] = Offer(content, 75, cdn)
    for chart, digest in _CHARTS.items():
        content = b"\x1f\x8b\x08\x00" + f"simulated archive: {chart}\n".encode()
        digests[content] = digest
        offers[f"https://helm.cilium.io/{chart}"] = Offer(content, 0.2)
    return offers, digests


_OFFERS, _DIGESTS = _offers()
_HOSTS = {urllib.parse.urlsplit(url).hostname for url in _OFFERS}


_INTERNET = "203.0.113.10"


def resolve(machine: MachineOS, name: str) -> list[str]:
    """The addresses of a host name, or none."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        return [name]
    text = machine.files.read("/etc/hosts", Actor()).decode("utf-8", "replace")
    rows = [line.partition("#")[0].split() for line in text.splitlines()]
    found = [row[0] for row in rows if name in row[1:] and ":" not in row[0]]
    if found:
        return found
    if name == machine.hostname:
        own = machine.private_ip()
        return [own] if own else ["127.0.1.1"]
    for other in list(machine.world.machines.values()):
        address = machine.world.network.private_ip(other)
        if (
            other.computer_name == name
            and address
            and machine.world.network.machine_at_private(address, machine.hardware) is other
        ):
            return [address]
    if host_known(f"https://{name}/") and machine.world.network.has_egress(machine.hardware):
        return [_INTERNET]
    return []
