"""Judges Cilium in one cluster: what its chart brings, its Helm release, its rollouts."""

from crdbmesh.observe import helm, rollouts
from crdbmesh.observe.health import Layer
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Region

_ALWAYS = (
    ("apps/v1", "DaemonSet", names.CILIUM),
    ("apps/v1", "Deployment", names.CILIUM_OPERATOR),
    ("v1", "ConfigMap", names.CILIUM_CONFIG),
    ("v1", "Secret", names.CILIUM_CA_SECRET),
)
_WITH_OTHERS = (
    ("apps/v1", "Deployment", names.CLUSTERMESH_APISERVER),
    ("v1", "Service", names.CLUSTERMESH_APISERVER),
    ("v1", "Secret", names.CLUSTERMESH_SECRET),
    ("v1", "Secret", "cilium-kvstoremesh"),
)


def read_cilium(world: World, region: Region) -> Layer:
    """Read how many of the region's agents are ready, and whether the chart is installed."""
    kube = world.kube(region.name)
    daemons = kube.find("apps/v1", "DaemonSet", names.CILIUM, names.KUBE_SYSTEM)
    found = [
        rollouts.explain(kube, daemons),
        rollouts.read_missing(kube, "Deployment", names.CILIUM_OPERATOR, names.KUBE_SYSTEM),
        read_missing(world, region),
    ]
    causes = [cause for cause in found if cause]
    ready = (daemons or {}).get("status", {}).get("numberReady", 0)
    return Layer.of("cilium", ready, len(region.machines), causes, absent=daemons is None)


def read_missing(world: World, region: Region) -> str | None:
    """Say what the chart should have brought and has not, or that it is being installed; None when all is there."""
    kube = world.kube(region.name)
    for api_version, kind, name in brought(world, region):
        if kube.find(api_version, kind, name, names.KUBE_SYSTEM) is None:
            return f"{kind} {name} is absent in {region.name}"
    return helm.read_gap(kube, names.CILIUM)


def brought(world: World, region: Region) -> list[tuple[str, str, str]]:
    """List what the chart brings with our values: API version, kind, and name in kube-system."""
    return [*_ALWAYS, *(_WITH_OTHERS if world.mesh.others(region) else ())]
