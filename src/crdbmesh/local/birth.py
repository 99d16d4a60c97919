"""The record of a mesh's birth in its local folder: the cloud, tenant and subscription of its first `up`, and its id.

A folder of a release that recorded nothing has no such file, until a command finds the mesh that the folder is for.
"""

import secrets
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from crdbmesh.errors import ConfigError, ElsewhereError, Finding
from crdbmesh.local.folder import LocalFolder

FILE = "birth.json"


class Aim(BaseModel):
    """The aim of a command: a subscription, in a tenant, of a cloud.

    Attributes:
        cloud: the cloud's name, for people.
        arm_url: the URL of its Azure Resource Manager, which tells one cloud from another.
        tenant_id, subscription_name: empty when they are not known.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    cloud: str
    arm_url: str
    tenant_id: str = ""
    subscription_id: str
    subscription_name: str = ""

    def __str__(self) -> str:
        """Return it for people: `subscription Prod (1111-…)`, with the cloud unless it is Azure's public one."""
        name = f"{self.subscription_name} ({self.subscription_id})" if self.subscription_name else self.subscription_id
        return f"subscription {name}" + ("" if self.cloud == "AzureCloud" else f" of {self.cloud}")

    def document(self) -> dict[str, Any]:
        """Return it as `--output json` prints it with a command's result."""
        subscription = {"id": self.subscription_id, "name": self.subscription_name or None}
        return {"cloud": self.cloud, "tenant": self.tenant_id or None, "subscription": subscription}


class Birth(Aim):
    """The record of a mesh's birth.

    Attributes:
        mesh_id: never changes; the mesh's own resource group has it as a tag. None for a mesh of an earlier release.
    """

    mesh_id: str | None = None


def of(aim: Aim, mesh_id: str | None) -> Birth:
    """Return the record of a mesh in a place."""
    return Birth(**aim.model_dump(include=set(Aim.model_fields)), mesh_id=mesh_id)


def new_id() -> str:
    """Return an id for a mesh that is about to be made."""
    return secrets.token_hex(8)


def read(folder: LocalFolder) -> Birth | None:
    """Return what a folder records, or None; raise ConfigError when that is damaged or other users can read it."""
    text = folder.read(FILE)
    if text is None:
        return None
    try:
        return Birth.model_validate_json(text)
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"])) or "the document"
        reason = f"is damaged ({field}: {error.errors()[0]['msg']})"
        raise ConfigError.of("file", str(folder.path / FILE), reason, "restore it from a backup") from None


def write(folder: LocalFolder, birth: Birth) -> None:
    """Record where a mesh is."""
    folder.write(FILE, birth.model_dump_json(indent=2) + "\n")


def compare(mesh: str, birth: Birth, aim: Aim) -> None:
    """Raise ElsewhereError when a command is aimed elsewhere than the mesh; an id that is not known is not compared."""
    if _differ(birth.arm_url.rstrip("/"), aim.arm_url.rstrip("/")):
        remedy = "set AZURE_CLOUD, or CRDBMESH_CLOUD and CRDBMESH_HOME, as they were for its `crdbmesh up`"
        found = Finding(
            "cloud", f"{aim.cloud} ({aim.arm_url})", f"{mesh} is in {birth.cloud} ({birth.arm_url})", remedy
        )
    elif _differ(birth.subscription_id, aim.subscription_id):
        remedy = f"run `az account set --subscription {birth.subscription_id}` or set AZURE_SUBSCRIPTION_ID to it"
        found = Finding("subscription", str(aim).removeprefix("subscription "), f"{mesh} is in {birth}", remedy)
    elif _differ(birth.tenant_id, aim.tenant_id):
        reason = f"{mesh} is in tenant {birth.tenant_id}"
        remedy = f"run `az login --tenant {birth.tenant_id}`; if {birth} was moved, correct tenant_id in its {FILE}"
        found = Finding("tenant", aim.tenant_id, reason, remedy)
    else:
        return
    raise ElsewhereError([found])


def _differ(recorded: str, now: str) -> bool:
    return bool(recorded and now) and recorded.lower() != now.lower()
