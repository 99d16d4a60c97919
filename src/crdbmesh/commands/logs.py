"""`crdbmesh logs`: the journals and logs of a mesh in one stream, in the order of their times."""

import datetime as dt
import heapq
import queue
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from crdbmesh.errors import ConfigError, CrdbmeshError, KubeError
from crdbmesh.local import contents
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe import logs
from crdbmesh.observe.logs import Line, Log, Window
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Mesh, Region

Note = Callable[[str, str], None]
"""Takes what could not be read, and why."""

_TAIL = 100
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_S = 10 * 365 * 86400
_MOST_LINES = 10_000
"""The lines that wait to be shown at most; a log that comes faster is read no faster."""
_AGAIN_S = 1.0
"""The pause before a log that ended is followed again."""
_LOOK_S = 5.0
"""The pause between looks for new pods."""
_BEFORE = dt.datetime.min.replace(tzinfo=dt.UTC)
_GATHER_S = 0.3
"""The time in which lines of several logs are put in order while they are followed."""


def read_window(since: str | None, tail: int | None, *, least: int = _TAIL) -> Window:
    """Return the lines that the options mean; without any, the last `least` of each log."""
    if since is None:
        return Window(tail=least if tail is None else tail)
    remedy = "give 10m, 2h or 2026-11-27T18:00:00Z"
    if found := re.fullmatch(r"(\d{1,9})([smhd])", since):
        ago_s = max(1, int(found[1]) * _UNITS_S[found[2]])
        if ago_s > _LONGEST_S:
            raise ConfigError.of("--since", since, "is longer ago than ten years", remedy)
        return Window(ago_s=ago_s, tail=tail)
    try:
        at = dt.datetime.fromisoformat(since)
    except ValueError:
        raise ConfigError.of("--since", since, "is no time", remedy) from None
    at = at.replace(tzinfo=at.tzinfo or dt.UTC)
    if at < dt.datetime.fromtimestamp(0, dt.UTC):
        raise ConfigError.of("--since", since, "is before 1970", remedy)
    return Window(since=at.timestamp(), tail=tail)


def choose(mesh: Mesh, words: Sequence[str]) -> tuple[list[Region], list[str]]:
    """Return the regions and programs that words name; all where none is named."""
    regions = {region.name: region for region in mesh.all_regions()}
    for word in words:
        if word not in regions and word not in logs.PROGRAMS:
            remedy = f"choose from {', '.join(regions)} and {', '.join(logs.PROGRAMS)}"
            raise ConfigError.of("log", word, f"is neither a region of {mesh.name} nor a program", remedy)
    chosen = [regions[word] for word in words if word in regions]
    return chosen or list(regions.values()), [word for word in words if word in logs.PROGRAMS] or list(logs.PROGRAMS)


def learn_secrets(mesh: Mesh, folder: LocalFolder) -> None:
    """Read every secret of the local folder, so that none is shown where a log quotes it."""
    kubeconfigs = (contents.kubeconfig(region.name) for region in mesh.regions)
    for file in (*(secret.file for secret in contents.secrets(mesh)), *kubeconfigs):
        folder.read(file)


def find(
    world: World, regions: Collection[Region], programs: Collection[str], note: Note, *, previous: bool = False
) -> list[Log]:
    """Return the logs of programs in regions; with `previous`, also those of containers before their last restart."""

    def of_region(region: Region) -> list[Log]:
        found = logs.journals(world, region, programs)
        try:
            found += logs.containers(world, region.name, programs, previous=previous)
        except CrdbmeshError as error:
            note(f"the pods of {region.name}", str(error))
        return found

    with ThreadPoolExecutor(max_workers=len(regions), thread_name_prefix="logs") as pool:
        return list(chain.from_iterable(pool.map(of_region, regions)))


def read(found: Iterable[Log], window: Window, note: Note) -> dict[str, list[Line]]:
    """Return the lines of each log by its file, as far as they can be read."""
    lines: dict[str, list[Line]] = {}
    # Of one machine one after the other: they share its connection.
    by_source: dict[str, list[Log]] = {}
    for log in found:
        lines[log.file] = []
        by_source.setdefault(log.source, []).append(log)

    def of_source(several: Iterable[Log]) -> None:
        for log in several:
            try:
                lines[log.file].extend(log.read(window))
            except CrdbmeshError as error:
                note(log.file, str(error))

    with ThreadPoolExecutor(max_workers=16, thread_name_prefix="logs") as pool:
        list(pool.map(of_source, by_source.values()))
    return lines


def merge(found: Iterable[Log], window: Window, note: Note) -> Iterator[Line]:
    """Yield the lines of logs by their times; those of one log stay in its order."""
    return heapq.merge(*read(found, window, note).values(), key=lambda line: line.at)


def follow(
    world: World, regions: Collection[Region], programs: Collection[str], window: Window, note: Note
) -> Iterator[Line]:
    """Yield the lines of logs as they come, also of pods to come, without an end."""
    come: queue.Queue[Line] = queue.Queue(_MOST_LINES)
    followed: set[str] = set()
    said: set[tuple[str, str]] = set()

    def note_once(what: str, why: str) -> None:
        if (what, why) not in said:
            said.add((what, why))
            note(what, why)

    def keep(log: Log) -> None:
        wanted, last = window, _BEFORE
        while not world.stop.is_set():
            shown, began_s = last, world.clock.now()
            try:
                for line in log.read(wanted, follow=True):
                    # A log that is taken up again begins with the whole of the second in which it ended.
                    if line.at > shown:
                        come.put(line)
                        last = line.at
            except CrdbmeshError as error:
                if isinstance(error, KubeError) and error.status == 404:
                    followed.discard(log.file)
                    return
                # After a while it is the usual end of a log that says nothing.
                if world.clock.now() - began_s < _LOOK_S:
                    note_once(log.file, str(error))
            wanted = window if last == _BEFORE else Window(since=last.timestamp())
            world.clock.wait(world.stop, _AGAIN_S)

    def look(region: Region) -> None:
        while not world.stop.is_set():
            for log in find(world, [region], programs, note_once):
                if log.file not in followed:
                    followed.add(log.file)
                    threading.Thread(target=keep, args=(log,), daemon=True).start()
            world.clock.wait(world.stop, _LOOK_S)

    for region in regions:
        threading.Thread(target=look, args=(region,), daemon=True).start()
    while True:
        batch = [come.get()]
        world.stop.wait(_GATHER_S)
        batch += [come.get() for _ in range(come.qsize())]
        yield from sorted(batch, key=lambda line: line.at)
