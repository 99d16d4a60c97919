"""The data disks: each as a resource of Azure, and formatted, mounted and as large as it can be on its machine."""

import functools
from dataclasses import dataclass

from crdbmesh.clients.azure import compare, kinds
from crdbmesh.clients.waiting import Say
from crdbmesh.desired import disks
from crdbmesh.desired import machine as hosts
from crdbmesh.desired.disks import Role
from crdbmesh.engine.step import Gap
from crdbmesh.observe import disks as observed
from crdbmesh.observe.disks import Content
from crdbmesh.observe.resource import Observed
from crdbmesh.steps.base import MachineStep, ResourceStep

UNITS = "/etc/systemd/system"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDisk(MachineStep, ResourceStep):
    """A data disk of a machine, which stays when the machine goes, for its successor."""

    role: Role
    kind = kinds.DISK

    def observe(self) -> Observed:
        """Judge the disk as it is."""
        return observed.disk(self.world, self.machine, self.role)

    def apply(self, gap: Gap, say: Say) -> None:
        """Make it, or change what can be changed while a machine has it: size, performance, access and tags."""
        seen = self.observe()
        if seen.found is None or seen.refusal is not None:
            ResourceStep.apply(self, gap, say)
            return
        wanted = {key: value for key, value in seen.wanted["properties"].items() if key != "creationData"}
        body = {"tags": compare.merge(seen.found.get("tags"), seen.wanted["tags"], "tags"), "properties": wanted}
        self.kind.update(self.world.session, self.world.group, seen.name, body=body, say=say)


class Mounted(MachineStep):
    """The machine has its disks mounted, each with our file system; k3s waits for them."""

    def check(self) -> Gap | None:
        """Look at each disk, at its unit, and at k3s's drop-in."""
        host, wanted = self.world.host(self.machine), {self._drop_in: disks.drop_in(self.world.mesh).encode()}
        for role in disks.roles(self.world.mesh):
            seen = observed.content(self.world, self.machine, role)
            found = observed.find(self.world, self.machine, role)
            if (problem := observed.missing(self.machine, role, seen, found)) is not None:
                return Gap(problem, "create" if seen.is_blank else "change")
            wanted[f"{UNITS}/{role.unit}"] = _unit(role, seen)
        other = [path for path, text in wanted.items() if host.read_file(path) != text]
        return Gap(f"{self.machine.node}: {', '.join(other)} must be written") if other else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Format what is blank, and only that; mount, and let file systems fill their disks."""
        host, deadline_s = self.world.host(self.machine), self.world.deadline(600.0)
        host.write_file(self._drop_in, disks.drop_in(self.world.mesh).encode(), mode=0o644)
        for role in disks.roles(self.world.mesh):
            awaited, probe = f"the {role.name} disk of {self.machine.node}", functools.partial(self._probe, role)
            seen = self.world.wait_until(probe, awaited=awaited, deadline_s=300.0, say=say)
            if seen.is_blank:
                say(f"formatting the {role.name} disk")
                host.run(disks.formatting(role, seen.device), sudo=True, timeout_s=deadline_s, describe="mkfs.ext4")
                seen = observed.content(self.world, self.machine, role)
            host.write_file(f"{UNITS}/{role.unit}", _unit(role, seen), mode=0o644)
            host.run(f"systemctl daemon-reload && systemctl enable --now {role.unit}", sudo=True, timeout_s=60)
            host.run(disks.growing(seen.device), sudo=True, timeout_s=deadline_s, describe="resize2fs")

    def _probe(self, role: Role) -> tuple[Content | None, str]:
        seen = observed.content(self.world, self.machine, role)
        return (seen if seen.device else None), "it has not appeared"

    @property
    def _drop_in(self) -> str:
        return f"{UNITS}/{hosts.k3s_service(self.region, self.machine)}.service.d/10-crdbmesh-disks.conf"


def _unit(role: Role, seen: Content) -> bytes:
    return disks.mount_unit(role, seen.tags.get("UUID", "")).encode()
