"""The facts that checks read from Azure, each read once, when it is first needed."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar, cast

from crdbmesh.checks import actions
from crdbmesh.checks.base import Remark, collect
from crdbmesh.checks.offers import Offer
from crdbmesh.clients.azure import kinds, resources
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.cloud import Cloud
from crdbmesh.desired import Body
from crdbmesh.errors import CrdbmeshError, ForbiddenError
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe import belongings, network
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh, Region

T = TypeVar("T")

_AT_ONCE = 8


class Facts:
    """The facts of one run of the checks.

    `session` is the session with Azure, or the error for which there is none; `world` is that of the run that these
    checks come before, if there is one.
    """

    def __init__(
        self,
        mesh: Mesh | None,
        folder: LocalFolder,
        cloud: Cloud,
        session: Session | CrdbmeshError,
        world: World | None = None,
    ) -> None:
        self._mesh = mesh
        self.folder = folder
        self.cloud = cloud
        self._session = session
        if world is None and mesh is not None and not isinstance(session, CrdbmeshError):
            world = World(mesh, session, folder)
        self._world = world
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, ...], Future[Any]] = {}

    @classmethod
    def of(cls, world: World) -> Self:
        """Make the facts of the checks that come before a run."""
        return cls(world.mesh, world.folder, world.session.cloud, world.session, world)

    @property
    def knows_mesh(self) -> bool:
        """Return True when there is a spec."""
        return self._mesh is not None

    @property
    def mesh(self) -> Mesh:
        """Return the spec; only checks with `needs_spec` ask for it."""
        assert self._mesh is not None
        return self._mesh

    @property
    def session(self) -> Session:
        """Return the session with Azure; raise the error for which there is none."""
        if isinstance(self._session, CrdbmeshError):
            raise self._session
        return self._session

    @property
    def world(self) -> World:
        """Return the world of this run, as steps use it."""
        assert self._world is not None
        return self._world

    def each(self, regions: Iterable[Region], look: Callable[[Region], Iterable[Remark]]) -> Iterator[Remark]:
        """Yield the remarks on several regions, read in parallel, in order; an error in one becomes its remark."""
        with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="checks-of-regions") as pool:
            for remarks in pool.map(lambda region: collect(lambda: look(region), self.cloud.name), regions):
                yield from remarks

    def identity(self) -> resources.Identity:
        """Return the identity in the token."""
        return self._once(lambda: resources.find_identity(self.session), "identity")

    def subscription(self) -> Body:
        """Return the subscription's body; empty when this login cannot see it."""
        return self._once(lambda: resources.find_subscription(self.session) or {}, "subscription")

    def locations(self) -> dict[str, Body]:
        """Return the bodies of the subscription's locations by name, geographies included."""
        return self._once(
            lambda: {str(one["name"]): one for one in resources.list_locations(self.session)}, "locations"
        )

    def places(self) -> list[Region]:
        """Return the spec's regions that exist, or all of them when Azure does not say."""
        try:
            known = self.locations()
        except ForbiddenError:
            return list(self.mesh.all_regions())
        return [region for region in self.mesh.all_regions() if is_region(known.get(region.name))]

    def group(self) -> Body | None:
        """Return the resource group's body, or None."""
        return self._once(lambda: resources.find_group(self.session, self.mesh.group_name), "group")

    def content(self) -> list[Body]:
        """Return everything in the resource group, as ARM lists resources."""
        return self._once(lambda: resources.list_group_resources(self.session, self.mesh.group_name), "content")

    def vms(self) -> list[Body]:
        """Return the bodies of all VMs of the subscription."""
        return self._once(lambda: kinds.VM.list(self.session), "vms")

    def machines(self) -> dict[str, Body]:
        """Return the bodies of the VMs in the group by name in lower case."""
        group = self.mesh.group_name.lower()
        return {str(vm["name"]).lower(): vm for vm in self.vms() if belongings.group_of(vm).lower() == group}

    def find_machine(self, region: str, number: int) -> Body | None:
        """Return the VM of machine `number` of a region, or None."""
        return self.machines().get(names.machine(self.mesh.name, region, number).lower())

    def offers(self, region: str) -> dict[str, Offer]:
        """Return the VM sizes that Azure lists in a region, by name in lower case."""
        return {name: Offer.of(sku, region) for name, sku in self.world.sizes(region).items()}

    def image(self, region: str) -> Body | None:
        """Return the body of the machines' image in a region, or None."""
        parts = self.mesh.machines.image.split(":")
        return self._once(lambda: resources.find_image(self.session, region, *parts), "image", region)

    def cores(self, region: str) -> dict[str, int]:
        """Return what is available of Compute's quotas in a region, by name in lower case."""
        usages = self._once(lambda: _usages(resources.list_compute_usages(self.session, region)), "cores", region)
        return {name: limit - used for name, (used, limit) in usages.items()}

    def limits(self, region: str) -> dict[str, tuple[int, int]]:
        """Return the network provider's limits in a region: used and limit, by name in lower case."""
        return self._once(lambda: _usages(resources.list_network_usages(self.session, region)), "limits", region)

    def vnets(self) -> list[Body]:
        """Return the bodies of all VNets of the subscription."""
        return self._once(lambda: kinds.VNET.list(self.session), "vnets")

    def locks(self) -> list[Body]:
        """Return the bodies of all management locks of the subscription."""
        return self._once(lambda: resources.list_locks(self.session), "locks")

    def policies(self) -> list[Body]:
        """Return the assignments of policies that concern the subscription."""
        return self._once(lambda: resources.list_policy_assignments(self.session), "policies")

    def may(self, action: str) -> bool:
        """Return True when the caller's roles allow an action where it is needed; raise ForbiddenError if not told."""
        in_group = self.knows_mesh and actions.is_in_group(action) and self.group() is not None
        try:
            if actions.allowed(self._permissions(), action):
                return True
        except ForbiddenError:
            # Who has a role at the group only may not even ask about the subscription.
            if not in_group:
                raise
        return in_group and actions.allowed(self._permissions(self.mesh.group_name), action)

    def unregistered(self) -> dict[str, str]:
        """Return the resource providers that are not registered, each with its registration state."""
        return self._once(lambda: network.read_unregistered(self.session), "providers")

    def _permissions(self, group: str | None = None) -> list[Body]:
        return self._once(lambda: resources.list_permissions(self.session, group), "permissions", group or "")

    def _once(self, read: Callable[[], T], *key: str) -> T:
        with self._lock:
            future = self._kept.get(key)
            first = future is None
            if future is None:
                future = self._kept[key] = Future()
        if first:
            try:
                future.set_result(read())
            except BaseException as error:  # noqa: BLE001 - whoever else asks is told too
                future.set_exception(error)
        return cast("T", future.result())


def is_region(location: Body | None) -> bool:
    """Return True when a location is a region, rather than a geography such as `europe` or `global`."""
    if location is None:
        return False
    return str((location.get("metadata") or {}).get("regionType", "Physical")) == "Physical"


def _usages(listed: list[Body]) -> dict[str, tuple[int, int]]:
    return {
        str((usage.get("name") or {}).get("value", "")).lower(): (
            int(usage.get("currentValue") or 0),
            int(usage.get("limit") or 0),
        )
        for usage in listed
    }
