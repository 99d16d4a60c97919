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


def find_mount(container: Container, path: str) -> objects.Obj | None:
    """The volume mount that holds `path`."""
    best: objects.Obj | None = None
    for mount in container.spec.get("volumeMounts") or []:
        base = str(mount["mountPath"]).rstrip("/")
        if (path == base or path.startswith(base + "/")) and (
            best is None or len(base) > len(str(best["mountPath"]).rstrip("/"))
        ):
            best = mount
    return best


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
    """The file tree of a container."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.layer = container.layer

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
        if not self.readable(path):
            raise PermissionError(errno.EACCES, "", path)
        return found

    def find(self, path: str, who: Actor, *, follow: bool = True) -> Inode | None:  # noqa: ARG002 - no links here
        """What is at `path`, or None."""
        path = posixpath.normpath(path)
        content = self._find(path)
        if content is not None:
            return Inode(0, stat.S_IFREG | self.mode(path), 0, self.group(path), 0.0, bytearray(content))
        return Inode(0, stat.S_IFDIR | 0o755, 0, 0, 0.0) if path == "/" or self.is_dir(path) else None

    def stat(self, path: str, who: Actor, *, follow: bool = True) -> Inode:
        """What is at `path`."""
        found = self.find(path, who, follow=follow)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "", path)
        return found

    def names(self, path: str, who: Actor) -> list[str]:  # noqa: ARG002 - the container has one user
        """The names in a folder, sorted."""
        return self.entries(path)

    def glob(self, pattern: str, who: Actor) -> list[str]:  # noqa: ARG002 - the container has one user
        """Files that match a pattern, sorted."""
        return fnmatch.filter(self.paths(), pattern)

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
            self.layer[path] = data
            return
        identity = volume_identity(self._container, path)
        if identity is None or mount.get("readOnly"):
            raise OSError(30, "Read-only file system", path)
        self._volume(identity)[self._inner(mount, path)] = data

    def is_file(self, path: str) -> bool:
        """Return whether a file is there."""
        return self._find(posixpath.normpath(path)) is not None

    def is_dir(self, path: str) -> bool:
        """Return whether a folder is there."""
        path = posixpath.normpath(path).rstrip("/")
        bases = [str(mount["mountPath"]).rstrip("/") for mount in self._container.spec.get("volumeMounts") or []]
        known = [*self.paths(), *bases, "/tmp/.", "/etc/.", "/var/.", "/bin/.", "/usr/bin/.", "/cockroach/.", "/root/."]  # noqa: S108
        return path in bases or any(each.startswith(path + "/") for each in known)

    def entries(self, folder: str) -> list[str]:
        """The names in a folder, sorted."""
        base = posixpath.normpath(folder).rstrip("/") + "/"
        mounts = [str(mount["mountPath"]).rstrip("/") for mount in self._container.spec.get("volumeMounts") or []]
        inside = [path[len(base) :].split("/")[0] for path in [*self.paths(), *mounts] if path.startswith(base)]
        return sorted(set(inside))

    def paths(self) -> list[str]:
        """Every file."""
        found = set(self._container.files) | set(self.layer)
        for mount in self._container.spec.get("volumeMounts") or []:
            base = str(mount["mountPath"]).rstrip("/")
            identity = volume_identity(self._container, base)
            if identity is not None:
                sub = str(mount.get("subPath") or "")
                for inner in self._volume(identity):
                    if not sub:
                        found.add(f"{base}/{inner}")
                    elif inner == sub or inner.startswith(sub + "/"):
                        found.add((base + inner[len(sub) :]).rstrip("/"))
        return sorted(found)

    def mode(self, path: str) -> int:
        """Permission bits as the kubelet sets them: with `fsGroup`, the group may read."""
        path = posixpath.normpath(path)
        mode = self._container.modes.get(path, 0o644)
        return mode | 0o440 if path in self._container.modes and self.fs_group() is not None else mode

    def mounted_modes(self) -> dict[str, int]:
        """The modes that mounted files were given."""
        return self._container.modes

    def mode_text(self, path: str) -> str:
        """Permission bits as `ls -l` and Go write them."""
        return stat.filemode(stat.S_IFREG | self.mode(path))

    def group(self, path: str) -> int:
        """The group that owns a file."""
        return (self.fs_group() or 0) if posixpath.normpath(path) in self._container.modes else 0

    def fs_group(self) -> int | None:
        """`fsGroup` of the pod."""
        return (self._container.pod["spec"].get("securityContext") or {}).get("fsGroup")

    def identity(self) -> tuple[int, int]:
        """User and primary group of the container's processes."""
        outer = self._container.pod["spec"].get("securityContext") or {}
        inner = self._container.spec.get("securityContext") or {}
        user = inner.get("runAsUser", outer.get("runAsUser"))
        group = inner.get("runAsGroup", outer.get("runAsGroup"))
        return int(user or 0), int(group or 0)

    def readable(self, path: str) -> bool:
        """Return whether the container's user may read a file."""
        user, group = self.identity()
        path = posixpath.normpath(path)
        if user == 0 or path not in self._container.modes:
            return True
        mode, owner = self.mode(path), self.group(path)
        if owner in (group, self.fs_group()):
            return bool(mode & 0o040)
        return bool(mode & 0o004)

    def _find(self, path: str) -> bytes | None:
        if path in self.layer:
            return self.layer[path]
        mount = find_mount(self._container, path)
        if mount is not None:
            identity = volume_identity(self._container, path)
            if identity is not None:
                written = self._volume(identity).get(self._inner(mount, path))
                if written is not None:
                    return written
        return self._container.files.get(path)

    def _volume(self, identity: tuple[str, ...]) -> dict[str, bytes]:
        kept = self._container.node.machine.disk.volumes.setdefault(identity, {}).setdefault("files", {})
        assert isinstance(kept, dict)
        return kept

    @staticmethod
    def _inner(mount: objects.Obj, path: str) -> str:
        inner = path[len(str(mount["mountPath"]).rstrip("/")) :].lstrip("/")
        sub = str(mount.get("subPath") or "").strip("/")
        return "/".join(part for part in (sub, inner) if part)
