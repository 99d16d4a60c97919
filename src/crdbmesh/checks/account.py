"""Who is asking: login and tenant, subscription, permissions, resource providers."""

from __future__ import annotations

from collections.abc import Iterator

from crdbmesh.checks.actions import ACTIONS, LOOKING, OF_THE_GROUP, PROVIDERS
from crdbmesh.checks.base import Caution, Remark
from crdbmesh.checks.facts import Facts
from crdbmesh.clients import cloud as clouds
from crdbmesh.clients.azure import resources
from crdbmesh.errors import CrdbmeshError, CredentialError, Finding

_NOT_THE_LOGIN = {"subscriptionnotfound", "invalidsubscriptionid"}
_SHAKY_STATES = {
    "Warned": "Azure is about to disable it",
    "PastDue": "a payment is due, and Azure may disable it",
}


def credential(facts: Facts) -> Iterator[Remark]:
    """A token comes, and Azure accepts it for this subscription."""
    session = facts.session
    who = facts.identity()
    try:
        found = facts.subscription()
    except CredentialError as error:
        if error.code.lower() not in _NOT_THE_LOGIN:
            raise
        yield Finding(
            clouds.SUBSCRIPTION,
            session.subscription_id,
            "this login sees no subscription of that id",
            f"set it to one that it sees: {_seen(facts)}",
        )
        return
    tenant = str(found.get("tenantId") or who.tenant or "unknown")
    yield f"{who.name or 'a token'} in tenant {tenant}"
    if who.tenant and found.get("tenantId") and who.tenant.lower() != tenant.lower():
        yield f"the login itself is of tenant {who.tenant}"


def subscription(facts: Facts) -> Iterator[Remark]:
    """The subscription is one in which things can be made."""
    found = facts.subscription()
    state = str(found.get("state") or "not visible to this login")
    shown = f"{found.get('displayName') or 'no name'} ({facts.session.subscription_id})"
    if state == "Enabled":
        yield f"{shown} is enabled"
        return
    yield f"{shown}: {state}"
    if state in _SHAKY_STATES:
        reason = f"the subscription is {state}: {_SHAKY_STATES[state]}"
        remedy = "see its billing in the portal before you build on it"
        yield Caution(Finding(clouds.SUBSCRIPTION, facts.session.subscription_id, reason, remedy))
        return
    yield Finding(
        clouds.SUBSCRIPTION,
        facts.session.subscription_id,
        f"the subscription is {state}",
        "choose a subscription that is enabled and that you can see",
    )


def permissions(facts: Facts) -> Iterator[Remark]:
    """The caller's roles allow every action that crdbmesh needs; registering providers is another check's."""
    wanted = [action for action in ACTIONS if not action.endswith("/register/action")]
    if facts.knows_mesh and facts.mesh.group is not None and facts.group() is not None:
        wanted = [action for action in wanted if action not in OF_THE_GROUP]
    lacking = [action for action in wanted if not facts.may(action)]
    needed = [action for action in lacking if action not in LOOKING]
    yield f"{len(wanted) - len(lacking)} of {len(wanted)} actions are allowed"
    if needed:
        yield Finding(
            "permissions",
            f"subscription {facts.session.subscription_id}",
            f"{len(needed)} of the actions that crdbmesh needs are not allowed: {', '.join(needed)}",
            "ask for the role Contributor on the subscription, or for one like examples/azure-role.json",
        )
    elif lacking:
        yield f"not allowed, and needed for looking only: {', '.join(lacking)}"


def providers(facts: Facts) -> Iterator[Remark]:
    """The subscription is registered for the resource providers, or the caller may register it."""
    missing = [name for name in PROVIDERS if facts.find_provider_state(name).lower() != "registered"]
    if not missing:
        yield f"{', '.join(PROVIDERS)}: registered"
        return
    yield from (f"{name}: {facts.find_provider_state(name)}" for name in missing)
    barred = [name for name in missing if not _may_register(facts, name)]
    for name in barred:
        yield Finding(
            "providers",
            name,
            f"the subscription is not registered for it, and you may not register it ({name}/register/action)",
            f"ask an owner of the subscription to run `az provider register --namespace {name}`",
        )
    if rest := [name for name in missing if name not in barred]:
        reason = "the subscription is not registered for this yet"
        remedy = "nothing to do: `up` registers it, which takes a minute or two"
        yield Caution(Finding("providers", ", ".join(rest), reason, remedy))


def _may_register(facts: Facts, namespace: str) -> bool:
    """Whether the caller may register a provider; who cannot tell finds out by trying."""
    try:
        return facts.may(f"{namespace}/register/action")
    except CrdbmeshError:
        return True


def _seen(facts: Facts) -> str:
    try:
        listed = resources.list_subscriptions(facts.session)
    except CrdbmeshError:
        listed = []
    seen = [f"{one.get('subscriptionId')} ({one.get('displayName')})" for one in listed]
    return ", ".join(seen) if seen else "none; log in with another account"
