"""A subscription: its resource groups, resources, operations, providers and limits.

`groups` and `resources` are keyed by name and id in lower case, as Azure Resource Manager compares them; what a
resource answers is `Resource.body`. Child resources (subnets, peerings, security rules) live in their parent's body.
Guarded by `world.lock`.
"""

from __future__ import annotations

import collections
import ipaddress
import math
import random
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator import tables
from crdbmesh_simulator.azure import faults, sizes
from crdbmesh_simulator.azure.call import Recordings, Tracking
from crdbmesh_simulator.azure.errors import Body, refusal
from crdbmesh_simulator.azure.operations import Operation, Operations, Stage

if TYPE_CHECKING:
    from crdbmesh_simulator.azure.deployments import Deployment
    from crdbmesh_simulator.world import Disk, Machine, World

_P95 = 1.645
"""The standard normal's 95th percentile."""

MODEL: dict[str, tuple[float, float]] = tables.read(__package__, "offers")["latency"]
"""Simulated seconds, (median, 95th percentile), by operation."""


class Latency:
    """Draws durations; the same seed, operation, resource and attempt give the same duration."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._attempts: dict[tuple[str, str], int] = {}

    def draw(self, operation: str, resource_id: str) -> float:
        """Simulated seconds that `operation` on this resource takes this time."""
        key = (operation, resource_id.lower())
        attempt = self._attempts[key] = self._attempts.get(key, 0) + 1
        median, p95 = MODEL[operation]
        chance = random.Random(f"{self._seed}|{operation}|{key[1]}|{attempt}")  # noqa: S311 - not cryptography
        sigma = math.log(p95 / median) / _P95
        # Bounded at both ends: an outlier of an hour would tell nothing about the client under test.
        return median * math.exp(max(-2.0, min(2.0, chance.gauss(0, 1))) * sigma)


_BUCKETS = {"reads": (250, 25.0), "writes": (200, 10.0), "deletes": (200, 10.0)}
_GLOBAL_FACTOR = 15


class Throttle:
    """The subscription's buckets."""

    def __init__(self) -> None:
        self._tokens: dict[str, float] = {kind: float(size) for kind, (size, _) in _BUCKETS.items()}
        self._filled_at: float | None = None

    def take(self, method: str, now: float) -> dict[str, str]:
        """Use one token. Returns the headers that say how many are left. Raises ArmError: 429, there is none left."""
        self._refill(now)
        kind = _kind(method)
        if self._tokens[kind] < 1:
            wait_s = (1 - self._tokens[kind]) / _BUCKETS[kind][1]
            raise refusal(
                "SubscriptionRequestsThrottled",
                kind=kind,
                limit=_BUCKETS[kind][0],
                seconds=max(1, round(wait_s)),
                retry_after_s=max(1.0, wait_s),
            )
        self._tokens[kind] -= 1
        prefix = "x-ms-ratelimit-remaining-subscription"
        left = int(self._tokens[kind])
        return {
            f"{prefix}-{kind}": str(left),
            f"{prefix}-global-{kind}": str(_GLOBAL_FACTOR * _BUCKETS[kind][0] - (_BUCKETS[kind][0] - left)),
        }

    def _refill(self, now: float) -> None:
        passed = max(0.0, now - self._filled_at) if self._filled_at is not None else 0.0
        self._filled_at = now
        for kind, (size, rate) in _BUCKETS.items():
            self._tokens[kind] = min(float(size), self._tokens[kind] + passed * rate)


def _kind(method: str) -> str:
    if method in ("GET", "HEAD"):
        return "reads"
    return "deletes" if method == "DELETE" else "writes"


_NAMES = ("Authorization", "Compute", "ContainerService", "ManagedIdentity", "Network", "Resources", "Storage")
NAMESPACES = tuple(f"Microsoft.{name}" for name in _NAMES)
_ALWAYS_REGISTERED = ("Microsoft.Authorization", "Microsoft.Resources")

CONTRIBUTOR, OWNER, READER, LOCKS_CONTRIBUTOR = tables.read(__package__, "offers")["roles"].values()
"""Built-in roles, as the permissions API shows them. A contributor may do nothing about locks and roles."""


@dataclass(slots=True)
class Group:
    """A resource group."""

    name: str
    location: str
    tags: dict[str, str]
    managed_by: str | None = None
    state: str = "Succeeded"
    deletion: Operation | None = None

    @property
    def key(self) -> str:
        """Its name as ARM compares it."""
        return self.name.lower()


@dataclass(slots=True)
class Resource:
    """A tracked, top-level resource.

    Attributes:
        body: what a GET answers, less what follows from other resources.
        machine: of a VM: its machine, powered on or not.
        power: of a VM: the code of its power state, such as `running`.
        deletion: the operation that is deleting it.
        reserved: of a NIC or disk: the VM (id) whose failed creation keeps it, or that lets go of it, and until when.
        changes, fault_domain: when a disk's performance was changed; the fault domain of a VM in an availability set.
        failed_by: of a resource in the state Failed: the kind of the operation that failed.
        disk: of a managed disk: what is on it.
        extensions: of a VM: its extensions, by name in lower case.
        address: of a public IP: its address, which is shown once it has been provisioned.
    """

    id: str
    type: str
    name: str
    group: str
    location: str
    body: Body
    created_at: float
    changed_at: float
    machine: Machine | None = None
    power: str = ""
    deletion: Operation | None = None
    reserved: tuple[str, float] | None = None
    changes: list[float] = field(default_factory=list)
    fault_domain: int | None = None
    failed_by: str = ""
    disk: Disk | None = None
    extensions: dict[str, Body] = field(default_factory=dict)
    address: str | None = None

    @property
    def key(self) -> str:
        """Its id as ARM compares ids."""
        return self.id.lower()

    @property
    def properties(self) -> Body:
        """The body's `properties`."""
        properties: Body = self.body["properties"]
        return properties

    @property
    def state(self) -> str:
        """Its provisioning state."""
        return str(self.properties["provisioningState"])

    @state.setter
    def state(self, value: str) -> None:
        self.properties["provisioningState"] = value

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return dict(self.body.get("tags") or {})


@dataclass(slots=True)
class Provider:
    """A resource provider's registration."""

    namespace: str
    state: str
    operation: Operation | None = field(default=None, repr=False)


class Subscription:
    """The one subscription of a simulated world.

    Args:
        addresses: the public addresses there are to give, each once; returned ones are given again when these run out.
        registered: resource providers that are registered from the start; a new subscription has none but ARM's own.
        page_size: how many entries a page of a list has at most.
        limits: quotas other than the usual, by name and location.

    Attributes:
        state: `Enabled`, `Warned`, `PastDue`, `Disabled` or `Deleted`.
        deployments: template deployments, running and ended, by id in lower case.
        permissions: of the caller's roles at the subscription; `group_permissions`: at groups, by name in lower case.
        locks: management locks by their ids in lower case.
        records: what `storage` keeps, by id in lower case; `blobs`: what is in containers.
        policies: assignments of policies that concern the subscription.
        recordings: answers to give in the place of our own.
        restrictions: sizes that this subscription may not use somewhere, beside the usual ones.
        unseen: until when the resource providers do not see a new group (its name in lower case).
        late: until when a new resource (id in lower case) cannot be read yet.
        clock_ahead_s: how far the service's clock, as its Date header tells it, is ahead of this computer's.
    """

    def __init__(
        self,
        world: World,
        *,
        subscription_id: str | None = None,
        tenant_id: str | None = None,
        addresses: Iterator[str] | None = None,
        registered: Iterable[str] = (),
        page_size: int = 10,
        limits: sizes.Limits | None = None,
    ) -> None:
        self.world = world
        self.id = subscription_id or self._draw_guid()
        self.tenant_id = tenant_id or str(uuid.uuid5(uuid.NAMESPACE_URL, f"tenant of {self.id}"))
        self.display_name = "Simulated subscription"
        self.page_size = page_size
        self.tags: dict[str, str] = {}
        self.groups: dict[str, Group] = {}
        self.resources: dict[str, Resource] = {}
        self.operations = Operations()
        self.deployments: dict[str, Deployment] = {}
        self.latency = Latency(world.seed)
        self.limits = limits or sizes.Limits()
        self.state = "Enabled"
        self.permissions: list[Body] = [CONTRIBUTOR, LOCKS_CONTRIBUTOR]
        self.group_permissions: dict[str, list[Body]] = {}
        self.locks: dict[str, Body] = {}
        self.policies: list[Body] = []
        self.records: dict[str, Body] = {}
        self.blobs: dict[str, dict[str, Any]] = {}
        self.recordings = Recordings()
        self.restrictions: set[sizes.Restriction] = set()
        self.clock_ahead_s = 0.0
        self.throttle = Throttle()
        self.jobs: dict[str, Operation] = {}
        self.late: dict[str, float] = {}
        self.unseen: dict[str, float] = {}
        at_work = {namespace.lower() for namespace in (*_ALWAYS_REGISTERED, *registered)}
        self.providers = {
            namespace.lower(): Provider(namespace, "Registered" if namespace.lower() in at_work else "NotRegistered")
            for namespace in NAMESPACES
        }
        self._addresses = addresses if addresses is not None else _loopback_block()
        self._returned: collections.deque[str] = collections.deque()
        self._power: collections.deque[tuple[Callable[[Machine], None], Machine]] = collections.deque()
        self._powering = threading.Lock()

    @property
    def now(self) -> float:
        """Simulated time."""
        return self.world.clock.now()

    def tick(self) -> None:
        """Carry out what is due, machines powered on and off included. Not to be called with `world.lock` held."""
        self.settle()
        while self._power and self._powering.acquire(blocking=False):
            try:
                self._power_next()
            finally:
                self._powering.release()

    def settle(self) -> None:
        """Bring the resources up to date; machines follow at the next `tick`."""
        with self.world.lock:
            self.operations.settle(self.now)
            for deployment in list(self.deployments.values()):
                deployment.advance()

    def find(self, resource_id: str) -> Resource | None:
        """The top-level resource of this id, or None."""
        return self.resources.get(resource_id.lower())

    def of_type(self, kind: str, group: str | None = None) -> list[Resource]:
        """Resources of a type, by name, in one group or all."""
        return sorted(
            (
                resource
                for resource in self.resources.values()
                if resource.type.lower() == kind.lower() and (group is None or resource.group.lower() == group.lower())
            ),
            key=lambda resource: (resource.group.lower(), resource.name.lower()),
        )

    def in_group(self, group: str) -> list[Resource]:
        """Resources of a group."""
        return [resource for resource in self.resources.values() if resource.group.lower() == group.lower()]

    def ip_configurations(self) -> Iterator[tuple[Resource, Body]]:
        """Each NIC with each of its IP configurations."""
        for nic in self.of_type("Microsoft.Network/networkInterfaces"):
            for configuration in nic.properties["ipConfigurations"]:
                yield nic, configuration

    def start(
        self,
        kind: str,
        tracking: Tracking,
        target: str,
        location: str,
        done: Stage,
        *,
        locks: Iterable[str] = (),
        stages: Iterable[tuple[float, Stage]] = (),
        latency: str | None = None,
    ) -> Operation:
        """Begin an operation on a resource, which it locks.

        `stages` are what happens on the way, each with its fraction of the whole duration; `latency` names the
        operation in the latency model, when that is not `kind`.
        """
        now = self.now
        duration = self.latency.draw(latency or kind, target) * faults.stretch(self, kind, target, location)
        done = faults.ending(self, kind, tracking, target, location, done)
        operation = Operation(
            id=self.guid(),
            kind=kind,
            tracking=tracking,
            location=location,
            target=target,
            locks=frozenset(lock.lower() for lock in (target, *locks)),
            started_at=now,
            ends_at=now + duration,
        )
        self.operations.begin(operation, [(now + fraction * duration, stage) for fraction, stage in stages], done)
        return operation

    def guid(self) -> str:
        """A new GUID."""
        return self._draw_guid()

    def etag(self) -> str:
        """A new entity tag."""
        return f'W/"{self.guid()}"'

    def take_address(self) -> str:
        """A public address that nobody has. Raises ArmError: 400, there is none left."""
        address = next(self._addresses, None)
        if address is None and self._returned:
            address = self._returned.popleft()
        if address is None:
            raise refusal("PublicIPAddressPoolExhausted")
        return address

    def give_back_address(self, address: str) -> None:
        """An address is free again."""
        self._returned.append(address)

    def power_on(self, machine: Machine, at: float) -> None:
        """The machine's operating system starts."""
        machine.booted_at = at
        self.world.machines[machine.key] = machine
        self._power.append((lambda powered: self.world.boot(powered), machine))

    def power_off(self, machine: Machine) -> None:
        """The machine stops, gracefully or not."""
        if self.world.machines.pop(machine.key, None) is not None:
            self._power.append((lambda powered: self.world.halt(powered), machine))

    def require_registered(self, namespace: str) -> None:
        """Refuse to write resources of a provider that is not registered."""
        provider = self.providers.get(namespace.lower())
        if provider is None or provider.state != "Registered":
            error = refusal("MissingSubscriptionRegistration", namespace=namespace)
            error.details = [{"code": error.code, "target": namespace, "message": error.message}]
            raise error

    def _power_next(self) -> None:
        try:
            change, machine = self._power.popleft()
        except IndexError:
            return
        change(machine)

    def _draw_guid(self) -> str:
        return str(uuid.UUID(int=self.world.random.getrandbits(128), version=4))


def _loopback_block() -> Iterator[str]:
    return (str(address) for address in ipaddress.ip_network("127.45.45.0/24").hosts())
