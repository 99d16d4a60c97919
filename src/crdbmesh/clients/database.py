"""CockroachDB through its pods: readiness, initialisation, node status.

No port of the database is open to the outside: commands run in pods, through the Kubernetes API. Health texts and
`node status` columns: CockroachDB docs v26.2 (`monitoring-and-alerting`, `cockroach-node`). Each function raises
KubeError when the pod, or the database in it, does not answer or refuses.
"""

import csv
import io
import re
from dataclasses import dataclass

from crdbmesh.clients.kube.client import Kube
from crdbmesh.clients.output import CommandResult
from crdbmesh.errors import KubeError
from crdbmesh.spec import documents, names

CERTS = "/cockroach/cockroach-certs"
USER_CERTS = "/dev/shm"  # noqa: S108 - of a pod, whose other folders are read-only
BINARY = "/cockroach/cockroach"
ALREADY = "cluster has already been initialized"

_INSTALL = f"""umask 077
cd {USER_CERTS}
read -rd '' crt
read -rd '' key
if [ "$(cat "client.$0.crt" 2>/dev/null)" != "$crt" ]; then
  cat {CERTS}/ca.crt > ca.crt
  echo "$key" > "client.$0.key"
  echo "$crt" > "client.$0.crt"
fi
exec "$@"
"""
"""Takes a certificate and its key from standard input, and leaves the rest of it to the command that follows."""
_NO_USER = "password authentication failed"
"""The database's answer to a certificate of a user that does not exist (pkg/sql/pgwire/auth.go)."""

Row = dict[str, str]
"""A row's values by column, as the SQL shell prints them; NULL is `NULL`."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node as `cockroach node status` shows it.

    Attributes:
        ranges, unavailable, underreplicated: the ranges that it speaks for; those of them without a majority of their
            replicas, and those with fewer than they should have.
    """

    number: int
    address: str
    locality: dict[str, str]
    live: bool
    available: bool
    ranges: int = 0
    unavailable: int = 0
    underreplicated: int = 0


def read_readiness(kube: Kube, namespace: str, pod: str) -> str | None:
    """Return None when the node is part of an initialised cluster and ready, else what it says."""
    status, body = kube.proxy_get(namespace, pod, names.COCKROACH_HTTP_PORT, "/health?ready=1", tls=True)
    if status == 200:
        return None
    try:
        return str(documents.read_json(body).get("error") or body)
    except (ValueError, AttributeError):
        return body.strip() or f"HTTP {status}"


def initialise(kube: Kube, namespace: str, *, target: str, cluster_name: str) -> None:
    """Initialise the cluster on `target`; a target that already is counts as done."""
    argv = [BINARY, "init", f"--certs-dir={CERTS}", f"--host={target}", f"--cluster-name={cluster_name}"]
    answer = _run(kube, namespace, argv, timeout_s=120)
    if answer.status != 0 and ALREADY not in answer.stderr and ALREADY not in answer.stdout:
        raise KubeError(f"cockroach init failed: {cause(answer)}")


def read_nodes(kube: Kube, namespace: str, host: str | None = None) -> list[Node]:
    """List every node that the cluster knows."""
    target = host or f"{names.COCKROACH_PUBLIC}.{names.zone(namespace)}:{names.COCKROACH_PORT}"
    argv = [BINARY, "node", "status", f"--certs-dir={CERTS}", f"--host={target}", "--ranges", "--format=csv"]
    answer = _run(kube, namespace, argv)
    if answer.status != 0:
        raise KubeError(f"cockroach node status failed: {cause(answer)}")
    return [
        Node(
            number=int(row["id"]),
            address=row["address"],
            locality=_tiers(row.get("locality", "")),
            live=row.get("is_live") == "true",
            available=row.get("is_available") == "true",
            ranges=_count(row.get("ranges")),
            unavailable=_count(row.get("ranges_unavailable")),
            underreplicated=_count(row.get("ranges_underreplicated")),
        )
        for row in csv.DictReader(io.StringIO(answer.stdout))
    ]


def read_cluster_id(kube: Kube, namespace: str, host: str) -> str:
    """Return the id of the cluster that the node at `host` belongs to."""
    # From v26.1 on, crdb_internal is closed to sessions that do not ask for it.
    asked = ("SET allow_unsafe_internals = true", "SELECT crdb_internal.cluster_id() AS id")
    return query(kube, namespace, *asked, host=host)[-1]["id"]


def query(kube: Kube, namespace: str, *statements: str, host: str | None = None, timeout_s: float = 60) -> list[Row]:
    """Run SQL statements as root in one session, which the first error ends; return the rows of the last one.

    Raises what `execute` does; of a statement that is refused, the KubeError has the SQLSTATE.
    """
    answer = execute(kube, namespace, *statements, host=host, timeout_s=timeout_s)
    if answer.status != 0:
        raise KubeError(f"{host or namespace}: SQL failed: {cause(answer)}")
    return [[], *read_results(answer.stdout)][-1]


def execute(
    kube: Kube,
    namespace: str,
    *statements: str,
    host: str | None = None,
    user: str = "root",
    form: str = "json",
    timeout_s: float = 60,
) -> CommandResult:
    """Run SQL statements in one session, which the first error ends; return what the SQL shell printed.

    The client pod in `namespace` runs them; they may hold secrets, and are in no argument list. It asks the node
    `host`, or else the ready nodes of its region, as root or as a `user` who has signed in. `form` is a format of the
    SQL shell, such as `table`; `timeout_s` is for all of it. A client pod that does not answer is a KubeError, one that
    takes too long a WaitError.
    """
    script = "".join(f"{statement}\n;\n" for statement in statements)
    argv = shell_argv(namespace, host=host, user=user, form=form)
    return _run(kube, namespace, argv, timeout_s=timeout_s, stdin=script.encode())


def sign_in(kube: Kube, namespace: str, user: str, *, cert_pem: str, key_pem: str, host: str | None = None) -> bool:
    """Bring a user's certificate to the client pod's memory, and log in with it; False when there is no such user.

    Without an answer of the pod or the database, or if the certificate is refused, it is a KubeError or WaitError.
    """
    argv = ["/bin/bash", "-c", _INSTALL, user, *shell_argv(namespace, host=host, user=user)]
    given = f"{cert_pem.strip()}\0{key_pem.strip()}\0SELECT 1;\n"
    answer = _run(kube, namespace, argv, stdin=given.encode())
    if answer.status != 0 and _NO_USER not in answer.stderr:
        raise KubeError(f"{host or namespace}: {user} cannot log in: {cause(answer)}")
    return answer.status == 0


def shell_argv(namespace: str, *, host: str | None = None, user: str = "root", form: str | None = None) -> list[str]:
    """Return the command line of the SQL shell in a client pod, as a user whose certificate is there."""
    certs = CERTS if user == "root" else USER_CERTS
    target = host or f"{names.COCKROACH_PUBLIC}.{names.zone(namespace)}:{names.COCKROACH_PORT}"
    argv = [BINARY, "sql", f"--certs-dir={certs}", f"--host={target}", f"--user={user}"]
    return [*argv, f"--format={form}"] if form else argv


def read_results(text: str) -> list[list[Row]]:
    """Return each statement's rows, as the SQL shell prints them with `--format=json`.

    A statement without rows has its tag where the rows would be: `[SET` and an empty line, or the tag alone
    (cockroachdb/cockroach, pkg/cli/clisqlexec/format_json.go and format_table.go, function `render`).
    """
    shown = re.findall(r"^(?:\[\n((?:  \{.*\},?\n)*)\]|\[?[A-Z].*(?:\n\n\])?)$", text, re.MULTILINE)
    return [documents.read_json(f"[{rows}]") for rows in shown]


def _run(
    kube: Kube, namespace: str, argv: list[str], *, timeout_s: float = 60, stdin: bytes | None = None
) -> CommandResult:
    return kube.exec(namespace, client_pod(kube, namespace), argv, container="client", timeout_s=timeout_s, stdin=stdin)


def client_pod(kube: Kube, namespace: str) -> str:
    """Return the name of the client pod that runs."""
    pods = kube.list("v1", "Pod", namespace, labels=f"app={names.COCKROACH_CLIENT}")
    running = [pod for pod in pods if pod.get("status", {}).get("phase") == "Running"]
    if not running:
        raise KubeError(f"{namespace}: no CockroachDB client pod runs")
    return str(running[0]["metadata"]["name"])


def _count(text: str | None) -> int:
    """Return a number; that of a node that tells nothing is NULL."""
    return int(text) if text and text.isdigit() else 0


def _tiers(locality: str) -> dict[str, str]:
    return dict(tier.split("=", 1) for tier in locality.split(",") if "=" in tier)


def cause(answer: CommandResult) -> str:
    """Return what went wrong: the lines of cockroach's error with its SQLSTATE and hint, or the last one."""
    lines = answer.stderr.strip().splitlines() or answer.stdout.strip().splitlines() or [""]
    return "; ".join([line for line in lines if line.startswith(("ERROR", "SQLSTATE", "HINT"))] or lines[-1:])
