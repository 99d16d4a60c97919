"""The data disks of a machine as its kernel and udev show them: devices, links by LUN and by UUID, and mounts.

Azure's Ubuntu images have the links of azure-vm-utils and, for SCSI disks, those of the Azure Linux agent
(learn.microsoft.com, "Azure virtual machine utilities"; Azure/azure-vm-utils, `80-azure-disk.rules`).
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.inodes import Inode, refuse

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS
    from crdbmesh_simulator.world import Disk

_LINKS = ("/dev/disk/azure/data/by-lun", "/dev/disk/azure/scsi1", "/dev/disk/by-uuid")


class Devices:
    """The disks that are plugged in.

    `mounts`: the device that is mounted at a path, whose directory it hides: a root in the place of another's entry.
    """

    def __init__(self, machine: MachineOS) -> None:
        self._machine = machine
        self._hidden: dict[str, Inode] = {}
        self._seen: dict[str, int] = {}
        self.mounts: dict[str, str] = {}

    def plugged(self) -> dict[str, Disk]:
        """The data disks by their devices."""
        names = [f"nvme0n{lun + 2}" if self._machine.hardware.nvme else f"sd{chr(ord('c') + lun)}" for lun in range(64)]
        return {f"/dev/{names[lun]}": disk for lun, disk in sorted(self._machine.hardware.data.items())}

    def refresh(self) -> None:
        """Make the devices and links anew, as udev does when a disk comes, goes or is formatted."""
        files, root, present = self._machine.files, Actor(), self.plugged()
        for path in [one for folder in _LINKS for one in files.glob(f"{folder}/*", root)] + [*self._seen]:
            files.remove(path, root)
        for folder in _LINKS:
            files.mkdir(folder, root, parents=True)
        self._seen = {device: self._seen.get(device, disk.gib) for device, disk in present.items()}
        for lun, (device, disk) in zip(sorted(self._machine.hardware.data), present.items(), strict=True):
            files.write(device, b"", root).mode = stat.S_IFBLK | 0o660
            files.symlink(device, f"{_LINKS[0]}/{lun}", root)
            if not self._machine.hardware.nvme:
                files.symlink(device, f"{_LINKS[1]}/lun{lun}", root)
                files.mkdir(folder := f"/sys/class/block/{device.removeprefix('/dev/')}/device", root, parents=True)
                files.write(f"{folder}/rescan", b"", root)
            if "UUID" in disk.signature:
                files.symlink(device, f"{_LINKS[2]}/{disk.signature['UUID']}", root)

    def size_gib(self, device: str) -> int:
        """A device's size; the kernel sees that a SCSI disk has grown once it is told to look (sysfs, `rescan`)."""
        told = self._machine.files.find(f"/sys/class/block/{device.removeprefix('/dev/')}/device/rescan", Actor())
        if told is None or told.content:
            self._seen[device] = self.plugged()[device].gib
            if told is not None:
                told.content.clear()
        return self._seen[device]

    def mount(self, what: str, path: str) -> None:
        """Mount a device. Raises OSError: there is no such device or file system, or something is mounted there."""
        files, root = self._machine.files, Actor()
        device = files.locate(what, root).path
        disk = self.plugged().get(device)
        if disk is None or disk.root is None:
            raise refuse(errno.ENOENT if disk is None else errno.EINVAL, what)
        if path in self.mounts or device in self.mounts.values():
            raise refuse(errno.EBUSY, path)
        files.mkdir(path, root, parents=True)
        spot = files.locate(path, root)
        self._hidden[path], self.mounts[path] = spot.parent.entries[spot.name], device
        spot.parent.entries[spot.name] = disk.root
        files.busy.add(id(disk.root))

    def unmount(self, path: str) -> None:
        """Unmount what is mounted at a path."""
        spot = self._machine.files.locate(path, Actor())
        self._machine.files.busy.discard(id(spot.inode))
        spot.parent.entries[spot.name] = self._hidden.pop(path)
        del self.mounts[path]

    def holding(self, path: str) -> Disk:
        """The disk that holds a path."""
        device = next((self.mounts[at] for at in self.mounts if f"{path}/".startswith(f"{at}/")), "")
        return self.plugged().get(device, self._machine.hardware.disk)
