"""What most steps are made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from crdbmesh.clients.azure import compare
from crdbmesh.clients.waiting import wait_until
from crdbmesh.desired import Object
from crdbmesh.engine.step import Gap, Say, Step
from crdbmesh.errors import KubeError, RefusedError
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine, Region


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshStep(Step):
    """A step with the world at hand."""

    world: World


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionStep(MeshStep):
    """A step about one region."""

    region: Region


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineStep(RegionStep):
    """A step about one machine."""

    machine: Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceStep(RegionStep):
    """An Azure resource that must be as the spec says.

    A subclass says what is wanted and how to find and ensure it; what Azure cannot change in place is refused.
    """

    @abstractmethod
    def wanted(self) -> Mapping[str, Any]:
        """The resource's body."""

    @abstractmethod
    def find(self) -> dict[str, Any] | None:
        """The resource as it is."""

    @abstractmethod
    def ensure(self, body: dict[str, Any], say: Say) -> None:
        """Create or update it, and wait."""

    def resource(self) -> str:
        """What it is, for messages."""
        return self.name

    def fixed(self) -> Mapping[str, Callable[[Mapping[str, Any]], object]]:
        """What cannot be changed in place: by name, how to read it from a body."""
        return {"location": lambda body: str(body.get("location", "")).lower().replace(" ", "")}

    def check(self) -> Gap | None:
        """Compare what is with what is wanted."""
        found = self.find()
        if found is None:
            return Gap(f"{self.resource()} is absent")
        self.refuse_foreign(found)
        wanted = self.wanted()
        for what, read in self.fixed().items():
            if read(found) != read(wanted):
                raise RefusedError(
                    f"{self.resource()}: {what} is {read(found)}, the spec says {read(wanted)}, "
                    "and that cannot be changed in place",
                    hint="put the spec back, or run `crdbmesh down` and `crdbmesh up` with the new one",
                )
        if (state := found.get("properties", {}).get("provisioningState")) != "Succeeded":
            return Gap(f"{self.resource()} is {state}")
        differences = compare.differences(wanted, found)
        return Gap(f"{self.resource()}: {'; '.join(differences)}") if differences else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002 - the whole body is sent, whatever differs
        """Send the wanted body, with the tags that others have put on the resource."""
        found = self.find() or {}
        self.refuse_foreign(found or self.wanted())
        wanted = dict(self.wanted())
        self.ensure({**wanted, "tags": {**(found.get("tags") or {}), **wanted["tags"]}}, say)

    def refuse_foreign(self, found: Mapping[str, Any]) -> None:
        """Refuse a resource that is somebody else's: what carries our tag, `down` deletes.

        In a group of the mesh's own a lost tag is put back; in a shared one nobody can tell.

        Raises:
            RefusedError: it carries another mesh's tag, or none in a group that is shared.
        """
        mesh = self.world.mesh
        owner = (found.get("tags") or {}).get(names.TAG)
        if owner == mesh.name or (owner is None and mesh.group is None):
            return
        whose = f"belongs to the mesh {owner}" if owner else "does not carry this mesh's tag"
        raise RefusedError(
            f"{self.resource()} exists in {mesh.group_name} and {whose}",
            hint=f"choose another --name or `group`; if it is this mesh's own, tag it {names.TAG}={mesh.name}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectsStep(RegionStep):
    """Kubernetes objects in a region's cluster that must be as the spec says, and what must follow from them."""

    @abstractmethod
    def objects(self) -> list[Object]:
        """The objects, in the order in which they are applied."""

    def missing(self) -> str | None:
        """What does not hold yet although the objects are there, or None."""
        return None

    def settle(self, say: Say) -> None:
        """Wait for what follows from the objects."""

    def check(self) -> Gap | None:
        """Compare every object with what is there, then what follows from them."""
        kube = self.world.kube(self.region.name)
        for wanted in self.objects():
            if differences := kube.covers(wanted):
                return Gap(f"{wanted['kind']} {wanted['metadata']['name']}: {'; '.join(differences[:3])}")
        missing = self.missing()
        return Gap(missing) if missing else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002 - applying all of them is safe and quick
        """Apply every object, then wait.

        Fields that the spec names are taken from whoever set them since: somebody with kubectl, or k3s's deploy
        controller, which owns CoreDNS's replica count by default. What the spec does not name stays theirs.
        """
        kube = self.world.kube(self.region.name)
        for wanted in self.objects():
            kube.apply(wanted, force=True)
        self.settle(say)


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedStep(MeshStep):
    """Something that comes about by itself once the steps before hold: it is looked at, and waited for."""

    deadline_s: ClassVar[float] = 600.0

    @abstractmethod
    def awaited(self) -> str:
        """What is waited for, for messages."""

    @abstractmethod
    def missing(self) -> str | None:
        """What does not hold yet, or None.

        Raises:
            KubeError: it could not be read, which may pass.
        """

    def check(self) -> Gap | None:
        """Look."""
        try:
            missing = self.missing()
        except KubeError as error:
            missing = str(error)
        return Gap(missing) if missing else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002 - looking again is all there is to do
        """Wait until nothing is missing."""

        def probe() -> tuple[bool | None, str]:
            found = self.check()
            return (True, "") if found is None else (None, found.summary)

        wait_until(
            probe,
            awaited=self.awaited(),
            deadline_s=self.world.deadline(self.deadline_s),
            interval_s=0.5,
            say=say,
            stop=self.world.stop,
            clock=self.world.clock,
        )
