"""The file system of a simulated machine: directories, files, symbolic links, modes and owners, in memory.

Every operation is done as somebody (`Actor`) and is refused as a Linux kernel would refuse it: an `OSError` with the
errno of path_resolution(7), open(2), rename(2), unlink(2). A `Ledger` notes what an actor touched, so that the door
can tell a request that changed the host from one that did not.
"""

from __future__ import annotations

import errno
import fnmatch
import itertools
import posixpath
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from crdbmesh_simulator.inodes import EXECUTE, READ, WRITE, Inode, refuse

_MAX_LINKS = 40
_VOLATILE = ("/tmp/", "/run/", "/var/tmp/", "/var/log/", "/proc/", "/dev/")  # noqa: S108 - paths of a simulated machine


class Ledger:
    """What one request has touched; whether it changed the host in the end."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[object, ...] | None] = {}
        self.acts: list[str] = []

    def touch(self, path: str, inode: Inode | None) -> None:
        """Note how `path` is before it is changed."""
        if not path.startswith(_VOLATILE):
            self._before.setdefault(path, inode.snapshot() if inode else None)

    def act(self, what: str) -> None:
        """Note a change that is not of a file: a service, a package, a reboot."""
        self.acts.append(what)

    def changed(self, files: FileSystem) -> bool:
        """Whether something is different now."""
        if self.acts:
            return True
        root = Actor()
        for path, before in self._before.items():
            inode = files.find(path, root, follow=False)
            if (inode.snapshot() if inode else None) != before:
                return True
        return False


@dataclass(slots=True)
class Actor:
    """Somebody who does things: credentials, umask, and the ledger of the request it belongs to."""

    uid: int = 0
    gid: int = 0
    groups: frozenset[int] = frozenset()
    umask: int = 0o022
    ledger: Ledger = field(default_factory=Ledger)

    def may(self, inode: Inode, want: int) -> bool:
        """Whether the permission bits allow `want` (READ, WRITE, EXECUTE or their sum)."""
        if self.uid == 0:
            return inode.is_dir or want != EXECUTE or bool(inode.mode & 0o111)
        if inode.uid == self.uid:
            bits = inode.mode >> 6
        elif inode.gid == self.gid or inode.gid in self.groups:
            bits = inode.mode >> 3
        else:
            bits = inode.mode
        return bits & want == want


@dataclass(slots=True, eq=False)
class Spot:
    """A place in the tree: the directory, the name in it, what is there if anything, and its canonical path."""

    parent: Inode
    name: str
    inode: Inode | None
    path: str


class FileSystem:
    """A tree of inodes. `lock`: guards every operation (the world's). `now`: simulated time, for modification times.

    `busy`: the ids of directories that are mount points.
    """

    def __init__(self, lock: threading.RLock, now: Callable[[], float]) -> None:
        self._lock = lock
        self._now = now
        self._numbers = itertools.count(2)
        self.busy: set[int] = set()
        self.root = Inode(1, stat.S_IFDIR | 0o755, 0, 0, now())

    # --- looking ---

    def locate(self, path: str, who: Actor, *, follow: bool = True) -> Spot:
        """Resolve an absolute path; the last component may be absent."""
        with self._lock:
            return self._locate(path, who, follow=follow)

    def find(self, path: str, who: Actor, *, follow: bool = True) -> Inode | None:
        """What is at `path`, or None when it is absent or `who` may not look."""
        try:
            return self.locate(path, who, follow=follow).inode
        except OSError:
            return None

    def stat(self, path: str, who: Actor, *, follow: bool = True) -> Inode:
        """What is at `path`."""
        inode = self.locate(path, who, follow=follow).inode
        if inode is None:
            raise refuse(errno.ENOENT, path)
        return inode

    def read(self, path: str, who: Actor) -> bytes:
        """A file's content."""
        with self._lock:
            inode = self.stat(path, who)
            if inode.is_dir:
                raise refuse(errno.EISDIR, path)
            if not who.may(inode, READ):
                raise refuse(errno.EACCES, path)
            return bytes(inode.content)

    def names(self, path: str, who: Actor) -> list[str]:
        """The names in a directory, sorted."""
        with self._lock:
            inode = self.stat(path, who)
            if not inode.is_dir:
                raise refuse(errno.ENOTDIR, path)
            if not who.may(inode, READ):
                raise refuse(errno.EACCES, path)
            return sorted(inode.entries)

    def walk(self, path: str, who: Actor) -> Iterator[tuple[str, Inode]]:
        """A place and everything below it, parents first; links are not followed."""
        inode = self.stat(path, who, follow=False)
        yield path, inode
        for name in self.names(path, who) if inode.is_dir else ():
            yield from self.walk(posixpath.join(path, name), who)

    def glob(self, pattern: str, who: Actor) -> list[str]:
        """Paths that match an absolute pattern, sorted; `[!…]`, `*` and `?` as in a shell, hidden names apart."""
        found = ["/"]
        for part in pattern.strip("/").split("/"):
            matched: list[str] = []
            for folder in found:
                if not any(character in part for character in "*?["):
                    candidate = posixpath.join(folder, part)
                    matched += [candidate] if self.find(candidate, who, follow=False) else []
                    continue
                inode = self.find(folder, who)
                names = self.names(folder, who) if inode and inode.is_dir and who.may(inode, READ) else []
                shown = [name for name in names if part.startswith(".") or not name.startswith(".")]
                matched += [posixpath.join(folder, name) for name in shown if fnmatch.fnmatchcase(name, part)]
            found = matched
        return sorted(found)

    # --- changing ---

    def open_write(
        self,
        path: str,
        who: Actor,
        *,
        mode: int = 0o666,
        truncate: bool = True,
        create: bool = True,
        exclusive: bool = False,
    ) -> Inode:
        """Open a file to write it, as open(2) with O_CREAT by default."""
        with self._lock:
            spot = self._locate(path, who)
            if spot.inode is None:
                if not create:
                    raise refuse(errno.ENOENT, path)
                return self._add(spot, who, self._new(stat.S_IFREG | (mode & ~who.umask), who), path)
            if exclusive:
                raise refuse(errno.EEXIST, path)
            if spot.inode.is_dir:
                raise refuse(errno.EISDIR, path)
            if not who.may(spot.inode, WRITE):
                raise refuse(errno.EACCES, path)
            who.ledger.touch(spot.path, spot.inode)
            if truncate and spot.inode.is_file:
                spot.inode.content.clear()
                spot.inode.mtime = self._now()
            return spot.inode

    def put(self, inode: Inode, data: bytes, offset: int | None = None) -> None:
        """Write into an open file, at its end by default."""
        with self._lock:
            if not inode.is_file:
                return
            at = len(inode.content) if offset is None else offset
            if at > len(inode.content):
                inode.content.extend(bytes(at - len(inode.content)))
            inode.content[at : at + len(data)] = data
            inode.mtime = self._now()

    def write(self, path: str, data: bytes | str, who: Actor, *, mode: int = 0o666, append: bool = False) -> Inode:
        """Write a whole file."""
        with self._lock:
            inode = self.open_write(path, who, mode=mode, truncate=not append)
            self.put(inode, data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)
            return inode

    def mkdir(self, path: str, who: Actor, *, mode: int = 0o777, parents: bool = False) -> None:
        """Make a directory; with `parents`, the missing ones above it too and no complaint if it is there."""
        with self._lock:
            if parents:
                above = posixpath.dirname(path.rstrip("/")) or "/"
                if self.find(above, who) is None:
                    self.mkdir(above, who, parents=True)
            spot = self._locate(path, who)
            if spot.inode is not None:
                if parents and spot.inode.is_dir:
                    return
                raise refuse(errno.EEXIST, path)
            self._add(spot, who, self._new(stat.S_IFDIR | (mode & ~who.umask), who), path)

    def symlink(self, target: str, path: str, who: Actor) -> None:
        """Make a symbolic link at `path`."""
        with self._lock:
            spot = self._locate(path, who, follow=False)
            if spot.inode is not None:
                raise refuse(errno.EEXIST, path)
            inode = self._new(stat.S_IFLNK | 0o777, who)
            inode.target = target
            self._add(spot, who, inode, path)

    def remove(self, path: str, who: Actor, *, recursive: bool = False) -> None:
        """Remove a file or link; with `recursive`, a whole tree."""
        with self._lock:
            spot = self._held(path, who)
            assert spot.inode is not None
            if spot.inode.is_dir and not recursive:
                raise refuse(errno.EISDIR, path)
            if spot.inode.is_dir:
                for name in list(spot.inode.entries):
                    self.remove(posixpath.join(spot.path, name), who, recursive=True)
            self._drop(spot, who)

    def rmdir(self, path: str, who: Actor) -> None:
        """Remove an empty directory."""
        with self._lock:
            spot = self._held(path, who)
            assert spot.inode is not None
            if not spot.inode.is_dir:
                raise refuse(errno.ENOTDIR, path)
            if spot.inode.entries:
                raise refuse(errno.ENOTEMPTY, path)
            self._drop(spot, who)

    def rename(self, source: str, target: str, who: Actor) -> None:
        """Move a name, replacing what has the new one, as the system call does."""
        with self._lock:
            old = self._held(source, who)
            new = self._locate(target, who, follow=False)
            assert old.inode is not None
            if new.inode is old.inode:
                return
            if old.inode.is_dir and (new.path + "/").startswith(old.path + "/"):
                raise refuse(errno.EINVAL, target)
            self._may_change(new, who, target)
            if new.inode is not None:
                if new.inode.is_dir and not old.inode.is_dir:
                    raise refuse(errno.EISDIR, target)
                if old.inode.is_dir and not new.inode.is_dir:
                    raise refuse(errno.ENOTDIR, target)
                if new.inode.is_dir and new.inode.entries:
                    raise refuse(errno.ENOTEMPTY, target)
            who.ledger.touch(old.path, old.inode)
            who.ledger.touch(new.path, new.inode)
            del old.parent.entries[old.name]
            new.parent.entries[new.name] = old.inode

    def chmod(self, path: str, mode: int, who: Actor) -> None:
        """Set permission bits; only the owner and root may."""
        with self._lock:
            spot, inode = self._existing(path, who)
            if who.uid not in (0, inode.uid):
                raise refuse(errno.EPERM, path)
            who.ledger.touch(spot.path, inode)
            inode.mode = stat.S_IFMT(inode.mode) | (mode & 0o7777)

    def chown(self, path: str, uid: int | None, gid: int | None, who: Actor) -> None:
        """Set owner and group; only root may give files away."""
        with self._lock:
            spot, inode = self._existing(path, who)
            same_owner = uid is None or uid == inode.uid
            own_group = gid is None or gid == inode.gid or gid == who.gid or gid in who.groups
            if who.uid != 0 and not (inode.uid == who.uid and same_owner and own_group):
                raise refuse(errno.EPERM, path)
            who.ledger.touch(spot.path, inode)
            inode.uid = inode.uid if uid is None else uid
            inode.gid = inode.gid if gid is None else gid

    # --- inside ---

    def _locate(self, path: str, who: Actor, *, follow: bool = True) -> Spot:
        trail: list[tuple[str, Inode]] = []
        rest = [part for part in path.split("/") if part not in ("", ".")]
        links = 0
        while rest:
            name = rest.pop(0)
            folder = trail[-1][1] if trail else self.root
            if name == "..":
                del trail[-1:]
                continue
            if not folder.is_dir:
                raise refuse(errno.ENOTDIR, path)
            if not who.may(folder, EXECUTE):
                raise refuse(errno.EACCES, path)
            here = "/" + "/".join([part for part, _ in trail] + [name])
            child = folder.entries.get(name)
            if child is None:
                if rest:
                    raise refuse(errno.ENOENT, path)
                return Spot(folder, name, None, here)
            if child.is_link and (rest or follow):
                links += 1
                if links > _MAX_LINKS:
                    raise refuse(errno.ELOOP, path)
                rest = [part for part in child.target.split("/") if part not in ("", ".")] + rest
                if child.target.startswith("/"):
                    trail.clear()
                continue
            trail.append((name, child))
        if not trail:
            return Spot(self.root, "", self.root, "/")
        parent = trail[-2][1] if len(trail) > 1 else self.root
        name, inode = trail[-1]
        return Spot(parent, name, inode, "/" + "/".join(part for part, _ in trail))

    def _existing(self, path: str, who: Actor) -> tuple[Spot, Inode]:
        spot = self._locate(path, who)
        if spot.inode is None:
            raise refuse(errno.ENOENT, path)
        return spot, spot.inode

    def _held(self, path: str, who: Actor) -> Spot:
        spot = self._locate(path, who, follow=False)
        if spot.inode is None:
            raise refuse(errno.ENOENT, path)
        if spot.inode is self.root or id(spot.inode) in self.busy:
            raise refuse(errno.EBUSY, path)
        self._may_change(spot, who, path)
        return spot

    def _may_change(self, spot: Spot, who: Actor, path: str) -> None:
        if not who.may(spot.parent, WRITE | EXECUTE):
            raise refuse(errno.EACCES, path)
        sticky = spot.parent.mode & stat.S_ISVTX and who.uid not in (0, spot.parent.uid)
        if sticky and spot.inode is not None and spot.inode.uid != who.uid:
            raise refuse(errno.EPERM, path)

    def _new(self, mode: int, who: Actor) -> Inode:
        return Inode(next(self._numbers), mode, who.uid, who.gid, self._now())

    def _add(self, spot: Spot, who: Actor, inode: Inode, path: str) -> Inode:
        if not who.may(spot.parent, WRITE | EXECUTE):
            raise refuse(errno.EACCES, path)
        who.ledger.touch(spot.path, None)
        spot.parent.entries[spot.name] = inode
        return inode

    def _drop(self, spot: Spot, who: Actor) -> None:
        who.ledger.touch(spot.path, spot.inode)
        del spot.parent.entries[spot.name]
