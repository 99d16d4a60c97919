"""Resource groups, providers, subscriptions, permissions, the capacity of locations, and resources in general."""

import base64
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from crdbmesh.clients.azure import failures
from crdbmesh.clients.azure.kinds import ResourceId
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.waiting import Say, unsaid
from crdbmesh.desired import Body
from crdbmesh.errors import CloudError
from crdbmesh.local.birth import Aim

GROUP_DEADLINE_S = 900.0
GROUP_DELETION_DEADLINE_S = 3600.0
REGISTRATION_DEADLINE_S = 900.0
DELETION_DEADLINE_S = 900.0

_FORCED = "Microsoft.Compute/virtualMachines,Microsoft.Compute/virtualMachineScaleSets"
_PERMISSIONS_API = "2022-04-01"
_LOCKS_API = "2020-05-01"
_POLICIES_API = "2023-04-01"
_SKUS_API = "2021-07-01"


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity in a token; None for each claim that it does not have.

    Attributes:
        name: of a user, or the id of an application.
        tenant: the tenant's id.
    """

    name: str | None
    tenant: str | None


def find_group(session: Session, name: str) -> Body | None:
    """Return a resource group, or None."""
    return session.find(f"GET resourceGroups/{name}", lambda: session.resources.resource_groups.get(name))


def ensure_group(session: Session, name: str, location: str, tags: dict[str, str]) -> Body:
    """Create a resource group, or give it these tags; waits while one of this name is being deleted."""
    call, body = session.resources.resource_groups.create_or_update, {"location": location, "tags": tags}
    return session.run_operation(f"PUT resourceGroups/{name}", call, name, body, deadline_s=GROUP_DEADLINE_S)


def delete_group(session: Session, name: str, *, wait: bool = True, say: Say = unsaid) -> None:
    """Delete a resource group with everything in it; its VMs without a graceful shutdown. Absent is done.

    Without `wait` this ends once Azure has taken the order.
    """
    if not wait:
        found = find_group(session, name)
        if found is None or found.get("properties", {}).get("provisioningState") == "Deleting":
            return
    begin, doing = session.resources.resource_groups.begin_delete, f"DELETE resourceGroups/{name}"
    options = {"force_deletion_types": _FORCED, "say": say, **({} if wait else {"polling": False})}
    session.remove(doing, begin, name, deadline_s=GROUP_DELETION_DEADLINE_S, **options)


def list_groups(session: Session, tag: str, value: str) -> list[Body]:
    """List the resource groups that carry a tag with this value."""
    return session.list_all(
        f"GET resourceGroups tagged {tag}", lambda: session.resources.resource_groups.list(filter=_tagged(tag, value))
    )


def list_group_resources(session: Session, group: str) -> list[Body]:
    """List everything in a resource group; nothing when there is no such group."""
    return session.list_all(
        f"GET resourceGroups/{group}/resources", lambda: session.resources.resources.list_by_resource_group(group)
    )


def list_tagged(session: Session, tag: str, value: str) -> list[Body]:
    """List the resources of the subscription, in any group, that carry a tag with this value."""
    return session.list_all(
        f"GET resources tagged {tag}", lambda: session.resources.resources.list(filter=_tagged(tag, value))
    )


def find_resource(session: Session, resource_id: str) -> Body | None:
    """Return a resource of any type, or None; raise CloudError when its type has no API version."""
    at = ResourceId.parse(resource_id)
    if at.kind is not None:
        return at.kind.find(session, at.group, *at.names)
    api_version = _newest_api(session, at.type)
    get = session.resources.resources.get_by_id
    return session.find(f"GET {resource_id}", lambda: get(resource_id.lstrip("/"), api_version=api_version))


def find_by_id(session: Session, resource_id: str, api_version: str) -> Body | None:
    """Return a resource of a type that no SDK package installed here knows, or None."""
    get = session.resources.resources.get_by_id
    return session.find(f"GET {resource_id}", lambda: get(resource_id.lstrip("/"), api_version=api_version))


def ensure_by_id(session: Session, resource_id: str, api_version: str, body: Body, say: Say = unsaid) -> Body:
    """Create such a resource, or make it what `body` says, and wait."""
    begin = session.resources.resources.begin_create_or_update_by_id
    options: dict[str, Any] = {"api_version": api_version, "say": say, "deadline_s": DELETION_DEADLINE_S}
    return session.run_operation(f"PUT {resource_id}", begin, resource_id.lstrip("/"), body, **options)


def delete_resource(session: Session, resource_id: str, *, say: Say = unsaid) -> None:
    """Delete a resource of any type and wait; absent is done. Raise CloudError if it is in use, or of unknown type."""
    at = ResourceId.parse(resource_id)
    if at.kind is not None:
        at.kind.delete(session, at.group, *at.names, say=say)
        return
    begin, api_version = session.resources.resources.begin_delete_by_id, _newest_api(session, at.type)
    options: dict[str, Any] = {"api_version": api_version, "say": say, "deadline_s": DELETION_DEADLINE_S}
    session.remove(f"DELETE {resource_id}", begin, resource_id.lstrip("/"), **options)


def list_locations(session: Session) -> list[Body]:
    """List the locations that the subscription has: `name`, `displayName`, `metadata`."""
    return session.list_all(
        "GET locations", lambda: session.subscriptions.subscriptions.list_locations(session.subscription_id)
    )


def find_provider(session: Session, namespace: str) -> Body | None:
    """Return a resource provider with its `registrationState`, or None when Azure has none of this name."""
    try:
        return session.find(f"GET providers/{namespace}", lambda: session.resources.providers.get(namespace))
    except CloudError as error:
        if error.code == "InvalidResourceNamespace":
            return None
        raise


def register_provider(session: Session, namespace: str, say: Say = unsaid) -> Body:
    """Register a resource provider and wait until it is."""

    def registered() -> tuple[Body | None, str]:
        found = find_provider(session, namespace) or {}
        state = str(found.get("registrationState", "absent"))
        return (found if state == "Registered" else None), state

    doing, call = f"POST providers/{namespace}/register", session.resources.providers.register
    session.run_operation(doing, call, namespace, say=say, deadline_s=REGISTRATION_DEADLINE_S)
    awaited = f"{namespace} Registered"
    return session.wait_until(registered, 5.0, awaited=awaited, deadline_s=REGISTRATION_DEADLINE_S, say=say)


def find_identity(session: Session) -> Identity:
    """Return the identity in a token of the session's credential; raise CloudError when no token can be obtained."""
    with failures.translated("asking for a token"):
        token = session.cloud.credential.get_token(*session.cloud.scopes)
    claims = _claims(token.token)
    name = next((claims[key] for key in ("upn", "unique_name", "preferred_username", "appid") if key in claims), None)
    return Identity(name, claims.get("tid"))


def find_subscription(session: Session) -> Body | None:
    """Return the session's subscription: `displayName`, `state`, `subscriptionPolicies`."""
    return session.find("GET subscription", lambda: session.subscriptions.subscriptions.get(session.subscription_id))


def aim_of(session: Session, subscription: Body) -> Aim:
    """Return the aim of a session; name and tenant are empty when this login cannot see its subscription."""
    return Aim(
        cloud=session.cloud.name,
        arm_url=session.cloud.arm_url,
        tenant_id=str(subscription.get("tenantId") or ""),
        subscription_id=session.subscription_id,
        subscription_name=str(subscription.get("displayName") or ""),
    )


def list_subscriptions(session: Session) -> list[Body]:
    """List the subscriptions that the credential sees."""
    return session.list_all("GET subscriptions", session.subscriptions.subscriptions.list)


def list_permissions(session: Session, group: str | None = None) -> list[Body]:
    """Return the credential's permissions on the subscription or a group: each role's `actions` and `notActions`."""
    scope = f"resourceGroups/{quote(group)}/" if group else ""
    return session.read_pages(f"{scope}providers/Microsoft.Authorization/permissions", _PERMISSIONS_API)


def list_locks(session: Session) -> list[Body]:
    """List the management locks of the subscription and of everything in it: `id`, `name`, `properties.level`."""
    return session.read_pages("providers/Microsoft.Authorization/locks", _LOCKS_API)


def list_policy_assignments(session: Session) -> list[Body]:
    """List the assignments of policies that concern the subscription, those of its management groups included."""
    return session.read_pages("providers/Microsoft.Authorization/policyAssignments", _POLICIES_API)


def list_skus(session: Session, location: str) -> list[Body]:
    """List every size, disk and host type that Azure knows in a location, the restricted ones included."""
    chosen = quote(f"location eq '{location}'")
    return session.read_pages("providers/Microsoft.Compute/skus", f"{_SKUS_API}&$filter={chosen}")


def list_compute_usages(session: Session, location: str) -> list[Body]:
    """List a location's compute quotas: `name.value`, `currentValue`, `limit`."""
    return session.list_all(
        f"GET locations/{location}/usages of Microsoft.Compute", lambda: session.compute.usage.list(location)
    )


def list_network_usages(session: Session, location: str) -> list[Body]:
    """List a location's network quotas: `name.value`, `currentValue`, `limit`."""
    return session.list_all(
        f"GET locations/{location}/usages of Microsoft.Network", lambda: session.network.usages.list(location)
    )


def find_image(
    session: Session, location: str, publisher: str, offer: str, sku: str, version: str = "latest"
) -> Body | None:
    """Return a platform image of a location, with `properties.architecture` and `hyperVGeneration`, or None."""
    images = session.compute.virtual_machine_images
    if version == "latest":
        listed = session.list_all(
            f"GET versions of {publisher}:{offer}:{sku} in {location}",
            lambda: images.list(location, publisher, offer, sku, top=1, orderby="name desc"),
        )
        if not listed:
            return None
        version = str(listed[0]["name"])
    return session.find(
        f"GET {publisher}:{offer}:{sku}:{version} in {location}",
        lambda: images.get(location, publisher, offer, sku, version),
    )


def _claims(token: str) -> dict[str, str]:
    """The texts in a JSON web token's payload; none when the token is something else."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    if not isinstance(payload, dict):
        return {}
    return {key: value for key, value in payload.items() if isinstance(value, str) and value}


def _tagged(tag: str, value: str) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    return f"tagName eq {quoted(tag)} and tagValue eq {quoted(value)}"


def _newest_api(session: Session, kind: str) -> str:
    namespace, _, name = kind.partition("/")
    provider = find_provider(session, namespace) or {}
    for known in provider.get("resourceTypes") or ():
        if str(known.get("resourceType", "")).lower() != name.lower():
            continue
        versions = sorted(known.get("apiVersions") or (), reverse=True)
        for version in [one for one in versions if "preview" not in one] or versions:
            return str(version)
    raise CloudError(f"Azure does not say how to speak of a {kind}", hint="delete it in the portal, then run again")
