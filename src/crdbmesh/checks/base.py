"""The words of the checks: a check looks and remarks; its verdict says what was found and what stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from crdbmesh.errors import (
    ConfigError,
    CrdbmeshError,
    CredentialError,
    Finding,
    ForbiddenError,
    PreflightError,
    StoppedError,
)

if TYPE_CHECKING:
    from crdbmesh.checks.facts import Facts


class Level(StrEnum):
    """How a check ended."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Caution:
    """A finding that stops nothing."""

    finding: Finding


Remark = str | Finding | Caution
"""What a check has to say: what it found, what stands in the way, what should be known."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that can be known before the first write.

    Attributes:
        name: one word, for `--output json`.
        title: for people.
        look: makes the remarks; reads only.
        asks_azure: whether it needs a login that Azure accepts.
        needs_spec: whether it needs to know which regions are meant.
    """

    name: str
    title: str
    look: Callable[[Facts], Iterator[Remark]]
    asks_azure: bool = True
    needs_spec: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a check ended.

    Attributes:
        check: its name.
        title: for people.
        found: what was found, in one line; may be empty.
        refused: what stands in the way of `up`.
        warnings: what does not, but should be known.
        skipped: whether it was not done; `found` says why.
    """

    check: str
    title: str
    found: str
    refused: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    skipped: bool = False

    @property
    def level(self) -> Level:
        """The worst of it."""
        if self.refused:
            return Level.REFUSED
        if self.warnings:
            return Level.WARNING
        return Level.SKIPPED if self.skipped else Level.OK

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them, the worst first."""
        return self.refused + self.warnings


def judge(check: Check, facts: Facts, *, strict: bool = False) -> Verdict:
    """Do a check. What Azure does not answer is its verdict.

    Args:
        check: which one.
        facts: what it looks at.
        strict: an answer that does not come stands in the way, rather than being a warning that nobody can tell.

    Raises:
        StoppedError: the operator interrupted.
    """
    remarks: list[Remark] = []
    try:
        remarks.extend(check.look(facts))
    except StoppedError:
        raise
    except CrdbmeshError as error:
        remarks.extend(remarks_of(error, facts.cloud.name, strict=strict))
    return _verdict(check, remarks)


def skip(check: Check, why: str) -> Verdict:
    """The verdict of a check that is not done."""
    return Verdict(check.name, check.title, why, skipped=True)


def remarks_of(error: CrdbmeshError, where: str, *, strict: bool = False) -> Iterator[Remark]:
    """An error as remarks: everything wrong with a file stands in the way, a read that is forbidden does not."""
    if isinstance(error, ConfigError | PreflightError):
        yield from error.findings
        return
    if isinstance(error, CredentialError):
        # azure-identity goes on to tell what each of its ten ways lacks, which helps nobody here.
        reason = str(error).partition("Attempted credentials")[0].strip()
        yield Finding("credential", where, reason, error.hint or "log in again")
        return
    if isinstance(error, ForbiddenError):
        remedy = error.hint or "ask for the permissions in examples/azure-role.json"
        yield Caution(Finding("permissions", where, f"cannot tell: {error}", remedy))
        return
    finding = Finding("azure", where, f"cannot tell: {error}", error.hint or "run it again a little later")
    yield finding if strict else Caution(finding)


def without_repeats(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The verdicts with each finding said once, where it was found first."""
    said: set[Finding] = set()
    kept = []
    for verdict in verdicts:
        refused = tuple(one for one in verdict.refused if one not in said)
        warnings = tuple(one for one in verdict.warnings if one not in said)
        repeats = len(refused) + len(warnings) < len(verdict.findings)
        kept.append(
            Verdict(
                verdict.check,
                verdict.title,
                verdict.found or ("as above" if repeats else ""),
                refused,
                warnings,
                skipped=verdict.skipped or repeats,
            )
        )
        said.update(refused, warnings)
    return kept


def _verdict(check: Check, remarks: list[Remark]) -> Verdict:
    found = dict.fromkeys(remark for remark in remarks if isinstance(remark, str))
    refused = dict.fromkeys(remark for remark in remarks if isinstance(remark, Finding))
    warnings = dict.fromkeys(remark.finding for remark in remarks if isinstance(remark, Caution))
    return Verdict(check.name, check.title, "; ".join(found), tuple(refused), tuple(warnings))
