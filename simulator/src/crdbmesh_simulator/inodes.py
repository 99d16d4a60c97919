"""Files, directories and links of a simulated file system, and how a system call refuses."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

READ, WRITE, EXECUTE = 4, 2, 1


@dataclass(slots=True, eq=False)
class Inode:
    """A file, directory, link or device. `mode` holds the type bits too, as in stat(2)."""

    number: int
    mode: int
    uid: int
    gid: int
    mtime: float
    content: bytearray = field(default_factory=bytearray)
    entries: dict[str, Inode] = field(default_factory=dict)
    target: str = ""

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether this is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether this is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def permissions(self) -> int:
        """The permission bits alone."""
        return stat.S_IMODE(self.mode)

    @property
    def size(self) -> int:
        """As stat(2) says it."""
        if self.is_dir:
            return 4096
        return len(self.target) if self.is_link else len(self.content)

    def snapshot(self) -> tuple[object, ...]:
        """What has to differ for the inode to have changed."""
        return (self.mode, self.uid, self.gid, bytes(self.content), self.target)


def refuse(number: int, path: str) -> OSError:
    """The error that a system call would give."""
    return OSError(number, os.strerror(number), path)
