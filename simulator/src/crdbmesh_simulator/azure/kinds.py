"""What all types of resource have in common: the checks before a write, and reads, lists and deletions."""

from __future__ import annotations

import copy
import re
import urllib.parse
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from crdbmesh_simulator.azure import regions, schemas
from crdbmesh_simulator.azure.call import Answer, Call, Tracking, accepted, not_here, status_url
from crdbmesh_simulator.azure.errors import ArmError, Body, group_not_found, refusal, resource_not_found, superseded
from crdbmesh_simulator.azure.etags import children_of, etag_header, require_match, touch
from crdbmesh_simulator.azure.operations import Operation, Stage
from crdbmesh_simulator.azure.state import Group, Resource, Subscription

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.()-]{0,78}[A-Za-z0-9_])?")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a resource is called, before it exists."""

    id: str
    type: str
    name: str
    group: str
    location: str


class Kind(ABC):
    """A type of top-level resource."""

    type: ClassVar[str]
    tracking: ClassVar[Tracking]

    @property
    def namespace(self) -> str:
        """The provider's namespace."""
        return self.type.partition("/")[0]

    @property
    def schema(self) -> str:
        """The published type of its PUT body."""
        return self.type.replace("/", ".")

    def put(self, call: Call) -> Answer:
        """Create or replace."""
        subscription = call.subscription
        group = open_group(subscription, call.names["group"])
        if subscription.unseen.get(group.key, 0.0) > subscription.now:
            raise group_not_found(group.name)
        subscription.require_registered(self.namespace)
        name = call.names["name"]
        existing = self.find(subscription, group.name, name)
        if existing is None:
            self.require_name(name)
        given = call.body()
        _require_location(given)
        body = schemas.accept(self.schema, given)
        region = regions.find(str(body["location"]))
        self._require_same_place(existing, group, str(body["location"]))
        if region is None:
            raise self._no_such_place(str(body["location"]))
        require_tags(body.get("tags"))
        require_match(call, self.identify(subscription, group.name, name), existing.body if existing else None)
        if existing is not None:
            self.require_idle(call, existing)
            name = existing.name
        identity = Identity(self.identify(subscription, group.name, name), self.type, name, group.name, region.name)
        return self.write(call, identity, body, existing)

    def get(self, call: Call) -> Answer:
        """The resource."""
        resource = self.require(call)
        return Answer(200, self.render(call, resource), etag_header(resource.body))

    def list_all(self, call: Call) -> Answer:
        """All of a group, or of the subscription."""
        group = call.names.get("group")
        if group is not None:
            group = find_group(call.subscription, group).name
        return page(call, [self.render(call, resource) for resource in call.subscription.of_type(self.type, group)])

    def patch(self, call: Call) -> Answer:
        """Replace the tags; nothing else is changed by a PATCH here."""
        open_group(call.subscription, call.names["group"])
        resource = self.require(call)
        body = call.body()
        if set(body) - {"tags"}:
            raise not_here(call, f"PATCH of more than the tags of a {self.type}")
        require_tags(body.get("tags"))
        require_match(call, resource.id, resource.body)
        self.require_idle(call, resource)
        resource.body["tags"] = dict(body.get("tags") or {})
        touch(call.subscription, resource)
        return Answer(200, self.render(call, resource), etag_header(resource.body))

    def delete(self, call: Call) -> Answer:
        """Delete; absent is done."""
        group = find_group(call.subscription, call.names["group"])
        resource = self.find(call.subscription, group.name, call.names["name"])
        resource_id = self.identify(call.subscription, group.name, call.names["name"])
        require_match(call, resource_id, resource.body if resource else None)
        if resource is None:
            return Answer(204)
        if resource.deletion is not None:
            return accepted(call, resource.deletion, 202, None)
        if group.state == "Deleting":
            raise being_deleted(group)
        return self.erase(call, resource)

    def render(self, call: Call, resource: Resource) -> Body:  # noqa: ARG002 - what some types need
        """The resource as a GET answers it."""
        return copy.deepcopy(resource.body)

    @abstractmethod
    def write(self, call: Call, identity: Identity, body: Body, existing: Resource | None) -> Answer:
        """Apply the type's rules, change the state and begin the operation."""

    @abstractmethod
    def erase(self, call: Call, resource: Resource) -> Answer:
        """Apply the type's rules of deletion and begin the operation."""

    def vanish(self, subscription: Subscription, resource: Resource) -> None:
        """The resource is gone; undo what it held."""
        subscription.resources.pop(resource.key, None)

    def require_idle(self, call: Call, resource: Resource) -> None:
        """Refuse when another operation holds the resource."""
        operation = call.subscription.operations.holding(resource.id)
        if operation is not None:
            left_s = max(1.0, operation.ends_at - call.subscription.now)
            what = f"Operation {operation.kind} ({operation.id}) is updating resource {resource.id}."
            message = f"{what} The call can be retried in {round(left_s)} seconds."
            raise superseded(message, retry_after_s=left_s)

    def require(self, call: Call) -> Resource:
        """The resource that the call names. Raises ArmError: 404."""
        group = find_group(call.subscription, call.names["group"])
        resource = self.find(call.subscription, group.name, call.names["name"])
        if resource is None:
            raise resource_not_found(self.type, call.names["name"], group.name)
        return resource

    def find(self, subscription: Subscription, group: str, name: str) -> Resource | None:
        """The resource of this name, or None."""
        return subscription.find(self.identify(subscription, group, name))

    def identify(self, subscription: Subscription, group: str, name: str) -> str:
        """The id of a resource of this name."""
        return f"/subscriptions/{subscription.id}/resourceGroups/{group}/providers/{self.type}/{name}"

    def commit(
        self, subscription: Subscription, identity: Identity, given: Body, stored: Body, existing: Resource | None
    ) -> Resource:
        """Store what a write decided on: `properties` and, where there are any, zones and SKU; and the given tags."""
        now = subscription.now
        body = {"name": identity.name, "id": identity.id, "type": identity.type, "location": identity.location}
        body |= {**stored, **({"tags": given["tags"]} if "tags" in given else {})}
        resource = existing
        if resource is None:
            resource = Resource(
                identity.id, identity.type, identity.name, identity.group, identity.location, body, now, now
            )
            subscription.resources[resource.key] = resource
        resource.body = body
        touch(subscription, resource)
        return resource

    def begin(
        self,
        call: Call,
        kind: str,
        resource: Resource,
        existing: Resource | None,
        done: Stage | None = None,
        **more: Any,
    ) -> Answer:
        """Begin the operation of a write; `more` is as `Subscription.start` takes it."""
        subscription = call.subscription

        def end() -> None:
            succeed(subscription, resource)

        operation = subscription.start(kind, self.tracking, resource.id, resource.location, done or end, **more)
        return accepted(call, operation, 200 if existing else 201, self.render(call, resource))

    def begin_deletion(self, call: Call, resource: Resource, kind: str, **more: Any) -> Answer:
        """Begin to delete a resource that may be deleted."""
        subscription = call.subscription
        resource.state = "Deleting"
        touch(subscription, resource)

        def end() -> None:
            self.vanish(subscription, resource)

        resource.deletion = subscription.start(kind, self.tracking, resource.id, resource.location, end, **more)
        return accepted(call, resource.deletion, 202, None)

    def require_name(self, name: str) -> None:
        """Refuse a name that the provider refuses. Raises ArmError: 400."""
        if not _NAME.fullmatch(name):
            raise refusal("InvalidResourceName", name=name)

    def _require_same_place(self, existing: Resource | None, group: Group, location: str) -> None:
        if existing is not None and regions.normal(location) != existing.location:
            raise refusal("InvalidResourceLocation", existing=existing, group=group, location=regions.normal(location))

    def _no_such_place(self, location: str) -> ArmError:
        return refusal(
            "LocationNotAvailableForResourceType", location=location, type=self.type, regions=",".join(regions.REGIONS)
        )


def succeed(subscription: Subscription, resource: Resource) -> None:
    """An operation on the resource, and on what was written with it, has ended well."""
    resource.state = "Succeeded"
    for child in children_of(resource):
        if child["properties"].get("provisioningState") == "Updating":
            child["properties"]["provisioningState"] = "Succeeded"
    touch(subscription, resource)


def find_group(subscription: Subscription, name: str) -> Group:
    """The resource group. Raises ArmError: 404."""
    group = subscription.groups.get(name.lower())
    if group is None:
        raise group_not_found(name)
    return group


def open_group(subscription: Subscription, name: str) -> Group:
    """The resource group, when things may be put in it. Raises ArmError: 404; 409, it is being deleted."""
    group = find_group(subscription, name)
    if group.state == "Deleting":
        raise being_deleted(group)
    return group


def find_scope(call: Call, *, writing: bool = False) -> tuple[str, Subscription | Group | Resource]:
    """What a call for locks or tags is about, with its id: the subscription, a group or a resource.

    Raises ArmError: 404; 409, the group is being deleted and `writing`.
    """
    subscription = call.subscription
    scope = f"/subscriptions/{subscription.id}"
    if "group" not in call.names:
        return scope, subscription
    group = (open_group if writing else find_group)(subscription, call.names["group"])
    scope = f"{scope}/resourceGroups/{group.name}"
    if "namespace" not in call.names:
        return scope, group
    kind, name = f"{call.names['namespace']}/{call.names['plural']}", call.names["name"]
    resource = subscription.find(f"{scope}/providers/{kind}/{name}")
    if resource is None:
        raise resource_not_found(kind, name, group.name)
    return resource.id, resource


def being_deleted(group: Group) -> ArmError:
    """409 of a group that goes away."""
    return refusal("ResourceGroupBeingDeleted", group=group)


def in_progress(call: Call, operation: Operation) -> ArmError:
    """409 of a resource that allows one writer at a time."""
    return refusal("AnotherOperationInProgress", uri=status_url(call, operation))


def require_tags(tags: object) -> None:
    """Refuse tags that Azure Resource Manager refuses. Raises ArmError: 400."""
    if tags is None:
        return
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        raise refusal("InvalidRequestContent, tags")


def page(call: Call, entries: list[Body], *, size: int | None = None) -> Answer:
    """One page of a list, with the link to the next."""
    if "$top" in call.query:
        raise not_here(call, "a list with $top")
    limit = size or call.subscription.page_size
    token = call.query.get("$skiptoken", "0")
    start = int(token)
    body: Body = {"value": entries[start : start + limit]}
    if start + limit < len(entries):
        kept = {name: value for name, value in call.query.items() if name not in ("$skiptoken", "api-version")}
        body["nextLink"] = call.url(call.path, **{name: _quote(value) for name, value in kept.items()}) + (
            f"&%24skiptoken={start + limit}"
        )
    return Answer(200, body)


def unchanged(existing: Resource, properties: Body, given: Body) -> bool:
    """Whether a write would leave a resource as it is, etags and provisioning states apart."""
    before, after = (existing.properties, existing.body.get("tags")), (properties, given.get("tags"))
    return existing.state == "Succeeded" and bool(_settled(list(before)) == _settled(list(after)))


def _settled(value: Any) -> Any:
    if isinstance(value, list):
        return [_settled(each) for each in value]
    if isinstance(value, dict):
        return {name: _settled(each) for name, each in value.items() if name not in ("etag", "provisioningState")}
    return value


def _quote(value: str) -> str:
    return urllib.parse.quote(value, safe="")


def _require_location(body: Body) -> None:
    location = next((value for name, value in body.items() if name.lower() == "location"), None)
    if not isinstance(location, str) or not location:
        raise refusal("LocationRequired")
