"""`crdbmesh config show`: its options and output."""

from typing import Annotated, Any

import typer

from crdbmesh.terminal import exits, groups, inputs, options

app = typer.Typer(
    cls=groups.Group, help="\b\ncrdbmesh config show --origin\n\nShow the spec of a mesh.", rich_markup_mode=None
)

_WIDE = 50
_FIELDS = {"mesh_name": "name", "machines_per_region": "machines.per_region", "machine_size": "machines.size"}
"""The field of the spec that an option sets, where it has another name."""


def show(
    context: typer.Context,
    mesh_name: options.NewNameArgument = None,
    name: options.Name = None,
    regions: options.Regions = None,
    config_file: options.ConfigFile = None,
    allow_from: options.AllowFrom = None,
    machines_per_region: options.MachinesPerRegion = None,
    machine_size: options.MachineSize = None,
    profile: options.Profile = None,
    origin: Annotated[
        bool, typer.Option("--origin", envvar="CRDBMESH_ORIGIN", help="Also show where each field comes from.")
    ] = False,
    output: options.OutputOption = "text",
) -> None:
    """Show the spec as `up` would use it, as YAML that --config takes; asks neither Azure nor the machines."""
    from crdbmesh.commands import aim, specs
    from crdbmesh.spec import load
    from crdbmesh.terminal.visible import visible

    with exits.mapped(output):
        size = machine_size
        given = inputs.given(regions, mesh_name or name, config_file, allow_from, machines_per_region, size, profile)
        cloud = inputs.cloud()
        mesh, origins = specs.origins(given, cloud, inputs.root(), _said(context))
        aim.compare(cloud, inputs.folder(mesh.name), mesh.name)
        text = load.dump(mesh)
        if output == "json":
            shown = {"spec": mesh.model_dump(mode="json", exclude_none=True)} | ({"origins": origins} if origin else {})
            exits.print_json({"command": "config show", "mesh": mesh.name, **shown})
            return
        lines = text.splitlines()
        if origin:
            for field, number in load.places(text):
                if field in origins:
                    lines[number - 1] = f"{lines[number - 1]:{_WIDE}}  # {origins[field]}"
        typer.echo(visible("\n".join(lines)))


def _said(context: Any) -> dict[str, str]:
    """Return the flag or variable that sets each field of the spec that one sets."""
    said: dict[str, str] = {}
    for one in context.command.params:
        source = context.get_parameter_source(one.name)
        if source and source.name in {"COMMANDLINE", "ENVIRONMENT"}:
            flag = one.opts[0] if one.opts[0].startswith("-") else one.metavar
            said.setdefault(_FIELDS.get(one.name, one.name), flag if source.name == "COMMANDLINE" else one.envvar)
    return said
