"""The SFTP subsystem over a machine's file system, with the rights of whoever is logged in.

Protocol version 3 (draft-ietf-secsh-filexfer-02) as OpenSSH's sftp-server speaks it, with OpenSSH's extensions
posix-rename, statvfs, fstatvfs, hardlink, fsync, lsetstat and limits.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import struct
from typing import TYPE_CHECKING, Any

import paramiko
from paramiko.message import Message
from paramiko.sftp import (
    CMD_EXTENDED,
    CMD_EXTENDED_REPLY,
    CMD_INIT,
    CMD_VERSION,
    SFTP_EOF,
    SFTP_FAILURE,
    SFTP_NO_SUCH_FILE,
    SFTP_OK,
    SFTP_OP_UNSUPPORTED,
    SFTP_PERMISSION_DENIED,
    int64,
)  # fmt: skip
from paramiko.sftp_server import SFTPServer

from crdbmesh_simulator.machines import faults
from crdbmesh_simulator.machines.filesystem import READ, Actor, Inode, refuse

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from crdbmesh_simulator.machines.connection import Connection
    from crdbmesh_simulator.machines.machine_os import MachineOS

_VERSION = 3
_BLOCK = 4096
_USED_KIB, _RESERVED_KIB = 2202010, 16384
_LIMITS = (262144, 261120, 261120, 1000)
_EXTENSIONS = (
    ("posix-rename@openssh.com", "1"), ("statvfs@openssh.com", "2"), ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"), ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"), ("limits@openssh.com", "1"),
)  # fmt: skip


class Subsystem(SFTPServer):
    """The server loop, with OpenSSH's extensions."""

    server: Files

    def _send_server_version(self) -> int:
        kind, data = self._read_packet()  # type: ignore[attr-defined]
        if kind != CMD_INIT:
            raise paramiko.SFTPError("Incompatible sftp protocol")
        version: int = struct.unpack(">I", data[:4])[0]
        message = Message()
        message.add_int(_VERSION)
        for name, value in _EXTENSIONS:
            message.add_string(name)
            message.add_string(value)
        self._send_packet(CMD_VERSION, message)  # type: ignore[attr-defined]
        return version

    def _process(self, t: int, request_number: int, msg: Message) -> None:
        if t != CMD_EXTENDED:
            super()._process(t, request_number, msg)  # type: ignore[misc]
            return
        name = msg.get_text()
        if name == "limits@openssh.com":
            numbers = [int64(value) for value in _LIMITS]
            self._response(request_number, CMD_EXTENDED_REPLY, *numbers)  # type: ignore[attr-defined]
            return
        if name in ("statvfs@openssh.com", "fstatvfs@openssh.com"):
            self._answer_statvfs(request_number, msg, by_path=name.startswith("s"))
            return
        status = SFTP_OP_UNSUPPORTED
        if name == "posix-rename@openssh.com":
            status = self.server.posix_rename(msg.get_text(), msg.get_text())
        elif name == "hardlink@openssh.com":
            status = self.server.hard_link(msg.get_text(), msg.get_text())
        elif name == "fsync@openssh.com":
            status = SFTP_OK
        elif name == "lsetstat@openssh.com":
            path = msg.get_text()
            status = self.server.chattr(path, _read_attributes(msg))
        self._send_status(request_number, status)  # type: ignore[attr-defined]

    def _answer_statvfs(self, request_number: int, msg: Message, *, by_path: bool) -> None:
        """How much room there is; all folders are of one file system."""
        found = self.server.stat(msg.get_text()) if by_path else None
        if isinstance(found, int):
            self._send_status(request_number, found)  # type: ignore[attr-defined]
            return
        numbers = [int64(value) for value in self.server.room()]
        self._response(request_number, CMD_EXTENDED_REPLY, *numbers)  # type: ignore[attr-defined]


class Files(paramiko.SFTPServerInterface):
    """The operations, done as the user."""

    def __init__(self, server: Connection, machine: MachineOS, actor: Actor, home: str) -> None:
        super().__init__(server)
        self._server = server
        self._broken = False
        self._machine = machine
        self._files = machine.files
        self._who = actor
        self._home = home

    def room(self) -> tuple[int, ...]:
        """The file system's numbers, in the order of `statvfs@openssh.com`; the same as `df` says."""
        total = (self._machine.disk_gib - 1) * 1024**3 // _BLOCK
        free = total - _USED_KIB * 1024 // _BLOCK
        spare = free - _RESERVED_KIB * 1024 // _BLOCK
        inodes = total // 2
        return (_BLOCK, _BLOCK, total, free, spare, inodes, inodes - 80000, inodes - 80000, 0x801, 0, 255)

    def canonicalize(self, path: str) -> str:
        """An absolute path; relative ones start at the home directory."""
        try:
            return self._files.locate(self._path(path), self._who).path
        except OSError:
            return posixpath.normpath(self._path(path))

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        """Names and attributes in a directory."""
        try:
            names = self._files.names(self._path(path), self._who)
            inode = self._files.stat(self._path(path), self._who)
        except OSError as error:
            return _code(error)
        return [self._attributes(inode.entries[name], name) for name in names]

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        """Attributes, links followed."""
        return self._stat(path, follow=True)

    def lstat(self, path: str) -> paramiko.SFTPAttributes | int:
        """Attributes, of a link itself."""
        return self._stat(path, follow=False)

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> paramiko.SFTPHandle | int:
        """Open a file."""
        full = self._path(path)
        try:
            if flags & (os.O_WRONLY | os.O_RDWR):
                self._machine.world.wrote("ssh")
                mode = attr.st_mode if attr.st_mode is not None else 0o666
                inode = self._files.open_write(
                    full,
                    self._who,
                    mode=stat.S_IMODE(mode),
                    truncate=bool(flags & os.O_TRUNC),
                    create=bool(flags & os.O_CREAT),
                    exclusive=bool(flags & os.O_EXCL),
                )
            else:
                inode = self._files.stat(full, self._who)
                if not self._who.may(inode, READ):
                    raise refuse(errno.EACCES, full)
        except OSError as error:
            return _code(error)
        return _Handle(self, full, inode, flags, faults.of_transfer(self._machine))

    def remove(self, path: str) -> int:
        """Remove a file."""
        return self._change(lambda: self._files.remove(self._path(path), self._who))

    def rename(self, oldpath: str, newpath: str) -> int:
        """Move; refuses to replace, as protocol version 3 has it."""
        old, new = self._path(oldpath), self._path(newpath)
        return self._change(lambda: self._files.rename(old, new, self._who, replace=False))

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        """Move, replacing what is there."""
        return self._change(lambda: self._files.rename(self._path(oldpath), self._path(newpath), self._who))

    def hard_link(self, oldpath: str, newpath: str) -> int:
        """Make a second name."""
        return self._change(lambda: self._files.link(self._path(oldpath), self._path(newpath), self._who))

    def mkdir(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        """Make a directory."""
        mode = stat.S_IMODE(attr.st_mode) if attr.st_mode is not None else 0o777
        return self._change(lambda: self._files.mkdir(self._path(path), self._who, mode=mode))

    def rmdir(self, path: str) -> int:
        """Remove an empty directory."""
        return self._change(lambda: self._files.rmdir(self._path(path), self._who))

    def chattr(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        """Change mode, owner, size or times."""
        full = self._path(path)

        def change() -> None:
            inode = self._files.stat(full, self._who)
            if attr.st_mode is not None:
                self._files.chmod(full, stat.S_IMODE(attr.st_mode), self._who)
            if attr.st_uid is not None and attr.st_gid is not None:
                self._files.chown(full, attr.st_uid, attr.st_gid, self._who)
            if attr.st_size is not None:
                self._files.truncate(self._files.open_write(full, self._who, truncate=False), attr.st_size)
            if attr.st_mtime is not None:
                inode.mtime = float(attr.st_mtime)

        counted = attr.st_mode is not None or attr.st_uid is not None or attr.st_size is not None
        return self._change(change, counted=counted)

    def readlink(self, path: str) -> str | int:
        """Where a link leads."""
        try:
            inode = self._files.stat(self._path(path), self._who, follow=False)
        except OSError as error:
            return _code(error)
        return inode.target if inode.is_link else SFTP_FAILURE

    def symlink(self, target_path: str, path: str) -> int:
        """Make a link."""
        return self._change(lambda: self._files.symlink(target_path, self._path(path), self._who))

    def attributes(self, inode: Inode) -> paramiko.SFTPAttributes:
        """Attributes of an open file."""
        return self._attributes(inode, "")

    def write(self, inode: Inode, offset: int, data: bytes, *, append: bool) -> None:
        """Write into an open file."""
        self._files.put(inode, data, None if append else offset)

    def break_at(self, moment: str, doom: str) -> bool:
        """Reset the connection if that is when it is to break. Whether it is broken by now."""
        if moment == doom and not self._broken:
            self._broken = True
            self._server.reset()
        return self._broken

    def _path(self, path: str) -> str:
        return posixpath.join(self._home, path or ".")

    def _stat(self, path: str, *, follow: bool) -> paramiko.SFTPAttributes | int:
        try:
            return self._attributes(self._files.stat(self._path(path), self._who, follow=follow), "")
        except OSError as error:
            return _code(error)

    def _attributes(self, inode: Inode, name: str) -> paramiko.SFTPAttributes:
        found = paramiko.SFTPAttributes()
        found.st_size, found.st_mode = inode.size, inode.mode
        found.st_uid, found.st_gid = inode.uid, inode.gid
        found.st_mtime = found.st_atime = int(inode.mtime)
        found.filename = name
        return found

    def _change(self, body: Any, *, counted: bool = True) -> int:
        if counted:
            self._machine.world.wrote("ssh")
        try:
            body()
        except OSError as error:
            return _code(error)
        return SFTP_OK


class _Handle(paramiko.SFTPHandle):
    def __init__(self, files: Files, path: str, inode: Inode, flags: int, doom: str) -> None:
        super().__init__(flags)
        self._files = files
        self._path = path
        self._inode = inode
        self._doom = doom
        self._append = bool(flags & os.O_APPEND)

    def read(self, offset: int, length: int) -> bytes | int:
        if not self._inode.is_file or self._files.break_at(self._doom or faults.BEFORE, self._doom):
            return SFTP_FAILURE
        data = bytes(self._inode.content[offset : offset + length])
        return data or SFTP_EOF

    def write(self, offset: int, data: ReadableBuffer) -> int:
        if self._files.break_at(faults.BEFORE, self._doom):
            return SFTP_FAILURE
        self._files.write(self._inode, offset, bytes(data), append=self._append)
        self._files.break_at(faults.AFTER, self._doom)
        return SFTP_OK

    def stat(self) -> paramiko.SFTPAttributes:
        return self._files.attributes(self._inode)

    def chattr(self, attr: paramiko.SFTPAttributes) -> int:
        return self._files.chattr(self._path, attr)


def _read_attributes(message: Message) -> paramiko.SFTPAttributes:
    attributes: paramiko.SFTPAttributes = paramiko.SFTPAttributes._from_msg(message)  # type: ignore[attr-defined]  # noqa: SLF001
    return attributes


def _code(error: OSError) -> int:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return SFTP_NO_SUCH_FILE
    return SFTP_PERMISSION_DENIED if error.errno in (errno.EACCES, errno.EPERM) else SFTP_FAILURE
