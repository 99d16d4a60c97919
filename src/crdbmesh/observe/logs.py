"""Reads logs: the journals of machines, by SSH, and those of containers, through the Kubernetes API.

Each line comes with its time: of a journal in the form short-iso-precise (journalctl(1)), of a container as the kubelet
stamps it. A further line of one message has the time of its first.
"""

import datetime as dt
import shlex
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from crdbmesh.desired import Object
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine, Region

JOURNALS = {"k3s": ("-u", "k3s", "-u", "k3s-agent"), "cloud-init": ("-t", "cloud-init")}
"""The options of journalctl that choose a program's entries."""
PODS = {
    "cilium": (names.KUBE_SYSTEM, "app.kubernetes.io/part-of=cilium"),
    "coredns": (names.KUBE_SYSTEM, "k8s-app=kube-dns"),
    "cockroachdb": (None, f"app={names.COCKROACH}"),
}
"""The pods of a program, by namespace, which is the region's for None, and label selector."""
PROGRAMS = (*JOURNALS, *PODS)


@dataclass(frozen=True, slots=True)
class Window:
    """The lines that are wanted.

    Attributes:
        ago_s: those of the last seconds; None for all.
        since: those from a time on, in seconds since the Unix epoch; None for all.
        tail: the last lines of each log; None for all.
    """

    ago_s: int | None = None
    since: float | None = None
    tail: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log, from a machine or a pod of a region: `eastus/1`, `eastus/cockroachdb-0`."""

    at: dt.datetime
    source: str
    text: str


class Log(Protocol):
    """A log that can be read."""

    @property
    def source(self) -> str:
        """Name it: region, and machine or pod."""

    @property
    def file(self) -> str:
        """Return a path that no other log of the mesh has."""

    def read(self, window: Window, *, follow: bool = False) -> Iterator[Line]:
        """Yield its lines.

        Raises:
            CrdbmeshError: it cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Journal:
    """A program's entries in a machine's journal."""

    world: World
    machine: Machine
    program: str

    @property
    def source(self) -> str:
        """Return region and number of the machine."""
        return f"{self.machine.region}/{self.machine.number}"

    @property
    def file(self) -> str:
        """Return machine and program."""
        return f"machines/{self.machine.node}/{self.program}.log"

    def read(self, window: Window, *, follow: bool = False) -> Iterator[Line]:
        """Yield its entries; see `Log`."""
        chosen = [*JOURNALS[self.program], "-n", str(window.tail or "all"), *(["-f"] if follow else [])]
        since = f"-{window.ago_s}s" if window.ago_s else f"@{int(window.since)}" if window.since is not None else None
        command = shlex.join(["journalctl", "--no-pager", "-q", "-o", "short-iso-precise", *chosen])
        command += f" --since={since}" if since else ""
        host = self.world.host(self.machine)
        lines = host.follow(command) if follow else host.run(command, sudo=True).stdout.splitlines()
        # The host's name comes second.
        return (Line(at, self.source, text.partition(" ")[2]) for at, text in _stamped(lines))


@dataclass(frozen=True, slots=True)
class Container:
    """The log of a container; with `previous`, of the one before its last restart."""

    world: World
    region: str
    namespace: str
    pod: str
    name: str
    alone: bool
    previous: bool = False

    @property
    def source(self) -> str:
        """Return region and pod, with the container unless it is alone in it."""
        return f"{self.region}/{self.pod}{'' if self.alone else f'/{self.name}'}"

    @property
    def file(self) -> str:
        """Return region, namespace, pod and container."""
        return f"regions/{self.region}/{self.namespace}/{self.pod}/{self.name}{'.previous' * self.previous}.log"

    def read(self, window: Window, *, follow: bool = False) -> Iterator[Line]:
        """Yield its lines; see `Log`."""
        since = None if window.since is None else dt.datetime.fromtimestamp(int(window.since), dt.UTC)
        options = {
            "container": self.name,
            "timestamps": "true",
            "previous": "true" if self.previous else None,
            "sinceSeconds": window.ago_s,
            "sinceTime": f"{since:%Y-%m-%dT%H:%M:%SZ}" if since else None,
            "tailLines": window.tail,
        }
        query = {name: value for name, value in options.items() if value is not None}
        lines = self.world.kube(self.region).log(self.namespace, self.pod, query, follow=follow)
        return (Line(at, self.source, text) for at, text in _stamped(lines))


def journals(world: World, region: Region, programs: Collection[str]) -> list[Log]:
    """Return the journals of a region's machines."""
    chosen = [program for program in JOURNALS if program in programs]
    return [Journal(world, machine, program) for machine in region.machines for program in chosen]


def containers(world: World, region: str, programs: Collection[str], *, previous: bool = False) -> list[Log]:
    """Return the logs of the containers of programs in a region; with `previous`, also those of before a restart.

    Raises:
        CrdbmeshError: the region's API does not answer.
    """
    found: list[Log] = []
    for namespace, labels in (chosen for program, chosen in PODS.items() if program in programs):
        within = namespace or region
        for pod in world.kube(region).list("v1", "Pod", within, labels=labels):
            found += _of_pod(world, region, within, pod, previous=previous)
    return found


def _of_pod(world: World, region: str, namespace: str, pod: Object, *, previous: bool) -> Iterator[Log]:
    inside = [str(one["name"]) for one in pod["spec"]["containers"]]
    restarted = {one["name"] for one in pod.get("status", {}).get("containerStatuses") or [] if one.get("restartCount")}
    for name in inside:
        one = (world, region, namespace, str(pod["metadata"]["name"]), name, len(inside) == 1)
        yield Container(*one)
        if previous and name in restarted:
            yield Container(*one, previous=True)


def _stamped(lines: Iterable[str]) -> Iterator[tuple[dt.datetime, str]]:
    """Yield each line's time and the rest of it."""
    at = dt.datetime.fromtimestamp(0, dt.UTC)
    for line in lines:
        stamp, _, text = line.partition(" ")
        try:
            at = dt.datetime.fromisoformat(stamp)
        except ValueError:
            text = line
        yield at, text
