"""The controllers and kubelets of the simulated k3s clusters: what follows from the objects, over simulated time.

One thread serves all clusters, each in turn under `world.lock`. A cluster costs next to nothing while nothing in its
store changes and no timer is due.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from crdbmesh_simulator.kubernetes.api.cluster import Pods
from crdbmesh_simulator.kubernetes.controllers import builtin_programs
from crdbmesh_simulator.kubernetes.controllers.addons import Addons
from crdbmesh_simulator.kubernetes.controllers.api import Api
from crdbmesh_simulator.kubernetes.controllers.cilium.operator import CiliumOperator
from crdbmesh_simulator.kubernetes.controllers.daemonsets import DaemonSets
from crdbmesh_simulator.kubernetes.controllers.deployments import Deployments, ReplicaSets
from crdbmesh_simulator.kubernetes.controllers.endpoints import Endpoints
from crdbmesh_simulator.kubernetes.controllers.garbage import GarbageCollector, Namespaces, PodCollector
from crdbmesh_simulator.kubernetes.controllers.helm.controller import HelmCharts
from crdbmesh_simulator.kubernetes.controllers.jobs import Budgets, Jobs
from crdbmesh_simulator.kubernetes.controllers.kubelet.controller import Kubelet
from crdbmesh_simulator.kubernetes.controllers.nodes import NodeLifecycle, Nodes
from crdbmesh_simulator.kubernetes.controllers.scheduler import Scheduler
from crdbmesh_simulator.kubernetes.controllers.site import Controller, Site
from crdbmesh_simulator.kubernetes.controllers.statefulsets import StatefulSets
from crdbmesh_simulator.kubernetes.controllers.storage import Claims

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster
    from crdbmesh_simulator.kubernetes.programs import Container, Program
    from crdbmesh_simulator.world import World

_PERIOD_S = 2.0


class Controllers:
    """The thread that makes the clusters move.

    `world`: everything. `start_program`: starts the program of a container; LookupError for an image that no registry
    has. `period_s`: simulated seconds between two rounds.
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


_CONTROLLERS: tuple[type[Controller], ...] = (
    Addons,
    Nodes,
    NodeLifecycle,
    Namespaces,
    GarbageCollector,
    PodCollector,
    HelmCharts,
    CiliumOperator,
    Deployments,
    ReplicaSets,
    StatefulSets,
    DaemonSets,
    Jobs,
    Budgets,
    Claims,
    Scheduler,
    Endpoints,
)
_T = TypeVar("_T")
_FAILED_AGAIN_S = 5.0
_REFUSED_AGAIN_S = 3.0


class ClusterControllers:
    """Everything that moves inside one cluster."""

    def __init__(self, world: World, cluster: Cluster, start: Callable[[Container], Program]) -> None:
        self.world = world
        self.cluster = cluster
        api = Api(cluster.store, world.clock)
        self.site = Site(world, cluster, api, Pods(world, cluster), self._start)
        self._other = start
        self._faults: set[str] = set()
        self.kubelet = Kubelet(self.site, self._guarded)
        self._controllers: list[Controller] = [*(make(self.site) for make in _CONTROLLERS), self.kubelet]
        self._seen: dict[Controller, int] = dict.fromkeys(self._controllers, -1)
        self._due: dict[Controller, float] = dict.fromkeys(self._controllers, 0.0)
        cluster.runtime = self.site.pods

    def _start(self, container: Container) -> Program:
        return builtin_programs.start(self.site, container, self._other)

    def tick(self) -> None:
        """Run what is due, under `world.lock`."""
        now = self.world.clock.now()
        if self._guarded("programs", lambda: self.kubelet.tick_programs(now)):
            self._due[self.kubelet] = 0.0
        if self.cluster.has_quorum() and any(member.running for member in self.cluster.members.values()):
            for controller in self._controllers:
                self._run(controller, now)

    def close(self) -> None:
        """Forget the pods; the cluster is gone."""
        self.site.pods.sandboxes.clear()
        self.site.api.close()

    def _run(self, controller: Controller, now: float) -> None:
        mark = self.site.api.mark(controller.watches)
        if mark == self._seen[controller] and now < self._due[controller]:
            return
        self._seen[controller] = mark
        self._due[controller] = now + _FAILED_AGAIN_S
        controller.refused = False
        due = self._guarded(type(controller).__name__, lambda: controller.run(now))
        if due is not False:
            latest = now + _REFUSED_AGAIN_S if controller.refused else float("inf")
            self._due[controller] = latest if due is None else min(float(due), latest)

    def _guarded(self, name: str, work: Callable[[], _T]) -> _T | bool:
        """Do the work; a failure in it is recorded, and the rest goes on."""
        try:
            return work()
        except Exception:  # noqa: BLE001 - one controller's failure must not stop the world
            text = traceback.format_exc(limit=-4)
            summary = f"{name} in cluster {self.cluster.uid}: {' | '.join(text.strip().splitlines()[-5:])}"
            if summary not in self._faults:
                self._faults.add(summary)
                self.world.not_known("controllers", summary)
            return False
