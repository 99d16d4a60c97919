"""A node's knowledge of images: how long a pull takes, and which user an image runs as."""

from __future__ import annotations

import zlib

from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.kubelet.environment import ConfigError
from crdbmesh_simulator.kubernetes.controllers.objects import Obj

_SLOW = {"cockroachdb/cockroach": 14.0, "cilium/cilium": 12.0, "klipper-helm": 6.0, "clustermesh-apiserver": 6.0}
_UNPRIVILEGED = ("klipper-helm", "coredns", "metrics-server", "cilium/certgen")


def pull_s(image: str) -> float:
    """Simulated seconds that a first pull takes on an Azure VM."""
    base = next((span for word, span in _SLOW.items() if word in image), 3.0)
    return base + (zlib.crc32(image.encode()) % 20) / 10


def check_user(pod: Obj, container: Obj, image: str) -> None:
    """Hold a container to `runAsNonRoot`.

    Raises:
        ConfigError: it would run as root.
    """
    outer = objects.spec(pod).get("securityContext") or {}
    inner = container.get("securityContext") or {}
    if not inner.get("runAsNonRoot", outer.get("runAsNonRoot")):
        return
    user = inner.get("runAsUser", outer.get("runAsUser"))
    where = f'(pod: "{objects.name(pod)}_{objects.namespace(pod)}({objects.uid(pod)})", container: {container["name"]})'
    if user == 0:
        raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
    if user is None and not any(word in image for word in _UNPRIVILEGED):
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
