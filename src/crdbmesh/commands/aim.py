"""Compares the subscription that a command is aimed at with the one that the mesh's local folder records."""

import contextlib
from collections.abc import Callable

from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.cloud import Cloud
from crdbmesh.errors import CloudError, ElsewhereError, Finding
from crdbmesh.local import birth, contents, pki
from crdbmesh.local.birth import Aim
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe import belongings, inventory
from crdbmesh.observe import machines as observed
from crdbmesh.spec import names

Told = Callable[[Aim], None]
"""Takes what a command is aimed at, before anything else is shown."""


def untold(_aim: Aim) -> None:
    """Tell nobody."""


def require(session: Session, folder: LocalFolder, mesh: str, told: Told = untold) -> Aim:
    """Return what a session is aimed at, where the mesh is there or may be made there.

    A folder that records nothing is taken to be for this mesh here when the mesh is found here and is the folder's. A
    mesh that is elsewhere, or not found here while its folder holds its secrets, is an ElsewhereError.
    """
    folder.require_safe()
    recorded, found = birth.read(folder), {}
    if recorded is None or recorded.arm_url == session.cloud.arm_url:
        with contextlib.suppress(CloudError):
            # What needs the subscription reports better why it cannot be read.
            found = arm.find_subscription(session) or {}
    aim = arm.aim_of(session, found)
    told(aim)
    if recorded is not None:
        birth.compare(mesh, recorded, aim)
    elif folder.holds_secrets() and not _adopt(session, folder, mesh, aim):
        reason = f"{folder.path} holds the keys of {mesh} and does not say where it is, and it is not found here"
        remedy = "choose its subscription (az account set, AZURE_SUBSCRIPTION_ID); if it is gone, move that folder away"
        raise ElsewhereError([Finding("subscription", str(aim).removeprefix("subscription "), reason, remedy)])
    return aim


def compare(cloud: Cloud, folder: LocalFolder, mesh: str) -> None:
    """Compare as `require` does, with what is known of a cloud without asking it."""
    if (recorded := birth.read(folder)) is not None:
        known = {"tenant_id": cloud.tenant_id or "", "subscription_id": cloud.subscription_id or ""}
        aim = Aim(cloud=cloud.name, arm_url=cloud.arm_url, subscription_name=cloud.subscription_name or "", **known)
        birth.compare(mesh, recorded, aim)


def record(session: Session, folder: LocalFolder, mesh: str, aim: Aim) -> None:
    """Record where a mesh is unless its folder does, with its resource group's id, or a new one for a new mesh.

    A mesh of an earlier release has no id.
    """
    if birth.read(folder) is None:
        group = arm.find_group(session, mesh) or {}
        is_own = bool(group) and belongings.Ownership(session, folder, mesh).is_own(group)
        mesh_id = (group.get("tags") or {}).get(names.TAG_ID) if is_own else None
        is_known = folder.exists() or folder.holds_secrets()
        birth.write(folder, birth.of(aim, mesh_id or (None if is_known else birth.new_id())))


def _adopt(session: Session, folder: LocalFolder, mesh: str, aim: Aim) -> bool:
    """Record where a mesh of an earlier release is, if it is found here; return whether it is.

    Its machines were made with the folder's login key, if that is not lost. Without machines its resource group is
    enough, unless the folder says that there were some.
    """
    ownership = belongings.Ownership(session, folder, mesh)
    found = inventory.find(session, ownership)
    if found.machines:
        key = _login_key(folder, mesh)
        here = key is None or any(observed.accepts_key(vm, key) for vm in found.machines.values())
    else:
        here = bool(found.resources or ownership.owns_group(mesh)) and not any(folder.path.glob("kubeconfigs/*"))
    if here:
        with contextlib.suppress(OSError):
            record(session, folder, mesh, aim)
    return here


def _login_key(folder: LocalFolder, mesh: str) -> str | None:
    text = folder.read(contents.LOGIN_KEY)
    try:
        return None if text is None else pki.read_ssh_key(text, mesh).public
    except ValueError:
        return ""
