"""Judges one Azure resource of a mesh: whether it is there, the mesh's own, and as it must be."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from crdbmesh.clients.azure import compare
from crdbmesh.clients.azure.kinds import Kind
from crdbmesh.desired import Body
from crdbmesh.engine.step import Gap
from crdbmesh.errors import CrdbmeshError, RefusedError
from crdbmesh.observe import belongings
from crdbmesh.run.world import World
from crdbmesh.spec import names

AGAIN = "put the spec back, or run `crdbmesh down` and `crdbmesh up` with the new one"


@dataclass(frozen=True, slots=True)
class Observed:
    """A resource as it is, and what is wrong with it.

    Attributes:
        title: what it is, for messages: `VNet crdbmesh-eastus`.
        found: its body, or None when it does not exist.
        missing: what is not as it must be, in one line; None when it is right.
        refusal: why crdbmesh may not, or cannot, make it right; None when it can.
        undecided: why it may not be written until the user has said something; None when it may.
        name: its name in Azure; empty for what is not named by one name alone.
        wanted: the body that makes it right.
        removes: whether making it right removes something of others.
    """

    title: str
    found: Body | None
    missing: str | None = None
    refusal: CrdbmeshError | None = None
    name: str = ""
    wanted: Body = field(default_factory=dict)
    undecided: CrdbmeshError | None = None
    removes: bool = False

    @property
    def cause(self) -> str | None:
        """Return what is wrong with it, or None."""
        return self.missing if self.refusal is None else str(self.refusal)

    def gap(self) -> Gap | None:
        """Return what is missing, as a step's check does; raise the refusal, if there is one."""
        if self.refusal is not None:
            raise self.refusal
        kind: Literal["create", "change", "delete"] = "delete" if self.removes else "change"
        return None if self.missing is None else Gap(self.missing, "create" if self.found is None else kind)

    def with_missing(self, missing: str | None) -> Self:
        """Return this, with `missing` wrong if nothing else is."""
        return self if missing is None or self.cause is not None else replace(self, missing=missing)


def look(world: World, kind: Kind, name: str, wanted: Body) -> Observed:
    """Compare a resource with the whole body that is wanted, tags included."""
    return judge(world, kind, name, kind.find(world.session, world.group, name), wanted)


def judge(world: World, kind: Kind, name: str, found: Body | None, wanted: Body) -> Observed:
    """Compare a resource that was read with the whole body that is wanted."""
    seen = presence(world, kind, name, found, wanted)
    if found is None or seen.cause is not None:
        return seen
    if (where := location_of(found)) != location_of(wanted):
        return replace(seen, refusal=unchangeable(seen.title, "location", where, location_of(wanted)))
    differences = compare.differences(judged(wanted), found)
    return seen.with_missing(f"{seen.title}: {'; '.join(differences)}" if differences else None)


def presence(world: World, kind: Kind, name: str, found: Body | None, wanted: Body) -> Observed:
    """Judge whether a resource is there, the mesh's own, and not being changed."""
    title = f"{kind.title} {name}"
    if found is None:
        return Observed(title, None, f"{title} is absent", name=name, wanted=wanted)
    # Of what Azure makes at once it shows no state.
    state = found.get("properties", {}).get("provisioningState", "Succeeded")
    missing = None if state == "Succeeded" else f"{title} is {state}"
    return Observed(title, found, missing, _foreign(world, title, found), name, wanted)


def unchangeable(title: str, what: str, found: object, wanted: object) -> RefusedError:
    """Return the refusal of a change that Azure cannot make in place."""
    return RefusedError(
        f"{title}: {what} is {found}, the spec says {wanted}, and that cannot be changed in place", hint=AGAIN
    )


def judged(wanted: Body) -> Body:
    """Return what a resource is judged by: all but the tag that says which version of crdbmesh wrote it last."""
    return {**wanted, "tags": {key: value for key, value in wanted["tags"].items() if key != names.TAG_VERSION}}


def location_of(body: Mapping[str, Any]) -> str:
    """Return a resource's location in the form of its short name: `eastus`."""
    return str(body.get("location", "")).lower().replace(" ", "")


def _foreign(world: World, title: str, found: Body) -> RefusedError | None:
    """Return the refusal of a resource that is somebody else's, which `down` would delete if it became ours."""
    ownership = belongings.of(world)
    if ownership.owns(found):
        return None
    reason, remedy = ownership.foreign(title, found)
    return RefusedError(reason, hint=remedy)
