"""The vocabulary of the checks: a check yields remarks about what it reads, and its verdict sums them up."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from crdbmesh.checks.facts import Facts
from crdbmesh.checks.remarks import Found, Refused, Remark, Warned, collect
from crdbmesh.errors import Finding


class Level(StrEnum):
    """The level of a verdict."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    REFUSED = "refused"


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a check.

    Attributes:
        check: the check's name.
        title: the check's name for people.
        found: the facts it read, in one line; may be empty.
        refused: the findings that would make `up` fail.
        warnings: the findings that would not.
        skipped: True when the check was not made; `found` says why.
    """

    check: str
    title: str
    found: str
    refused: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    skipped: bool = False

    @property
    def level(self) -> Level:
        """Return the level of its worst finding."""
        if self.refused:
            return Level.REFUSED
        if self.warnings:
            return Level.WARNING
        return Level.SKIPPED if self.skipped else Level.OK

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return all findings, the worst first."""
        return self.refused + self.warnings


def judge(check: Check, facts: Facts, *, strict: bool = False) -> Verdict:
    """Make a check and return its verdict; an error of Azure's becomes part of it.

    `strict` refuses when Azure does not answer, rather than warn that the check cannot tell.

    Raises:
        StoppedError: the operator interrupted.
    """
    remarks = collect(lambda: check.look(facts), facts.cloud.name, strict=strict)
    found = dict.fromkeys(remark.text for remark in remarks if isinstance(remark, Found))
    refused = dict.fromkeys(remark.finding for remark in remarks if isinstance(remark, Refused))
    warnings = dict.fromkeys(remark.finding for remark in remarks if isinstance(remark, Warned))
    return Verdict(check.name, check.title, "; ".join(found), tuple(refused), tuple(warnings))


def skip(check: Check, why: str) -> Verdict:
    """Return the verdict of a check that is not made."""
    return Verdict(check.name, check.title, why, skipped=True)


def without_repeats(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdicts with each finding only where it was found first."""
    said: set[Finding] = set()
    kept = []
    for verdict in verdicts:
        refused = tuple(one for one in verdict.refused if one not in said)
        warnings = tuple(one for one in verdict.warnings if one not in said)
        repeats = len(refused) + len(warnings) < len(verdict.findings)
        found, skipped = verdict.found or ("as above" if repeats else ""), verdict.skipped or repeats
        kept.append(replace(verdict, found=found, refused=refused, warnings=warnings, skipped=skipped))
        said.update(refused, warnings)
    return kept
