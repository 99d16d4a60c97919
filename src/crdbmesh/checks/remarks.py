"""Remarks: the facts, refusals and warnings that a check yields."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from crdbmesh.errors import (
    ConfigError,
    CrdbmeshError,
    CredentialError,
    Finding,
    ForbiddenError,
    PreflightError,
    StoppedError,
)


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
    """Return what a look yields; an error of Azure's becomes a part of it, as `remarks_of` says.

    Raises:
        StoppedError: the operator interrupted.
    """
    remarks: list[Remark] = []
    try:
        remarks.extend(look())
    except StoppedError:
        raise
    except CrdbmeshError as error:
        remarks.extend(remarks_of(error, where, strict=strict))
    return remarks


def remarks_of(error: CrdbmeshError, where: str, *, strict: bool = False) -> Iterator[Remark]:
    """Yield an error as remarks: a mistake in a file is refused, a read that Azure forbids is a warning."""
    if isinstance(error, ConfigError | PreflightError):
        yield from map(Refused, error.findings)
        return
    if isinstance(error, CredentialError):
        yield refusal("credential", where, str(error), error.hint or "log in again")
        return
    if isinstance(error, ForbiddenError):
        remedy = error.hint or "ask for the permissions in examples/azure-role.json"
        yield warning("permissions", where, f"cannot tell: {error}", remedy)
        return
    finding = Finding("azure", where, f"cannot tell: {error}", error.hint or "run it again a little later")
    yield Refused(finding) if strict else Warned(finding)
