"""The files of a machine over SSH, by SFTP and by the old scp protocol, with the rights of whoever is logged in.

asyncssh speaks the protocols (SFTP version 3 with OpenSSH's extensions); here is what the operations do. They refuse by
`OSError`, which asyncssh translates.
"""

from __future__ import annotations

import contextlib
import errno
import posixpath
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncssh

from crdbmesh_simulator.inodes import READ, Inode, refuse
from crdbmesh_simulator.machines import faults

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.connection import Connection


@dataclass(frozen=True, slots=True)
class _Open:
    path: str
    inode: Inode
    appends: bool
    doom: str


class Files(asyncssh.SFTPServer):
    """The operations, done as the user.

    Paths are bytes, relative ones to the user's home; attributes as SFTP has them.
    """

    def __init__(self, server: Connection, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        super().__init__(channel)
        self._server = server
        self._machine = server.machine
        self._files = server.machine.files
        self._who = server.machine.actor(server.user)
        self._home = server.machine.users[server.user].home

    def exit(self) -> None:
        """The client is done: say so by an exit status, as sftp-server's process has one."""
        with contextlib.suppress(OSError):
            self.channel.write_eof()
            self.channel.exit(0)

    def format_user(self, uid: int | None) -> str:
        """A user's name, for listings."""
        return self._machine.user_name(uid or 0)

    def format_group(self, gid: int | None) -> str:
        """A group's name, for listings."""
        return self._machine.group_name(gid or 0)

    # --- looking ---

    def realpath(self, path: bytes) -> bytes:
        """The canonical form of a path."""
        return self._files.locate(self._path(path), self._who).path.encode()

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """Attributes, links followed."""
        return _attributes(self._files.stat(self._path(path), self._who))

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """Attributes, of a link itself."""
        return _attributes(self._files.stat(self._path(path), self._who, follow=False))

    def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        """Attributes of an open file."""
        return _attributes(_opened(file_obj).inode)

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """The entries of a folder."""
        full = self._path(path)
        for name in [".", "..", *self._files.names(full, self._who)]:
            inode = self._files.stat(posixpath.join(full, name), self._who, follow=False)
            yield asyncssh.SFTPName(name.encode(), "", _attributes(inode))

    def readlink(self, path: bytes) -> bytes:
        """Where a link leads."""
        inode = self._files.stat(self._path(path), self._who, follow=False)
        if not inode.is_link:
            raise refuse(errno.EINVAL, self._path(path))
        return inode.target.encode()

    # --- open files ---

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        """Open a file."""
        full = self._path(path)
        if pflags & asyncssh.FXF_WRITE:
            self._machine.world.wrote("ssh")
            inode = self._files.open_write(
                full,
                self._who,
                mode=stat.S_IMODE(0o666 if attrs.permissions is None else attrs.permissions),
                truncate=bool(pflags & asyncssh.FXF_TRUNC),
                create=bool(pflags & asyncssh.FXF_CREAT),
                exclusive=bool(pflags & asyncssh.FXF_EXCL),
            )
        else:
            inode = self._files.stat(full, self._who)
            if not self._who.may(inode, READ):
                raise refuse(errno.EACCES, full)
        return _Open(full, inode, bool(pflags & asyncssh.FXF_APPEND), faults.of_transfer(self._machine))

    def close(self, file_obj: object) -> None:
        """Nothing is left to do."""

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        """A part of an open file."""
        opened = _opened(file_obj)
        if opened.doom:
            self._server.reset()
        if not opened.inode.is_file:
            raise refuse(errno.EISDIR, opened.path)
        return bytes(opened.inode.content[offset : offset + size])

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """Write into an open file."""
        opened = _opened(file_obj)
        if opened.doom == faults.BEFORE:
            self._server.reset()
            raise refuse(errno.EIO, opened.path)
        self._files.put(opened.inode, data, None if opened.appends else offset)
        if opened.doom == faults.AFTER:
            self._server.reset()
        return len(data)

    # --- changing ---

    def setstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Change mode, owner or times."""
        full, files, who = self._path(path), self._files, self._who
        inode = files.stat(full, who)
        if attrs.mtime is not None:
            inode.mtime = float(attrs.mtime)
        if attrs.permissions is None and attrs.uid is None:
            return
        with self._change():
            if attrs.permissions is not None:
                files.chmod(full, stat.S_IMODE(attrs.permissions), who)
            if attrs.uid is not None and attrs.gid is not None:
                files.chown(full, attrs.uid, attrs.gid, who)

    def fsetstat(self, file_obj: object, attrs: asyncssh.SFTPAttrs) -> None:
        """The same, of an open file."""
        self.setstat(_opened(file_obj).path.encode(), attrs)

    def remove(self, path: bytes) -> None:
        """Remove a file."""
        with self._change():
            self._files.remove(self._path(path), self._who)

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Move, replacing what is there."""
        with self._change():
            self._files.rename(self._path(oldpath), self._path(newpath), self._who)

    def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Make a directory."""
        with self._change():
            mode = stat.S_IMODE(0o777 if attrs.permissions is None else attrs.permissions)
            self._files.mkdir(self._path(path), self._who, mode=mode)

    def rmdir(self, path: bytes) -> None:
        """Remove an empty directory."""
        with self._change():
            self._files.rmdir(self._path(path), self._who)

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        """Make a link."""
        with self._change():
            self._files.symlink(oldpath.decode(), self._path(newpath), self._who)

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """Count a write; what only the owner may do is denied as OpenSSH's server denies it."""
        self._machine.world.wrote("ssh")
        try:
            yield
        except PermissionError as error:
            raise asyncssh.SFTPPermissionDenied("Permission denied") from error

    def _path(self, path: bytes) -> str:
        return posixpath.join(self._home, path.decode("utf-8", "surrogateescape") or ".")


def _opened(file_obj: object) -> _Open:
    assert isinstance(file_obj, _Open)
    return file_obj


def _attributes(inode: Inode) -> asyncssh.SFTPAttrs:
    kinds = {stat.S_IFDIR: asyncssh.FILEXFER_TYPE_DIRECTORY, stat.S_IFLNK: asyncssh.FILEXFER_TYPE_SYMLINK}
    return asyncssh.SFTPAttrs(
        type=kinds.get(stat.S_IFMT(inode.mode), asyncssh.FILEXFER_TYPE_REGULAR),
        size=inode.size,
        uid=inode.uid,
        gid=inode.gid,
        permissions=inode.mode,
        atime=int(inode.mtime),
        mtime=int(inode.mtime),
    )
