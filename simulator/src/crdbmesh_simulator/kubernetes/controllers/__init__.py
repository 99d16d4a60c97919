"""The controllers and kubelets of the simulated k3s clusters: what follows from the objects, over simulated time.

One thread serves all clusters, each in turn under `world.lock`. A cluster costs next to nothing while nothing in its
store changes and no timer is due.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.controllers.manager import ClusterControllers

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.programs import Container, Program
    from crdbmesh_simulator.world import World

_PERIOD_S = 2.0


class Controllers:
    """The thread that makes the clusters move.

    Args:
        world: everything.
        start_program: starts the program of a container; LookupError for an image that no registry has.
        period_s: simulated seconds between two rounds.
    """

    def __init__(
        self, world: World, start_program: Callable[[Container], Program], *, period_s: float = _PERIOD_S
    ) -> None:
        self._world = world
        self._start_program = start_program
        self._period_s = period_s
        self._sites: dict[str, ClusterControllers] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._faults: set[str] = set()

    def start(self) -> None:
        """Begin; once."""
        self._thread = threading.Thread(target=self._loop, name="controllers", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and wait until the thread is gone."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10.0)
            self._thread = None

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self._round()
            self._world.clock.wait(self._stopping, self._period_s, coarse=True)

    def _round(self) -> None:
        self._safely(self._adopt)
        for site in list(self._sites.values()):

            def turn(site: ClusterControllers = site) -> None:
                with self._world.lock:
                    site.tick()

            self._safely(turn)
            if self._stopping.is_set():
                return

    def _adopt(self) -> None:
        """Take up new clusters, let go of those that are no more."""
        with self._world.lock:
            present = {cluster.uid: cluster for cluster in self._world.clusters}
            for uid in [uid for uid in self._sites if uid not in present]:
                self._sites.pop(uid).close()
            for uid, cluster in present.items():
                if uid not in self._sites:
                    self._sites[uid] = ClusterControllers(self._world, cluster, self._start_program)

    def _safely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - recorded; the other clusters must go on
            lines = traceback.format_exc(limit=-3).strip().splitlines()
            summary = " | ".join(lines[-4:])
            if summary not in self._faults:
                self._faults.add(summary)
                self._world.not_known("controllers", summary)
