"""Checks of the account: login and tenant, subscription, permissions, resource providers."""

from collections.abc import Iterator

from crdbmesh.checks.actions import ACTIONS, ASSIGN, LOOKING, OF_THE_GROUP
from crdbmesh.checks.base import Found, Refused, Remark, refusal, warning
from crdbmesh.checks.facts import Facts
from crdbmesh.clients import cloud as clouds
from crdbmesh.clients.azure import resources
from crdbmesh.desired.azure import PROVIDERS
from crdbmesh.errors import CrdbmeshError, CredentialError, ElsewhereError
from crdbmesh.local import birth

_NOT_THE_LOGIN = {"subscriptionnotfound", "invalidsubscriptionid"}
_SHAKY_STATES = {"Warned": "Azure is about to disable it", "PastDue": "a payment is due, and Azure may disable it"}


def credential(facts: Facts) -> Iterator[Remark]:
    """Check that a token can be obtained and that Azure accepts it for this subscription."""
    who = facts.identity()
    try:
        found = facts.subscription()
    except CredentialError as error:
        if error.code.lower() not in _NOT_THE_LOGIN:
            raise
        reason, remedy = (
            "this login has no access to that subscription",
            f"set it to one that it has access to: {_seen(facts)}",
        )
        yield refusal(clouds.SUBSCRIPTION, facts.session.subscription_id, reason, remedy)
        return
    tenant = str(found.get("tenantId") or who.tenant or "unknown")
    yield Found(f"{who.name or 'a token'} in tenant {tenant}")
    if who.tenant and found.get("tenantId") and who.tenant.lower() != tenant.lower():
        yield Found(f"the login itself belongs to tenant {who.tenant}")


def subscription(facts: Facts) -> Iterator[Remark]:
    """Check that the subscription is enabled, and the one in which the mesh is."""
    found = facts.subscription()
    if (born := birth.read(facts.folder)) is not None:
        try:
            birth.compare(facts.folder.path.name, born, resources.aim_of(facts.session, found))
        except ElsewhereError as error:
            yield from map(Refused, error.findings)
    state = str(found.get("state") or "not visible to this login")
    shown = f"{found.get('displayName') or 'no name'} ({facts.session.subscription_id})"
    if state == "Enabled":
        yield Found(f"{shown} is enabled")
        return
    yield Found(f"{shown}: {state}")
    reason, remedy = f"the subscription is {state}", "choose a subscription that is enabled and that you can see"
    if state not in _SHAKY_STATES:
        yield refusal(clouds.SUBSCRIPTION, facts.session.subscription_id, reason, remedy)
        return
    remedy = "see its billing in the portal before you build on it"
    yield warning(clouds.SUBSCRIPTION, facts.session.subscription_id, f"{reason}: {_SHAKY_STATES[state]}", remedy)


def permissions(facts: Facts) -> Iterator[Remark]:
    """Check that the caller's roles allow every action that crdbmesh needs, but for registering providers."""
    wanted = [action for action in ACTIONS if not action.endswith("/register/action")]
    if facts.knows_mesh and facts.mesh.backup and not facts.may(ASSIGN):
        remedy = "nothing to do yet: `up` prints the command for somebody who may, and goes on when run again"
        yield warning("backup", ASSIGN, "you may not give the identity of backups its role", remedy)
    if facts.knows_mesh and facts.mesh.group is not None and facts.group() is not None:
        wanted = [action for action in wanted if action not in OF_THE_GROUP]
    lacking = [action for action in wanted if not facts.may(action)]
    needed = [action for action in lacking if action not in LOOKING]
    yield Found(f"{len(wanted) - len(lacking)} of {len(wanted)} actions are allowed")
    if needed:
        reason = f"{len(needed)} of the actions that crdbmesh needs are not allowed: {', '.join(needed)}"
        remedy = "ask for the role Contributor on the subscription, or for one like examples/azure-role.json"
        yield refusal("permissions", f"subscription {facts.session.subscription_id}", reason, remedy)
    elif lacking:
        yield Found(f"not allowed, and needed for checks only: {', '.join(lacking)}")


def providers(facts: Facts) -> Iterator[Remark]:
    """Check that the resource providers are registered, or that the caller may register them."""
    missing = facts.unregistered()
    if not missing:
        yield Found(f"{', '.join(PROVIDERS)}: registered")
        return
    yield from (Found(f"{name}: {state}") for name, state in missing.items())
    barred = [name for name in missing if not _may_register(facts, name)]
    for name in barred:
        reason = f"the subscription is not registered for it, and you may not register it ({name}/register/action)"
        remedy = f"ask an owner of the subscription to run `az provider register --namespace {name}`"
        yield refusal("providers", name, reason, remedy)
    if rest := [name for name in missing if name not in barred]:
        reason = "the subscription is not registered for it yet"
        remedy = "nothing to do: `up` registers it, which takes a minute or two"
        yield warning("providers", ", ".join(rest), reason, remedy)


def _may_register(facts: Facts, namespace: str) -> bool:
    """Return True when the caller may register a provider, or when Azure does not say."""
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
