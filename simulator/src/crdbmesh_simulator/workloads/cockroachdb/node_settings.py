"""The settings of `cockroach start`, after `pkg/cli/flags.go` of v26.2."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crdbmesh_simulator.workloads.cockroachdb import command_line
from crdbmesh_simulator.workloads.cockroachdb.command_line import FlagError, Flags

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.programs import Container
    from crdbmesh_simulator.workloads.files import Files


@dataclass(slots=True)
class Settings:
    """The settings of a node, from its command line."""

    advertised: tuple[str, int]
    sql: tuple[str, int]
    rpc_port: int
    sql_port: int
    http_port: int
    join: list[str] = field(default_factory=list)
    locality: str = ""
    cluster_name: str = ""
    check_name: bool = True
    certs_dir: str = ""
    store: str = "/cockroach/cockroach-data"


def read(flags: Flags, container: Container, files: Files) -> Settings:
    """Settings from parsed flags.

    Raises FlagError: they make no sense together, or a file that they name is missing.
    """
    if flags.words:
        raise FlagError(f'unknown command "{flags.words[0]}" for "cockroach start"')
    if not flags.lists.get("join"):
        raise FlagError(
            "no --join flags provided to 'cockroach start'\nHINT: Consider using 'cockroach init' or "
            "'cockroach start-single-node' instead"
        )
    listen = command_line.address(flags.get("listen-addr") or flags.get("host"), int(flags.get("port") or 26257))
    advertised = flags.get("advertise-addr") or flags.get("advertise-host")
    port = int(flags.get("advertise-port") or listen[1])
    own = listen[0] or _hostname(container, files)
    sql = command_line.address(flags.get("sql-addr"), listen[1])
    http = command_line.address(flags.get("http-addr") or flags.get("http-host"), int(flags.get("http-port") or 8080))
    locality = flags.get("locality")
    if locality:
        locality = ",".join(f"{key}={value}" for key, value in command_line.locality(locality))
    stores = flags.lists.get("store") or ["/cockroach/cockroach-data"]
    path = next(
        (part.partition("=")[2] for part in stores[0].split(",") if part.startswith("path=")), stores[0].split(",")[0]
    )
    return Settings(
        advertised=command_line.address(advertised, port, own),
        sql=command_line.address(flags.get("advertise-sql-addr") or advertised, sql[1], own),
        rpc_port=listen[1],
        sql_port=sql[1],
        http_port=http[1],
        join=[seed.strip() for text in flags.lists.get("join", []) for seed in text.split(",") if seed.strip()],
        locality=locality,
        cluster_name=flags.get("cluster-name"),
        check_name=not flags.on("disable-cluster-name-verification"),
        certs_dir=flags.get("certs-dir") or container.env.get("COCKROACH_CERTS_DIR") or "/root/.cockroach-certs",
        store=path if path.startswith("/") else f"/cockroach/{path}",
    )


def _hostname(container: Container, files: Files) -> str:
    if files.is_file("/etc/hostname"):
        return files.read("/etc/hostname").decode().strip()
    return container.env.get("HOSTNAME") or str(container.pod["metadata"]["name"])
