"""Data disks on a machine: links, file systems, mounts, and units that wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crdbmesh_simulator.world import Disk

if TYPE_CHECKING:
    from simulator.tests.machines.conftest import Town

UNIT = "[Unit]\nDescription=D\n[Mount]\nWhat=/dev/disk/by-uuid/{}\nWhere=/srv/d\nType=ext4\n"
NEEDY = "[Unit]\nRequiresMountsFor=/srv/d/x\n[Service]\nExecStart=/bin/sh -c 'sleep 1h'\n"


def formatted(town: Town, device: str) -> str:
    assert town.run("a", f"sudo blkid -p -o export {device}").status == 2
    assert town.run("a", f"sudo mkfs.ext4 -q -m 0 -L d {device}").status == 0
    said = town.run("a", f"sudo blkid -p -o export {device}").stdout
    tags = dict(line.split("=", 1) for line in said.splitlines())
    assert (tags["LABEL"], tags["TYPE"]) == ("d", "ext4")
    return tags["UUID"]


@pytest.mark.parametrize(("nvme", "links"), [(False, "/dev/disk/azure/scsi1/lun1\n"), (True, "")])
def test_a_disk_is_found_formatted_mounted_grown_and_moved(town: Town, nvme: bool, links: str) -> None:
    machine, disk = town.add("a"), Disk(gib=10)
    town.settle("a")
    machine.data, machine.nvme = {1: disk}, nvme
    assert machine.os is not None
    machine.os.devices.refresh()
    assert town.run("a", "ls -d /dev/disk/azure/scsi1/*").stdout == links
    link = "/dev/disk/azure/data/by-lun/1"
    town.put("a", "/etc/systemd/system/srv-d.mount", UNIT.format(formatted(town, link)))
    town.put("a", "/etc/systemd/system/x.service", NEEDY)
    assert town.run("a", "sudo systemctl start x; systemctl is-active srv-d.mount").stdout == "active\n"
    assert town.run("a", "sudo sh -c 'echo here > /srv/d/f'; sudo rm -r /srv/d").status == 1
    assert "mounted" in town.run("a", f"sudo mkfs.ext4 -q {link}").stderr
    disk.gib = 20
    told = "sudo sh -c 'for one in /sys/class/block/sd*/device/rescan; do test ! -e $one || echo 1 > $one; done'"
    assert town.run("a", f"{told}; sudo resize2fs {link}; sudo dumpe2fs -h {link}").stdout.count(str(20 * 2**18)) == 2
    town.run("a", "sudo systemctl stop x srv-d.mount")
    assert town.run("a", "ls /srv/d").stdout == ""
    assert disk.root is not None
    assert bytes(disk.root.entries["f"].content) == b"here\n"


def test_a_unit_does_not_start_without_its_disk(town: Town) -> None:
    town.add("a")
    town.settle("a")
    town.put("a", "/etc/systemd/system/srv-d.mount", UNIT.format("absent"))
    town.put("a", "/etc/systemd/system/x.service", NEEDY)
    refused = town.run("a", "sudo systemctl start x")
    assert (refused.status, "dependency job for x.service failed" in refused.stderr) == (1, True)
    assert town.run("a", "systemctl is-active x").stdout == "inactive\n"
