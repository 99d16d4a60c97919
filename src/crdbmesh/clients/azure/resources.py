"""Resource groups, providers, subscriptions, permissions, and resources in general."""

from urllib.parse import quote

from crdbmesh.clients.azure.kinds import ResourceId
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.waiting import Say, unsaid, wait_until
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
    session.remove(
        f"DELETE resourceGroups/{name}",
        session.resources.resource_groups.begin_delete,
        name,
        force_deletion_types=_FORCED,
        say=say,
        deadline_s=GROUP_DELETION_DEADLINE_S,
        **({} if wait else {"polling": False}),
    )


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
    return session.find(
        f"GET {resource_id}",
        lambda: session.resources.resources.get_by_id(resource_id.lstrip("/"), api_version=api_version),
    )


def delete_resource(session: Session, resource_id: str, *, say: Say = unsaid) -> None:
    """Delete a resource of any type and wait; one that does not exist is done.

    Raises:
        CloudError: its type has no API version, or it is in use.
    """
    at = ResourceId.parse(resource_id)
    if at.kind is not None:
        at.kind.delete(session, at.group, *at.names, say=say)
        return
    api_version = _newest_api(session, at.type)
    session.remove(
        f"DELETE {resource_id}",
        session.resources.resources.begin_delete_by_id,
        resource_id.lstrip("/"),
        api_version=api_version,
        say=say,
        deadline_s=DELETION_DEADLINE_S,
    )


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
    return wait_until(
        registered,
        awaited=f"{namespace} Registered",
        deadline_s=REGISTRATION_DEADLINE_S,
        interval_s=0.5,
        say=say,
        stop=session.stop,
        clock=session.clock,
    )


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
