"""The command line: it turns options into values and calls one command.

Results go to stdout, everything else to stderr. Commands import what they need when they run: the Azure SDK takes a
second to import, and `--help` should not wait for it.
"""

import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, NoReturn

import typer

from crdbmesh import __version__
from crdbmesh.terminal import backup, build, config, database, demo, exits, keep, look, machines, use
from crdbmesh.terminal.groups import BUILD, KEEP, LOOK, USE, Group, add

_HELP = """One secure CockroachDB over several Azure regions: k3s, Cilium Cluster Mesh, CockroachDB.

\b
  crdbmesh demo                                    try it in a simulated Azure
  crdbmesh up --regions eastus,westus,northeurope  create or update the mesh
  crdbmesh status                                  show how healthy it is
  crdbmesh down                                    delete all of it

Flags override CRDBMESH_* variables, which override the file given with --config, or else ./crdbmesh.yaml; without a
file it is the spec that the last `up` kept. Defaults come last.
"""
app = typer.Typer(
    name="crdbmesh",
    cls=Group,
    help=_HELP,
    epilog=exits.EPILOG,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line, by default this process's own, and end the process."""
    try:
        code = app(arguments, standalone_mode=False)
    except typer.Abort:
        # Ctrl-C or the end of the input where a question was asked.
        typer.echo("", err=True)
        sys.exit(exits.INTERRUPTED)
    except typer.TyperException as error:
        exits.print_usage_error(error, sys.argv[1:] if arguments is None else arguments)
        sys.exit(exits.USAGE)
    sys.exit(code if isinstance(code, int) else exits.DONE)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"crdbmesh {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    _version_option: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """One secure CockroachDB over several Azure regions."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


_REGIONS = "--regions eastus,westus,northeurope"

_build = partial(add, app, BUILD)
_look = partial(add, app, LOOK)
_use = partial(add, app, USE)
_build(
    demo.demo,
    "Try crdbmesh in a simulated Azure: no account, no cost.",
    "crdbmesh demo",
    "crdbmesh demo --keep  # leave it running, for other commands to use",
)
_build(
    build.doctor,
    "Check for anything that would make `up` fail; writes nothing.",
    f"crdbmesh doctor {_REGIONS}",
    "crdbmesh doctor  # login, subscription and local folder only",
)
_build(
    build.plan,
    "Show what `up` would do; writes nothing.",
    f"crdbmesh plan {_REGIONS}",
    "crdbmesh plan  # what has changed since the last `up`",
)
_build(
    build.up,
    "Create or update the mesh; resumes an interrupted run.",
    f"crdbmesh up {_REGIONS}",
    "crdbmesh up --config mesh.yaml --yes",
    "crdbmesh up --dry-run  # as `plan`",
    "crdbmesh up  # repair it, or resume",
)
_build(build.down, "Delete all of the mesh.", "crdbmesh down", "crdbmesh down crdb --yes --forget-kubeconfig")
_look(
    look.status,
    "Show the health of every layer in every region.",
    "crdbmesh status",
    "crdbmesh status --watch  # again every 5 s",
    "crdbmesh status crdb --output json",
)
_look(
    look.list_,
    "List the meshes of the subscription, with age and cost.",
    "crdbmesh list",
    "crdbmesh list --prices --output json",
)
_look(
    look.verify,
    "Prove it from inside: connections, DNS, latencies, rows, and more.",
    "crdbmesh verify",
    "crdbmesh verify crdb --output json",
)
app.add_typer(config.app, name="config", rich_help_panel=LOOK, short_help="Show the spec as `up` would use it.")
add(
    config.app,
    LOOK,
    config.show,
    "Show the spec as `up` would use it.",
    "crdbmesh config show --origin",
    "crdbmesh config show > crdbmesh.yaml",
)
_look(
    look.report,
    "Write one HTML file that shows the mesh, for people without a terminal.",
    "crdbmesh report",
    "crdbmesh report crdb --file /tmp/crdb.html",
)
_use(
    use.kubeconfig,
    "Print the clusters' contexts, or merge them.",
    "crdbmesh kubeconfig --merge --switch eastus",
    "crdbmesh kubeconfig > mesh.kubeconfig",
)
_use(
    machines.ssh,
    "Log in to a machine, or run a command on it.",
    "crdbmesh ssh eastus/1",
    "crdbmesh ssh eastus/1 -- sudo journalctl -u k3s -f",
)
_look(
    machines.logs,
    "Show logs of machines and pods, or archive them.",
    "crdbmesh logs eastus cockroachdb --follow",
    "crdbmesh logs k3s --since 10m",
    "crdbmesh logs --bundle support.tar.gz  # for a support case; without secrets",
)
add(
    app,
    KEEP,
    keep.maintain,
    "Patch and reboot machines, one at a time, while it serves.",
    "crdbmesh maintain",
    "crdbmesh maintain eastus/2 --reboot",
)
app.add_typer(keep.drill, name="drill", rich_help_panel=KEEP, short_help="Cut a region off on purpose, and heal it.")
add(
    keep.drill,
    KEEP,
    keep.region_down,
    "Cut a region off, probe SQL in the others, heal it.",
    "crdbmesh drill region-down westus",
    "crdbmesh drill region-down westus --by firewall --yes --output json",
)
add(keep.drill, KEEP, keep.heal, "Heal what a killed drill has left.", "crdbmesh drill heal")
app.add_typer(backup.backup, name="backup", rich_help_panel=KEEP, short_help="Back the database up, and list backups.")
add(backup.backup, KEEP, backup.now, "Make a full backup, and wait for it.", "crdbmesh backup now")
add(backup.backup, KEEP, backup.list_, "List the backups.", "crdbmesh backup list --output json")
add(
    app,
    KEEP,
    backup.restore,
    "Bring a backup into an empty mesh.",
    "crdbmesh restore",
    "crdbmesh restore /2026/11/28-013000.00 --yes",
)
_use(
    database.sql,
    "Open a SQL shell in the mesh, or run statements.",
    *("crdbmesh sql", "crdbmesh sql westus -e 'SHOW REGIONS FROM CLUSTER'", "crdbmesh sql --user app < schema.sql"),
)
_use(
    database.url,
    "Print a connection string; --forward opens a port for it.",
    *("crdbmesh url --forward  # for drivers on this computer, until Ctrl-C", "crdbmesh url westus --user app"),
)
_use(database.console, "Open the DB Console in the browser.", "crdbmesh console", "crdbmesh console westus")
