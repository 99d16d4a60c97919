"""The data disks: each as a resource of Azure, and formatted, mounted and as large as it can be on its machine."""

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
from crdbmesh.spec import names
from crdbmesh.steps.base import MachineStep, ResourceStep

APPEAR_DEADLINE_S = 300.0
FORMAT_DEADLINE_S = 600.0
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
        host = self.world.host(self.machine)
        for role in disks.roles(self.world.mesh):
            seen = self._look(role)
            if (problem := observed.missing(self.machine, role, seen, self._gib(role))) is not None:
                return Gap(problem, "create" if seen.is_blank else "change")
            if host.read_file(f"{UNITS}/{role.unit}") != self._unit(role, seen):
                return Gap(f"{self.machine.node}: {role.unit} differs")
        there = host.read_file(self._drop_in) == disks.drop_in(self.world.mesh).encode()
        return None if there else Gap(f"{self.machine.node}: k3s does not wait for its disks")

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Format what is blank, and only that; mount, and let file systems fill their disks."""
        host, deadline_s = self.world.host(self.machine), self.world.deadline(FORMAT_DEADLINE_S)
        host.write_file(self._drop_in, disks.drop_in(self.world.mesh).encode(), mode=0o644)
        for role in disks.roles(self.world.mesh):
            self._await(role, say)
            seen = self._look(role)
            if seen.is_blank:
                say(f"formatting the {role.name} disk")
                script = disks.formatting(role, seen.device)
                host.run(script, sudo=True, timeout_s=deadline_s, describe=f"format the {role.name} disk")
                seen = self._look(role)
            host.write_file(f"{UNITS}/{role.unit}", self._unit(role, seen), mode=0o644)
            host.run("systemctl daemon-reload", sudo=True)
            host.run(f"systemctl enable --now {role.unit}", sudo=True, timeout_s=60)
            if seen.gib < self._gib(role):
                say(f"growing the file system of the {role.name} disk")
                host.run(disks.growing(seen.device), sudo=True, timeout_s=deadline_s, describe="resize2fs")
        host.run("systemctl daemon-reload", sudo=True)

    @property
    def _drop_in(self) -> str:
        return f"{UNITS}/{hosts.k3s_service(self.region, self.machine)}.service.d/{disks.DROP_IN}"

    def _look(self, role: Role) -> Content:
        seen = observed.content(self.world, self.machine, role)
        observed.require_own(self.machine, role, seen)
        return seen

    def _await(self, role: Role, say: Say) -> None:
        """Wait until the machine sees the disk, which may come a little after Azure has attached it."""

        def probe() -> tuple[bool | None, str]:
            return (True if self._look(role).device else None), f"nothing at LUN {role.lun}"

        awaited = f"the {role.name} disk of {self.machine.node}"
        self.world.wait_until(probe, awaited=awaited, deadline_s=APPEAR_DEADLINE_S, say=say)

    def _unit(self, role: Role, seen: Content) -> bytes:
        return disks.mount_unit(role, seen.tags.get("UUID", "")).encode()

    def _gib(self, role: Role) -> int:
        name = names.disk(self.world.mesh.name, self.machine.region, self.machine.number, role.name)
        found = kinds.DISK.find(self.world.session, self.world.group, name) or {}
        return int(found.get("properties", {}).get("diskSizeGB") or 0)
