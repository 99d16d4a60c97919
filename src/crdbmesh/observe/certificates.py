"""Reads the certificates that a mesh lives by, and judges when each ends and whether it is the mesh's own."""

import base64
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crdbmesh.local import contents, kubeconfig, pki
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Region

SOON = dt.timedelta(days=30)
"""The time before its end at which a certificate is too old."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """The certificates of a region.

    Attributes:
        ends: the end of each, by its name for people.
        foreign: what is not from the mesh's own CAs, in words.
    """

    ends: dict[str, dt.datetime]
    foreign: tuple[str, ...]


def read(world: World, region: Region) -> Certificates:
    """Read a region's certificates; those of the database and of Cilium must be from the mesh's own CAs."""
    kube, ca = world.kube(region.name), world.cockroach_ca().cert_pem
    user = kubeconfig.current(kubeconfig.parse(world.folder.read(contents.kubeconfig(region.name)) or ""))["user"]
    found = {
        "k3s client certificate of the kubeconfig": base64.b64decode(user["client-certificate-data"]).decode(),
        "database CA": ca,
        "Cilium CA": world.cilium_ca().cert_pem,
    }
    foreign = [problem] if (problem := foreign_cilium_ca(world, region)) else []
    for secret, file in ((names.NODE_SECRET, "node.crt"), (names.CLIENT_SECRET, "client.root.crt")):
        stored = kube.find("v1", "Secret", secret, region.name)
        if stored is not None or secret == names.NODE_SECRET:
            name = f"database certificate {file}"
            found[name] = pem(stored, file)
            if not found[name] or not pki.is_issued_by(found[name], ca) or pem(stored, "ca.crt") != ca.strip():
                foreign.append(f"{name} (Secret {secret}) is not from the mesh's CA")
    return Certificates({name: pki.expires(text) for name, text in found.items() if text}, tuple(foreign))


def foreign_cilium_ca(world: World, region: Region) -> str | None:
    """Say that a region's Cilium lives by another CA than the mesh's; None when it does not."""
    stored = world.kube(region.name).find("v1", "Secret", names.CILIUM_CA_SECRET, names.KUBE_SYSTEM)
    is_own = stored is None or pem(stored, "ca.crt") == world.cilium_ca().cert_pem.strip()
    return None if is_own else f"the Cilium CA in {region.name} (Secret {names.CILIUM_CA_SECRET}) is not the mesh's"


def pem(secret: Mapping[str, Any] | None, file: str) -> str:
    """Return a file of a Secret; empty when there is none."""
    return base64.b64decode(((secret or {}).get("data") or {}).get(file, "")).decode(errors="replace").strip()
