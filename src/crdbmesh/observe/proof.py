"""Proves a mesh from inside: what pods reach, resolve and are told, beside what Kubernetes and the database say.

Everything in a pod is done by bash and coreutils, which the database's image has (cockroachdb/cockroach,
build/deploy/Dockerfile): `/dev/tcp` connects, `getent` asks the resolver, over TCP when `RES_OPTIONS` says `use-vc`
(resolv.conf(5)). On its HTTP port a node answers a plain request with a redirect that repeats its path (pkg/server,
server_http.go), so that a long path makes full-size packets both ways, and no certificate is needed.
"""

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Self

from crdbmesh.clients.database import Node
from crdbmesh.desired.cockroach import max_offset_ms
from crdbmesh.desired.placement import SURVIVING, is_placed
from crdbmesh.errors import CrdbmeshError, StoppedError
from crdbmesh.observe import certificates, database, hardened, links, placement, rollouts
from crdbmesh.redaction import hide_in
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Region

KINDS = {
    "pods": "database pods run",
    "tcp": "connections to database pods",
    "payload": "full-size payloads there and back",
    "dns-udp": "pod names resolved over UDP",
    "dns-tcp": "pod names resolved over TCP",
    "clustermesh": "clustermesh links in sync",
    "nodes": "database nodes live, with their locality",
    "ranges": "ranges with all their replicas",
    "placement": "ranges with a majority without any one region",
    "clock": "clocks close to the others'",
    "hardening": "servers with Secrets encrypted, snapshots taken, clock kept",
    "certificates": "certificates valid for 30 days or more",
    "row": "rows read that another region wrote",
}
"""Each kind of claim, in the order in which they are shown, with what is counted."""
FULL_SIZE = 3000
"""The length of a request, and of its answer, that takes several full packets."""

_CACHED_S = 6
"""CoreDNS keeps an answer about a pod for 5 s; what is asked later goes to the other region again."""
_TRIES = 2
_REPLICAS = 3
_SCRIPT = (
    r"""
talk='begun=${EPOCHREALTIME:-$(date +%s.%N)}
exec 3<>"/dev/tcp/$1/@http" || exit 1
open=${EPOCHREALTIME:-$(date +%s.%N)}
printf "GET /%s HTTP/1.0\r\nHost: proof\r\n\r\n" "$2" >&3
echo "$begun $open $(wc -c <&3)"'
full=$(printf %0@sized 0)
for pod in "$@"; do
  name=${pod%/*}
  address=${pod#*/}
  found=$(RES_OPTIONS="timeout:2 attempts:2" getent ahostsv4 "$name")
  echo "$name dns-udp ${found%% *}"
  timeout 3 bash -c "</dev/tcp/$address/@sql" 2>/dev/null || { echo "$name tcp"; continue; }
  for try in 1 2; do echo "$name tcp $(timeout 5 bash -c "$talk" talk "$address" "" 2>/dev/null)"; done
  echo "$name payload $(timeout 5 bash -c "$talk" talk "$address" "$full" 2>/dev/null)"
done
sleep @cached
for pod in "$@"; do
  name=${pod%/*}
  found=$(RES_OPTIONS="use-vc timeout:2 attempts:2" getent ahostsv4 "$name")
  echo "$name dns-tcp ${found%% *}"
done
""".replace("@http", str(names.COCKROACH_HTTP_PORT))
    .replace("@sql", str(names.COCKROACH_PORT))
    .replace("@size", str(FULL_SIZE))
    .replace("@cached", str(_CACHED_S))
)
"""Each line that it prints is a pod's name, the kind of claim, and what was seen: an address; or when connecting began
and ended, in seconds, and how many bytes came back.
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that was looked at: `good` of `wanted`, and what was seen instead when that is not all.

    `kind` is one of `KINDS`; `source` and `target` are the regions that it is about, empty for the whole mesh; `cause`
    is the likely cause, from evidence.
    """

    kind: str
    source: str
    target: str
    good: int
    wanted: int
    seen: str | None = None
    cause: str | None = None

    def __post_init__(self) -> None:
        hide_in(self, "seen", "cause")

    @classmethod
    def of(cls, kind: str, source: str, target: str, wanted: int, wrong: Sequence[str]) -> Self:
        """Sum up a claim from what is wrong."""
        return cls(kind, source, target, wanted - len(wrong), wanted, "; ".join(wrong) or None)


@dataclass(slots=True)
class Readings:
    """The readings of a mesh.

    Attributes:
        rtt_ms: the shortest time that connecting took, in milliseconds, by source and target.
        offsets_ms: how far each region's clocks are from those of the other nodes, at most.
        ends: when each certificate ends, by region and name.
    """

    claims: list[Claim] = field(default_factory=list)
    rtt_ms: dict[tuple[str, str], float] = field(default_factory=dict)
    offsets_ms: dict[str, float] = field(default_factory=dict)
    ends: dict[tuple[str, str], datetime] = field(default_factory=dict)


Reader = Callable[[Readings], Iterator[Claim]]


def read(world: World, stop: threading.Event, rows: Reader) -> Readings:
    """Read all of it at once, `rows` beside the rest; what cannot be read is a claim that fails.

    Once `stop` is set and what ran has ended, this is a StoppedError.
    """
    readings, regions = Readings(), world.mesh.all_regions()

    def guarded(claim: Claim, reader: Reader) -> list[Claim]:
        try:
            return [] if stop.is_set() else list(reader(readings))
        except CrdbmeshError as error:
            return [replace(claim, seen=str(error))]
        except (ValueError, LookupError, TypeError) as error:
            return [replace(claim, seen=f"what is there cannot be read: {error}")]

    with ThreadPoolExecutor(max_workers=16, thread_name_prefix="proof") as pool:
        pods = dict(zip(regions, pool.map(partial(_read_pods, world, readings), regions), strict=True))
        tasks = [(Claim("row", "", "", 0, 1), rows), *_readers(world, pods)]
        for claims in pool.map(guarded, *zip(*tasks, strict=True)):
            readings.claims += claims
    if stop.is_set():
        raise StoppedError("the proof", last_seen=f"{len(readings.claims)} claims")
    readings.claims.sort(key=lambda claim: list(KINDS).index(claim.kind))
    return readings


def _readers(world: World, pods: Mapping[Region, dict[str, str]]) -> Iterator[tuple[Claim, Reader]]:
    """Give each thing to read, with the claim that fails when it cannot be."""
    for source in pods:
        at = source.name
        for target in pods if pods[source] else ():
            if pods[target]:
                yield Claim("tcp", at, target.name, 0, len(pods[target])), partial(_probe, world, source, target, pods)
        if others := world.mesh.others(source):
            yield Claim("clustermesh", at, "", 0, len(others)), partial(_read_links, world, source)
        yield Claim("clock", at, "", 0, source.replicas), partial(_read_clocks, world, source, pods[source])
        if world.mesh.layout > 1:
            yield Claim("hardening", at, "", 0, len(source.servers)), partial(_read_hardening, world, source)
        yield Claim("certificates", at, "", 0, 1), partial(_read_certificates, world, source)
    yield Claim("nodes", "", "", 0, sum(region.replicas for region in pods)), partial(_read_nodes, world)
    if len(pods) >= SURVIVING and is_placed(world.mesh):
        yield Claim("placement", "", "", 0, 1), partial(_read_placement, world)


def _read_pods(world: World, readings: Readings, region: Region) -> dict[str, str]:
    """Return the addresses of a region's running database pods by name."""
    try:
        pods = world.kube(region.name).list("v1", "Pod", region.name, labels=database.PODS)
    except CrdbmeshError as error:
        readings.claims.append(Claim("pods", region.name, "", 0, region.replicas, str(error)))
        return {}
    running = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods if not rollouts.not_running(pod)}
    why = database.not_running(region, pods)
    readings.claims.append(Claim("pods", region.name, "", len(running), region.replicas, why))
    return running


def _probe(
    world: World, source: Region, target: Region, everyone: Mapping[Region, dict[str, str]], readings: Readings
) -> Iterator[Claim]:
    """From a pod of one region, resolve and reach those of another."""
    pods, pod = everyone[target], next(iter(everyone[source]))
    named = {f"{name}.{names.COCKROACH}.{names.zone(target.name)}": name for name in pods}
    argv = ["bash", "-c", _SCRIPT, "proof", *(f"{full}/{pods[name]}" for full, name in named.items())]
    answer = world.kube(source.name).exec(source.name, pod, argv, container="db", timeout_s=120)
    told: dict[tuple[str, str], list[list[str]]] = {}
    for name, kind, *rest in (line.split() for line in answer.stdout.splitlines()):
        told.setdefault((named[name], kind), []).append(rest)
    wrong: dict[str, list[str]] = {kind: [] for kind in ("tcp", "payload", "dns-udp", "dns-tcp")}
    times: list[float] = []
    for name, address in pods.items():
        talks = [talk for talk in told.get((name, "tcp"), [[]]) if len(talk) == 3 and talk[2] != "0"]
        times += [1000 * (_finite(opened) - _finite(begun)) for begun, opened, _ in talks]
        sizes = [int(talk[2]) for talk in told.get((name, "payload"), []) if len(talk) == 3]
        if len(talks) < _TRIES:
            wrong["tcp"].append(f"{name} at {address} does not answer")
        elif max(sizes, default=0) <= FULL_SIZE:
            wrong["payload"].append(f"{name} answers small requests, and none of {FULL_SIZE} bytes")
        for kind in ("dns-udp", "dns-tcp"):
            found = next((rest[0] for rest in told.get((name, kind), []) if rest), None)
            if found != address:
                wrong[kind].append(f"{name} {f'resolves to {found}, not {address}' if found else 'does not resolve'}")
    if times:
        readings.rtt_ms[source.name, target.name] = min(times)
    for kind, causes in wrong.items():
        if count := len(pods) - (len(wrong["tcp"]) if kind == "payload" else 0):
            yield Claim.of(kind, source.name, target.name, count, causes)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no number")
    return number


def _read_links(world: World, region: Region, _readings: Readings) -> Iterator[Claim]:
    remotes = [other.name for other in world.mesh.others(region)]
    unready = links.read_unready(world.kube(region.name), remotes)
    for remote in remotes:
        why = "; ".join(unready.get(remote, [])) or None
        yield Claim("clustermesh", region.name, remote, remote not in unready, 1, why)


def _read_clocks(world: World, region: Region, pods: Mapping[str, str], readings: Readings) -> Iterator[Claim]:
    """Ask each node how far its clock is from the others', as it finds itself (metric `clock-offset.meannanos`)."""
    offsets, wrong, kube = [0.0], [], world.kube(region.name)
    for pod in pods:
        _, body = kube.proxy_get(region.name, pod, names.COCKROACH_HTTP_PORT, "/_status/vars", tls=True)
        found = re.search(r"^clock_offset_meannanos(?:\{.*\})? (\S+)$", body, re.MULTILINE)
        offsets.append(_finite(found[1]) / 1e6 if found else 0.0)
        if found is None:
            wrong.append(f"{pod} does not tell its clock's offset")
        elif abs(offsets[-1]) > max_offset_ms(world.mesh) / 2:
            wrong.append(f"{pod}'s clock is {offsets[-1]:+.0f} ms from the other nodes'")
    readings.offsets_ms[region.name] = max(offsets, key=abs)
    yield Claim.of("clock", region.name, "", len(pods), wrong)


def _read_hardening(world: World, region: Region, _readings: Readings) -> Iterator[Claim]:
    wrong = ["; ".join(found) for server in region.servers if (found := hardened.read(world, server))]
    yield Claim.of("hardening", region.name, "", len(region.servers), wrong)


def _read_certificates(world: World, region: Region, readings: Readings) -> Iterator[Claim]:
    """Read a region's certificates; those of the database and of Cilium must be from the mesh's own CAs."""
    found, now = certificates.read(world, region), datetime.now(UTC)
    readings.ends |= {(region.name, name): ends for name, ends in found.ends.items()}
    soon = [f"{name} ends on {ends:%Y-%m-%d}" for name, ends in found.ends.items() if ends - now < certificates.SOON]
    yield Claim.of("certificates", region.name, "", len(found.ends), [*found.foreign, *soon])


def _read_nodes(world: World, _readings: Readings) -> Iterator[Claim]:
    nodes = database.read_nodes(world)
    for region in world.mesh.all_regions():
        wrong = [f"{pod} {why}" for pod, why in database.not_live(region, nodes).items()]
        yield Claim.of("nodes", region.name, "", region.replicas, wrong)
    yield ranges_claim(nodes)


def _read_placement(world: World, _readings: Readings) -> Iterator[Claim]:
    seen = placement.read(world)
    total, lost = seen.count(), seen.count(seen.regions)
    yield Claim("placement", "", "", total - lost, total, "; ".join(seen.causes().values()) or None)


def ranges_claim(nodes: Sequence[Node]) -> Claim:
    """Judge the ranges: each has a majority of its replicas, and all three where there are as many nodes."""
    total, lost = sum(node.ranges for node in nodes), sum(node.unavailable for node in nodes)
    short = sum(node.underreplicated for node in nodes) if len(nodes) >= _REPLICAS else 0
    seen = f"{lost} unavailable, {short} under-replicated" if lost or short else None
    return Claim("ranges", "", "", total - max(lost, short), total, seen)
