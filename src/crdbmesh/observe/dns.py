"""Judges whether a region's pods find and reach the pods of others: names resolve, connections are accepted.

Names resolve once CoreDNS has read its blocks; pods connect once the clustermesh is in sync. Both are asked from inside
a pod of the region's own.
"""

from crdbmesh.clients.kube.client import Kube
from crdbmesh.errors import KubeError, WaitError
from crdbmesh.observe.health import Layer
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Region

_SCRIPT = """\
getent ahostsv4 "{name}" >/dev/null || {{ echo "does not resolve: {name}"; exit 0; }}
timeout 5 bash -c "</dev/tcp/{name}/{port}" 2>/dev/null ||
  {{ echo "resolves but does not connect: {name}:{port}"; exit 0; }}
echo reached
"""


def read_dns(world: World, region: Region) -> Layer:
    """Read how many of the other regions' first pods a region's first pod resolves and reaches."""
    remotes = [other.name for other in world.mesh.others(region)]
    unreached = read_unreached(world.kube(region.name), region.name, remotes)
    causes = [f"{remote}: {why}" for remote, why in unreached.items()]
    return Layer.of("dns", len(remotes) - len(causes), len(remotes), causes)


def read_unreached(kube: Kube, region: str, targets: list[str]) -> dict[str, str]:
    """Say, for every region whose first pod a region's first pod does not resolve or reach, why not."""
    found = {target: _reach(kube, region, target) for target in targets}
    return {target: why for target, why in found.items() if why}


def _reach(kube: Kube, region: str, target: str) -> str | None:
    script = _SCRIPT.format(name=names.cockroach_pod(target, 0), port=names.COCKROACH_PORT)
    try:
        answer = kube.exec(region, f"{names.COCKROACH}-0", ["bash", "-c", script], container="db", timeout_s=60)
    except (KubeError, WaitError) as error:
        return str(error)
    said = answer.stdout.strip().splitlines()
    if answer.status == 0 and said[-1:] == ["reached"]:
        return None
    return (said or [answer.stderr.strip() or f"exit {answer.status}"])[-1]
