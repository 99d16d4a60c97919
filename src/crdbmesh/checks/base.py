"""The vocabulary of the checks: a check yields remarks about what it reads, and its verdict sums them up."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from crdbmesh import errors
from crdbmesh.errors import CrdbmeshError, Finding


class Level(StrEnum):
    """The level of a verdict."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    REFUSED = "refused"


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


@dataclass(frozen=True, slots=True)
class Found:
    """A fact that a check read, in a few words for people."""

    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A finding that would make `up` fail."""

    finding: Finding


@dataclass(frozen=True, slots=True)
class Warned:
    """A finding that does not stop `up`."""

    finding: Finding


Remark = Found | Refused | Warned


def refusal(field: str, value: str, reason: str, remedy: str) -> Refused:
    """Make a finding that would make `up` fail."""
    return Refused(Finding(field, value, reason, remedy))


def warning(field: str, value: str, reason: str, remedy: str) -> Warned:
    """Make a finding that does not stop `up`."""
    return Warned(Finding(field, value, reason, remedy))


def collect(look: Callable[[], Iterable[Remark]], where: str, *, strict: bool = False) -> list[Remark]:
    """Return what a look yields; an error becomes a part of it, as `remarks_of` says, but StoppedError is raised."""
    remarks: list[Remark] = []
    try:
        remarks.extend(look())
    except errors.StoppedError:
        raise
    except CrdbmeshError as error:
        remarks.extend(remarks_of(error, where, strict=strict))
    return remarks


def remarks_of(error: CrdbmeshError, where: str, *, strict: bool = False) -> Iterator[Remark]:
    """Yield an error as remarks: a mistake in a file is refused, a read that Azure forbids is a warning."""
    if isinstance(error, errors.ConfigError | errors.PreflightError):
        yield from map(Refused, error.findings)
        return
    if isinstance(error, errors.CredentialError):
        yield refusal("credential", where, str(error), error.hint or "log in again")
        return
    if isinstance(error, errors.ForbiddenError):
        remedy = error.hint or "ask for the permissions in examples/azure-role.json"
        yield warning("permissions", where, f"cannot tell: {error}", remedy)
        return
    finding = Finding("azure", where, f"cannot tell: {error}", error.hint or "run it again a little later")
    yield Refused(finding) if strict else Warned(finding)
