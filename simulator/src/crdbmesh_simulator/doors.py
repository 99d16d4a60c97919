"""Doors that open and close as the world asks: the base of those that serve Kubernetes and DNS."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member
    from crdbmesh_simulator.world import World

_CALL_S = 20.0
T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)


class Door(Protocol):
    """Something that listens at one address."""

    async def open(self) -> None:
        """Listen. Raises OSError: the address cannot be listened at."""

    async def close(self) -> None:
        """Stop listening, and end every connection."""


class Doors(ABC, Generic[Key]):
    """All doors of one sort.

    `loop`: the running loop on which they are served; `start`, `stop` and `tick` are called from other threads. `name`:
    the door's name in the world's record of what it does not know. `threads`: how many requests are worked on at once.
    `look_s`: simulated seconds between two looks at what the world asks.
    """

    def __init__(
        self, world: World, loop: asyncio.AbstractEventLoop, *, name: str, threads: int, look_s: float
    ) -> None:
        self.world = world
        self.executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        self._loop = loop
        self._name = name
        self._look_s = look_s
        self._doors: dict[Key, Door] = {}
        self._refused: set[Key] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._busy = asyncio.Lock()

    @abstractmethod
    def wanted(self) -> dict[Key, tuple[Cluster, Member]]:
        """The doors that are to be open, each with whose it is; called with `world.lock` held."""

    @abstractmethod
    def make(self, key: Key, cluster: Cluster, member: Member) -> Door:
        """A door that is not open yet."""

    def start(self) -> None:
        """Look after the doors from now on."""
        self._call(self._start())

    def stop(self) -> None:
        """Close every door."""
        self._call(self._stop())
        self.executor.shutdown(wait=True)

    def tick(self) -> None:
        """Open and close doors at once, as the world now asks."""
        self._call(self._look(patient=True))

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_S)

    async def _start(self) -> None:
        self._keeper = asyncio.ensure_future(self._keep())

    async def _keep(self) -> None:
        while not self._stopping.is_set():
            await self._look(patient=False)
            await self.world.clock.wait_in_loop(self._stopping, self._look_s, coarse=True)

    async def _stop(self) -> None:
        self._stopping.set()
        if self._keeper is not None:
            await self._keeper
        async with self._busy:
            await asyncio.gather(*(door.close() for door in self._doors.values()))
            self._doors.clear()

    async def _look(self, *, patient: bool) -> None:
        """Look once; unless patient, leave it for the next time when somebody else holds the world."""
        async with self._busy:
            if patient:
                wanted = await self._loop.run_in_executor(self.executor, self._locked)
            elif self.world.lock.acquire(blocking=False):
                try:
                    wanted = self.wanted()
                finally:
                    self.world.lock.release()
            else:
                return
            gone = [key for key in self._doors if key not in wanted]
            await asyncio.gather(*(self._doors.pop(key).close() for key in gone))
            self._refused &= set(wanted)
            for key, (cluster, member) in wanted.items():
                if key not in self._doors and key not in self._refused:
                    await self._open(key, self.make(key, cluster, member))

    def _locked(self) -> dict[Key, tuple[Cluster, Member]]:
        with self.world.lock:
            return self.wanted()

    async def _open(self, key: Key, door: Door) -> None:
        try:
            await door.open()
        except OSError as error:
            await door.close()
            self._refused.add(key)
            self.world.not_known(self._name, f"cannot listen at {key}: {error}")
            return
        self._doors[key] = door
