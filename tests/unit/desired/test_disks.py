"""The data disks: what is sent for them, and what a machine's answers mean."""

from __future__ import annotations

from typing import Any

import pytest

from crdbmesh.desired import cockroach, disks
from crdbmesh.errors import RefusedError
from crdbmesh.observe.disks import Content, missing, require_own
from crdbmesh.spec import load as config
from crdbmesh.spec.mesh import Machine, Mesh

BIG = disks.Speed(12800, 290)
ROLE = disks.DATA
LOOK = "DEVICE=/dev/disk/azure/scsi1/lun0\n"
OURS = f"{LOOK}DEVNAME=/dev/sdc\nLABEL=crdbmesh-data\nUUID=u-1\nTYPE=ext4\nPROBED=0\n"
SIZE = "Block count:              {}\nReserved block count:     0\nBlock size:               4096\n"


def spec(**document: Any) -> tuple[Mesh, Machine]:
    mesh = config.mesh({"regions": ["eastus"], **document})
    return mesh, mesh.all_regions()[0].machines[0]


def body(found: Any = None, *, kind: str = disks.V2, fair: disks.Speed = BIG, **document: Any) -> dict[str, Any]:
    mesh, machine = spec(**document)
    return disks.data_disk(mesh, machine, ROLE, found, zone="1" if kind == disks.V2 else None, kind=kind, fair=fair)


def test_a_mesh_of_release_0_1_has_no_data_disks() -> None:
    old, machine = spec(layout=1, cockroach={"wal_failover_gib": 0})
    assert disks.roles(old) == ()
    assert disks.attached(old, machine, "s") == []
    assert cockroach.storage(old, old.all_regions()[0]) == []


def test_a_disk_holds_the_volumes_with_room_as_fast_as_the_docs_ask_and_nobody_exports_it() -> None:
    can = {"vCPUs": "8", "UncachedDiskIOPS": "12800", "UncachedDiskBytesPerSecond": "290000000"}
    assert disks.advised(can) == disks.Speed(4000, 240)
    assert disks.advised({**can, "vCPUs": "64"}) == BIG
    sent = body(fair=disks.advised(can))
    assert sent["sku"] == {"name": "PremiumV2_LRS"}
    assert sent["zones"] == ["1"]
    assert sent["properties"] == {
        "creationData": {"createOption": "Empty"},
        "diskSizeGB": 75,
        "networkAccessPolicy": "DenyAll",
        "publicNetworkAccess": "Disabled",
        "diskIOPSReadWrite": 4000,
        "diskMBpsReadWrite": 240,
    }
    slow = body(fair=disks.Speed(500, 30))["properties"]
    assert (slow["diskIOPSReadWrite"], slow["diskMBpsReadWrite"]) == (3000, 125)
    fixed = body(kind="Premium_LRS")
    assert "zones" not in fixed
    assert "diskIOPSReadWrite" not in fixed["properties"]


def test_what_the_spec_leaves_open_of_a_disk_stays_as_it_is_unless_it_is_too_slow() -> None:
    found = {"properties": {"diskSizeGB": 300, "diskIOPSReadWrite": 50000, "diskMBpsReadWrite": 500}}
    kept, told = body(found)["properties"], body(found, machines={"data_disk": {"size_gib": 400, "iops": 6000}})
    assert {key: kept[key] for key in found["properties"]} == found["properties"]
    slow = body({"properties": {**found["properties"], "diskIOPSReadWrite": 3000}}, fair=disks.Speed(4000, 240))
    assert slow["properties"]["diskIOPSReadWrite"] == 4000
    assert (told["properties"]["diskSizeGB"], told["properties"]["diskIOPSReadWrite"]) == (400, 6000)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("inactive\n", "has not appeared at LUN 0"),
        (f"{LOOK}PROBED=2\ninactive\n", "is blank"),
        (f"{OURS}{SIZE.format(75 * 2**18)}inactive\n", "is not mounted at /var/lib/rancher/k3s/storage (inactive)"),
        (f"{OURS}{SIZE.format(50 * 2**18)}active\n", "has 75 GiB, its file system 50"),
        (f"{OURS}{SIZE.format(75 * 2**18)}active\n", None),
    ],
)
def test_what_a_machine_lacks_is_told(said: str, problem: str | None) -> None:
    _, machine = spec()
    seen = Content.parse(said)
    require_own(machine, ROLE, seen)
    found = missing(machine, ROLE, seen, {"properties": {"diskSizeGB": 75}})
    assert found == (None if problem is None else f"eastus-1: the data disk {problem}")


@pytest.mark.parametrize(
    "tags", ["UUID=u\nTYPE=xfs\nPROBED=0", "LABEL=data\nTYPE=ext4\nPROBED=0", "PTTYPE=gpt\nPROBED=0", "PROBED=8"]
)
def test_a_disk_that_is_neither_blank_nor_ours_is_refused_with_the_remedy(tags: str) -> None:
    _, machine = spec()
    seen = Content.parse(f"{LOOK}{tags}\ninactive\n")
    assert not seen.is_blank
    with pytest.raises(RefusedError, match="not crdbmesh's") as refused:
        require_own(machine, ROLE, seen)
    assert "wipefs --all /dev/disk/azure/scsi1/lun0" in str(refused.value.hint)


def test_the_store_grows_with_its_disk_and_its_log_fails_over_to_another() -> None:
    mesh, _ = spec()
    region = mesh.all_regions()[0]
    made = cockroach.statefulset(mesh, region)
    start = made["spec"]["template"]["spec"]["containers"][0]["command"][2]
    assert "--store=path=/cockroach/cockroach-data,size=90% --wal-failover=path=/cockroach/cockroach-wal" in start
    classes = [claim["spec"]["storageClassName"] for claim in made["spec"]["volumeClaimTemplates"]]
    assert classes == ["crdbmesh-data", "crdbmesh-wal"]
    small, _ = spec(profile="demo")
    sent = str(cockroach.statefulset(small, small.all_regions()[0]))
    assert "wal" not in sent
    assert len(cockroach.storage(small, small.all_regions()[0])) == 1
    assert [role.name for role in disks.roles(small)] == ["data"]
