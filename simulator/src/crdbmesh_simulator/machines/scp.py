"""The old scp protocol (`scp -t` and `scp -f` on the server), which OpenSSH before 9.0 and some libraries speak."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from crdbmesh_simulator.machines.process import Process, os_error

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.session import ChannelSource


def scp(process: Process, argv: list[str]) -> int:
    """Serve one transfer and return the exit status. The shell has expanded what the client left to it, as `*`."""
    from crdbmesh_simulator.machines.session import ChannelSource

    words, source = argv[1:], process.stdin
    flags = "".join(word[1:] for word in words if word.startswith("-") and word != "--")
    paths = [word for word in words if not word.startswith("-")]
    if isinstance(source, ChannelSource) and "t" in flags and paths:
        return _Receiver(process, source).receive(paths[-1])
    if isinstance(source, ChannelSource) and "f" in flags and paths:
        sender = _Sender(process, source, recursive="r" in flags, preserve="p" in flags)
        return sender.send(paths)
    process.err("usage: scp [-r] -t|-f path\n")
    process.machine.world.not_known("ssh", " ".join(argv))
    return 1


class _Receiver:
    def __init__(self, process: Process, source: ChannelSource) -> None:
        self._process = process
        self._source = source
        self._status = 0

    def receive(self, target: str) -> int:
        """Take files and directories until the end."""
        self._process.out(b"\0")
        stack = [target]
        while line := self._source.readline():
            kind, text = line[:1], line[1:].decode("utf-8", "surrogateescape").strip()
            if kind == b"E":
                stack.pop()
                self._process.out(b"\0")
            elif kind == b"T":
                self._process.out(b"\0")
            elif kind in (b"C", b"D"):
                mode, size, name = text.split(" ", 2)
                folder = self._process.find(stack[-1])
                path = posixpath.join(stack[-1], name) if folder is not None and folder.is_dir else stack[-1]
                if kind == b"D":
                    stack.append(path)
                self._take(kind, path, int(mode, 8), int(size))
            else:
                self._process.out(f"\x01scp: protocol error: {text}\n")
                return 1
        return self._status

    def _take(self, kind: bytes, path: str, mode: int, size: int) -> None:
        files, who, full = self._process.machine.files, self._process.actor, self._process.path(path)
        try:
            if kind == b"D":
                files.mkdir(full, who, mode=mode, parents=True)
                self._process.out(b"\0")
                return
            inode = files.open_write(full, who, mode=mode)
        except OSError as error:
            self._status = 1
            self._process.out(f"\x01scp: {path}: {os_error(error)}\n")
            return
        self._process.out(b"\0")
        files.put(inode, self._source.take(size))
        self._source.take(1)
        self._process.out(b"\0")


class _Sender:
    def __init__(self, process: Process, source: ChannelSource, *, recursive: bool, preserve: bool) -> None:
        self._process = process
        self._source = source
        self._recursive = recursive
        self._preserve = preserve

    def send(self, paths: list[str]) -> int:
        """Send files and trees."""
        if self._source.take(1) != b"\0":
            return 1
        return max([self._send(path) for path in paths])

    def _send(self, path: str) -> int:
        files, who = self._process.machine.files, self._process.actor
        try:
            inode = files.stat(self._process.path(path), who)
            if inode.is_dir and not self._recursive:
                self._process.out(f"\x01scp: {path}: not a regular file\n")
                return 1
            names = files.names(self._process.path(path), who) if inode.is_dir else []
            content = b"" if inode.is_dir else files.read(self._process.path(path), who)
        except OSError as error:
            self._process.out(f"\x01scp: {path}: {os_error(error)}\n")
            return 1
        if self._preserve:
            self._process.out(f"T{int(inode.mtime)} 0 {int(inode.mtime)} 0\n")
            self._source.take(1)
        name = posixpath.basename(path.rstrip("/"))
        self._process.out(f"{'D' if inode.is_dir else 'C'}{inode.permissions:04o} {len(content)} {name}\n")
        self._source.take(1)
        if inode.is_dir:
            status = max([self._send(posixpath.join(path, each)) for each in names], default=0)
            self._process.out("E\n")
            self._source.take(1)
            return status
        self._process.out(content + b"\0")
        return int(self._source.take(1) != b"\0")
