"""The files of a machine's operating system, as k3s, the kubelet and helm read them (as root)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdbmesh_simulator.machines.filesystem import Actor

if TYPE_CHECKING:
    from crdbmesh_simulator.world import Machine


def find_file(machine: Machine, path: str) -> bytes | None:
    """The content of a file, or None when there is none."""
    if machine.disk.files is None:
        return None
    try:
        return bytes(machine.disk.files.read(path, Actor()))
    except OSError:
        return None


def list_files(machine: Machine, folder: str) -> dict[str, bytes]:
    """Every regular file below a folder: absolute path -> content."""
    if machine.disk.files is None:
        return {}
    try:
        found = list(machine.disk.files.walk(folder, Actor()))
    except OSError:
        return {}
    return {path: bytes(inode.content) for path, inode in found if inode.is_file}
