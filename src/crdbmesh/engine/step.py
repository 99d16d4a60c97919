"""The vocabulary of the engine: Step, Gap, Outcome, Result, Event."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Literal, Self

from crdbmesh.errors import CrdbmeshError
from crdbmesh.redaction import hide_in


class Outcome(Enum):
    """The outcome of a step."""

    HELD = "held"
    """`check` found nothing to do."""
    CHANGED = "changed"
    """`apply` returned and a second `check` agreed."""
    FAILED = "failed"
    """`check` or `apply` raised, or `apply` returned but the step still does not hold."""
    BLOCKED = "blocked"
    """A prerequisite failed, so this never started."""
    DEFERRED = "deferred"
    """It disturbs what serves, and waits until everything else holds; meanwhile it counts as it is."""
    STOPPED = "stopped"
    """The run was interrupted before this started, or while it waited."""

    @property
    def good(self) -> bool:
        """Return True when the step holds now."""
        return self in {Outcome.HELD, Outcome.CHANGED, Outcome.DEFERRED}


@dataclass(frozen=True, slots=True)
class Gap:
    """The difference between a step and the world, in one line: `peering eastus-westus is Initiated, not Connected`.

    Attributes:
        kind: `create` when nothing is there yet, `delete` when something of others goes, `after` when the step cannot
            be checked before another holds.
        restarts: the machines and programs that closing it restarts, by name, in order; empty for none.
    """

    summary: str
    kind: Literal["create", "change", "delete", "after"] = field(default="change", compare=False)
    restarts: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        hide_in(self, "summary")

    @property
    def sign(self) -> str:
        """Return `+`, `~`, `!` (it restarts something) or `-`; nothing when it is not known whether it is a gap."""
        return {"create": "+", "change": "!" if self.restarts else "~", "delete": "-", "after": ""}[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(ABC):
    """One thing that must hold.

    Attributes:
        name: unique in a plan, `<region>/<thing>` or `mesh/<thing>`; shown to users, so it is interface.
        after: names of the steps that must hold first.
        exclusive: names of things that only one step at a time may write (a VNet, say).
    """

    name: str
    after: frozenset[str] = frozenset()
    exclusive: frozenset[str] = frozenset()
    leased: ClassVar[bool] = True
    """True when only the run that holds the mesh's lease may apply it."""

    @abstractmethod
    def check(self) -> Gap | None:
        """Return the gap, or None when the step holds; change nothing. Raise RefusedError for one not to be closed."""

    @abstractmethod
    def apply(self, gap: Gap, say: Callable[[str], None]) -> None:
        """Close the gap that `check` gave, and wait; safe to repeat after a crash. `say` shows what is waited for."""


_NODE = re.compile(r"node(\d+)/")
_VARYING = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d+(?:\.\d+){3}|zones? '\d'|\d+ s\b")
"""Ids of requests, addresses, zones and times, which differ between two accounts of one cause."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a step.

    Attributes:
        detail: the gap that was closed, the error, or what blocks it; empty when the step simply held.
        hint: the remedy for a failed step, if there is one.
        culprit: the failed step that blocks this one, or None.
        code, request_id: for a failed step, those of the error.
        seconds: real time from start to end.
    """

    step: str
    outcome: Outcome
    detail: str = ""
    hint: str | None = None
    culprit: str | None = None
    seconds: float = 0.0
    code: str = ""
    request_id: str | None = None

    def __post_init__(self) -> None:
        hide_in(self, "detail", "hint")

    @classmethod
    def of(cls, step: str, error: CrdbmeshError, *, seconds: float = 0.0) -> Self:
        """Make the result of a step that failed with an error."""
        code = str(error.document()["code"])
        id_ = error.request_id
        return cls(step, Outcome.FAILED, str(error), error.hint, seconds=seconds, code=code, request_id=id_)

    @property
    def cause(self) -> tuple[str, str | None, str]:
        """Return what is the same for all steps that failed for one cause, on whatever machine of whatever region."""
        region, _, rest = self.step.partition("/")
        number = _NODE.match(rest)
        own = rf"\b{region}(-{number[1]})?(?!-?\w)" if number else rf"\b{region}\b"
        return self.code, self.hint, _VARYING.sub("…", re.sub(own, "…", self.detail))

    def document(self) -> dict[str, Any]:
        """Return the result as `--output json` prints it."""
        error: dict[str, Any] = {"code": self.code, "message": self.detail, "remedy": self.hint, "findings": []}
        return {
            "step": self.step,
            "outcome": self.outcome.value,
            "detail": self.detail,
            "culprit": self.culprit,
            "seconds": round(self.seconds, 1),
            "error": error if self.outcome is Outcome.FAILED else None,
        }


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a run: a step started, waits for something, or ended."""

    step: str
    kind: str
    """`checking`, `applying`, `waiting`, `applied` or `ended`; `warning` is of no step."""
    text: str = ""
    result: Result | None = None
    creates: bool = False
    """True when what is applied was not there before."""
    left_s: float | None = None
    """The estimate of how long the run still takes, in real seconds."""

    def __post_init__(self) -> None:
        hide_in(self, "text")


Notify = Callable[[Event], None]
