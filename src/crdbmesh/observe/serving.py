"""Reads what a serving mesh runs, and what the spec would replace under its database."""

from dataclasses import dataclass

from crdbmesh.clients.kube.client import differences
from crdbmesh.desired import cockroach
from crdbmesh.errors import KubeError
from crdbmesh.local import contents
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh, Region


@dataclass(frozen=True, slots=True)
class Running:
    """The programs that one region runs, and what the spec would replace.

    Attributes:
        versions: the versions of each program, by its name in the spec.
        replaced: a line for each field of the CockroachDB pods' template that the spec changes; versions apart.
    """

    region: str
    versions: dict[str, set[str]]
    replaced: tuple[str, ...]


def is_initialised(world: World) -> bool:
    """Return True when the database was initialised, as far as the local folder or a region that answers tells."""
    if world.folder.read(contents.CLUSTER_ID) is not None:
        return True
    for region in world.mesh.all_regions():
        try:
            marker = world.kube(region.name).find("v1", "ConfigMap", names.INIT_MARKER, region.name)
        except KubeError:
            continue
        if ((marker or {}).get("data") or {}).get("cluster-id"):
            return True
    return False


def read(world: World, region: Region, kept: Mesh | None) -> Running | None:
    """Read what a region runs; what the kept spec says when it does not answer, and None when there is no such spec."""
    try:
        return _read(world, region)
    except KubeError:
        if kept is None or all(spec.name != region.name for spec in kept.regions):
            return None
    before = cockroach.statefulset(kept, kept.region(region.name))
    lines = differences(before, cockroach.statefulset(world.mesh, region, before), secret=False)
    versions = {program: {version} for program, version in kept.versions.named().items()}
    return Running(region.name, versions, _of_template(lines))


def _read(world: World, region: Region) -> Running:
    kube = world.kube(region.name)
    nodes = kube.list("v1", "Node")
    chart = kube.find("helm.cattle.io/v1", "HelmChart", names.CILIUM, names.KUBE_SYSTEM)
    found = kube.find("apps/v1", "StatefulSet", names.COCKROACH, region.name)
    versions = {"k3s": {str(node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "")) for node in nodes}}
    if chart is not None:
        file = str(chart.get("spec", {}).get("chart", "")).rpartition("/")[2]
        versions["cilium"] = {file.removeprefix(f"{names.CILIUM}-").removesuffix(".tgz")}
    if found is None:
        return Running(region.name, versions, ())
    image = str(found["spec"]["template"]["spec"]["containers"][0].get("image", ""))
    versions["cockroachdb"] = {image.rpartition(":")[2]}
    lines = kube.covers(cockroach.statefulset(world.mesh, region, found))
    return Running(region.name, versions, _of_template(lines))


def _of_template(lines: list[str]) -> tuple[str, ...]:
    template = "spec.template."
    return tuple(line.removeprefix(template) for line in lines if line.startswith(template) and ".image:" not in line)
