"""The files of a machine's operating system, as k3s, the kubelet and helm read and write them (as root)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from crdbmesh_simulator.filesystem import Actor

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


def is_folder(machine: Machine, path: str) -> bool:
    """Return whether a folder is there."""
    found = machine.disk.files.find(path, Actor()) if machine.disk.files is not None else None
    return found is not None and found.is_dir


def make_folder(machine: Machine, path: str) -> None:
    """Make a folder, with those above it."""
    if machine.disk.files is not None:
        machine.disk.files.mkdir(path, Actor(), mode=0o777, parents=True)


def remove_folder(machine: Machine, path: str) -> None:
    """Remove a folder with everything in it; absent is fine."""
    if machine.disk.files is not None:
        with contextlib.suppress(OSError):
            machine.disk.files.remove(path, Actor(), recursive=True)
    machine.disk.volumes.pop(("host", path), None)
