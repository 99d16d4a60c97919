"""`crdbmesh status`: the health of every layer in every region."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from crdbmesh.clients import caller
from crdbmesh.clients.cloud import Cloud
from crdbmesh.commands import aim as aims
from crdbmesh.errors import CrdbmeshError, HeldError
from crdbmesh.local.birth import Aim
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe import belongings, status
from crdbmesh.observe.health import Health, Layer, License
from crdbmesh.run.lease import Lease
from crdbmesh.run.world import World
from crdbmesh.spec.fields import OWN
from crdbmesh.spec.mesh import Mesh

_LOOKUP_S = 4.0


def run_status(mesh: Mesh, cloud: Cloud, folder: LocalFolder, *, told: aims.Told = aims.untold) -> Health:
    """Read every layer; `told` takes what the command is aimed at."""
    with World.open(mesh, cloud, folder) as world:
        aims.require(world.session, folder, mesh.name, told)
        with ThreadPoolExecutor(2, thread_name_prefix="remarks") as pool:
            remarks = [pool.submit(worked_on, world), pool.submit(_moved, mesh, cloud)]
            health = status.read(world)
            return replace(health, remarks=tuple(text for one in remarks if (text := one.result())))


def worked_on(world: World) -> str | None:
    """Return who works on the mesh, by its lease."""
    group, owns = world.group, belongings.of(world).owns
    lease = Lease(world.session, group, world.mesh.name, "", {}, command="status", origin=None, owns=owns)
    try:
        lease.look()
    except HeldError as error:
        return str(error)
    except CrdbmeshError:
        # The layers say why Azure cannot be read.
        return None
    return None


def _moved(mesh: Mesh, cloud: Cloud) -> str | None:
    """Return that the operator's address is another than the one that the last `up` let in."""
    if mesh.own is None or OWN not in mesh.allow_from or not cloud.address_urls:
        return None
    try:
        own = caller.find_address(cloud, _LOOKUP_S)
    except CrdbmeshError:
        return None
    if "*" in mesh.sources or any(IPv4Address(own.address) in IPv4Network(source) for source in mesh.sources):
        return None
    return f"your address is {own.address} now, and the firewalls let in {mesh.own}: `crdbmesh up` follows it"


def document(health: Health, aim: Aim, *, reconstructed: bool = False) -> dict[str, Any]:
    """Return the result as `--output json` prints it.

    `reconstructed` says that the spec was made from tags, because the local folder is lost.
    """
    return {
        "command": "status",
        "mesh": health.mesh,
        **aim.document(),
        "degraded": health.degraded,
        "reconstructed": reconstructed,
        "figures": health.figures(),
        "cluster_ids": list(health.cluster_ids),
        "license": _license(health.license),
        **{note.about: {"text": note.text, "bad": note.is_bad} for note in health.notes},
        "remarks": list(health.remarks),
        "regions": [
            {"region": region.region, "layers": [_layer(layer) for layer in region.layers]} for region in health.regions
        ],
    }


def _license(known: License | None) -> dict[str, str | None] | None:
    if known is None:
        return None
    dates = {"ends": known.ends, "throttled_from": known.throttled_from}
    return {name: None if date is None else date.isoformat(timespec="seconds") for name, date in dates.items()}


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "layer": layer.name,
        "level": layer.level.value,
        "good": layer.good,
        "wanted": layer.wanted,
        "cause": layer.cause,
    }
