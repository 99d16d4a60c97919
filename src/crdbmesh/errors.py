"""Every error that crdbmesh raises on purpose.

    CrdbmeshError
    ├── ConfigError          the spec, a flag or a file is wrong; carries every finding at once
    ├── PreflightError       the checks found what would make `up` fail; nothing was created
    │   ├── ElsewhereError   the mesh is in another cloud, tenant or subscription
    │   └── UnsafeError      others could plant or change what is in the local folder
    ├── PlanError            the steps do not form a plan (a bug in a catalog)
    ├── HeldError            another run is at work on this mesh; says whose it is and since when
    ├── RefusedError         a change that cannot be made in place; says why, and the alternative
    ├── WaitError            a deadline passed; says what was awaited and last seen
    ├── StoppedError         the operator interrupted a wait; says what was awaited and last seen
    ├── CloudError           Azure Resource Manager answered with an error
    │   ├── CredentialError  no credential, or one that Azure does not accept
    │   ├── ForbiddenError   the credential lacks a permission
    │   ├── QuotaError       quota, capacity or SKU
    │   └── ConflictError    another operation is in the way
    ├── HostError            SSH
    │   ├── UnreachableError no answer, or another host key than the one we gave
    │   └── CommandError     a command ended with a non-zero status
    └── KubeError            the Kubernetes API answered with an error, or exec failed

Each carries `hint`: the operator's next step. No message contains a secret: quotations pass through `redaction.cut`.
"""

from dataclasses import asdict, dataclass
from typing import Any, Self

from crdbmesh.redaction import cut, hide_in


class CrdbmeshError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        hint: the operator's next step, one sentence, or None.
        code: Azure's code for it, or another short name; empty where its class says enough.
        retryable: whether the same may succeed a little later: a connection broke, a server stumbled. Where repeating
            is safe, clients have repeated; what is left is for whoever can repeat the whole of what was going on.
    """

    retryable: bool = False
    request_id: str | None = None

    def __init__(self, message: str, *, hint: str | None = None, code: str = "") -> None:
        super().__init__(cut(message))
        self.hint = cut(hint) if hint is not None else None
        self.code = code

    def document(self) -> dict[str, Any]:
        """Return the error as `--output json` prints it, wherever it is in the output."""
        findings: list[Finding] = getattr(self, "findings", [])
        return {
            "code": self.code or type(self).__name__.removesuffix("Error").lower(),
            "message": str(self),
            "remedy": self.hint,
            "findings": [asdict(finding) for finding in findings],
        }

    def as_retryable(self) -> Self:
        """Mark this error as retryable and return it."""
        self.retryable = True
        return self


PRECONDITION_FAILED = 412
"""HTTP's status of a write that somebody else's came before."""
ABSENT = "(absent)"
"""The value of a finding about something that is not given."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake in the input, or a cause for which `up` would fail."""

    field: str
    value: str
    reason: str
    remedy: str

    def __post_init__(self) -> None:
        hide_in(self, "value", "reason", "remedy")

    @property
    def title(self) -> str:
        """Return the field with its value, in words when it is not given."""
        return f"no {self.field} given" if self.value == ABSENT else f"{self.field} = {self.value}"

    def __str__(self) -> str:
        return f"{self.title}: {self.reason}. {self.remedy}."


class _FindingsError(CrdbmeshError):
    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = findings

    @classmethod
    def of(cls, field: str, value: str, reason: str, remedy: str) -> Self:
        """Make the error with one finding."""
        return cls([Finding(field, value, reason, remedy)])


class ConfigError(_FindingsError):
    """The spec, a flag or a file is wrong; `findings` holds every mistake, not just the first."""


class PreflightError(_FindingsError):
    """The checks found what would make `up` fail; nothing was created."""


class ElsewhereError(PreflightError):
    """The mesh's local folder is for another cloud, tenant or subscription than the command; nothing was changed."""


class UnsafeError(PreflightError):
    """Others could plant or change what is in the local folder; nothing was changed."""


class PlanError(CrdbmeshError):
    """The steps do not form a plan: a duplicate name, an unknown prerequisite or a cycle."""


class RefusedError(CrdbmeshError):
    """A change that Azure, k3s, Cilium or CockroachDB cannot make in place."""


class HeldError(CrdbmeshError):
    """Another `up` or `down` is at work on this mesh, or took it over from this one."""


class WaitError(CrdbmeshError):
    """A deadline passed."""

    def __init__(self, awaited: str, *, seconds: float, last_seen: str, hint: str | None = None) -> None:
        super().__init__(f"waited {seconds:.0f} s for {awaited}; last seen: {last_seen}", hint=hint)
        self.awaited = awaited
        self.last_seen = cut(last_seen)


class StoppedError(CrdbmeshError):
    """The operator interrupted a wait; operations in Azure continue, and the next run resumes from them."""

    def __init__(self, awaited: str, *, last_seen: str) -> None:
        super().__init__(f"interrupted while waiting for {awaited}; last seen: {last_seen}")


class CloudError(CrdbmeshError):
    """Azure Resource Manager answered with an error.

    Attributes:
        code: ARM's error code, such as `VnetAddressSpacesOverlap`.
        status: HTTP status, or None when the error came from a finished operation.
        request_id: `x-ms-correlation-request-id`, for a support case.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int | None = None,
        request_id: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.status = status
        self.retryable = status == PRECONDITION_FAILED or _stumbled(status)
        self.request_id = request_id


class CredentialError(CloudError):
    """No credential, or one that Azure does not accept."""


class ForbiddenError(CloudError):
    """The credential lacks a permission."""


class QuotaError(CloudError):
    """Quota, capacity or SKU: Azure cannot give what was asked."""


class ConflictError(CloudError):
    """Another operation is in the way; trying again later may work."""


class HostError(CrdbmeshError):
    """An error of a machine that is reached over SSH."""


class UnreachableError(HostError):
    """The host does not answer, refuses the login key, or shows another host key."""

    retryable = True


class CommandError(HostError):
    """A command on a host ended with a non-zero exit status.

    Attributes:
        command: what was run, free of secrets.
        status: exit status, or None when the connection broke first.
        tail: the last lines the command printed.
    """

    def __init__(self, command: str, *, host: str, status: int | None, tail: str) -> None:
        ending = "lost its connection" if status is None else f"exited {status}"
        super().__init__(f"{host}: `{command}` {ending}: {tail.strip() or '(no output)'}")
        self.command = command
        self.status = status
        self.tail = cut(tail)
        self.retryable = status is None


class KubeError(CrdbmeshError):
    """The Kubernetes API answered with an error.

    Attributes:
        status: HTTP status, or None when there was no answer.
        reason: the Status object's reason, such as `Conflict`.
    """

    def __init__(self, message: str, *, status: int | None = None, reason: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason
        self.retryable = _stumbled(status)


def _stumbled(status: int | None) -> bool:
    return status is not None and (status == 429 or status >= 500)
