"""The output of a command on a machine or in a pod: as it comes, and as it ended."""

from dataclasses import dataclass, field

from crdbmesh.redaction import hide
from crdbmesh.spec.documents import MOST_BYTES

_TAIL_LINES = 15
_TAIL_CHARACTERS = 2000
_TAIL_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The result of a command. Its output may be secret, so it is not shown."""

    stdout: str = field(repr=False)
    stderr: str = field(repr=False)
    status: int


class TooMuchError(Exception):
    """A command printed more than is read."""


@dataclass
class Output:
    """The output of a command so far."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)

    def check(self) -> None:
        """Raise TooMuchError when it is more than `MOST_BYTES`."""
        if len(self.stdout) + len(self.stderr) > MOST_BYTES:
            raise TooMuchError(f"it printed more than {MOST_BYTES // 2**20} MiB")

    def result(self, status: int) -> CommandResult:
        """Return the result of the command, which ended with this status."""
        return CommandResult(_text(self.stdout), _text(self.stderr), status)

    def tail(self) -> str:
        """Return the last lines of what went wrong, or else of what it printed."""
        return _last_lines(self.stderr) or _last_lines(self.stdout)


def _text(raw: bytearray) -> str:
    return raw.decode("utf-8", errors="replace")


def _last_lines(raw: bytearray) -> str:
    lines = _text(raw[-_TAIL_BYTES:]).strip().splitlines()[-_TAIL_LINES:]
    return hide("\n".join(lines))[-_TAIL_CHARACTERS:]
