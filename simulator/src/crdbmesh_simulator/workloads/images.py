"""The content of images: executables, entry point, working folder, search path.

From the images' own Dockerfiles: cockroachdb/cockroach is UBI minimal with tzdata, hostname and tar. Of the images of
Cilium, CoreDNS and k3s, only the program itself is part of this world.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field

_BIN = ("/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_COREUTILS = _words(
    "base64 cat chmod date echo env false head hostname id ls mkdir mktemp mv rm sha256sum sleep stat stty tee "
    "timeout touch true uname wc whoami sh grep"
)
_UBI_MINIMAL = _COREUTILS | _words("bash getent")
_DAEMON = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Image:
    """One image.

    `names`: executables by name; all are found in the usual folders. `entrypoint` and `command`: what runs when the
    container says nothing. `sh`: `bash`, `dash` or `busybox`: what `sh` is. `home`: a further folder in the search
    path, with one executable of the same name in it; empty without one.
    """

    names: frozenset[str]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    sh: str = "bash"
    cwd: str = "/"
    home: str = ""
    env: dict[str, str] = field(default_factory=dict)

    def find(self, word: str, cwd: str = "/") -> str | None:
        """The name of the executable that a command word stands for; None when the image has none."""
        where = posixpath.normpath(posixpath.join(cwd, word)) if "/" in word else self.where(word)
        folder, name = posixpath.split(where or "")
        known = (folder == self.home and name == posixpath.basename(self.home)) or (
            folder in _BIN and name in self.names
        )
        return name if name and known else None

    def where(self, word: str) -> str | None:
        """The full path of an executable, as `command -v` says it."""
        return f"/usr/bin/{word}" if word in self.names else None


_COCKROACH = Image(
    _UBI_MINIMAL,
    entrypoint=("/cockroach/cockroach",),
    cwd="/cockroach",
    home="/cockroach",
    env={
        "COCKROACH_CHANNEL": "official-docker",
        "PATH": "/cockroach:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    },
)

_IMAGES: dict[str, Image] = {
    "cockroachdb/cockroach": _COCKROACH,
    "cilium/cilium": Image(_DAEMON, command=("cilium-agent",)),
    "cilium/operator-generic": Image(_DAEMON, command=("cilium-operator-generic",)),
    "cilium/clustermesh-apiserver": Image(_DAEMON, entrypoint=("/usr/bin/clustermesh-apiserver",)),
    "cilium/certgen": Image(_DAEMON, entrypoint=("/usr/bin/cilium-certgen",)),
    "cilium/cilium-envoy": Image(_DAEMON, command=("cilium-envoy",)),
    "rancher/mirrored-coredns-coredns": Image(_DAEMON, entrypoint=("/coredns",)),
    "rancher/klipper-helm": Image(_DAEMON, entrypoint=("entry",)),
    "rancher/local-path-provisioner": Image(_DAEMON, entrypoint=("local-path-provisioner",)),
    "rancher/mirrored-metrics-server": Image(_DAEMON, entrypoint=("/metrics-server",)),
    "busybox": Image(_COREUTILS, command=("sh",), sh="busybox"),
}


def repository(reference: str) -> str:
    """Return the repository of an image reference without registry, tag and digest."""
    name = reference.split("@")[0].removeprefix("docker.io/").removeprefix("library/").removeprefix("quay.io/")
    head, slash, tail = name.rpartition("/")
    return head + slash + tail.split(":")[0]


def find(reference: str) -> Image | None:
    """Return the image that a reference names; None when no registry has it."""
    return _IMAGES.get(repository(reference))


def tag(reference: str) -> str:
    """The tag of an image reference; `latest` when it has none."""
    tail = reference.split("@")[0].rpartition("/")[2]
    return tail.partition(":")[2] or "latest"
