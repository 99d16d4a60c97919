"""Adds up the cost of machines, with their disks and public addresses: by a dated table, or as Azure lists prices.

Traffic is left out: Azure charges it by the gigabyte. What has no price is said, not guessed.
"""

import functools
import importlib.resources
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from crdbmesh.clients import prices
from crdbmesh.clients.cloud import Cloud
from crdbmesh.desired import disks
from crdbmesh.observe.resource import location_of
from crdbmesh.spec.mesh import Machine, Mesh

Find = Callable[[str, str], float | None]
"""Returns what a thing costs an hour in a region, or None: a VM size, or a disk's tier such as `P10 LRS`."""

_TABLE = tomllib.loads(importlib.resources.files(__package__).joinpath("prices.toml").read_text(encoding="utf-8"))
_SIZE = re.compile(r"Standard_([A-Z]+)(\d+)([a-z]*)_(v\d+)", re.IGNORECASE)
_SERIES = {name.lower(): hour for name, hour in _TABLE["vcpu_hour"].items()}
_TIERS = {32: 4, 64: 6, 128: 10, 256: 15, 512: 20, 1024: 30, 2048: 40, 4096: 50}


@dataclass(frozen=True, slots=True)
class Billed:
    """A machine as Azure charges for it: its region and size, the tier of its disk, and those of its data disks."""

    region: str
    size: str
    disk: str
    data: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of machines, in US dollars an hour.

    Attributes:
        machines, disks, addresses: the parts of the sum.
        unpriced: what has no price, `Standard_L8s_v3 in eastus`; it is not in the sum.
        source: where the prices come from.
    """

    machines: float
    disks: float
    addresses: float
    unpriced: tuple[str, ...]
    source: str

    @property
    def hour(self) -> float:
        """Return the sum for an hour."""
        return self.machines + self.disks + self.addresses

    @property
    def month(self) -> float:
        """Return the sum for a month of 730 hours."""
        return self.hour * float(_TABLE["hours_a_month"])

    def brief(self) -> str:
        """Return the sum in words."""
        short = f"; {', '.join(self.unpriced)} not included: no price is known" if self.unpriced else ""
        about = "at least" if self.unpriced else "about"
        return f"{about} {self.hour:.2f} USD an hour, {self.month:,.0f} USD a month{short}"

    def document(self) -> dict[str, Any]:
        """Return it as `--output json` prints it."""
        return {
            "currency": _TABLE["currency"],
            "hour": round(self.hour, 3),
            "month": round(self.month),
            "parts": {name: round(getattr(self, name), 3) for name in ("machines", "disks", "addresses")},
            "unpriced": list(self.unpriced),
            "source": self.source,
            "traffic": "not included",
        }

    def __str__(self) -> str:
        """Return the sum with its assumptions."""
        return f"{self.brief()}, without traffic ({self.source})"


def of_mesh(mesh: Mesh, cloud: Cloud | None = None) -> Cost:
    """Return what a mesh costs once it is as its spec says; see `total`."""
    disk = tier(mesh.machines.disk_gib, mesh.machines.disk_type)
    machines = mesh.all_machines()
    return total((Billed(one.region, one.size, disk, tuple(_data(mesh, one))) for one in machines), cloud)


def _data(mesh: Mesh, machine: Machine) -> Iterator[str]:
    """Yield the tiers of a machine's data disks, or `V2 GIB IOPS MBPS` of a Premium SSD v2, which most zones have."""
    spec, size = mesh.machines.data_disk, _SIZE.fullmatch(machine.size)
    fair = disks.advised({"vCPUs": size[2] if size else "0"})
    own = (disks.wanted_gib(mesh, machine), spec.iops or fair.iops, spec.mbps or fair.mbps)
    for role in disks.roles(mesh):
        gib, *speed = own if role is disks.DATA else (mesh.cockroach.wal_failover_gib, *disks.LEAST)
        yield tier(gib, "Premium_LRS") if spec.type == "Premium_LRS" else f"V2 {gib} {speed[0]} {speed[1]}"


def total(billed: Iterable[Billed], cloud: Cloud | None = None) -> Cost:
    """Add up machines; with a cloud, at the prices that Azure lists now, or a CloudError when they cannot be read."""
    find = find_in_table if cloud is None else functools.cache(functools.partial(prices.find_hour, cloud))
    table = f"by crdbmesh's table of {_TABLE['as_of']}; --prices asks Azure"
    source = table if cloud is None else "Azure's list prices"
    sums, unpriced, count = {"size": 0.0, "disk": 0.0}, [], 0
    for one, times in sorted(Counter(billed).items(), key=str):
        count += times
        for part, what in (("size", one.size), ("disk", one.disk), *(("disk", data) for data in one.data)):
            # A Premium SSD v2 has no price of its own in Azure's list: its parts have.
            if (hour := (find_in_table if what.startswith("V2 ") else find)(one.region, what)) is None:
                unpriced.append(f"{what} in {one.region}")
            else:
                sums[part] += hour * times
    addresses = count * float(_TABLE["public_ip_hour"])
    return Cost(sums["size"], sums["disk"], addresses, tuple(dict.fromkeys(unpriced)), source)


def billed(vm: Mapping[str, Any]) -> Billed:
    """Return how Azure charges for a VM that it has, by the VM's body."""
    properties: Mapping[str, Any] = vm.get("properties") or {}
    disk = (properties.get("storageProfile") or {}).get("osDisk") or {}
    kind = str((disk.get("managedDisk") or {}).get("storageAccountType") or "Premium_LRS")
    size = str((properties.get("hardwareProfile") or {}).get("vmSize", ""))
    return Billed(location_of(vm), size, tier(int(disk.get("diskSizeGB") or 128), kind))


def tier(gib: int, kind: str) -> str:
    """Return the tier in which Azure charges for a disk: `P10 LRS` for 128 GiB of Premium_LRS."""
    letter = "P" if kind.startswith("Premium") else "E"
    number = next((number for most, number in _TIERS.items() if gib <= most), 50)
    return f"{letter}{number} {kind.rpartition('_')[2]}"


def find_in_table(region: str, what: str) -> float | None:
    """Return what a VM size or a disk's tier costs an hour by the table, or None when it does not know."""
    factor = _TABLE["region"].get(region)
    if factor is None:
        return None
    if found := _SIZE.fullmatch(what):
        hour = _SERIES.get(f"{found[1]}{found[3]}_{found[4]}".lower())
        return None if hour is None else hour * int(found[2]) * factor
    name, _, redundancy = what.partition(" ")
    if name == "V2":
        parts = zip(map(int, redundancy.split()), (0, *disks.LEAST), _TABLE["v2_month"], strict=True)
        month = sum(max(0, amount - free) * price for amount, free, price in parts)
        return float(month * factor / _TABLE["hours_a_month"])
    month = _TABLE["disk_month"].get(name)
    return month and float(month * (1.5 if redundancy == "ZRS" else 1.0) * factor / _TABLE["hours_a_month"])
