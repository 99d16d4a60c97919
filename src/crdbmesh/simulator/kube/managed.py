"""Who owns which field of an object."""

from __future__ import annotations

from abc import ABC, abstractmethod

from crdbmesh.simulator.kube.jsonvalue import Obj, clone
from crdbmesh.simulator.kube.resources import Catalogue, Resource

SYSTEM = "k3s"


class Workflow(ABC):
    def __init__(self, manager: str, subresource: str | None = None) -> None:
        self.manager = manager
        self.subresource = subresource

    @abstractmethod
    def track(self, catalogue: Catalogue, resource: Resource, old: Obj | None, new: Obj, now: str) -> None: ...


class Update(Workflow):
    def track(self, catalogue: Catalogue, resource: Resource, old: Obj | None, new: Obj, now: str) -> None:
        return


class Apply(Workflow):
    def __init__(self, manager: str, subresource: str | None, config: Obj, *, force: bool) -> None:
        super().__init__(manager, subresource)
        self.config = config
        self.force = force

    def merge(self, catalogue: Catalogue, resource: Resource, live: Obj) -> Obj:
        return {**clone(live), **self.config}

    def track(self, catalogue: Catalogue, resource: Resource, old: Obj | None, new: Obj, now: str) -> None:
        return
