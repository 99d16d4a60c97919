"""THE LIST of checks, in reading order: everything that is looked at before the first write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from crdbmesh.checks import account, addresses, limits, local, places
from crdbmesh.checks.base import Check, Level, Remark, Verdict, judge, skip, without_repeats
from crdbmesh.checks.existing import existing
from crdbmesh.checks.facts import Facts
from crdbmesh.errors import Finding, PreflightError
from crdbmesh.run.world import World


def _existing(facts: Facts) -> Iterator[Remark]:
    findings = list(existing(facts.world))
    yield "contradicts the spec" if findings else "nothing contradicts the spec"
    yield from findings


CREDENTIAL = Check("credential", "Login", account.credential, asks_azure=False, needs_spec=False)
"""Without it, nothing else can be asked of Azure."""

CHECKS = (
    Check("subscription", "Subscription", account.subscription, needs_spec=False),
    Check("permissions", "Permissions", account.permissions, needs_spec=False),
    Check("providers", "Resource providers", account.providers, needs_spec=False),
    Check("regions", "Regions", places.regions),
    Check("sizes", "Machine sizes", places.sizes),
    Check("image", "Image", places.image),
    Check("vcpus", "vCPU quota", limits.vcpus),
    Check("limits", "Network limits", limits.network),
    Check("ranges", "Address ranges", addresses.ranges),
    Check("caller", "Who may connect", addresses.caller, asks_azure=False, needs_spec=False),
    Check("group", "Resource group", local.group),
    Check("locks", "Locks", local.locks),
    Check("existing", "What is there", _existing),
    Check("folder", "Local folder", local.folder, asks_azure=False, needs_spec=False),
    Check("keys", "Login key", local.keys),
    Check("clock", "Clock", local.clock, needs_spec=False),
)

_NO_LOGIN = "not looked at, without a login that Azure accepts"
_NO_SPEC = "not looked at: say which regions, with --regions or --config"


def run_checks(world: World) -> list[Verdict]:
    """Do every check, in parallel; the verdicts in the list's order. Reads only.

    Raises:
        StoppedError: the operator interrupted.
    """
    return look(Facts(world.mesh, world.folder, world.session.cloud, world.session))


def look(facts: Facts) -> list[Verdict]:
    """`run_checks`, also without a spec, or with no way into Azure."""
    login = judge(CREDENTIAL, facts, strict=True)

    def verdict(check: Check) -> Verdict:
        if check.asks_azure and login.level is Level.REFUSED:
            return skip(check, _NO_LOGIN)
        if check.needs_spec and not facts.knows_mesh:
            return skip(check, _NO_SPEC)
        return judge(check, facts)

    with ThreadPoolExecutor(max_workers=len(CHECKS), thread_name_prefix="checks") as pool:
        return without_repeats([login, *pool.map(verdict, CHECKS)])


def require(world: World, warn: Callable[[Finding], None]) -> None:
    """Do every check before something is created.

    Args:
        world: the world.
        warn: told of what does not stand in the way, but should be known.

    Raises:
        PreflightError: with everything that stands in the way.
    """
    verdicts = run_checks(world)
    for verdict in verdicts:
        for finding in verdict.warnings:
            warn(finding)
    if findings := [finding for verdict in verdicts for finding in verdict.refused]:
        raise PreflightError(findings)
