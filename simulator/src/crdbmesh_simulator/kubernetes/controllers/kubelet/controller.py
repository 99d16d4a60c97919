"""The kubelets of a cluster: a worker for each pod that has a node, addresses for pods, the programs' clockwork."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.kubelet.worker import FAR, PodWorker
from crdbmesh_simulator.kubernetes.controllers.site import Controller, Site

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Member

_PROGRAM_TICK_S = 4.0
_IDLE_S = 20.0


class Kubelet(Controller):
    """All kubelets of the cluster. `site`: the cluster. `guarded`: does work whose failure must not stop the rest."""

    watches = ("Pod",)

    def __init__(self, site: Site, guarded: Callable[[str, Callable[[], None]], object]) -> None:
        super().__init__(site)
        self._guarded = guarded
        self.workers: dict[str, PodWorker] = {}
        self._counters: dict[str, int] = {}
        self._next_tick = 0.0

    def run(self, now: float) -> float | None:
        """Sync every pod that has changed or whose time has come."""
        present: set[str] = set()
        due = now + _IDLE_S
        for pod in self.api.list("Pod"):
            node = objects.spec(pod).get("nodeName")
            if not node:
                continue
            uid = objects.uid(pod)
            present.add(uid)
            member = self.site.cluster.members.get(node)
            if member is None or not self.site.alive(member):
                continue
            worker = self.workers.get(uid)
            if worker is None or worker.member is not member:
                worker = self._adopt(pod, member, worker)
            if worker.seen != objects.meta(pod).get("resourceVersion") or now >= worker.due:
                if worker.sync(pod, now):
                    self.workers.pop(uid, None)
                    self.api.delete(pod, grace_s=0)
                    continue
                if worker.seen != objects.meta(
                    self.api.find("Pod", objects.namespace(pod), objects.name(pod)) or pod
                ).get("resourceVersion"):
                    worker.wake(now)
            due = min(due, worker.due)
        for uid in [uid for uid in self.workers if uid not in present]:
            worker = self.workers[uid]
            if self.site.alive(worker.member):
                self.workers.pop(uid).drop()
        return due if due < FAR else now + _IDLE_S

    def _adopt(self, pod: Obj, member: Member, old: PodWorker | None) -> PodWorker:
        if old is not None:
            old.drop()
        worker = self.workers[objects.uid(pod)] = PodWorker(self.site, member, pod, self._allocate)
        return worker

    def tick_programs(self, now: float) -> bool:
        """Let every program act if it is time; whether one has ended. Works without a control plane, too."""
        if now < self._next_tick:
            return False
        self._next_tick = now + _PROGRAM_TICK_S
        ended = False
        for box, program in self.site.pods.programs():
            if not self.site.powered(box.node):
                box.programs.clear()
                continue
            if self.site.cluster.members.get(box.node.node_name) is not box.node:
                self.site.pods.forget(box.uid)
                continue
            rebooted = box.node.machine.booted_at != box.booted_at
            if rebooted:
                box.programs.clear()
            elif program.exit_code is None:
                self._guarded(f"program {program.container.name}", program.tick)
            if rebooted or program.exit_code is not None:
                ended = True
                if box.uid in self.workers:
                    self.workers[box.uid].due = 0.0
        return ended

    def _allocate(self, member: Member) -> str | None:
        pool = self.site.pod_range(member.node_name)
        if pool is None:
            return None
        taken = {box.ip for box in self.site.pods.sandboxes.values()}
        size = pool.num_addresses
        for _ in range(size):
            count = self._counters.get(member.node_name, 1) + 1
            self._counters[member.node_name] = count if count < size - 2 else 1
            address = str(pool[count])
            if 1 < count < size - 1 and address not in taken:
                return address
        return None
