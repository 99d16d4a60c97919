"""Storage accounts and what is inside them, managed identities, and roles on containers: written at once.

After the REST references of Microsoft.Storage 2024-01-01, Microsoft.ManagedIdentity 2023-01-31 and
Microsoft.Authorization 2022-04-01. Of roles only those of Blob Storage have an effect here.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from crdbmesh_simulator.azure.call import Answer, Call
from crdbmesh_simulator.azure.errors import Body, child_not_found, refusal
from crdbmesh_simulator.azure.kinds import open_group, page
from crdbmesh_simulator.azure.state import Subscription
from crdbmesh_simulator.world import Machine

_MEMBERS = {
    "storageAccounts": {"location", "tags", "kind", "sku", "properties"},
    "userAssignedIdentities": {"location", "tags", "properties"},
}
_WRITERS = ("ba92f5b4-2d11-453d-a403-e96b0029c9fe", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b")
"""The roles Storage Blob Data Contributor and Owner."""


def put(call: Call) -> Answer:
    """Create or replace a resource."""
    subscription, at, given = call.subscription, call.path.rstrip("/"), call.body()
    open_group(subscription, call.names["group"])
    namespace, kind, name = *at.rpartition("/providers/")[2].split("/")[:1], *at.rsplit("/", 2)[1:]
    subscription.require_registered(namespace)
    _require_parent(call)
    if unknown := set(given) - _MEMBERS.get(kind, {"properties"}) - {"id", "name", "type", "etag"}:
        raise refusal("InvalidRequestContent", problem=f"Could not find member '{min(unknown)}' of a {kind}.")
    properties: Body = dict(given.get("properties") or {})
    if kind == "storageAccounts":
        if not re.fullmatch("[a-z0-9]{3,24}", name) or not {"location", "kind", "sku"} <= set(given):
            raise refusal("AccountPropertyIsInvalid", name=name)
        blob = {"blob": f"https://{name}.blob.core.windows.net/"}
        properties |= {"primaryEndpoints": blob, "provisioningState": "Succeeded"}
    elif kind == "userAssignedIdentities":
        properties = {use: _guid(use, at) for use in ("principalId", "clientId")}
    elif kind == "roleAssignments":
        _require_assignable(subscription, at.lower(), properties)
    existed = at.lower() in subscription.records
    record = {**given, "id": at, "name": name, "type": f"{namespace}/{kind}", "properties": properties}
    subscription.records[at.lower()] = record
    return Answer(200 if existed else 201, record)


def get(call: Call) -> Answer:
    """Show a resource."""
    _require_parent(call)
    if (found := call.subscription.records.get(call.path.rstrip("/").lower())) is None:
        raise child_not_found(call.path)
    return Answer(200, found)


def list_all(call: Call) -> Answer:
    """List the accounts of the subscription, or the roles on a container."""
    scope, _, kind = call.path.rstrip("/").lower().rpartition("/providers/")
    kept = {key: one for key, one in call.subscription.records.items() if key.startswith(scope)}
    return page(call, [one for key, one in kept.items() if key.rpartition("/")[0].endswith(f"/providers/{kind}")])


def forget_group(subscription: Subscription, group: str) -> None:
    """Take what was in a resource group with it."""
    for held in (subscription.records, subscription.blobs):
        for key in [key for key in held if f"/resourcegroups/{group}/" in key]:
            held.pop(key)


def _require_parent(call: Call) -> None:
    parent = re.match(r"(.*/storageaccounts/([^/]+))/", call.path.lower())
    if parent is not None and parent[1] not in call.subscription.records:
        group, kind = call.names["group"], "Microsoft.Storage/storageAccounts"
        raise refusal("ResourceNotFound", kind=kind, name=parent[2], group=group)


def _require_assignable(subscription: Subscription, at: str, given: Body) -> None:
    principal, role = given.get("principalId"), str(given.get("roleDefinitionId")).lower()
    if principal not in {one["properties"].get("principalId") for one in subscription.records.values()}:
        raise refusal("PrincipalNotFound", principal=principal, tenant=subscription.tenant_id)
    head = at.rpartition("/")[0]
    for key, one in subscription.records.items():
        theirs = one["properties"].get("principalId"), str(one["properties"].get("roleDefinitionId")).lower()
        if key.startswith(head) and key != at and theirs == (principal, role):
            raise refusal("RoleAssignmentExists")


def _guid(use: str, identity_id: str) -> str:
    """Return an identifier of an identity; see `vm_parts.identity_of`."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{use} of {identity_id.lower()}"))


def open_container(machine: Machine, subscription: Subscription, account: str, name: str, client_id: str) -> Any:
    """Return what is in a container, for a program on a machine that asks for it by the machine's identity.

    It is a mapping, or a text that says why it is refused.
    """
    vm, records = subscription.find(machine.vm_id), subscription.records
    has = ((vm.body.get("identity") or {}).get("userAssignedIdentities") or {}) if vm is not None else {}
    chosen = [one for one in has if client_id in ("", _guid("clientId", one)) and one.lower() in records]
    if not chosen or (len(has) > 1 and not client_id):
        many = "Multiple user assigned identities exist, please specify the clientId"
        return f"ManagedIdentityCredential: 400 {many if chosen else 'Identity not found'}"
    found = next((key for key in records if key.endswith(f"/storageaccounts/{account}")), None)
    if found is None:
        return f"Get https://{account}.blob.core.windows.net/{name}: dial tcp: lookup: no such host"
    at, principal = f"{found}/blobservices/default/containers/{name}", _guid("principalId", chosen[0])
    if (records[found]["properties"].get("networkAcls") or {}).get("defaultAction") == "Deny":
        return "RESPONSE 403: AuthorizationFailure: This request is not authorized to perform this operation."
    for key, one in records.items():
        is_its = one["properties"].get("principalId") == principal
        writes = str(one["properties"].get("roleDefinitionId")).lower().endswith(_WRITERS)
        if is_its and writes and at.startswith(key.partition("/providers/microsoft.authorization/")[0]):
            known = at in records
            missing = "RESPONSE 404: ContainerNotFound: The specified container does not exist."
            return subscription.blobs.setdefault(at, {}) if known else missing
    said = "This request is not authorized to perform this operation using this permission."
    return f"RESPONSE 403: AuthorizationPermissionMismatch: {said}"
