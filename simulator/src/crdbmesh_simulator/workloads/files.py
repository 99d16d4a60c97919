"""The files of a container: what is mounted, and what programs have written to volumes that can be written to."""

from __future__ import annotations

import errno
import fnmatch
import posixpath
import stat
from typing import TYPE_CHECKING

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.inodes import Inode
from crdbmesh_simulator.workloads import objects

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.programs import Container

_READ_ONLY = ("secret", "configMap", "projected", "downwardAPI")
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - of a container
_FOLDERS = ("/tmp", "/etc", "/var", "/bin", "/usr/bin", "/cockroach", "/root", _SHARED_MEMORY)  # noqa: S108 - of a container


def find_mount(container: Container, path: str) -> objects.Obj | None:
    """The volume mount that holds `path`."""
    mounts: list[objects.Obj] = container.spec.get("volumeMounts") or []
    fitting = [mount for mount in mounts if f"{path}/".startswith(str(mount["mountPath"]).rstrip("/") + "/")]
    return max(fitting, key=lambda mount: len(str(mount["mountPath"]).rstrip("/")), default=None)


def volume_identity(container: Container, path: str) -> tuple[str, ...] | None:
    """Return the identity on its node's disk of the volume that holds `path`; None when it is read-only.

    A folder of the node lasts as long as the disk, an emptyDir as long as its pod.
    """
    mount = find_mount(container, path)
    if mount is None:
        return None
    pod = container.pod
    for volume in pod["spec"].get("volumes") or []:
        if volume["name"] != mount["name"]:
            continue
        if any(kind in volume for kind in _READ_ONLY):
            return None
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim:
            found = objects.find(container.cluster, "PersistentVolumeClaim", pod["metadata"]["namespace"], str(claim))
            bound = str(objects.spec(found or {}).get("volumeName"))
            spec = objects.spec(objects.find(container.cluster, "PersistentVolume", None, bound) or {})
            source = spec.get("local") or spec.get("hostPath")
            return ("host", str(source["path"])) if source else ("claim", pod["metadata"]["namespace"], str(claim))
        if "hostPath" in volume:
            return ("host", str(volume["hostPath"]["path"]))
        break
    return ("pod", str(pod["metadata"].get("uid") or pod["metadata"]["name"]), str(mount["name"]))


class Files:
    """The file tree of a container, for the one user that its processes have; nothing in it is a link.

    `modes`: the permission bits that mounted files were given. `user`, `group`: who the container's processes are.
    """

    def __init__(self, container: Container) -> None:
        outer = container.pod["spec"].get("securityContext") or {}
        inner = container.spec.get("securityContext") or {}
        self.layer, self.modes = container.layer, container.modes
        self.user = int(inner.get("runAsUser", outer.get("runAsUser")) or 0)
        self.group = int(inner.get("runAsGroup", outer.get("runAsGroup")) or 0)
        self._container, self._read_only = container, bool(inner.get("readOnlyRootFilesystem"))
        self._fs_group = outer.get("fsGroup")
        self._mounts = container.spec.get("volumeMounts") or []

    def read(self, path: str, who: Actor | None = None) -> bytes:  # noqa: ARG002 - the container has one user
        """The content of a file.

        Raises FileNotFoundError, IsADirectoryError, PermissionError: as open(2) would fail.
        """
        path = posixpath.normpath(path)
        if path == "/dev/null":
            return b""
        found = self._find(path)
        if found is None:
            if self.is_dir(path):
                raise IsADirectoryError(errno.EISDIR, "", path)
            raise FileNotFoundError(errno.ENOENT, "", path)
        readable = 0o040 if self.owner(path) in (self.group, self._fs_group) else 0o004
        if self.user != 0 and path in self.modes and not self.mode(path) & readable:
            raise PermissionError(errno.EACCES, "", path)
        return found

    def find(self, path: str, who: Actor, *, follow: bool = True) -> Inode | None:  # noqa: ARG002 - no links here
        """What is at `path`, or None."""
        path = posixpath.normpath(path)
        content = self._find(path)
        if content is not None:
            return Inode(0, stat.S_IFREG | self.mode(path), 0, self.owner(path), 0.0, bytearray(content))
        return Inode(0, stat.S_IFDIR | 0o755, 0, 0, 0.0) if path == "/" or self.is_dir(path) else None

    def stat(self, path: str, who: Actor, *, follow: bool = True) -> Inode:
        """What is at `path`."""
        found = self.find(path, who, follow=follow)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "", path)
        return found

    def names(self, path: str, who: Actor) -> list[str]:  # noqa: ARG002 - the container has one user
        """The names in a folder, sorted."""
        base = posixpath.normpath(path).rstrip("/") + "/"
        inside = {each[len(base) :].split("/")[0] for each in [*self._paths(), *self._bases()] if each.startswith(base)}
        return sorted(inside)

    def glob(self, pattern: str, who: Actor) -> list[str]:  # noqa: ARG002 - the container has one user
        """Files that match a pattern, sorted."""
        return fnmatch.filter(self._paths(), pattern)

    def write(
        self,
        path: str,
        data: bytes | str,
        who: Actor | None = None,  # noqa: ARG002 - the container has one user
        *,
        mode: int = 0o666,  # noqa: ARG002 - and no modes
        append: bool = False,
    ) -> None:
        """Create or replace a file, or add to its end. Raises OSError: the file is on a read-only volume."""
        path = posixpath.normpath(path)
        data = (self._find(path) or b"" if append else b"") + (data.encode() if isinstance(data, str) else data)
        mount = find_mount(self._container, path)
        if mount is None:
            if self._read_only and not path.startswith("/dev/"):
                raise OSError(errno.EROFS, "Read-only file system", path)
            self.layer[path] = data
            return
        identity = volume_identity(self._container, path)
        if identity is None or mount.get("readOnly"):
            raise OSError(errno.EROFS, "Read-only file system", path)
        self._volume(identity)[_inner(mount, path)] = data

    def is_file(self, path: str) -> bool:
        """Return whether a file is there."""
        return self._find(posixpath.normpath(path)) is not None

    def is_dir(self, path: str) -> bool:
        """Return whether a folder is there."""
        path = posixpath.normpath(path).rstrip("/")
        known = [*self._paths(), *self._bases(), *(f"{folder}/." for folder in _FOLDERS)]
        return path in self._bases() or any(each.startswith(path + "/") for each in known)

    def mode(self, path: str) -> int:
        """Permission bits as the kubelet sets them: with `fsGroup`, the group may read."""
        path = posixpath.normpath(path)
        mode = self.modes.get(path, 0o644)
        return mode | 0o440 if path in self.modes and self._fs_group is not None else mode

    def owner(self, path: str) -> int:
        """The group that owns a file."""
        return (self._fs_group or 0) if posixpath.normpath(path) in self.modes else 0

    def _paths(self) -> list[str]:
        """Every file."""
        found = set(self._container.files) | set(self.layer)
        for mount in self._mounts:
            base = str(mount["mountPath"]).rstrip("/")
            identity = volume_identity(self._container, base)
            sub = str(mount.get("subPath") or "")
            for inner in self._volume(identity) if identity is not None else ():
                if not sub or inner == sub or inner.startswith(sub + "/"):
                    found.add(f"{base}/{inner[len(sub) :].lstrip('/')}".rstrip("/"))
        return sorted(found)

    def _bases(self) -> list[str]:
        return [str(mount["mountPath"]).rstrip("/") for mount in self._mounts]

    def _find(self, path: str) -> bytes | None:
        if path in self.layer:
            return self.layer[path]
        mount, identity = find_mount(self._container, path), volume_identity(self._container, path)
        written = (
            self._volume(identity).get(_inner(mount, path)) if mount is not None and identity is not None else None
        )
        return self._container.files.get(path) if written is None else written

    def _volume(self, identity: tuple[str, ...]) -> dict[str, bytes]:
        kept = self._container.node.machine.kept(identity).setdefault("files", {})
        assert isinstance(kept, dict)
        return kept


def _inner(mount: objects.Obj, path: str) -> str:
    inner = path[len(str(mount["mountPath"]).rstrip("/")) :].lstrip("/")
    sub = str(mount.get("subPath") or "").strip("/")
    return "/".join(part for part in (sub, inner) if part)
