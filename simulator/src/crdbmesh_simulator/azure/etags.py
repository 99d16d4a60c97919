"""Entity tags: every change of a resource gives it a new one, and writes can be made to depend on it.

As Microsoft.Network does it (recordings of Azure's own clients): a resource and all that is below it share one etag,
which changes when an operation begins and when it ends; reads carry it as a header too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from crdbmesh_simulator.azure.errors import ArmError, Body, refusal

if TYPE_CHECKING:
    from crdbmesh_simulator.azure.call import Call
    from crdbmesh_simulator.azure.state import Resource, Subscription

_CHILDREN = ("subnets", "virtualNetworkPeerings", "securityRules", "defaultSecurityRules", "ipConfigurations")


def touch(subscription: Subscription, resource: Resource) -> None:
    """The resource, or something below it, has changed: a new etag, which its children share (recordings of NSGs)."""
    resource.changed_at = subscription.now
    if resource.type.endswith(("/disks", "/availabilitySets")):
        return  # these have none
    etag = resource.body["etag"] = subscription.etag()
    for child in children_of(resource):
        child["etag"] = etag


def children_of(resource: Resource) -> Iterator[Body]:
    """What is below a resource in its body."""
    for collection in _CHILDREN:
        yield from resource.properties.get(collection, [])


def etag_header(body: Body) -> dict[str, str]:
    """`ETag`, as reads and synchronous writes carry it; the answers that begin an operation do not."""
    return {"ETag": str(body["etag"])} if "etag" in body else {}


def require_match(call: Call, resource_id: str, body: Body | None) -> None:
    """Honour If-Match, If-None-Match and an `etag` in the body; `body` is what is there now, or None.

    Microsoft.Network takes the `etag` of a PUT's body for If-Match: the body of an earlier GET, sent back after
    somebody else has written, is refused. Raises ArmError: 412.
    """
    etag = str(body.get("etag", "")) if body is not None else None
    wanted = call.headers.get("if-match", "").strip() or _etag_in_body(call, resource_id)
    if wanted and not _names_etag(wanted, etag):
        raise _etag_mismatch(
            f"Etag provided in if-match header {wanted} does not match etag {etag or ''} of resource {resource_id}"
            f"{_store(resource_id)}."
        )
    unwanted = call.headers.get("if-none-match", "").strip()
    if unwanted and _names_etag(unwanted, etag):
        raise _etag_mismatch(
            f"Etag provided in if-none-match header {unwanted} matches etag {etag} of resource {resource_id}"
            f"{_store(resource_id)}."
        )


def _etag_in_body(call: Call, resource_id: str) -> str:
    if call.method != "PUT" or not isinstance(call.content, dict) or not _store(resource_id):
        return ""
    return str(call.content.get("etag") or "").strip()


def _names_etag(header: str, etag: str | None) -> bool:
    if etag is None:
        return False
    return header == "*" or _bare(etag) in {_bare(one) for one in header.split(",")}


def _bare(etag: str) -> str:
    return etag.strip().removeprefix("W/").strip('"')


def _etag_mismatch(message: str) -> ArmError:
    details = [{"code": "PreconditionFailedEtagMismatch", "message": message}]
    return refusal("PreconditionFailed", details=details)


def _store(resource_id: str) -> str:
    return " in NRP data store" if "/microsoft.network/" in resource_id.lower() else ""
