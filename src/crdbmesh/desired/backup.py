"""Backups: the managed identity, the storage that it may write, and the SQL that sends backups there.

CockroachDB asks for tokens of a managed identity when a URL says `AUTH=implicit`; `AZURE_CLIENT_ID` says of which when
a machine has several (CockroachDB docs v26.2, `cloud-storage-authentication`; Microsoft Learn, "How to use managed
identities on an Azure VM"). All of it is in a resource group of its own, so that it outlives the mesh, and a mesh of
the same name finds it. Nobody reads the storage without a token of Entra ID: there are no keys and no public access.
"""

import hashlib
import re
import uuid
from typing import Any, NamedTuple

from crdbmesh.desired import Body, azure
from crdbmesh.spec.mesh import BackupSpec, Mesh

PROVIDERS = ("Microsoft.Storage", "Microsoft.ManagedIdentity")
TAG = "crdbmesh-backup"
LABEL = "crdbmesh_backup"
STORAGE_API, ROLES_API = "2024-01-01", "2022-04-01"
ROLE = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
"""Azure's id of the role Storage Blob Data Contributor."""
CONFIGMAP, CLIENT_ID = "crdbmesh-backup", "client-id"


class Part(NamedTuple):
    """A resource that backups need."""

    id: str
    api_version: str
    body: Body


def group(mesh: Mesh) -> str:
    """Return the name of the resource group of what outlives the mesh."""
    return f"{mesh.name}-backup"


def placed(mesh: Mesh, **more: Any) -> Body:
    """Return the body of what outlives the mesh: its place and its tag, and more."""
    return {"location": mesh.regions[0].name, "tags": {**mesh.tags, TAG: mesh.name}, **more}


def account(mesh: Mesh, subscription: str) -> tuple[str, str]:
    """Return the names of the storage account, which no other in Azure may have, and of the container."""
    if (url := _spec(mesh).container) is not None:
        host, _, container = url.removeprefix("https://").partition("/")
        return host.partition(".")[0], container
    digest = hashlib.sha256(f"{subscription}/{mesh.name}".encode()).hexdigest()[:12]
    return f"crdb{re.sub('[^a-z0-9]', '', mesh.name)[:8]}{digest}", "backups"


def identity(mesh: Mesh, subscription: str) -> Part:
    """Return the managed identity."""
    at = azure.resource_id(subscription, group(mesh), f"{PROVIDERS[1]}/userAssignedIdentities", group(mesh))
    return Part(at, "2023-01-31", placed(mesh))


def lacking_identity(mesh: Mesh, subscription: str, vm: Body | None) -> Body:
    """Return what a VM lacks so as to have the identity besides those that it has; nothing if it has it."""
    found = (vm or {}).get("identity") or {}
    if mesh.backup is None or (wanted := identity(mesh, subscription).id).lower() in {
        one.lower() for one in found.get("userAssignedIdentities") or {}
    }:
        return {}
    system = "SystemAssigned, " if "systemassigned" in str(found.get("type", "")).lower() else ""
    every: Body = {one: {} for one in (*(found.get("userAssignedIdentities") or ()), wanted)}
    return {"identity": {"type": f"{system}UserAssigned", "userAssignedIdentities": every}}


def storage(mesh: Mesh, subscription: str) -> list[Part]:
    """Return the storage account and what is in it; none if the container is the user's.

    It is kept in a second Azure region as well. What is deleted can be had back for two weeks.
    """
    if (spec := _spec(mesh)).container is not None:
        return []
    name, container = account(mesh, subscription)
    at = azure.resource_id(subscription, group(mesh), f"{PROVIDERS[0]}/storageAccounts", name)
    closed = {"minimumTlsVersion": "TLS1_2", "supportsHttpsTrafficOnly": True}
    closed |= {"allowBlobPublicAccess": False, "allowSharedKeyAccess": False}
    deleted = {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": spec.retention_days}}}
    of = {"filters": {"blobTypes": ["blockBlob"], "prefixMatch": [f"{container}/"]}, "actions": deleted}
    policy = {"rules": [{"name": "retention", "enabled": True, "type": "Lifecycle", "definition": of}]}
    bodies = {
        "": placed(mesh, kind="StorageV2", sku={"name": "Standard_GRS"}, properties=closed),
        "/blobServices/default": {"properties": {"deleteRetentionPolicy": {"enabled": True, "days": 14}}},
        f"/blobServices/default/containers/{container}": {"properties": {"publicAccess": "None"}},
        "/managementPolicies/default": {"properties": {"policy": policy}},
    }
    return [Part(f"{at}{tail}", STORAGE_API, body) for tail, body in bodies.items()]


def assignment(scope: str, subscription: str, principal: str) -> Part:
    """Return the assignment of the role, on one container only, to the identity."""
    role = f"/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{ROLE}"
    properties = {"roleDefinitionId": role, "principalId": principal, "principalType": "ServicePrincipal"}
    at = (
        f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid5(uuid.NAMESPACE_URL, scope + principal)}"
    )
    return Part(at, ROLES_API, {"properties": properties})


def uri(mesh: Mesh, subscription: str) -> str:
    """Return the URL of the mesh's backups for SQL; there is no secret in it."""
    name, container = account(mesh, subscription)
    return f"azure-blob://{container}/{mesh.name}?AUTH=implicit&AZURE_ACCOUNT_NAME={name}"


def schedule(mesh: Mesh, subscription: str) -> str:
    """Return the statement that schedules backups; the first is made at once."""
    spec = _spec(mesh)
    return (
        f"CREATE SCHEDULE {LABEL} FOR BACKUP INTO '{uri(mesh, subscription)}' RECURRING '{spec.incremental}' "
        f"FULL BACKUP '{spec.full}' WITH SCHEDULE OPTIONS first_run = 'now', ignore_existing_backups"
    )


def _spec(mesh: Mesh) -> BackupSpec:
    return mesh.backup or BackupSpec()
