"""The commands that build, change and delete a mesh, or say what would happen: their options and output."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import typer

from crdbmesh.errors import CrdbmeshError
from crdbmesh.terminal import exits, inputs, options

if TYPE_CHECKING:
    from crdbmesh.commands.plan import PlanResult


def up(
    context: typer.Context,
    mesh_name: options.NewNameArgument = None,
    name: options.Name = None,
    regions: options.Regions = None,
    config_file: options.ConfigFile = None,
    allow_from: options.AllowFrom = None,
    no_address_lookup: options.NoAddressLookup = False,
    machines_per_region: options.MachinesPerRegion = None,
    machine_size: options.MachineSize = None,
    profile: options.Profile = None,
    rules: options.Rules = None,
    break_lease: options.BreakLease = None,
    allow_outage: options.AllowOutage = False,
    prices: options.Prices = False,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    output: options.OutputOption = "text",
) -> None:
    """Create or update the mesh; resumes an interrupted run.

    Without --regions and --config it uses ./crdbmesh.yaml, or else the spec that the last `up` kept.
    """
    if dry_run:
        who, address = (mesh_name, name, regions, config_file), (allow_from, no_address_lookup)
        plan(*who, *address, machines_per_region, machine_size, profile, prices, output)
        return
    from crdbmesh.commands import cost, specs, status
    from crdbmesh.commands import up as command
    from crdbmesh.terminal import console, doctor_view, plan_view, progress, results

    with exits.mapped(output) as signals:
        size = machine_size
        given = inputs.given(regions, mesh_name or name, config_file, allow_from, machines_per_region, size, profile)
        cloud = inputs.cloud(lookup=not no_address_lookup)
        mesh = specs.choose(given, cloud, inputs.root())
        asks = inputs.must_ask(yes=yes, output=output, remedy="pass --yes to skip the question")
        mesh = command.with_caller(mesh, cloud, sure=not asks)
        screen, paid = console.make(stderr=True, always=asks), cost.of_mesh(mesh, cloud if prices else None)

        told = partial(console.show_start, screen, mesh=mesh, doing="Checking subscription, regions, sizes and quota …")

        def ask(found: PlanResult) -> None:
            plan_view.show_plan(screen, found, paid)
            if asks and (found.gaps() or found.refused()):
                with signals.asking():
                    if not typer.confirm("Create or update this mesh?", err=True):
                        raise typer.Exit(exits.FAILED)

        def decide(wider: Mapping[str, str]) -> bool:
            with signals.asking():
                console.show_wider(screen, wider)
                return not typer.confirm("Remove these rules? No keeps them", err=True)

        with signals.finishing("`crdbmesh up` will resume from there.") as stop:
            ended = command.run_up(
                mesh,
                cloud,
                inputs.folder(mesh.name),
                watch=progress.watch(screen),
                told=told,
                ask=ask,
                warn=doctor_view.warn(screen),
                keeps_rules=rules,
                break_lease=break_lease,
                allow_outage=allow_outage,
                decide=decide if asks else command.refuse_wider,
                stop=stop,
            )
        again = inputs.again("up", mesh.name)
        results.show_results(screen, ended.results, seconds=ended.seconds, journal=str(ended.journal), again=again)
        if ended.held is not None:
            console.show_error(screen, ended.held)
        if output == "json":
            exits.print_json({**ended.document(), "cost": paid.document()})
        elif ended.done:
            typer.echo(f"{mesh.name} is up in {', '.join(region.name for region in mesh.regions)}.")
            folder = inputs.folder(mesh.name)
            try:
                with signals.leaving():
                    health = status.run_status(mesh, cloud, folder)
            except CrdbmeshError as error:
                console.show_error(screen, error)
            else:
                results.show_card(screen, ended, paid, health, inputs.next_commands(context, mesh.name), folder.path)
        interrupted = ended.stopped and ended.held is None
        raise typer.Exit(exits.INTERRUPTED if interrupted else exits.DONE if ended.done else exits.FAILED)


def plan(
    mesh_name: options.NewNameArgument = None,
    name: options.Name = None,
    regions: options.Regions = None,
    config_file: options.ConfigFile = None,
    allow_from: options.AllowFrom = None,
    no_address_lookup: options.NoAddressLookup = False,
    machines_per_region: options.MachinesPerRegion = None,
    machine_size: options.MachineSize = None,
    profile: options.Profile = None,
    prices: options.Prices = False,
    output: options.OutputOption = "text",
) -> None:
    """Show what `up` would create, change, restart and cost; writes nothing to the cloud."""
    from crdbmesh.commands import cost, specs, up
    from crdbmesh.commands import plan as command
    from crdbmesh.terminal import console, doctor_view, plan_view

    with exits.mapped(output, refused="`up` would stop here:") as signals, signals.leaving():
        size = machine_size
        given = inputs.given(regions, mesh_name or name, config_file, allow_from, machines_per_region, size, profile)
        cloud = inputs.cloud(lookup=not no_address_lookup)
        mesh = up.with_caller(specs.choose(given, cloud, inputs.root()), cloud)
        screen, paid = console.make(stderr=True), cost.of_mesh(mesh, cloud if prices else None)
        told = partial(console.show_start, screen, mesh=mesh, doing="Reading the current state …")
        folder, warn = inputs.folder(mesh.name), doctor_view.warn(screen)
        found = command.run_plan(mesh, cloud, folder, told=told, warn=warn)
        if output == "json":
            exits.print_json({**found.document(), "cost": paid.document()})
        else:
            plan_view.show_plan(console.make(stderr=False), found, paid)
        raise typer.Exit(exits.FAILED if found.refused() else exits.DONE)


def doctor(
    mesh_name: options.NewNameArgument = None,
    name: options.Name = None,
    regions: options.Regions = None,
    config_file: options.ConfigFile = None,
    allow_from: options.AllowFrom = None,
    no_address_lookup: options.NoAddressLookup = False,
    machines_per_region: options.MachinesPerRegion = None,
    machine_size: options.MachineSize = None,
    profile: options.Profile = None,
    output: options.OutputOption = "text",
) -> None:
    """Check for anything that would make `up` fail; writes nothing. Exit code 3 when there is something.

    Without regions, it checks your login, subscription and local folder.
    """
    from crdbmesh.commands import doctor as command
    from crdbmesh.terminal import console, doctor_view

    with exits.mapped(output) as signals, signals.leaving():
        size = machine_size
        given = inputs.given(regions, mesh_name or name, config_file, allow_from, machines_per_region, size, profile)
        cloud = inputs.cloud(lookup=not no_address_lookup)
        mesh = command.find_mesh(given, cloud, inputs.root())
        known = mesh.name if mesh else name or command.NAME
        found = command.run_doctor(mesh, cloud, inputs.folder(known))
        if output == "json":
            exits.print_json(found.document())
        else:
            screen = console.make(stderr=False)
            doctor_view.show_verdicts(screen, known, found.verdicts, whole=mesh is not None)
        raise typer.Exit(exits.DONE if found.ok else exits.PREFLIGHT)


def down(
    mesh_name: options.NameArgument = None,
    name: options.Name = None,
    yes: options.YesDown = False,
    dry_run: options.DryRun = False,
    no_wait: options.NoWait = False,
    forget_kubeconfig: options.ForgetKubeconfig = False,
    purge: options.Purge = False,
    break_lease: options.BreakLease = None,
    output: options.OutputOption = "text",
) -> None:
    """Delete all of the mesh, and nothing else; its local folder is moved aside for 30 days."""
    from crdbmesh.commands import down as command
    from crdbmesh.commands import specs
    from crdbmesh.terminal import console, doctor_view, progress, results

    with exits.mapped(output) as signals:
        known = specs.name_of(mesh_name or name, inputs.root())
        cloud, folder = inputs.cloud(), inputs.folder(known)
        screen = console.make(stderr=True, always=not yes)
        with signals.leaving():
            found = command.find(known, cloud, folder, lambda aim: console.show_aim(screen, aim))
        if dry_run:
            if output == "json":
                listed = {"found": found.count, "delete": list(found.names()), "kept": list(found.kept)}
                exits.print_json({"command": "down", "mesh": known, "dry_run": True, **listed})
            else:
                console.show_belongings(console.make(stderr=False), known, found)
            return
        console.show_belongings(screen, known, found)
        unproven = tuple(str(one["id"]) for one in found.unproven)
        if (found.count or unproven or purge) and inputs.must_ask(
            yes=yes, output=output, remedy="pass --yes to delete it all"
        ):
            inputs.confirm_name(known)
            inputs.confirm_loss(known)
        with (
            signals.finishing("`crdbmesh down` will resume from there.") as stop,
            progress.Progress(screen, [], lambda step: ("", step), ()) as notify,
        ):
            ended = command.run_down(
                known,
                cloud,
                folder,
                notify=notify,
                wait=not no_wait,
                purge=purge,
                confirmed=() if yes else unproven,
                forget_in=os.environ if forget_kubeconfig else None,
                break_lease=break_lease,
                warn=doctor_view.warn(screen),
                stop=stop,
            )
        again = inputs.again("down", known)
        if ended.done and ended.finished and ended.folder is not None:
            console.show_folder(screen, known, ended.folder, moved=ended.folder != folder.path)
        if ended.results:
            results.show_results(screen, ended.results, seconds=ended.seconds, journal=None, again=again)
        for line in ended.left:
            console.say(screen, f"  still exists: {line}")
        if output == "json":
            exits.print_json(ended.document())
        elif ended.done and ended.finished:
            gone = ended.found or ended.folder not in {None, folder.path}
            typer.echo(f"{known} is gone." if gone else f"Nothing of {known} was found.")
        elif ended.done:
            typer.echo(f"{known} is being deleted. Run `{again}` again to make sure that nothing is left.")
        raise typer.Exit(exits.INTERRUPTED if ended.stopped else exits.DONE if ended.done else exits.FAILED)
