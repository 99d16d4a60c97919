"""Commands of block devices and file systems: blkid, dumpe2fs, mkfs.ext4, resize2fs (their manuals)."""

from __future__ import annotations

import stat
import uuid

from crdbmesh_simulator.inodes import Inode
from crdbmesh_simulator.machines.machine_os import host_of
from crdbmesh_simulator.shell.process import Command, Process, UnsupportedError
from crdbmesh_simulator.userland.options import parse
from crdbmesh_simulator.world import Disk

_BLOCKS_A_GIB = 2**18


def _device(process: Process, operands: list[str]) -> tuple[str, Disk | None]:
    """The device that is meant, links followed, and its disk; None unless it is there and the caller may read it."""
    if len(operands) != 1:
        raise UnsupportedError(" ".join(process.argv))
    host, path = host_of(process), process.path(operands[0])
    device = host.files.locate(path, process.actor).path if host.files.find(path, process.actor) else path
    return device, host.devices.plugged().get(device) if process.actor.uid == 0 else None


def _blkid(process: Process) -> int:
    """Probe one device; 2 means that nothing is known on it (blkid(8))."""
    options = parse(process.argv[1:], "po:")
    device, disk = _device(process, options.operands)
    if options.get("o") != "export":
        raise UnsupportedError(" ".join(process.argv))
    if disk is None or not disk.signature:
        return 2
    process.say("".join(f"{name}={value}\n" for name, value in {"DEVNAME": device, **disk.signature}.items()))
    return 0


def _mkfs(process: Process) -> int:
    """Make a file system; without a terminal, mke2fs(8) asks nobody before it writes over another."""
    options, host = parse(process.argv[1:], "qm:L:"), host_of(process)
    device, disk = _device(process, options.operands)
    if disk is None or device in host.devices.mounts.values():
        process.complain(f"{device} is {'mounted' if disk else 'absent'}; will not make a filesystem here!\n")
        return 1
    label = {"LABEL": options.get("L")[:16]} if "L" in options else {}
    made = uuid.UUID(int=process.world.random.getrandbits(128), version=4)
    disk.signature = {**label, "UUID": str(made), "VERSION": "1.0", "TYPE": "ext4", "USAGE": "filesystem"}
    disk.root = Inode(2, stat.S_IFDIR | 0o755, 0, 0, process.world.clock.now())
    disk.volumes, disk.filesystem_gib = {}, host.devices.size_gib(device)
    host.devices.refresh()
    process.actor.ledger.act(f"mkfs.ext4 {device}")
    return 0


def _of_ext4(process: Process) -> int:
    """Show the super block of a file system, or let it fill its device."""
    device, disk = _device(process, parse(process.argv[1:], "h" if process.name == "dumpe2fs" else "").operands)
    if disk is None or disk.signature.get("TYPE") != "ext4":
        process.complain(f"{process.name}: Bad magic number in super-block while trying to open {device}\n")
        return 1
    if process.name == "dumpe2fs":
        process.say(f"Block count:              {disk.filesystem_gib * _BLOCKS_A_GIB}\n")
        process.say("Reserved block count:     0\nBlock size:               4096\n")
        return 0
    if disk.filesystem_gib < (size := host_of(process).devices.size_gib(device)):
        process.actor.ledger.act(f"resize2fs {device}")
    disk.filesystem_gib = size
    process.say(f"The filesystem on {device} is now {size * _BLOCKS_A_GIB} (4k) blocks long.\n")
    return 0


COMMANDS: dict[str, Command] = {
    "blkid": _blkid,
    "dumpe2fs": _of_ext4,
    "mkfs.ext4": _mkfs,
    "resize2fs": _of_ext4,
}
