"""Base classes of most steps."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from crdbmesh.clients.azure import compare, kinds
from crdbmesh.clients.azure.kinds import Kind
from crdbmesh.clients.kube.client import Kube
from crdbmesh.clients.waiting import Say
from crdbmesh.desired import Object
from crdbmesh.engine.step import Gap, Step
from crdbmesh.errors import KubeError
from crdbmesh.observe import rollouts
from crdbmesh.observe.resource import Observed
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Machine, Region


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshStep(Step):
    """A step with the world at hand."""

    world: World


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionStep(MeshStep):
    """A step about one region."""

    region: Region

    @property
    def kube(self) -> Kube:
        """The region's Kubernetes API; a KubeError when none of its servers answers."""
        return self.world.kube(self.region.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineStep(RegionStep):
    """A step about one machine."""

    machine: Machine


class ResourceStep(RegionStep):
    """An Azure resource that must be as the spec says."""

    kind: ClassVar[Kind]

    @abstractmethod
    def observe(self) -> Observed:
        """Judge the resource as it is."""

    def check(self) -> Gap | None:
        """Judge the resource as it is."""
        return self.observe().gap()

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002 - it is read again, since others write too
        """Read the resource, lay the wanted body over it, and write it.

        When somebody has written in between, Azure refuses, and the step is done again.
        """
        seen = self.observe()
        if (refused := seen.refusal or seen.undecided) is not None:
            raise refused
        if seen.found is None:
            self.world.record(self.kind.type, seen.name)
        body, options = compare.merge(seen.found, seen.wanted), kinds.unless_changed(seen.found)
        self.kind.ensure(self.world.session, self.world.group, seen.name, body=body, say=say, **options)


class ObjectsStep(RegionStep):
    """Kubernetes objects in a region's cluster that must be as the spec says, and what must follow from them."""

    @abstractmethod
    def objects(self) -> list[Object]:
        """The objects, in the order in which they are applied."""

    def missing(self) -> str | None:
        """Return what does not hold yet although the objects exist, or None."""
        return None

    def settle(self, say: Say) -> None:
        """Wait for what follows from the objects."""

    def check(self) -> Gap | None:
        """Compare every object with what is there, then what follows from them."""
        kube = self.kube
        for wanted in self.objects():
            if differences := kube.covers(wanted):
                summary = f"{wanted['kind']} {wanted['metadata']['name']}: {'; '.join(differences[:3])}"
                return Gap(summary, "create" if summary.endswith(" is absent") else "change")
        missing = self.missing()
        return Gap(missing) if missing else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002 - applying all of them is safe and quick
        """Apply every object, then wait.

        Fields that the spec names are taken from whoever set them since: somebody with kubectl, or k3s's deploy
        controller, which owns CoreDNS's replica count by default. What the spec does not name stays theirs.
        """
        kube = self.kube
        for wanted in self.objects():
            kube.apply(wanted, force=True)
        self.settle(say)


class DeploymentStep(ObjectsStep):
    """Objects of which the last is a Deployment, which must be rolled out as well."""

    deadline_s: ClassVar[float]

    @abstractmethod
    def awaited(self) -> str:
        """Return the name, for messages, of the Deployment that is waited for."""

    def missing(self) -> str | None:
        """Say why the Deployment does not run as applied yet; None when it does."""
        missing = rollouts.read_missing(self.kube, "Deployment", *self._deployment())
        return f"{self.region.name}: {missing}" if missing else None

    def settle(self, say: Say) -> None:
        """Wait for the Deployment to be up; one with a configuration that it cannot read never is."""
        deadline_s = self.world.deadline(self.deadline_s)
        rollouts.wait(
            self.kube, "Deployment", *self._deployment(), awaited=self.awaited(), deadline_s=deadline_s, say=say
        )

    def _deployment(self) -> tuple[str, str]:
        metadata = self.objects()[-1]["metadata"]
        return metadata["name"], metadata["namespace"]


class AwaitedStep(MeshStep):
    """Something that comes about by itself once the steps before hold: it is looked at, and waited for."""

    deadline_s: ClassVar[float] = 600.0

    @abstractmethod
    def awaited(self) -> str:
        """Return the name, for messages, of what is waited for."""

    @abstractmethod
    def missing(self) -> str | None:
        """Return what does not hold yet, or None; a KubeError, when it could not be read, may pass."""

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

        self.world.wait_until(probe, awaited=self.awaited(), deadline_s=self.deadline_s, say=say)
