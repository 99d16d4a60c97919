"""Completes names of meshes, regions and machines in a shell, from this computer's files alone."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import typer


def meshes(incomplete: str) -> list[str]:
    """Return the meshes that are known here."""
    from crdbmesh.local.folder import find_root, list_meshes

    with contextlib.suppress(OSError):
        return [name for name in list_meshes(find_root(os.environ)) if name.startswith(incomplete)]
    return []


def regions(context: typer.Context, incomplete: str) -> list[str]:
    """Return the regions of the mesh, or of all that are known here."""
    return sorted({region for region, _ in _machines(context) if region.startswith(incomplete)})


def machines(context: typer.Context, incomplete: str) -> list[str]:
    """Return the machines of the mesh, or of all that are known here, as `eastus/1`."""
    found = {f"{region}/{number}": (region, number) for region, number in _machines(context)}
    return sorted((one for one in found if one.startswith(incomplete)), key=lambda one: found[one])


def places(context: typer.Context, incomplete: str) -> list[str]:
    """Return the regions and machines of the mesh, or of all that are known here."""
    return [*regions(context, incomplete), *machines(context, incomplete)]


def logs(context: typer.Context, incomplete: str) -> list[str]:
    """Return the regions and programs that `logs` may name."""
    from crdbmesh.observe.logs import PROGRAMS

    return [*regions(context, incomplete), *(one for one in PROGRAMS if one.startswith(incomplete))]


def locations(context: typer.Context, incomplete: str) -> list[str]:
    """Return Azure's regions that the last part of a list, such as `eastus,we`, may stand for."""
    import tomllib
    from importlib import resources

    *chosen, last = incomplete.split(",")
    prices = tomllib.loads((resources.files("crdbmesh.commands") / "prices.toml").read_text(encoding="utf-8"))
    known = {*prices["region"], *(region for region, _ in _machines(context))}
    return [",".join([*chosen, one]) for one in sorted(known - {*chosen}) if one.startswith(last)]


def _machines(context: Any) -> Iterator[tuple[str, int]]:
    from crdbmesh.commands import specs
    from crdbmesh.errors import CrdbmeshError
    from crdbmesh.local.folder import find_root

    name = context.params.get("mesh_name") or context.params.get("name")
    for one in [name] if name else meshes(""):
        with contextlib.suppress(CrdbmeshError, OSError):
            for machine in specs.kept(one, find_root(os.environ)).all_machines():
                yield machine.region, machine.number
