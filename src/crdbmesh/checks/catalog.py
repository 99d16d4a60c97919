"""THE LIST of checks that are made before the first write, in reading order."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from crdbmesh.checks import account, addresses, limits, local, places
from crdbmesh.checks.base import Found, Level, Refused, Remark, Verdict, Warned, collect, without_repeats
from crdbmesh.checks.existing import existing
from crdbmesh.checks.facts import Facts
from crdbmesh.errors import Finding, PreflightError
from crdbmesh.run.world import World


@dataclass(frozen=True, slots=True)
class Check:
    """A check that is made before the first write.

    Attributes:
        name: one word, for `--output json`.
        title: its name for people.
        look: yields the remarks; it only reads.
        asks_azure: True when it needs a login that Azure accepts.
        needs_spec: True when it needs a spec, which says the regions.
    """

    name: str
    title: str
    look: Callable[[Facts], Iterator[Remark]]
    asks_azure: bool = True
    needs_spec: bool = True


def _existing(facts: Facts) -> Iterator[Remark]:
    findings = list(existing(facts))
    yield Found("contradicts the spec" if findings else "nothing contradicts the spec")
    yield from map(Refused, findings)


CREDENTIAL = Check("credential", "Login", account.credential, asks_azure=False, needs_spec=False)
"""The login, without which nothing else can be read from Azure."""

CHECKS = (
    Check("subscription", "Subscription", account.subscription, needs_spec=False),
    Check("permissions", "Permissions", account.permissions, needs_spec=False),
    Check("providers", "Resource providers", account.providers, needs_spec=False),
    Check("regions", "Regions", places.regions),
    Check("policies", "Region policies", places.policies),
    Check("sizes", "Machine sizes", places.sizes),
    Check("image", "Image", places.image),
    Check("vcpus", "vCPU quota", limits.vcpus),
    Check("limits", "Network limits", limits.network),
    Check("ranges", "Address ranges", addresses.ranges),
    Check("caller", "Allowed sources", addresses.caller, asks_azure=False, needs_spec=False),
    Check("group", "Resource group", local.group),
    Check("locks", "Locks", local.locks),
    Check("existing", "Existing resources", _existing),
    Check("folder", "Local folder", local.folder, asks_azure=False, needs_spec=False),
    Check("keys", "Login key", local.keys),
    Check("license", "License", local.license_key, asks_azure=False),
    Check("clock", "Clock", local.clock, needs_spec=False),
)

_NO_LOGIN = "not checked: no login that Azure accepts"
_NO_SPEC = "not checked: give the regions with --regions or --config"


def judge(check: Check, facts: Facts, *, strict: bool = False) -> Verdict:
    """Make a check and return its verdict; raises as `collect` does.

    `strict` refuses when Azure does not answer, rather than warn that the check cannot tell.
    """
    remarks = collect(lambda: check.look(facts), facts.cloud.name, strict=strict)
    found = dict.fromkeys(remark.text for remark in remarks if isinstance(remark, Found))
    refused = dict.fromkeys(remark.finding for remark in remarks if isinstance(remark, Refused))
    warnings = dict.fromkeys(remark.finding for remark in remarks if isinstance(remark, Warned))
    return Verdict(check.name, check.title, "; ".join(found), tuple(refused), tuple(warnings))


def run_checks(world: World) -> list[Verdict]:
    """Make every check, in parallel and without a write; return the verdicts in the list's order, as `look` does."""
    return look(Facts.of(world))


def look(facts: Facts) -> list[Verdict]:
    """Make every check that can be made: there may be no spec, or no session with Azure. Raises as `collect` does."""
    login = judge(CREDENTIAL, facts, strict=True)

    def verdict(check: Check) -> Verdict:
        if check.asks_azure and login.level is Level.REFUSED:
            return Verdict(check.name, check.title, _NO_LOGIN, skipped=True)
        if check.needs_spec and not facts.knows_mesh:
            return Verdict(check.name, check.title, _NO_SPEC, skipped=True)
        return judge(check, facts)

    with ThreadPoolExecutor(max_workers=len(CHECKS), thread_name_prefix="checks") as pool:
        return without_repeats([login, *pool.map(verdict, CHECKS)])


def require(world: World, warn: Callable[[Finding], None]) -> None:
    """Make every check, tell the warnings, and raise PreflightError with every finding that would make `up` fail."""
    verdicts = run_checks(world)
    for verdict in verdicts:
        for finding in verdict.warnings:
            warn(finding)
    if findings := [finding for verdict in verdicts for finding in verdict.refused]:
        raise PreflightError(findings)
