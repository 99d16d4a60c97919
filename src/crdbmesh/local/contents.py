"""What a mesh's local folder must hold: every secret that the mesh is made with, and when each may still be made.

A secret may be made only while nothing that was made with it is there: a fresh login key opens no machine that exists,
a fresh CA is trusted by no cluster that runs. Each belongs to the whole mesh, to a region, or to a machine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from crdbmesh.spec.mesh import Mesh

LOGIN_KEY = "login.key"
CILIUM_CA = "ca/cilium.pem"
COCKROACH_CA = "ca/cockroach.pem"
TOKENS = "tokens/"
CLUSTER_ID = "cluster-id"
"""The id of the CockroachDB cluster that was initialised. No secret, but it outlives the volumes."""

Place = tuple[str, int]
"""A machine by region and number."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret of the local folder.

    Attributes:
        file: its path in the folder.
        kind: what it is, for people, as it is listed: `login key`.
        of: of which region or machine, for people; empty for the whole mesh.
        region: the only region it is for, or None.
        number: the only machine of that region it is for, or None.
    """

    file: str
    kind: str
    of: str = ""
    region: str | None = None
    number: int | None = None

    def is_used(self, machines: Iterable[Place]) -> bool:
        """Whether one of these machines was made with it."""
        return any(self.region in (None, region) and self.number in (None, number) for region, number in machines)


def host_key(node: str) -> str:
    """The file of a machine's SSH host key."""
    return f"host-keys/{node}.key"


def token(region: str) -> str:
    """The file of a region's k3s token."""
    return f"{TOKENS}{region}"


def kubeconfig(region: str) -> str:
    """The file of a region's kubeconfig; it can be fetched again."""
    return f"kubeconfigs/{region}.yaml"


def begun(region: str) -> str:
    """The file that says that a region's k3s cluster was begun."""
    return f"begun/{region}"


def secrets(mesh: Mesh) -> tuple[Secret, ...]:
    """Every secret of a mesh."""
    return (
        Secret(LOGIN_KEY, "login key"),
        Secret(CILIUM_CA, "Cilium CA"),
        Secret(COCKROACH_CA, "CockroachDB CA"),
        *(Secret(token(region.name), "k3s token", region.name, region.name) for region in mesh.all_regions()),
        *(
            Secret(host_key(machine.node), "host key", machine.node, machine.region, machine.number)
            for machine in mesh.all_machines()
        ),
    )


def lost(wanted: Iterable[Secret], have: Collection[str], machines: Collection[Place]) -> tuple[Secret, ...]:
    """The secrets whose files are missing although machines were made with them.

    Args:
        wanted: the secrets of the mesh.
        have: the files that are there.
        machines: the machines that are there.
    """
    return tuple(secret for secret in wanted if secret.file not in have and secret.is_used(machines))


def describe(missing: Sequence[Secret], *, whole: bool) -> str:
    """What is lost and what that means.

    Args:
        missing: the lost secrets, at least one.
        whole: nothing at all is left; otherwise exactly these files are missing, and are named.
    """
    meaning = "; ".join(dict.fromkeys(_MEANS[secret.kind] for secret in missing))
    meaning = f"{meaning[:1].upper()}{meaning[1:]}"
    if not whole:
        return f"these files are missing: {', '.join(secret.file for secret in missing)}. {meaning}"
    kinds: dict[str, list[str]] = {}
    for secret in missing:
        kinds.setdefault(secret.kind, []).append(secret.of)
    listed = [f"{kind} ({', '.join(of)})" if any(of) else kind for kind, of in kinds.items()]
    return f"lost are {', '.join([*listed, 'the kubeconfigs', 'the spec'])}. {meaning}"


def remedy(mesh: str, *, whole: bool) -> str:
    """What can be done about it."""
    restore = "restore the folder from a backup" if whole else "restore exactly these files from a backup"
    return (
        f"{restore}; without one `crdbmesh status {mesh}` and `crdbmesh down {mesh}` still work, and the database runs "
        "on: back it up with SQL (BACKUP) before `down`, and restore it into what `crdbmesh up` makes then"
    )


_MEANS = {
    "login key": "without the login key nobody can log in to the machines",
    "host key": "without its host key a machine cannot be told from another that answers in its place",
    "k3s token": "without the token no machine can join its region's cluster",
    "Cilium CA": "without the Cilium CA no region can be added",
    "CockroachDB CA": "without the CockroachDB CA no database node can be added and no certificate renewed",
}
