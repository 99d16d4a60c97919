"""Long-running operations: what happens when, on the world's clock.

An operation is a list of stages at given times, the last of which ends it. Nothing happens by itself: `settle` carries
out what is due, in order of time, and is called at every request and by the simulator's periodic tick.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from crdbmesh_simulator.azure.call import Tracking
from crdbmesh_simulator.azure.errors import ArmError, Body

Stage = Callable[[], None]


@dataclass(slots=True)
class Operation:
    """A long-running operation.

    `kind`: its name at the provider, such as `PutSubnetOperation`. `target`: id of the resource it works on. `locks`:
    ids (lower case) of the resources that nothing else may change meanwhile. `polls`: how often its status was asked
    for.
    """

    id: str
    kind: str
    tracking: Tracking
    location: str
    target: str
    locks: frozenset[str]
    started_at: float
    ends_at: float
    status: str = "InProgress"
    ended_at: float | None = None
    error: Body | None = None
    polls: int = 0

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.status == "InProgress"

    @property
    def deletes(self) -> bool:
        """Whether it is a deletion."""
        return "Delete" in self.kind


@dataclass(order=True, slots=True)
class _Due:
    at: float
    order: int
    operation: Operation = field(compare=False)
    stage: Stage = field(compare=False)


class Operations:
    """All operations, running and ended."""

    def __init__(self) -> None:
        self._by_id: dict[str, Operation] = {}
        self._running: dict[str, Operation] = {}
        self._due: list[_Due] = []
        self._order = itertools.count()

    def begin(self, operation: Operation, stages: Iterable[tuple[float, Stage]], done: Stage) -> None:
        """Start an operation.

        `stages` are what happens on the way, with its time; `done` is what its success does, at `ends_at`. Each may
        raise ArmError, and the operation fails with it.
        """
        self._by_id[operation.id] = operation
        self._running[operation.id] = operation
        for at, stage in stages:
            self._push(at, operation, stage)
        self._push(operation.ends_at, operation, lambda: self._finish(operation, done))

    def find(self, operation_id: str) -> Operation | None:
        """The operation of this id, ended ones included."""
        return self._by_id.get(operation_id.lower())

    def holding(self, resource_id: str) -> Operation | None:
        """The running operation that holds this resource, or None."""
        key = resource_id.lower()
        return next((operation for operation in self._running.values() if key in operation.locks), None)

    def fail(self, operation: Operation, error: ArmError, at: float) -> None:
        """End an operation before its time."""
        if operation.running:
            self._end(operation, "Failed", at)
            operation.error = error.error()

    def settle(self, now: float) -> None:
        """Carry out what is due."""
        while self._due and self._due[0].at <= now:
            due = heapq.heappop(self._due)
            if not due.operation.running:
                continue
            try:
                due.stage()
            except ArmError as error:
                self.fail(due.operation, error, due.at)

    def _finish(self, operation: Operation, done: Stage) -> None:
        done()
        self._end(operation, "Succeeded", operation.ends_at)

    def _end(self, operation: Operation, status: str, at: float) -> None:
        operation.status = status
        operation.ended_at = at
        self._running.pop(operation.id, None)

    def _push(self, at: float, operation: Operation, stage: Stage) -> None:
        heapq.heappush(self._due, _Due(at, next(self._order), operation, stage))
