"""The contents of a mesh's local folder: the names of its files, and the secrets that the mesh is made with.

A secret may be made only while nothing exists that was made with it: no existing machine accepts a new login key, and
no running cluster trusts a new CA. Each secret belongs to the whole mesh, to a region, or to a machine.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from crdbmesh.spec.mesh import Mesh

LOGIN_KEY = "login.key"
CILIUM_CA = "ca/cilium.pem"
COCKROACH_CA = "ca/cockroach.pem"
TOKENS = "tokens/"
CREATED = "created"
"""The ids of the resource groups and resources that were made for the mesh, one a line, each written before it."""
DOWN_BEGUN = "down-begun"
"""Marks a mesh of which a `down` found something to delete; the next `up` removes it."""
MADE_WITH = (LOGIN_KEY, "ca", TOKENS, "host-keys")
"""The files and folders of the secrets that something was made with."""
CLUSTER_ID = "cluster-id"
"""The id of the CockroachDB cluster that was initialised; no secret, but it outlives the volumes."""

OWN_ADDRESS = "own-address"
"""The address that `own` in the spec stood for in the last `up`; `status` tells when yours is another now."""

Place = tuple[str, int]
"""A machine's region and number."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret of the local folder.

    Attributes:
        file: its path in the folder.
        kind: its kind, for people: `login key`.
        of: its region or machine, for people; empty for the whole mesh.
        region: its region, or None.
        number: the number of its machine in that region, or None.
    """

    file: str
    kind: str
    of: str = ""
    region: str | None = None
    number: int | None = None

    def is_used(self, machines: Iterable[Place]) -> bool:
        """Return True when one of these machines was made with it."""
        return any(self.region in (None, region) and self.number in (None, number) for region, number in machines)


def host_key(node: str) -> str:
    """Return the file of the SSH host key that a machine is given at its birth."""
    return f"host-keys/{node}.key"


def own_host_key(node: str) -> str:
    """Return the file of the public host key that a machine has made itself, and shows from then on."""
    return f"host-keys/{node}.pub"


def next_host_keys(node: str) -> str:
    """Return the file of the public host keys that a machine has made and may show already, one a line."""
    return f"host-keys/{node}.next"


def known_host(node: str) -> str:
    """Return the file of the public host keys by which a machine is known, in the form of OpenSSH's known_hosts."""
    return f"known-hosts/{node}"


def token(region: str) -> str:
    """Return the file of a region's k3s token."""
    return f"{TOKENS}{region}"


def kubeconfig(region: str) -> str:
    """Return the file of a region's kubeconfig, which can be fetched again."""
    return f"kubeconfigs/{region}.yaml"


def begun(region: str) -> str:
    """Return the file that marks a region's k3s cluster as begun."""
    return f"begun/{region}"


def secrets(mesh: Mesh) -> tuple[Secret, ...]:
    """Return every secret of a mesh."""
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
    """Return the secrets whose files are missing although machines were made with them."""
    return tuple(secret for secret in wanted if secret.file not in have and secret.is_used(machines))


def describe(missing: Sequence[Secret], *, whole: bool) -> str:
    """Describe lost secrets and the consequences.

    Their files are named unless the `whole` folder is lost.
    """
    meaning = "; ".join(dict.fromkeys(_MEANS[secret.kind] for secret in missing))
    meaning = f"{meaning[:1].upper()}{meaning[1:]}"
    if not whole:
        return f"these files are missing: {', '.join(secret.file for secret in missing)}. {meaning}"
    kinds: dict[str, list[str]] = {}
    for secret in missing:
        kinds.setdefault(secret.kind, []).append(secret.of)
    listed = [f"{kind} ({', '.join(of)})" if any(of) else kind for kind, of in kinds.items()]
    return f"these are lost: {', '.join([*listed, 'the kubeconfigs', 'the spec'])}. {meaning}"


def remedy(mesh: str, *, whole: bool) -> str:
    """Return the remedy for lost secrets."""
    restore = "restore the folder from a backup" if whole else "restore exactly these files from a backup"
    return (
        f"{restore}; without one `crdbmesh status {mesh}` and `crdbmesh down {mesh}` still work, and the database runs "
        "on: back it up with SQL (BACKUP) before `down`, and restore it into what `crdbmesh up` makes then"
    )


_MEANS = {
    "login key": "without the login key nobody can log in to the machines",
    "host key": "without its host key a machine cannot be told from an impostor",
    "k3s token": "without the token no machine can join its region's cluster",
    "Cilium CA": "without the Cilium CA no region can be added",
    "CockroachDB CA": "without the CockroachDB CA no database node can be added and no certificate renewed",
}
