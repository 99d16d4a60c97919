"""THE LIST of Azure's errors that crdbmesh knows: of which kind each is, and what the operator can do.

Codes and texts are those of Azure's documentation (learn.microsoft.com, "Troubleshoot common Azure deployment errors"),
of recordings of its clients, and of their users' reports.
"""

import re

from crdbmesh.errors import CloudError, ConflictError, CredentialError, ForbiddenError, QuotaError

LOG_IN = "log in with `az login`, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET"
_MORE = "ask Azure for more (portal: Quotas)"
_LATER = "try again later, or take another size or region"
SOON = "try again in a few minutes"
_LISTED = "`az vm image list --all --publisher Canonical --offer ubuntu-24_04-lts`"
_DETACH = "delete or detach what uses it{users}, then run again"

_LASTING = {
    "referencedresourcenotprovisioned:.*in failed state": "waiting does not help: "
    "repair or delete the resource that failed, then run again"
}
_LOGIN = {
    r"requestdisallowedby\w+:.*\bmfa\b": "log in again with a second factor: `az logout`, then `az login`",
    "subscriptionnotfound": "set AZURE_SUBSCRIPTION_ID to a subscription that this login can see",
    "invalidsubscriptionid": "set AZURE_SUBSCRIPTION_ID to a subscription's id",
    "invalidauthenticationtokentenant": "log in to the subscription's tenant: `az login{tenant}`",
}
_FORBIDDEN = {
    "requestdisallowedbyazure": "Azure keeps this subscription to a few regions: `crdbmesh doctor` names them; "
    "choose among them, or ask Azure's support for others",
    "requestdisallowedbypolicy": "an Azure Policy forbids it: ask who looks after the subscription's policies",
    "denyassignment": "a deny assignment forbids it, whatever your roles: have it lifted by who made it "
    "(a managed application, a deployment stack), or use another resource group",
    "disallowedoperation": "this kind of subscription may not hold such resources: use another subscription",
    "scopelocked": "remove the lock on the resource or its group",
    "readonlydisabledsubscription": "the subscription is disabled: see its state in the portal",
}
_NOT_TO_BE_HAD = {
    "skunotavailable": "choose another machine size or region, or other zones",
    "quotaexceeded|operationnotallowed:.*quota": f"{_MORE}, or use fewer or smaller machines",
    "allocationfailed": f"no room for this size there right now: {_LATER}",
    "zonalallocationfailed": "no room for this size in that zone right now: set other zones, or none",
    r"overconstrained\w*allocationrequest": f"no room with these constraints: {_LATER}, or other zones",
    "ipv4basicskupublicipcountlimitreached": "Basic public IPs are retired; use the Standard SKU",
    r"\w*countlimitreached": f"{_MORE}, or delete what is not needed",
    "invalidparameter:.*vm size": "choose a size that the region offers: `crdbmesh doctor` names one",
    "operationnotallowed:.*unable to resize": "choose one of the sizes that Azure names, or deallocate the VM "
    "first, one machine at a time",
}
_PASSING = {
    "operationnotallowed:.*marked for deletion": "Azure is deleting it: run again once it is gone",
    "anotheroperationinprogress|operationpreempted|referencedresourcenotprovisioned|resourcegroupbeingdeleted"
    r"|retryableerror\w*|canceledandsuperseded\w*|nicreservedforanothervm|conflict:.*concurrent request": SOON,
}
_OTHER = {
    "osprovisioningtimedout": "the machine may still start by itself: run again in a few minutes",
    r"\w*availabilityzone\w*:": "set the region's `zones` to some that Azure names, or to `[]` for none",
    r"\w*imagenotfound|image\w*deprecated": f"set `machines.image` to one that Azure has: {_LISTED}",
    "propertychangenotallowed": "Azure cannot change that of a VM that exists: put the spec back, or replace "
    "the machine, one at a time",
    "privateipaddressisallocated": "machines have fixed addresses in their subnet: delete what has this one"
    "{users}, then run again",
    r"\w*inuse\w*:|\w+cannotbedeleted|operationnotallowed:.*attached": _DETACH,
    r"locationnotavailable\w+|noregisteredproviderfound": "choose another region: `crdbmesh doctor` tells "
    "which ones this subscription has",
    "missingsubscriptionregistration": "register the resource provider: `az provider register --namespace {namespace}`",
    r"vnetaddressspaces?overlap\w*": "give the regions disjoint address ranges",
    "remotepeeringisdisconnected": "delete the peering on the other side, then run again",
    "anotherpeeringalreadyreferencesremotevnet": "delete the other peering between these two networks",
    "invalidresourcegrouplocation": "delete that group, or choose another name",
    "resourcegroupdeletionblocked": "see what blocks it (locks, resources used from outside), then run again",
    "resourcegroupnotfound": "if somebody deleted the group, run again; else Azure does not see it everywhere",
}
_KNOWN: tuple[tuple[type[CloudError], dict[str, str]], ...] = (
    (CloudError, _LASTING),
    (CredentialError, _LOGIN),
    (ForbiddenError, _FORBIDDEN),
    (QuotaError, _NOT_TO_BE_HAD),
    (ConflictError, _PASSING),
    (CloudError, _OTHER),
)
"""Kinds of error in the order in which they are looked for, each with patterns of `code: message`, in lower case, for
the remedies. In a remedy `{users}` stands for the ids of what uses the resource, as the message names them."""

_ID = re.compile(r"/subscriptions/[^\s,;'\"\]]*[^\s,;'\"\].]")
_USED = re.compile(r"(?:used|in use) by|allocated to|attached to", re.IGNORECASE)
_NAMESPACE = re.compile(r"namespace '([\w.]+)'")
_TENANT = re.compile(r"(?:must match \D*|login\.[\w.]+/|sts\.windows\.net/)([0-9a-f]{8}-[0-9a-f-]{27})", re.IGNORECASE)


def find(codes: frozenset[str], message: str) -> tuple[type[CloudError], str] | None:
    """Return the kind of an error and its remedy, by its codes in lower case and its message; None if it is unknown.

    ConflictError stands for what passes by itself.
    """
    said = [f"{code}: {message.lower()}" for code in codes]
    for kind, patterns in _KNOWN:
        for pattern, remedy in patterns.items():
            if any(re.match(rf"(?:{pattern})", one, re.DOTALL) for one in said):
                return kind, _filled(remedy, message)
    return None


def tenant_option(text: str) -> str:
    """Return az's option for the tenant that Azure names last, with a space before it; empty when it names none."""
    found = _TENANT.findall(text)
    return f" --tenant {found[-1]}" if found else ""


def _filled(remedy: str, message: str) -> str:
    _, *used_by = _USED.split(message, maxsplit=1)
    users = ", ".join(dict.fromkeys(_ID.findall(" ".join(used_by))))
    namespace = _NAMESPACE.search(message)
    filled = remedy.replace("{users}", f" ({users})" if users else "").replace("{tenant}", tenant_option(message))
    return filled.replace("{namespace}", namespace[1] if namespace else "Microsoft.Compute")
