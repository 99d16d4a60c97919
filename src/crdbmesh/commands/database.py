"""`crdbmesh sql`, `url` and `console`: ways into the database, as a SQL user with a certificate of the mesh's CA."""

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlencode

from crdbmesh.clients import database
from crdbmesh.clients.kube.client import Kube
from crdbmesh.clients.kube.exec import Ends
from crdbmesh.clients.output import CommandResult
from crdbmesh.commands import specs
from crdbmesh.errors import ConfigError, KubeError, WaitError
from crdbmesh.local import users
from crdbmesh.local.pki import KeyPair
from crdbmesh.observe import database as observed
from crdbmesh.observe import rollouts
from crdbmesh.run.world import World
from crdbmesh.spec import names

DEFAULT_USER = "crdbmesh"
SQL_PORT, CONSOLE_PORT = names.COCKROACH_PORT, names.COCKROACH_HTTP_PORT
_ROOT = "root"
_USER = re.compile(r"[a-z0-9_][a-z0-9._-]{0,62}")
_RESERVED = ("admin", "node", "none", "public")
_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Way:
    """A way to the database that has answered.

    Attributes:
        kube, client: the client pod's cluster and namespace.
        host: the node's address; None: any ready node of the client pod's region.
        region: the node's region.
        user: the SQL user, who has signed in.
    """

    kube: Kube
    client: str
    host: str | None
    region: str
    user: str

    def execute(self, statements: list[str], *, form: str) -> CommandResult:
        """Run statements in one session; see `clients.database.execute`."""
        run = partial(database.execute, self.kube, self.client, *statements, timeout_s=_TIMEOUT_S)
        return run(host=self.host, user=self.user, form=form)

    def attach(self, ends: Ends, *, form: str | None) -> int:
        """Run the SQL shell with the operator's input and output; return its exit status."""
        argv = database.shell_argv(self.client, host=self.host, user=self.user, form=form)
        pod = database.client_pod(self.kube, self.client)
        return self.kube.attach(self.client, pod, argv, ends, container="client")


def user_name(given: str | None) -> str:
    """Return the SQL user, the one given in lower case or our own; raise ConfigError when it cannot log in."""
    user = (given or DEFAULT_USER).lower()
    if not _USER.fullmatch(user) or user in _RESERVED:
        reason = "is reserved by CockroachDB" if user in _RESERVED else "is not a name of a SQL user"
        raise ConfigError.of("--user", str(given), reason, "give letters, digits, `_`, `.` and `-`, at most 63")
    return user


def find_way(world: World, region: str | None, user: str, told: Callable[[str], None]) -> Way:
    """Return the first way that answers, with the user signed in; a user that does not exist is created.

    Our own user becomes a member of `admin`; any other has no privileges yet. `told` is told of it. A region that is
    not the mesh's is a ConfigError; when no client pod or no node answers, that is a KubeError.
    """
    pair = None if user == _ROOT else _certificate(world, user)
    failed = []
    for client, host in _candidates(world, region):
        try:
            way = Way(world.kube(client), client, host, region or client, user)
            if pair is None:
                database.query(way.kube, client, "SELECT 1", host=host)
            elif not database.sign_in(way.kube, client, user, cert_pem=pair.cert_pem, key_pem=pair.key_pem, host=host):
                told(_create(way))
        except (KubeError, WaitError) as error:
            failed.append(str(error))
        else:
            return way
    raise KubeError(f"the database does not answer: {'; '.join(failed)}", hint="see `crdbmesh status`")


def url(world: World, user: str, *, host: str, port: int) -> str:
    """Return a connection string for any PostgreSQL driver: the server is verified, the user is its certificate."""
    _certificate(world, user)
    files = {name: str(path) for name, path in users.paths(world.folder, user).items()}
    query = urlencode({"sslmode": "verify-full", **files}, quote_via=quote, safe="/")
    return f"postgresql://{quote(user)}@{host}:{port}/defaultdb?{query}"


def inside_host(region: str) -> str:
    """Return the host name of a region's nodes for pods of its cluster."""
    return f"{names.COCKROACH_PUBLIC}.{names.zone(region)}"


def ca_file(world: World) -> Path:
    """Return the file of the CA's certificate, which is written if it is missing."""
    _certificate(world, DEFAULT_USER)
    return users.paths(world.folder, DEFAULT_USER)["sslrootcert"]


def find_ready(world: World, region: str | None) -> tuple[Kube, str, str]:
    """Return the cluster, region and name of a database pod that is ready: in a region, or in the first that has one.

    A region that is not the mesh's is a ConfigError; when no pod is ready, that is a KubeError.
    """
    failed = []
    for name in [specs.find_region(world.mesh, region).name] if region else [one.name for one in world.mesh.regions]:
        try:
            kube = world.kube(name)
            for pod in kube.list("v1", "Pod", name, labels=observed.PODS):
                if rollouts.is_ready(pod):
                    return kube, name, str(pod["metadata"]["name"])
            failed.append(f"{name}: no CockroachDB pod is ready")
        except KubeError as error:
            failed.append(str(error))
    raise KubeError("; ".join(failed), hint="see `crdbmesh status`")


def carry(world: World, region: str | None, port: int, client: socket.socket) -> None:
    """Carry a connection to a port of a database pod that is ready now; see `find_ready` and `Kube.carry`."""
    kube, namespace, pod = find_ready(world, region)
    kube.carry(namespace, pod, port, client)


def _certificate(world: World, user: str) -> KeyPair:
    return users.certificate(world.folder, world.cockroach_ca(), user, now=datetime.now(UTC))


def _candidates(world: World, region: str | None) -> Iterator[tuple[str, str | None]]:
    """Yield client regions with the node to ask: the region's own client pod first, if it has one."""
    clients = [one.name for one in world.mesh.client_regions()]
    yield from ((client, None) for client in clients if region in (None, client))
    if region is not None:
        for client in clients:
            if client != region:
                for ordinal in range(specs.find_region(world.mesh, region).replicas):
                    yield client, observed.address_of(region, ordinal)


def _create(way: Way) -> str:
    is_own = way.user == DEFAULT_USER
    granted = [f'GRANT admin TO "{way.user}"'] if is_own else []
    database.query(way.kube, way.client, f'CREATE USER IF NOT EXISTS "{way.user}"', *granted, host=way.host)
    rights = "a member of admin" if is_own else "who may do nothing until somebody grants it something"
    return f"Created the SQL user {way.user}, {rights}."
