"""Reads logs: the journals of machines, by SSH, and those of containers, through the Kubernetes API.

Each line comes with its time: of a journal in the form short-iso-precise (journalctl(1)), of a container as the kubelet
stamps it. A further line of one message has the time of its first.
"""

import datetime as dt
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine, Region

JOURNALS = {"k3s": "-u k3s -u k3s-agent", "cloud-init": "-t cloud-init"}
"""The options of journalctl that choose a program's entries."""
PODS = {
    "cilium": (names.KUBE_SYSTEM, "app.kubernetes.io/part-of=cilium"),
    "coredns": (names.KUBE_SYSTEM, "k8s-app=kube-dns"),
    "cockroachdb": (None, f"app={names.COCKROACH}"),
}
"""The pods of a program, by namespace, which is the region's for None, and label selector."""
PROGRAMS = (*JOURNALS, *PODS)
_HOST = re.compile(r"^(\S+) \S+ ")
_LONGEST = 64 * 1024
"""The characters of a line beyond which it is cut."""


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
    """A line of a log."""

    at: dt.datetime
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Log:
    """A log that can be read.

    Attributes:
        source: its region, and machine or pod: `eastus/1`, `eastus/cockroachdb-0`.
        file: a path that no other log of the mesh has.
        lines: opens it, to follow it if the second argument says so.
    """

    source: str
    file: str
    lines: Callable[[Window, bool], Iterable[str]]

    def read(self, window: Window, *, follow: bool = False) -> Iterator[Line]:
        """Yield its lines; raises CrdbmeshError when it cannot be read."""
        at = dt.datetime.fromtimestamp(0, dt.UTC)
        for line in self.lines(window, follow):
            stamp, _, text = line.partition(" ")
            if (stamped := _moment(stamp)) is None:
                text = line
            at = stamped or at
            yield Line(at, self.source, text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


def _moment(stamp: str) -> dt.datetime | None:
    """Return the time that a stamp tells; None for a word that is none, or tells no offset from UTC."""
    try:
        at = dt.datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return at if at.tzinfo else None


def journals(world: World, region: Region, programs: Collection[str]) -> list[Log]:
    """Return the journals of a region's machines."""
    return [
        Log(f"{one.region}/{one.number}", f"machines/{one.node}/{program}.log", partial(_journal, world, one, program))
        for one in region.machines
        for program in JOURNALS
        if program in programs
    ]


def containers(world: World, region: str, programs: Collection[str], *, previous: bool) -> Iterator[Log]:
    """Yield the logs of containers in a region, and with `previous` those of before a restart; its API must answer."""
    for namespace, labels in (chosen for program, chosen in PODS.items() if program in programs):
        within = namespace or region
        for pod in world.kube(region).list("v1", "Pod", within, labels=labels):
            name, states = str(pod["metadata"]["name"]), pod.get("status", {}).get("containerStatuses") or []
            restarted = {one["name"] for one in states if previous and one.get("restartCount")}
            inside = [str(one["name"]) for one in pod["spec"]["containers"]]
            for one, before in product(inside, (False, True)):
                if before and one not in restarted:
                    continue
                source = f"{region}/{name}{f'/{one}' if len(inside) > 1 else ''}"
                file = f"regions/{region}/{within}/{name}/{one}{'.previous' if before else ''}.log"
                options = {"container": one, **({"previous": "true"} if before else {})}
                yield Log(source, file, partial(_container, world, region, within, name, options))


def _journal(world: World, machine: Machine, program: str, window: Window, follow: bool) -> Iterable[str]:
    command = f"journalctl --no-pager -q -o short-iso-precise {JOURNALS[program]}"
    command += f" -n {'all' if window.tail is None else window.tail}"
    since = f"-{window.ago_s}s" if window.ago_s else f"@{int(window.since)}" if window.since is not None else None
    command += f"{' -f' if follow else ''}{f' --since={shlex.quote(since)}' if since else ''}"
    host = world.host(machine)
    lines = host.follow(f"{command} 2>/dev/null") if follow else host.run(command, sudo=True).stdout.splitlines()
    return (_HOST.sub(r"\1 ", line) for line in lines)


def _container(
    world: World, region: str, namespace: str, pod: str, options: dict[str, str], window: Window, follow: bool
) -> Iterable[str]:
    since = None if window.since is None else dt.datetime.fromtimestamp(int(window.since), dt.UTC)
    times = {
        "timestamps": "true",
        "sinceSeconds": window.ago_s,
        "sinceTime": f"{since:%Y-%m-%dT%H:%M:%SZ}" if since else None,
        "tailLines": window.tail,
    }
    query = {**options, **{name: value for name, value in times.items() if value is not None}}
    return world.kube(region).log(namespace, pod, query, follow=follow)
